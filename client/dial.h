/* From addresses to one connected TCP socket: a race with a head start (RFC 8305). The sockets come from the
 * supervisor, already marked and tuned; this side connects them. */
#pragma once

#include "common/base/addr.h"

#include <stddef.h>
#include <uv.h>

#define DIAL_ADDRESSES_MAX 16u
#define DIAL_HEAD_START_MS 250u /* RFC 8305 §8: Connection Attempt Delay */
#define DIAL_TRIES_MAX 32u	/* at the same time */
#define DIAL_TIMEOUT_MS 10000u	/* for all of them together */

struct dial;
struct socket_source;

struct dial_handlers {
	void (*on_connected)(void *owner, int fd, const struct addr *addr); /* @fd is the owner's from now on */
	/* No address could be reached. @addr and @reason: of the try that failed last. */
	void (*on_failed)(void *owner, const struct addr *addr, const char *reason);
};

/* Race @count addresses (copied). One of the handlers is called, once, from the loop. Return: NULL without memory. */
struct dial *dial_open(uv_loop_t *loop, struct socket_source *sockets, const struct addr *addresses, size_t count,
	const struct dial_handlers *handlers, void *owner);

/* Calls no handler any more; the memory goes when the loop has run on. Also needed after a handler; NULL is fine. */
void dial_close(struct dial *dial);

/* The network has changed: start every address anew, beside the tries under way, whose first packets may be lost. Does
 * nothing within a head start of the last time. */
void dial_again(struct dial *dial);
