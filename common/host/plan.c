/* The ordered list of changes (plan.h).
 *
 * The order is wg-quick's: device, keys and peers, addresses, up, resolver, routes with the longest first. Then come
 * the parts of a full tunnel, and of a gateway or hub. Two things depend on the order:
 * - The rules of a full tunnel come last, because they redirect the traffic: the table that guards it and lets the
 *   answers in is there before them.
 * - Forwarding is switched on after PostUp, so that it can be told from what a hook switches on; and after the
 *   firewall, so that nothing is forwarded that it would have dropped.
 *
 * Happy path: plan_make() adds one part after the other. Only memory can fail: then there is no plan, and nothing has
 * been changed on the host.
 */
#include "common/host/plan.h"

#include "common/base/array.h"
#include "common/host/full_tunnel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct change *plan_add(struct plan *plan, enum change_kind kind, unsigned line)
{
	struct change *change = array_append(&plan->changes, &plan->count, sizeof(*change));

	if (change)
		*change = (struct change){.kind = kind, .line = line};
	return change;
}

static int family_of(const struct prefix *prefix)
{
	return prefix->addr.sa.sa_family;
}

const char *plan_format_conf(char ret[SYSCTL_PATH_MAX], const char *ip, const char *device, const char *key)
{
	snprintf(ret, SYSCTL_PATH_MAX, "net/%s/conf/%s/%s", ip, device, key);
	return ret;
}

/* --- what is wanted --- */

bool plan_forwards(const struct host_setup *setup)
{
	return setup->is_hub || setup->gateway_count > 0;
}

bool plan_forwards_ipv6(const struct host_setup *setup)
{
	const struct wg_config_interface *interface = &setup->wireguard->interface;

	for (size_t i = 0; i < setup->gateway_count; i++)
		for (size_t j = 0; j < setup->gateways[i].lan_count; j++)
			if (family_of(&setup->gateways[i].lans[j]) == AF_INET6)
				return true;
	for (size_t i = 0; i < setup->publish_count; i++)
		if (setup->publishes[i].service.to.sa.sa_family == AF_INET6)
			return true;
	/* a hub forwards among its peers, which can have IPv6 only if the hub's device has */
	for (size_t i = 0; setup->is_hub && i < interface->address_count; i++)
		if (family_of(&interface->addresses[i].prefix) == AF_INET6)
			return true;
	return false;
}

bool plan_needs_firewall(const struct host_setup *setup)
{
	struct full_tunnel full;

	full_tunnel_find(&full, setup);
	return plan_forwards(setup) || full.is_full[0] || full.is_full[1];
}

/* --- one part after the other --- */

/* All that a plan is made from. Parts only append to the plan, on which last() relies. */
struct draft {
	struct plan *plan;
	const struct host_setup *setup;
	const struct plan_facts *facts;
	struct full_tunnel full;
	int index;
};

/* On a kernel without IPv6 its addresses and routes are left out. */
static bool is_possible(const struct draft *draft, const struct prefix *prefix)
{
	return draft->facts->has_ipv6 || family_of(prefix) != AF_INET6;
}

static int add_sysctl(const struct draft *draft, const char *ip, const char *device, const char *key, const char *value)
{
	struct change *change = plan_add(draft->plan, CHANGE_SYSCTL, 0);

	if (!change)
		return -ENOMEM;
	plan_format_conf(change->sysctl.path, ip, device, key);
	snprintf(change->sysctl.value, sizeof(change->sysctl.value), "%s", value);
	return 0;
}

static struct change *last(const struct draft *draft)
{
	return &draft->plan->changes[draft->plan->count - 1];
}

/* Kernel WireGuard sets all.send_redirects to 0 when a device comes up. Only the old value is recorded here. */
static int add_device(const struct draft *draft)
{
	if (add_sysctl(draft, "ipv4", "all", "send_redirects", "0") < 0)
		return -ENOMEM;
	last(draft)->sysctl.is_side_effect = true;
	return plan_add(draft->plan, CHANGE_DEVICE, 0) && plan_add(draft->plan, CHANGE_CONFIGURE, 0) ? 0 : -ENOMEM;
}

static int add_addresses(const struct draft *draft)
{
	const struct wg_config_interface *interface = &draft->setup->wireguard->interface;

	for (size_t i = 0; i < interface->address_count; i++) {
		const struct wg_config_prefix *address = &interface->addresses[i];
		struct change *change;

		if (!is_possible(draft, &address->prefix))
			continue;
		change = plan_add(draft->plan, CHANGE_ADDRESS, address->line);
		if (!change)
			return -ENOMEM;
		change->address = address->prefix;
	}
	return 0;
}

