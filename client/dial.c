/* The race. One try an address: socket wanted → handed down → connect() → writable. The next try starts when the one
 * before has failed or had its head start. The first connected wins, the others are closed. */
#include "client/dial.h"

#include "client/client.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct dial_try {
	struct dial *dial;
	struct dial_try *next; /* of the dial */
	struct socket_request wish;      /* open until the socket comes */
	uv_poll_t poll;
	int fd; /* -1: not handed down yet, or handed on */
	bool has_poll;
	struct addr addr;
};

struct dial {
	struct client *client;
	const struct dial_handlers *handlers;
	void *owner;
	struct addr addresses[DIAL_ADDRESSES_MAX];
	size_t count, started;
	uint64_t round_ms;	/* when the first address was last started */
	struct dial_try *tries; /* under way, the newest first */
	uv_timer_t head_start;
	uv_timer_t deadline;
	unsigned pending; /* open handles */
	bool is_done;
	bool is_closing;
	struct addr last_addr;
	char last_reason[128];
};

static void dial_release(struct dial *dial)
{
	if (--dial->pending == 0)
		free(dial);
}

static void on_timer_closed(uv_handle_t *handle)
{
	dial_release(handle->data);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct dial_try *attempt = handle->data;

	if (attempt->fd >= 0)
		socket_request_close_socket(attempt->fd);
	dial_release(attempt->dial);
	free(attempt);
}

/* Take a try out of every list and let it go. */
static void try_end(struct dial_try *attempt)
{
	struct dial_try **place = &attempt->dial->tries;

	while (*place != attempt)
		place = &(*place)->next;
	*place = attempt->next;
	socket_request_close(attempt->dial->client, &attempt->wish);
	if (attempt->has_poll)
		uv_close((uv_handle_t *)&attempt->poll, on_poll_closed);
	else
		free(attempt);
}

static void dial_stop(struct dial *dial)
{
	dial->is_done = true;
	while (dial->tries)
		try_end(dial->tries);
	uv_timer_stop(&dial->head_start);
	uv_timer_stop(&dial->deadline);
}

static void dial_fail(struct dial *dial)
{
	dial_stop(dial);
	dial->handlers->on_failed(dial->owner, &dial->last_addr, dial->last_reason);
}

static void dial_next(struct dial *dial);

static void try_fail(struct dial_try *attempt, int error)
{
	struct dial *dial = attempt->dial;

	dial->last_addr = attempt->addr;
	snprintf(dial->last_reason, sizeof(dial->last_reason), "%s", strerror(error));
	try_end(attempt);
	dial_next(dial);
}

static void try_win(struct dial_try *attempt)
{
	struct dial *dial = attempt->dial;
	struct addr addr = attempt->addr;
	int fd = attempt->fd;

	attempt->fd = -1;
	uv_poll_stop(&attempt->poll); /* the descriptor leaves the loop before another handle takes it */
	dial_stop(dial);
	dial->handlers->on_connected(dial->owner, fd, &addr);
}

static void on_connect_ready(uv_poll_t *poll, int status, int events)
{
	struct dial_try *attempt = poll->data;
	int error = 0;
	socklen_t len = sizeof(error);

	(void)status;
	(void)events;
	if (getsockopt(attempt->fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error != 0)
		try_fail(attempt, error);
	else
		try_win(attempt);
}

static void try_connect(struct dial_try *attempt, int fd)
{
	struct dial *dial = attempt->dial;

	if (uv_poll_init(dial->head_start.loop, &attempt->poll, fd) < 0) {
		socket_request_close_socket(fd);
		try_fail(attempt, EMFILE);
		return;
	}
	attempt->fd = fd;
	attempt->has_poll = true;
	attempt->poll.data = attempt;
	dial->pending++;
	if (connect(fd, &attempt->addr.sa, addr_len(&attempt->addr)) < 0 && errno != EINPROGRESS) {
		try_fail(attempt, errno);
		return;
	}
	uv_poll_start(&attempt->poll, UV_WRITABLE, on_connect_ready);
}

static void try_on_socket(struct socket_request *wish, int error, int fd)
{
	struct dial_try *attempt = (struct dial_try *)((char *)wish - offsetof(struct dial_try, wish));

	if (error < 0)
		try_fail(attempt, -error);
	else
		try_connect(attempt, fd);
}

static void try_open(struct dial *dial, const struct addr *addr)
{
	struct dial_try *attempt = calloc(1, sizeof(*attempt));

	if (!attempt)
		return;
	attempt->dial = dial;
	attempt->wish.on_socket = try_on_socket;
	attempt->fd = -1;
	attempt->addr = *addr;
	attempt->next = dial->tries;
	dial->tries = attempt;
	socket_request_open(dial->client, &attempt->wish, addr->sa.sa_family, SOCK_STREAM); /* refused: the deadline ends it */
}

static void on_head_start_over(uv_timer_t *timer)
{
	struct dial *dial = timer->data;

	if (dial->started < dial->count)
		dial_next(dial);
}

/* Start the next address; with none left and none under way it is over. */
static void dial_next(struct dial *dial)
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

static void on_deadline(uv_timer_t *timer)
{
	struct dial *dial = timer->data;

	if (dial->tries)
		dial->last_addr = dial->tries->addr;
	snprintf(dial->last_reason, sizeof(dial->last_reason), "no answer in %u s", DIAL_TIMEOUT_MS / 1000);
	dial_fail(dial);
}

static void on_first_turn(uv_timer_t *timer)
{
	dial_next(timer->data);
}

struct dial *dial_open(struct client *client, const struct addr *addresses, size_t count,
	const struct dial_handlers *handlers, void *owner)
{
	struct dial *dial = calloc(1, sizeof(*dial));

	if (!dial)
		return NULL;
	dial->client = client;
	dial->handlers = handlers;
	dial->owner = owner;
	dial->count = count < DIAL_ADDRESSES_MAX ? count : DIAL_ADDRESSES_MAX;
	memcpy(dial->addresses, addresses, dial->count * sizeof(*addresses));
	dial->pending = 2;
	uv_timer_init(&client->loop, &dial->head_start);
	uv_timer_init(&client->loop, &dial->deadline);
	dial->head_start.data = dial->deadline.data = dial;
	uv_timer_start(&dial->head_start, on_first_turn, 0, 0);
	uv_timer_start(&dial->deadline, on_deadline, DIAL_TIMEOUT_MS, 0);
	return dial;
}

static size_t try_count(const struct dial *dial)
{
	size_t count = 0;

	for (const struct dial_try *attempt = dial->tries; attempt; attempt = attempt->next)
		count++;
	return count;
}

void dial_again(struct dial *dial)
{
	if (dial->is_done || try_count(dial) + dial->count > DIAL_TRIES_MAX ||
		uv_now(dial->head_start.loop) - dial->round_ms < DIAL_HEAD_START_MS)
		return;
	dial->started = 0;
	dial_next(dial);
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
