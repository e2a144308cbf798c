/* Three lanes of cells, popped in order of importance, pruned at the head by age. Fails only by dropping, and counts.
 *
 *    handshake   types 1 to 3 of WireGuard: without them no key; served first, never dropped for room
 *    short       keepalives and TCP acknowledgements: their loss or delay slows a transfer down
 *    bulk        the rest; dropped first, and by CoDel where a queue stands in it
 */
#include "common/tunnel/dgram_queue.h"

#include "common/base/require.h"

#include <string.h>

#define WG_TYPE_INITIATION 1u
#define WG_TYPE_COOKIE 3u
#define WG_INITIATION_LEN 148u	  /* WireGuard paper §5.4.2 */
#define WG_RETRY_US 5000000u	  /* REKEY_TIMEOUT: a peer sends the next one so much later, */
#define WG_RETRY_SPREAD_US 1000000u /* and up to 333 ms; the rest is for a busy machine */

static const uint64_t lane_limit_us[DGRAM_LANE_COUNT] = {
	[DGRAM_LANE_HANDSHAKE] = DGRAM_QUEUE_HANDSHAKE_US,
	[DGRAM_LANE_SHORT] = DGRAM_QUEUE_SHORT_US,
	[DGRAM_LANE_BULK] = DGRAM_QUEUE_BULK_US,
};

/* WireGuard's message type with its reserved zeros, little endian; 0 for what is too short to have one. */
static uint32_t wg_type(const uint8_t *data, size_t len)
{
	if (len < 4)
		return 0;
	return data[0] | (uint32_t)data[1] << 8 | (uint32_t)data[2] << 16 | (uint32_t)data[3] << 24;
}

/* A message of another length with type 1 is none: WireGuard's receiver would refuse it. */
static bool is_initiation(const struct dgram *dgram)
{
	return dgram->len == WG_INITIATION_LEN && wg_type(dgram->data, dgram->len) == WG_TYPE_INITIATION;
}

enum dgram_lane dgram_queue_lane(const uint8_t *data, size_t len)
{
	uint32_t type = wg_type(data, len);

	if (type >= WG_TYPE_INITIATION && type <= WG_TYPE_COOKIE && len <= WG_INITIATION_LEN)
		return DGRAM_LANE_HANDSHAKE;
	return len <= DGRAM_QUEUE_SHORT_MAX ? DGRAM_LANE_SHORT : DGRAM_LANE_BULK;
}

void dgram_queue_init(struct dgram_queue *queue, struct dgram_pool *pool, struct drop_counters *dropped)
{
	*queue = (struct dgram_queue){.pool = pool, .dropped = dropped};
}

static void queue_drop(struct dgram_queue *queue, struct dgram *dgram, enum drop_reason reason)
{
	queue->dropped->count[reason]++;
	dgram_give(queue->pool, dgram);
}

static void lane_append(struct dgram_queue *queue, enum dgram_lane lane, struct dgram *dgram)
{
	dgram->next = NULL;
	if (queue->lanes[lane].tail)
		queue->lanes[lane].tail->next = dgram;
	else
		queue->lanes[lane].head = dgram;
	queue->lanes[lane].tail = dgram;
	queue->cells += dgram->cells;
	queue->depth++;
}

/* Take the oldest out of a lane. */
static struct dgram *lane_shift(struct dgram_queue *queue, enum dgram_lane lane)
{
	struct dgram *dgram = queue->lanes[lane].head;

	if (!dgram)
		return NULL;
	queue->lanes[lane].head = dgram->next;
	if (!dgram->next)
		queue->lanes[lane].tail = NULL;
	queue->cells -= dgram->cells;
	queue->depth--;
	return dgram;
}

/* 0 for a datagram that was stamped after @now_us was read. */
static uint64_t dgram_age_us(const struct dgram *dgram, uint64_t now_us)
{
	return now_us > dgram->received_us ? now_us - dgram->received_us : 0;
}

/* Drop from the head what has waited too long. A lane is in order of arrival, so the first young one ends it. */
static void lane_prune(struct dgram_queue *queue, enum dgram_lane lane, uint64_t now_us)
{
	struct dgram *head;

	while ((head = queue->lanes[lane].head) && dgram_age_us(head, now_us) > lane_limit_us[lane])
		queue_drop(queue, lane_shift(queue, lane), DROP_QUEUE_LATE);
}

