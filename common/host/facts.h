/* Facts about the host that a plan is made from. Reading them takes well under a millisecond. */
#pragma once

#include "common/host/host_setup.h"
#include "common/host/plan.h"
#include "common/host/undo.h"
#include "common/net/dns.h"
#include "common/net/netlink.h"

struct facts {
	struct plan_facts plan;	     /* points into the rest */
	bool is_forwarding_changed; /* by another program; cleared by whoever makes our table anew */
	bool has_new_devices;	    /* since forwarding was switched on for services; cleared by whoever does that */
	struct plan_interface *interfaces;
	struct firewall_gateway *gateways;
	char dns_set[DNS_COMMAND_MAX], dns_unset[DNS_COMMAND_MAX];
	int locks[2]; /* of the rules' priorities, see table_lock.h */
	size_t lock_count;
};

/* Choose the mark of the device: FwMark, or with a full tunnel the number of a free table, from 51820 on as wg-quick
 * does; 0 for none. A table that a crashed run of ours (@left) has used counts as free. @ret_lock: a lock on the table,
 * to be closed when its routes are gone; untouched where there is none. Return: 0 or a negative errno. */
int facts_pick_mark(struct netlink *netlink, const struct host_setup *setup, const struct undo *left, uint32_t *ret,
	int *ret_lock, struct err *err);

/* @endpoints: one for each peer. Return: 0 (facts_done() it after the rules) or a negative errno. */
int facts_gather(struct facts *ret, struct netlink *netlink, const struct host_setup *setup,
	const struct addr *endpoints, uint32_t mark, struct err *err);
void facts_done(struct facts *facts);

/* Which forwarding is on, once more: PostUp may have switched it on. The device is there by now, and its own value not
 * set by us yet. Return: 0 or a negative errno with the old facts. */
int facts_look_at_hooks(
	struct facts *facts, struct netlink *netlink, const struct host_setup *setup, struct err *err);
/* While it is up: has another program switched IPv4's forwarding on or off for all devices? IPv6 has one switch, which
 * is ours by then. */
void facts_follow_forwarding(struct facts *facts, const char *device);
/* While it is up and has services: devices that came since, by which strangers may come or answers. */
void facts_follow_devices(struct facts *facts, struct netlink *netlink);

/* A free interface index, drawn at random, so that two tunnels that choose at the same time do not choose the same. */
int facts_pick_index(struct netlink *netlink, struct err *err);
