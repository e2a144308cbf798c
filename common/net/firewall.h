/* The text of our nftables table, `inet towpath-NAME`; nft(8) is fed with it, one atomic transaction.
 *
 *     guard      raw prerouting, full tunnel: packets for the device's addresses that come from other devices are dropped
 *     save       mangle postrouting: the mark of a packet of ours is saved as its connection's mark, TCP and UDP
 *     restore    mangle prerouting: the answers get the mark back, so that rp_filter = 1 lets them in
 *     barrier    postrouting: of a family with a full tunnel nothing leaves by another device than the tunnel's, but
 *                for our mark, neighbours and DHCP, and networks that are named
 *     forward    MSS clamped to the route's MTU both ways. Where we switched forwarding on, only this is forwarded for the
 *                device: to the LAN, from hosts of the LAN (which have a route), answers, and on the hub from peer to peer;
 *                where the LAN is the Internet, only answers come in
 *     out        srcnat postrouting: packets that leave by a gateway's device are masqueraded
 *     publish    dstnat prerouting: connections to a published port go to the host behind the tunnel
 *     publish-own, publish-out   the same for this host's own connections; srcnat postrouting: they leave with our address
 *     sent, received   their bytes are counted, and they are let through: come to from forward, own-sent and own-received
 *
 * A packet that is forwarded to a published port costs as much as with two rules of nft by hand, from 1 to 100 services:
 * 5.5 to 5.9 µs of the processor against 5.6, in one run with datagrams of 100 bytes between veth devices.
 *
 * Pure: text in, text out.
 */
#pragma once

#include "common/base/prefix.h"
#include "common/net/service.h"

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

struct firewall_service {
	const struct service *service;
	unsigned id;		      /* of its counters, see firewall_format_counter() */
	struct service_counts counts; /* what they begin with */
};

struct firewall_setup {
	char table[FIREWALL_TABLE_MAX]; /* firewall_format_table() */
	char device[IFNAMSIZ];
	uint32_t mark;		      /* 0: no marks to keep */
	const struct prefix *guarded; /* the device's addresses of the families that have a full tunnel */
	size_t guarded_count;
	bool stops_ipv4, stops_ipv6; /* the barrier is up */
	const struct prefix *reachable;
	size_t reachable_count;
	const struct firewall_gateway *gateways;
	size_t gateway_count;
	const struct firewall_service *services;
	size_t service_count;
	char (*opened)[IFNAMSIZ]; /* devices that forward IPv4 only since we switched it on, for services */
	size_t opened_count;
	bool confines;	     /* forward nothing else for the device, because it was us who switched forwarding on */
	int confined_family; /* of AF_INET or AF_INET6 only; 0: of both */
	bool among_peers;    /* the hub: from the device to the device */
};

/* The table of the tunnel @name: "towpath-home". nft takes letters, digits and "_-./" in it. Any other character of a
 * name becomes "/3d", which no name contains by itself. Return: @ret. */
const char *firewall_format_table(char ret[FIREWALL_TABLE_MAX], const char *name);

#define FIREWALL_COUNTER_MAX 32

/* The counters of a service: "connections-7", "sent-7", "received-7". @what: the first word. Return: @ret. */
const char *firewall_format_counter(char ret[FIREWALL_COUNTER_MAX], const char *what, unsigned id);

/* True if the table would not be empty. */
bool firewall_is_needed(const struct firewall_setup *setup);

/* True if nft can name this device: the name has none of `"`, `*` and `\`. */
bool firewall_can_name(const char *device);

/* A script for `nft -f -` that replaces the whole table. Return: the caller frees it; NULL: no memory, or a device nft
 * cannot name. */
char *firewall_format(const struct firewall_setup *setup);

/* The text that takes it away; no error where it is gone already. */
char *firewall_format_removal(const char *table);

/* The kernel module that is missing where nft has refused a script of ours. @said: nft's words, which quote the rule.
 * Return: NULL where the kernel has all. */
const char *firewall_missing_module(const char *said);

/* Cut counters and handles, which change by themselves, out of the output of `nft list table`, in place. Two listings
 * of an unchanged table are then equal. */
void firewall_normalise(char *listing);
