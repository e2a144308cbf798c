/* Short texts: whether two are the same, and a list of words for a log line. */
#ifndef TOWPATH_BASE_TEXT_H
#define TOWPATH_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* NULL is the same as NULL only. */
bool text_is_same(const char *a, const char *b);

/* "Listen" → "Listen, FwMark". A word that does not fit whole is left out. */
void text_append_word(char *list, size_t size, const char *word);

#endif