/* The kernel opens the UDP port when the device comes up, so a failure is a complaint about ListenPort's line. */
static int add_raise(const struct draft *draft)
{
	struct change *change =
		plan_add(draft->plan, CHANGE_RAISE, draft->setup->wireguard->interface.listen_port_line);

	if (!change)
		return -ENOMEM;
	change->mtu = draft->facts->mtu;
	return 0;
}

/* Both command lines come from one look at the host: going down by another tool than going up would leave our servers
 * behind. */
static int add_dns(const struct draft *draft)
{
	struct change *change;

	if (!draft->facts->dns_set || !draft->facts->dns_set[0])
		return 0;
	change = plan_add(draft->plan, CHANGE_DNS, draft->setup->wireguard->interface.dns_line);
	if (!change)
		return -ENOMEM;
	change->dns.set = strdup(draft->facts->dns_set);
	change->dns.unset = strdup(draft->facts->dns_unset);
	return change->dns.set && change->dns.unset ? 0 : -ENOMEM;
}

/* The rules of a full tunnel name the table that has the number of the mark. */
static uint32_t table_of(const struct draft *draft, const struct prefix *to)
{
	const struct wg_config_interface *interface = &draft->setup->wireguard->interface;

	if (interface->table_kind == WG_CONFIG_TABLE_NUMBER)
		return interface->table;
	return full_tunnel_has(&draft->full, to) ? draft->facts->mark : NET_ROUTE_TABLE_MAIN;
}

/* The route's own line is kept for the complaint if the kernel refuses it. */
static int add_route(const struct draft *draft, const struct wg_config_prefix *allowed)
{
	const struct prefix *to = &allowed->prefix;
	struct change *change;

	if (!is_possible(draft, to))
		return 0;
	change = plan_add(draft->plan, CHANGE_ROUTE, allowed->line);
	if (!change)
		return -ENOMEM;
	change->route = (struct net_route){.to = *to, .index = draft->index, .table = table_of(draft, to)};
	return 0;
}

/* Longest first, and routes of the same length as in the file. */
static int compare_routes(const void *a, const void *b)
{
	const struct change *x = a, *y = b;

	if (x->route.to.bits != y->route.to.bits)
		return y->route.to.bits - x->route.to.bits;
	return (x->line > y->line) - (x->line < y->line);
}

/* The destination of a route, and the number of its change. */
struct destination {
	struct prefix to;
	size_t at;
};

static int compare_destinations(const void *a, const void *b)
{
	const struct destination *x = a, *y = b;
	int order = prefix_compare(&x->to, &y->to);

	return order != 0 ? order : (x->at > y->at) - (x->at < y->at);
}

/* If several routes from @first on have the same destination, the one that stands first in the file stays. Sorting a
 * copy keeps this fast for the thousands of routes of a hub. */
static int drop_repeated(struct plan *plan, size_t first)
{
	size_t count = plan->count - first, kept = first;
	struct destination *destinations = calloc(count + 1, sizeof(*destinations));
	bool *is_repeated = calloc(count + 1, sizeof(*is_repeated));
	int rc = destinations && is_repeated ? 0 : -ENOMEM;

	for (size_t i = first; i < plan->count && rc == 0; i++)
		destinations[i - first] = (struct destination){prefix_network(&plan->changes[i].route.to), i};
	if (rc == 0)
		qsort(destinations, count, sizeof(*destinations), compare_destinations);
	for (size_t i = 1; i < count && rc == 0; i++)
		is_repeated[destinations[i].at - first] =
			prefix_compare(&destinations[i - 1].to, &destinations[i].to) == 0;
	for (size_t i = first; i < plan->count && rc == 0; i++)
		if (!is_repeated[i - first])
			plan->changes[kept++] = plan->changes[i];
	if (rc == 0)
		plan->count = kept;
	free(destinations);
	free(is_repeated);
	return rc;
}

