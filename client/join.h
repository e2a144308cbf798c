/* `towpath-client join`: from an invitation to a tunnel that is up. */
#pragma once

#include "common/command_line/options.h"

/* Return: the exit code. On failure nothing is left behind. */
int client_join(const struct options *options);
