/* The second connection of a link, on a line that loses segments.
 *
 * TCP delivers in order, so a lost segment holds everything behind it back, for a round trip at best. With a second
 * connection beside the first, what is urgent takes the one and bulk the other, and each takes all while the other one
 * stands still (common/tunnel/carrier.c). It is opened when the first one has lost segments, to the same address, and
 * closed when none has been lost for a minute. When the first one ends, the second one takes its place. Only between a
 * client and a hub of ours; a server that does not answer so is left alone.
 */
#pragma once

#include "common/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct attempt;
struct client;
struct dial;
struct flow;
struct profile;

struct second_setup {
	struct client *client;
	struct flow *flow;		/* as attempt_setup's */
	const uint8_t *instance;	/* as attempt_setup's */
	void (*on_closed)(void *owner); /* after second_close(), also from inside: the memory is the owner's again */
	void *owner;
};

struct second {
	struct second_setup setup;
	struct dial *dial;
	struct attempt *attempt;
	struct profile *profile; /* of the dial and the attempt; borrowed, as the first one is */
	size_t server;
	const struct attempt *first;
	bool is_up;
	unsigned pending;	  /* what has to close before on_closed: each attempt, and second_close() itself */
	uint64_t wanted_until_us; /* 0: no losses so far */
	uint64_t retry_us;	  /* not before, after a failure */
	uint64_t retry_wait_us;
	uint64_t window_us; /* losses are counted since */
	uint32_t window_losses;
	struct second_count {
		const struct attempt *of;
		uint32_t losses; /* of its life */
	} counted[2];		 /* at the last look: of the first one, and of this one */
};

/* What it stands beside. */
struct second_first {
	struct profile *profile; /* borrowed until second_stop() */
	size_t server;
	const struct addr *addr; /* to which it is connected: the server's, or the proxy's */
	const struct attempt *attempt; /* borrowed until second_stop() or second_take() */
};

void second_init(struct second *second, const struct second_setup *setup);

/* Open, keep or close it, by what the first one and itself have lost. About twice a second while the first one is up. */
void second_tick(struct second *second, const struct second_first *first, uint64_t now_us);

/* attempt_check(), if it is there. */
void second_check(struct second *second, uint64_t now_us);

/* Hand the attempt over, which is up: attempt_set_owner(), and attempt_close() in the end. Return: NULL: it is not up. */
struct attempt *second_take(struct second *second);

/* Close what is there; a later tick may open another one. */
void second_stop(struct second *second);

/* Stop for good; on_closed follows. */
void second_close(struct second *second);

bool second_is_up(const struct second *second);
