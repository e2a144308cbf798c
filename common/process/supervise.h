/* The common part of both supervisors: the worker's life, the host's (common/host), the control socket, signals,
 * systemd.
 *
 * The program hands in what differs. A worker that dies is started again, and everything is handed down to it anew.
 * Listeners, addresses and settings are the program's and stay, and so does the host's device.
 *
 *     start   the host is brought up and the worker started at the same time: PostUp may ping through the tunnel
 *     ready   the worker has said READY and the host is up: systemd hears of it
 *     flowing ready, and a client is also linked and, with a device of ours, has shaken hands: `up` returns
 *     stop    the host goes down (PreDown may still use the tunnel), then the worker, exit 0
 *
 * A host that cannot be brought up, or a worker that says FAILED, ends it with exit code 1 after everything is put
 * back. How it works inside: supervise.c. Handlers are called from the loop only.
 */
#pragma once

#include "common/base/err.h"
#include "common/host/host.h"
#include "common/process/channel.h"
#include "common/process/configuration.h"
#include "common/process/status_port.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct supervise;

/* The values that main() hands to the program's supervisor. */
struct supervisor_options {
	const char *runtime_dir;	       /* control socket: RUNTIME_DIR/NAME.ROLE */
	const char *state_dir;		       /* undo list, own certificate: STATE_DIR/NAME/ */
	const char *typed;		       /* "home --state-dir DIR": behind the verb of a command in a message */
	int up_fd;			       /* the pipe of `up`, see notify.h; -1: in the foreground */
	const struct configuration_type *type; /* for a reload: read the configuration again, as main() did */
	const void *context;		       /* for its read() */
};

struct supervise_program {
	/* A new worker runs: send CHANNEL_SETTINGS and CHANNEL_LISTENER; CHANNEL_START follows by itself. */
	int (*hand_down)(void *owner, struct channel *channel, struct err *err);
	/* A message of the worker that is the program's: CHANNEL_FLOW_WANTED, LINK_WANTED, ADDRESSES, CLOCK. */
	void (*on_message)(void *owner, struct channel *channel, enum channel_kind kind, const void *payload);
	/* The first worker is ready. Later ones are not told. */
	void (*on_ready)(void *owner);
	/* All is ready, for the first time. `up` returns when the program calls supervise_flow(), which it may do from
	 * here. NULL: at once. */
	void (*on_up)(void *owner);
	/* The worker has died; another one will be started. NULL: not wanted. */
	void (*on_worker_gone)(void *owner);
	/* Something changed in the kernel (enum netmon_kind). @channel: NULL without a worker. NULL: not wanted. */
	void (*on_network)(void *owner, struct channel *channel, unsigned kinds);
	/* Read the file again and take what can be taken: host_reload() on supervise_host(), CHANNEL_RELOAD on @channel
	 * (NULL: none). @ret_restart: names what needs a restart, "" for nothing. Return: 0, or a negative errno with
	 * nothing changed and @err set, lines of a report joined by newlines: CONFIGURATION_IS_WRONG where the file
	 * alone is at fault. Or HOST_RULES_WANTED of host_reload(), with nothing changed: it is called again. */
	int (*reload)(void *owner, struct channel *channel, char *ret_restart, size_t restart_size, struct err *err);
	/* For `status`: add to @object what only the program knows. Its "wireguard" is host_report()'s description of
	 * the device, missing where there is none. NULL: not wanted. */
	void (*on_report)(void *owner, json_t *object);
	/* The end: close what is open on supervise_loop(). No handler is called after this. NULL: not wanted. */
	void (*on_close)(void *owner);
};

struct supervise_setup {
	const char *name;	  /* of the tunnel */
	const char *role;	  /* "server", "client": of status, and the control socket's ending */
	const char *area;	  /* log area of lines about the worker: "session", "link" */
	const char *worker_title; /* argv[0] of the worker */
	const char *runtime_dir;
	const char *ready_state;       /* the state from READY until the worker says another: "up", "connecting" */
	int netns_fd;		       /* namespace of the worker, -1: ours; borrowed */
	bool lacks_netns;	       /* the worker should have a namespace of its own, and the host allows none */
	const struct host_setup *host; /* NULL: no device of ours */
	const struct status_key *status; /* of the configuration at the start; NULL: no page */
	bool flows_when_linked;	       /* the client: not before the worker's state is "up" */
	int up_fd;		       /* of `up`, see notify.h; -1: in the foreground */
};

/* Run until SIGTERM, SIGINT or `down`. Failures are logged here. *ret is set before the first handler is called, for
 * the functions below. Return: exit code, 0 or 1. */
int supervise_run(const struct supervise_setup *setup, const struct supervise_program *program, void *owner,
	struct supervise **ret);

/* NULL: no device of ours. */
struct host *supervise_host(struct supervise *supervise);
uv_loop_t *supervise_loop(struct supervise *supervise);
/* For a reload: take the port of the status page of the new configuration, in two steps: what can fail first.
 * Return: 0, or a negative errno with @err set. */
int supervise_open_status(
	struct supervise *supervise, struct status_port *ret, const struct status_key *key, struct err *err);
/* From now on the page answers at @port, which is taken over, and at no other. */
void supervise_use_status(struct supervise *supervise, struct status_port *port);
/* Say that the work begun by on_up() is done: `up` may return. */
void supervise_flow(struct supervise *supervise);
/* Read the configuration again, when the loop comes to it; as SIGHUP does. */
void supervise_reload_soon(struct supervise *supervise);
/* The channel to the worker. NULL: none runs at the moment. */
struct channel *supervise_channel(struct supervise *supervise);
