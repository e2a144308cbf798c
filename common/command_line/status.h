/* `status`: asks running tunnels over their control sockets and shows what they say.
 *
 * The JSON is stable for scripts: name, role, state, since, pid of the supervisor, and server and link, or sessions,
 * and datagrams, bytes, queue, dropped of the worker. A tunnel that does not run is shown with the state "stopped".
 */
#pragma once

#include "common/command_line/options.h"

/* @role: "client"; @section: of a file that is such a tunnel's, "Client". Return: the exit code. */
int status_show(const struct options *options, const char *role, const char *section);
