/* The race. Each address has one try: a socket is requested, handed down, connect() is called, the socket becomes
 * writable. The next try starts when the one before has failed or has had its head start. The first to be connected
 * wins; the others are closed.
 *
 * Fails when all tries have failed, with the reason of the last, or when the deadline for all of them has passed. A try
 * without a socket (the supervisor has none, or the channel is full) fails or waits for that deadline like any other.
 */
#include "client/dial.h"

#include "client/socket_request.h"
#include "common/base/require.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct dial_try {
	struct dial *dial;
	struct dial_try *next;
	struct socket_request request; /* open until the socket comes */
	uv_poll_t poll;
	int fd; /* -1: not handed down yet, or given to the owner */
	bool has_poll;
	struct addr addr;
};

struct dial {
	struct socket_source *sockets;
	const struct dial_handlers *handlers;
	void *owner;
	struct addr addresses[DIAL_ADDRESSES_MAX];
	size_t count, started;
	uint64_t round_ms;	/* when the first address was last started */
	struct dial_try *tries; /* that are under way, the newest first */
	uv_timer_t head_start;
	uv_timer_t deadline;
	unsigned pending; /* open handles: two timers, a poll of each try that has a socket */
	bool is_done;	  /* a handler was called; nothing starts any more */
	bool is_closing;
	struct addr last_addr;
	char last_reason[128];
};

static void dial_release(struct dial *dial)
{
	require(dial->pending > 0);
	if (--dial->pending == 0)
		free(dial);
}

static void on_timer_closed(uv_handle_t *handle)
{
	dial_release(handle->data);
}

/* The descriptor is closed only now: libuv may still touch it until the handle has closed. */
static void on_poll_closed(uv_handle_t *handle)
{
	struct dial_try *try = handle->data;

	if (try->fd >= 0)
		socket_request_close_socket(try->fd);
	dial_release(try->dial);
	free(try);
}

/* Take a try out of the list, close its socket and free it. A request that is still open is given up. */
static void try_end(struct dial_try *try)
{
	struct dial_try **link = &try->dial->tries;

	while (*link && *link != try)
		link = &(*link)->next;
	require(*link == try);
	*link = try->next;
	socket_request_close(try->dial->sockets, &try->request);
	if (try->has_poll)
		uv_close((uv_handle_t *)&try->poll, on_poll_closed);
	else
		free(try);
}

/* End all tries. The timers stay open until dial_close(). */
static void dial_stop(struct dial *dial)
{
	dial->is_done = true;
	while (dial->tries)
		try_end(dial->tries);
	uv_timer_stop(&dial->head_start);
	uv_timer_stop(&dial->deadline);
}

/* The owner is told exactly once, so every try of this dial ends first. */
static void dial_fail(struct dial *dial)
{
	dial_stop(dial);
	dial->handlers->on_failed(dial->owner, &dial->last_addr, dial->last_reason);
}

static void start_next(struct dial *dial);

/* Remember the reason, because the last one becomes that of the whole race, then start the next address. */
static void try_fail(struct dial_try *try, int error)
{
	struct dial *dial = try->dial;

	dial->last_addr = try->addr;
	snprintf(dial->last_reason, sizeof(dial->last_reason), "%s", strerror(error));
	try_end(try);
	start_next(dial);
}

/* connect() has ended, well or badly; SO_ERROR says how. */
static void on_connect_ready(uv_poll_t *poll, int status, int events)
{
	struct dial_try *try = poll->data;
	struct dial *dial = try->dial;
	struct addr addr = try->addr;
	int fd = try->fd, error = 0;
	socklen_t len = sizeof(error);

	(void)status;
	(void)events;
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0) {
		try_fail(try, error);
		return;
	}
	try->fd = -1;
	uv_poll_stop(&try->poll); /* libuv allows one handle a descriptor, and the owner makes another */
	dial_stop(dial);
	dial->handlers->on_connected(dial->owner, fd, &addr);
}

