/* `towpath-server init`: the file of a new hub, with keys and networks of its own. */
#pragma once

#include "common/command_line/options.h"

/* Return: the exit code. On failure no file is left behind. */
int server_init(const struct options *options);
