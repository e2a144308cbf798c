/* Short texts: whether two are the same, a list of words for a log line, numbers. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* NULL is the same as NULL only. */
bool text_is_same(const char *a, const char *b);

/* "Listen" → "Listen, FwMark". A word that does not fit whole is left out. */
void text_append_word(char *list, size_t size, const char *word);

/* Digits of @base (10 or 16) and nothing else, no sign and no blank. Return: 0; -EINVAL, also over @max. */
int text_parse_number(const char *text, unsigned base, uint64_t max, uint64_t *ret);

#define TEXT_FOREIGN_MAX 80

/* Bytes of the UTF-8 sequence that begins at @text, 0 where there is none (RFC 3629; surrogates are refused). */
size_t text_utf8_len(const char *text);

/* For a complaint about a text that should be ASCII: "character 9 is U+00A0, a no-break space: type it anew", about the
 * first one that is not. Return: @buf, "" where there is none. */
const char *text_name_foreign(char buf[TEXT_FOREIGN_MAX], const char *text);

/* Does @text consist of letters, digits and characters of @more? "" does. ASCII, whatever the locale is. */
bool text_is_made_of(const char *text, size_t len, const char *more);

/* The same for a word of a command line: "" is none, and a dash in front would make it an option. */
bool text_is_argument(const char *text, const char *more);
