/* The ordered list of changes, compared as text: one line a change. */
#include "common/host/plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ITEMS_MAX 8

static struct bed {
	struct wg_config_prefix addresses[ITEMS_MAX], allowed[ITEMS_MAX];
	struct wg_config_peer peer;
	struct wg_config wireguard;
	struct gateway gateway;
	struct prefix lans[2];
	struct firewall_gateway way;
	struct host_setup setup;
	struct plan_facts facts;
	struct plan plan;
	char text[8192];
} bed;

static int set_up(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	bed.peer.has_public_key = true;
	bed.peer.allowed_ips = bed.allowed;
	bed.wireguard.peers = &bed.peer;
	bed.wireguard.peer_count = 1;
	bed.wireguard.interface.addresses = bed.addresses;
	bed.setup =
		(struct host_setup){.name = "home", .device = "wg7", .wireguard = &bed.wireguard, .birth_netns_fd = -1};
	bed.facts = (struct plan_facts){.mark = 51820, .has_ipv6 = true, .mtu = 1420, .free_priority = {32765, 32764}};
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	plan_done(&bed.plan);
	return 0;
}

static void take_prefixes(struct wg_config_prefix *list, size_t *count, const char *text)
{
	char *copy = strdup(text), *rest = copy, *one;

	while ((one = strsep(&rest, " "))) {
		struct prefix prefix;

		assert_int_equal(prefix_parse(one, &prefix), 0);
		list[*count] = (struct wg_config_prefix){.prefix = prefix, .line = (unsigned)*count + 1};
		++*count;
	}
	free(copy);
}

static void addresses_are(const char *text)
{
	take_prefixes(bed.addresses, &bed.wireguard.interface.address_count, text);
}

static void allowed_ips_are(const char *text)
{
	take_prefixes(bed.allowed, &bed.peer.allowed_ip_count, text);
}

/* [Gateway] with this network, on eth0. */
static void gateway_is(const char *lan)
{
	assert_int_equal(prefix_parse(lan, &bed.lans[0]), 0);
	bed.gateway = (struct gateway){.lans = bed.lans, .lan_count = 1, .masquerade = true};
	bed.setup.gateways = &bed.gateway;
	bed.setup.gateway_count = 1;
	bed.way = (struct firewall_gateway){.lans = bed.lans, .lan_count = 1, .device = "eth0", .masquerades = true};
	bed.facts.gateways = &bed.way;
	bed.facts.gateway_count = 1;
}

/* All changes behind those that every plan begins with. */
static void assert_plan(const char *expected)
{
	static const char begin[] = "net/ipv4/conf/all/send_redirects = 0\ndevice\nkeys and peers\n";
	struct err err = {""};
	char line[600];
	size_t len = 0;

	assert_int_equal(plan_make(&bed.plan, &bed.setup, &bed.facts, 12345, &err), 0);
	assert_int_equal(plan_add_forwarding(&bed.plan, &bed.setup, &bed.facts), 0);
	for (size_t i = 0; i < bed.plan.count; i++)
		len += (size_t)snprintf(bed.text + len, sizeof(bed.text) - len, "%s\n",
			change_text(line, &bed.plan.changes[i]));
	assert_true(strncmp(bed.text, begin, sizeof(begin) - 1) == 0);
	assert_string_equal(bed.text + sizeof(begin) - 1, expected);
}

static const struct change *find(enum change_kind kind)
{
	for (size_t i = 0; i < bed.plan.count; i++)
		if (bed.plan.changes[i].kind == kind)
			return &bed.plan.changes[i];
	fail_msg("no such change");
	return NULL;
}

/* Addresses as written, up, resolver, then the routes with the longest first; nothing else. */
static void split_tunnel_is_plain(void **state)
{
	(void)state;
	addresses_are("10.10.0.3/24 fd10::3/64");
	allowed_ips_are("10.0.0.0/8 10.10.0.1/32 fd10::/64 192.168.1.0/24");
	bed.facts.mark = 0;
	bed.facts.dns_set = "set";
	bed.facts.dns_unset = "unset";
	assert_plan(
		"address 10.10.0.3/24\naddress fd10::3/64\nup, MTU 1420\nDNS\nfd10::/64\n10.10.0.1/32\n192.168.1.0/24\n"
		"10.0.0.0/8\n");
	assert_int_equal(find(CHANGE_ROUTE)->route.table, NET_ROUTE_TABLE_MAIN);
	assert_int_equal(find(CHANGE_ROUTE)->route.index, 12345);
}

