/* All passages of the hub that have not ended (passage.h), and what is counted of each published service. The hub embeds
 * it; passage.c alone changes it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct passage;

/* The counters of one published service. */
struct passage_counters {
	uint64_t total;
	uint64_t sent, received; /* bytes to visitors, from visitors */
	uint32_t now;
	char last_error[192]; /* "": none so far */
	bool is_failing;      /* the newest attempt has failed */
};

struct passages {
	struct passage *first, *last; /* newest first */
	struct passage *next_to_ask;  /* the oldest that the supervisor has not been asked for; NULL: none waits */
	uint32_t count, max;	      /* max: the owner's to set */
	uint32_t asked; /* questions that are not answered yet */
	uint64_t last_ticket;
	uint64_t turn_ms; /* uv_now() of this turn of the loop */
	uint32_t served;  /* ends in it */
	size_t piece_len; /* that each may move in it */
	size_t moved;	  /* by all of them in it */
	struct passage_counters *counters; /* in the order of the settings' publishes */
};
