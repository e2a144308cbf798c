/* Pings, doubt, round trips, the deadline. */
#include "common/tunnel/liveness.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define START 1000000u
#define INTERVAL 15000000u

static int set_up(void **state)
{
	struct liveness *l = malloc(sizeof(*l));

	if (!l)
		return -1;
	liveness_init(l, INTERVAL, START);
	*state = l;
	return 0;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

static bool pong(struct liveness *l, uint64_t now_us)
{
	uint8_t payload[LIVENESS_PING_LEN];

	liveness_ping_payload(l, payload);
	return liveness_on_pong(l, payload, sizeof(payload), now_us);
}

/* A ping goes out when an interval has passed, not before, and then one interval later. */
static void ping_every_interval(void **state)
{
	struct liveness *l = *state;

	assert_int_equal(liveness_tick(l, START + INTERVAL - 1), LIVENESS_WAIT);
	assert_int_equal(liveness_tick(l, START + INTERVAL), LIVENESS_PING);
	assert_true(pong(l, START + INTERVAL + 5));
	assert_int_equal(liveness_tick(l, START + 2 * INTERVAL - 1), LIVENESS_WAIT);
	assert_int_equal(liveness_tick(l, START + 2 * INTERVAL), LIVENESS_PING);
}

/* Asked for, a ping goes out at the next step; the interval begins anew with it. */
static void asked_for_it_pings_at_once(void **state)
{
	struct liveness *l = *state;
	const uint64_t now_us = START + 1;

	liveness_probe(l);
	assert_int_equal(liveness_tick(l, now_us), LIVENESS_PING);
	assert_true(pong(l, now_us + 5));
	assert_int_equal(liveness_tick(l, now_us + INTERVAL - 1), LIVENESS_WAIT);
	assert_int_equal(liveness_tick(l, now_us + INTERVAL), LIVENESS_PING);
}

/* The pong tells the round trip. */
static void pong_tells_round_trip(void **state)
{
	struct liveness *l = *state;

	assert_int_equal(l->rtt_us, 0);
	liveness_tick(l, START + INTERVAL);
	assert_true(pong(l, START + INTERVAL + 41200));
	assert_int_equal(l->rtt_us, 41200);
}

/* A ping's payload is its number, big endian, another for each. */
static void payload_is_a_number(void **state)
{
	struct liveness *l = *state;
	uint8_t payload[LIVENESS_PING_LEN];

	l->number = 0x01020304050607ff;
	liveness_tick(l, START + INTERVAL);
	liveness_ping_payload(l, payload);
	assert_memory_equal(payload, ((uint8_t[]){1, 2, 3, 4, 5, 6, 8, 0}), sizeof(payload));
}

/* Without its pong a ping ends the carrier after 10 s. */
static void missing_pong_is_the_end(void **state)
{
	struct liveness *l = *state;

	liveness_tick(l, START + INTERVAL);
	assert_int_equal(liveness_tick(l, START + INTERVAL + LIVENESS_DEADLINE_US - 1), LIVENESS_WAIT);
	assert_int_equal(liveness_tick(l, START + INTERVAL + LIVENESS_DEADLINE_US), LIVENESS_DEAD);
}

/* A check pings at once, and without an answer it is over after a second and four round trips. */
static void check_is_impatient(void **state)
{
	struct liveness *l = *state;

	l->rtt_us = 50000;
	liveness_check(l, START + 1);
	assert_int_equal(liveness_tick(l, START + 1), LIVENESS_PING);
	assert_int_equal(liveness_tick(l, START + LIVENESS_CHECK_US + 200000), LIVENESS_WAIT);
	assert_int_equal(liveness_tick(l, START + 1 + LIVENESS_CHECK_US + 200000), LIVENESS_DEAD);
}

/* A pong to a ping from before a check proves nothing; one to a ping sent after it ends the impatience. */
static void check_wants_a_ping_of_its_own(void **state)
{
	struct liveness *l = *state;

	liveness_tick(l, START + INTERVAL);
	liveness_check(l, START + INTERVAL + 10);
	assert_true(pong(l, START + INTERVAL + 20));
	assert_int_equal(liveness_tick(l, START + INTERVAL + 20), LIVENESS_PING);
	assert_true(pong(l, START + INTERVAL + 40));
	assert_int_equal(liveness_tick(l, START + INTERVAL + 10 + LIVENESS_CHECK_US + 1000), LIVENESS_WAIT);
}

/* Checks that come again and again do not put the end off. */
static void checks_do_not_put_the_end_off(void **state)
{
	struct liveness *l = *state;

	for (uint64_t at_us = START + 1; at_us < START + LIVENESS_CHECK_US; at_us += LIVENESS_CHECK_US / 8) {
		liveness_check(l, at_us);
		assert_int_not_equal(liveness_tick(l, at_us), LIVENESS_DEAD);
	}
	assert_int_equal(liveness_tick(l, START + 1 + LIVENESS_CHECK_US), LIVENESS_DEAD);
}

/* Data does not postpone the end: only the pong of the ping under way does. */
static void data_does_not_postpone_the_end(void **state)
{
	struct liveness *l = *state;

	liveness_tick(l, START + INTERVAL);
	liveness_on_received(l, START + INTERVAL + LIVENESS_DEADLINE_US - 1);
	assert_int_equal(liveness_tick(l, START + INTERVAL + LIVENESS_DEADLINE_US), LIVENESS_DEAD);
}

/* A foreign, late, short or unsolicited pong answers nothing. */
static void other_pongs_answer_nothing(void **state)
{
	struct liveness *l = *state;
	uint8_t late[LIVENESS_PING_LEN];
	uint8_t own[LIVENESS_PING_LEN];

	liveness_ping_payload(l, late);
	assert_false(liveness_on_pong(l, late, sizeof(late), START + 1));
	liveness_tick(l, START + INTERVAL);
	liveness_ping_payload(l, own);
	assert_false(liveness_on_pong(l, late, sizeof(late), START + INTERVAL + 1));
	assert_false(liveness_on_pong(l, own, sizeof(own) - 1, START + INTERVAL + 1));
	assert_false(liveness_on_pong(l, NULL, 0, START + INTERVAL + 1));
	assert_int_equal(l->rtt_us, 0);
	assert_true(liveness_on_pong(l, own, sizeof(own), START + INTERVAL + 2));
	assert_false(liveness_on_pong(l, own, sizeof(own), START + INTERVAL + 3));
	assert_int_equal(l->rtt_us, 2);
}

/* Sending into silence for 2 s asks for a ping at once, counted from the first datagram that went unanswered. */
static void silence_asks_for_a_ping(void **state)
{
	struct liveness *l = *state;

	liveness_on_sent(l, START + 10);
	liveness_on_sent(l, START + 1000000);
	assert_int_equal(liveness_tick(l, START + 10 + LIVENESS_DOUBT_US - 1), LIVENESS_WAIT);
	assert_int_equal(liveness_tick(l, START + 10 + LIVENESS_DOUBT_US), LIVENESS_PING);
	assert_int_equal(liveness_tick(l, START + 10 + LIVENESS_DOUBT_US + 1), LIVENESS_WAIT);
}

/* Whatever comes back ends the doubt. */
static void anything_received_ends_doubt(void **state)
{
	struct liveness *l = *state;

	liveness_on_sent(l, START + 10);
	liveness_on_received(l, START + 20);
	assert_int_equal(liveness_tick(l, START + 10 + LIVENESS_DOUBT_US), LIVENESS_WAIT);
}

/* A side that only sends has to ping again and again, one ping at a time. */
static void one_way_traffic_pings_again(void **state)
{
	struct liveness *l = *state;

	liveness_on_sent(l, START);
	assert_int_equal(liveness_tick(l, START + LIVENESS_DOUBT_US), LIVENESS_PING);
	assert_true(pong(l, START + LIVENESS_DOUBT_US + 100));
	liveness_on_sent(l, START + LIVENESS_DOUBT_US + 200);
	assert_int_equal(liveness_tick(l, START + LIVENESS_DOUBT_US + 300), LIVENESS_WAIT);
	assert_int_equal(liveness_tick(l, START + 2 * LIVENESS_DOUBT_US + 200), LIVENESS_PING);
}

/* Without traffic there is no doubt: an idle carrier is pinged by the interval alone. */
static void idle_carrier_has_no_doubt(void **state)
{
	struct liveness *l = *state;

	liveness_on_received(l, START + 1);
	assert_int_equal(liveness_tick(l, START + INTERVAL - 1), LIVENESS_WAIT);
}

/* A clock read a little earlier than the last event ends nothing. */
static void earlier_clock_ends_nothing(void **state)
{
	struct liveness *l = *state;

	assert_int_equal(liveness_tick(l, START - 5), LIVENESS_WAIT);
	assert_int_equal(liveness_tick(l, START + INTERVAL), LIVENESS_PING);
	assert_int_equal(liveness_tick(l, START + INTERVAL - 5), LIVENESS_WAIT);
	assert_true(pong(l, START + INTERVAL - 5));
	assert_int_equal(l->rtt_us, 0);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(ping_every_interval),
		CLAIM(asked_for_it_pings_at_once),
		CLAIM(pong_tells_round_trip),
		CLAIM(payload_is_a_number),
		CLAIM(missing_pong_is_the_end),
		CLAIM(check_is_impatient),
		CLAIM(check_wants_a_ping_of_its_own),
		CLAIM(checks_do_not_put_the_end_off),
		CLAIM(data_does_not_postpone_the_end),
		CLAIM(other_pongs_answer_nothing),
		CLAIM(silence_asks_for_a_ping),
		CLAIM(anything_received_ends_doubt),
		CLAIM(one_way_traffic_pings_again),
		CLAIM(idle_carrier_has_no_doubt),
		CLAIM(earlier_clock_ends_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