/* One prefix twice is one route. */
static void double_route_is_one(void **state)
{
	(void)state;
	allowed_ips_are("10.20.0.0/16 10.20.0.0/16");
	assert_plan("up, MTU 1420\n10.20.0.0/16\n");
}

/* A full tunnel's default route has a table of its own; the rules come last, what main knows better first. */
static void full_tunnel_has_rules(void **state)
{
	(void)state;
	addresses_are("10.10.0.3/24");
	allowed_ips_are("0.0.0.0/0 10.20.0.0/16");
	assert_plan(
		"address 10.10.0.3/24\nup, MTU 1420\n10.20.0.0/16\n0.0.0.0/0\nnet/ipv4/conf/all/src_valid_mark = 1\n"
		"nftables table\nrule 32764, lookup 254\nrule 32765, lookup 51820\n");
	assert_int_equal(bed.plan.changes[6].route.table, 51820);
	assert_true(find(CHANGE_RULE)->rule.suppresses_default);
}

/* Both halves stand for everything; what is private stays in the main table only beside a /0. */
static void halves_have_rules(void **state)
{
	(void)state;
	allowed_ips_are("0.0.0.0/1 128.0.0.0/1 10.20.0.0/16");
	assert_plan("up, MTU 1420\n10.20.0.0/16\n0.0.0.0/1\n128.0.0.0/1\nnet/ipv4/conf/all/src_valid_mark = 1\n"
		    "nftables table\nrule 32764, lookup 254\nrule 32765, lookup 51820\n");
	for (size_t i = 4; i < 7; i++)
		assert_int_equal(bed.plan.changes[i].route.table, 51820);
}

/* For each family by itself: IPv6 needs no src_valid_mark. */
static void ipv6_alone_is_full(void **state)
{
	(void)state;
	addresses_are("fd10::3/64");
	allowed_ips_are("::/0");
	assert_plan("address fd10::3/64\nup, MTU 1420\n::/0\nnftables table\nrule 32763, lookup 254\nrule 32764, "
		    "lookup 51820\n");
	assert_int_equal(find(CHANGE_RULE)->rule.family, AF_INET6);
	assert_non_null(strstr(find(CHANGE_FIREWALL)->firewall, "ip6 daddr fd10::3"));
}

/* A kernel without IPv6 gets none. */
static void ipv6_is_left_out(void **state)
{
	(void)state;
	addresses_are("10.10.0.3/24 fd10::3/64");
	allowed_ips_are("10.20.0.0/16 ::/0 fd20::/32");
	bed.facts.has_ipv6 = false;
	assert_plan("address 10.10.0.3/24\nup, MTU 1420\n10.20.0.0/16\n");
}

/* Table = NUMBER takes all, the default route too, and no rule. */
static void numbered_table_takes_all(void **state)
{
	(void)state;
	allowed_ips_are("0.0.0.0/0 10.20.0.0/16");
	bed.wireguard.interface.table_kind = WG_CONFIG_TABLE_NUMBER;
	bed.wireguard.interface.table = 1234;
	assert_plan("up, MTU 1420\n10.20.0.0/16\n0.0.0.0/0\n");
	assert_int_equal(bed.plan.changes[4].route.table, 1234);
	assert_int_equal(bed.plan.changes[5].route.table, 1234);
}

/* Table = off makes no route. */
static void table_off_makes_no_route(void **state)
{
	(void)state;
	allowed_ips_are("0.0.0.0/0 10.20.0.0/16");
	bed.wireguard.interface.table_kind = WG_CONFIG_TABLE_OFF;
	assert_plan("up, MTU 1420\n");
}

/* A gateway forwards between its two devices only, and the firewall is there before it does. */
static void gateway_forwards_two_devices(void **state)
{
	(void)state;
	gateway_is("192.168.1.0/24");
	assert_plan(
		"up, MTU 1420\nnftables table\nnet/ipv4/conf/wg7/forwarding = 1\nnet/ipv4/conf/eth0/forwarding = 1\n");
	assert_non_null(strstr(find(CHANGE_FIREWALL)->firewall, "iifname \"wg7\" drop"));
}

/* Where the host forwarded before, our table does not say what may be forwarded. */
static void router_is_not_confined(void **state)
{
	(void)state;
	gateway_is("192.168.1.0/24");
	bed.facts.forwards_ipv4 = true;
	assert_plan(
		"up, MTU 1420\nnftables table\nnet/ipv4/conf/wg7/forwarding = 1\nnet/ipv4/conf/eth0/forwarding = 1\n");
	assert_null(strstr(find(CHANGE_FIREWALL)->firewall, "drop"));
}

