/* client/address_list: a list is read as it was written, and other text is refused. */
#include "client/address_list.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* Both families, with the port that is given. */
static void addresses_are_read_with_a_port(void **state)
{
	struct addr addresses[ADDRESS_LIST_MAX];
	char text[ADDR_TEXT_MAX];

	(void)state;
	assert_int_equal(address_list_parse("203.0.113.10,2001:db8:1::10", 443, addresses), 2);
	assert_string_equal(addr_format(text, sizeof(text), &addresses[0]), "203.0.113.10:443");
	assert_string_equal(addr_format(text, sizeof(text), &addresses[1]), "[2001:db8:1::10]:443");
}

static void empty_text_is_no_address(void **state)
{
	struct addr addresses[ADDRESS_LIST_MAX];

	(void)state;
	assert_int_equal(address_list_parse("", 443, addresses), 0);
}

/* One wrong element refuses all of them, and nothing is written. */
static void anything_else_is_refused(void **state)
{
	static const char *const wrong[] = {",", "203.0.113.10,", ",203.0.113.10", "203.0.113.10,,::1",
		"hub.example.org", "203.0.113.10:443", "[::1]", "[::1]:443", " 203.0.113.10", "203.0.113.10 ",
		"203.0.113", "1.1.1.1,1.1.1.2,1.1.1.3,1.1.1.4,1.1.1.5,1.1.1.6,1.1.1.7,1.1.1.8,1.1.1.9"};
	struct addr addresses[ADDRESS_LIST_MAX], untouched[ADDRESS_LIST_MAX];

	(void)state;
	memset(addresses, 0x5a, sizeof(addresses));
	memset(untouched, 0x5a, sizeof(untouched));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		assert_int_equal(address_list_parse(wrong[i], 443, addresses), -EINVAL);
	assert_memory_equal(addresses, untouched, sizeof(addresses));
}

/* An address that does not fit is left out whole; the list that was written can be read. */
static void the_longest_are_written_as_far_as_they_fit(void **state)
{
	struct addr addresses[ADDRESS_LIST_MAX + 1], back[ADDRESS_LIST_MAX];
	char text[ADDRESS_LIST_TEXT_MAX];

	(void)state;
	for (size_t i = 0; i < ADDRESS_LIST_MAX + 1; i++)
		assert_int_equal(addr_parse("[2001:db8:1111:2222:3333:4444:5555:6666]:1", 0, &addresses[i]), 0);
	address_list_format(text, addresses, ADDRESS_LIST_MAX + 1);
	assert_int_equal(address_list_parse(text, 1, back), ADDRESS_LIST_MAX);
	assert_true(addr_equal(&back[ADDRESS_LIST_MAX - 1], &addresses[0]));
	assert_string_equal(address_list_format(text, addresses, 0), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_are_read_with_a_port),
		cmocka_unit_test(empty_text_is_no_address),
		cmocka_unit_test(anything_else_is_refused),
		cmocka_unit_test(the_longest_are_written_as_far_as_they_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