/* True if the peer that sent @old has sent @newer since, as far as can be told: a try again has another sender index,
 * and the names of both ends are encrypted. But two that are as far apart as WireGuard's tries are likely one peer's. */
static bool is_superseded(const struct dgram *old, const struct dgram *newer)
{
	uint64_t apart_us = dgram_age_us(old, newer->received_us);

	/*   0      1              4              8
	 *   | 0x01 | reserved = 0 | sender, LE32 | …    WireGuard paper §5.4.2 */
	return memcmp(old->data + 4, newer->data + 4, 4) == 0 ||
	       (apart_us >= WG_RETRY_US && apart_us < WG_RETRY_US + WG_RETRY_SPREAD_US);
}

/* Only a peer's newest initiation is of use: its answer to an older one belongs to a key that was given up. Those of
 * other peers stay, newest first: an older one that is the same peer's after all is then refused as a replay, while the
 * other way round the newer one would be. */
static void keep_initiation(struct dgram_queue *queue, struct dgram *dgram)
{
	struct dgram **at = &queue->initiations;
	unsigned kept = 0;

	while (*at && (*at)->received_us > dgram->received_us) {
		at = &(*at)->next;
		kept++;
	}
	dgram->next = *at;
	*at = dgram;
	while (*at) {
		struct dgram *one = *at;

		if (kept < DGRAM_QUEUE_INITIATIONS_MAX && (one == dgram || !is_superseded(one, dgram))) {
			at = &one->next;
			kept++;
		} else {
			*at = one->next;
			queue_drop(queue, one, DROP_HANDSHAKE_REPLACED);
		}
	}
}

/* Those that are older; @limit_us 0: all. */
static void drop_initiations(struct dgram_queue *queue, uint64_t now_us, uint64_t limit_us, enum drop_reason reason)
{
	struct dgram **at = &queue->initiations;

	while (*at) {
		struct dgram *dgram = *at;

		if (limit_us > 0 && dgram_age_us(dgram, now_us) <= limit_us) {
			at = &dgram->next;
		} else {
			*at = dgram->next;
			queue_drop(queue, dgram, reason);
		}
	}
}

/* Make room for @cells by dropping the oldest bulk, then the oldest short datagram; never a handshake. Return: false
 * where handshakes alone fill the queue. */
static bool make_room(struct dgram_queue *queue, uint32_t cells)
{
	while (queue->cells + cells > DGRAM_QUEUE_CELLS_MAX) {
		struct dgram *oldest = lane_shift(queue, DGRAM_LANE_BULK);

		if (!oldest)
			oldest = lane_shift(queue, DGRAM_LANE_SHORT);
		if (!oldest)
			return false;
		queue_drop(queue, oldest, DROP_QUEUE_FULL);
	}
	return true;
}

void dgram_queue_push(struct dgram_queue *queue, struct dgram *dgram)
{
	enum dgram_lane lane;

	if (dgram->len == 0) {
		queue_drop(queue, dgram, DROP_EMPTY);
		return;
	}
	if (!queue->has_carrier && is_initiation(dgram)) {
		keep_initiation(queue, dgram);
		return;
	}
	lane = dgram_queue_lane(dgram->data, dgram->len);
	lane_prune(queue, lane, dgram->received_us);
	if (!make_room(queue, dgram->cells)) {
		queue_drop(queue, dgram, DROP_QUEUE_FULL);
		return;
	}
	lane_append(queue, lane, dgram);
}

/* Which of @lanes is served next; it may be empty if all are. Short datagrams go ahead of bulk, but not for ever: a flood
 * of acks must not stop the transfer that it acknowledges. */
static enum dgram_lane queue_choose(struct dgram_queue *queue, unsigned lanes)
{
	bool has_bulk = lanes & DGRAM_LANES_BULK && queue->lanes[DGRAM_LANE_BULK].head;

