/* RFC 8289 §5, with the square root by Newton's method: dropping is rare, and the datagrams in between cost a
 * comparison. */
#include "common/tunnel/codel.h"

#define RECENT_US (16 * CODEL_INTERVAL_US) /* dropping that begins again so soon goes on where it was */

static uint32_t square_root(uint32_t n)
{
	uint32_t root = n, next = n / 2 + 1;

	while (next < root) {
		root = next;
		next = (root + n / root) / 2;
	}
	return root;
}

/* The interval shrinks with the square root of the drops (§3.3); times 256, so that few drops have a fine step, too. */
static uint64_t next_drop(uint64_t from_us, uint32_t drops)
{
	uint32_t capped = drops < 65536 ? drops : 65535;

	return from_us + CODEL_INTERVAL_US * 16 / square_root(capped * 256);
}

static bool stands(struct codel *codel, uint64_t age_us, bool is_last, uint64_t now_us)
{
	if (age_us < CODEL_TARGET_US || is_last) {
		codel->standing_at_us = 0;
		return false;
	}
	if (codel->standing_at_us == 0)
		codel->standing_at_us = now_us + CODEL_INTERVAL_US;
	return now_us >= codel->standing_at_us;
}

bool codel_should_drop(struct codel *codel, uint64_t age_us, bool is_last, uint64_t now_us)
{
	uint32_t drops_since = codel->drops - codel->drops_before;

	if (!stands(codel, age_us, is_last, now_us)) {
		codel->is_dropping = false;
		return false;
	}
	if (codel->is_dropping) {
		if (now_us < codel->drop_next_us)
			return false;
		codel->drops++;
		codel->drop_next_us = next_drop(codel->drop_next_us, codel->drops);
		return true;
	}
	codel->is_dropping = true;
	codel->drops = drops_since > 1 && now_us < codel->drop_next_us + RECENT_US ? drops_since : 1;
	codel->drops_before = codel->drops;
	codel->drop_next_us = next_drop(now_us, codel->drops);
	return true;
}
