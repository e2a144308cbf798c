/* `up`: the supervisor in the background. The process that was typed waits until traffic can flow or it cannot.
 *
 *     up ──fork──▶ supervisor, in a session of its own: its standard output is the log, its standard error a pipe to
 *                  us, which we pass on to the terminal and to the log; when traffic flows, the log replaces the pipe,
 *                  see notify_flowing() and CHANNEL_LOG
 *
 * The log: the journal if there is one, else RUNTIME_DIR/NAME.log. The supervisor stays in the folder where `up` was
 * typed, as ssh -f does: the configuration may name files relative to it.
 */
#pragma once

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

/* Return: in the child, which becomes the supervisor: a descriptor for supervisor_options.up_fd. In the parent: does
 * not return, but exits with 0, 1 or the supervisor's own exit code; at the time limit or SIGINT after stopping it,
 * with nothing left behind. -errno with @err set: it could not be started. */
int up_fork(const struct up_setup *setup, struct err *err);
