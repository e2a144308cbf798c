/* Facts about the host (facts.h).
 *
 * Everything is read by netlink and from /proc in one go, before anything is changed, so another program may change the
 * host between this and the changes: what then fails is a change, which undoes the bring-up. Fails with the file and
 * line that asks for something that this host does not have.
 */
#include "common/host/facts.h"

#include "common/base/array.h"
#include "common/base/place.h"
#include "common/host/full_tunnel.h"
#include "common/host/table_lock.h"
#include "common/net/link.h"
#include "common/net/route.h"
#include "common/net/rule.h"
#include "common/net/sysctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#define TABLE_FIRST 51820u
#define TABLES_TRIED 1000u
#define MTU_MAX 1420u /* 1500 − 80: an Ethernet, and WireGuard over IPv6 */
#define MTU_MIN 1280u /* the least that IPv6 works with: RFC 8200, 5 */
#define MTU_WIREGUARD 80u
#define INDEX_MIN 10000
#define INDEX_SPAN 50000
#define INDEX_ATTEMPTS 100

static const int families[2] = {AF_INET, AF_INET6};

static bool kernel_has_ipv6(void)
{
	return access("/proc/sys/net/ipv6", F_OK) == 0;
}

/* --- mark and table --- */

/* True if the undo list of a crashed run has a rule for this table. That run's rules and routes are still there until
 * they are undone, so the kernel alone would call the table taken. */
static bool was_ours(const struct undo *left, uint32_t table)
{
	const struct undo_entry *entry;

	for (size_t i = 0; (entry = undo_newest(left, i)); i++)
		if (entry->kind == UNDO_RULE && entry->rule.table == table)
			return true;
	return false;
}

/* Return: 1, 0 or a negative errno. */
static int has_rule(struct netlink *netlink, int family, uint32_t table, struct err *err)
{
	struct net_rule *rules;
	size_t count;
	int rc = net_rule_list(netlink, family, &rules, &count, err), found = 0;

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		found |= rules[i].table == table;
	free(rules);
	return found;
}

/* A table is free if it has no route, and no rule of either family leads to it: a program may make its rules first. */
static int is_free(struct netlink *netlink, uint32_t table, struct err *err)
{
	int rc = net_route_table_is_empty(netlink, table, err);

	for (int i = 0; rc == 1 && i < (kernel_has_ipv6() ? 2 : 1); i++) {
		rc = has_rule(netlink, families[i], table, err);
		rc = rc < 0 ? rc : !rc;
	}
	return rc;
}

/* Lock @table if it is free and no other tunnel has locked it. Return: 1: it is ours, 0: it is taken, or a negative
 * errno. */
static int take_table(struct netlink *netlink, const struct undo *left, uint32_t table, int *ret_lock, struct err *err)
{
	int rc = was_ours(left, table) ? 1 : is_free(netlink, table, err), lock;

	if (rc != 1)
		return rc;
	lock = table_lock_take("table", table);
	if (lock == -EADDRINUSE)
		return 0;
	*ret_lock = lock;
	return 1;
}

int facts_pick_mark(struct netlink *netlink, const struct host_setup *setup, const struct undo *left, uint32_t *ret,
	int *ret_lock, struct err *err)
{
	struct full_tunnel full;

	full_tunnel_find(&full, setup);
	if (setup->wireguard->interface.fwmark != 0 || (!full.is_full[0] && !full.is_full[1])) {
		*ret = setup->wireguard->interface.fwmark;
		return 0;
	}
	for (uint32_t table = TABLE_FIRST; table < TABLE_FIRST + TABLES_TRIED; table++) {
		int rc = take_table(netlink, left, table, ret_lock, err);

		if (rc < 0)
			return rc;
		if (rc == 1) {
			*ret = table;
			return 0;
		}
	}
	return err_set(err, -EEXIST, "no routing table is free from %u on", TABLE_FIRST);
}

int facts_pick_index(struct netlink *netlink, struct err *err)
{
	struct net_link *links;
	size_t count;
	int rc = net_link_list(netlink, &links, &count, err);

	if (rc < 0)
		return rc;
	rc = err_set(err, -EBUSY, "no interface index is free");
	for (int attempt = 0; rc < 0 && attempt < INDEX_ATTEMPTS; attempt++) {
		uint32_t number = 0;
		int index;

		if (getrandom(&number, sizeof(number), 0) < 0)
			continue;
		index = INDEX_MIN + (int)(number % INDEX_SPAN);
		rc = index;
		for (size_t i = 0; i < count; i++)
			if (links[i].index == index)
				rc = -EBUSY;
	}
	free(links);
	return rc;
}

/* --- MTU --- */

