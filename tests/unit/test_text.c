/* Short texts. */
#include "common/base/array.h"
#include "common/base/text.h"

#include <errno.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void nothing_is_the_same_as_nothing_only(void **state)
{
	(void)state;
	assert_true(text_is_same("a", "a") && text_is_same(NULL, NULL));
	assert_false(text_is_same("a", "b") || text_is_same("", NULL) || text_is_same(NULL, "a"));
}

static void a_word_is_whole_or_left_out(void **state)
{
	char list[16] = "";

	(void)state;
	text_append_word(list, sizeof(list), "Listen");
	text_append_word(list, sizeof(list), "FwMarks!");
	assert_string_equal(list, "Listen");
	text_append_word(list, sizeof(list), "FwMarks");
	assert_string_equal(list, "Listen, FwMarks");
}

/* A number is digits, up to the limit; no sign, no blank, no overflow. */
static void a_number_is_digits_only(void **state)
{
	static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "0x1", "a", "256", "18446744073709551616"};
	uint64_t number = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
		assert_int_equal(text_parse_number(bad[i], 10, 255, &number), -EINVAL);
	assert_int_equal(text_parse_number("18446744073709551616", 10, UINT64_MAX, &number), -EINVAL);
	assert_int_equal(number, 7);
	assert_int_equal(text_parse_number("0255", 10, 255, &number), 0);
	assert_int_equal(number, 255);
	assert_int_equal(text_parse_number("Ff", 16, 255, &number), 0);
	assert_int_equal(number, 255);
}

/* Elements keep their values while the array moves; a new one is zeroed, also where another has been taken off. */
static void an_array_grows(void **state)
{
	unsigned *array = NULL;
	size_t count = 0;

	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		unsigned *element = array_append(&array, &count, sizeof(*array));

		assert_non_null(element);
		assert_int_equal(*element, 0);
		*element = i;
	}
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(array[i], i);
	count--;
	assert_int_equal(*(unsigned *)array_append(&array, &count, sizeof(*array)), 0);
	free(array);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_the_same_as_nothing_only),
		cmocka_unit_test(a_word_is_whole_or_left_out),
		cmocka_unit_test(a_number_is_digits_only),
		cmocka_unit_test(an_array_grows),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
