/* The hub's TCP listeners, made by the supervisor and handed to every worker. */
#pragma once

#include "common/base/err.h"
#include "server/config.h"

/* Listen as @listen says. @err: FILE:LINE, what is wrong and what helps. Return: descriptor, or a negative errno;
 * -EAFNOSUPPORT where this host does not have the address family. */
int listener_open(const struct server_config *config, const struct server_listen *listen, struct err *err);
