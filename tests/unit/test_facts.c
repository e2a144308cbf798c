/* Facts about the host, from a host that this file makes up: the mark and its table, the MTU, the devices of gateways,
 * the priorities of a full tunnel's rules. */
#include "common/host/facts.h"

#include "common/host/table_lock.h"
#include "common/net/link.h"
#include "common/net/route.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { LO = 1, ETH0, ETH1 };

static const struct net_link links[] = {
	{.index = LO, .name = "lo"}, {.index = ETH0, .name = "eth0"}, {.index = ETH1, .name = "eth1"}};

static struct {
	uint32_t mtus[3];	     /* of the way by each device; 0: no way */
	int way_device;		     /* of the default route */
	uint32_t busy_table, locked; /* 0: none */
	struct net_rule rules[2];    /* the same for both families */
	size_t rule_count;
	struct undo_entry left; /* of a crashed run; UNDO_SYSCTL: there was none */
	int lan_device;		/* 0: none */
} host;

static struct wg_config_prefix allowed = {.line = 8};
static struct wg_config_peer peers[2];
static struct wg_config wireguard;
static struct host_setup setup;
static struct addr endpoints[2];
static struct facts facts;
static struct err err;

/* --- the host --- */

int net_link_list(struct netlink *netlink, struct net_link **ret, size_t *ret_count, struct err *ret_err)
{
	(void)netlink;
	(void)ret_err;
	*ret = malloc(sizeof(links));
	memcpy(*ret, links, sizeof(links));
	*ret_count = sizeof(links) / sizeof(*links);
	return 0;
}

static int way_by(int device, struct net_way *ret)
{
	*ret = (struct net_way){.index = device, .mtu = device ? host.mtus[device - 1] : 0};
	return ret->mtu > 0 ? 0 : -ENETUNREACH;
}

/* The last byte of the address is the number of the device. */
int net_route_way(
	struct netlink *netlink, const struct addr *to, uint32_t mark, struct net_way *ret, struct err *ret_err)
{
	(void)netlink;
	(void)mark;
	(void)ret_err;
	return way_by(((const uint8_t *)&to->in4.sin_addr)[3], ret);
}

int net_route_default(struct netlink *netlink, int family, struct net_way *ret, struct err *ret_err)
{
	(void)netlink;
	(void)family;
	(void)ret_err;
	return way_by(host.way_device, ret);
}

int net_route_find_lan(struct netlink *netlink, const struct prefix *lan, struct err *ret_err)
{
	(void)netlink;
	(void)lan;
	(void)ret_err;
	return host.lan_device ? host.lan_device : -ENODEV;
}

int net_route_table_is_empty(struct netlink *netlink, uint32_t table, struct err *ret_err)
{
	(void)netlink;
	(void)ret_err;
	return table != host.busy_table;
}

int net_rule_list(
	struct netlink *netlink, int family, struct net_rule **ret, size_t *ret_count, struct err *ret_err)
{
	(void)netlink;
	(void)family;
	(void)ret_err;
	*ret = malloc(sizeof(host.rules));
	memcpy(*ret, host.rules, sizeof(host.rules));
	*ret_count = host.rule_count;
	return 0;
}

uint32_t net_rule_free_priority(const struct net_rule *rules, size_t count)
{
	return (count > 0 ? rules[0].priority : 32766) - 1;
}

int sysctl_read(const char *path, char ret[SYSCTL_VALUE_MAX], struct err *ret_err)
{
	(void)path;
	(void)ret_err;
	strcpy(ret, "0");
	return 0;
}

const struct undo_entry *undo_newest(const struct undo *undo, size_t at)
{
	(void)undo;
	return at == 0 && host.left.kind != UNDO_SYSCTL ? &host.left : NULL;
}

int table_lock_take(const char *what, uint32_t number)
{
	(void)what;
	return number == host.locked ? -EADDRINUSE : dup(STDIN_FILENO);
}