	if (!(lanes & DGRAM_LANES_QUICK))
		return DGRAM_LANE_BULK;
	if (queue->lanes[DGRAM_LANE_HANDSHAKE].head)
		return DGRAM_LANE_HANDSHAKE;
	if (has_bulk && (!queue->lanes[DGRAM_LANE_SHORT].head || queue->short_run >= DGRAM_QUEUE_SHORT_RUN_MAX))
		return DGRAM_LANE_BULK;
	return DGRAM_LANE_SHORT;
}

struct dgram *dgram_queue_pop(struct dgram_queue *queue, unsigned lanes, uint64_t now_us)
{
	for (;;) {
		enum dgram_lane lane = queue_choose(queue, lanes);
		struct dgram *dgram = lane_shift(queue, lane);
		uint64_t age_us;

		if (!dgram)
			return NULL;
		age_us = dgram_age_us(dgram, now_us);
		if (age_us > lane_limit_us[lane] ||
			(lane == DGRAM_LANE_BULK &&
				codel_should_drop(&queue->codel, age_us, !queue->lanes[lane].head, now_us))) {
			queue_drop(queue, dgram, DROP_QUEUE_LATE);
			continue;
		}
		queue->short_run = lane == DGRAM_LANE_SHORT ? queue->short_run + 1 : 0;
		queue->sojourn_us = age_us;
		return dgram;
	}
}

/* Put the kept initiations in front of their lane, in their order. Their age counts from now on: they were allowed 90 s
 * without a carrier, and the limit of the lane is about the wait behind one. */
static void release_initiations(struct dgram_queue *queue, uint64_t now_us)
{
	struct dgram *last = NULL;

	drop_initiations(queue, now_us, DGRAM_QUEUE_INITIATION_US, DROP_QUEUE_LATE);
	for (struct dgram *dgram = queue->initiations; dgram; dgram = dgram->next) {
		dgram->received_us = last ? last->received_us - 1 : now_us; /* newest first also when they are rescued */
		queue->cells += dgram->cells;
		queue->depth++;
		last = dgram;
	}
	if (!last)
		return;
	last->next = queue->lanes[DGRAM_LANE_HANDSHAKE].head;
	if (!last->next)
		queue->lanes[DGRAM_LANE_HANDSHAKE].tail = last;
	queue->lanes[DGRAM_LANE_HANDSHAKE].head = queue->initiations;
	queue->initiations = NULL;
}

/* The carrier is gone: move the initiations out of the handshake lane, where they would be dropped after a second. The
 * others go once round the lane and keep their order. */
static void rescue_initiations(struct dgram_queue *queue)
{
	struct dgram *last = queue->lanes[DGRAM_LANE_HANDSHAKE].tail;
	struct dgram *waiting;

	while ((waiting = lane_shift(queue, DGRAM_LANE_HANDSHAKE))) {
		bool was_last = waiting == last;

		if (is_initiation(waiting))
			keep_initiation(queue, waiting);
		else
			lane_append(queue, DGRAM_LANE_HANDSHAKE, waiting);
		if (was_last)
			break;
	}
}

void dgram_queue_set_carrier(struct dgram_queue *queue, bool has_carrier, uint64_t now_us)
{
	if (has_carrier == queue->has_carrier)
		return;
	queue->has_carrier = has_carrier;
	if (has_carrier)
		release_initiations(queue, now_us);
	else
		rescue_initiations(queue);
}

void dgram_queue_expire(struct dgram_queue *queue, uint64_t now_us)
{
	for (enum dgram_lane lane = 0; lane < DGRAM_LANE_COUNT; lane++)
		lane_prune(queue, lane, now_us);
	drop_initiations(queue, now_us, DGRAM_QUEUE_INITIATION_US, DROP_QUEUE_LATE);
}

bool dgram_queue_is_empty(const struct dgram_queue *queue)
{
	return queue->depth == 0;
}

void dgram_queue_done(struct dgram_queue *queue)
{
	for (enum dgram_lane lane = 0; lane < DGRAM_LANE_COUNT; lane++) {
		struct dgram *dgram;

		while ((dgram = lane_shift(queue, lane)))
			queue_drop(queue, dgram, DROP_CARRIER_LOST);
	}
	require(queue->depth == 0 && queue->cells == 0); /* else a datagram has left its lane uncounted */
	drop_initiations(queue, 0, 0, DROP_CARRIER_LOST);
}
