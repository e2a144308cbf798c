/* When a queue should drop a datagram: CoDel, controlled delay (RFC 8289).
 *
 * A queue that is longer than the target for a whole interval is one that stands: the sender must hear of it, by one
 * loss, and by more of them in ever shorter intervals while it does not slow down. A queue that a stall of the line has
 * made, and that is gone a round trip later, loses nothing. A limit of age cannot tell the two apart. Pure.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* RFC 8289 §4.2, §4.3 have 5 and 100 ms. Here the queue also has to last over the line's own stalls: a lost segment of
 * the outer TCP holds everything behind it for a round trip, and the flow inside must have enough on the way. */
#define CODEL_TARGET_US 40000u
#define CODEL_INTERVAL_US 100000u

struct codel {
	bool is_dropping;
	uint64_t standing_at_us; /* from then on the queue stands; 0: it is short */
	uint64_t drop_next_us;
	uint32_t drops, drops_before; /* of this time of dropping, and as it began */
};

/* Ask once for each datagram at the head, when it could be sent.
 * @age_us: how long it has waited. @is_last: no other one waits. Return: true to drop it, and ask again for the next. */
bool codel_should_drop(struct codel *codel, uint64_t age_us, bool is_last, uint64_t now_us);
