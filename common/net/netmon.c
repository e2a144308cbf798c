/* Listen to the kernel's announcements.
 *
 *     a message → its kind is noted, the timer starts unless it runs → the timer: all kinds noted since, in one call
 *
 * Two sockets: any process may listen to routes, only a privileged one to nftables. A socket that has overflowed, or a
 * message that is cut, counts as all kinds: the listener then compares everything. libuv takes the overflow for the end
 * of the socket and stops polling; reading clears the error, and the socket is polled again.
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
#define READS_MAX 256	  /* then the other handles of the loop get their turn */

struct source {
	struct netmon *netmon;
	uv_poll_t poll;
	bool is_polled; /* the loop knows the handle: it must be closed */
	int fd;		/* -1: not open */
	unsigned (*kind_of)(const struct nlmsghdr *message);
};

struct netmon {
	struct source route, firewall;
	uv_timer_t timer;
	unsigned kinds; /* since the last call */
	int pending;	/* handles that the loop still knows */
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

/* Read what waits. MSG_TRUNC makes recv() return the length of a message even where it was cut. Return: the kinds
 * heard. */
static unsigned read_source(struct source *source)
{
	struct nlmsghdr *message;
	unsigned kinds = 0;
	ssize_t len;
	int left;

	for (int i = 0; i < READS_MAX; i++) {
		len = recv(source->fd, source->netmon->buf, MESSAGE_MAX, MSG_TRUNC | MSG_DONTWAIT);
		if (len < 0 && errno == EAGAIN)
			break;
		if (len < 0 && errno == EINTR)
			continue;
		if (len < 0 || len > MESSAGE_MAX)
			return NETMON_ALL;
		message = (struct nlmsghdr *)source->netmon->buf;
		for (left = (int)len; nlmsg_ok(message, left); message = nlmsg_next(message, &left))
			kinds |= source->kind_of(message);
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

/* Return: a descriptor that is in all @groups, or a negative errno. */
static int open_socket(int protocol, const int *groups, size_t count)
{
	/* A socket that is not bound gets a number from the kernel, but hears nothing. */
	const struct sockaddr_nl any = {.nl_family = AF_NETLINK};
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol);
	int rc = fd < 0 || bind(fd, (const struct sockaddr *)&any, sizeof(any)) < 0 ? -errno : 0;

	for (size_t i = 0; rc == 0 && i < count; i++)
		if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &groups[i], sizeof(groups[i])) < 0)
			rc = -errno;
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

int netmon_open(struct netmon **ret, uv_loop_t *loop, void (*on_change)(void *owner, unsigned kinds), void *owner,
	struct err *err)
{
	static const int route_groups[] = {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
		RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_RULE, RTNLGRP_IPV4_NETCONF, RTNLGRP_IPV6_NETCONF};
	static const int firewall_groups[] = {NFNLGRP_NFTABLES};
	struct netmon *netmon = calloc(1, sizeof(*netmon));
	int rc;

	if (!netmon)
		return err_system(err, -ENOMEM, "network monitor");
	netmon->route = (struct source){.kind_of = route_kind};
	netmon->route.fd = open_socket(NETLINK_ROUTE, route_groups, sizeof(route_groups) / sizeof(route_groups[0]));
	netmon->firewall = (struct source){.kind_of = firewall_kind};
	netmon->firewall.fd = open_socket(NETLINK_NETFILTER, firewall_groups, 1);
	netmon->on_change = on_change;
	netmon->owner = owner;
	netmon->timer.data = netmon;
	uv_timer_init(loop, &netmon->timer); /* never fails */
	netmon->pending = 1;
	rc = netmon->route.fd < 0 ? netmon->route.fd : open_source(&netmon->route, netmon, loop);
	/* Without privilege, or in a kernel without nftables, nothing is announced. */
	if (rc == 0 && netmon->firewall.fd >= 0)
		rc = open_source(&netmon->firewall, netmon, loop);
	if (rc < 0) {
		netmon_close(netmon);
		return err_system(err, rc, "network monitor");
	}
	*ret = netmon;
	return 0;
}

/* --- closing --- */

/* The last handle frees: a poll handle's data is its source, the timer's is the monitor. */
static void netmon_on_closed(uv_handle_t *handle)
{
	struct netmon *netmon = handle->type == UV_TIMER ? handle->data : ((struct source *)handle->data)->netmon;

	if (--netmon->pending == 0)
		free(netmon);
}

static void close_source(struct source *source)
{
	if (source->is_polled)
		uv_close((uv_handle_t *)&source->poll, netmon_on_closed);
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
	uv_close((uv_handle_t *)&netmon->timer, netmon_on_closed);
}
