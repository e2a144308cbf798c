/* The mark of the link's sockets, also of those that were handed down long ago: a full tunnel may come up later, beside us.
 *
 * The supervisor keeps a duplicate of each link socket and sets SO_MARK on it when the mark changes. A duplicate is closed
 * when its connection is over, about a second later, or when the worker is gone. As long as it is open, the worker's close()
 * alone ends no connection.
 */
#ifndef TOWPATH_CLIENT_LINK_MARKS_H
#define TOWPATH_CLIENT_LINK_MARKS_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct mark_duplicate;

struct link_marks {
	uint32_t mark; /* 0: none */
	bool keeps;    /* the mark may change: duplicates are needed */
	bool is_refusal_told;
	uv_timer_t *sweep; /* NULL: nothing kept yet */
	struct mark_duplicate *duplicates;
};

/* Mark a new socket of any type. A connection's is kept in mind (@loop: for looking whether it is over). */
void link_marks_put(struct link_marks *marks, uv_loop_t *loop, int fd);

/* The mark is another one: of what is open too. Return: whether it is. */
bool link_marks_change(struct link_marks *marks, uint32_t mark);

/* The worker is gone, and its connections with it. */
void link_marks_forget(struct link_marks *marks);

/* Forget, and let go of the loop. Once more is fine. */
void link_marks_close(struct link_marks *marks);

#endif
