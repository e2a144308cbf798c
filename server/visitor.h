/* A connection as long as it is no tunnel. Every request head on it is read here. A head that asks for the tunnel is
 * shown to the owner; every other request goes to the web site, and its answer comes back.
 *
 * The visitor knows no sockets on the outer side: the owner (session.c) has the TLS stream, feeds what it reads and
 * writes what it is given. The web site is connected to only while there are requests for it: a tunnel needs none of
 * its places, nor does a visitor who keeps the connection open for later.
 *
 * One request at a time goes to the web site: the head behind it is looked at only when its answer has been taken
 * whole. So an upgrade that comes behind a page, or after a refused one, is asked about in its turn, with nothing
 * outstanding.
 *
 * Bytes are never taken beyond the head that is being read: those behind an accepted upgrade are still the owner's.
 *
 * Inside every callback visitor_close() may be called; visitor_feed() and visitor_output_drained() may not, except in
 * on_room. Callbacks come from the loop and from inside visitor_feed(), visitor_feed_end() and
 * visitor_output_drained().
 */
#pragma once

#include "common/tunnel/http_head.h"
#include "common/tunnel/upgrade.h"
#include "server/website.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define VISITOR_OUTPUT_MAX 16384	    /* bytes in one on_output */
#define VISITOR_IDLE_TIMEOUT_MS (60 * 1000) /* as nginx: a head must be whole, and an exchange move on, within it */

struct visitor;

struct visitor_callbacks {
	/* Bytes for the peer, borrowed, at most VISITOR_OUTPUT_MAX. Return: true: all taken; false: none, they are
	 * offered again at visitor_output_drained(). */
	bool (*on_output)(void *owner, const uint8_t *data, size_t len);

	/* A request with the form of a tunnel's upgrade (upgrade_read_request()), or one that has lost it on the way
	 * (upgrade_read_lost()); all answers before it have been taken. @head and @request are borrowed. Return: true:
	 * the owner takes the connection over, the visitor calls nothing any more and is to be closed (also within the
	 * callback); false: the web site answers. */
	bool (*on_upgrade)(void *owner, const struct http_head *head, const struct upgrade_request *request);

	/* visitor_feed() took less than it was offered and would take more now. */
	void (*on_room)(void *owner);

	/* The connection is over (error answer, `Connection: close`, idle for too long …) and all output has been
	 * taken: flush, close the stream, visitor_close(). The last call. */
	void (*on_end)(void *owner);
};

struct visitor_setup {
	uv_loop_t *loop;
	struct website *website; /* borrowed, must outlive the visitor */
	const struct visitor_callbacks *callbacks;
	void *owner;
	uint64_t idle_timeout_ms; /* 0: VISITOR_IDLE_TIMEOUT_MS; runs from visitor_open() on */
};

/* Return: 0 or a negative errno. */
int visitor_open(struct visitor **ret, const struct visitor_setup *setup);

/**
 * visitor_feed() - Bytes from the peer
 *
 * Takes what it can, in order. Less than @len means: keep the rest and offer it again at on_room; or, after an accepted
 * upgrade, that the rest belongs to the owner. After on_end everything is taken and dropped.
 *
 * Return: bytes taken, 0..len.
 */
size_t visitor_feed(struct visitor *visitor, const uint8_t *data, size_t len);

/* The peer sends nothing more: the answer in progress is completed, then on_end. */
void visitor_feed_end(struct visitor *visitor);

/* The owner takes output again after an on_output that returned false. */
void visitor_output_drained(struct visitor *visitor);

/* Calls nothing any more; the memory goes when the loop has run on. NULL is fine. */
void visitor_close(struct visitor *visitor);
