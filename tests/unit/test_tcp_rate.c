/* When BBR is held back in its start phase, and how far. */
#include "common/tunnel/tcp_rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define BANDWIDTH 2400000u /* bytes/s */

/* 40 ms path, 60 ms more in the line's queue. */
static struct tcp_rate flooding(void)
{
	return (struct tcp_rate){
		.rtt_us = 100000,
		.min_rtt_us = 40000,
		.in_flight = 200,
		.is_starting = true,
		.bandwidth_bytes_per_s = BANDWIDTH,
	};
}

/* A start phase that fills the line's queue is paced below the line's bandwidth, so that the queue drains. */
static void flood_is_held_below_the_bandwidth(void **state)
{
	struct tcp_rate rate = flooding();
	uint32_t limit = tcp_rate_limit(&rate);

	(void)state;
	assert_in_range(limit, BANDWIDTH / 2, BANDWIDTH - 1);
}

/* Once the start phase is over, BBR does as it likes. */
static void steady_phase_is_free(void **state)
{
	struct tcp_rate rate = flooding();

	(void)state;
	rate.is_starting = false;
	assert_int_equal(tcp_rate_limit(&rate), TCP_RATE_UNLIMITED);
}

/* A start phase may search for more while no queue stands in the line. */
static void short_round_trip_is_free(void **state)
{
	struct tcp_rate rate = flooding();

	(void)state;
	rate.rtt_us = 50000;
	assert_int_equal(tcp_rate_limit(&rate), TCP_RATE_UNLIMITED);
}

/* Where a few segments are in flight, a long round trip is no sign of a queue of ours. */
static void few_segments_are_free(void **state)
{
	struct tcp_rate rate = flooding();

	(void)state;
	rate.in_flight = 4;
	assert_int_equal(tcp_rate_limit(&rate), TCP_RATE_UNLIMITED);
}

/* An estimate made from a few pings does not stop the connection. */
static void limit_has_a_floor(void **state)
{
	struct tcp_rate rate = flooding();

	(void)state;
	rate.bandwidth_bytes_per_s = 100;
	assert_in_range(tcp_rate_limit(&rate), 10000, TCP_RATE_UNLIMITED);
}

/* A bandwidth that no 32-bit limit can say is no limit. */
static void huge_bandwidth_is_free(void **state)
{
	struct tcp_rate rate = flooding();

	(void)state;
	rate.bandwidth_bytes_per_s = UINT64_MAX / 2;
	assert_int_equal(tcp_rate_limit(&rate), TCP_RATE_UNLIMITED);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flood_is_held_below_the_bandwidth),
		cmocka_unit_test(steady_phase_is_free),
		cmocka_unit_test(short_round_trip_is_free),
		cmocka_unit_test(few_segments_are_free),
		cmocka_unit_test(limit_has_a_floor),
		cmocka_unit_test(huge_bandwidth_is_free),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
