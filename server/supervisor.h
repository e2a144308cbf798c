/* The hub's supervisor: configuration, listeners, flow sockets, the worker's life. Never reads a byte from the network. */
#ifndef TOWPATH_SERVER_SUPERVISOR_H
#define TOWPATH_SERVER_SUPERVISOR_H

#include "server/config.h"

struct supervisor_options {
	const char *runtime_dir; /* control socket: RUNTIME_DIR/NAME.server */
	const char *state_dir;	 /* own certificate: STATE_DIR/NAME/ */
	int up_fd;		 /* of supervise_setup; -1: in the foreground */
	/* For a reload: read the configuration again, as main() did. *ret as of server_config_read(): done by the caller
	 * where 0 is returned. Return: 0; -EINVAL with @report filled; another negative errno with @err set. */
	int (*read_config)(const void *context, struct server_config *ret, struct ini_report *report, struct err *err);
	const void *context; /* for read_config */
};

/* Run until SIGTERM or SIGINT (exit 0), or until it cannot go on (1). Return: the exit code. */
int server_supervisor_run(const struct server_config *config, const struct supervisor_options *options);

#endif
