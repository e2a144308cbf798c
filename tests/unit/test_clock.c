/* Time as a user writes and reads it. */
#include "common/base/clock.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

/* Each accepted span, in ms. */
static void spans_are_read(void **state)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} spans[] = {
		{"30s", 30000},
		{"30", 30000},
		{"5min", 300000},
		{"1h 30min", 5400000},
		{"1h30min", 5400000},
		{"250ms", 250},
		{" 2 s ", 2000},
		{"1.5s", 1500},
		{"0.25 s", 250},
		{"1d", 86400000},
		{"1w", 604800000},
		{"1month", 2629800000},
		{"1M", 2629800000},
		{"1m", 60000},
		{"1y", 31557600000},
		{"0", 0},
		{"500us", 1},
		{"1500us", 2},
		{"10 20", 30000},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
		uint64_t ms = UINT64_MAX;

		if (clock_parse_span(spans[i].text, &ms) < 0 || ms != spans[i].ms)
			fail_msg("'%s': %ju ms", spans[i].text, (uintmax_t)ms);
	}
}

/* Everything else is refused and leaves the output alone. */
static void other_spans_are_refused(void **state)
{
	static const char *const spans[] = {
		"",
		" ",
		"s",
		"-5s",
		"5 parsecs",
		"1.s",
		".5s",
		"1..5s",
		"5S",
		"0x10",
		"1h,30min",
		"5min -1s",
		"18446744073709551615s",
		"99999999999999999999",
		"infinity",
		"5 s s",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(spans) / sizeof(spans[0]); i++) {
		uint64_t ms = 77;

		if (clock_parse_span(spans[i], &ms) != -EINVAL || ms != 77)
			fail_msg("'%s' was read as %ju ms", spans[i], (uintmax_t)ms);
	}
}

/* UTC is formatted as in the status. */
static void utc_is_formatted(void **state)
{
	char buf[21];

	(void)state;
	assert_string_equal(clock_format_utc(buf, sizeof(buf), 0), "1970-01-01T00:00:00Z");
	assert_string_equal(clock_format_utc(buf, sizeof(buf), 951782399), "2000-02-28T23:59:59Z");
	assert_string_equal(clock_format_utc(buf, sizeof(buf), 1795229100), "2026-11-21T02:45:00Z");
}

/* A year that does not fit gives no text instead of too long a one. */
static void year_that_does_not_fit_is_empty(void **state)
{
	char buf[21] = "x";

	(void)state;
	assert_string_equal(clock_format_utc(buf, sizeof(buf), INT64_MAX), "");
}

/* The clock does not go back, and the two clocks run. */
static void clock_does_not_go_back(void **state)
{
	uint64_t first = clock_now_us();

	(void)state;
	assert_true(first > 0);
	assert_true(clock_now_us() >= first);
	assert_true(clock_wall_s() > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(spans_are_read),
		cmocka_unit_test(other_spans_are_refused),
		cmocka_unit_test(utc_is_formatted),
		cmocka_unit_test(year_that_does_not_fit_is_empty),
		cmocka_unit_test(clock_does_not_go_back),
	};

	return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
