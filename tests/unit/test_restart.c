/* Keys that a reload cannot take are named. */
#include "server/restart.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char path[] = "/etc/wireguard/wg0.conf";
static struct server_listen listens[2];
static struct prefix lan = {.addr.in4.sin_family = AF_INET, .bits = 24},
		     other_lan = {.addr.in4.sin_family = AF_INET, .bits = 16};
static struct gateway gateway = {.lans = &lan, .lan_count = 1, .masquerade = true};
static struct gateway other_gateway = {.lans = &other_lan, .lan_count = 1, .masquerade = true};

static struct server_config make_config(void)
{
	struct server_config config = {
		.listens = listens, .listen_count = 1, .device = "hub", .has_device = true, .hidden = true};

	assert_int_equal(addr_parse("0.0.0.0:443", 0, &listens[0].addr), 0);
	assert_int_equal(addr_parse("0.0.0.0:8443", 0, &listens[1].addr), 0);
	assert_int_equal(addr_parse("127.0.0.1:51820", 0, &config.target), 0);
	return config;
}

static void names(const char *wanted, const struct server_config *now)
{
	const struct server_config before = make_config();
	char text[128] = "";

	restart_append(text, sizeof(text), &before, now);
	assert_string_equal(text, wanted);
}

static void same_file_names_nothing(void **state)
{
	const struct server_config now = make_config();

	(void)state;
	names("", &now);
}

static void clients_limits_and_certificate_need_none(void **state)
{
	struct server_config now = make_config();
	struct server_client client = {.line = 3};

	(void)state;
	now.clients = &client;
	now.client_count = 1;
	now.settings.max_clients = 3;
	now.settings.ping_interval_ms = 4;
	now.certificate_path = path;
	names("", &now);
}

static void each_is_named(void **state)
{
	struct server_config now = make_config();

	(void)state;
	now.listen_count = 2;
	names("Listen", &now);
	now.listens = listens + 1;
	now.listen_count = 1;
	names("Listen", &now);
	addr_set_port(&now.target, 51821);
	now.hidden = false;
	names("Listen, Target, Hidden", &now);
	now.gateways = &gateway;
	now.gateway_count = 1;
	names("Listen, Target, Hidden, [Gateway]", &now);
	now.wireguard_path = path;
	names("Listen, Target, Hidden, WireGuard, [Gateway]", &now);
}

static void cleartext_is_another_listener(void **state)
{
	struct server_listen cleartext;
	struct server_config now = make_config();

	(void)state;
	cleartext = listens[0];
	cleartext.cleartext = true;
	now.listens = &cleartext;
	names("Listen", &now);
}

static void gateways_are_compared_by_their_networks(void **state)
{
	struct server_config before = make_config(), now = make_config();
	char text[128] = "";

	(void)state;
	before.gateways = &gateway;
	now.gateways = &other_gateway;
	before.gateway_count = now.gateway_count = 1;
	restart_append(text, sizeof(text), &before, &before);
	assert_string_equal(text, "");
	restart_append(text, sizeof(text), &before, &now);
	assert_string_equal(text, "[Gateway]");
}

static void what_the_host_named_stays(void **state)
{
	struct server_config before = make_config(), now = make_config();
	char text[128] = "Address, MTU", small[] = "Address, MTU";

	(void)state;
	now.hidden = false;
	restart_append(text, sizeof(text), &before, &now);
	assert_string_equal(text, "Address, MTU, Hidden");
	restart_append(small, sizeof(small), &before, &now);
	assert_string_equal(small, "Address, MTU");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_file_names_nothing),
		cmocka_unit_test(clients_limits_and_certificate_need_none),
		cmocka_unit_test(each_is_named),
		cmocka_unit_test(cleartext_is_another_listener),
		cmocka_unit_test(gateways_are_compared_by_their_networks),
		cmocka_unit_test(what_the_host_named_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
