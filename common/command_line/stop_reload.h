/* `down` and `reload`: both ask the running tunnel by its control socket. `down` also cleans up after a crash. */
#pragma once

#include "common/command_line/options.h"

/* Stop it (through systemctl where its unit runs it), wait until it is gone, undo what a crash left. @role: "client",
 * @section: "Client". Return: exit code: 0, 1, 4 where there is no such tunnel. */
int down_run(const struct options *options, const char *role, const char *section);

/* Return: exit code: 0, 1 where the file is refused or it does not run, 4 where there is no such tunnel. Keys that
 * need a restart are logged. */
int reload_run(const struct options *options, const char *role, const char *section);
