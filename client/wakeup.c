/* Happy path: a call is passed on at once; the calls of the next WAKEUP_PAUSE_MS become one, at the end of that pause.
 *
 * The clock is watched by a kernel timer that never expires: TFD_TIMER_CANCEL_ON_SET makes read() fail with ECANCELED
 * when the wall clock is set. Without that timer a failure because of the clock is tried again like any other, only
 * later.
 */
#include "client/wakeup.h"

#include <errno.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define FAR_AWAY_S ((time_t)50 * 365 * 24 * 3600) /* 50 years: never, but far from any overflow */

static void wakeup_now(struct wakeup *wakeup);

static void on_pause_over(uv_timer_t *timer)
{
	struct wakeup *wakeup = timer->data;

	if (wakeup->is_due)
		wakeup_now(wakeup);
}

static void wakeup_now(struct wakeup *wakeup)
{
	wakeup->is_due = false;
	uv_timer_start(&wakeup->pause, on_pause_over, WAKEUP_PAUSE_MS, 0);
	wakeup->on_wakeup(wakeup->owner);
}

void wakeup_call(struct wakeup *wakeup)
{
	if (uv_is_active((uv_handle_t *)&wakeup->pause))
		wakeup->is_due = true;
	else
		wakeup_now(wakeup);
}

/* --- the clock --- */

/* Call it again after each ECANCELED. */
static int arm_clock(int fd)
{
	struct itimerspec when = {.it_value.tv_sec = time(NULL) + FAR_AWAY_S};

	return timerfd_settime(fd, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &when, NULL) < 0 ? -errno : 0;
}

static void on_clock_set(uv_poll_t *poll, int status, int events)
{
	struct wakeup *wakeup = poll->data;
	uint64_t expired;

	(void)status;
	(void)events;
	if (read(wakeup->clock_fd, &expired, sizeof(expired)) >= 0 || errno != ECANCELED)
		return;
	arm_clock(wakeup->clock_fd);
	wakeup_call(wakeup);
}

static void watch_clock(struct wakeup *wakeup, uv_loop_t *loop)
{
	int fd = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);

	wakeup->clock_fd = -1;
	if (fd < 0)
		return;
	if (arm_clock(fd) < 0 || uv_poll_init(loop, &wakeup->clock, fd) < 0) {
		close(fd);
		return;
	}
	wakeup->clock_fd = fd;
	wakeup->clock.data = wakeup;
	uv_poll_start(&wakeup->clock, UV_READABLE, on_clock_set);
}

static void on_clock_closed(uv_handle_t *handle)
{
	struct wakeup *wakeup = handle->data;

	close(wakeup->clock_fd);
}

int wakeup_open(struct wakeup *wakeup, uv_loop_t *loop, void (*on_wakeup)(void *owner), void *owner)
{
	int rc = uv_timer_init(loop, &wakeup->pause);

	if (rc < 0)
		return rc;
	wakeup->pause.data = wakeup;
	wakeup->is_due = false;
	wakeup->on_wakeup = on_wakeup;
	wakeup->owner = owner;
	watch_clock(wakeup, loop);
	return 0;
}

void wakeup_close(struct wakeup *wakeup)
{
	uv_close((uv_handle_t *)&wakeup->pause, NULL);
	if (wakeup->clock_fd >= 0)
		uv_close((uv_handle_t *)&wakeup->clock, on_clock_closed);
}
