/* tunnel/stall: when a connection stands still. */
#include "common/tunnel/stall.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { MS = 1000, RTT_US = 40 * MS, START_US = 1000 * MS };

static bool look_with(struct stall *stall, uint32_t unacked, uint32_t unsent, uint64_t delivered, uint64_t at_us)
{
	struct tcp_rate rate = {
		.rtt_us = RTT_US, .unacked_segments = unacked, .unsent_bytes = unsent, .delivered_bytes = delivered};

	stall_update(stall, &rate, START_US + at_us);
	return stall->is_stalled;
}

static bool look(struct stall *stall, uint32_t unacked, uint64_t delivered, uint64_t at_us)
{
	return look_with(stall, unacked, 0, delivered, at_us);
}

static void idle_connection_does_not_stand_still(void **state)
{
	struct stall stall = {0};

	(void)state;
	assert_false(look(&stall, 0, 0, 0));
	assert_false(look(&stall, 0, 0, 5000 * MS));
	assert_false(look(&stall, 1, 0, 5010 * MS));
}

/* What was sent since the last look is not as old as that. */
static void a_datagram_after_a_rest_does_not_stand_still(void **state)
{
	struct stall stall = {0};

	(void)state;
	look(&stall, 0, 0, 0);
	assert_false(look(&stall, 1, 0, 10000 * MS));
	assert_false(look(&stall, 1, 0, 10100 * MS));
	assert_true(look(&stall, 1, 0, 10101 * MS));
}

static void a_datagram_is_as_old_as_it_is_told(void **state)
{
	struct stall stall = {0};

	(void)state;
	look(&stall, 0, 0, 0);
	stall_note_sent(&stall, START_US);
	stall_note_sent(&stall, START_US + 50 * MS); /* the first one counts */
	assert_true(look(&stall, 2, 0, 101 * MS));
}

/* The peer, or a proxy, takes no more. */
static void a_closed_window_stands_still(void **state)
{
	struct stall stall = {0};

	(void)state;
	assert_false(look_with(&stall, 0, 9000, 0, 0));
	assert_true(look_with(&stall, 0, 9000, 0, 200 * MS));
	assert_false(look_with(&stall, 0, 5000, 4000, 210 * MS));
}

static void bytes_without_an_acknowledgement_stand_still_after_a_round_trip_and_a_delayed_one(void **state)
{
	struct stall stall = {0};

	(void)state;
	assert_false(look(&stall, 3, 0, 0));
	assert_false(look(&stall, 3, 0, 50 * MS));
	assert_false(look(&stall, 9, 0, 100 * MS));
	assert_true(look(&stall, 9, 0, 101 * MS));
}

static void each_acknowledgement_ends_it(void **state)
{
	struct stall stall = {0};

	(void)state;
	look(&stall, 9, 0, 0);
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
		cmocka_unit_test(a_datagram_after_a_rest_does_not_stand_still),
		cmocka_unit_test(a_datagram_is_as_old_as_it_is_told),
		cmocka_unit_test(a_closed_window_stands_still),
		cmocka_unit_test(bytes_without_an_acknowledgement_stand_still_after_a_round_trip_and_a_delayed_one),
		cmocka_unit_test(each_acknowledgement_ends_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
