/* Which spellings of AllowedIPs are a full tunnel, and which of their routes leave the main table. */
#include "common/host/full_tunnel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ITEMS_MAX 64

static struct bed {
	struct wg_config_prefix allowed[ITEMS_MAX];
	struct wg_config_peer peers[2];
	struct wg_config wireguard;
	struct host_servers servers;
	struct host_setup setup;
	struct full_tunnel tunnel;
	char text[2000];
} bed;

static int set_up(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	bed.peers[1].allowed_ips = bed.allowed; /* of the second peer, to show that all are looked at */
	bed.wireguard.peers = bed.peers;
	bed.wireguard.peer_count = 2;
	bed.setup = (struct host_setup){.wireguard = &bed.wireguard, .servers = &bed.servers};
	return 0;
}

static void server_is(const char *text)
{
	assert_int_equal(addr_parse(text, 443, &bed.servers.addrs[bed.servers.count++]), 0);
}

static void take_allowed(const char *allowed)
{
	char *copy = strdup(allowed), *rest = copy, *one;

	bed.peers[1].allowed_ip_count = 0;
	while ((one = strsep(&rest, " "))) {
		struct wg_config_prefix *next = &bed.allowed[bed.peers[1].allowed_ip_count++];

		assert_int_equal(prefix_parse(one, &next->prefix), 0);
	}
	free(copy);
	full_tunnel_find(&bed.tunnel, &bed.setup);
}

/* @apart: those of @allowed that go to the table of their own. */
static void assert_apart(const char *allowed, const char *apart)
{
	size_t len = 0;

	take_allowed(allowed);
	bed.text[0] = '\0';
	for (size_t i = 0; i < bed.peers[1].allowed_ip_count; i++) {
		const struct prefix *to = &bed.allowed[i].prefix;
		char text[PREFIX_TEXT_MAX];

		if (full_tunnel_has(&bed.tunnel, to))
			len += (size_t)snprintf(bed.text + len, sizeof(bed.text) - len, "%s%s", len > 0 ? " " : "",
				prefix_format(text, sizeof(text), to));
	}
	assert_string_equal(bed.text, apart);
	assert_int_equal(full_tunnel_is_of(&bed.tunnel, AF_INET), strchr(apart, '.') != NULL);
	assert_int_equal(full_tunnel_is_of(&bed.tunnel, AF_INET6), strchr(apart, ':') != NULL);
}

static void assert_all_apart(const char *allowed)
{
	assert_apart(allowed, allowed);
}

static void split_tunnel_has_nothing_apart(void **state)
{
	(void)state;
	server_is("203.0.113.10");
	assert_apart("10.10.0.0/24 192.168.1.0/24 fd10::/64 198.51.100.0/24 2001:db8:7::/48 64.0.0.0/8", "");
}

static void slash_zero_goes_alone(void **state)
{
	(void)state;
	assert_apart("0.0.0.0/0 10.20.0.0/16 ::/0 fd20::/32", "0.0.0.0/0 ::/0");
}

static void halves_are_everything(void **state)
{
	(void)state;
	assert_all_apart("0.0.0.0/1 128.0.0.0/1");
	assert_all_apart("::/1 8000::/1");
	assert_all_apart("0.0.0.0/0 0.0.0.0/1 128.0.0.0/1");
	assert_all_apart("0.0.0.0/2 64.0.0.0/2 128.0.0.0/2 192.0.0.0/2");
	assert_all_apart("128.0.0.0/1");
}

static void internet_of_ipv6_is_everything(void **state)
{
	(void)state;
	assert_all_apart("2000::/3");
	assert_all_apart("2000::/4 3000::/4");
	assert_all_apart("2000::/2");
	assert_apart("4000::/2 8000::/1 fc00::/7", "");
	assert_apart("2000::/5", "");
}

/* All but 192.168.1.0/24, as a calculator gives it: the private pieces belong to it. */
static void list_of_a_calculator_is_everything(void **state)
{
	(void)state;
	assert_all_apart("0.0.0.0/1 128.0.0.0/2 192.0.0.0/9 192.128.0.0/11 192.160.0.0/13 192.168.0.0/24 "
			 "192.168.2.0/23 192.168.4.0/22 192.168.8.0/21 192.168.16.0/20 192.168.32.0/19 192.168.64.0/18 "
			 "192.168.128.0/17 192.169.0.0/16 192.170.0.0/15 192.172.0.0/14 192.176.0.0/12 192.192.0.0/10 "
			 "193.0.0.0/8 194.0.0.0/7 196.0.0.0/6 200.0.0.0/5 208.0.0.0/4 224.0.0.0/3");
}

/* All but the private networks. */
static void list_of_public_networks_is_everything(void **state)
{
	(void)state;
	assert_all_apart("0.0.0.0/5 8.0.0.0/7 11.0.0.0/8 12.0.0.0/6 16.0.0.0/4 32.0.0.0/3 64.0.0.0/2 128.0.0.0/3 "
			 "160.0.0.0/5 168.0.0.0/6 172.0.0.0/12 172.32.0.0/11 172.64.0.0/10 172.128.0.0/9 173.0.0.0/8 "
			 "174.0.0.0/7 176.0.0.0/4 192.0.0.0/9 192.128.0.0/11 192.160.0.0/13 192.169.0.0/16");
}

static void one_family_alone(void **state)
{
	(void)state;
	assert_apart("0.0.0.0/1 128.0.0.0/1 fd10::/64", "0.0.0.0/1 128.0.0.0/1");
}

