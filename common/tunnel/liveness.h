/* Is the other end still there? WebSocket pings with a measured round trip, and a deadline for the answer. Pure.
 *
 * A ping goes out every interval; while datagrams are sent and nothing at all comes back for LIVENESS_DOUBT_US, one
 * goes out at once, so that a dead path is noticed in seconds while traffic flows. Exactly one ping is under way at
 * a time; its payload is its number, so that an unasked or late pong is not mistaken for the answer.
 * Anything received postpones nothing but doubt: only the pong of the ping under way ends the wait (a stock peer
 * answers every ping).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIVENESS_PING_LEN 8	      /* the number, big endian */
#define LIVENESS_DOUBT_US 2000000u    /* sending into silence for so long asks for a ping */
#define LIVENESS_DEADLINE_US 6000000u /* a ping without an answer for so long is the end */
#define LIVENESS_CHECK_US 1000000u    /* after liveness_check() it is so long, and four round trips */

enum liveness_action {
	LIVENESS_WAIT, /* nothing to do yet */
	LIVENESS_PING, /* send a ping with payload liveness_ping_payload(); it counts as sent */
	LIVENESS_DEAD, /* close the carrier */
};

struct liveness {
	uint64_t interval_us;
	uint64_t ping_sent_us; /* of the ping under way; 0: none */
	uint64_t last_ping_us;
	uint64_t last_received_us;
	uint64_t sent_since_us; /* first datagram sent after the last one received; 0: none */
	uint64_t check_us;	/* of the first liveness_check() that no ping has answered yet; 0: none */
	bool is_wanted;		/* ping at the next tick */
	uint64_t number;
	uint64_t rtt_us; /* last measured; 0: not yet */
};

void liveness_init(struct liveness *liveness, uint64_t interval_us, uint64_t now_us);
/* Ping at the next tick, without waiting for the interval: a new carrier's round trip is known at once. */
void liveness_probe(struct liveness *liveness);
/* The path may be another one, or none any more: ping at the next tick, and wait for a short time only. A pong to a
 * ping from before proves nothing. */
void liveness_check(struct liveness *liveness, uint64_t now_us);
/* For each batch, not each datagram. */
void liveness_on_sent(struct liveness *liveness, uint64_t now_us);
void liveness_on_received(struct liveness *liveness, uint64_t now_us);
/* Return: true where it answers the ping under way: rtt_us is new. */
bool liveness_on_pong(struct liveness *liveness, const uint8_t *payload, size_t len, uint64_t now_us);
enum liveness_action liveness_tick(struct liveness *liveness, uint64_t now_us);
void liveness_ping_payload(const struct liveness *liveness, uint8_t out[LIVENESS_PING_LEN]);
