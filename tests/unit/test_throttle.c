/* Which sources connect at a rate no visitor has. */
#include "server/throttle.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define NOW 50000000u

static struct throttle throttle;

static int set_up(void **state)
{
	(void)state;
	throttle_init(&throttle, 12345);
	return 0;
}

static bool connect_from(const char *text, uint64_t now_us)
{
	struct addr from;

	assert_int_equal(addr_parse(text, 0, &from), 0);
	return throttle_count(&throttle, &from, now_us);
}

static bool connect_times(const char *text, unsigned times, uint64_t now_us)
{
	bool over = false;

	while (times-- > 0)
		over = connect_from(text, now_us);
	return over;
}

static void thirty_in_ten_seconds_are_a_visitor(void **state)
{
	(void)state;
	assert_false(connect_times("203.0.113.7:1", THROTTLE_CONNECTIONS_MAX, NOW));
	assert_true(connect_from("203.0.113.7:2", NOW + 1000));
}

static void sources_are_counted_apart(void **state)
{
	(void)state;
	assert_true(connect_times("203.0.113.7:1", 100, NOW));
	assert_false(connect_from("203.0.113.8:1", NOW));
}

static void an_ipv6_network_is_one_source(void **state)
{
	(void)state;
	assert_false(connect_times("[2001:db8:0:1::1]:1", THROTTLE_CONNECTIONS_MAX, NOW));
	assert_true(connect_from("[2001:db8:0:1:ffff::2]:1", NOW));
	assert_false(connect_from("[2001:db8:0:2::1]:1", NOW));
}

static void who_stops_is_forgotten(void **state)
{
	(void)state;
	assert_true(connect_times("203.0.113.7:1", 100, NOW));
	assert_false(connect_from("203.0.113.7:1", NOW + 2 * THROTTLE_WINDOW_US));
}

static void who_goes_on_is_not_let_off_by_the_clock(void **state)
{
	(void)state;
	assert_true(connect_times("203.0.113.7:1", 100, NOW));
	assert_true(connect_from("203.0.113.7:1", NOW + THROTTLE_WINDOW_US + 1));
}

/* More sources than places: no other source is throttled for it, and nothing is written past the table. */
static void a_crowd_is_borne(void **state)
{
	char text[ADDR_TEXT_MAX];
	unsigned i;

	(void)state;
	for (i = 0; i < 3 * THROTTLE_BUCKETS * THROTTLE_WAYS; i++) {
		snprintf(text, sizeof(text), "10.%u.%u.%u:1", i >> 16, i >> 8 & 255, i & 255);
		assert_false(connect_from(text, NOW + i));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(thirty_in_ten_seconds_are_a_visitor, set_up),
		cmocka_unit_test_setup(sources_are_counted_apart, set_up),
		cmocka_unit_test_setup(an_ipv6_network_is_one_source, set_up),
		cmocka_unit_test_setup(who_stops_is_forgotten, set_up),
		cmocka_unit_test_setup(who_goes_on_is_not_let_off_by_the_clock, set_up),
		cmocka_unit_test_setup(a_crowd_is_borne, set_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