void change_done(struct change *change)
{
	(void)change;
}

/* --- asking --- */

static int set_up(void **state)
{
	(void)state;
	memset(&host, 0, sizeof(host));
	err = (struct err){""};
	host.mtus[LO - 1] = 65536;
	host.mtus[ETH0 - 1] = 1500;
	host.mtus[ETH1 - 1] = 1400;
	host.way_device = ETH0;
	for (size_t i = 0; i < 2; i++) {
		peers[i] = (struct wg_config_peer){.allowed_ips = &allowed, .allowed_ip_count = i == 0};
		endpoints[i] = (struct addr){0};
	}
	assert_int_equal(prefix_parse("0.0.0.0/0", &allowed.prefix), 0);
	wireguard = (struct wg_config){.interface = {.line = 2}, .peers = peers, .peer_count = 2};
	setup = (struct host_setup){
		.name = "home", .config_path = "home.conf", .wireguard_path = "wg.conf", .wireguard = &wireguard};
	return 0;
}

static void be_split_tunnel(void)
{
	assert_int_equal(prefix_parse("10.20.0.0/16", &allowed.prefix), 0);
}

static int gather(void)
{
	return facts_gather(&facts, NULL, &setup, endpoints, 0, &err);
}

static uint32_t mtu(void)
{
	assert_int_equal(gather(), 0);
	facts_done(&facts);
	return facts.plan.mtu;
}

/* Return: the mark; @is_locked: a lock on its table is expected. */
static uint32_t mark(bool is_locked)
{
	uint32_t ret = 1;
	int lock = -1;

	assert_int_equal(facts_pick_mark(NULL, &setup, NULL, &ret, &lock, &err), 0);
	assert_int_equal(lock >= 0, is_locked);
	if (lock >= 0)
		close(lock);
	return ret;
}

/* --- mark and table --- */

static void mark_is_that_of_the_file_or_none(void **state)
{
	(void)state;
	wireguard.interface.fwmark = 7;
	assert_int_equal(mark(false), 7);
	wireguard.interface.fwmark = 0;
	be_split_tunnel();
	assert_int_equal(mark(false), 0);
}

static void full_tunnel_takes_the_first_free_table(void **state)
{
	(void)state;
	assert_int_equal(mark(true), 51820);
	host.busy_table = 51820;
	assert_int_equal(mark(true), 51821);
	host.rules[0].table = 51821; /* a program that makes its rule before its route */
	host.rule_count = 1;
	assert_int_equal(mark(true), 51822);
	host.locked = 51822; /* by a tunnel that comes up at the same moment */
	assert_int_equal(mark(true), 51823);
}

static void table_of_a_crashed_run_is_ours(void **state)
{
	(void)state;
	host.busy_table = 51820;
	host.left = (struct undo_entry){.kind = UNDO_RULE, .rule = {.table = 51820}};
	assert_int_equal(mark(true), 51820);
	host.left.rule.table = 51821;
	assert_int_equal(mark(true), 51821);
}

static void index_is_a_free_one_in_range(void **state)
{
	(void)state;
	for (int i = 0; i < 50; i++)
		assert_in_range(facts_pick_index(NULL, &err), 10000, 59999);
}

/* --- MTU --- */

static void mtu_of_the_file_is_taken_as_it_is(void **state)
{
	(void)state;
	wireguard.interface.mtu = 1000;
	assert_int_equal(mtu(), 1000);
}

static void mtu_follows_the_smallest_way(void **state)
{
	static char text[] = "x";

	(void)state;
	assert_int_equal(mtu(), 1420); /* the default route's */
	peers[0].endpoint = text;
	assert_int_equal(addr_parse("10.0.0.3", 1, &endpoints[0]), 0); /* by eth1 */
	assert_int_equal(mtu(), 1320);
	peers[1].endpoint = text;
	assert_int_equal(addr_parse("10.0.0.2", 1, &endpoints[1]), 0);
	assert_int_equal(mtu(), 1320);
	assert_int_equal(addr_parse("10.0.0.1", 1, &endpoints[0]), 0); /* lo: a carrier of ours, which fits any MTU */
	assert_int_equal(mtu(), 1420);
}

