/* One question to c-ares. Its sockets are polled by the loop, its time-outs run on one timer.
 *
 * Happy path: open, (marked sockets arrive), ask, a socket becomes readable, c-ares calls back, the timer hands the
 * answer to the owner from the loop. A text that is an address already is answered without a question.
 *
 * Under a full tunnel the sockets must carry the link's mark. Only the supervisor can make those, and c-ares wants a
 * socket at once when it asks for one. So they are requested in advance, into a stock, and the question starts when all
 * have come.
 *
 * Fails with a reason in words: what c-ares says, or no answer within RESOLVER_TIMEOUT_MS. A marked socket that is
 * refused means one name server less.
 */
#define CARES_NO_DEPRECATED /* ares_set_socket_functions(): what replaces it came with 1.34 */
#include "client/resolver.h"

#include "client/address_list.h"
#include "client/socket_request.h"
#include "common/base/require.h"

#include <ares.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#define RESOLVER_TICK_MS 100 /* how often c-ares checks its time-outs while a question is open */

struct resolver_socket {
	uv_poll_t poll;
	struct resolver *resolver;
	struct resolver_socket *next;
	ares_socket_t fd;
};

#define RESOLVER_STOCK_MAX (ADDRESS_LIST_MAX + 2) /* UDP for each name server, TCP for each of the two families */

/* A marked socket: requested from the supervisor, or here and not yet taken by c-ares. */
struct resolver_marked {
	struct socket_request request;
	struct resolver *resolver;
	int family, type;
	int fd; /* -1: not here yet, refused, or taken */
};

struct resolver {
	struct socket_source *source;
	char nameservers[ADDRESS_LIST_TEXT_MAX];
	char host[256];
	struct resolver_marked stock[RESOLVER_STOCK_MAX];
	size_t stock_count, stock_waiting; /* of these, how many were requested; how many have no answer yet */
	ares_channel channel;
	bool has_channel;
	uv_timer_t timer;
	struct resolver_socket *sockets;
	unsigned pending; /* open handles: the timer, a poll for each socket */
	bool is_closing;
	bool is_answered; /* addresses or reason are set; the timer hands them to the owner */
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
	require(resolver->pending > 0);
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

/* An error of the poll is given to c-ares as readable and writable: its own call then finds the error. */
static void on_socket_ready(uv_poll_t *poll, int status, int events)
{
	struct resolver_socket *socket = poll->data;
	ares_socket_t readable = status < 0 || (events & UV_READABLE) ? socket->fd : ARES_SOCKET_BAD;
	ares_socket_t writable = status < 0 || (events & UV_WRITABLE) ? socket->fd : ARES_SOCKET_BAD;

	ares_process_fd(socket->resolver->channel, readable, writable);
}

/* c-ares closes the descriptor itself, or has done so. */
static void forget_socket(struct resolver *resolver, struct resolver_socket *socket)
{
	struct resolver_socket **link = &resolver->sockets;

	while (*link && *link != socket)
		link = &(*link)->next;
	require(*link == socket);
	*link = socket->next;
	uv_close((uv_handle_t *)&socket->poll, on_socket_closed);
}

/* Poll a socket of c-ares. Return: NULL without memory; then c-ares runs into its time-out. */
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

/* c-ares says what it waits for on a socket. Neither of the two means that it is about to close the socket. */
static void on_socket_state(void *data, ares_socket_t fd, int readable, int writable)
{
	struct resolver *resolver = data;
	struct resolver_socket *socket = resolver->sockets;

	while (socket && socket->fd != fd)
		socket = socket->next;
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

/* Copy one family's addresses. Return: how many. */
static size_t collect_family(struct resolver *resolver, const struct ares_addrinfo *list, int family, struct addr *out)
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

/* IPv6 first, then in turn (RFC 8305 §4): where one family does not work, the next try is of the other. */
static void interleave(struct resolver *resolver, const struct ares_addrinfo *list)
{
	struct addr six[RESOLVER_ADDRESSES_MAX], four[RESOLVER_ADDRESSES_MAX];
	size_t six_count = collect_family(resolver, list, AF_INET6, six);
	size_t four_count = collect_family(resolver, list, AF_INET, four);
	size_t i;

	for (i = 0; i < six_count || i < four_count; i++) {
		if (i < six_count && resolver->count < RESOLVER_ADDRESSES_MAX)
			resolver->addresses[resolver->count++] = six[i];
		if (i < four_count && resolver->count < RESOLVER_ADDRESSES_MAX)
			resolver->addresses[resolver->count++] = four[i];
	}
}

static void on_timer(uv_timer_t *timer);

/* c-ares has an answer or gives up; also called by ares_destroy(), when nobody waits for it any more. */
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
	if (!resolver->is_closing) /* the owner may close us, which c-ares does not allow from inside its callback */
		uv_timer_start(&resolver->timer, on_timer, 0, 0);
}

/* While the question is open: time-outs. When it is answered: hand the answer to the owner, who closes us. */
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

/* c-ares wants a socket: take one of that kind out of the stock. */
static ares_socket_t marked_socket(int family, int type, int protocol, void *data)
{
	struct resolver *resolver = data;

	(void)protocol;
	for (size_t i = 0; i < resolver->stock_count; i++) {
		struct resolver_marked *marked = &resolver->stock[i];
		int fd = marked->fd;

		if (fd < 0 || marked->family != family || marked->type != type)
			continue;
		marked->fd = -1;
		return fd;
	}
	errno = EMFILE; /* c-ares goes on with the next server */
	return ARES_SOCKET_BAD;
}

/* c-ares needs the whole set of functions where one of them is replaced (ares_set_socket_functions(3)). */
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

/* The question starts with the last answer. If no socket came at all, c-ares reports that it reaches no server. */
static void on_marked_socket(struct socket_request *request, int error, int fd)
{
	struct resolver_marked *marked =
		(struct resolver_marked *)((char *)request - offsetof(struct resolver_marked, request));
	struct resolver *resolver = marked->resolver;
	struct err err = {""};

	(void)error; /* the others may do */
	marked->fd = fd;
	if (--resolver->stock_waiting > 0 || ask(resolver, &err) == 0)
		return;
	snprintf(resolver->reason, sizeof(resolver->reason), "%.*s", (int)sizeof(resolver->reason) - 1, err.text);
	resolver->is_answered = true;
}

/* A request that is refused at once is not counted as one that waits. */
static void request_marked(struct resolver *resolver, const struct addr *server, int type)
{
	struct resolver_marked *marked = &resolver->stock[resolver->stock_count];

	*marked = (struct resolver_marked){
		.resolver = resolver, .family = server->sa.sa_family, .type = type, .fd = -1};
	marked->request.on_socket = on_marked_socket;
	if (socket_request_open(resolver->source, &marked->request, server, (uint32_t)type) < 0)
		return;
	resolver->stock_count++;
	resolver->stock_waiting++;
}

/* Request what c-ares will need: UDP for each name server, and TCP for each family, in case an answer is cut short. */
static void request_stock(struct resolver *resolver, const struct addr *servers, size_t count)
{
	static const int families[] = {AF_INET, AF_INET6};

	for (size_t i = 0; i < count; i++)
		request_marked(resolver, &servers[i], SOCK_DGRAM);
	for (size_t k = 0; k < 2; k++)
		for (size_t i = 0; i < count; i++) {
			if (servers[i].sa.sa_family != families[k])
				continue;
			request_marked(resolver, &servers[i], SOCK_STREAM);
			break;
		}
}

/* --- the question --- */

/* Start the question. With marked sockets the physical links' name servers are asked, and for no other name than the
 * one that was given: the host's search domains belong to the tunnel. Return: 0 or a negative errno. */
static int ask(struct resolver *resolver, struct err *err)
{
	bool is_marked = resolver->stock_count > 0;
	struct ares_options options = {.flags = strchr(resolver->host, '.') ? ARES_FLAG_NOSEARCH : 0,
		.sock_state_cb = on_socket_state,
		.sock_state_cb_data = resolver,
		.timeout = 2000, /* ms for the first round of name servers; c-ares takes longer for the next */
		.tries = 3};
	struct ares_addrinfo_hints hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = ARES_AI_NOSORT};
	int given = ARES_OPT_SOCK_STATE_CB | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | (is_marked ? ARES_OPT_FLAGS : 0);
	int status = ares_init_options(&resolver->channel, &options, given);

