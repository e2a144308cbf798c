/* A line's number, and the file and line that it stands for. */
#include "common/base/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#define MAIN "/etc/towpath/hub.conf"
#define LAPTOP "/etc/towpath/hub.d/laptop.conf"
#define PI "/etc/towpath/hub.d/pi.conf"

static void a_line_of_the_file_is_its_own_number(void **state)
{
	(void)state;
	assert_string_equal(PLACE(MAIN, 1), MAIN ":1");
	assert_string_equal(PLACE(MAIN, 16777216), MAIN ":16777216");
}

static void line_0_is_the_file_alone(void **state)
{
	(void)state;
	assert_string_equal(PLACE("--server-name", 0), "--server-name");
}

static void a_line_of_a_dropin_names_the_dropin(void **state)
{
	unsigned laptop = place_base(LAPTOP), pi = place_base(PI);

	(void)state;
	assert_string_equal(PLACE(MAIN, laptop + 1), LAPTOP ":1");
	assert_string_equal(PLACE(MAIN, laptop + PLACE_LINES_MAX), LAPTOP ":32767");
	assert_string_equal(PLACE(MAIN, pi + 1), PI ":1");
}

static void a_dropin_keeps_its_numbers(void **state)
{
	unsigned laptop = place_base(LAPTOP);

	(void)state;
	place_base("/etc/towpath/hub.d/a.conf");
	assert_int_equal(place_base(LAPTOP), laptop);
}

static void another_place_is_told_by_its_line_within_a_file(void **state)
{
	unsigned laptop = place_base(LAPTOP);

	(void)state;
	assert_string_equal(PLACE_REFER(MAIN, 12, 20), "line 12");
	assert_string_equal(PLACE_REFER(MAIN, laptop + 2, laptop + 9), "line 2");
}

static void another_place_is_told_with_its_file_from_outside(void **state)
{
	unsigned laptop = place_base(LAPTOP), pi = place_base(PI);

	(void)state;
	assert_string_equal(PLACE_REFER(MAIN, 12, laptop + 2), "line 12 of " MAIN);
	assert_string_equal(PLACE_REFER(MAIN, laptop + 2, pi + 2), "line 2 of " LAPTOP);
}

/* One for each client of a large hub. */
static void there_is_room_for_100000(void **state)
{
	char path[64];
	unsigned base = 0;

	(void)state;
	for (int i = 0; i < 100000; i++) {
		snprintf(path, sizeof(path), "/etc/towpath/big.d/client-%d.conf", i);
		base = place_base(path);
		assert_int_not_equal(base, 0);
	}
	assert_string_equal(PLACE(MAIN, base + 3), "/etc/towpath/big.d/client-99999.conf:3");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_line_of_the_file_is_its_own_number),
		cmocka_unit_test(line_0_is_the_file_alone),
		cmocka_unit_test(a_line_of_a_dropin_names_the_dropin),
		cmocka_unit_test(a_dropin_keeps_its_numbers),
		cmocka_unit_test(another_place_is_told_by_its_line_within_a_file),
		cmocka_unit_test(another_place_is_told_with_its_file_from_outside),
		cmocka_unit_test(there_is_room_for_100000),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
