/* The kernel's routes (route.h).
 *
 * Every question lists the routes of one family and picks from the answers: only newer kernels filter by table and
 * device, and none filters by more. Happy path: one dump of netlink, each answer parsed into struct seen, the wanted
 * ones kept.
 *
 * A table beyond 255 does not fit the byte of the header, so the attribute RTA_TABLE holds it, in questions and in
 * changes alike. The routes that we make are those of `ip route add PREFIX dev DEVICE table TABLE`: protocol boot,
 * scope link, no metric, no gateway.
 */
#include "common/net/route.h"

#include "common/net/link.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <netlink/addr.h>
#include <netlink/msg.h>
#include <netlink/route/nexthop.h>
#include <netlink/route/route.h>
#include <stdlib.h>
#include <string.h>

#define IPV6_METRIC 1024    /* what the kernel gives an IPv6 route that is added without one; an IPv4 one has 0 */
#define IPV6_METRIC_OWN 256 /* what it gives the network of an IPv6 address */

/* A route as the kernel lists it; with several next hops, the first one. */
struct net_route_seen {
	struct prefix to;
	uint32_t table;
	int index; /* 0: leads nowhere */
	uint32_t metric;
	uint32_t mtu; /* 0: the device's */
	uint8_t type;
	bool has_gateway;
	bool has_many; /* next hops */
};

/* Which routes are wanted. */
struct wanted {
	int family;
	uint32_t table;							    /* 0: any */
	int index;							    /* of the device, 0: any */
	bool (*is_it)(const struct net_route_seen *seen, const void *what); /* NULL: all */
	const void *what;
};

/* --- reading --- */

/* libnl gives a destination without bytes for the default route, and none at all for some routes of other kinds: both
 * are a prefix of length 0 here. */
static int read_destination(struct rtnl_route *route, int family, struct prefix *ret)
{
	struct nl_addr *to = rtnl_route_get_dst(route);
	socklen_t len = sizeof(ret->addr);

	ret->addr.sa.sa_family = (sa_family_t)family;
	ret->bits = to ? (uint8_t)nl_addr_get_prefixlen(to) : 0;
	if (!to || nl_addr_get_len(to) == 0)
		return 0;
	return nl_addr_fill_sockaddr(to, &ret->addr.sa, &len) < 0 ? -EPROTO : 0;
}

/* Copy what our questions need out of libnl's object, cheapest conditions first: a hub has thousands of routes.
 * Return: 1: it is wanted, 0: it is not, or a negative errno. */
static int take_route(struct rtnl_route *route, const struct wanted *wanted, struct net_route_seen *seen)
{
	struct rtnl_nexthop *hop;

	if (wanted->table != 0 && rtnl_route_get_table(route) != wanted->table)
		return 0;
	if (read_destination(route, wanted->family, &seen->to) < 0)
		return -EPROTO;
	hop = rtnl_route_nexthop_n(route, 0); /* NULL: an unreachable route, for one */
	seen->has_many = rtnl_route_get_nnexthops(route) > 1;
	if (hop) {
		seen->index = rtnl_route_nh_get_ifindex(hop);
		seen->has_gateway = rtnl_route_nh_get_gateway(hop) || rtnl_route_nh_get_via(hop);
	}
	if (wanted->index != 0 && seen->index != wanted->index)
		return 0;
	seen->table = rtnl_route_get_table(route);
	seen->metric = rtnl_route_get_priority(route);
	seen->type = rtnl_route_get_type(route);
	if (rtnl_route_get_metric(route, RTAX_MTU, &seen->mtu) < 0)
		seen->mtu = 0;
	return !wanted->is_it || wanted->is_it(seen, wanted->what);
}

static int read_route(struct nlmsghdr *answer, void *ret_item, const void *wanted)
{
	struct rtnl_route *route;
	struct rtmsg *header = nlmsg_data(answer);
	int rc;

	if (nlmsg_datalen(answer) < (int)sizeof(*header))
		return -EPROTO;
	/* A kernel without IPv6 answers a question about it with its IPv4 routes. */
	if (header->rtm_family != ((const struct wanted *)wanted)->family)
		return 0;
	if (rtnl_route_parse(answer, &route) < 0)
		return -EPROTO;
	rc = take_route(route, wanted, ret_item);
	rtnl_route_put(route);
	return rc;
}

