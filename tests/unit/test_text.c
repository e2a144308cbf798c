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

/* Each kind of character that a copy from a web page or a letter brings in. */
static void a_character_that_is_not_ascii_is_named(void **state)
{
	static const char *const cases[][2] = {
		{"", ""},
		{"plain ~ text\t", ""},
		{"10.0.0.1/24\u00a0", "character 12 is U+00A0, a no-break space: type it anew"},
		{"\u202fx", "character 1 is U+202F, a no-break space: type it anew"},
		{"a\u2009b", "character 2 is U+2009, a typographic space: type it anew"},
		{"\u201cx\u201d", "character 1 is U+201C, a typographic quotation mark: type it anew"},
		{"x\u2019s", "character 2 is U+2019, a typographic quotation mark: type it anew"},
		{"\u00abx", "character 1 is U+00AB, a typographic quotation mark: type it anew"},
		{"10\u201320", "character 3 is U+2013, a typographic dash: type it anew"},
		{"a\u2011b", "character 2 is U+2011, a typographic dash: type it anew"},
		{"\u22121", "character 1 is U+2212, a minus sign: type it anew"},
		{"a\u200bb", "character 2 is U+200B, an invisible character: type it anew"},
		{"a\u00adb", "character 2 is U+00AD, a soft hyphen: type it anew"},
		{"1.2.3\u2026", "character 6 is U+2026, typographic dots: type it anew"},
		{"\ufeffx", "character 1 is U+FEFF, a byte order mark: type it anew"},
		{"a\uff1d1", "character 2 is U+FF1D, a wide character: type it anew"},
		{"b\u00fcro", "character 2 is U+00FC, '\u00fc'"},
		{"\u0430.example", "character 1 is U+0430, '\u0430'"},
		{"x\U0001f600", "character 2 is U+1F600, '\U0001f600'"},
		{"a\xa0""b", "character 2 is the byte 0xa0, which is not UTF-8"},
		{"\xe2\x80", "character 1 is the byte 0xe2, which is not UTF-8"},
	};
	char said[TEXT_FOREIGN_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		assert_string_equal(text_name_foreign(said, cases[i][0]), cases[i][1]);
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
		cmocka_unit_test(a_character_that_is_not_ascii_is_named),
		cmocka_unit_test(an_array_grows),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
