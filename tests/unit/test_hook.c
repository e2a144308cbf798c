/* Hooks: their order, %i, and the effect of a line that fails, before the tunnel and after it. */
#include "host_bed.h"

#include "common/host/hook.h"

static struct hooks hooks;
static unsigned calls;
static char failure[200];

static void on_done(void *owner, const char *reason)
{
	(void)owner;
	calls++;
	snprintf(failure, sizeof(failure), "%s", reason ? reason : "");
}

static int set_up(void **state)
{
	(void)state;
	make_host_bed();
	calls = 0;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	clear_host_bed();
	return 0;
}

static void start(enum hook_kind kind, char *const *lines, size_t count)
{
	static const unsigned file_lines[] = {4, 7, 9};

	hooks = (struct hooks){.loop = &bed.loop,
		.kind = kind,
		.device = "home",
		.lines = lines,
		.file_lines = file_lines,
		.count = count,
		.on_done = on_done};
	hooks_start(&hooks);
}

static void without_lines_it_is_over_at_once(void **state)
{
	(void)state;
	start(HOOK_PRE_UP, NULL, 0);
	assert_int_equal(calls, 1);
	assert_string_equal(failure, "");
	assert_log("");
}

/* One shell at a time, which the bed checks. */
static void lines_run_in_order(void **state)
{
	char one[] = "one", two[] = "two", three[] = "three";

	(void)state;
	start(HOOK_POST_UP, (char *[]){one, two, three}, 3);
	assert_log("one");
	end_program();
	assert_log("two");
	assert_int_equal(calls, 0);
	end_programs();
	assert_log("three");
	assert_int_equal(calls, 1);
	assert_string_equal(failure, "");
}

static void device_stands_in_for_percent_i(void **state)
{
	static const struct {
		char line[16];
		const char *text;
	} cases[] = {{"%i", "home"}, {"a %i b%i", "a home bhome"}, {"100%", "100%"}, {"%%i %I %", "%home %I %"}};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		char line[16];

		memcpy(line, cases[i].line, sizeof(line));
		start(HOOK_PRE_DOWN, (char *[]){line}, 1);
		end_programs();
		assert_log(cases[i].text);
	}
}

/* The reason has the line as it stands in the file, before %i. */
static void failure_going_up_is_the_end(void **state)
{
	char one[] = "ping %i", two[] = "two";

	(void)state;
	bed.fails = "ping home";
	bed.failure = 1;
	for (enum hook_kind kind = HOOK_PRE_UP; kind <= HOOK_POST_UP; kind++) {
		start(kind, (char *[]){two, one, two}, 3);
		end_programs();
		assert_log("two ping home");
		assert_int_equal(hooks.failed_line, 7);
		assert_int_equal(calls, kind + 1);
		assert_non_null(strstr(failure, kind == HOOK_PRE_UP ? "PreUp = ping %i: " : "PostUp = ping %i: "));
	}
}

/* A shell takes typographic characters as they are: they are named where the hook has failed. */
static void failure_names_a_character_that_is_not_ascii(void **state)
{
	char dash[] = "two \u2013A", plain[] = "two -A";

	(void)state;
	bed.fails = dash;
	bed.failure = 1;
	start(HOOK_POST_UP, (char *[]){dash}, 1);
	end_programs();
	assert_non_null(strstr(failure, "PostUp = two \u2013A: "));
	assert_non_null(strstr(failure, "; character 5 is U+2013, a typographic dash: type it anew"));
	bed.fails = plain;
	start(HOOK_POST_UP, (char *[]){plain}, 1);
	end_programs();
	assert_null(strstr(failure, "character"));
}

static void failure_going_down_is_passed_over(void **state)
{
	char one[] = "one", two[] = "two";

	(void)state;
	bed.fails = "one";
	bed.failure = 1;
	for (enum hook_kind kind = HOOK_PRE_DOWN; kind <= HOOK_POST_DOWN; kind++) {
		start(kind, (char *[]){one, two}, 2);
		end_programs();
		assert_log("one two");
		assert_string_equal(failure, "");
	}
	assert_int_equal(calls, 2);
}

static void after_a_stop_nothing_follows(void **state)
{
	char one[] = "one", two[] = "two";

	(void)state;
	start(HOOK_PRE_UP, (char *[]){one, two}, 2);
	hooks_stop(&hooks);
	hooks_stop(&hooks);
	assert_log("one killed-one");
	assert_int_equal(calls, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(without_lines_it_is_over_at_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(lines_run_in_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(device_stands_in_for_percent_i, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failure_going_up_is_the_end, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failure_names_a_character_that_is_not_ascii, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failure_going_down_is_passed_over, set_up, tear_down),
		cmocka_unit_test_setup_teardown(after_a_stop_nothing_follows, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