/* Return: 0 (free() it), or a negative errno. */
static int list_routes(struct netlink *netlink, const struct wanted *wanted, struct net_route_seen **ret,
	size_t *ret_count, struct err *err)
{
	struct netlink_query query = {.item_size = sizeof(struct net_route_seen), .read = read_route, .wanted = wanted};
	struct rtmsg header = {.rtm_family = (uint8_t)wanted->family};
	struct nl_msg *message = netlink_message(RTM_GETROUTE, NLM_F_DUMP, &header, sizeof(header));
	void *routes = NULL;
	size_t count = 0;
	int rc;

	if (message && (nla_put_u32(message, RTA_TABLE, wanted->table) < 0 ||
			       (wanted->index != 0 && nla_put_u32(message, RTA_OIF, (uint32_t)wanted->index) < 0))) {
		nlmsg_free(message);
		message = NULL;
	}
	rc = netlink_collect(netlink, message, &query, &routes, &count);
	/* ENOENT: the table never had a route. ENODEV: the device is gone. Both mean that there are no routes. */
	if (rc < 0 && rc != -ENOENT && rc != -ENODEV)
		return netlink_fail(netlink, err, rc, "list of routes");
	*ret = routes;
	*ret_count = count;
	return 0;
}

/* The first of those wanted. Return: 1 there is one, 0, or a negative errno. */
static int find_first(struct netlink *netlink, const struct wanted *wanted, struct net_route *ret, struct err *err)
{
	struct net_route_seen *routes = NULL;
	size_t count = 0;
	int rc = list_routes(netlink, wanted, &routes, &count, err);

	if (rc < 0)
		return rc;
	if (count > 0)
		*ret = (struct net_route){.to = routes[0].to, .index = routes[0].index, .table = wanted->table};
	free(routes);
	return count > 0;
}

/* --- adding and deleting --- */

/* The same attributes as `ip route` sends, so that each can delete routes of the other. @own: NULL, or the address with
 * which the kernel makes such a route. Return: NULL: out of memory. */
static struct nl_msg *route_message(int type, int flags, const struct net_route *route, const struct addr *own)
{
	struct prefix to = prefix_network(&route->to);
	struct rtmsg header = {
		.rtm_family = (uint8_t)to.addr.sa.sa_family,
		.rtm_dst_len = to.bits,
		.rtm_table = route->table <= UINT8_MAX ? (uint8_t)route->table : RT_TABLE_UNSPEC,
		.rtm_protocol = own ? RTPROT_KERNEL : RTPROT_BOOT,
		.rtm_scope = route->is_local ? RT_SCOPE_HOST : RT_SCOPE_LINK,
		.rtm_type = route->is_local ? RTN_LOCAL : RTN_UNICAST,
	};
	struct nl_msg *message = netlink_message(type, flags, &header, sizeof(header));
	int rc = message ? netlink_put_addr(message, RTA_DST, &to.addr) : -ENOMEM;

	if (rc == 0 && own && own->sa.sa_family == AF_INET6)
		rc = nla_put_u32(message, RTA_PRIORITY, IPV6_METRIC_OWN);
	else if (rc == 0 && own)
		rc = netlink_put_addr(message, RTA_PREFSRC, own);
	if (rc == 0 && nla_put_u32(message, RTA_TABLE, route->table) == 0 &&
		nla_put_u32(message, RTA_OIF, (uint32_t)route->index) == 0)
		return message;
	nlmsg_free(message);
	return NULL;
}

static int add_route(
	struct netlink *netlink, int flags, const struct net_route *route, const struct addr *own, struct err *err)
{
	char text[PREFIX_TEXT_MAX];
	int rc = netlink_request(netlink, route_message(RTM_NEWROUTE, NLM_F_CREATE | flags, route, own));

	return rc < 0 ? netlink_fail(netlink, err, rc, "route %s", prefix_format(text, sizeof(text), &route->to)) : 0;
}

int net_route_add(struct netlink *netlink, const struct net_route *route, struct err *err)
{
	return add_route(netlink, NLM_F_EXCL, route, NULL, err);
}

int net_route_add_own(struct netlink *netlink, const struct net_route *route, const struct addr *own, struct err *err)
{
	return add_route(netlink, NLM_F_APPEND, route, own, err);
}

