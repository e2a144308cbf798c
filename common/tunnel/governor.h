/* How fast a carrier may send: what its line carries, with a short queue in the line so that it is never idle.
 *
 * A congestion control finds the rate of a line by filling the line's queue, and everything that is sent later waits
 * behind it, also what is urgent. Above a queue as short as ours BBR does not even leave its start phase, in which it
 * sends up to three times what the line carries: the TCP inside WireGuard sends in rounds of its own, so the socket is
 * often empty. Therefore the rate is decided here, from two figures that the kernel has for each connection. While a
 * queue stands in the line, the bytes that are acknowledged in a time are the rate of the line, exactly. And how much
 * the round trip exceeds the smallest one is how long the queue is. The carrier gives the result to the kernel as
 * SO_MAX_PACING_RATE.
 *
 *    STARTS     no limit, until a queue stands; again when the line is free for long although more waits to be sent
 *    HOLDS      the line's rate, a little more or less, so that the queue has its target length
 *    PROBES     some per cent more for two round trips, from time to time: a queue of the way back looks like ours
 *    DRAINS     a quarter less for a moment, every eight seconds, so that the smallest round trip can be seen
 *    COMPETES   a quarter more: the queue does not shrink when we send less, so it is another's
 *
 * Pure: the time and the figures are arguments.
 */
#pragma once

#include "common/tunnel/tcp_rate.h"

#include <stdbool.h>
#include <stdint.h>

enum governor_state { GOVERNOR_STARTS, GOVERNOR_HOLDS, GOVERNOR_PROBES, GOVERNOR_DRAINS, GOVERNOR_COMPETES };

struct governor {
	enum governor_state state;
	unsigned free_samples;	/* in a row in which the line had no queue */
	unsigned stuck_samples; /* in which a long queue did not shrink */
	unsigned state_samples; /* since the state began */
	uint64_t line_bytes_per_s;
	uint64_t line_before;	  /* bytes/s, while the queue was short, or before a probe */
	int64_t probe_gain;	  /* in 1024ths */
	unsigned hold_samples;	  /* before the next probe */
	uint64_t probed_line;	  /* bytes/s, at the last probe that found nothing */
	uint32_t queue_target_us; /* upper bound: half the queue at which the line lost segments */
	uint32_t smallest_us[2];  /* round trip, in this epoch and the one before */
	uint64_t epoch_us;	  /* when this one began; 0: no figures yet */
	struct {		  /* the last sample */
		uint64_t at_us;
		uint64_t sent_bytes;
		uint64_t delivered_bytes;
		uint32_t retransmits;
		uint32_t queue_us;
	} last;
	uint32_t queue_max_us; /* since the last sample */
};

void governor_init(struct governor *governor);

/* Call up to a hundred times a second while something is sent.
 * @is_backlogged: more waits than the connection takes. Return: bytes/s, or TCP_RATE_UNLIMITED. */
uint32_t governor_update(struct governor *governor, const struct tcp_rate *rate, bool is_backlogged, uint64_t now_us);
