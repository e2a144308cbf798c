/* A program run beside the loop: nft, resolvconf, a hook. The loop never waits for it.
 *
 * Its standard input is the text given (then the end), standard output and error come back as text, together, and line by
 * line where asked. Its environment is ours without NOTIFY_SOCKET, WATCHDOG_*, JOURNAL_STREAM and TOWPATH_* (secrets), its PATH
 * goes on with /usr/sbin:/usr/bin:/sbin:/bin. It gets a process group of its own and ends when we die (setpriv --pdeathsig,
 * where there is one). What it leaves in the background lives on when it has ended, and holds nothing up. Its lines are
 * heard as long as there are tails for it (struct command_tails); else writing to the pipe ends it by SIGPIPE.
 */
#ifndef TOWPATH_NET_COMMAND_H
#define TOWPATH_NET_COMMAND_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define COMMAND_OUTPUT_MAX (8u << 20) /* bytes kept; more is read and forgotten */

struct command;

/* Commands that have ended and left somebody in the background who may still say something. Zero-initialised, embedded in who
 * hears it; outlives each command that was started with it. */
struct command_tails {
	struct command *first;
};

struct command_setup {
	/* NULL-terminated; argv[0] is looked for in PATH, and in /usr/sbin:/usr/bin:/sbin:/bin; copied. */
	const char *const *argv;
	const char *input; /* NULL: empty; copied */
	size_t input_len;
	uint64_t timeout_ms; /* then its group is killed; 0: none */
	/* NULL: not wanted; empty ones are passed over, long ones come in pieces. */
	void (*on_line)(void *owner, const char *line);
	void *line_owner;	     /* on_line's; NULL: @owner. Lives as long as the tails, where there are any */
	struct command_tails *tails; /* NULL: nobody hears what is left in the background */
	/* @status: exit code; 128 + signal; -ETIMEDOUT.
	 * @output: all it said, terminated. The command is gone after this. */
	void (*on_exit)(void *owner, int status, const char *output);
	void *owner;
};

/* Return: 0 (on_exit comes later, always from the loop), -ENOENT (no such program), or another negative errno. */
int command_start(struct command **ret, uv_loop_t *loop, const struct command_setup *setup, struct err *err);

/* Kill its group, as long as it has not ended itself; on_exit still comes. */
void command_kill(struct command *command);

/* Forget it: killed, and on_exit does not come any more. Memory goes when the loop has let go. */
void command_close(struct command *command);

/* Hear nobody any more; memory goes when the loop has let go. */
void command_tails_close(struct command_tails *tails);

/* Why it failed, in one line: the first that it said, or what became of it. Return: @buf. */
const char *command_why(char *buf, size_t size, int status, const char *output);

/* Is there such a program? */
bool command_exists(const char *program);

#endif
