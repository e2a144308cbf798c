/* PreUp, PostUp, PreDown, PostDown: lines of shell, one after the other, beside the loop.
 *
 * They run as under wg-quick: by bash, %i is the device, and a line ends at its first command that fails. A hook ends
 * when its shell ends. The output of hooks, and of programs that they left in the background, goes to the log. Embedded
 * in its owner.
 */
#pragma once

#include "common/net/command.h"
#include "common/wireguard/wg_config.h"

#include <stddef.h>
#include <uv.h>

enum hook_kind { HOOK_PRE_UP, HOOK_POST_UP, HOOK_PRE_DOWN, HOOK_POST_DOWN }; /* as in wg_config_interface.hooks */

struct hooks {
	uv_loop_t *loop;
	enum hook_kind kind;
	const char *device;
	char *const *lines;
	const unsigned *file_lines;
	size_t count, next;
	unsigned failed_line;	     /* in the file, of the last one that failed */
	struct command *command;     /* the hook that runs; NULL: none */
	struct command_tails *tails; /* output of programs left in the background; outlives these hooks */
	/* @failure: NULL, or the words of the first PreUp or PostUp that failed. PreDown and PostDown never fail. */
	void (*on_done)(void *owner, const char *failure);
	void *owner;
};

/* Borrows @hooks' lines until on_done, which may come before this returns. */
void hooks_start(struct hooks *hooks);
/* Kill the hook that runs, which counts as its failure. */
void hooks_kill(struct hooks *hooks);
/* Kill the hook that runs; on_done does not come any more. */
void hooks_stop(struct hooks *hooks);

/* One PreDown or PostDown in its order, for a list after a crash: "hub.conf:9: PreDown = …". @path: of their file. @at:
 * 0, 1, … Return: false past the last one. */
bool hooks_format_missed(
	const struct wg_config_interface *interface, const char *path, size_t at, char *buf, size_t size);
