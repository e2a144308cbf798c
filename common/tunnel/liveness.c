/* Pings, their round trip and their deadline.
 *
 * The happy path: nothing for an interval, a ping, its pong, the round trip is known. While a ping is under way only
 * its pong or its deadline counts; the deadline is the end of the carrier. Times may be a little out of order (a loop
 * reads its clock once a turn): a time from before counts as none passed.
 */
#include "common/tunnel/liveness.h"

#include <string.h>

/* Time that has passed; none where the two times are out of order. */
static uint64_t elapsed_us(uint64_t since_us, uint64_t now_us)
{
	return now_us > since_us ? now_us - since_us : 0;
}

void liveness_init(struct liveness *liveness, uint64_t interval_us, uint64_t now_us)
{
	*liveness = (struct liveness){.interval_us = interval_us, .last_ping_us = now_us, .last_received_us = now_us};
}

void liveness_probe(struct liveness *liveness)
{
	liveness->is_wanted = true;
}

void liveness_check(struct liveness *liveness, uint64_t now_us)
{
	liveness->is_wanted = true;
	if (liveness->check_us == 0) /* a host whose routes never rest must not put it off for ever */
		liveness->check_us = now_us;
}

void liveness_on_sent(struct liveness *liveness, uint64_t now_us)
{
	if (liveness->sent_since_us == 0)
		liveness->sent_since_us = now_us;
}

void liveness_on_received(struct liveness *liveness, uint64_t now_us)
{
	liveness->last_received_us = now_us;
	liveness->sent_since_us = 0;
}

bool liveness_on_pong(struct liveness *liveness, const uint8_t *payload, size_t len, uint64_t now_us)
{
	uint8_t wanted[LIVENESS_PING_LEN];

	liveness_on_received(liveness, now_us);
	liveness_ping_payload(liveness, wanted);
	if (liveness->ping_sent_us == 0 || len != sizeof(wanted) || memcmp(payload, wanted, len) != 0)
		return false;
	liveness->rtt_us = elapsed_us(liveness->ping_sent_us, now_us);
	/* A pong to a ping from before the check may have come by the old path. */
	if (liveness->ping_sent_us >= liveness->check_us)
		liveness->check_us = 0;
	liveness->ping_sent_us = 0;
	return true;
}

enum liveness_action liveness_tick(struct liveness *liveness, uint64_t now_us)
{
	bool is_doubtful =
		liveness->sent_since_us > 0 && elapsed_us(liveness->sent_since_us, now_us) >= LIVENESS_DOUBT_US;

	/* Four round trips beside the second: a slow line is not a dead one. */
	if (liveness->check_us > 0 &&
		elapsed_us(liveness->check_us, now_us) >= LIVENESS_CHECK_US + 4 * liveness->rtt_us)
		return LIVENESS_DEAD;
	if (liveness->ping_sent_us > 0)
		return elapsed_us(liveness->ping_sent_us, now_us) >= LIVENESS_DEADLINE_US ? LIVENESS_DEAD
											  : LIVENESS_WAIT;
	if (elapsed_us(liveness->last_ping_us, now_us) < liveness->interval_us && !is_doubtful && !liveness->is_wanted)
		return LIVENESS_WAIT;
	liveness->is_wanted = false;
	liveness->ping_sent_us = now_us;
	liveness->last_ping_us = now_us;
	liveness->number++;
	return LIVENESS_PING;
}

void liveness_ping_payload(const struct liveness *liveness, uint8_t out[LIVENESS_PING_LEN])
{
	for (unsigned i = 0; i < LIVENESS_PING_LEN; i++)
		out[i] = (uint8_t)(liveness->number >> (56 - 8 * i));
}
