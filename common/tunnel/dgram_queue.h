/* The short, timed queue of one flow in front of its carrier. Either this or TCP_NOTSENT_LOWAT alone
 * leaves seconds of delay.
 *
 * Three lanes, first come first served inside each: handshake (WireGuard types 1 to 3), short (≤ 128 bytes: acks, DNS,
 * keystrokes), bulk. Bounded in time: what has waited too long leaves from the head and is counted, and a bulk lane in
 * which a queue stands loses single datagrams, from which the TCP inside the tunnel learns the speed of the line. While the flow
 * has no carrier the newest handshake initiation of each peer is kept for 90 s and goes first: WireGuard sends the next
 * one only 5 s later. Pure: `now` is an argument, no socket is touched, cells come from the pool.
 */
#pragma once

#include "common/tunnel/codel.h"
#include "common/tunnel/dgram.h"
#include "common/tunnel/drop_reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DGRAM_QUEUE_SHORT_MAX 128u	  /* bytes of a short datagram */
#define DGRAM_QUEUE_HANDSHAKE_US 1000000u /* sojourn limits */
#define DGRAM_QUEUE_SHORT_US 150000u
#define DGRAM_QUEUE_BULK_US 250000u /* while the line stands still; a queue that stands is shortened by CoDel */
#define DGRAM_QUEUE_INITIATION_US 90000000u /* = WireGuard's REKEY_ATTEMPT_TIME */
#define DGRAM_QUEUE_INITIATIONS_MAX 8u	    /* kept of so many peers behind one socket */
#define DGRAM_QUEUE_CELLS_MAX 4096u	    /* 8 MiB: 60 ms at 1 Gbit/s */
#define DGRAM_QUEUE_SHORT_RUN_MAX 32u	    /* short ones in a row before bulk gets a turn */

enum dgram_lane { DGRAM_LANE_HANDSHAKE, DGRAM_LANE_SHORT, DGRAM_LANE_BULK, DGRAM_LANE_COUNT };

/* Sets of lanes, a bit each. */
#define DGRAM_LANES_NONE 0u
#define DGRAM_LANES_QUICK (1u << DGRAM_LANE_HANDSHAKE | 1u << DGRAM_LANE_SHORT)
#define DGRAM_LANES_BULK (1u << DGRAM_LANE_BULK)
#define DGRAM_LANES_ALL (DGRAM_LANES_QUICK | DGRAM_LANES_BULK)

struct dgram_queue {
	struct dgram_pool *pool;
	struct drop_counters *dropped;
	struct {
		struct dgram *head, *tail;
	} lanes[DGRAM_LANE_COUNT];
	struct dgram *initiations; /* kept while there is no carrier, newest first */
	bool has_carrier;
	uint32_t cells; /* in the lanes */
	uint32_t depth; /* datagrams in the lanes */
	uint32_t short_run;
	struct codel codel;  /* of the bulk lane */
	uint64_t sojourn_us; /* of the datagram popped last */
};

void dgram_queue_init(struct dgram_queue *queue, struct dgram_pool *pool, struct drop_counters *dropped);
/* Give all cells back; datagrams that still wait are counted as lost. */
void dgram_queue_done(struct dgram_queue *queue);

/* Take a received datagram over (its received_us is set). It is queued, or dropped and counted. */
void dgram_queue_push(struct dgram_queue *queue, struct dgram *dgram);

/* The next one of @lanes to send; the caller gives it back to the pool. NULL: nothing is left in them that is still worth
 * sending. */
struct dgram *dgram_queue_pop(struct dgram_queue *queue, unsigned lanes, uint64_t now_us);

/* A carrier came up, or the last one is gone: from now on initiations are passed, or the newest are kept. */
void dgram_queue_set_carrier(struct dgram_queue *queue, bool has_carrier, uint64_t now_us);

/* Drop and count what is too old. Call now and then: a flow without a carrier is not popped, and the pool that all
 * flows share misses the cells in its queue. */
void dgram_queue_expire(struct dgram_queue *queue, uint64_t now_us);

bool dgram_queue_is_empty(const struct dgram_queue *queue);

/* Which lane serves it: by WireGuard's type byte with its three reserved zeros (paper §5.4), then by length. */
enum dgram_lane dgram_queue_lane(const uint8_t *data, size_t len);
