/* See text.h. */
#include "common/base/text.h"

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
