/* Small text files, whole. */
#pragma once

#include "common/base/err.h"

#include <stddef.h>

/* Read a regular file of 1 to @max bytes without a NUL. Return: 0 (free *ret_text; secret_free() where it is one), or a
 * negative errno. */
int file_read_text(const char *path, size_t max, char **ret_text, struct err *err);

/* Write a file (0600) whole or not at all: beside it first, then in its place, on disk before this returns. @folder:
 * where it is. Return: 0 or a negative errno. */
int file_write_text(const char *folder, const char *path, const char *text, struct err *err);
