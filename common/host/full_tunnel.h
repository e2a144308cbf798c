/* The full tunnel in any spelling: allowed IPs that would take the connection below the tunnel into the tunnel.
 *
 * With Table = auto their routes go to a table of their own, and rules send everything there but that connection, which
 * carries a mark. So it is with wg-quick for a /0; here also for
 * - the pieces of a list that is about everything: 0.0.0.0/1 with 128.0.0.0/1, or what a calculator of allowed IPs has
 *   left of it. About everything is a list that covers half of all IPv4 addresses, or half of 2000::/3, from which all
 *   IPv6 addresses of the Internet are: then a server at an unknown address is rather inside than outside.
 * - a prefix, however long, that holds an address of the server;
 * - at a hub a wide prefix of the Internet (of IPv4 wider than /16, of IPv6 than /32): its clients come from anywhere.
 *
 * Private networks beside a /0 stay in the main table, as with wg-quick: there they win over a wider network of this
 * host. Without a /0 they are pieces like the others. Pure.
 */
#pragma once

#include "common/base/prefix.h"
#include "common/host/host_setup.h"

#include <stdbool.h>

struct full_tunnel {
	const struct host_setup *setup;
	bool is_full[2];  /* IPv4, IPv6: a route of the family goes to the table of its own */
	bool is_broad[2]; /* the list is about everything */
	bool has_all[2];  /* a /0 is in it */
};

/* Borrows @setup. */
void full_tunnel_find(struct full_tunnel *ret, const struct host_setup *setup);

/* True if the tunnel is a full one of @family (AF_INET, AF_INET6). */
bool full_tunnel_is_of(const struct full_tunnel *tunnel, int family);

/* Return: NULL, or why FwMark is none for this full tunnel, whose table has its number. */
const char *full_tunnel_mark_fault(const struct full_tunnel *tunnel);

/* Complain about such a mark by the file alone. It does not show where a server's address makes the tunnel a full
 * one. @path: of the file with [Interface]. */
void full_tunnel_check(const struct wg_config *wireguard, const char *path, struct ini_report *report);

/* True if the route to the allowed IPs @to goes to the table of its own. */
bool full_tunnel_has(const struct full_tunnel *tunnel, const struct prefix *to);
