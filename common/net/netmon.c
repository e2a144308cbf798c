/* Listen to the kernel's announcements.
 *
 *     a message → its kind is noted, the timer starts unless it runs → the timer: all kinds noted since, in one call
 *
 * Two sockets: the route one is for everybody, nftables' only for the privileged. A socket that ran over, or a message that
 * is cut, counts as all kinds. libuv takes the error of a socket that ran over for its end and stops polling: reading
 * clears the error, and it is polled again.
 */
#include "common/net/netmon.h"

#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define MESSAGE_MAX 32768 /* the kernel cuts its own lists there; announcements are shorter */
#define READS_MAX 256	  /* then the loop has its turn */

struct source {
	struct netmon *netmon;
	uv_poll_t poll;
	bool is_polled; /* the handle is the loop's */
	int fd;		/* -1: not open */
	unsigned (*kind_of)(const struct nlmsghdr *message);
};

struct netmon {
	struct source route, firewall;
	uv_timer_t timer;
	unsigned kinds; /* since the last call */
	int pending;	/* handles that the loop has not let go */
	void (*on_change)(void *owner, unsigned kinds);
	void *owner;
	unsigned char buf[MESSAGE_MAX] __attribute__((aligned(NLMSG_ALIGNTO)));
};

/* --- what a message is about --- */

static unsigned route_kind(const struct nlmsghdr *message)
{
	switch (message->nlmsg_type) {
	case RTM_NEWLINK:
	case RTM_DELLINK:
		return NETMON_LINK;
	case RTM_NEWADDR:
	case RTM_DELADDR:
		return NETMON_ADDRESS;
	case RTM_NEWROUTE:
	case RTM_DELROUTE:
		return NETMON_ROUTE;
	case RTM_NEWRULE:
	case RTM_DELRULE:
		return NETMON_RULE;
	case RTM_NEWNETCONF:
	case RTM_DELNETCONF:
		return NETMON_PARAMETER;
	default:
		return 0;
	}
}

static unsigned firewall_kind(const struct nlmsghdr *message)
{
	return NFNL_SUBSYS_ID(message->nlmsg_type) == NFNL_SUBSYS_NFTABLES ? NETMON_FIREWALL : 0;
}

/* --- hearing --- */

static void netmon_on_timer(uv_timer_t *timer)
{
	struct netmon *netmon = timer->data;
	unsigned kinds = netmon->kinds;

	netmon->kinds = 0;
	netmon->on_change(netmon->owner, kinds);
}

static unsigned kinds_of(const struct source *source, int len)
{
	struct nlmsghdr *message = (struct nlmsghdr *)source->netmon->buf;
	unsigned kinds = 0;

	for (; nlmsg_ok(message, len); message = nlmsg_next(message, &len))
		kinds |= source->kind_of(message);
	return kinds;
}

/* Return: the kinds heard. */
static unsigned read_source(struct source *source)
{
	unsigned kinds = 0;
	ssize_t len;

	for (int i = 0; i < READS_MAX; i++) {
		len = recv(source->fd, source->netmon->buf, MESSAGE_MAX, MSG_TRUNC | MSG_DONTWAIT);
		if (len < 0 && errno == EAGAIN)
			break;
		if (len < 0 && errno == EINTR)
			continue;
		kinds |= len < 0 || len > MESSAGE_MAX ? NETMON_ALL : kinds_of(source, (int)len);
	}
	return kinds;
}

static void netmon_on_poll(uv_poll_t *poll, int status, int events)
{
	struct source *source = poll->data;
	struct netmon *netmon = source->netmon;

	(void)events;
	netmon->kinds |= read_source(source);
	if (status < 0)
		uv_poll_start(poll, UV_READABLE, netmon_on_poll);
	if (netmon->kinds != 0 && !uv_is_active((uv_handle_t *)&netmon->timer))
		uv_timer_start(&netmon->timer, netmon_on_timer, NETMON_GATHER_MS, 0);
}

/* --- opening --- */

/* A socket that is not bound has the kernel's own number, and hears nothing. */
static int join_groups(int fd, const int *groups, size_t count)
{
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};

	if (bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0)
		return -errno;
	for (size_t i = 0; i < count; i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0)
			return -errno;
	return 0;
}

/* Return: a descriptor or a negative errno. */
static int open_socket(int protocol, const int *groups, size_t count)
{
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	int rc = fd < 0 ? -errno : join_groups(fd, groups, count);

	if (rc == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return rc;
}

static int open_source(struct source *source, struct netmon *netmon, uv_loop_t *loop)
{
	int rc;

	source->netmon = netmon;
	source->poll.data = source;
	rc = uv_poll_init(loop, &source->poll, source->fd);
	if (rc < 0)
		return rc;
	source->is_polled = true;
	netmon->pending++;
	return uv_poll_start(&source->poll, UV_READABLE, netmon_on_poll);
}

static int open_route(struct netmon *netmon, uv_loop_t *loop)
{
	static const int groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
		RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};

	netmon->route = (struct source){.kind_of = route_kind};
	netmon->route.fd = open_socket(NETLINK_ROUTE, groups, sizeof(groups) / sizeof(groups[0]));
	return netmon->route.fd < 0 ? netmon->route.fd : open_source(&netmon->route, netmon, loop);
}

/* Refused without privilege, and absent from a kernel without nftables: then there is nothing to hear. */
static int open_firewall(struct netmon *netmon, uv_loop_t *loop)
{
	static const int groups[] = {NFNLGRP_NFTABLES};

	netmon->firewall = (struct source){.kind_of = firewall_kind};
	netmon->firewall.fd = open_socket(NETLINK_NETFILTER, groups, 1);
	return netmon->firewall.fd < 0 ? 0 : open_source(&netmon->firewall, netmon, loop);
}

int netmon_open(struct netmon **ret, uv_loop_t *loop, void (*on_change)(void *owner, unsigned kinds), void *owner,
	struct err *err)
{
	struct netmon *netmon = calloc(1, sizeof(*netmon));
	int rc;

	if (!netmon)
		return err_system(err, -ENOMEM, "network monitor");
	netmon->route.fd = netmon->firewall.fd = -1;
	netmon->on_change = on_change;
	netmon->owner = owner;
	netmon->timer.data = netmon;
	uv_timer_init(loop, &netmon->timer); /* never fails */
	netmon->pending = 1;
	rc = open_route(netmon, loop);
	if (rc == 0)
		rc = open_firewall(netmon, loop);
	if (rc < 0) {
		netmon_close(netmon);
		return err_system(err, rc, "network monitor");
	}
	*ret = netmon;
	return 0;
}

/* --- closing --- */

static void let_go(struct netmon *netmon)
{
	if (--netmon->pending == 0)
		free(netmon);
}

static void netmon_on_timer_closed(uv_handle_t *handle)
{
	let_go(handle->data);
}

static void netmon_on_poll_closed(uv_handle_t *handle)
{
	struct source *source = handle->data;

	let_go(source->netmon);
}

static void close_source(struct source *source)
{
	if (source->is_polled)
		uv_close((uv_handle_t *)&source->poll, netmon_on_poll_closed);
	if (source->fd >= 0)
		close(source->fd); /* after uv_close(): the loop must still be able to forget it */
	source->fd = -1;
}

void netmon_close(struct netmon *netmon)
{
	if (!netmon)
		return;
	close_source(&netmon->route);
	close_source(&netmon->firewall);
	uv_close((uv_handle_t *)&netmon->timer, netmon_on_timer_closed);
}
