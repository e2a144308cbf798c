/* Send one request, read its answers up to the one that ends them.
 *
 * Happy path: number the message, send it, read until the acknowledgement or the end of the list. Fails with the
 * kernel's errno, which libnl's own receive functions translate into fewer codes: hence the loop is ours. Answers with
 * another number belong to a request that was given up, and are ignored.
 */
#include "common/net/netlink.h"

#include "common/net/netns.h"

#include <errno.h>
#include <linux/netlink.h>
#include <netlink/errno.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

/* The kernel answers before send() returns, and prepares the next part of a list before the last one is read. Waiting
 * longer than this means waiting for ever. */
#define ANSWER_S 5

/* A list that changes during each of so many reads is taken as it was seen last. The kernel's mark does not catch every
 * change: an address is in its list a moment before the change is counted. */
#define ATTEMPTS_MAX 5

/* One request under way. */
struct exchange {
	struct netlink *netlink;
	const struct netlink_query *query; /* NULL: nothing but the acknowledgement is wanted */
	uint32_t number;
	unsigned char *items;
	size_t count, room;
	int code; /* the first failure to read an answer */
	bool was_interrupted;
};

/* --- the socket --- */

static int open_socket(struct netlink *netlink, int protocol, struct err *err)
{
	static const struct timeval limit = {.tv_sec = ANSWER_S};
	struct nl_sock *socket = nl_socket_alloc();
	int on = 1, rc, fd;

	if (!socket)
		return err_system(err, -ENOMEM, "netlink");
	if (nl_connect(socket, protocol) < 0) {
		rc = errno > 0 ? -errno : -EIO;
		nl_socket_free(socket);
		return err_system(err, rc, "netlink");
	}
	fd = nl_socket_get_fd(socket);
	/* Older kernels lack some of these: their errors come without a sentence, and lists with more to ignore. */
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
	setsockopt(fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	*netlink = (struct netlink){.socket = socket};
	return 0;
}

/* A netlink socket belongs for ever to the namespace in which it was made. */
int netlink_open(struct netlink *netlink, int netns_fd, struct err *err)
{
	int home = netns_enter(netns_fd, err), rc;

	if (home < 0)
		return home;
	rc = open_socket(netlink, NETLINK_ROUTE, err);
	netns_leave(home);
	return rc;
}

int netlink_open_netfilter(struct netlink *netlink, struct err *err)
{
	return open_socket(netlink, NETLINK_NETFILTER, err);
}

void netlink_close(struct netlink *netlink)
{
	nl_socket_free(netlink->socket);
	netlink->socket = NULL;
}

/* --- reading answers --- */

/* The kernel's sentence: an attribute behind what an acknowledgement of @size bytes repeats of the request. */
static void keep_reason(struct netlink *netlink, struct nlmsghdr *end, size_t size)
{
	struct nlattr *reason;

	netlink->reason[0] = '\0';
	if (!(end->nlmsg_flags & NLM_F_ACK_TLVS))
		return;
	reason = nlmsg_find_attr(end, (int)size, NLMSGERR_ATTR_MSG);
	if (reason)
		nla_strlcpy(netlink->reason, reason, sizeof(netlink->reason));
}

/* The acknowledgement, or the refusal: struct nlmsgerr; unless capped, it goes on with the whole request. */
static int take_acknowledgement(struct netlink *netlink, struct nlmsghdr *end)
{
	struct nlmsgerr *error = nlmsg_data(end);
	size_t size = sizeof(*error);

	if (nlmsg_datalen(end) < (int)size)
		return -EPROTO;
	if (!(end->nlmsg_flags & NLM_F_CAPPED))
		size += error->msg.nlmsg_len - NLMSG_HDRLEN;
	keep_reason(netlink, end, size);
	return error->error;
}

/* The end of a list: an int, 0 or what it broke off with. */
static int take_list_end(struct netlink *netlink, struct nlmsghdr *end)
{
	int code = 0;

	if (nlmsg_datalen(end) < (int)sizeof(code))
		return 0;
	memcpy(&code, nlmsg_data(end), sizeof(code));
	keep_reason(netlink, end, sizeof(code));
	return code;
}

/* Items are of the caller's size; the array doubles, because a hub has thousands of peers, and a route for each. */
static int make_room(struct exchange *exchange)
{
	size_t room = exchange->room ? 2 * exchange->room : 16;
	void *items;

	if (exchange->count < exchange->room)
		return 0;
	items = reallocarray(exchange->items, room, exchange->query->item_size);
	if (!items)
		return -ENOMEM;
	exchange->items = items;
	exchange->room = room;
	return 0;
}

static int take_answer(struct exchange *exchange, struct nlmsghdr *answer)
{
	unsigned char *item;
	int rc;

	if (!exchange->query)
		return 0;
	rc = make_room(exchange);
	if (rc < 0)
		return rc;
	item = exchange->items + exchange->count * exchange->query->item_size;
	memset(item, 0, exchange->query->item_size);
	rc = exchange->query->read(answer, item, exchange->query->wanted);
	if (rc > 0)
		exchange->count++;
	return rc < 0 ? rc : 0;
}

/* Return: 1 that was the end, 0 more comes. After a failure the rest is read nevertheless: the kernel refuses another
 * list while one is unfinished. */
static int take_messages(struct exchange *exchange, struct nlmsghdr *message, int len)
{
	int rc;

	for (; nlmsg_ok(message, len); message = nlmsg_next(message, &len)) {
		if (message->nlmsg_seq != exchange->number)
			continue;
		if (message->nlmsg_flags & NLM_F_DUMP_INTR)
			exchange->was_interrupted = true;
		if (message->nlmsg_type == NLMSG_ERROR)
			rc = take_acknowledgement(exchange->netlink, message);
		else if (message->nlmsg_type == NLMSG_DONE)
			rc = take_list_end(exchange->netlink, message);
		else
			rc = take_answer(exchange, message);
		if (rc < 0 && exchange->code == 0)
			exchange->code = rc;
		if (message->nlmsg_type == NLMSG_ERROR || message->nlmsg_type == NLMSG_DONE)
			return 1;
	}
	return 0;
}

/* One recv() brings a part of a list, or the acknowledgement. Read on until the end that belongs to our request. */
static int read_answers(struct exchange *exchange)
{
	struct sockaddr_nl from = {0};
	unsigned char *buf;
	int len, rc;

	do {
		buf = NULL;
		len = nl_recv(exchange->netlink->socket, &from, &buf, NULL);
		if (len <= 0)
			return len == -NLE_AGAIN ? -ETIMEDOUT : -EIO;
		/* Only from port 0, the kernel: any local process may send to our socket. */
		rc = from.nl_pid == 0 ? take_messages(exchange, (struct nlmsghdr *)buf, len) : 0;
		free(buf);
	} while (rc == 0);
	return exchange->code;
}

/* --- requests --- */

static int send_message(struct netlink *netlink, struct nl_msg *message)
{
	struct nlmsghdr *header = nlmsg_hdr(message);
	ssize_t sent;

	header->nlmsg_seq = NL_AUTO_SEQ;
	nl_complete_msg(netlink->socket, message);
	do {
		sent = send(nl_socket_get_fd(netlink->socket), header, header->nlmsg_len, 0);
	} while (sent < 0 && errno == EINTR);
	return sent < 0 ? -errno : 0;
}

static int run_exchange(struct exchange *exchange, struct nl_msg *message)
{
	int rc;

	exchange->netlink->reason[0] = '\0';
	exchange->count = 0;
	exchange->was_interrupted = false;
	rc = send_message(exchange->netlink, message);
	if (rc < 0)
		return rc;
	exchange->number = nlmsg_hdr(message)->nlmsg_seq;
	return read_answers(exchange);
}

struct nl_msg *netlink_message(int type, int flags, const void *header, size_t header_size)
{
	struct nl_msg *message = nlmsg_alloc_simple(type, flags);
	void *room = message ? nlmsg_reserve(message, header_size, NLMSG_ALIGNTO) : NULL;

	if (!room) {
		nlmsg_free(message);
		return NULL;
	}
	memcpy(room, header, header_size);
	return message;
}

int netlink_put_addr(struct nl_msg *message, int type, const struct addr *addr)
{
	int rc = addr->sa.sa_family == AF_INET6
			 ? nla_put(message, type, sizeof(addr->in6.sin6_addr), &addr->in6.sin6_addr)
			 : nla_put(message, type, sizeof(addr->in4.sin_addr), &addr->in4.sin_addr);

	return rc < 0 ? -ENOMEM : 0;
}

int netlink_get_addr(const struct nlattr *attr, int family, struct addr *ret)
{
	size_t size = family == AF_INET6 ? sizeof(ret->in6.sin6_addr) : sizeof(ret->in4.sin_addr);

	if (nla_len(attr) != (int)size)
		return -EPROTO;
	memset(ret, 0, sizeof(*ret));
	ret->sa.sa_family = (sa_family_t)family;
	if (family == AF_INET6)
		memcpy(&ret->in6.sin6_addr, nla_data(attr), size);
	else
		memcpy(&ret->in4.sin_addr, nla_data(attr), size);
	return 0;
}

int netlink_request(struct netlink *netlink, struct nl_msg *message)
{
	struct exchange exchange = {.netlink = netlink};
	int rc = message ? run_exchange(&exchange, message) : -ENOMEM;

	nlmsg_free(message);
	return rc;
}

int netlink_collect(struct netlink *netlink, struct nl_msg *message, const struct netlink_query *query,
	void **ret_items, size_t *ret_count)
{
	struct exchange exchange = {.netlink = netlink, .query = query};
	int rc = message ? 0 : -ENOMEM;

	for (int attempt = 0; rc == 0 && attempt < ATTEMPTS_MAX; attempt++) {
		rc = run_exchange(&exchange, message);
		if (!exchange.was_interrupted)
			break;
	}
	nlmsg_free(message);
	if (rc < 0) {
		free(exchange.items);
		return rc;
	}
	*ret_items = exchange.items;
	*ret_count = exchange.count;
	return 0;
}

int netlink_fail(const struct netlink *netlink, struct err *err, int code, const char *format, ...)
{
	char text[ERR_TEXT_MAX] = "";
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	err_system(err, code, "%s", text);
	if (err && netlink->reason[0] != '\0') {
		memcpy(text, err->text, sizeof(text));
		err_set(err, code, "%s (%s)", text, netlink->reason);
	}
	return code;
}
