/* Reasons to try again before the wait is over: the host's network has changed, or the host's clock was set (which is
 * also how a wake-up from sleep shows). */
#pragma once

#include <stdbool.h>
#include <uv.h>

#define WAKEUP_PAUSE_MS 200u /* between two calls: a network comes up in many small steps */

struct wakeup {
	uv_timer_t pause;
	uv_poll_t clock;
	int clock_fd; /* -1: the kernel refuses it, and the clock is not watched */
	bool is_due;  /* something has happened during the pause */
	void (*on_wakeup)(void *owner);
	void *owner;
};

/* @on_wakeup: from the loop, at once, but not more often than every WAKEUP_PAUSE_MS. Return: 0 or a negative errno. */
int wakeup_open(struct wakeup *wakeup, uv_loop_t *loop, void (*on_wakeup)(void *owner), void *owner);

/* The network has changed. */
void wakeup_call(struct wakeup *wakeup);

/* The memory is the owner's again when the loop has run on. */
void wakeup_close(struct wakeup *wakeup);
