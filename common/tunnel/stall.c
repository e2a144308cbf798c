/* See stall.h. */
#include "common/tunnel/stall.h"

#define DELAYED_ACK_US 40000u /* Linux's shortest; RFC 9293 §3.8.6.3 allows 500 ms */

void stall_note_sent(struct stall *stall, uint64_t now_us)
{
	if (!stall->is_under_way)
		stall->since_us = now_us;
	stall->is_under_way = true;
}

void stall_update(struct stall *stall, const struct tcp_rate *rate, uint64_t now_us)
{
	bool was_under_way = stall->is_under_way;

	stall->is_under_way = rate->unacked_segments > 0 || rate->unsent_bytes > 0;
	/* What was not under way at the last look may have been sent at any time since. */
	if (!stall->is_under_way || !was_under_way || rate->delivered_bytes != stall->delivered_bytes)
		stall->since_us = now_us;
	stall->delivered_bytes = rate->delivered_bytes;
	stall->is_stalled = now_us - stall->since_us > rate->rtt_us + rate->rtt_us / 2 + DELAYED_ACK_US;
}