static void mtu_stays_within_bounds(void **state)
{
	(void)state;
	host.mtus[ETH0 - 1] = 9000;
	assert_int_equal(mtu(), 1420);
	host.mtus[ETH0 - 1] = 1300; /* IPv6 needs 1280 */
	assert_int_equal(mtu(), 1280);
	host.way_device = 0;
	assert_int_equal(mtu(), 1420);
}

/* --- gateways --- */

static void gateway_lies_on_a_device_or_its_line_is_named(void **state)
{
	struct prefix lan;
	struct gateway gateway = {.lans = &lan, .lan_count = 1, .line = 20, .lan_line = 21, .interface_line = 22};

	(void)state;
	assert_int_equal(prefix_parse("192.168.1.0/24", &lan), 0);
	setup.gateways = &gateway;
	setup.gateway_count = 1;
	assert_int_equal(gather(), -ENODEV);
	assert_non_null(strstr(err.text, "home.conf:21: Lan: '192.168.1.0/24'"));
	host.lan_device = ETH1;
	assert_int_equal(gather(), 0);
	assert_string_equal(facts.plan.gateways[0].device, "eth1");
	facts_done(&facts);
	strcpy(gateway.interface, "eth0"); /* given, so no route is looked for */
	assert_int_equal(gather(), 0);
	assert_string_equal(facts.plan.gateways[0].device, "eth0");
	facts_done(&facts);
	strcpy(gateway.interface, "eth9");
	assert_int_equal(gather(), -ENODEV);
	assert_non_null(strstr(err.text, "home.conf:22: Interface: 'eth9'"));
}

/* --- priorities --- */

static void full_tunnel_has_a_pair_of_priorities_to_itself(void **state)
{
	(void)state;
	assert_int_equal(gather(), 0);
	assert_int_equal(facts.plan.free_priority[0], 32765);
	facts_done(&facts);
	host.locked = 32765;
	assert_int_equal(gather(), 0);
	assert_int_equal(facts.plan.free_priority[0], 32763);
	facts_done(&facts);
	assert_int_equal(facts.lock_count, 0);
}

static void priority_that_leaves_no_room_is_named(void **state)
{
	(void)state;
	host.rules[0].priority = 2;
	host.rule_count = 1;
	assert_int_equal(gather(), -EEXIST);
	assert_non_null(strstr(err.text, "wg.conf:2: a full tunnel"));
	assert_non_null(strstr(err.text, "priority 2; `ip rule`"));
	host.rules[0].priority = 3;
	assert_int_equal(gather(), 0);
	facts_done(&facts);
	be_split_tunnel(); /* which makes no rules */
	host.rules[0].priority = 2;
	assert_int_equal(gather(), 0);
	facts_done(&facts);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(mark_is_that_of_the_file_or_none, set_up),
		cmocka_unit_test_setup(full_tunnel_takes_the_first_free_table, set_up),
		cmocka_unit_test_setup(table_of_a_crashed_run_is_ours, set_up),
		cmocka_unit_test_setup(index_is_a_free_one_in_range, set_up),
		cmocka_unit_test_setup(mtu_of_the_file_is_taken_as_it_is, set_up),
		cmocka_unit_test_setup(mtu_follows_the_smallest_way, set_up),
		cmocka_unit_test_setup(mtu_stays_within_bounds, set_up),
		cmocka_unit_test_setup(gateway_lies_on_a_device_or_its_line_is_named, set_up),
		cmocka_unit_test_setup(full_tunnel_has_a_pair_of_priorities_to_itself, set_up),
		cmocka_unit_test_setup(priority_that_leaves_no_room_is_named, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
