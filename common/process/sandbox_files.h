/* Landlock: which files a worker may still read. Used by sandbox.c only. */
#pragma once

#include <stddef.h>

/* Return: the version of Landlock that we may use, or a negative errno (-ENOSYS, -EOPNOTSUPP: this kernel has none). */
long sandbox_files_version(void);

/* Deny every file but the @count files of @readable and those below its folders, which may be read; what does not exist
 * is passed over. @deny_tcp: also bind() and connect() of TCP, where the kernel knows it. Needs no_new_privs.
 * Return: 0, or a negative errno, as above. */
int sandbox_files_restrict(const char *const *readable, size_t count, int deny_tcp);
