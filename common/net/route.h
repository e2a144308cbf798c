/* Routes: add, take away, ask.
 *
 * The kernel tells of one route no cheaper than of all. Who asks about many (a hub has one for each of its peers) reads them
 * once, struct net_routes, and asks that.
 */
#ifndef TOWPATH_NET_ROUTE_H
#define TOWPATH_NET_ROUTE_H

#include "common/base/prefix.h"
#include "common/net/netlink.h"

#include <stdbool.h>
#include <stdint.h>

#define NET_ROUTE_TABLE_MAIN 254u

struct net_route {
	struct prefix to;
	int index; /* of the device it leads to, scope link, without a gateway */
	uint32_t table;
};

/* Return: 0, -EEXIST (another route to there), or another negative errno. */
int net_route_add(struct netlink *netlink, const struct net_route *route, struct err *err);
/* Gone already is done. */
int net_route_delete(struct netlink *netlink, const struct net_route *route, struct err *err);
/* Is just this one there? Return: 1, 0 or a negative errno. */
int net_route_has(struct netlink *netlink, const struct net_route *route, struct err *err);

/* Routes as they were at one moment. */
struct net_routes {
	struct net_route_seen *items; /* sorted by destination; NULL: not read */
	size_t count;
};

/* Both families'. @table, 0: all; @index: of the device they lead to, 0: any. Return: 0 (net_routes_done() it), or a
 * negative errno. */
int net_routes_read(struct netlink *netlink, uint32_t table, int index, struct net_routes *ret, struct err *err);
void net_routes_done(struct net_routes *routes);

/* Is just this one among them? */
bool net_routes_have(const struct net_routes *routes, const struct net_route *route);

/* Does one of the main table that leads to @route's device hold all of @route's addresses, as a connected network does? What
 * wg-quick asks by `ip route show dev DEVICE match PREFIX`. */
bool net_routes_cover(const struct net_routes *routes, const struct net_route *route);

/* The route that stands where @route is to go: same table, destination and metric, so that adding would say -EEXIST.
 * @ret: may be of no device (index 0: a blackhole). Return: is there one? */
bool net_routes_find_rival(const struct net_routes *routes, const struct net_route *route, struct net_route *ret);

/* Some route of either family in @table, as above. Return: 1 there is one, 0, or a negative errno. */
int net_route_find_any(struct netlink *netlink, uint32_t table, struct net_route *ret, struct err *err);

/* Is no route of either family in @table? Return: 1, 0 or a negative errno. */
int net_route_table_is_empty(struct netlink *netlink, uint32_t table, struct err *err);

/* The way to @to for a packet that carries @mark: device and MTU (its route's, else the device's).
 * Return: 0, -ENETUNREACH, or another negative errno. */
struct net_way {
	int index;
	uint32_t mtu;
};
int net_route_way(struct netlink *netlink, const struct addr *to, uint32_t mark, struct net_way *ret, struct err *err);

/* The device of the default route with the lowest metric of either family, IPv4 first. Return: 0, -ENETUNREACH, … */
int net_route_default(struct netlink *netlink, int family, struct net_way *ret, struct err *err);

/* The device on whose connected network @lan lies (or is). Return: its index, -ENODEV, or another negative errno. */
int net_route_find_lan(struct netlink *netlink, const struct prefix *lan, struct err *err);

#endif
