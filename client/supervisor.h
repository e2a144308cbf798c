/* The client's supervisor: configuration, the local UDP port, link sockets, the worker's life. Never reads a byte from the network. */
#ifndef TOWPATH_CLIENT_SUPERVISOR_H
#define TOWPATH_CLIENT_SUPERVISOR_H

#include "client/config.h"

struct supervisor_options {
	const char *runtime_dir; /* control socket: RUNTIME_DIR/NAME.client */
	const char *state_dir;
	int up_fd; /* of supervise_setup; -1: in the foreground */
	/* For a reload: read the configuration again, as main() did. *ret as of client_config_read(): done by the caller in
	 * any case. Return: 0; -EINVAL with @report filled; another negative errno with @err set. */
	int (*read_config)(const void *context, struct client_config *ret, struct ini_report *report, struct err *err);
	const void *context; /* for read_config */
};

/* Run until SIGTERM or SIGINT (exit 0), or until it cannot go on (1). Return: the exit code. */
int client_supervisor_run(const struct client_config *config, const struct supervisor_options *options);

#endif
