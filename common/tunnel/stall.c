/* See stall.h. */
#include "common/tunnel/stall.h"

#define DELAYED_ACK_US 40000u /* Linux's shortest; RFC 9293 §3.8.6.3 allows 500 ms */

void stall_update(struct stall *stall, const struct tcp_rate *rate, uint64_t now_us)
{
	if (rate->unacked_segments == 0 || rate->delivered_bytes != stall->delivered_bytes)
		stall->since_us = now_us;
	stall->delivered_bytes = rate->delivered_bytes;
	stall->is_stalled = now_us - stall->since_us > rate->rtt_us + rate->rtt_us / 2 + DELAYED_ACK_US;
}
