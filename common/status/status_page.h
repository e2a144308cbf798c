/* The status page in the worker: answers HTTP at the socket that the supervisor made, with texts that the supervisor
 * makes when they are asked for. Theory of operation: status_page.c; README.md of this folder says why it is so.
 *
 * Bounded: 32 connections, a head of 16 KB, one request a connection, seconds for each step. A text is kept for a
 * second and is the same for all who ask meanwhile. Nothing here is called by the datagram path, nor calls into it.
 */
#pragma once

#include "common/status/status_http.h"

#include <uv.h>

struct status_page;

struct status_page_handlers {
	/* Ask the supervisor for this text; status_page_take() brings it. Not asked again before that, or before some
	 * seconds have passed. */
	void (*on_wanted)(void *owner, enum status_text text);
};

/* Without a socket yet. Return: 0 or -ENOMEM. */
int status_page_open(
	struct status_page **ret, uv_loop_t *loop, const struct status_page_handlers *handlers, void *owner);

/* Answer at @fd (owned), a listening socket at @own, from now on, and no more at the one before. -1: at none. */
void status_page_listen(struct status_page *page, int fd, const struct addr *own);

/* The text that was asked for. Owns @fd, a memory file that does not change any more. */
void status_page_take(struct status_page *page, enum status_text text, int fd);

/* Twice a second: ends connections that have taken too long. */
void status_page_tick(struct status_page *page, uint64_t now_us);

/* Ends all connections; memory goes when the loop has let go of the handles. NULL is fine. */
void status_page_close(struct status_page *page);
