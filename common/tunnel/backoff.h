/* How long to wait before the next attempt: 0.2 s doubling to 5 s, each ± a quarter, anew after a success. Pure. */
#pragma once

#include <stdint.h>

#define BACKOFF_FIRST_MS 200u
#define BACKOFF_LAST_MS 5000u

struct backoff {
	uint32_t next_ms; /* 0: BACKOFF_FIRST_MS */
};

/* The next wait in ms. @random: any 32 random bits, for the jitter; never over BACKOFF_LAST_MS * 5 / 4. */
uint32_t backoff_next_ms(struct backoff *backoff, uint32_t random);
void backoff_reset(struct backoff *backoff);
