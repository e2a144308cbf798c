/* One question to c-ares: its sockets are polled by the loop, its time-outs run on one timer. Happy path: open → sockets
 * readable → ares calls back → answer handed up from the loop. Fails with a reason in words. */
#include "client/resolver.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RESOLVER_TICK_MS 100 /* how often c-ares looks at its time-outs while a question is open */

struct resolver_socket {
	uv_poll_t poll;
	struct resolver *resolver;
	struct resolver_socket *next;
	ares_socket_t fd;
};

struct resolver {
	ares_channel channel;
	bool has_channel;
	uv_timer_t timer;
	struct resolver_socket *sockets;
	unsigned pending; /* handles that are open */
	bool is_closing;
	bool is_answered; /* c-ares has called back; the timer hands it up */
	uint64_t asked_ms;
	uint16_t port;
	struct addr addresses[RESOLVER_ADDRESSES_MAX];
	size_t count;
	char reason[128];
	resolver_on_answer on_answer;
	void *owner;
};

static void resolver_release(struct resolver *resolver)
{
	if (--resolver->pending == 0)
		free(resolver);
}

static void on_socket_closed(uv_handle_t *handle)
{
	struct resolver_socket *socket = handle->data;

	resolver_release(socket->resolver);
	free(socket);
}

static void on_timer_closed(uv_handle_t *handle)
{
	resolver_release(handle->data);
}

static void on_socket_ready(uv_poll_t *poll, int status, int events)
{
	struct resolver_socket *socket = poll->data;
	ares_socket_t readable = status < 0 || (events & UV_READABLE) ? socket->fd : ARES_SOCKET_BAD;
	ares_socket_t writable = status < 0 || (events & UV_WRITABLE) ? socket->fd : ARES_SOCKET_BAD;

	ares_process_fd(socket->resolver->channel, readable, writable);
}

static struct resolver_socket *find_socket(struct resolver *resolver, ares_socket_t fd)
{
	struct resolver_socket *socket = resolver->sockets;

	while (socket && socket->fd != fd)
		socket = socket->next;
	return socket;
}

static void forget_socket(struct resolver *resolver, struct resolver_socket *socket)
{
	struct resolver_socket **place = &resolver->sockets;

	while (*place != socket)
		place = &(*place)->next;
	*place = socket->next;
	uv_close((uv_handle_t *)&socket->poll, on_socket_closed);
}

static struct resolver_socket *add_socket(struct resolver *resolver, ares_socket_t fd)
{
	struct resolver_socket *socket = calloc(1, sizeof(*socket));

	if (!socket || uv_poll_init_socket(resolver->timer.loop, &socket->poll, fd) < 0) {
		free(socket);
		return NULL;
	}
	socket->poll.data = socket;
	socket->resolver = resolver;
	socket->fd = fd;
	socket->next = resolver->sockets;
	resolver->sockets = socket;
	resolver->pending++;
	return socket;
}

/* c-ares says what it waits for on a socket; nothing means that it is about to close it. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct resolver *resolver = data;
	struct resolver_socket *socket = find_socket(resolver, fd);

	if (!readable && !writable) {
		if (socket)
			forget_socket(resolver, socket);
		return;
	}
	if (!socket)
		socket = add_socket(resolver, fd);
	if (socket)
		uv_poll_start(
			&socket->poll, (readable ? UV_READABLE : 0) | (writable ? UV_WRITABLE : 0), on_socket_ready);
}

/* Copy one family's addresses into every second place, from @place on; the other family fills the gaps. */
static size_t collect(struct resolver *resolver, const struct ares_addrinfo *list, int family, struct addr *out)
{
	const struct ares_addrinfo_node *node;
	size_t count = 0;

	for (node = list->nodes; node && count < RESOLVER_ADDRESSES_MAX; node = node->ai_next) {
		if (node->ai_family != family)
			continue;
		addr_from_sockaddr(node->ai_addr, &out[count]);
		addr_set_port(&out[count++], resolver->port);
	}
	return count;
}

