/* Status requests on their way through the worker: a memory file goes down, comes back filled, and is merged with what
 * the supervisor knows. A worker that does not answer within SUPERVISE_STATUS_PATIENCE_MS is left out of the answer.
 */
#pragma once

#include "common/process/channel.h"

#include <jansson.h>
#include <uv.h>

#define SUPERVISE_STATUS_PATIENCE_MS 1500
#define SUPERVISE_STATUS_MAX (64u << 20) /* bytes of a worker's JSON */

struct status_asks;

struct status_handlers {
	/* A new object with what the supervisor knows; its fields win over the worker's. */
	json_t *(*describe)(void *owner);
	/* Called once for each status_asks_add(), also from inside it. @asker: as given there; @object, borrowed, may
	 * be NULL without memory; @text: the same as a line of JSON. */
	void (*on_answer)(void *owner, void *asker, const json_t *object, const char *text, size_t len);
};

int status_asks_open(struct status_asks **ret, uv_loop_t *loop, const struct status_handlers *handlers, void *owner);

/* Ask the worker on @channel. NULL: none runs, answered at once without it. */
void status_asks_add(struct status_asks *asks, struct channel *channel, void *asker);

/* CHANNEL_STATUS_DONE came with @ticket. A ticket that is not known is ignored. */
void status_asks_done(struct status_asks *asks, uint64_t ticket);

/* The worker is gone: answer all without it. */
void status_asks_abandon(struct status_asks *asks);

/* Forget all without an answer; memory goes when the loop has let go of the timer. */
void status_asks_close(struct status_asks *asks);