static int find_link(const struct net_link *links, size_t count, int index)
{
	for (size_t i = 0; i < count; i++)
		if (links[i].index == index)
			return (int)i;
	return -1;
}

/* A route by the loopback device does not count: a carrier of ours is behind it, and TCP fits any MTU. */
static void take_way(uint32_t *mtu, const struct net_way *way, const struct net_link *links, size_t count)
{
	int at = find_link(links, count, way->index);

	if (at >= 0 && strcmp(links[at].name, "lo") != 0 && way->mtu > 0 && (*mtu == 0 || way->mtu < *mtu))
		*mtu = way->mtu;
}

/* The MTU in the file, or else the smallest MTU of the routes to the endpoints, or else of the default route, less 80
 * bytes for WireGuard. A route that cannot be found now is skipped: the network may come later. */
static uint32_t pick_mtu(struct netlink *netlink, const struct host_setup *setup, const struct addr *endpoints,
	uint32_t mark, const struct net_link *links, size_t count)
{
	uint32_t mtu = 0;
	struct net_way way;

	if (setup->wireguard->interface.mtu > 0)
		return setup->wireguard->interface.mtu;
	for (size_t i = 0; i < setup->wireguard->peer_count; i++)
		if (setup->wireguard->peers[i].endpoint && endpoints[i].sa.sa_family != 0 &&
			net_route_way(netlink, &endpoints[i], mark, &way, NULL) == 0)
			take_way(&mtu, &way, links, count);
	for (int i = 0; mtu == 0 && i < 2; i++)
		if (net_route_default(netlink, families[i], &way, NULL) == 0)
			take_way(&mtu, &way, links, count);
	if (mtu == 0 || mtu > MTU_MAX + MTU_WIREGUARD)
		return MTU_MAX;
	return mtu < MTU_MIN + MTU_WIREGUARD ? MTU_MIN : mtu - MTU_WIREGUARD;
}

/* --- gateways --- */

/* Return: the index of the device that leads to @lan, for a /0 that of the default route; or a negative errno. */
static int lan_device(struct netlink *netlink, const struct prefix *lan, struct err *err)
{
	struct net_way way;
	int rc;

	if (lan->bits > 0)
		return net_route_find_lan(netlink, lan, err);
	rc = net_route_default(netlink, lan->addr.sa.sa_family, &way, err);
	return rc < 0 ? rc : way.index;
}

/* @lans: all of the section's networks, or the one that lies on @device. */
static int add_gateway(struct facts *facts, const struct gateway *gateway, const char *device, const struct prefix *lans,
	size_t lan_count, struct err *err)
{
	struct firewall_gateway *added = array_append(&facts->gateways, &facts->plan.gateway_count, sizeof(*added));

	if (!added)
		return err_system(err, -ENOMEM, "[Gateway]");
	*added = (struct firewall_gateway){.masquerades = gateway->masquerade, .lans = lans, .lan_count = lan_count};
	memcpy(added->device, device, sizeof(added->device));
	return 0;
}

/* With Interface all networks of the section lie there, whether or not it has a route to them now: a bridge or a VLAN
 * may get its address later. */
static int take_named(struct facts *facts, const struct host_setup *setup, const struct gateway *gateway,
	const struct net_link *links, size_t count, struct err *err)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(links[i].name, gateway->interface) == 0)
			return add_gateway(
				facts, gateway, gateway->interface, gateway->lans, gateway->lan_count, err);
	return err_set(err, -ENODEV, "%s: Interface: '%s': no such device; `ip link` names those that are there",
		PLACE(setup->config_path, gateway->interface_line), gateway->interface);
}