static int add_routes(const struct draft *draft)
{
	const struct wg_config *config = draft->setup->wireguard;
	size_t first = draft->plan->count;

	if (config->interface.table_kind == WG_CONFIG_TABLE_OFF)
		return 0;
	for (size_t i = 0; i < config->peer_count; i++)
		for (size_t j = 0; j < config->peers[i].allowed_ip_count; j++)
			if (add_route(draft, &config->peers[i].allowed_ips[j]) < 0)
				return -ENOMEM;
	/* Repeated ones go before the sort, while the routes still stand in the order of the file. */
	if (drop_repeated(draft->plan, first) < 0)
		return -ENOMEM;
	if (draft->plan->count > first) /* qsort() takes no NULL, which a plan without a change has */
		qsort(draft->plan->changes + first, draft->plan->count - first, sizeof(struct change), compare_routes);
	return 0;
}

/* --- a full tunnel --- */

static bool is_full(const struct draft *draft, int family)
{
	return full_tunnel_is_of(&draft->full, family) && (family == AF_INET || draft->facts->has_ipv6);
}

static int add_rule(const struct draft *draft, const struct net_rule *rule)
{
	struct change *change = plan_add(draft->plan, CHANGE_RULE, 0);

	if (!change)
		return -ENOMEM;
	change->rule = *rule;
	return 0;
}

/* The first rule asks the main table, but ignores its default route: networks that this host has a route to stay
 * outside the tunnel. The second sends everything without our mark to the tunnel's table. */
static int add_rules(const struct draft *draft, int family, uint32_t free_priority)
{
	const struct net_rule main_first = {.family = family,
		.priority = free_priority - 1,
		.table = NET_ROUTE_TABLE_MAIN,
		.suppresses_default = true};
	const struct net_rule rest = {.family = family,
		.priority = free_priority,
		.table = draft->facts->mark,
		.mark = draft->facts->mark,
		.is_not = true};

	if (!is_full(draft, family))
		return 0;
	return add_rule(draft, &main_first) < 0 || add_rule(draft, &rest) < 0 ? -ENOMEM : 0;
}

/* --- the firewall --- */

/* Only families with a full tunnel: otherwise answers may rightly come by other devices. */
static size_t guarded_addresses(const struct draft *draft, struct prefix *ret)
{
	const struct wg_config_interface *interface = &draft->setup->wireguard->interface;
	size_t count = 0;

	for (size_t i = 0; i < interface->address_count; i++)
		if (is_full(draft, family_of(&interface->addresses[i].prefix)))
			ret[count++] = interface->addresses[i].prefix;
	return count;
}

/* A family that another program lets the device forward is that program's to confine. Families are judged one by one:
 * we may have switched on only one of them (confined_family 0: both). */
static void confine(const struct draft *draft, struct firewall_setup *ret)
{
	const struct plan_facts *facts = draft->facts;
	bool switches_ipv6 = plan_forwards_ipv6(draft->setup) && facts->has_ipv6 && !facts->forwards_ipv6;

	ret->confines = plan_forwards(draft->setup) && (!facts->forwards_ipv4 || switches_ipv6);
	if (facts->forwards_ipv4)
		ret->confined_family = AF_INET6;
	else
		ret->confined_family = facts->forwards_ipv6 ? AF_INET : 0;
}

/* Strangers may come by every device, so each one has to forward IPv4; true for those that do not by themselves. */
static bool is_to_open(const struct draft *draft, const struct plan_interface *interface)
{
	return draft->facts->opens_ipv4 && !interface->forwards_ipv4 && strcmp(interface->name, "default") != 0 &&
	       strcmp(interface->name, "lo") != 0 && strcmp(interface->name, draft->setup->device) != 0;
}

/* Where another program forwards by now, what may pass is its business. */
static void describe_opened(const struct draft *draft, struct firewall_setup *ret, char (*opened)[IFNAMSIZ])
{
	const struct plan_facts *facts = draft->facts;

	ret->opened = opened;
	for (size_t i = 0; i < facts->interface_count && !facts->forwards_ipv4; i++)
		if (is_to_open(draft, &facts->interfaces[i]) && firewall_can_name(facts->interfaces[i].name))
			memcpy(opened[ret->opened_count++], facts->interfaces[i].name, IFNAMSIZ);
}

static void describe_firewall(const struct draft *draft, struct firewall_setup *ret, struct prefix *guarded)
{
	const struct plan_facts *facts = draft->facts;

	snprintf(ret->table, sizeof(ret->table), "%s", draft->plan->table);
	memcpy(ret->device, draft->setup->device, sizeof(ret->device));
	ret->mark = is_full(draft, AF_INET) || is_full(draft, AF_INET6) ? facts->mark : 0;
	ret->guarded = guarded;
	ret->guarded_count = guarded_addresses(draft, guarded);
	if (facts->barrier.is_up) {
		ret->stops_ipv4 = is_full(draft, AF_INET);
		ret->stops_ipv6 = is_full(draft, AF_INET6);
		ret->reachable = facts->barrier.networks;
		ret->reachable_count = facts->barrier.network_count;
	}
	ret->gateways = facts->gateways;
	ret->gateway_count = facts->gateway_count;
	ret->services = facts->services;
	ret->service_count = facts->service_count;
	ret->among_peers = draft->setup->is_hub;
	confine(draft, ret);
}

