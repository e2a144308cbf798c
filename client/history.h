/* How the link was in the last five minutes: round trip and rates every two seconds, in a ring of fixed size. Pure. */
#pragma once

#include "common/tunnel/flow.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_STEP_S 2u
#define HISTORY_SAMPLES 150u

struct history {
	struct history_sample {
		uint32_t rtt_us;		     /* 0: the link is not up */
		uint64_t sent_per_s, received_per_s; /* bytes of datagrams */
	} samples[HISTORY_SAMPLES];
	size_t next, count;
	uint64_t last_us;		     /* when the last sample was taken; 0: none was */
	uint64_t sent_bytes, received_bytes; /* as counted then */
};

/* Is it time for another sample? */
bool history_is_due(const struct history *history, uint64_t now_us);

/* Take one. @total: since the start. */
void history_add(struct history *history, uint64_t now_us, uint64_t rtt_us, const struct flow_counters *total);

/* {"step_s":2,"rtt_ms":[41.2,null],"sent_bytes_per_s":[…],"received_bytes_per_s":[…]}, the oldest first. */
json_t *history_report(const struct history *history);
