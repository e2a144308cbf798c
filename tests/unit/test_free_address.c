/* The next free address of a hub's networks. */
#include "server/free_address.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct prefix prefix_of(const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	return prefix;
}

/* @networks, @taken: lists ended by NULL. Return: the addresses in one text, "" where there are none. */
static const char *find(const char *const *networks, const char *const *taken)
{
	static char text[2 * PREFIX_TEXT_MAX];
	struct prefix network[2], has[16], ret[2];
	size_t network_count = 0, taken_count = 0, len = 0;

	for (; networks[network_count]; network_count++)
		network[network_count] = prefix_of(networks[network_count]);
	for (; taken[taken_count]; taken_count++)
		has[taken_count] = prefix_of(taken[taken_count]);
	text[0] = '\0';
	if (free_address_find(network, network_count, has, taken_count, ret) < 0)
		return text;
	for (size_t i = 0; i < network_count; i++) {
		char one[PREFIX_TEXT_MAX];

		len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%s", i > 0 ? " " : "",
			prefix_format(one, sizeof(one), &ret[i]));
	}
	return text;
}

#define LIST(...)                                                                                                      \
	(const char *const[])                                                                                          \
	{                                                                                                              \
		__VA_ARGS__, NULL                                                                                      \
	}
#define NONE                                                                                                           \
	(const char *const[])                                                                                          \
	{                                                                                                              \
		NULL                                                                                                   \
	}

static void the_first_client_is_number_2(void **state)
{
	(void)state;
	assert_string_equal(find(LIST("10.10.0.1/24", "fd10::1/64"), NONE), "10.10.0.2/32 fd10::2/128");
	assert_string_equal(find(LIST("10.10.0.1/16"), NONE), "10.10.0.2/32");
	assert_string_equal(find(LIST("fd10::1/64"), NONE), "fd10::2/128");
}

static void a_gap_is_filled(void **state)
{
	(void)state;
	assert_string_equal(find(LIST("10.10.0.1/24"), LIST("10.10.0.2/32", "10.10.0.4/32")), "10.10.0.3/32");
}

/* One number for both families: an address that is taken in one is left out in both. */
static void both_families_have_one_number(void **state)
{
	(void)state;
	assert_string_equal(find(LIST("10.10.0.1/24", "fd10::1/64"), LIST("10.10.0.2/32", "fd10::3/128")),
		"10.10.0.4/32 fd10::4/128");
}

static void the_hubs_own_address_is_taken(void **state)
{
	(void)state;
	assert_string_equal(find(LIST("10.10.0.2/24"), NONE), "10.10.0.3/32");
}

static void a_network_within_is_taken_as_a_whole(void **state)
{
	(void)state;
	assert_string_equal(find(LIST("10.10.0.1/16"), LIST("10.10.0.0/24")), "10.10.1.0/32");
	assert_string_equal(find(LIST("fd10::1/64"), LIST("fd10::/120")), "fd10::100/128");
}

static void other_networks_take_nothing(void **state)
{
	(void)state;
	assert_string_equal(
		find(LIST("10.10.0.1/24"), LIST("192.168.1.0/24", "0.0.0.0/0", "::/0", "10.0.0.0/8")), "10.10.0.2/32");
	assert_string_equal(find(LIST("fd10::1/64"), LIST("fd10::1:0:0:2/128", "fd10:0:0:1::/64")), "fd10::2/128");
}

static void a_full_network_is_told(void **state)
{
	(void)state;
	assert_string_equal(
		find(LIST("10.10.0.1/29"), LIST("10.10.0.2/32", "10.10.0.3/32", "10.10.0.4/31")), "10.10.0.6/32");
	assert_string_equal(
		find(LIST("10.10.0.1/29"), LIST("10.10.0.2/32", "10.10.0.3/32", "10.10.0.4/31", "10.10.0.6/32")), "");
	assert_string_equal(find(LIST("10.10.0.1/24"), LIST("10.10.0.0/24")), "");
	assert_string_equal(find(LIST("fd10::1/64"), LIST("fd10::/64")), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_client_is_number_2),
		cmocka_unit_test(a_gap_is_filled),
		cmocka_unit_test(both_families_have_one_number),
		cmocka_unit_test(the_hubs_own_address_is_taken),
		cmocka_unit_test(a_network_within_is_taken_as_a_whole),
		cmocka_unit_test(other_networks_take_nothing),
		cmocka_unit_test(a_full_network_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
