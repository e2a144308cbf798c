/* Which hooks are told because our table drops what they forward. */
#include "common/host/confined.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define CLASSIC "iptables -A FORWARD -i %i -j ACCEPT"
#define CLASSIC6 "ip6tables -A FORWARD -i %i -j ACCEPT"
#define SWITCH6 "sysctl -w net.ipv6.conf.all.forwarding=1 &"

static struct bed {
	char *pre_up[2], *post_up[2];
	unsigned lines[2][2];
	struct wg_config_prefix addresses[2];
	struct wg_config wireguard;
	struct prefix lan;
	struct gateway gateway;
	struct host_setup setup;
	struct plan_facts facts;
} bed;

/* A hub with an address of each family, on a host that forwards nothing. */
static int set_up(void **state)
{
	struct wg_config_interface *interface = &bed.wireguard.interface;

	(void)state;
	bed = (struct bed){.lines = {{4, 5}, {7, 9}}, .setup = {.wireguard_path = "hub.conf", .is_hub = true}};
	bed.setup.wireguard = &bed.wireguard;
	bed.facts.has_ipv6 = true;
	prefix_parse("10.10.0.1/24", &bed.addresses[0].prefix);
	prefix_parse("fd10::1/64", &bed.addresses[1].prefix);
	interface->addresses = bed.addresses;
	interface->address_count = 2;
	interface->hooks[0] = bed.pre_up;
	interface->hooks[1] = bed.post_up;
	interface->hook_lines[0] = bed.lines[0];
	interface->hook_lines[1] = bed.lines[1];
	return 0;
}

static void hook_is(int kind, const char *text)
{
	char **hooks = kind == 0 ? bed.pre_up : bed.post_up;

	hooks[bed.wireguard.interface.hook_count[kind]++] = (char *)(uintptr_t)text;
}

static void gateway_is(const char *lan)
{
	prefix_parse(lan, &bed.lan);
	bed.gateway = (struct gateway){.lans = &bed.lan, .lan_count = 1};
	bed.setup.gateways = &bed.gateway;
	bed.setup.gateway_count = 1;
}

/* @first, @second: how the warnings begin; NULL: there is none. */
static void assert_told(const char *first, const char *second)
{
	const char *const expected[2] = {first, second};
	json_t *warnings = json_array();

	confined_find(&bed.setup, &bed.facts, warnings);
	assert_int_equal(json_array_size(warnings), (first != NULL) + (second != NULL));
	for (size_t i = 0; i < json_array_size(warnings); i++) {
		const char *text = json_string_value(json_array_get(warnings, i));

		if (strncmp(text, expected[i], strlen(expected[i])) != 0)
			fail_msg("'%s' instead of '%s'", text, expected[i]);
	}
	json_decref(warnings);
}

static void hook_without_the_parameter_is_told(void **state)
{
	(void)state;
	hook_is(1, "true");
	assert_told(NULL, NULL);
	hook_is(1, CLASSIC);
	assert_told("hub.conf:9: PostUp: forwards, and net.ipv4.ip_forward is not 1: what the peers send beyond this host "
		    "by IPv4 is dropped; sysctl -w net.ipv4.ip_forward=1 in front of it helps, or the lines [Gateway] "
		    "and Lan = 0.0.0.0/0 (with Interface",
		NULL);
	hook_is(0, CLASSIC);
	assert_told("hub.conf:4: PreUp: ", NULL);
	bed.facts.forwards_ipv4 = true;
	assert_told(NULL, NULL);
}

static void families_are_told_apart(void **state)
{
	(void)state;
	hook_is(1, CLASSIC6);
	assert_told("hub.conf:7: PostUp: forwards, and net.ipv6.conf.all.forwarding is not 1 when PostUp ends: ", NULL);
	hook_is(1, CLASSIC);
	assert_told("hub.conf:9: PostUp: forwards, and net.ipv4", "hub.conf:7: PostUp: forwards, and net.ipv6");
	bed.facts.forwards_ipv6 = true;
	assert_told("hub.conf:9: PostUp: forwards, and net.ipv4", NULL);
	bed.facts.forwards_ipv6 = bed.facts.has_ipv6 = false;
	assert_told("hub.conf:9: PostUp: forwards, and net.ipv4", NULL);
	bed.facts.has_ipv6 = true;
	bed.wireguard.interface.address_count = 1; /* without an address no peer has IPv6 */
	assert_told("hub.conf:9: PostUp: forwards, and net.ipv4", NULL);
}

/* It would not be confined if the hook had been in time. */
static void ipv6_that_is_switched_on_too_late_is_told(void **state)
{
	(void)state;
	hook_is(1, SWITCH6);
	assert_told("hub.conf:7: PostUp: forwards, and net.ipv6", NULL);
	bed.facts.forwards_ipv6 = true;
	assert_told(NULL, NULL);
}

static void gateway_to_everything_needs_no_hook(void **state)
{
	(void)state;
	hook_is(1, CLASSIC);
	hook_is(1, CLASSIC6);
	gateway_is("192.168.1.0/24");
	assert_told("hub.conf:7: PostUp: forwards, and net.ipv4", "hub.conf:9: PostUp: forwards, and net.ipv6");
	gateway_is("0.0.0.0/0");
	assert_told("hub.conf:9: PostUp: forwards, and net.ipv6", NULL);
	gateway_is("::/0");
	assert_told("hub.conf:7: PostUp: forwards, and net.ipv4", NULL);
}

/* A client without [Gateway] has no table that confines. */
static void client_that_forwards_nothing_is_told_nothing(void **state)
{
	(void)state;
	hook_is(1, CLASSIC);
	bed.setup.is_hub = false;
	assert_told(NULL, NULL);
	gateway_is("192.168.1.0/24");
	assert_told("hub.conf:7: PostUp: ", NULL);
}

/* A script of the operator's is read, whatever starts it; a program is not. */
static void script_is_looked_through(void **state)
{
	char path[] = "/tmp/test_confined.XXXXXX", hook[2][64];
	int fd = mkstemp(path);
	FILE *file = fdopen(fd, "w");

	(void)state;
	assert_non_null(file);
	fputs("#!/bin/sh\n" CLASSIC "\n", file);
	fclose(file);
	snprintf(hook[0], sizeof(hook[0]), "%s up", path);
	snprintf(hook[1], sizeof(hook[1]), "test -x %s && bash '%s' %%i", path, path);
	for (size_t i = 0; i < 2; i++) {
		set_up(state);
		hook_is(1, hook[i]);
		assert_told("hub.conf:7: PostUp: forwards, and net.ipv4", NULL);
	}
	file = fopen(path, "w");
	fputs(CLASSIC "\n", file);
	fclose(file);
	assert_told(NULL, NULL);
	unlink(path);
	assert_told(NULL, NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(hook_without_the_parameter_is_told, set_up),
		cmocka_unit_test_setup(families_are_told_apart, set_up),
		cmocka_unit_test_setup(ipv6_that_is_switched_on_too_late_is_told, set_up),
		cmocka_unit_test_setup(gateway_to_everything_needs_no_hook, set_up),
		cmocka_unit_test_setup(client_that_forwards_nothing_is_told_nothing, set_up),
		cmocka_unit_test_setup(script_is_looked_through, set_up),
	};

	return cmocka_run_group_tests_name("confined", tests, NULL, NULL);
}
