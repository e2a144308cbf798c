/* Folders of ours: RUNTIME_DIR, STATE_DIR/NAME. */
#pragma once

#include "common/base/err.h"

/* Make @path and what lacks above it, mode 0755; an existing folder stays as it is. @option: of the command line, by which
 * the operator can name another place, "--state-dir". Return: 0, or a negative errno, also where the folder is there and
 * read-only. */
int folder_ensure(const char *path, const char *option, struct err *err);

/* The same for the folder that holds the file @path. */
int folder_ensure_parent(const char *path, const char *option, struct err *err);
