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

/* The first byte tells the length: below 0x80 one, from 0xc2 two, from 0xe0 three, from 0xf0 four. 0xc0 and 0xc1
 * would only spell ASCII in two bytes. By the second byte, spellings of three and four bytes that are longer than
 * needed (0xe0, 0xf0), surrogates (0xed) and numbers above U+10FFFF (0xf4) are refused. */
size_t text_utf8_len(const char *text)
{
	const unsigned char *at = (const unsigned char *)text;
	size_t len = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < len; i++)
		if ((at[i] & 0xc0) != 0x80)
			return 0;
	if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
		(at[0] == 0xf4 && at[1] > 0x8f))
		return 0;
	return len;
}

/* Characters that word processors, messengers and web pages put in the place of ASCII's, or between them. */
static const struct {
	uint32_t first, last;
	const char *name;
} lookalikes[] = {
	{0xa0, 0xa0, "a no-break space"},
	{0xab, 0xab, "a typographic quotation mark"},
	{0xad, 0xad, "a soft hyphen"},
	{0xb4, 0xb4, "an accent"},
	{0xbb, 0xbb, "a typographic quotation mark"},
	{0x2000, 0x200a, "a typographic space"},
	{0x200b, 0x200f, "an invisible character"},
	{0x2010, 0x2015, "a typographic dash"},
	{0x2018, 0x201f, "a typographic quotation mark"},
	{0x2024, 0x2026, "typographic dots"},
	{0x2028, 0x202e, "an invisible character"},
	{0x202f, 0x202f, "a no-break space"},
	{0x2039, 0x203a, "a typographic quotation mark"},
	{0x205f, 0x205f, "a typographic space"},
	{0x2060, 0x206f, "an invisible character"},
	{0x2212, 0x2212, "a minus sign"},
	{0x3000, 0x3000, "a wide space"},
	{0xfeff, 0xfeff, "a byte order mark"},
	{0xff01, 0xff5e, "a wide character"},
};

/* @number: of the character, from 1. @len: of its UTF-8 sequence: the first byte has the low 7 - @len bits of the
 * code point, each byte behind it six; 0: it is no UTF-8, and only the byte is told. */
static void format_foreign(char buf[TEXT_FOREIGN_MAX], unsigned number, const char *at, size_t len)
{
	uint32_t code = (unsigned char)*at & (0xffu >> (len + 1));
	size_t i = 0;

	for (size_t byte = 1; byte < len; byte++)
		code = code << 6 | ((unsigned char)at[byte] & 0x3f);
	while (i < sizeof(lookalikes) / sizeof(*lookalikes) &&
		(code < lookalikes[i].first || code > lookalikes[i].last))
		i++;
	if (len == 0)
		snprintf(buf, TEXT_FOREIGN_MAX, "character %u is the byte 0x%02x, which is not UTF-8", number,
			(unsigned char)*at);
	else if (i < sizeof(lookalikes) / sizeof(*lookalikes))
		snprintf(buf, TEXT_FOREIGN_MAX, "character %u is U+%04X, %s: type it anew", number, code,
			lookalikes[i].name);
	else
		snprintf(buf, TEXT_FOREIGN_MAX, "character %u is U+%04X, '%.*s'", number, code, (int)len, at);
}

const char *text_name_foreign(char buf[TEXT_FOREIGN_MAX], const char *text)
{
	unsigned number = 1;

	while ((signed char)*text > 0) {
		text++;
		number++;
	}
	buf[0] = '\0';
	if (*text)
		format_foreign(buf, number, text, text_utf8_len(text));
	return buf;
}
