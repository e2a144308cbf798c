/* One question to c-ares: its sockets are polled by the loop, its time-outs run on one timer. Happy path: open → sockets
 * readable → ares calls back → answer handed up from the loop. Fails with a reason in words. */
#define CARES_NO_DEPRECATED /* ares_set_socket_functions(): what replaces it came with 1.34 */
#include "client/resolver.h"

#include "client/client.h"

#include <ares.h>
#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RESOLVER_TICK_MS 100 /* how often c-ares looks at its time-outs while a question is open */

struct resolver_socket {
	uv_poll_t poll;
	struct resolver *resolver;
	struct resolver_socket *next;
	ares_socket_t fd;
};

#define RESOLVER_POOL_MAX (ADDRESS_LIST_MAX + 2) /* one for each name server, one of TCP for each family */

/* A marked socket on its way from the supervisor, or here and not taken by c-ares yet. */
struct resolver_marked {
	struct socket_request wish;
	struct resolver *resolver;
	int family, type;
	int fd; /* -1: not there */
};

struct resolver {
	struct client *client;
	char host[256];
	struct resolver_marked pool[RESOLVER_POOL_MAX];
	size_t pool_count, pool_waiting;
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
		/* The answer goes up from the loop, not from inside c-ares. */
		uv_timer_start(&resolver->timer, on_timer, 0, 0);
}

static void on_timer(uv_timer_t *timer)
{
	struct resolver *resolver = timer->data;

	if (!resolver->is_answered && resolver->has_channel)
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

/* --- sockets that carry the mark --- */

static ares_socket_t marked_socket(int family, int type, int protocol, void *data)
{
	struct resolver *resolver = data;

	(void)protocol;
	for (size_t i = 0; i < resolver->pool_count; i++) {
		struct resolver_marked *marked = &resolver->pool[i];
		int fd = marked->fd;

		if (fd < 0 || marked->family != family || marked->type != type)
			continue;
		marked->fd = -1;
		return fd;
	}
	errno = EMFILE; /* c-ares goes on with the next server */
	return ARES_SOCKET_BAD;
}

static int marked_close(ares_socket_t fd, void *data)
{
	(void)data;
	socket_request_close_socket(fd);
	return 0;
}

static int marked_connect(ares_socket_t fd, const struct sockaddr *to, ares_socklen_t len, void *data)
{
	(void)data;
	return connect(fd, to, len);
}

static ares_ssize_t marked_receive(
	ares_socket_t fd, void *buf, size_t len, int flags, struct sockaddr *from, ares_socklen_t *from_len, void *data)
{
	(void)data;
	return recvfrom(fd, buf, len, flags, from, from_len);
}

static ares_ssize_t marked_send(ares_socket_t fd, const struct iovec *parts, int count, void *data)
{
	(void)data;
	return writev(fd, parts, count);
}

static const struct ares_socket_functions marked_functions = {
	marked_socket, marked_close, marked_connect, marked_receive, marked_send};

static int ask(struct resolver *resolver, struct err *err);

static void on_marked_socket(struct socket_request *wish, int error, int fd)
{
	struct resolver_marked *marked =
		(struct resolver_marked *)((char *)wish - offsetof(struct resolver_marked, wish));
	struct resolver *resolver = marked->resolver;
	struct err err = {0};

	(void)error; /* one socket less */
	marked->fd = fd;
	if (--resolver->pool_waiting > 0 || ask(resolver, &err) == 0)
		return;
	snprintf(resolver->reason, sizeof(resolver->reason), "%.*s", (int)sizeof(resolver->reason) - 1, err.text);
	resolver->is_answered = true;
}

static void wish_marked(struct resolver *resolver, int family, int type)
{
	struct resolver_marked *marked = &resolver->pool[resolver->pool_count];

	*marked = (struct resolver_marked){.resolver = resolver, .family = family, .type = type, .fd = -1};
	marked->wish.on_socket = on_marked_socket;
	if (socket_request_open(resolver->client, &marked->wish, (uint32_t)family, (uint32_t)type) < 0)
		return;
	resolver->pool_count++;
	resolver->pool_waiting++;
}

/* Have the sockets made for what c-ares will ask for: UDP to each server, TCP to a family's for an answer cut short. */
static void wish_pool(struct resolver *resolver, const struct addr *servers, size_t count)
{
	static const int families[] = {AF_INET, AF_INET6};

	for (size_t i = 0; i < count; i++)
		wish_marked(resolver, servers[i].sa.sa_family, SOCK_DGRAM);
	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < count; i++) {
			if (servers[i].sa.sa_family != families[k])
				continue;
			wish_marked(resolver, families[k], SOCK_STREAM);
			break;
		}
}

