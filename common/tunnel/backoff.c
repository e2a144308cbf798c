/* Waits between attempts: doubling to a cap of seconds, spread by jitter so that many clients do not come at once. */
#include "common/tunnel/backoff.h"

/* @random / 2^32 is a fraction of the window of 2 * spread + 1 milliseconds: no modulo, no bias worth a thought. */
uint32_t backoff_next_ms(struct backoff *backoff, uint32_t random)
{
	uint32_t middle = backoff->next_ms > 0 ? backoff->next_ms : BACKOFF_FIRST_MS;
	uint32_t spread = middle / 4;

	backoff->next_ms = middle < BACKOFF_LAST_MS / 2 ? middle * 2 : BACKOFF_LAST_MS;
	return middle - spread + (uint32_t)(((uint64_t)random * (2 * spread + 1)) >> 32);
}

void backoff_reset(struct backoff *backoff)
{
	backoff->next_ms = 0;
}
