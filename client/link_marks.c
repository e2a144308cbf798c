/* See link_marks.h.
 *
 * Theory of operation. SO_MARK needs CAP_NET_ADMIN, which the worker does not have. So the supervisor makes each
 * socket, sets the mark, keeps a duplicate of a TCP one's descriptor if the mark may change, and hands the original
 * down:
 *
 *    new socket ──▶ mark, bound past the tunnel ──▶ original: to the worker
 *                                               └─▶ duplicate: ──link_marks_change()──▶ the new mark, bound anew
 *                                                              ──each second: is it over?──▶ closed
 *
 * Both descriptors are of one socket, so an option that is set by one is set for both. The worker's close() is not
 * seen here, but the state of TCP is. A socket that never connects stays new, and is dropped after UNUSED_MAX_MS.
 *
 * Fails with one warning: without privilege there is no mark, and under a full tunnel the client would connect
 * through itself. A socket that cannot be duplicated keeps the mark it has.
 */
#include "client/link_marks.h"

#include "client/way_past.h"
#include "common/base/log.h"
#include "common/process/socket_tune.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SWEEP_MS 1000
#define UNUSED_MAX_MS 15000 /* handed down, but never connected: a dial gives up after 10 s */

struct mark_duplicate {
	struct mark_duplicate *next;
	int fd;
	struct addr to;
	uint64_t made_ms;
};

/* One warning, not one for each socket: the cause is the same until the program is started anew. */
static void set_mark(struct link_marks *marks, int fd)
{
	if (setsockopt(fd, SOL_SOCKET, SO_MARK, &marks->mark, sizeof(marks->mark)) == 0 || marks->is_refusal_told)
		return;
	marks->is_refusal_told = true;
	log_warning("link",
		"mark 0x%x: %s; needs root or CAP_NET_ADMIN (docker run --cap-add NET_ADMIN), with AllowedIPs = "
		"0.0.0.0/0 the tunnel would loop",
		marks->mark, strerror(errno));
}

/* @link: what points to it in the list, which then points to the next one. */
static void drop_duplicate(struct mark_duplicate **link)
{
	struct mark_duplicate *duplicate = *link;

	*link = duplicate->next;
	close(duplicate->fd);
	free(duplicate);
}

/* The worker closes its own descriptor, so only the state of TCP shows that the connection has ended. */
static void on_sweep(uv_timer_t *timer)
{
	struct link_marks *marks = timer->data;
	struct mark_duplicate **link = &marks->duplicates;

	while (*link) {
		struct mark_duplicate *duplicate = *link;
		enum socket_tcp_life life = socket_tcp_life(duplicate->fd);
		bool is_unused = life == SOCKET_TCP_NEW && uv_now(timer->loop) - duplicate->made_ms > UNUSED_MAX_MS;

		if (life == SOCKET_TCP_OVER || is_unused)
			drop_duplicate(link);
		else
			link = &duplicate->next;
	}
	if (!marks->duplicates)
		uv_timer_stop(timer);
}

/* The timer is opened with the first duplicate: many clients never have one. Return: false without memory. */
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

/* Remember one more descriptor of the same connection: SO_MARK set through it takes effect for both. */
static void keep_duplicate(struct link_marks *marks, uv_loop_t *loop, int fd, const struct addr *to)
{
	struct mark_duplicate *duplicate = calloc(1, sizeof(*duplicate));

	if (duplicate)
		duplicate->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (!duplicate || duplicate->fd < 0 || !open_sweep(marks, loop)) {
		if (duplicate && duplicate->fd >= 0)
			close(duplicate->fd);
		free(duplicate);
		return;
	}
	duplicate->to = *to;
	duplicate->made_ms = uv_now(loop);
	duplicate->next = marks->duplicates;
	marks->duplicates = duplicate;
	uv_timer_start(marks->sweep, on_sweep, SWEEP_MS, SWEEP_MS);
}

void link_marks_put(struct link_marks *marks, uv_loop_t *loop, int fd, const struct addr *to)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (marks->mark != 0)
		set_mark(marks, fd);
	way_past_bind(fd, marks->tunnel, marks->mark, to);
	/* UDP sockets are for one question to a name server. */
	if (marks->keeps && getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM)
		keep_duplicate(marks, loop, fd, to);
}

bool link_marks_change(struct link_marks *marks, uint32_t mark, const char *tunnel)
{
	bool is_new = mark != marks->mark;

	marks->mark = mark;
	snprintf(marks->tunnel, sizeof(marks->tunnel), "%s", tunnel);
	for (struct mark_duplicate *duplicate = marks->duplicates; duplicate; duplicate = duplicate->next) {
		if (is_new)
			set_mark(marks, duplicate->fd);
		way_past_bind(duplicate->fd, tunnel, mark, &duplicate->to);
	}
	return is_new;
}

void link_marks_forget(struct link_marks *marks)
{
	while (marks->duplicates)
		drop_duplicate(&marks->duplicates);
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
