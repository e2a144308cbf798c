/* What both supervisors have in common: the worker's life, the host's (common/host), the control socket, signals, systemd.
 *
 * The program hands in what differs. A worker that dies is started again, and everything is handed down to it anew;
 * what the program itself holds (listeners, addresses, settings) and the host's device stay.
 *
 *     start   the host is brought up and the worker started at the same time: PostUp may ping through the tunnel
 *     ready   when the worker says READY and the host is up: systemd hears of it
 *     flowing `up` returns: ready, and for a client also linked, and with a device of ours shaken hands
 *     stop    the host goes down (PreDown may still use the tunnel), then the worker, exit 0
 *
 * A host that cannot be brought up, or a worker that says FAILED, ends it with exit code 1 after everything is put back.
 * Calls back from the loop only.
 */
#ifndef TOWPATH_PROCESS_SUPERVISE_H
#define TOWPATH_PROCESS_SUPERVISE_H

#include "common/base/err.h"
#include "common/host/host.h"
#include "common/process/channel.h"
#include "common/process/configuration.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct supervise;

/* What main() hands to the program's supervisor. */
struct supervisor_options {
	const char *runtime_dir;	       /* control socket: RUNTIME_DIR/NAME.ROLE */
	const char *state_dir;		       /* undo list, own certificate: STATE_DIR/NAME/ */
	int up_fd;			       /* the pipe of `up`, see notify.h; -1: in the foreground */
	const struct configuration_type *type; /* for a reload: read the configuration again, as main() did */
	const void *context;		       /* for its read() */
};

struct supervise_program {
	/* A new worker is there: send CHANNEL_SETTINGS and CHANNEL_LISTENER; CHANNEL_START follows by itself. */
	int (*hand_down)(void *owner, struct channel *channel, struct err *err);
	/* What the worker says that is not ours: CHANNEL_FLOW_WANTED, LINK_WANTED, ADDRESSES, CLOCK. */
	void (*on_message)(void *owner, struct channel *channel, enum channel_kind kind, const void *payload);
	/* It is ready, for the first time. */
	void (*on_ready)(void *owner);
	/* The worker is gone; another one comes. NULL: not wanted. */
	void (*on_worker_gone)(void *owner);
	/* Something changed in the kernel (enum netmon_kind). @channel: NULL without a worker. NULL: not wanted. */
	void (*on_network)(void *owner, struct channel *channel, unsigned kinds);
	/* Read the file again and take what can be taken: host_reload() on supervise_host(), CHANNEL_RELOAD on @channel (NULL: none).
	 * @ret_restart: names what needs a restart, "" for nothing. Return: 0, or a negative errno with nothing changed
	 * and @err set, lines of a report joined by newlines: CONFIGURATION_IS_WRONG where the file alone is at fault. */
	int (*reload)(void *owner, struct channel *channel, char *ret_restart, size_t restart_size, struct err *err);
	/* The device is described, @wireguard as host_report() has it: add what you know. NULL: not wanted. */
	void (*on_report)(void *owner, json_t *wireguard);
	/* It ends: close what you have open on its loop. Nothing is called after this. NULL: not wanted. */
	void (*on_close)(void *owner);
};

struct supervise_setup {
	const char *name;	  /* of the tunnel */
	const char *role;	  /* "server", "client": of status, and the control socket's ending */
	const char *area;	  /* log area of the worker's comings and goings: "session", "link" */
	const char *worker_title; /* argv[0] of the worker */
	const char *runtime_dir;
	const char *ready_state;       /* state from READY on, until the worker says another: "up", "connecting" */
	int netns_fd;		       /* namespace of the worker, -1: ours; borrowed */
	const struct host_setup *host; /* NULL: no device of ours */
	bool flows_when_linked;	       /* the client: not before the worker's state is "up" */
	int up_fd;		       /* of `up`, see notify.h; -1: in the foreground */
};

/* Run until SIGTERM, SIGINT or `down`. What goes wrong is logged here. @ret: set before the first call back, for the two
 * functions below. Return: exit code, 0 or 1. */
int supervise_run(const struct supervise_setup *setup, const struct supervise_program *program, void *owner,
	struct supervise **ret);

/* NULL: no device of ours. */
struct host *supervise_host(struct supervise *supervise);
uv_loop_t *supervise_loop(struct supervise *supervise);
/* To the worker. NULL: there is none just now. */
struct channel *supervise_channel(struct supervise *supervise);

#endif
