/* A worker's life as its supervisor sees it: started, handed settings and sockets, ready, dead, started again, stopped.
 *
 *     STARTING ──READY──▶ RUNNING                    the worker ends: ──▶ WAITING ──at once, or 75 ms──▶ STARTING
 *        any ──supervise_worker_stop()──▶ STOPPING ──it has ended, or is killed after 2 s──▶ NONE
 *        any ──FAILED, or five deaths before the first READY──▶ NONE
 *
 * A worker is gone when it is reaped. One whose channel ends while it lives has broken the rules and is killed. Owned
 * by supervise.c. Handlers are called from the loop, on_end also from inside start and stop.
 */
#pragma once

#include "common/base/err.h"
#include "common/process/channel.h"

#include <sys/types.h>
#include <uv.h>

struct supervise_worker_setup {
	const char *area;  /* of log lines */
	const char *title; /* argv[0] */
	int netns_fd;	   /* -1: ours; borrowed */
};

struct supervise_worker_handlers {
	/* A new worker runs: send it settings and sockets; CHANNEL_START follows by itself. */
	int (*hand_down)(void *owner, struct channel *channel, struct err *err);
	void (*on_ready)(void *owner);
	/* Every message of the worker but READY and FAILED. */
	void (*on_message)(void *owner, struct channel *channel, enum channel_kind kind, const void *payload);
	/* It is dead; another one will be started. */
	void (*on_gone)(void *owner);
	/* There is no worker and there will be none: @text says why not, NULL: it was stopped. Called once. */
	void (*on_end)(void *owner, const char *text);
};

struct supervise_worker;

int supervise_worker_open(struct supervise_worker **ret, uv_loop_t *loop, const struct supervise_worker_setup *setup,
	const struct supervise_worker_handlers *handlers, void *owner, struct err *err);
void supervise_worker_start(struct supervise_worker *worker);

/* Ask it to close its sessions and end; on_end follows within 2 s. Calling it again does nothing. */
void supervise_worker_stop(struct supervise_worker *worker);
/* End it at once. As after any death another one is started, unless supervise_worker_stop() was called. */
void supervise_worker_kill(struct supervise_worker *worker);

/* Call it when SIGCHLD came: acts if the worker is the child that died. */
void supervise_worker_reap(struct supervise_worker *worker);

/* NULL: none runs, or it is being stopped. A worker that is not ready yet reads what is sent after CHANNEL_START. */
struct channel *supervise_worker_channel(const struct supervise_worker *worker);
pid_t supervise_worker_pid(const struct supervise_worker *worker); /* 0: none at the moment */
unsigned supervise_worker_restarts(const struct supervise_worker *worker);

/* A worker that still lives is killed. No handler is called any more; memory goes with the timer's close callback. */
void supervise_worker_close(struct supervise_worker *worker);
