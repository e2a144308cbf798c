/* Undo a list, from the newest entry to the oldest, beside the loop.
 *
 * An entry that cannot be undone is logged and set aside, and the rest is undone all the same. Embedded in its owner.
 */
#pragma once

#include "common/host/undo.h"
#include "common/net/command.h"

#include <uv.h>

struct unwind {
	uv_loop_t *loop;
	struct undo *undo;
	struct command *command; /* the program that runs; NULL: none */
	size_t at;		 /* the entry that the command undoes */
	unsigned undone, failed;
	void (*on_done)(void *owner); /* may come before unwind_start() returns; read ->undone and ->failed */
	void *owner;
};

void unwind_start(struct unwind *unwind, uv_loop_t *loop, struct undo *undo, void (*on_done)(void *owner), void *owner);

/* Stop where it is. on_done does not come any more; entries that are left stay in the list. */
void unwind_stop(struct unwind *unwind);
