/* Small text files, whole. */
#pragma once

#include "common/base/err.h"

#include <stddef.h>
#include <sys/types.h>

/* Read a regular file of 1 to @max bytes without a NUL. Return: 0 (free *ret_text, a secret by secret_free()) or an
 * errno. */
int file_read_text(const char *path, size_t max, char **ret_text, struct err *err);

/* Write a file (0600) whole or not at all: beside it first, then in its place, on disk before this returns.
 * Return: 0 or a negative errno. */
int file_write_text(const char *path, const char *text, struct err *err);

/* The same with any bytes. */
int file_write(const char *path, const void *data, size_t len, struct err *err);

/* A text where no such file may be there yet: -EEXIST. */
int file_create_text(const char *path, const char *text, struct err *err);

/* Set @err to why writing to @path failed, and what helps. @rc: a negative errno; the file is as it was. Return: @rc. */
int file_explain(int rc, const char *path, struct err *err);

/* Read an open file from its beginning; the descriptor's offset, which another process may share, stays as it is.
 * Return: bytes read, fewer than @size where the file is shorter, or a negative errno. */
ssize_t file_read_all(int fd, char *buf, size_t size);
/* Return: 0 or a negative errno. */
int file_write_all(int fd, const char *text, size_t len);