/* IPv6 first, then in turn. */
static void interleave(struct resolver *resolver, const struct ares_addrinfo *list)
{
	struct addr six[RESOLVER_ADDRESSES_MAX], four[RESOLVER_ADDRESSES_MAX];
	size_t six_count = collect(resolver, list, AF_INET6, six);
	size_t four_count = collect(resolver, list, AF_INET, four);
	size_t i;

	for (i = 0; i < six_count || i < four_count; i++) {
		if (i < six_count && resolver->count < RESOLVER_ADDRESSES_MAX)
			resolver->addresses[resolver->count++] = six[i];
		if (i < four_count && resolver->count < RESOLVER_ADDRESSES_MAX)
			resolver->addresses[resolver->count++] = four[i];
	}
}

static void on_timer(uv_timer_t *timer);

static void on_addrinfo(void *arg, int status, int timeouts, struct ares_addrinfo *list)
{
	struct resolver *resolver = arg;

	(void)timeouts;
	if (status == ARES_SUCCESS && list)
		interleave(resolver, list);
	else
		snprintf(resolver->reason, sizeof(resolver->reason), "%s", ares_strerror(status));
	if (list)
		ares_freeaddrinfo(list);
	resolver->is_answered = true;
	if (!resolver->is_closing)
		uv_timer_start(&resolver->timer, on_timer, 0, 0); /* the answer goes up from the loop, not from inside c-ares */
}

static void on_timer(uv_timer_t *timer)
{
	struct resolver *resolver = timer->data;

	if (!resolver->is_answered)
		ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
	if (!resolver->is_answered && uv_now(timer->loop) - resolver->asked_ms >= RESOLVER_TIMEOUT_MS) {
		snprintf(resolver->reason, sizeof(resolver->reason), "no answer in %u s", RESOLVER_TIMEOUT_MS / 1000);
		resolver->is_answered = true;
	}
	if (!resolver->is_answered) {
		uv_timer_start(timer, on_timer, RESOLVER_TICK_MS, 0);
		return;
	}
	if (resolver->count == 0 && resolver->reason[0] == '\0')
		snprintf(resolver->reason, sizeof(resolver->reason), "no address");
	resolver->on_answer(resolver->owner, resolver->addresses, resolver->count, resolver->reason);
}

static int ask(struct resolver *resolver, const char *host, struct err *err)
{
	struct ares_options options = {.sock_state_cb = on_socket_state, .sock_state_cb_data = resolver, .timeout = 2000, .tries = 3};
	struct ares_addrinfo_hints hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
	int status = ares_init_options(
		&resolver->channel, &options, ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);

	if (status != ARES_SUCCESS)
		return err_set(err, -EIO, "resolver: %s", ares_strerror(status));
	resolver->has_channel = true;
	ares_getaddrinfo(resolver->channel, host, NULL, &hints, on_addrinfo, resolver);
	return 0;
}

static bool parse_literal(const char *host, uint16_t port, struct addr *ret)
{
	char text[ADDR_TEXT_MAX];

	snprintf(text, sizeof(text), strchr(host, ':') ? "[%s]" : "%s", host);
	return addr_parse(text, port, ret) == 0;
}

int resolver_open(struct resolver **ret, uv_loop_t *loop, const char *host, uint16_t port, resolver_on_answer on_answer,
	void *owner, struct err *err)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	int rc;

	if (!resolver)
		return err_system(err, -ENOMEM, "resolver");
	resolver->port = port;
	resolver->on_answer = on_answer;
	resolver->owner = owner;
	resolver->pending = 1;
	resolver->asked_ms = uv_now(loop);
	uv_timer_init(loop, &resolver->timer);
	resolver->timer.data = resolver;
	if (parse_literal(host, port, &resolver->addresses[0])) {
		resolver->count = 1;
		resolver->is_answered = true;
	} else {
		rc = ask(resolver, host, err);
		if (rc < 0) {
			resolver_close(resolver);
			return rc;
		}
	}
	if (!uv_is_active((uv_handle_t *)&resolver->timer))
		uv_timer_start(&resolver->timer, on_timer, resolver->is_answered ? 0 : RESOLVER_TICK_MS, 0);
	*ret = resolver;
	return 0;
}

void resolver_close(struct resolver *resolver)
{
	if (!resolver || resolver->is_closing)
		return;
	resolver->is_closing = true;
	if (resolver->has_channel)
		ares_destroy(resolver->channel); /* closes its sockets: on_socket_state() forgets them */
	while (resolver->sockets)
		forget_socket(resolver, resolver->sockets);
	uv_close((uv_handle_t *)&resolver->timer, on_timer_closed);
}
