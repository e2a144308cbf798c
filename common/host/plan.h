/* The plan: the ordered list of changes, made from the configuration and from facts about the host. Pure. */
#pragma once

#include "common/host/change.h"
#include "common/host/host_setup.h"
#include "common/net/firewall.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An interface of this host, or "default": its forwarding before us, and what else IPv6's all/forwarding changes. */
struct plan_interface {
	char name[IFNAMSIZ];
	bool forwards;
	bool takes_adverts; /* accept_ra is 1 */
	bool forwards_ipv4;
};

/* See barrier.h. */
struct plan_barrier {
	bool is_up;
	const struct prefix *networks; /* which stay within reach */
	size_t network_count;
};

/* Facts about the host. */
struct plan_facts {
	uint32_t mark; /* of the device, and with a full tunnel the number of its table */
	bool has_ipv6;
	uint32_t mtu;
	uint32_t free_priority[2]; /* for two rules, IPv4 and IPv6 */
	bool forwards_ipv4;	   /* another program lets our device forward: all devices, or by a hook ours */
	bool hook_sets_ipv4;	   /* a hook has set it for our device alone, on or off */
	bool forwards_ipv6;
	const struct plan_interface *interfaces;
	size_t interface_count;
	const struct firewall_gateway *gateways;
	size_t gateway_count;
	const struct firewall_service *services;
	size_t service_count;
	bool opens_ipv4;		 /* a service of IPv4 is published, or was: every device forwards */
	const char *dns_set, *dns_unset; /* NULL: no DNS */
	struct plan_barrier barrier;
};

struct plan {
	struct change *changes;
	size_t count;
	bool has_ipv6;
	char table[FIREWALL_TABLE_MAX]; /* of nftables */
};

/* "net/ipv6/conf/eth0/forwarding". @ip: "ipv4", "ipv6". Return: @ret. */
const char *plan_format_conf(char ret[SYSCTL_PATH_MAX], const char *ip, const char *device, const char *key);

/* True if this host is to forward packets: it has a [Gateway], or a hub's device. The same for IPv6. */
bool plan_forwards(const struct host_setup *setup);
bool plan_forwards_ipv6(const struct host_setup *setup);

/* True if the plan will have a table of nftables. */
bool plan_needs_firewall(const struct host_setup *setup);

/* All but forwarding. Return: 0 (plan_done() it) or -ENOMEM. */
int plan_make(
	struct plan *ret, const struct host_setup *setup, const struct plan_facts *facts, int index, struct err *err);
/* Only the routes, for a reload. */
int plan_make_routes(
	struct plan *ret, const struct host_setup *setup, const struct plan_facts *facts, int index, struct err *err);
/* Append what switches forwarding on; @facts: as they are after PostUp. Return: 0 or -ENOMEM. */
int plan_add_forwarding(struct plan *plan, const struct host_setup *setup, const struct plan_facts *facts);
/* The script of our nftables table. Return: the caller frees it; NULL: no table is needed, or out of memory. */
char *plan_format_firewall(const struct host_setup *setup, const struct plan_facts *facts);
/* Append a copy of @change. Return: 0 or -ENOMEM. */
int plan_take(struct plan *plan, const struct change *change);
void plan_done(struct plan *plan);

/* The destinations of a plan's routes, sorted: a hub may have one for each of thousands of peers. */
struct plan_index {
	struct prefix *destinations;
	size_t count;
};

/* Return: 0 (plan_index_done() it) or -ENOMEM. */
int plan_index_make(struct plan_index *ret, const struct plan *plan);
bool plan_index_has(const struct plan_index *index, const struct prefix *to);
void plan_index_done(struct plan_index *index);
