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

/* After a reload: 1 has joined, 2 has the key that it had, 3 another one, as another machine has joined in its place. */
static void machine_that_has_joined_is_remembered(void **state)
{
	struct server_client before[] = {
		{0}, {.has_public_key = true, .public_key = {2}}, {.has_public_key = true, .public_key = {3}}};
	struct server_client after[] = {{.has_public_key = true, .public_key = {1}},
		{.has_public_key = true, .public_key = {2}}, {.has_public_key = true, .public_key = {4}}};
	struct client_list_entry old_entries[3], new_entries[3];
	const struct client_list old = {old_entries, 3};
	struct client_list list = {new_entries, 3};

	(void)state;
	for (uint32_t i = 0; i < 3; i++) {
		old_entries[i] = (struct client_list_entry){.number = i + 1, .client = &before[i], .rtt_ms = 40};
		new_entries[i] = (struct client_list_entry){.number = i + 1, .client = &after[i]};
	}
	client_list_remember(&list, &old);
	assert_int_equal(new_entries[0].rtt_ms, 40);
	assert_int_equal(new_entries[1].rtt_ms, 40);
	assert_int_equal(new_entries[2].rtt_ms, 0);
	assert_ptr_equal(new_entries[0].client, &after[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(right_clock_is_not_behind),
		cmocka_unit_test(clock_of_1970_is_behind),
		cmocka_unit_test(clock_behind_what_was_said_is_behind),
		cmocka_unit_test(time_that_no_clock_shows_is_none),
		cmocka_unit_test(machine_that_has_joined_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
