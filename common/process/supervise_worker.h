/* A worker's life as its supervisor sees it: started, given its things, ready, dead, started again, stopped.
 *
 *     STARTING ──READY──▶ RUNNING                    the worker ends: ──▶ WAITING ──at once, or 75 ms──▶ STARTING
 *        any ──supervise_worker_stop()──▶ STOPPING ──it has ended, or is killed after 2 s──▶ NONE
 *        any ──FAILED, or five deaths before the first READY──▶ NONE
 *
 * A worker is gone when it is reaped. One whose channel ends while it lives broke the rules and is killed. One owner,
 * supervise.c; handlers are called from the loop, on_end also from inside start and stop.
 */
#ifndef TOWPATH_PROCESS_SUPERVISE_WORKER_H
#define TOWPATH_PROCESS_SUPERVISE_WORKER_H

#include "common/base/err.h"
#include "common/process/channel.h"

#include <stdbool.h>
#include <sys/types.h>
#include <uv.h>

struct supervise_worker_setup {
	const char *area;  /* of log lines */
	const char *title; /* argv[0] */
	int netns_fd;	   /* -1: ours; borrowed */
};

struct supervise_worker_handlers {
	/* A new one is there: give it everything; CHANNEL_START follows by itself. */
	int (*hand_down)(void *owner, struct channel *channel, struct err *err);
	void (*on_ready)(void *owner);
	/* All it says but READY and FAILED. */
	void (*on_message)(void *owner, struct channel *channel, enum channel_kind kind, const void *payload);
	/* It is dead, another one comes. */
	void (*on_gone)(void *owner);
	/* There is none and will be none: @text says why not; NULL: it was stopped. Once. */
	void (*on_end)(void *owner, const char *text);
};

struct supervise_worker;

int supervise_worker_open(struct supervise_worker **ret, uv_loop_t *loop, const struct supervise_worker_setup *setup,
	const struct supervise_worker_handlers *handlers, void *owner, struct err *err);
void supervise_worker_start(struct supervise_worker *worker);

/* In an orderly way; on_end follows. A second time: nothing. */
void supervise_worker_stop(struct supervise_worker *worker);
/* It ends at once; as after any death another one comes, unless it was to stop. */
void supervise_worker_kill(struct supervise_worker *worker);

/* SIGCHLD came. */
void supervise_worker_reap(struct supervise_worker *worker);

/* NULL: there is none. What is sent to one that is not ready yet waits behind CHANNEL_START. */
struct channel *supervise_worker_channel(const struct supervise_worker *worker);
pid_t supervise_worker_pid(const struct supervise_worker *worker); /* 0: there is none just now */
unsigned supervise_worker_restarts(const struct supervise_worker *worker);

/* One that still lives is killed. No call back any more; memory goes when the loop has let go of the timer. */
void supervise_worker_close(struct supervise_worker *worker);

#endif
