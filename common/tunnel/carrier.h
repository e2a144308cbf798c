/* One TLS connection that carries a flow's datagrams as WebSocket messages, from the 101 to its end. Both programs.
 *
 * Embedded in a session (server) or an attempt (client), which own the stream and its set-up. From carrier_start() on
 * the events of the stream come here; the owner hears only of the end. Holds no handle: the owner's timer calls
 * carrier_tick().
 */
#pragma once

#include "common/tunnel/flow.h"
#include "common/tunnel/governor.h"
#include "common/tunnel/liveness.h"
#include "common/tunnel/pump.h"
#include "common/tunnel/stall.h"
#include "common/tunnel/tls_stream.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How this side masks its frames (RFC 6455 §5.3 asks it of clients). A stock server forwards unmasked payloads and zero
 * keys right, and corrupts payloads under any other key unless it was started with its mask option. */
enum carrier_mask { CARRIER_MASK_NONE, CARRIER_MASK_ZERO, CARRIER_MASK_RANDOM };

struct carrier_handlers {
	/* The carrier is of no use any more and has left its flow; the owner closes the stream. Called once. */
	void (*on_end)(void *owner, const char *reason);
	void (*on_closed)(void *owner); /* the stream's last call, passed on */
};

struct carrier {
	struct pump_pipe pipe; /* its flow is NULL after the end */
	struct stall stall;
	struct liveness liveness;
	const struct carrier_handlers *handlers;
	void *owner;
	struct governor governor;
	uint64_t bbr_restarted_us;
	uint32_t limit_bytes_per_s; /* of sending, by the governor */
	uint64_t watched_us; /* when its stall was looked at */
	uint32_t losses;     /* looks that saw more retransmits or gaps than the one before */
	uint32_t segments_lost; /* retransmits and gaps at the last look */
	uint64_t rate_checked_us;
	uint64_t rate_checked_bytes; /* of the flow's sent_bytes then */
	uint64_t busy_us;	     /* more than a few datagrams came or went; 0: never yet */
	uint64_t datagrams;	     /* of the flow, at the last tick */
	bool is_ended;
	bool is_busy; /* buffers are kept */
};

/* Given to a carrier at its start. The pointers stay valid until on_closed, except @rest. */
struct carrier_setup {
	struct pump *pump;
	struct tls_stream *stream; /* open, upgraded */
	struct flow *flow;
	bool is_second; /* stands beside the carrier that the flow has, if it has one */
	enum carrier_mask mask;
	uint64_t ping_interval_ms;
	const struct carrier_handlers *handlers;
	void *owner;
	const uint8_t *rest; /* bytes that came right behind the HTTP head; borrowed for the call */
	size_t rest_len;
};

/* Take over the stream for the flow, whose newest carrier, or second, is this one from now on. Parses and delivers the
 * rest and sends what waits, so on_end may be called before it returns. */
void carrier_start(struct carrier *carrier, const struct carrier_setup *setup, uint64_t now_us);

/* Datagrams wait in the flow's queue: its carriers send them, as far as they are not blocked. Call after each received
 * batch. May call on_end of each of them; the flow may be gone then. */
void carrier_send_flow(struct flow *flow, uint64_t now_us);

/* How often the line has lost segments, both ways, since the carrier began: what is lost within some milliseconds counts
 * once. A segment that came out of order may count. */
uint32_t carrier_losses(const struct carrier *carrier);

/* Another carrier takes its place in the flow: it sends nothing more, and still delivers what comes. */
void carrier_step_down(struct carrier *carrier);

/* Pings, deadlines, idle memory. Call about twice a second. May call on_end. */
void carrier_tick(struct carrier *carrier, uint64_t now_us);

/* The host's network has changed: ping now, and give up after a short time without an answer. May call on_end. */
void carrier_check(struct carrier *carrier, uint64_t now_us);

/* Leave the flow, send a close frame with @code, close the stream. No on_end; on_closed follows. */
void carrier_close(struct carrier *carrier, uint16_t code);

/* How fast it may send, and why (governor.h): {"state":"holds","mbit_per_s":19.2}, null without a limit. Return: owned by
 * the caller; NULL without memory. */
json_t *carrier_pace(const struct carrier *carrier);
