/* A route netlink socket, to one network namespace, and one request on it.
 *
 * libnl-route-3 builds and reads the messages; here a request is sent and the kernel's answer awaited, which takes well
 * under a millisecond. Errors keep the kernel's errno and, where it gave one, its own sentence (extended ACK). Everything in
 * common/net but commands and the monitor is synchronous and knows nothing of tunnels.
 */
#ifndef TOWPATH_NET_NETLINK_H
#define TOWPATH_NET_NETLINK_H

#include "common/base/err.h"

struct nl_msg;
struct nl_sock;

struct netlink {
	struct nl_sock *socket;
	char reason[160]; /* the kernel's words about the last refusal; "" where it had none */
};

/* @netns_fd: the namespace to talk to, -1: ours. Return: 0 or a negative errno. */
int netlink_open(struct netlink *netlink, int netns_fd, struct err *err);
void netlink_close(struct netlink *netlink);

/* Send @message (owned, freed in any case) and wait for the kernel's acknowledgement. Return: 0, or the kernel's negative
 * errno with ->reason set. */
int netlink_request(struct netlink *netlink, struct nl_msg *message);

/* The same, with what was tried and the kernel's reason in @err: "route 10.0.0.0/8: File exists". */
int netlink_fail(const struct netlink *netlink, struct err *err, int code, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

#endif