/* Return: the script, which the caller frees; or NULL: *ret_rc is 0 where no table is needed, or -ENOMEM. */
static char *format_firewall(const struct draft *draft, int *ret_rc)
{
	struct prefix *guarded = calloc(draft->setup->wireguard->interface.address_count + 1, sizeof(*guarded));
	char(*opened)[IFNAMSIZ] = calloc(draft->facts->interface_count + 1, sizeof(*opened));
	struct firewall_setup firewall = {.mark = 0};
	char *script = NULL;

	*ret_rc = guarded && opened ? 0 : -ENOMEM;
	if (*ret_rc == 0) {
		describe_firewall(draft, &firewall, guarded);
		describe_opened(draft, &firewall, opened);
	}
	if (*ret_rc == 0 && firewall_is_needed(&firewall)) {
		script = firewall_format(&firewall);
		*ret_rc = script ? 0 : -ENOMEM;
	}
	free(guarded);
	free(opened);
	return script;
}

/* The table makes them. Their connections would outlive it, so they are recorded before. */
static int add_services(const struct draft *draft)
{
	for (size_t i = 0; i < draft->facts->service_count; i++) {
		struct change *change = plan_add(draft->plan, CHANGE_SERVICE, 0);

		if (!change)
			return -ENOMEM;
		change->service = *draft->facts->services[i].service;
	}
	return 0;
}

static int add_firewall(const struct draft *draft)
{
	struct change *change;
	int rc;
	char *script = format_firewall(draft, &rc);

	if (!script)
		return rc;
	change = plan_add(draft->plan, CHANGE_FIREWALL, 0);
	if (change)
		change->firewall = script;
	else
		free(script);
	return change ? 0 : -ENOMEM;
}

/* --- forwarding --- */

static bool has_family(const struct firewall_gateway *gateway, int family)
{
	for (size_t i = 0; i < gateway->lan_count; i++)
		if (family_of(&gateway->lans[i]) == family)
			return true;
	return false;
}

/* Only for the device and the gateways' devices: ip_forward would make a router of every other interface as well. A
 * service opens all that are there, and our table lets nothing but the service through. */
static int add_ipv4_forwarding(const struct draft *draft)
{
	const struct plan_facts *facts = draft->facts;

	if (!facts->hook_sets_ipv4 && add_sysctl(draft, "ipv4", draft->setup->device, "forwarding", "1") < 0)
		return -ENOMEM;
	if (!facts->hook_sets_ipv4)
		last(draft)->sysctl.goes_with_device = true;
	for (size_t i = 0; i < facts->gateway_count; i++)
		if (has_family(&facts->gateways[i], AF_INET) &&
			add_sysctl(draft, "ipv4", facts->gateways[i].device, "forwarding", "1") < 0)
			return -ENOMEM;
	for (size_t i = 0; i < facts->interface_count; i++)
		if (is_to_open(draft, &facts->interfaces[i]) &&
			add_sysctl(draft, "ipv4", facts->interfaces[i].name, "forwarding", "1") < 0)
			return -ENOMEM;
	return 0;
}

/* IPv6 forwards only by all/forwarding. Setting it sets every interface's own value, to 1 and later back to 0. And with
 * forwarding an interface drops the default route that a router announced, unless accept_ra is 2 before. */
static int add_ipv6_forwarding(const struct draft *draft)
{
	const struct plan_facts *facts = draft->facts;

	for (size_t i = 0; i < facts->interface_count && !facts->forwards_ipv6; i++) {
		const struct plan_interface *interface = &facts->interfaces[i];

		if (interface->forwards) {
			if (add_sysctl(draft, "ipv6", interface->name, "forwarding", "0") < 0)
				return -ENOMEM;
			last(draft)->sysctl.is_side_effect = true;
		} else if (interface->takes_adverts) {
			if (add_sysctl(draft, "ipv6", interface->name, "accept_ra", "2") < 0)
				return -ENOMEM;
		}
	}
	return add_sysctl(draft, "ipv6", "all", "forwarding", "1");
}

