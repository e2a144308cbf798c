/* Sources that open connections at a rate no visitor has: more than 30 in 10 s from an IPv4 address or an IPv6 /64.
 * They wait a second for each answer. A stock client that is refused comes back hundreds of times a second. Pure; a
 * table of fixed size, in which the oldest entry of a bucket gives way. */
#pragma once

#include "common/base/addr.h"

#include <stdbool.h>
#include <stdint.h>

#define THROTTLE_CONNECTIONS_MAX 30u
#define THROTTLE_WINDOW_US 10000000u
#define THROTTLE_WAIT_US 1000000u /* before every answer but a 101 */
#define THROTTLE_BUCKETS 1024u
#define THROTTLE_WAYS 4u

struct throttle_entry {
	uint64_t source;    /* IPv4 address, or the first half of an IPv6 address; 0: free */
	uint64_t window_us; /* when counting began */
	uint32_t connections;
};

struct throttle {
	uint64_t seed; /* random, so that a peer cannot choose a bucket */
	struct throttle_entry entries[THROTTLE_BUCKETS][THROTTLE_WAYS];
};

void throttle_init(struct throttle *throttle, uint64_t seed);

/* Count one connection. Return: true where the source is over the rate. */
bool throttle_count(struct throttle *throttle, const struct addr *from, uint64_t now_us);
