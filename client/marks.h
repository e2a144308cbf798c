/* The mark of the link's sockets, also of those that were handed down long ago: a full tunnel may come up later, beside us.
 *
 * The supervisor keeps a duplicate of each link socket and sets SO_MARK on it when the mark changes. A duplicate is closed
 * when its connection is over, about a second later, or when the worker is gone. As long as it is open, the worker's close()
 * alone ends no connection.
 */
#ifndef TOWPATH_CLIENT_MARKS_H
#define TOWPATH_CLIENT_MARKS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct mark_duplicate;

struct marks {
	uint32_t mark; /* 0: none */
	bool keeps;    /* the mark may change: duplicates are needed */
	bool is_refusal_told;
	uv_timer_t *sweep; /* NULL: nothing kept yet */
	struct mark_duplicate *duplicates;
};

/* Mark a new socket of any type. A connection's is kept in mind (@loop: for looking whether it is over). */
void marks_put(struct marks *marks, uv_loop_t *loop, int fd);

/* The mark is another one: of what is open too. Return: whether it is. */
bool marks_change(struct marks *marks, uint32_t mark);

/* The worker is gone, and its connections with it. */
void marks_forget(struct marks *marks);

/* Forget, and let go of the loop. Once more is fine. */
void marks_close(struct marks *marks);

#endif
