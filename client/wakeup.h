/* Why who waits should not wait any longer: the host's network has changed, or somebody has set its clock (which also is
 * how waking up from sleep shows). */
#ifndef TOWPATH_CLIENT_WAKEUP_H
#define TOWPATH_CLIENT_WAKEUP_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define WAKEUP_PAUSE_MS 200u /* between two calls: networks come up in many small steps */

struct wakeup {
	uv_timer_t pause;
	uv_poll_t clock;
	int clock_fd; /* -1: none, where the kernel refuses it */
	bool is_due;  /* something happened during the pause */
	void (*on_wakeup)(void *owner);
	void *owner;
};

/* @on_wakeup: from the loop, at once, but not more often than every WAKEUP_PAUSE_MS. Return: 0 or a negative errno. */
int wakeup_open(struct wakeup *wakeup, uv_loop_t *loop, void (*on_wakeup)(void *owner), void *owner);

/* The network has changed. */
void wakeup_call(struct wakeup *wakeup);

/* Memory is the owner's when the loop has let go of the handles. */
void wakeup_close(struct wakeup *wakeup);

#endif
