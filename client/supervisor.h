/* The client's supervisor: configuration, local UDP port, link sockets, the worker's life. Reads nothing from the
 * network. */
#pragma once

#include "client/config.h"
#include "common/process/supervise.h"

/* Run until SIGTERM or SIGINT (exit 0), or until it cannot go on (1). Return: the exit code. */
int client_supervisor_run(const struct client_config *config, const struct supervisor_options *options);
