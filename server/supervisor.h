/* The hub's supervisor: configuration, listeners, flow sockets, the worker's life. Reads nothing from the network. */
#pragma once

#include "common/process/supervise.h"
#include "server/config.h"

/* Run until SIGTERM or SIGINT (exit 0), or until it cannot go on (1). Return: the exit code. */
int server_supervisor_run(const struct server_config *config, const struct supervisor_options *options);
