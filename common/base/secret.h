/* Secrets: read from files, compared in constant time, wiped after use. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* Overwrite memory in a way the compiler keeps. */
void secret_wipe(void *memory, size_t len);

/* Wipe and free a string; NULL is fine. */
void secret_free(char *text);

/* Compare @len bytes in constant time. */
bool secret_equal(const void *a, const void *b, size_t len);

/* The first line of a file without its end, at most @max bytes. Return: 0 (secret_free() it) or a negative errno. */
int secret_read_file(const char *path, size_t max, char **ret_text, struct err *err);
