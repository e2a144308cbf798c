/* PreUp, PostUp, PreDown, PostDown: lines of shell, one after the other, beside the loop.
 *
 * As wg-quick runs them: by bash, %i is the device, a line ends at its first command that fails. It is over when its shell
 * has ended. What they say goes to the log, also what somebody says whom they left in the background. Embedded in its owner.
 */
#ifndef TOWPATH_HOST_HOOK_H
#define TOWPATH_HOST_HOOK_H

#include "common/net/command.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

enum hook_kind { HOOK_PRE_UP, HOOK_POST_UP, HOOK_PRE_DOWN, HOOK_POST_DOWN }; /* as in wg_config_interface.hooks */

struct hooks {
	uv_loop_t *loop;
	enum hook_kind kind;
	const char *device;
	char *const *lines;
	size_t count, next;
	struct command *command;     /* NULL: none runs */
	struct command_tails *tails; /* for who is left in the background; outlives these hooks */
	/* @failure: NULL, or what the first that failed of PreUp and PostUp said. PreDown and PostDown go on. */
	void (*on_done)(void *owner, const char *failure);
	void *owner;
};

/* Borrows @hooks' lines until on_done, which may come before this returns. */
void hooks_start(struct hooks *hooks);
/* The one that runs fails; the rest as ever. */
void hooks_kill(struct hooks *hooks);
/* on_done does not come any more. */
void hooks_stop(struct hooks *hooks);

#endif
