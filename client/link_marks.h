/* The mark of the sockets to the server, also of those that were handed to the worker long ago: another program's full
 * tunnel may come up later, and would swallow connections without its mark. Where it has none, and its routes would
 * swallow them all the same, they are bound to another device (way_past.h).
 *
 * The supervisor keeps a duplicate of each such socket and sets SO_MARK on it when the mark changes. A duplicate is
 * closed about a second after its connection is over, or when the worker is gone. While a duplicate is open, the
 * worker's close() alone ends no connection (socket_request.h).
 */
#pragma once

#include "common/base/addr.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct mark_duplicate;

struct link_marks {
	uint32_t mark; /* 0: none */
	char tunnel[IFNAMSIZ]; /* the device that the link must not go into; "": none */
	bool keeps; /* both may change, so duplicates are kept */
	bool is_refusal_told;
	uv_timer_t *sweep; /* NULL: nothing was kept yet */
	struct mark_duplicate *duplicates;
};

/* Set the mark on a new socket on its way to @to, and keep a duplicate of a TCP one. @loop: for the timer that finds
 * closed ones. */
void link_marks_put(struct link_marks *marks, uv_loop_t *loop, int fd, const struct addr *to);

/* Set @mark on new sockets and on those that are open, and bind them past @tunnel where the routes lead into it: to be
 * called whenever those may have changed. Return: true if the mark has changed. */
bool link_marks_change(struct link_marks *marks, uint32_t mark, const char *tunnel);

/* The worker is gone, and its connections with it. */
void link_marks_forget(struct link_marks *marks);

/* Forget all duplicates and close the timer. May be called again. */
void link_marks_close(struct link_marks *marks);