int net_route_delete(struct netlink *netlink, const struct net_route *route, struct err *err)
{
	char text[PREFIX_TEXT_MAX];
	int rc = netlink_request(netlink, route_message(RTM_DELROUTE, 0, route, NULL));

	if (rc == 0 || rc == -ESRCH || rc == -ENODEV)
		return 0;
	return netlink_fail(netlink, err, rc, "delete route %s", prefix_format(text, sizeof(text), &route->to));
}

/* --- asking --- */

static int compare_seen(const void *a, const void *b)
{
	return prefix_compare(&((const struct net_route_seen *)a)->to, &((const struct net_route_seen *)b)->to);
}

/* Append the routes of one family. A dump covers one family, so two follow each other; a route that changes in between
 * is seen by the next look. */
static int append_family(
	struct netlink *netlink, const struct wanted *wanted, struct net_routes *routes, struct err *err)
{
	struct net_route_seen *more = NULL, *all;
	size_t count = 0;
	int rc = list_routes(netlink, wanted, &more, &count, err);

	if (rc < 0)
		return rc;
	all = reallocarray(routes->items, routes->count + count + 1, sizeof(*all));
	if (!all) {
		free(more);
		return err_system(err, -ENOMEM, "list of routes");
	}
	if (count > 0)
		memcpy(all + routes->count, more, count * sizeof(*all));
	free(more);
	routes->items = all;
	routes->count += count;
	return 0;
}

int net_routes_read(struct netlink *netlink, uint32_t table, int index, struct net_routes *ret, struct err *err)
{
	struct wanted ipv4 = {.family = AF_INET, .table = table, .index = index};
	struct wanted ipv6 = {.family = AF_INET6, .table = table, .index = index};
	struct net_routes routes = {0};
	int rc = append_family(netlink, &ipv4, &routes, err);

	if (rc == 0)
		rc = append_family(netlink, &ipv6, &routes, err);
	if (rc < 0) {
		net_routes_done(&routes);
		return rc;
	}
	/* Sorted, so that each of a caller's many questions is a search by halves. */
	qsort(routes.items, routes.count, sizeof(*routes.items), compare_seen);
	*ret = routes;
	return 0;
}

void net_routes_done(struct net_routes *routes)
{
	free(routes->items);
	*routes = (struct net_routes){0};
}

/* The first of @routes that fits @wanted and has exactly that destination, whose bits behind the prefix length are 0.
 * Return: NULL: none. */
static const struct net_route_seen *find_to(const struct net_routes *routes, const struct prefix *to,
	bool (*is_wanted)(const struct net_route_seen *seen, const struct net_route *route),
	const struct net_route *route)
{
	const struct net_route_seen key = {.to = *to}, *end = routes->items + routes->count, *at = NULL;

	if (routes->count > 0)
		at = bsearch(&key, routes->items, routes->count, sizeof(key), compare_seen);
	while (at && at > routes->items && compare_seen(at - 1, &key) == 0)
		at--;
	for (; at && at < end && compare_seen(at, &key) == 0; at++)
		if (is_wanted(at, route))
			return at;
	return NULL;
}

/* As route_message() makes it. A route of another type or with a gateway is another program's, even if it leads to the
 * same device. */
static bool is_same(const struct net_route_seen *seen, const struct net_route *route)
{
	return seen->index == route->index && seen->table == route->table &&
	       seen->type == (route->is_local ? RTN_LOCAL : RTN_UNICAST) && !seen->has_gateway && !seen->has_many;
}

bool net_routes_have(const struct net_routes *routes, const struct net_route *route)
{
	struct prefix to = prefix_network(&route->to);

	return find_to(routes, &to, is_same, route);
}

/* wg-quick's question does not look at the type or the gateway either. */
static bool is_covering(const struct net_route_seen *seen, const struct net_route *route)
{
	return seen->index == route->index && seen->table == NET_ROUTE_TABLE_MAIN && !seen->has_many;
}

/* From the prefix itself to ever wider ones, at most 129 searches by halves: faster than walking the routes of a
 * hub. */
bool net_routes_cover(const struct net_routes *routes, const struct net_route *route)
{
	struct prefix wider = route->to, to;

	for (int bits = route->to.bits; bits >= 0; bits--) {
		wider.bits = (uint8_t)bits;
		to = prefix_network(&wider);
		if (find_to(routes, &to, is_covering, route))
			return true;
	}
	return false;
}

