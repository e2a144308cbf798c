/* When a standing queue loses a datagram, and that a short stall loses none. */
#include "common/tunnel/codel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#define MS 1000u

/* A datagram each millisecond, all of the same age, for so long. Return: how many are dropped. */
static unsigned drops(struct codel *codel, uint64_t *now_us, unsigned ms, uint64_t age_us)
{
	unsigned count = 0;

	for (unsigned i = 0; i < ms; i++, *now_us += MS)
		count += codel_should_drop(codel, age_us, false, *now_us);
	return count;
}

static void a_short_queue_loses_nothing(void **state)
{
	struct codel codel = {0};
	uint64_t now_us = 1000 * MS;

	(void)state;
	assert_int_equal(drops(&codel, &now_us, 5000, CODEL_TARGET_US - 1), 0);
}

static void a_stall_of_less_than_an_interval_loses_nothing(void **state)
{
	struct codel codel = {0};
	uint64_t now_us = 1000 * MS;

	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(drops(&codel, &now_us, 99, 5 * CODEL_TARGET_US), 0);
		assert_int_equal(drops(&codel, &now_us, 100, 0), 0);
	}
}

static void a_standing_queue_loses_one_and_then_ever_more(void **state)
{
	struct codel codel = {0};
	uint64_t now_us = 1000 * MS;
	unsigned first, later;

	(void)state;
	assert_int_equal(drops(&codel, &now_us, 101, 2 * CODEL_TARGET_US), 1);
	first = drops(&codel, &now_us, 500, 2 * CODEL_TARGET_US);
	later = drops(&codel, &now_us, 500, 2 * CODEL_TARGET_US);
	assert_in_range(first, 5, 15);
	assert_in_range(later, first + 1, 40);
}

static void dropping_ends_with_the_queue_and_begins_again_where_it_was(void **state)
{
	struct codel codel = {0};
	uint64_t now_us = 1000 * MS;

	(void)state;
	drops(&codel, &now_us, 2000, 2 * CODEL_TARGET_US);
	assert_int_equal(drops(&codel, &now_us, 200, 0), 0);
	assert_in_range(drops(&codel, &now_us, 200, 2 * CODEL_TARGET_US), 3, 20);
	assert_int_equal(drops(&codel, &now_us, 5000, 0), 0);
	assert_in_range(drops(&codel, &now_us, 200, 2 * CODEL_TARGET_US), 1, 2);
}

static void the_last_one_is_never_dropped(void **state)
{
	struct codel codel = {0};

	(void)state;
	for (uint64_t now_us = 1; now_us < 5000 * MS; now_us += MS)
		assert_false(codel_should_drop(&codel, 10 * CODEL_TARGET_US, true, now_us));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_short_queue_loses_nothing),
		cmocka_unit_test(a_stall_of_less_than_an_interval_loses_nothing),
		cmocka_unit_test(a_standing_queue_loses_one_and_then_ever_more),
		cmocka_unit_test(dropping_ends_with_the_queue_and_begins_again_where_it_was),
		cmocka_unit_test(the_last_one_is_never_dropped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