/* Our table confines only the family that we switch on. */
static void ipv6_alone_is_confined(void **state)
{
	(void)state;
	gateway_is("fd77::/64");
	bed.facts.forwards_ipv4 = true;
	assert_plan(
		"up, MTU 1420\nnftables table\nnet/ipv4/conf/wg7/forwarding = 1\nnet/ipv6/conf/all/forwarding = 1\n");
	assert_non_null(strstr(find(CHANGE_FIREWALL)->firewall, "meta nfproto ipv6 iifname \"wg7\" drop"));
	assert_null(strstr(find(CHANGE_FIREWALL)->firewall, "\tiifname \"wg7\" drop"));
}

/* A hub forwards among its peers; of IPv6 only where it has an address. */
static void hub_forwards(void **state)
{
	(void)state;
	addresses_are("10.10.0.1/24");
	bed.setup.is_hub = true;
	assert_plan("address 10.10.0.1/24\nup, MTU 1420\nnftables table\nnet/ipv4/conf/wg7/forwarding = 1\n");
}

/* IPv6 forwards by all/forwarding: what it would take from each interface is written down before. */
static void ipv6_forwarding_keeps_others(void **state)
{
	const struct plan_interface interfaces[] = {
		{"default", false, false}, {"eth0", false, true}, {"br0", true, true}, {"eth1", false, false}};

	(void)state;
	gateway_is("fd77::/64");
	bed.facts.interfaces = interfaces;
	bed.facts.interface_count = 4;
	assert_plan("up, MTU 1420\nnftables table\nnet/ipv4/conf/wg7/forwarding = 1\nnet/ipv6/conf/eth0/accept_ra = 2\n"
		    "net/ipv6/conf/br0/forwarding = 0\nnet/ipv6/conf/all/forwarding = 1\n");
	assert_true(bed.plan.changes[7].sysctl.is_side_effect);
	assert_false(bed.plan.changes[6].sysctl.is_side_effect);
}

/* Where it forwards already, that is relied on, and nothing else touched. */
static void ipv6_router_is_left_alone(void **state)
{
	const struct plan_interface interfaces[] = {{"eth0", true, true}};

	(void)state;
	gateway_is("fd77::/64");
	bed.facts.interfaces = interfaces;
	bed.facts.interface_count = 1;
	bed.facts.forwards_ipv6 = true;
	assert_plan(
		"up, MTU 1420\nnftables table\nnet/ipv4/conf/wg7/forwarding = 1\nnet/ipv6/conf/all/forwarding = 1\n");
}

/* `sysctl -w net.ipv4.conf.%i.forwarding=…` in a hook: that value is the hook's. */
static void value_that_a_hook_sets_is_left_alone(void **state)
{
	(void)state;
	gateway_is("192.168.1.0/24");
	bed.facts.hook_sets_ipv4 = bed.facts.forwards_ipv4 = true;
	assert_plan("up, MTU 1420\nnftables table\nnet/ipv4/conf/eth0/forwarding = 1\n");
	assert_null(strstr(find(CHANGE_FIREWALL)->firewall, "drop"));
}

/* A hub of which no client has joined yet is reloaded. */
static void routes_without_a_peer(void **state)
{
	(void)state;
	bed.wireguard.peer_count = 0;
	assert_int_equal(plan_make_routes(&bed.plan, &bed.setup, &bed.facts, 7, NULL), 0);
	assert_int_equal(bed.plan.count, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(split_tunnel_is_plain, set_up, tear_down),
		cmocka_unit_test_setup_teardown(double_route_is_one, set_up, tear_down),
		cmocka_unit_test_setup_teardown(full_tunnel_has_rules, set_up, tear_down),
		cmocka_unit_test_setup_teardown(halves_have_rules, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ipv6_alone_is_full, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ipv6_is_left_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(numbered_table_takes_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(table_off_makes_no_route, set_up, tear_down),
		cmocka_unit_test_setup_teardown(gateway_forwards_two_devices, set_up, tear_down),
		cmocka_unit_test_setup_teardown(router_is_not_confined, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ipv6_alone_is_confined, set_up, tear_down),
		cmocka_unit_test_setup_teardown(hub_forwards, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ipv6_forwarding_keeps_others, set_up, tear_down),
		cmocka_unit_test_setup_teardown(ipv6_router_is_left_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(value_that_a_hook_sets_is_left_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(routes_without_a_peer, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