static void prefix_that_holds_the_server(void **state)
{
	(void)state;
	server_is("198.51.100.1");
	server_is("203.0.113.10");
	server_is("[2001:db8:1::10]");
	assert_apart("10.10.0.0/24 203.0.113.0/24 203.0.114.0/24", "203.0.113.0/24");
	assert_apart("203.0.113.10/32 2001:db8:1::/48", "203.0.113.10/32 2001:db8:1::/48");
}

static void private_network_that_holds_the_server(void **state)
{
	(void)state;
	server_is("192.168.1.10");
	assert_apart("0.0.0.0/0 192.168.1.0/24 10.0.0.0/8", "0.0.0.0/0 192.168.1.0/24");
}

/* The operator routes. */
static void another_table_has_nothing_apart(void **state)
{
	(void)state;
	server_is("203.0.113.10");
	bed.wireguard.interface.table_kind = WG_CONFIG_TABLE_OFF;
	assert_apart("0.0.0.0/0 203.0.113.0/24", "");
	bed.wireguard.interface.table_kind = WG_CONFIG_TABLE_NUMBER;
	assert_apart("0.0.0.0/1 128.0.0.0/1", "");
}

/* Peers of a hub have many networks, its clients come from anywhere. */
static void hub_has_no_server(void **state)
{
	(void)state;
	bed.setup.servers = NULL;
	assert_apart("10.10.0.2/32 203.0.113.0/24", "");
	assert_all_apart("0.0.0.0/1 128.0.0.0/1");
}

/* The answers to a client must not go into the tunnel because its own address is in some peer's wide prefix. */
static void wide_prefix_of_a_hub_may_hold_a_client(void **state)
{
	(void)state;
	bed.setup.servers = NULL;
	bed.setup.is_hub = true;
	assert_all_apart("192.0.0.0/4");
	assert_all_apart("200.0.0.0/15 2001::/16 2a00::/12");
	assert_apart("192.0.0.0/4 10.10.0.0/24 203.0.113.0/24", "192.0.0.0/4");
	assert_apart("200.1.0.0/16 2a00:1::/32 203.0.113.0/24", "");
	assert_apart("10.0.0.0/8 172.16.0.0/12 100.64.0.0/10 fc00::/7 fd00::/8", "");
	assert_apart("224.0.0.0/4 224.0.0.0/3 ff00::/8 ::/16", "");
	bed.wireguard.interface.table_kind = WG_CONFIG_TABLE_OFF;
	assert_apart("192.0.0.0/4", "");
	bed.wireguard.interface.table_kind = WG_CONFIG_TABLE_AUTO;
	bed.setup.is_hub = false;
	assert_apart("192.0.0.0/4", "");
}

/* Its table has the number of the mark: the host's three are taken, whatever makes the tunnel a full one. */
static void marks_of_the_hosts_tables_are_none(void **state)
{
	static const struct {
		uint32_t mark;
		const char *allowed;
		bool is_fault;
	} cases[] = {
		{253, "0.0.0.0/0", true}, {254, "0.0.0.0/0", true}, {255, "::/0", true}, {254, "0.0.0.0/1 128.0.0.0/1", true},
		{254, "10.10.0.0/24 203.0.113.0/24", true}, {252, "0.0.0.0/0", false}, {256, "0.0.0.0/0", false},
		{0, "0.0.0.0/0", false}, {254, "10.10.0.0/24", false}, {254, "::1:0:0/96", false},
	};

	(void)state;
	server_is("203.0.113.7");
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct ini_report report = {0};

		bed.wireguard.interface.fwmark = cases[i].mark;
		bed.wireguard.interface.fwmark_line = 7;
		take_allowed(cases[i].allowed);
		assert_int_equal(full_tunnel_mark_fault(&bed.tunnel) != NULL, cases[i].is_fault);
		full_tunnel_check(&bed.wireguard, "home.conf", &report);
		/* The file alone does not show which addresses the server's name has. */
		assert_int_equal(report.count, cases[i].is_fault && !strstr(cases[i].allowed, "203."));
		if (report.count > 0)
			assert_memory_equal(report.lines[0], "home.conf:7: FwMark: '25", 24);
		ini_report_done(&report);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(split_tunnel_has_nothing_apart, set_up),
		cmocka_unit_test_setup(slash_zero_goes_alone, set_up),
		cmocka_unit_test_setup(halves_are_everything, set_up),
		cmocka_unit_test_setup(internet_of_ipv6_is_everything, set_up),
		cmocka_unit_test_setup(list_of_a_calculator_is_everything, set_up),
		cmocka_unit_test_setup(list_of_public_networks_is_everything, set_up),
		cmocka_unit_test_setup(one_family_alone, set_up),
		cmocka_unit_test_setup(prefix_that_holds_the_server, set_up),
		cmocka_unit_test_setup(private_network_that_holds_the_server, set_up),
		cmocka_unit_test_setup(another_table_has_nothing_apart, set_up),
		cmocka_unit_test_setup(hub_has_no_server, set_up),
		cmocka_unit_test_setup(wide_prefix_of_a_hub_may_hold_a_client, set_up),
		cmocka_unit_test_setup(marks_of_the_hosts_tables_are_none, set_up),
	};

	return cmocka_run_group_tests_name("full_tunnel", tests, NULL, NULL);
}
