/* `towpath-server add`, `list`, `revoke`: a hub's clients without writing keys. */
#pragma once

#include "common/command_line/options.h"

/* Each returns the exit code. */
int server_add(const struct options *options);
int server_list(const struct options *options);
int server_revoke(const struct options *options);
