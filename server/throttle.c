/* Counts connections in windows of ten seconds, in a set-associative table (throttle.h).
 *
 * A source that was over the rate in one window counts as over it from the start of the next one; so a source that
 * never stops is not let off once a window. A table that is full forgets the oldest entry of a bucket: that source
 * starts from zero, which is in its favour.
 */
#include "server/throttle.h"

#include <string.h>

void throttle_init(struct throttle *throttle, uint64_t seed)
{
	memset(throttle, 0, sizeof(*throttle));
	throttle->seed = seed;
}

/* The IPv4 address, or the /64 of the IPv6 address: a visitor has a whole /64. Never 0, which marks a free entry. */
static uint64_t source_of(const struct addr *from)
{
	uint64_t source;

	if (from->sa.sa_family == AF_INET)
		return (uint64_t)1 << 32 | from->in4.sin_addr.s_addr;
	memcpy(&source, &from->in6.sin6_addr, sizeof(source));
	return source ? source : 1;
}

/* The source's entry, or a new one in the place of its bucket's oldest. */
static struct throttle_entry *entry_of(struct throttle *throttle, uint64_t source)
{
	/* Multiplicative mixing, 2^64 / golden ratio; any mixing that depends on the seed does. */
	uint64_t mixed = (source ^ throttle->seed) * 0x9e3779b97f4a7c15u;
	uint64_t again = (mixed ^ mixed >> 32) * 0x9e3779b97f4a7c15u;
	struct throttle_entry *ways = throttle->entries[(uint32_t)(again >> 32) % THROTTLE_BUCKETS], *oldest = ways;

	for (unsigned i = 0; i < THROTTLE_WAYS; i++) {
		if (ways[i].source == source)
			return &ways[i];
		if (ways[i].window_us < oldest->window_us)
			oldest = &ways[i];
	}
	*oldest = (struct throttle_entry){.source = source};
	return oldest;
}

bool throttle_count(struct throttle *throttle, const struct addr *from, uint64_t now_us)
{
	struct throttle_entry *entry = entry_of(throttle, source_of(from));

	if (now_us - entry->window_us > THROTTLE_WINDOW_US) {
		bool was_over = entry->connections > THROTTLE_CONNECTIONS_MAX &&
				now_us - entry->window_us < 2 * THROTTLE_WINDOW_US;

		entry->connections = was_over ? THROTTLE_CONNECTIONS_MAX : 0;
		entry->window_us = now_us;
	}
	return ++entry->connections > THROTTLE_CONNECTIONS_MAX;
}
