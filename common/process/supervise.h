/* What both supervisors have in common: the worker's life, the control socket, signals, systemd.
 *
 * The program hands in what differs. A worker that dies is started again, and everything is handed down to it anew;
 * what the program itself holds (listeners, addresses, settings) stays. Calls back from the loop only.
 */
#ifndef TOWPATH_PROCESS_SUPERVISE_H
#define TOWPATH_PROCESS_SUPERVISE_H

#include "common/base/err.h"
#include "common/process/channel.h"

#include <jansson.h>
#include <stddef.h>

struct supervise_program {
	/* A new worker is there: send CHANNEL_SETTINGS and CHANNEL_LISTENER; CHANNEL_START follows by itself. */
	int (*hand_down)(void *owner, struct channel *channel, struct err *err);
	/* A request for a socket: answer it on @channel. The other kinds never come here. */
	void (*on_wanted)(void *owner, struct channel *channel, enum channel_kind kind, const void *payload);
	/* The first READY of all. */
	void (*on_ready)(void *owner);
};

struct supervise_plan {
	const char *name;	  /* of the tunnel */
	const char *role;	  /* "server", "client": of status, and the control socket's ending */
	const char *area;	  /* log area of the worker's comings and goings: "session", "link" */
	const char *worker_title; /* argv[0] of the worker */
	const char *runtime_dir;
	const char *ready_state; /* state from READY on, until the worker says another: "up", "connecting" */
	int netns_fd;		 /* namespace of the worker, -1: ours; borrowed */
};

/* Run until SIGTERM or SIGINT. What goes wrong is logged here. Return: exit code, 0 or 1. */
int supervise_run(const struct supervise_plan *plan, const struct supervise_program *program, void *owner);

#endif
