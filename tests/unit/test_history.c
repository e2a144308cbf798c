/* The client's history: one sample a step, rates over the time that has really passed, the oldest ones overwritten. */
#include "client/history.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define CLAIM(name) cmocka_unit_test(name)
#define S 1000000ull

static void add(struct history *history, uint64_t now_us, uint64_t rtt_us, uint64_t sent, uint64_t received)
{
	const struct flow_counters total = {.sent_bytes = sent, .received_bytes = received};

	history_add(history, now_us, rtt_us, &total);
}

static json_int_t value_of(const json_t *report, const char *key, size_t index)
{
	return json_integer_value(json_array_get(json_object_get(report, key), index));
}

static void a_sample_is_due_every_two_seconds(void **state)
{
	struct history history = {0};

	(void)state;
	assert_true(history_is_due(&history, 5 * S));
	add(&history, 5 * S, 0, 0, 0);
	assert_false(history_is_due(&history, 7 * S - 1));
	assert_true(history_is_due(&history, 7 * S));
}

static void rates_are_those_of_the_time_that_passed(void **state)
{
	struct history history = {0};
	json_t *report;

	(void)state;
	add(&history, 10 * S, 40000, 1000, 500);
	add(&history, 12 * S, 41500, 3000, 500);
	add(&history, 22 * S, 0, 3000, 1000500); /* the laptop slept */
	report = history_report(&history);
	assert_int_equal(value_of(report, "sent_bytes_per_s", 0), 1000);
	assert_int_equal(value_of(report, "received_bytes_per_s", 0), 0);
	assert_int_equal(value_of(report, "sent_bytes_per_s", 1), 0);
	assert_int_equal(value_of(report, "received_bytes_per_s", 1), 100000);
	assert_true(json_number_value(json_array_get(json_object_get(report, "rtt_ms"), 0)) == 41.5);
	assert_true(json_is_null(json_array_get(json_object_get(report, "rtt_ms"), 1)));
	assert_int_equal(json_integer_value(json_object_get(report, "step_s")), 2);
	json_decref(report);
}

static void the_oldest_samples_go(void **state)
{
	struct history history = {0};
	json_t *report;

	(void)state;
	for (uint64_t i = 0; i <= HISTORY_SAMPLES + 7; i++)
		add(&history, (i + 1) * S, 1000, i * i, 0);
	report = history_report(&history);
	assert_int_equal(json_array_size(json_object_get(report, "rtt_ms")), HISTORY_SAMPLES);
	assert_int_equal(value_of(report, "sent_bytes_per_s", 0), 2 * 8 - 1); /* 8² - 7² */
	assert_int_equal(value_of(report, "sent_bytes_per_s", HISTORY_SAMPLES - 1), 2 * (HISTORY_SAMPLES + 7) - 1);
	json_decref(report);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(a_sample_is_due_every_two_seconds),
		CLAIM(rates_are_those_of_the_time_that_passed),
		CLAIM(the_oldest_samples_go),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
