/* A program run beside the loop: nft, resolvconf, a hook. The loop never waits for it.
 *
 * Its standard input is the text given, then the end. Standard output and error come back together as text, and line by
 * line where asked. Its environment is ours without NOTIFY_SOCKET, WATCHDOG_*, JOURNAL_STREAM and TOWPATH_* (secrets);
 * /usr/sbin:/usr/bin:/sbin:/bin are appended to PATH. It has a process group of its own and ends when we die (by
 * setpriv --pdeathsig, where that is installed). A program that it leaves in the background lives on and holds nothing
 * up. Its lines are read as long as there are tails for it (struct command_tails); without, its next write ends it by
 * SIGPIPE.
 */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define COMMAND_OUTPUT_MAX (8u << 20) /* bytes kept; more is read and forgotten */
#define COMMAND_WHY_MAX 640	      /* of command_why(): room for a file's name and line beside it in a struct err */

struct command;

/* Commands that have ended, but left a program in the background that may still write. Zero-initialised, embedded in
 * the object that reads the lines; outlives every command that was started with it. */
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
	void *line_owner;	     /* for on_line; NULL: @owner. With tails it lives as long as they do */
	struct command_tails *tails; /* NULL: the output of background programs is not read */
	/* @status: exit code; 128 + signal; -ETIMEDOUT.
	 * @output: its whole output, terminated. The command is gone after this. */
	void (*on_exit)(void *owner, int status, const char *output);
	void *owner;
};

/* Return: 0 (on_exit comes later, always from the loop), -ENOENT (no such program), or another negative errno. */
int command_start(struct command **ret, uv_loop_t *loop, const struct command_setup *setup, struct err *err);

/* Kill its group, as long as it has not ended itself; on_exit still comes. */
void command_kill(struct command *command);

/* Forget it: killed, and on_exit does not come any more. Memory goes when the loop has let go. */
void command_close(struct command *command);

/* Read no more lines; memory goes when the loop has let go. */
void command_tails_close(struct command_tails *tails);

/* The reason of its failure in one line: its whole output, escaped, "; " between the lines; or how it ended. Text over
 * COMMAND_WHY_MAX is cut, and ends in "…". Return: @buf. */
const char *command_why(char *buf, size_t size, int status, const char *output);

/* True if there is such a program. */
bool command_exists(const char *program);