/* The kernel tells routes of a table apart by destination and metric only, whatever device or gateway they have. */
static bool is_rival(const struct net_route_seen *seen, const struct net_route *route)
{
	return seen->table == route->table &&
	       seen->metric == (route->to.addr.sa.sa_family == AF_INET6 ? IPV6_METRIC : 0);
}

bool net_routes_find_rival(const struct net_routes *routes, const struct net_route *route, struct net_route *ret)
{
	struct prefix to = prefix_network(&route->to);
	const struct net_route_seen *rival = find_to(routes, &to, is_rival, route);

	if (rival)
		*ret = (struct net_route){.to = rival->to, .index = rival->index, .table = rival->table};
	return rival;
}

int net_route_has(struct netlink *netlink, const struct net_route *route, struct err *err)
{
	struct net_routes routes;
	int rc = net_routes_read(netlink, route->table, route->index, &routes, err);

	if (rc < 0)
		return rc;
	rc = net_routes_have(&routes, route);
	net_routes_done(&routes);
	return rc;
}

/* The route itself is returned, so that a complaint about a table in use can name it. */
int net_route_find_any(struct netlink *netlink, uint32_t table, struct net_route *ret, struct err *err)
{
	struct wanted ipv4 = {.family = AF_INET, .table = table}, ipv6 = {.family = AF_INET6, .table = table};
	int rc = find_first(netlink, &ipv4, ret, err);

	return rc == 0 ? find_first(netlink, &ipv6, ret, err) : rc;
}

int net_route_table_is_empty(struct netlink *netlink, uint32_t table, struct err *err)
{
	struct net_route route;
	int rc = net_route_find_any(netlink, table, &route, err);

	return rc < 0 ? rc : !rc;
}

/* A route may have an MTU of its own (`ip route … mtu 1400`), which counts more than the device's. */
static int fill_way(struct netlink *netlink, const struct net_route_seen *seen, struct net_way *ret, struct err *err)
{
	struct net_link link = {.mtu = seen->mtu};
	int rc = seen->mtu > 0 ? 0 : net_link_get(netlink, seen->index, &link, err);

	if (rc < 0)
		return rc;
	ret->index = seen->index;
	ret->mtu = link.mtu;
	return 0;
}

/* A question about one packet, which the kernel answers with the one route that it would take, rules included. A
 * link-local address leads nowhere without its device. Return: NULL, out of memory. */
static struct nl_msg *way_message(const struct addr *to, uint32_t mark)
{
	struct rtmsg header = {
		.rtm_family = (uint8_t)to->sa.sa_family,
		.rtm_dst_len = to->sa.sa_family == AF_INET6 ? 128 : 32,
	};
	struct nl_msg *message = netlink_message(RTM_GETROUTE, 0, &header, sizeof(header));
	uint32_t device = to->sa.sa_family == AF_INET6 ? to->in6.sin6_scope_id : 0;

	if (message && netlink_put_addr(message, RTA_DST, to) == 0 &&
		(mark == 0 || nla_put_u32(message, RTA_MARK, mark) == 0) &&
		(device == 0 || nla_put_u32(message, RTA_OIF, device) == 0))
		return message;
	nlmsg_free(message);
	return NULL;
}

int net_route_way(struct netlink *netlink, const struct addr *to, uint32_t mark, struct net_way *ret, struct err *err)
{
	struct wanted wanted = {.family = to->sa.sa_family};
	struct netlink_query query = {
		.item_size = sizeof(struct net_route_seen), .read = read_route, .wanted = &wanted};
	char text[ADDR_TEXT_MAX];
	void *routes = NULL;
	size_t count = 0;
	int rc = netlink_collect(netlink, way_message(to, mark), &query, &routes, &count);

	if (rc == 0 && count == 0)
		rc = -ENETUNREACH;
	if (rc < 0)
		netlink_fail(netlink, err, rc, "way to %s", addr_format_host(text, sizeof(text), to));
	else
		rc = fill_way(netlink, routes, ret, err);
	free(routes);
	return rc;
}

