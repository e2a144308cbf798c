/* The barrier: while another program takes the rules of a full tunnel away again and again, what would leave past the
 * tunnel is dropped, by one more chain of our nftables table (common/net/firewall.h).
 *
 * It goes up with the second look within BARRIER_HOLD_US that misses something of a full tunnel, and down when nothing
 * was missing for so long. Else traffic would leave in clear until each repair. It is not up all the time, because it
 * stops more than the rules do: also what other rules of this host lead past the tunnel on purpose. Networks to which
 * the main table has a better route than its default one stay within reach, as they do under the rules.
 *
 * Embedded in the repair, which tells it of each change that was missing, and lets it act at the end of each look.
 */
#pragma once

#include "common/base/clock.h"
#include "common/host/applied.h"

#define BARRIER_HOLD_US (10 * CLOCK_US_PER_S)

struct barrier {
	struct applied *applied;
	void (*on_done)(void *owner);
	void *owner;
	bool is_missing;     /* something, in the look under way */
	uint64_t missing_us; /* when something was missing last; 0: never */
	struct prefix *networks;
};

/* True if @change belongs to a full tunnel: without it traffic leaves in clear, or nothing flows. */
bool barrier_is_for(const struct applied *applied, const struct change *change);

/* At the end of a look: up, down, or other networks of this host. on_done comes once, perhaps before this returns. */
void barrier_settle(struct barrier *barrier);

/* Milliseconds until it may go down; 0: it is not up. */
uint64_t barrier_ms_left(const struct barrier *barrier);

void barrier_done(struct barrier *barrier);