/* Connect without blocking; on_connect_ready() hears of the end. Owns @fd. */
static void try_connect(struct dial_try *try, int fd)
{
	struct dial *dial = try->dial;

	if (uv_poll_init(dial->head_start.loop, &try->poll, fd) < 0) {
		socket_request_close_socket(fd);
		try_fail(try, EMFILE); /* epoll has taken no more descriptors */
		return;
	}
	try->fd = fd;
	try->has_poll = true;
	try->poll.data = try;
	dial->pending++;
	if (connect(fd, &try->addr.sa, addr_len(&try->addr)) < 0 && errno != EINPROGRESS) {
		try_fail(try, errno);
		return;
	}
	uv_poll_start(&try->poll, UV_WRITABLE, on_connect_ready);
}

/* The supervisor's answer: a marked socket, or why there is none. */
static void try_on_socket(struct socket_request *request, int error, int fd)
{
	struct dial_try *try = (struct dial_try *)((char *)request - offsetof(struct dial_try, request));

	if (error < 0)
		try_fail(try, -error);
	else
		try_connect(try, fd);
}

/* Without memory this address is left out; the others, or the deadline, decide. */
static void try_open(struct dial *dial, const struct addr *addr)
{
	struct dial_try *try = calloc(1, sizeof(*try));

	if (!try)
		return;
	try->dial = dial;
	try->request.on_socket = try_on_socket;
	try->fd = -1;
	try->addr = *addr;
	try->next = dial->tries;
	dial->tries = try;
	/* If the channel is full, no socket comes, and the try waits until the deadline. */
	socket_request_open(dial->sockets, &try->request, addr, SOCK_STREAM);
}

static void on_head_start_over(uv_timer_t *timer)
{
	struct dial *dial = timer->data;

	if (dial->started < dial->count)
		start_next(dial);
}

/* Start the next address. With no address left and no try under way the race has failed. */
static void start_next(struct dial *dial)
{
	if (dial->is_done)
		return;
	if (dial->started < dial->count) {
		if (dial->started == 0)
			dial->round_ms = uv_now(dial->head_start.loop);
		try_open(dial, &dial->addresses[dial->started++]);
		uv_timer_start(&dial->head_start, on_head_start_over, DIAL_HEAD_START_MS, 0);
	} else if (!dial->tries) {
		dial_fail(dial);
	}
}

/* The race has taken too long. The log line names its newest try. */
static void on_deadline(uv_timer_t *timer)
{
	struct dial *dial = timer->data;

	if (dial->tries)
		dial->last_addr = dial->tries->addr;
	snprintf(dial->last_reason, sizeof(dial->last_reason), "no answer in %u s", DIAL_TIMEOUT_MS / 1000);
	dial_fail(dial);
}

/* No handler may be called from within dial_open(), so the first address waits for the loop. */
static void on_first_turn(uv_timer_t *timer)
{
	start_next(timer->data);
}

struct dial *dial_open(uv_loop_t *loop, struct socket_source *sockets, const struct addr *addresses, size_t count,
	const struct dial_handlers *handlers, void *owner)
{
	struct dial *dial = calloc(1, sizeof(*dial));

	if (!dial)
		return NULL;
	dial->sockets = sockets;
	dial->handlers = handlers;
	dial->owner = owner;
	dial->count = count < DIAL_ADDRESSES_MAX ? count : DIAL_ADDRESSES_MAX;
	memcpy(dial->addresses, addresses, dial->count * sizeof(*addresses));
	dial->pending = 2;
	uv_timer_init(loop, &dial->head_start);
	uv_timer_init(loop, &dial->deadline);
	dial->head_start.data = dial->deadline.data = dial;
	uv_timer_start(&dial->head_start, on_first_turn, 0, 0);
	uv_timer_start(&dial->deadline, on_deadline, DIAL_TIMEOUT_MS, 0);
	return dial;
}

void dial_again(struct dial *dial)
{
	size_t tries = 0;

	for (const struct dial_try *try = dial->tries; try; try = try->next)
		tries++;
	/* A network that changes all the time must neither pile up sockets nor start the race over and over. */
	if (dial->is_done || tries + dial->count > DIAL_TRIES_MAX ||
		uv_now(dial->head_start.loop) - dial->round_ms < DIAL_HEAD_START_MS)
		return;
	dial->started = 0;
	start_next(dial);
}

void dial_close(struct dial *dial)
{
	if (!dial || dial->is_closing)
		return;
	dial->is_closing = true;
	dial_stop(dial);
	uv_close((uv_handle_t *)&dial->head_start, on_timer_closed);
	uv_close((uv_handle_t *)&dial->deadline, on_timer_closed);
}
