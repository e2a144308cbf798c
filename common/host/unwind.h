/* Undo what a list holds, from the newest entry to the oldest, beside the loop.
 *
 * What cannot be undone is said and set aside, and the rest goes on: it ends in any case. Embedded in its owner.
 */
#ifndef TOWPATH_HOST_UNWIND_H
#define TOWPATH_HOST_UNWIND_H

#include "common/host/undo.h"
#include "common/net/command.h"

#include <stdbool.h>
#include <uv.h>

struct unwind {
	uv_loop_t *loop;
	struct undo *undo;
	struct command *command; /* NULL: none runs */
	size_t at;		 /* the entry that the command undoes */
	unsigned undone, failed;
	void (*on_done)(void *owner); /* may come before unwind_start() returns; read ->undone and ->failed */
	void *owner;
};

void unwind_start(struct unwind *unwind, uv_loop_t *loop, struct undo *undo, void (*on_done)(void *owner), void *owner);

/* Leave it at what has been undone; on_done does not come any more. */
void unwind_stop(struct unwind *unwind);

#endif