/* A default route that rejects or drops is no way to anywhere. */
static bool is_default(const struct net_route_seen *seen, const void *what)
{
	(void)what;
	return seen->to.bits == 0 && seen->type == RTN_UNICAST && seen->index != 0;
}

/* The best of those wanted, as the kernel chooses: the longest prefix, then the smallest metric. Return: 1 with *ret
 * set, 0: there is none, or a negative errno. */
static int find_best(struct netlink *netlink, const struct wanted *wanted, struct net_route_seen *ret, struct err *err)
{
	struct net_route_seen *routes;
	size_t count;
	int rc = list_routes(netlink, wanted, &routes, &count, err);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		if (i == 0 || routes[i].to.bits > ret->to.bits ||
			(routes[i].to.bits == ret->to.bits && routes[i].metric < ret->metric))
			*ret = routes[i];
	free(routes);
	return count > 0;
}

int net_route_default(struct netlink *netlink, int family, struct net_way *ret, struct err *err)
{
	struct wanted wanted = {.family = family, .table = NET_ROUTE_TABLE_MAIN, .is_it = is_default};
	struct net_route_seen best;
	int rc = find_best(netlink, &wanted, &best, err);

	if (rc == 0)
		return err_system(err, -ENETUNREACH, "default route");
	return rc < 0 ? rc : fill_way(netlink, &best, ret, err);
}

static bool is_network(const struct net_route_seen *seen, const void *except)
{
	return seen->to.bits > 0 && seen->type == RTN_UNICAST && seen->index != *(const int *)except;
}

int net_route_list_networks(struct netlink *netlink, int except, struct prefix **ret, struct err *err)
{
	const struct wanted ipv4 = {
		.family = AF_INET, .table = NET_ROUTE_TABLE_MAIN, .is_it = is_network, .what = &except};
	struct wanted ipv6 = ipv4;
	struct net_routes routes = {0};
	struct prefix *networks;
	size_t count;
	int rc = append_family(netlink, &ipv4, &routes, err);

	ipv6.family = AF_INET6;
	if (rc == 0)
		rc = append_family(netlink, &ipv6, &routes, err);
	networks = rc == 0 ? calloc(routes.count + 1, sizeof(*networks)) : NULL;
	if (rc == 0 && !networks)
		rc = err_system(err, -ENOMEM, "list of routes");
	for (size_t i = 0; networks && i < routes.count; i++)
		networks[i] = routes.items[i].to;
	count = routes.count;
	net_routes_done(&routes);
	if (networks)
		*ret = networks;
	return rc < 0 ? rc : (int)count;
}

/* A network behind a gateway is not on the device itself: hosts there would not see us as a neighbour. */
static bool is_lan(const struct net_route_seen *seen, const void *lan)
{
	return seen->to.bits > 0 && seen->type == RTN_UNICAST && seen->index != 0 && !seen->has_gateway &&
	       prefix_contains(&seen->to, lan);
}

int net_route_find_lan(struct netlink *netlink, const struct prefix *lan, struct err *err)
{
	struct wanted wanted = {
		.family = lan->addr.sa.sa_family, .table = NET_ROUTE_TABLE_MAIN, .is_it = is_lan, .what = lan};
	struct net_route_seen best;
	char text[PREFIX_TEXT_MAX];
	int rc = find_best(netlink, &wanted, &best, err);

	if (rc == 0)
		return err_set(err, -ENODEV, "%s: no device is connected to it",
			prefix_format(text, sizeof(text), lan));
	return rc < 0 ? rc : best.index;
}

struct past {
	struct prefix to;
	int except;
};

static bool is_past(const struct net_route_seen *seen, const void *what)
{
	const struct past *past = what;

	return seen->type == RTN_UNICAST && seen->index != 0 && seen->index != past->except &&
	       prefix_contains(&seen->to, &past->to);
}

int net_route_past(struct netlink *netlink, const struct addr *to, int except, struct err *err)
{
	const struct past past = {prefix_of_host(to), except};
	const struct wanted wanted = {
		.family = to->sa.sa_family, .table = NET_ROUTE_TABLE_MAIN, .is_it = is_past, .what = &past};
	struct net_route_seen best;
	int rc = find_best(netlink, &wanted, &best, err);

	if (rc == 0)
		return err_system(err, -ENETUNREACH, "way past a device");
	return rc < 0 ? rc : best.index;
}
