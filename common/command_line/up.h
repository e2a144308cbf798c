/* `up`: the supervisor in the background. The one who typed it waits here until traffic can flow or it cannot.
 *
 *     up ──fork──▶ supervisor, a session of its own: its standard output is the log, its standard error a pipe to us, which we pass
 *                  on to the terminal and to the log; when traffic flows, the log takes the pipe's place (CHANNEL_LOG for the worker)
 *
 * The log: the journal where there is one, else RUNTIME_DIR/NAME.log. The supervisor stays in the folder `up` was typed in, as
 * ssh -f does: the configuration may name files from there.
 */
#ifndef TOWPATH_COMMAND_LINE_UP_H
#define TOWPATH_COMMAND_LINE_UP_H

#include "common/base/err.h"
#include "common/command_line/tunnel_ref.h"

#include <stdint.h>

struct up_setup {
	const char *program; /* "towpath-client" */
	const struct tunnel_ref *tunnel;
	const char *runtime_dir;
	const char *state_dir;
	uint64_t timeout_ms;
};

/* Return: in the supervisor to be: a descriptor for supervise_setup.up_fd; in the one who waits: does not return, exits with
 * 0, 1 or the supervisor's own exit code, at the time limit or SIGINT after stopping it, with nothing left behind.
 * -errno with @err set: it could not be started. */
int up_fork(const struct up_setup *setup, struct err *err);

#endif