	if (status == ARES_SUCCESS) {
		resolver->has_channel = true;
		if (is_marked) {
			ares_set_socket_functions(resolver->channel, &marked_functions, resolver);
			status = ares_set_servers_csv(resolver->channel, resolver->nameservers);
		}
	}
	if (status != ARES_SUCCESS)
		return err_set(err, -EIO, "resolver: %s", ares_strerror(status));
	ares_getaddrinfo(resolver->channel, resolver->host, NULL, &hints, on_addrinfo, resolver);
	return 0;
}

int resolver_open(struct resolver **ret, const struct resolver_setup *setup, struct err *err)
{
	struct resolver *resolver = calloc(1, sizeof(*resolver));
	struct addr servers[ADDRESS_LIST_MAX];
	int rc = 0, count;

	if (!resolver)
		return err_system(err, -ENOMEM, "resolver");
	resolver->source = setup->sockets;
	snprintf(resolver->nameservers, sizeof(resolver->nameservers), "%s", setup->nameservers);
	snprintf(resolver->host, sizeof(resolver->host), "%s", setup->host);
	resolver->port = setup->port;
	resolver->on_answer = setup->on_answer;
	resolver->owner = setup->owner;
	resolver->pending = 1;
	resolver->asked_ms = uv_now(setup->loop);
	uv_timer_init(setup->loop, &resolver->timer);
	resolver->timer.data = resolver;
	if (address_list_parse(setup->host, setup->port, resolver->addresses) == 1) {
		resolver->count = 1; /* the name is an address already, so no question is needed */
		resolver->is_answered = true;
	} else {
		count = address_list_parse(resolver->nameservers, 53, servers);
		if (count > 0)
			request_stock(resolver, servers, (size_t)count);
		/* At once where no marked socket is needed, or none can be had. */
		if (resolver->stock_waiting == 0)
			rc = ask(resolver, err);
	}
	if (rc < 0) {
		resolver_close(resolver);
		return rc;
	}
	/* c-ares may have answered from /etc/hosts already; then the timer runs. */
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
		ares_destroy(resolver->channel); /* closes its sockets; on_socket_state() forgets them */
	for (size_t i = 0; i < resolver->stock_count; i++) {
		socket_request_close(resolver->source, &resolver->stock[i].request);
		if (resolver->stock[i].fd >= 0)
			close(resolver->stock[i].fd);
	}
	while (resolver->sockets)
		forget_socket(resolver, resolver->sockets);
	uv_close((uv_handle_t *)&resolver->timer, on_timer_closed);
}
