/* The text of our nftables table, `inet towpath-NAME`; nft(8) is fed with it, one atomic transaction.
 *
 *     guard      raw prerouting: who claims one of the device's own addresses from outside it is dropped (full tunnel)
 *     save       mangle postrouting: packets with the mark leave it in the connection's mark, TCP and UDP
 *     restore    mangle prerouting: their answers get it back, so that rp_filter = 1 lets them in
 *     forward    MSS clamped to the route's MTU both ways; where we switched forwarding on, nothing else is forwarded for
 *                the device than what [Gateway] and the hub's peers need: to the LAN, from the LAN's own hosts (who have a
 *                route), answers; from the Internet, where that is the LAN, answers only
 *     out        srcnat postrouting: masquerade of what leaves by a gateway's LAN
 *
 * Pure: text in, text out.
 */
#ifndef TOWPATH_NET_FIREWALL_H
#define TOWPATH_NET_FIREWALL_H

#include "common/base/prefix.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIREWALL_TABLE_MAX 200 /* "towpath-" and a tunnel's name of 63, each character as "/3d" at worst */

struct firewall_gateway {
	const struct prefix *lans;
	size_t lan_count;
	char device[IFNAMSIZ];
	bool masquerades;
};

struct firewall_setup {
	char table[FIREWALL_TABLE_MAX]; /* firewall_format_table() */
	char device[IFNAMSIZ];
	uint32_t mark;		      /* 0: no marks to keep */
	const struct prefix *guarded; /* the device's addresses of the families that have a full tunnel */
	size_t guarded_count;
	const struct firewall_gateway *gateways;
	size_t gateway_count;
	bool confines;	     /* forward nothing else for the device: we switched forwarding on */
	int confined_family; /* of AF_INET or AF_INET6 only; 0: of both */
	bool among_peers;    /* the hub: from the device to the device */
};

/* The table of the tunnel @name: "towpath-home". nft takes letters, digits and "_-./" there; what else a name may have
 * becomes "/3d", which no name has by itself. Return: @ret. */
const char *firewall_format_table(char ret[FIREWALL_TABLE_MAX], const char *name);

/* Does it need a table at all? */
bool firewall_is_needed(const struct firewall_setup *setup);

/* Has nft words for a device of this name? Not where it has `"`, `*` or `\`. */
bool firewall_can_name(const char *device);

/* A script for `nft -f -` that replaces the table as a whole. Return: free() it, or NULL: out of memory, or a device that
 * nft has no words for. */
char *firewall_format(const struct firewall_setup *setup);

/* The text that takes it away; no error where it is gone already. */
char *firewall_format_removal(const char *table);

/* `nft list table` without what changes by itself (counters, handles), to tell whether somebody changed it. In place. */
void firewall_normalise(char *listing);

#endif