/* Without Interface each network may lie on another device. */
static int take_found(struct facts *facts, struct netlink *netlink, const struct host_setup *setup,
	const struct gateway *gateway, const struct net_link *links, size_t count, struct err *err)
{
	for (size_t i = 0; i < gateway->lan_count; i++) {
		const struct prefix *lan = &gateway->lans[i];
		int rc = lan_device(netlink, lan, NULL);
		int at = rc < 0 ? -1 : find_link(links, count, rc);
		char text[PREFIX_TEXT_MAX];

		if (at < 0)
			return err_set(err, -ENODEV,
				"%s: Lan: '%s': on no device of this host; connect it, or say Interface = DEVICE",
				PLACE(setup->config_path, gateway->lan_line), prefix_format(text, sizeof(text), lan));
		rc = add_gateway(facts, gateway, links[at].name, lan, 1, err);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* Checked here and not by the parser: without Interface the name comes from the host. */
static int check_names(const struct facts *facts, const struct host_setup *setup, struct err *err)
{
	for (size_t i = 0; i < facts->plan.gateway_count; i++)
		if (!firewall_can_name(facts->gateways[i].device))
			return err_set(err, -EINVAL,
				"%s: [Gateway]: nft has no words for a device called '%s'; `ip link set … name …` "
				"helps",
				PLACE(setup->config_path, setup->gateways[0].line), facts->gateways[i].device);
	return 0;
}

static int take_gateways(struct facts *facts, struct netlink *netlink, const struct host_setup *setup,
	const struct net_link *links, size_t count, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; rc == 0 && i < setup->gateway_count; i++) {
		const struct gateway *gateway = &setup->gateways[i];

		if (gateway->interface[0])
			rc = take_named(facts, setup, gateway, links, count, err);
		else
			rc = take_found(facts, netlink, setup, gateway, links, count, err);
	}
	facts->plan.gateways = facts->gateways;
	return rc < 0 ? rc : check_names(facts, setup, err);
}

/* --- forwarding --- */

/* A parameter that this kernel does not have counts as not set. */
static bool is_set_to(const char *ip, const char *device, const char *key, const char *value)
{
	char path[SYSCTL_PATH_MAX], now[SYSCTL_VALUE_MAX];

	return sysctl_read(plan_format_conf(path, ip, device, key), now, NULL) == 0 && strcmp(now, value) == 0;
}

static void look_at_interface(struct plan_interface *ret, const char *name)
{
	snprintf(ret->name, sizeof(ret->name), "%s", name);
	ret->forwards = is_set_to("ipv6", name, "forwarding", "1");
	ret->forwards_ipv4 = is_set_to("ipv4", name, "forwarding", "1");
	/* "default" takes no advertisements itself, and later interfaces are not known now */
	ret->takes_adverts = strcmp(name, "default") != 0 && is_set_to("ipv6", name, "accept_ra", "1");
}

/* A new device takes its IPv4 value from "default"; IPv6 has one switch for all. Values of each
 * interface that IPv6's switch changes are noted, so that going down can restore them. */
static int look_at_forwarding(struct facts *facts, const struct net_link *links, size_t count, struct err *err)
{
	struct plan_interface *interfaces = calloc(count + 1, sizeof(*interfaces));

	if (!interfaces)
		return err_system(err, -ENOMEM, "interfaces");
	free(facts->interfaces);
	facts->interfaces = interfaces;
	facts->plan.forwards_ipv4 = is_set_to("ipv4", "default", "forwarding", "1");
	facts->plan.forwards_ipv6 = is_set_to("ipv6", "all", "forwarding", "1");
	look_at_interface(&facts->interfaces[0], "default");
	for (size_t i = 0; i < count; i++)
		look_at_interface(&facts->interfaces[i + 1], links[i].name);
	facts->plan.interfaces = facts->interfaces;
	facts->plan.interface_count = count + 1;
	return 0;
}

void facts_follow_forwarding(struct facts *facts, const char *device)
{
	bool had = facts->plan.forwards_ipv4;

	facts->plan.forwards_ipv4 = is_set_to("ipv4", "default", "forwarding", "1") ||
				    (facts->plan.hook_sets_ipv4 && is_set_to("ipv4", device, "forwarding", "1"));
	facts->is_forwarding_changed |= facts->plan.forwards_ipv4 != had;
}

static bool knows(const struct facts *facts, const char *name)
{
	for (size_t i = 0; i < facts->plan.interface_count; i++)
		if (strcmp(facts->interfaces[i].name, name) == 0)
			return true;
	return false;
}

/* Of IPv6 nothing is noted, as it has been switched on by then. A device that goes is kept: one of that name may come
 * again, as ppp0 does. */
static void add_interface(struct facts *facts, const char *name)
{
	struct plan_interface *interfaces =
		reallocarray(facts->interfaces, facts->plan.interface_count + 1, sizeof(*interfaces));

	if (!interfaces)
		return;
	facts->plan.interfaces = facts->interfaces = interfaces;
	interfaces += facts->plan.interface_count++;
	*interfaces = (struct plan_interface){.forwards_ipv4 = is_set_to("ipv4", name, "forwarding", "1")};
	snprintf(interfaces->name, sizeof(interfaces->name), "%s", name);
	if (!interfaces->forwards_ipv4)
		facts->has_new_devices = facts->is_forwarding_changed = true;
}

void facts_follow_devices(struct facts *facts, struct netlink *netlink)
{
	struct net_link *links;
	size_t count;

	if (!facts->plan.opens_ipv4 || facts->plan.forwards_ipv4 || net_link_list(netlink, &links, &count, NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++)
		if (!links[i].is_port && !knows(facts, links[i].name))
			add_interface(facts, links[i].name);
	free(links);
}

int facts_look_at_hooks(struct facts *facts, struct netlink *netlink, const struct host_setup *setup, struct err *err)
{
	bool had4 = facts->plan.forwards_ipv4, had6 = facts->plan.forwards_ipv6;
	struct net_link *links;
	size_t count;
	int rc = net_link_list(netlink, &links, &count, err);

	if (rc < 0)
		return rc;
	rc = look_at_forwarding(facts, links, count, err);
	free(links);
	facts->plan.hook_sets_ipv4 =
		is_set_to("ipv4", setup->device, "forwarding", facts->plan.forwards_ipv4 ? "0" : "1");
	facts_follow_forwarding(facts, setup->device);
	facts->is_forwarding_changed = facts->plan.forwards_ipv4 != had4 || facts->plan.forwards_ipv6 != had6;
	return rc;
}

/* --- the rest --- */

/* A tunnel that comes up at the same moment has no rules yet, but holds a lock on its pair: then the next pair is ours.
 * Return: the second one of our pair. */
static uint32_t lock_rules(struct facts *facts, const char *what, uint32_t priority)
{
	int lock;

	while ((lock = table_lock_take(what, priority)) == -EADDRINUSE && priority >= 2)
		priority -= 2;
	if (lock >= 0)
		facts->locks[facts->lock_count++] = lock;
	return priority;
}

/* A full tunnel needs two priorities in a row, ahead of all rules but the kernel's own for local addresses (priority
 * 0). */
static int find_priorities(
	struct facts *facts, struct netlink *netlink, const struct host_setup *setup, struct err *err)
{
	struct full_tunnel full;

	full_tunnel_find(&full, setup);
	for (int i = 0; i < (facts->plan.has_ipv6 ? 2 : 1); i++) {
		bool is_full = full_tunnel_is_of(&full, families[i]);
		struct net_rule *rules;
		size_t count;
		int rc = net_rule_list(netlink, families[i], &rules, &count, err);

		if (rc < 0)
			return rc;
		facts->plan.free_priority[i] = net_rule_free_priority(rules, count);
		free(rules);
		if (is_full)
			facts->plan.free_priority[i] =
				lock_rules(facts, i == 0 ? "rules-ipv4" : "rules-ipv6", facts->plan.free_priority[i]);
		if (facts->plan.free_priority[i] < 2 && is_full)
			return err_set(err, -EEXIST,
				"%s: a full tunnel needs two routing rules ahead of all others, and another program "
				"has taken priority %u; `ip%s rule` shows it, a larger number for it helps",
				PLACE(setup->wireguard_path, setup->wireguard->interface.line),
				facts->plan.free_priority[i] + 1, i == 0 ? "" : " -6");
	}
	return 0;
}

/* Whatever the file may hold has a command line: 200 is more than the rest of it, with three names of devices. */
_Static_assert(WG_CONFIG_DNS_ROOM + 200 < DNS_COMMAND_MAX, "DNS is judged by the file alone");

static int format_dns(struct facts *facts, const struct host_setup *setup, struct err *err)
{
	const struct wg_config_interface *interface = &setup->wireguard->interface;
	struct dns_tools tools;
	int rc;

	if (interface->dns_count == 0)
		return 0;
	dns_look_for_tools(&tools);
	rc = dns_format_set(&tools, setup->device, interface->dns, interface->dns_count, facts->dns_set, err);
	if (rc == 0)
		rc = dns_format_unset(&tools, setup->device, facts->dns_unset, err);
	if (rc < 0)
		return err_wrap(err, rc, "%s: DNS", PLACE(setup->wireguard_path, interface->dns_line));
	facts->plan.dns_set = facts->dns_set;
	facts->plan.dns_unset = facts->dns_unset;
	return 0;
}

int facts_gather(struct facts *ret, struct netlink *netlink, const struct host_setup *setup,
	const struct addr *endpoints, uint32_t mark, struct err *err)
{
	struct net_link *links;
	size_t count;
	int rc = net_link_list(netlink, &links, &count, err);

	*ret = (struct facts){.plan = {.mark = mark, .has_ipv6 = kernel_has_ipv6()}};
	if (rc < 0)
		return rc;
	ret->plan.mtu = pick_mtu(netlink, setup, endpoints, mark, links, count);
	rc = find_priorities(ret, netlink, setup, err);
	if (rc == 0)
		rc = take_gateways(ret, netlink, setup, links, count, err);
	if (rc == 0)
		rc = look_at_forwarding(ret, links, count, err);
	if (rc == 0)
		rc = format_dns(ret, setup, err);
	free(links);
	if (rc < 0)
		facts_done(ret);
	return rc;
}

void facts_done(struct facts *facts)
{
	free(facts->interfaces);
	free(facts->gateways);
	facts->interfaces = NULL;
	facts->gateways = NULL;
	while (facts->lock_count > 0)
		close(facts->locks[--facts->lock_count]);
}
