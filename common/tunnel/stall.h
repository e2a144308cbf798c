/* Does a connection stand still? Pure: figures and time are arguments.
 *
 * TCP waits for a retransmission without telling: for a round trip at best, for seconds where that is lost as well. And
 * a proxy that takes no more closes the window. A connection stands still if bytes of it are on the line, or wait in the
 * socket, and none was acknowledged for longer than a round trip and the time for which the peer may hold an
 * acknowledgement back.
 */
#pragma once

#include "common/tunnel/tcp_rate.h"

#include <stdbool.h>
#include <stdint.h>

struct stall {
	uint64_t delivered_bytes; /* at the last look */
	uint64_t since_us;	  /* when that grew last, or nothing was under way */
	bool is_under_way;	  /* something was, at the last look, or was sent since */
	bool is_stalled;
};

/* Datagrams were sent just now. */
void stall_note_sent(struct stall *stall, uint64_t now_us);

void stall_update(struct stall *stall, const struct tcp_rate *rate, uint64_t now_us);