static int add_forwarding(const struct draft *draft)
{
	if (!plan_forwards(draft->setup))
		return 0;
	if (add_ipv4_forwarding(draft) < 0)
		return -ENOMEM;
	if (!plan_forwards_ipv6(draft->setup) || !draft->facts->has_ipv6)
		return 0;
	return add_ipv6_forwarding(draft);
}

/* --- the whole --- */

static int draft_all(const struct draft *draft)
{
	if (add_device(draft) < 0 || add_addresses(draft) < 0 || add_raise(draft) < 0 || add_dns(draft) < 0 ||
		add_routes(draft) < 0)
		return -ENOMEM;
	/* Without src_valid_mark, rp_filter = 1 ignores the mark that our table restores, and drops the hub's
	 * answers. */
	if (is_full(draft, AF_INET) && add_sysctl(draft, "ipv4", "all", "src_valid_mark", "1") < 0)
		return -ENOMEM;
	if (add_services(draft) < 0 || add_firewall(draft) < 0 ||
		add_rules(draft, AF_INET, draft->facts->free_priority[0]) < 0 ||
		add_rules(draft, AF_INET6, draft->facts->free_priority[1]) < 0)
		return -ENOMEM;
	return 0;
}

/* On failure *ret is as it was, and all memory of the draft is freed. */
static int make(struct plan *ret, const struct host_setup *setup, const struct plan_facts *facts, int index,
	int (*draft_parts)(const struct draft *draft), struct err *err)
{
	struct plan plan = {.has_ipv6 = facts->has_ipv6};
	struct draft draft = {.plan = &plan, .setup = setup, .facts = facts, .index = index};

	full_tunnel_find(&draft.full, setup);
	firewall_format_table(plan.table, setup->name);
	if (draft_parts(&draft) < 0) {
		plan_done(&plan);
		return err_system(err, -ENOMEM, "device %s", setup->device);
	}
	*ret = plan;
	return 0;
}

int plan_make(
	struct plan *ret, const struct host_setup *setup, const struct plan_facts *facts, int index, struct err *err)
{
	return make(ret, setup, facts, index, draft_all, err);
}

int plan_make_routes(
	struct plan *ret, const struct host_setup *setup, const struct plan_facts *facts, int index, struct err *err)
{
	return make(ret, setup, facts, index, add_routes, err);
}

int plan_add_forwarding(struct plan *plan, const struct host_setup *setup, const struct plan_facts *facts)
{
	const struct draft draft = {.plan = plan, .setup = setup, .facts = facts};

	return add_forwarding(&draft);
}

/* The same script as in the plan, from facts of now: another program may have switched forwarding on or off. */
char *plan_format_firewall(const struct host_setup *setup, const struct plan_facts *facts)
{
	struct plan plan = {.has_ipv6 = facts->has_ipv6};
	struct draft draft = {.plan = &plan, .setup = setup, .facts = facts};
	int rc;

	full_tunnel_find(&draft.full, setup);
	firewall_format_table(plan.table, setup->name);
	return format_firewall(&draft, &rc);
}

int plan_take(struct plan *plan, const struct change *change)
{
	struct change *slot = plan_add(plan, change->kind, change->line);

	if (!slot)
		return -ENOMEM;
	*slot = *change;
	return 0;
}

void plan_done(struct plan *plan)
{
	for (size_t i = 0; i < plan->count; i++)
		change_done(&plan->changes[i]);
	free(plan->changes);
	*plan = (struct plan){.count = 0};
}

/* --- where its routes lead --- */

int plan_index_make(struct plan_index *ret, const struct plan *plan)
{
	struct plan_index index = {.destinations = calloc(plan->count + 1, sizeof(*index.destinations))};

	if (!index.destinations)
		return -ENOMEM;
	for (size_t i = 0; i < plan->count; i++)
		if (plan->changes[i].kind == CHANGE_ROUTE)
			index.destinations[index.count++] = prefix_network(&plan->changes[i].route.to);
	qsort(index.destinations, index.count, sizeof(*index.destinations), prefix_compare);
	*ret = index;
	return 0;
}

bool plan_index_has(const struct plan_index *index, const struct prefix *to)
{
	struct prefix network = prefix_network(to);

	return bsearch(&network, index->destinations, index->count, sizeof(network), prefix_compare);
}

void plan_index_done(struct plan_index *index)
{
	free(index->destinations);
	*index = (struct plan_index){0};
}