static void drop_pool(struct resolver *resolver)
{
	for (size_t i = 0; i < resolver->pool_count; i++) {
		socket_request_close(resolver->client, &resolver->pool[i].wish);
		if (resolver->pool[i].fd >= 0)
			close(resolver->pool[i].fd);
	}
	resolver->pool_count = 0;
}

/* --- the question --- */

/* The physical links' name servers, and no other name than the one that was asked for: search domains are the tunnel's. */
static int use_marked(struct resolver *resolver)
{
	ares_set_socket_functions(resolver->channel, &marked_functions, resolver);
	return ares_set_servers_csv(resolver->channel, resolver->client->nameservers);
}

static int ask(struct resolver *resolver, struct err *err)
{
	bool is_marked = resolver->pool_count > 0;
	struct ares_options options = {.flags = strchr(resolver->host, '.') ? ARES_FLAG_NOSEARCH : 0,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
		.timeout = 2000,
		.tries = 3};
	struct ares_addrinfo_hints hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
	int given = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | (is_marked ? ARES_OPT_FLAGS : 0);
	int status = ares_init_options(&resolver->channel, &options, given);

	if (status == ARES_SUCCESS) {
		resolver->has_channel = true;
		status = is_marked ? use_marked(resolver) : ARES_SUCCESS;
	}
	if (status != ARES_SUCCESS)
		return err_set(err, -EIO, "resolver: %s", ares_strerror(status));
	ares_getaddrinfo(resolver->channel, resolver->host, NULL, &hints, on_addrinfo, resolver);
	return 0;
}

/* Return: 0, also where the question starts when its sockets have come, or a negative errno. */
static int prepare(struct resolver *resolver, struct err *err)
{
	struct addr servers[ADDRESS_LIST_MAX];
	int count = address_list_parse(resolver->client->nameservers, 53, servers);

	if (count > 0)
		wish_pool(resolver, servers, (size_t)count);
	return resolver->pool_waiting > 0 ? 0 : ask(resolver, err);
}

static bool parse_literal(const char *host, uint16_t port, struct addr *ret)
{
	char text[ADDR_TEXT_MAX];

	snprintf(text, sizeof(text), strchr(host, ':') ? "[%s]" : "%s", host);
	return addr_parse(text, port, ret) == 0;
}

int resolver_open(struct resolver **ret, struct client *client, const char *host, uint16_t port,
	resolver_on_answer on_answer, void *owner, struct err *err)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	int rc;

	if (!resolver)
		return err_system(err, -ENOMEM, "resolver");
	resolver->client = client;
	snprintf(resolver->host, sizeof(resolver->host), "%s", host);
	resolver->port = port;
	resolver->on_answer = on_answer;
	resolver->owner = owner;
	resolver->pending = 1;
	resolver->asked_ms = uv_now(&client->loop);
	uv_timer_init(&client->loop, &resolver->timer);
	resolver->timer.data = resolver;
	if (parse_literal(host, port, &resolver->addresses[0])) {
		resolver->count = 1;
		resolver->is_answered = true;
	} else {
		rc = prepare(resolver, err);
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

bool resolver_is_stale(const struct resolver *resolver)
{
	return !resolver->is_answered && uv_now(resolver->timer.loop) - resolver->asked_ms >= RESOLVER_STALE_MS;
}

void resolver_close(struct resolver *resolver)
{
	if (!resolver || resolver->is_closing)
		return;
	resolver->is_closing = true;
	if (resolver->has_channel)
		ares_destroy(resolver->channel); /* closes its sockets: on_socket_state() forgets them */
	drop_pool(resolver);
	while (resolver->sockets)
		forget_socket(resolver, resolver->sockets);
	uv_close((uv_handle_t *)&resolver->timer, on_timer_closed);
}
