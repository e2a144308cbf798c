/* Clients whose clock is behind: client_list_note_clock() judges the times that they say. */
#include "server/client_list.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
/* After those: */
#include <cmocka.h>

#define NOW_S 1800000000

/* A clock that is right, or a minute slow, is not behind. */
static void right_clock_is_not_behind(void **state)
{
	struct client_list_entry entry = {0};

	(void)state;
	assert_false(client_list_note_clock(&entry, NOW_S, NOW_S));
	assert_false(client_list_note_clock(&entry, NOW_S - 4, NOW_S));
	assert_false(client_list_note_clock(&entry, NOW_S + 1000, NOW_S + 30));
}

/* A host that wakes up in 1970 is behind, each time it comes. */
static void clock_of_1970_is_behind(void **state)
{
	struct client_list_entry entry = {0};

	(void)state;
	assert_true(client_list_note_clock(&entry, 1000, NOW_S));
	assert_true(client_list_note_clock(&entry, 2000, NOW_S));
}

/* Behind what it said before, although not behind us, whose clock went back as well. */
static void clock_behind_what_was_said_is_behind(void **state)
{
	struct client_list_entry entry = {0};

	(void)state;
	assert_false(client_list_note_clock(&entry, NOW_S, NOW_S));
	assert_true(client_list_note_clock(&entry, 1000, 1000));
	assert_false(client_list_note_clock(&entry, 1010, 1010));
}

/* A number that is no time is not noted: too far off on either side. */
static void time_that_no_clock_shows_is_none(void **state)
{
	struct client_list_entry entry = {0};

	(void)state;
	assert_false(client_list_note_clock(&entry, INT64_MAX, NOW_S));
	assert_false(client_list_note_clock(&entry, INT64_MIN, NOW_S));
	assert_false(client_list_note_clock(&entry, -1, NOW_S));
	assert_false(client_list_note_clock(&entry, NOW_S, NOW_S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_clock_is_not_behind),
		cmocka_unit_test(clock_of_1970_is_behind),
		cmocka_unit_test(clock_behind_what_was_said_is_behind),
		cmocka_unit_test(time_that_no_clock_shows_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
