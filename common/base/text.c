/* See text.h. Nothing here allocates, and nothing fails but the parsing of a number.
 *
 * The ctype functions depend on the locale, which neither program ever sets: they are those of the C locale, ASCII
 * only.
 */
#include "common/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

bool text_is_same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

void text_append_word(char *list, size_t size, const char *word)
{
	const char *between = list[0] ? ", " : "";
	size_t len = strlen(list);

	if (len + strlen(between) + strlen(word) < size)
		snprintf(list + len, size - len, "%s%s", between, word);
}

/* strtoull() takes signs, blanks and a prefix, and leaves finding an overflow to errno. */
int text_parse_number(const char *text, unsigned base, uint64_t max, uint64_t *ret)
{
	uint64_t number = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text; text++) {
		int c = tolower((unsigned char)*text);
		unsigned digit = isdigit(c)		? (unsigned)(c - '0')
				 : c >= 'a' && c <= 'f' ? (unsigned)(c - 'a' + 10)
							: base;

		if (digit >= base || __builtin_mul_overflow(number, base, &number) ||
			__builtin_add_overflow(number, digit, &number) || number > max)
			return -EINVAL;
	}
	*ret = number;
	return 0;
}

bool text_is_made_of(const char *text, size_t len, const char *more)
{
	for (size_t i = 0; i < len; i++)
		if (text[i] == '\0' || (!isalnum((unsigned char)text[i]) && !strchr(more, text[i])))
			return false;
	return true;
}

bool text_is_argument(const char *text, const char *more)
{
	return *text != '\0' && *text != '-' && text_is_made_of(text, strlen(text), more);
}
