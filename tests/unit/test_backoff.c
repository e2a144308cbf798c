/* Waits between attempts. */
#include "common/tunnel/backoff.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MIDDLE 0x80000000u

/* Waits double from 0.2 s to 5 s, and stay there. */
static void waits_double_to_a_cap(void **state)
{
	const uint32_t waits[] = {200, 400, 800, 1600, 3200, 5000, 5000, 5000};
	struct backoff backoff = {0};

	(void)state;
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
		assert_int_equal(backoff_next_ms(&backoff, MIDDLE), waits[i]);
}

/* Jitter is a quarter each way, ends included, at every step. */
static void jitter_is_a_quarter(void **state)
{
	struct backoff low = {0};
	struct backoff high = {0};
	struct backoff middle = {0};

	(void)state;
	for (int i = 0; i < 10; i++) {
		uint32_t wait = backoff_next_ms(&middle, MIDDLE);

		assert_int_equal(backoff_next_ms(&low, 0), wait - wait / 4);
		assert_int_equal(backoff_next_ms(&high, UINT32_MAX), wait + wait / 4);
		assert_in_range(wait + wait / 4, 1, BACKOFF_LAST_MS * 5 / 4);
	}
}

/* After a success it begins anew. */
static void success_begins_anew(void **state)
{
	struct backoff backoff = {0};

	(void)state;
	for (int i = 0; i < 10; i++)
		backoff_next_ms(&backoff, MIDDLE);
	backoff_reset(&backoff);
	assert_int_equal(backoff_next_ms(&backoff, MIDDLE), BACKOFF_FIRST_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(waits_double_to_a_cap),
		cmocka_unit_test(jitter_is_a_quarter),
		cmocka_unit_test(success_begins_anew),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
