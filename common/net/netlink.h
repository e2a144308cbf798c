/* A route netlink socket, to one network namespace, and one request on it.
 *
 * libnl builds the messages and takes the answers apart. Here a request is sent and the kernel's answer awaited, which
 * takes well under a millisecond; a request without an answer fails after seconds with -ETIMEDOUT. Errors keep the
 * kernel's errno and, where it gave one, its own sentence (extended ACK). All of common/net is synchronous, except for
 * programs and the monitor.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"

#include <stddef.h>

struct nl_msg;
struct nl_sock;
struct nlattr;
struct nlmsghdr;

struct netlink {
	struct nl_sock *socket;
	char reason[160]; /* the kernel's words about the last refusal; "" where it had none */
};

/* How the answers to a question are read. */
struct netlink_query {
	size_t item_size;
	/* Read one answer into @ret_item, which is zeroed. Kernels before 4.20 do not filter, so answers may come that
	 * were not asked for. Return: 1: it is an item, 0: it is passed over, or a negative errno. */
	int (*read)(struct nlmsghdr *answer, void *ret_item, const void *wanted);
	const void *wanted; /* handed to read() */
};

/* @netns_fd: the namespace to talk to, -1: ours. Return: 0 or a negative errno. */
int netlink_open(struct netlink *netlink, int netns_fd, struct err *err);
/* To netfilter of our namespace instead of its routes. Return: as above. */
int netlink_open_netfilter(struct netlink *netlink, struct err *err);
void netlink_close(struct netlink *netlink);

/* A message to fill: @header is the fixed part of its type. Return: NULL, out of memory. */
struct nl_msg *netlink_message(int type, int flags, const void *header, size_t header_size);

/* The address of @addr as an attribute. Return: 0 or -ENOMEM. */
int netlink_put_addr(struct nl_msg *message, int type, const struct addr *addr);
/* The other way; @attr of another length than @family's addresses leaves @ret as it is. Return: 0 or -EPROTO. */
int netlink_get_addr(const struct nlattr *attr, int family, struct addr *ret);

/* Send @message (owned, freed in any case; NULL: out of memory) and wait for the kernel's acknowledgement. Return: 0,
 * or the kernel's negative errno with ->reason set. */
int netlink_request(struct netlink *netlink, struct nl_msg *message);

/* The same for a message that asks, for one thing or (NLM_F_DUMP) for all. The answers are read by @query, in the
 * kernel's order. A list that changed while it was read is read again. Return: 0 (the caller frees *ret_items, which is
 * NULL where there are none) or a negative errno. */
int netlink_collect(struct netlink *netlink, struct nl_msg *message, const struct netlink_query *query,
	void **ret_items, size_t *ret_count);

/* Put what was tried and the kernel's reason into @err: "route 10.0.0.0/8: File exists". Return: @code. */
int netlink_fail(const struct netlink *netlink, struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
