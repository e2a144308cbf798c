/* tunnel/stall: when a connection stands still. */
#include "common/tunnel/stall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MS = 1000, RTT_US = 40 * MS, START_US = 1000 * MS };

static bool look(struct stall *stall, uint32_t unacked, uint64_t delivered, uint64_t at_us)
{
	struct tcp_rate rate = {.rtt_us = RTT_US, .unacked_segments = unacked, .delivered_bytes = delivered};

	stall_update(stall, &rate, START_US + at_us);
	return stall->is_stalled;
}

static void idle_connection_does_not_stand_still(void **state)
{
	struct stall stall = {0};

	(void)state;
	assert_false(look(&stall, 0, 0, 0));
	assert_false(look(&stall, 0, 0, 5000 * MS));
	assert_false(look(&stall, 1, 0, 5010 * MS));
}

static void bytes_without_an_acknowledgement_stand_still_after_a_round_trip_and_a_delayed_one(void **state)
{
	struct stall stall = {0};

	(void)state;
	assert_false(look(&stall, 0, 0, 0));
	assert_false(look(&stall, 3, 0, 50 * MS));
	assert_false(look(&stall, 9, 0, 100 * MS));
	assert_true(look(&stall, 9, 0, 101 * MS));
}

static void each_acknowledgement_ends_it(void **state)
{
	struct stall stall = {0};

	(void)state;
	look(&stall, 0, 0, 0);
	assert_true(look(&stall, 9, 0, 200 * MS));
	assert_false(look(&stall, 9, 1, 210 * MS)); /* a selective one too */
	assert_false(look(&stall, 9, 1, 300 * MS));
	assert_true(look(&stall, 9, 1, 311 * MS));
	assert_false(look(&stall, 0, 9, 312 * MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_connection_does_not_stand_still),
		cmocka_unit_test(bytes_without_an_acknowledgement_stand_still_after_a_round_trip_and_a_delayed_one),
		cmocka_unit_test(each_acknowledgement_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
