/* Folders of ours: RUNTIME_DIR, STATE_DIR/NAME. */
#pragma once

#include "common/base/err.h"

/* Make @path and what lacks above it, mode 0755; an existing folder stays as it is. Return: 0 or a negative errno. */
int folder_ensure(const char *path, struct err *err);

/* The same for the folder that holds the file @path. */
int folder_ensure_parent(const char *path, struct err *err);
