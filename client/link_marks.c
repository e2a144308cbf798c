/* Duplicates in a list, looked through once a second while there are any. Fails with one warning: without privilege there
 * is no mark. */
#include "client/link_marks.h"

#include "common/base/log.h"
#include "common/process/socket_tune.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_MS 1000
#define UNUSED_MAX_MS 15000 /* handed down, but never connected; a dial ends after ten seconds */

struct mark_duplicate {
	struct mark_duplicate *next;
	int fd;
	uint64_t made_ms;
};

static void set_mark(struct link_marks *marks, int fd)
{
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &marks->mark, sizeof(marks->mark)) == 0 || marks->is_refusal_told)
		return;
	marks->is_refusal_told = true;
	log_warning("link",
		"mark 0x%x: %s; needs root or CAP_NET_ADMIN, with AllowedIPs = 0.0.0.0/0 the tunnel would loop",
		marks->mark, strerror(errno));
}

static bool is_tcp(int fd)
{
	int type = 0;
	socklen_t len = sizeof(type);

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM;
}

/* Is there nothing more to come? */
static bool is_over(const struct mark_duplicate *duplicate, uint64_t now_ms)
{
	switch (socket_tcp_life(duplicate->fd)) {
	case SOCKET_TCP_NEW:
		return now_ms - duplicate->made_ms > UNUSED_MAX_MS;
	case SOCKET_TCP_ALIVE:
		return false;
	case SOCKET_TCP_OVER:
		break;
	}
	return true;
}

static void drop(struct mark_duplicate **place)
{
	struct mark_duplicate *duplicate = *place;

	*place = duplicate->next;
	close(duplicate->fd);
	free(duplicate);
}

static void on_sweep(uv_timer_t *timer)
{
	struct link_marks *marks = timer->data;
	struct mark_duplicate **place = &marks->duplicates;

	while (*place) {
		if (is_over(*place, uv_now(timer->loop)))
			drop(place);
		else
			place = &(*place)->next;
	}
	if (!marks->duplicates)
		uv_timer_stop(timer);
}

static bool open_sweep(struct link_marks *marks, uv_loop_t *loop)
{
	if (marks->sweep)
		return true;
	marks->sweep = calloc(1, sizeof(*marks->sweep));
	if (!marks->sweep)
		return false;
	uv_timer_init(loop, marks->sweep);
	marks->sweep->data = marks;
	return true;
}

static void keep(struct link_marks *marks, uv_loop_t *loop, int fd)
{
	struct mark_duplicate *duplicate = calloc(1, sizeof(*duplicate));

	if (duplicate)
		duplicate->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (!duplicate || duplicate->fd < 0 || !open_sweep(marks, loop)) {
		if (duplicate && duplicate->fd >= 0)
			close(duplicate->fd);
		free(duplicate);
		return; /* without one it keeps the mark it has */
	}
	duplicate->made_ms = uv_now(loop);
	duplicate->next = marks->duplicates;
	marks->duplicates = duplicate;
	uv_timer_start(marks->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

void link_marks_put(struct link_marks *marks, uv_loop_t *loop, int fd)
{
	if (marks->mark != 0)
		set_mark(marks, fd);
	if (marks->keeps && is_tcp(fd))
		keep(marks, loop, fd);
}

bool link_marks_change(struct link_marks *marks, uint32_t mark)
{
	if (mark == marks->mark)
		return false;
	marks->mark = mark;
	for (struct mark_duplicate *duplicate = marks->duplicates; duplicate; duplicate = duplicate->next)
		set_mark(marks, duplicate->fd);
	return true;
}

void link_marks_forget(struct link_marks *marks)
{
	while (marks->duplicates)
		drop(&marks->duplicates);
	if (marks->sweep)
		uv_timer_stop(marks->sweep);
}

static void on_sweep_closed(uv_handle_t *handle)
{
	free(handle);
}

void link_marks_close(struct link_marks *marks)
{
	link_marks_forget(marks);
	if (marks->sweep)
		uv_close((uv_handle_t *)marks->sweep, on_sweep_closed);
	marks->sweep = NULL;
}
