/* From what is wanted and what the host is like to the ordered list of changes. Pure. */
#ifndef TOWPATH_HOST_PLAN_H
#define TOWPATH_HOST_PLAN_H

#include "common/host/change.h"
#include "common/host/host_setup.h"
#include "common/net/firewall.h"
#include "common/net/forward.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An interface of this host, or "default": what all/forwarding of IPv6 changes of it. */
struct plan_interface {
	char name[IFNAMSIZ];
	bool forwards;
	bool takes_adverts; /* accept_ra is 1 */
};

/* What the host is like. */
struct plan_facts {
	uint32_t mark; /* of the device; with a full tunnel its table, too */
	bool has_ipv6;
	uint32_t mtu;
	uint32_t free_priority[2]; /* of rules, IPv4 and IPv6 */
	bool forwards_ipv4;	   /* a new device would */
	bool forwards_ipv6;
	const struct plan_interface *interfaces;
	size_t interface_count;
	const struct firewall_gateway *gateways;
	size_t gateway_count;
	const struct forward_rules *forwards; /* NULL: none */
	const char *dns_set, *dns_unset;      /* NULL: no DNS */
};

struct plan {
	struct change *changes;
	size_t count, capacity;
	bool has_ipv6;
	char table[FIREWALL_TABLE_MAX]; /* of nftables */
};

/* "net/ipv6/conf/eth0/forwarding". @ip: "ipv4", "ipv6". Return: @ret. */
const char *plan_format_conf(char ret[SYSCTL_PATH_MAX], const char *ip, const char *device, const char *key);

/* Does an AllowedIPs of @family (AF_INET, AF_INET6) send everything into the tunnel, by rules of ours? */
bool plan_is_full_tunnel(const struct wg_config *config, int family);

/* Does this host's part forward packets: [Gateway], or a hub's device? And IPv6 ones? */
bool plan_forwards(const struct host_setup *setup);
bool plan_forwards_ipv6(const struct host_setup *setup);

/* Will a table of nftables be needed? */
bool plan_needs_firewall(const struct host_setup *setup);

/* Return: 0 (plan_done() it) or -ENOMEM. */
int plan_make(
	struct plan *ret, const struct host_setup *setup, const struct plan_facts *facts, int index, struct err *err);
/* Only the routes, for a reload. */
int plan_make_routes(
	struct plan *ret, const struct host_setup *setup, const struct plan_facts *facts, int index, struct err *err);
/* The script of our nftables table. Return: free() it, or NULL: none is needed, or out of memory. */
char *plan_format_firewall(const struct host_setup *setup, const struct plan_facts *facts);
/* A change more, copied. Return: 0 or -ENOMEM. */
int plan_take(struct plan *plan, const struct change *change);
void plan_done(struct plan *plan);

/* Where a plan's routes lead, sorted; a hub may have one for each of thousands of peers. */
struct plan_index {
	struct prefix *destinations;
	size_t count;
};

/* Return: 0 (plan_index_done() it) or -ENOMEM. */
int plan_index_make(struct plan_index *ret, const struct plan *plan);
bool plan_index_has(const struct plan_index *index, const struct prefix *to);
void plan_index_done(struct plan_index *index);

#endif
