/* A reload names each key whose change needs a restart, and no other. */
#include "common/host/fingerprint.h"
#include "common/host/hook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

static char ping[] = "ping -c1 10.0.0.1", log_it[] = "logger up", server[] = "10.0.0.1", other_server[] = "10.0.0.2";

static struct bed {
	struct wg_config_prefix addresses[2], allowed[2];
	char *hook[1], *dns[1];
	struct wg_config_peer peer;
	struct wg_config config;
	bool is_full[2];
	struct fingerprint then;
	char text[200];
} bed;

static int set_up(void **state)
{
	struct wg_config_interface *interface = &bed.config.interface;

	(void)state;
	memset(&bed, 0, sizeof(bed));
	bed.addresses[0].prefix.addr.sa.sa_family = bed.addresses[1].prefix.addr.sa.sa_family = AF_INET;
	bed.addresses[0].prefix.bits = bed.addresses[1].prefix.bits = 24;
	bed.hook[0] = ping;
	bed.dns[0] = server;
	interface->addresses = bed.addresses;
	interface->address_count = 1;
	interface->listen_port = 51820;
	interface->hooks[HOOK_PRE_UP] = interface->hooks[HOOK_POST_UP] = interface->hooks[HOOK_PRE_DOWN] = bed.hook;
	interface->hook_count[HOOK_PRE_UP] = 1;
	interface->dns = bed.dns;
	interface->dns_count = 1;
	bed.peer.allowed_ips = bed.allowed;
	bed.config.peers = &bed.peer;
	bed.config.peer_count = 1;
	fingerprint_take(&bed.then, &bed.config, bed.is_full);
	return 0;
}

static void expect(const char *names)
{
	fingerprint_name_changes(&bed.then, &bed.config, bed.is_full, bed.text, sizeof(bed.text));
	assert_string_equal(bed.text, names);
}

static void same_configuration_names_nothing(void **state)
{
	(void)state;
	expect("");
	for (int key = 0; key < FINGERPRINT_COUNT; key++)
		assert_true(fingerprint_is_same(&bed.then, key, &bed.config.interface));
}

static void each_number_is_named(void **state)
{
	(void)state;
	bed.config.interface.private_key[31] = 1;
	expect("PrivateKey");
	assert_false(fingerprint_is_same(&bed.then, FINGERPRINT_PRIVATE_KEY, &bed.config.interface));
	bed.config.interface.listen_port++;
	expect("PrivateKey, ListenPort");
	bed.config.interface.fwmark = 7;
	expect("PrivateKey, ListenPort, FwMark");
	bed.config.interface.mtu = 1400;
	expect("PrivateKey, ListenPort, FwMark, MTU");
}

static void another_length_of_an_address_is_named(void **state)
{
	(void)state;
	bed.addresses[0].prefix.bits = 25;
	expect("Address");
}

static void one_more_address_is_named(void **state)
{
	(void)state;
	bed.config.interface.address_count = 2;
	expect("Address");
}

static void another_name_server_is_named(void **state)
{
	(void)state;
	bed.dns[0] = other_server;
	expect("DNS");
}

static void another_hook_is_named(void **state)
{
	(void)state;
	bed.hook[0] = log_it;
	expect("PreUp and PostUp");
}

static void hook_that_moves_from_pre_up_to_post_up_is_named(void **state)
{
	(void)state;
	bed.config.interface.hook_count[HOOK_PRE_UP] = 0;
	bed.config.interface.hook_count[HOOK_POST_UP] = 1;
	expect("PreUp and PostUp");
}

static void hooks_of_going_down_need_no_restart(void **state)
{
	(void)state;
	bed.config.interface.hook_count[HOOK_PRE_DOWN] = 1;
	expect("");
}

static void full_tunnel_that_comes_is_named_by_family(void **state)
{
	(void)state;
	bed.is_full[0] = true;
	expect("AllowedIPs (IPv4 full tunnel)");
	bed.is_full[1] = true;
	expect("AllowedIPs (IPv4 full tunnel), AllowedIPs (IPv6 full tunnel)");
}

static void full_tunnel_that_goes_is_named(void **state)
{
	(void)state;
	bed.is_full[1] = true;
	fingerprint_take(&bed.then, &bed.config, bed.is_full);
	expect("");
	bed.is_full[1] = false;
	expect("AllowedIPs (IPv6 full tunnel)");
}

static void another_table_is_named(void **state)
{
	(void)state;
	bed.config.interface.table_kind = WG_CONFIG_TABLE_OFF;
	expect("Table");
}

static void routes_follow_the_table_of_then(void **state)
{
	struct wg_config routed;

	(void)state;
	bed.config.interface.table_kind = WG_CONFIG_TABLE_NUMBER;
	bed.config.interface.table = 1000;
	routed = fingerprint_route(&bed.then, &bed.config);
	assert_int_equal(routed.interface.table_kind, WG_CONFIG_TABLE_AUTO);
	assert_ptr_equal(routed.peers, &bed.peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(same_configuration_names_nothing, set_up),
		cmocka_unit_test_setup(each_number_is_named, set_up),
		cmocka_unit_test_setup(another_length_of_an_address_is_named, set_up),
		cmocka_unit_test_setup(one_more_address_is_named, set_up),
		cmocka_unit_test_setup(another_name_server_is_named, set_up),
		cmocka_unit_test_setup(another_hook_is_named, set_up),
		cmocka_unit_test_setup(hook_that_moves_from_pre_up_to_post_up_is_named, set_up),
		cmocka_unit_test_setup(hooks_of_going_down_need_no_restart, set_up),
		cmocka_unit_test_setup(full_tunnel_that_comes_is_named_by_family, set_up),
		cmocka_unit_test_setup(full_tunnel_that_goes_is_named, set_up),
		cmocka_unit_test_setup(another_table_is_named, set_up),
		cmocka_unit_test_setup(routes_follow_the_table_of_then, set_up),
	};

	return cmocka_run_group_tests_name("fingerprint", tests, NULL, NULL);
}
