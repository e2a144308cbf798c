/* Short texts. */
#include "common/base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void test_nothing_is_the_same_as_nothing_only(void **state)
{
	(void)state;
	assert_true(text_is_same("a", "a") && text_is_same(NULL, NULL));
	assert_false(text_is_same("a", "b") || text_is_same("", NULL) || text_is_same(NULL, "a"));
}

static void test_a_word_is_whole_or_left_out(void **state)
{
	char list[16] = "";

	(void)state;
	text_append_word(list, sizeof(list), "Listen");
	text_append_word(list, sizeof(list), "FwMarks!");
	assert_string_equal(list, "Listen");
	text_append_word(list, sizeof(list), "FwMarks");
	assert_string_equal(list, "Listen, FwMarks");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing_is_the_same_as_nothing_only),
		cmocka_unit_test(test_a_word_is_whole_or_left_out),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
