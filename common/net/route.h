/* Routes: add, delete, ask.
 *
 * The kernel's answer about one route costs as much as its answer about all. A caller with many questions (a hub has a
 * route for each of its peers) reads all routes once, into struct net_routes, and asks that.
 */
#pragma once

#include "common/base/prefix.h"
#include "common/net/netlink.h"

#include <stdbool.h>
#include <stdint.h>

#define NET_ROUTE_TABLE_MAIN 254u
#define NET_ROUTE_TABLE_LOCAL 255u

struct net_route {
	struct prefix to;
	int index; /* of the device it leads to, scope link, without a gateway */
	uint32_t table;
	bool is_local; /* to an address of this host */
};

/* Return: 0, -EEXIST (another route to there), or another negative errno. */
int net_route_add(struct netlink *netlink, const struct net_route *route, struct err *err);
/* Add a route that the kernel makes with the address @own, as it makes it: to the address, or to its network. One to
 * the same network by another device does no harm. Return: as net_route_add(). */
int net_route_add_own(struct netlink *netlink, const struct net_route *route, const struct addr *own, struct err *err);
/* It is no failure if the route is gone already. */
int net_route_delete(struct netlink *netlink, const struct net_route *route, struct err *err);
/* Return: 1 if exactly this route is there, 0, or a negative errno. */
int net_route_has(struct netlink *netlink, const struct net_route *route, struct err *err);

/* Routes as they were at one moment. */
struct net_routes {
	struct net_route_seen *items; /* sorted by destination; NULL: not read */
	size_t count;
};

/* Read the routes of both families. @table: 0: all; @index: of the device they lead to, 0: any. Return: 0
 * (net_routes_done() it) or a negative errno. */
int net_routes_read(struct netlink *netlink, uint32_t table, int index, struct net_routes *ret, struct err *err);
void net_routes_done(struct net_routes *routes);

/* True if exactly this route is among them. */
bool net_routes_have(const struct net_routes *routes, const struct net_route *route);

/* True if a route of the main table to the same device already covers all addresses of @route, as a connected network
 * does. wg-quick asks the same by `ip route show dev DEVICE match PREFIX`. */
bool net_routes_cover(const struct net_routes *routes, const struct net_route *route);

/* Find a route with the table, destination and metric of @route, because of which adding would fail with -EEXIST.
 * @ret: may lead to no device (index 0: a blackhole). Return: true if there is one. */
bool net_routes_find_rival(const struct net_routes *routes, const struct net_route *route, struct net_route *ret);

/* Some route of either family in @table, as above. Return: 1 there is one, 0, or a negative errno. */
int net_route_find_any(struct netlink *netlink, uint32_t table, struct net_route *ret, struct err *err);

/* Return: 1 if no route of either family is in @table, 0, or a negative errno. */
int net_route_table_is_empty(struct netlink *netlink, uint32_t table, struct err *err);

/* The route to @to for a packet that carries @mark: device and MTU (the route's own, or else the device's).
 * Return: 0, -ENETUNREACH, or another negative errno. */
struct net_way {
	int index;
	uint32_t mtu;
};
int net_route_way(struct netlink *netlink, const struct addr *to, uint32_t mark, struct net_way *ret, struct err *err);

/* The device of @family's default route with the lowest metric. Return: 0, -ENETUNREACH, or another negative errno. */
int net_route_default(struct netlink *netlink, int family, struct net_way *ret, struct err *err);

/* The device of the main table's best route to @to that does not lead to @except. Return: its index, -ENETUNREACH, or
 * another negative errno. */
int net_route_past(struct netlink *netlink, const struct addr *to, int except, struct err *err);

/* The networks to which the main table has a better route than its default one, by another device than @except. @ret:
 * the caller frees it. Return: how many, or a negative errno. */
int net_route_list_networks(struct netlink *netlink, int except, struct prefix **ret, struct err *err);

/* The device whose connected network is @lan or contains it. Return: its index, -ENODEV, or another negative errno. */
int net_route_find_lan(struct netlink *netlink, const struct prefix *lan, struct err *err);
