/* See claim_step.h.
 *
 *                      ┌──────────── its peer is gone ────────────┐
 *                      ▼                                          │
 *    WAITING ──put right──▶ TRUE ──seen undone, slowly──▶ WAITING │
 *       ▲                    │                                    │
 *       └── after PAUSE_US ──┴── five times in WINDOW_US ──▶ LEFT_ALONE
 *
 * An undoing counts for a fight if it is seen within QUICK_US of putting right, and if the manager has not written its
 * file anew meanwhile: that is a manager at work, which has its own reasons to set the device, and only slows us down. The times of the last
 * undoings are a queue: as soon as the oldest of five is younger than WINDOW_US, it is a fight. It is told once, and
 * told again only when the claim has stood for WINDOW_US in between.
 *
 * A peer that is gone ends everything, also a pause: its manager has taken it away, and whether it makes it again is
 * the manager's decision. All times are of the monotonic clock.
 */
#include "common/host/claim_step.h"

#include "common/base/clock.h"

#include <string.h>

#define QUICK_US CLOCK_US_PER_S	       /* from putting right to being undone */
#define WINDOW_US (10 * CLOCK_US_PER_S)
#define PAUSE_US (30 * CLOCK_US_PER_S)

const struct wg_state_peer *claim_find_holder(const struct wg_state *state, const struct prefix *prefix)
{
	for (size_t i = 0; i < state->peer_count; i++)
		for (size_t k = 0; k < state->peers[i].allowed_ip_count; k++)
			if (prefix_equal(&state->peers[i].allowed_ips[k], prefix))
				return &state->peers[i];
	return NULL;
}

/* A file that was changed a moment ago may not be whole yet, so what it does not give cannot be told. */
enum claim_holding claim_judge(const struct wg_state_peer *holder, const uint8_t public_key[WG_CONFIG_KEY_LEN],
	const struct prefix *prefix, const struct claim_file *file, bool is_fresh)
{
	if (!holder)
		return CLAIM_FREE;
	if (memcmp(holder->public_key, public_key, WG_CONFIG_KEY_LEN) == 0)
		return CLAIM_HELD;
	if (claim_file_gives(file, holder->public_key, prefix))
		return CLAIM_GIVEN;
	return is_fresh ? CLAIM_UNSURE : CLAIM_STOLEN;
}

void claim_forget(struct claim_memory *memory)
{
	*memory = (struct claim_memory){.state = CLAIM_WAITING};
}

/* Return: true if there were so many in the window. */
static bool note_undone(uint64_t times_us[CLAIM_UNDONE_MAX], uint64_t now_us)
{
	memmove(times_us, times_us + 1, (CLAIM_UNDONE_MAX - 1) * sizeof(*times_us));
	times_us[CLAIM_UNDONE_MAX - 1] = now_us;
	return times_us[0] != 0 && now_us - times_us[0] < WINDOW_US;
}

static void note_true(struct claim_memory *memory, uint64_t now_us)
{
	if (memory->state != CLAIM_TRUE)
		memory->true_us = now_us;
	memory->state = CLAIM_TRUE;
	if (now_us - memory->true_us >= WINDOW_US)
		memory->is_told = memory->is_slow = false;
}

static enum claim_act pause(struct claim_memory *memory, uint64_t now_us)
{
	bool is_news = !memory->is_told;

	memory->state = CLAIM_LEFT_ALONE;
	memory->is_told = true;
	memory->put_us = 0;
	memory->paused_until_us = now_us + PAUSE_US;
	memset(memory->undone_us, 0, sizeof(memory->undone_us));
	return is_news ? CLAIM_ACT_LEAVE_ALONE : CLAIM_ACT_NONE;
}

enum claim_act claim_step(struct claim_memory *memory, const struct claim_seen *seen, uint64_t now_us)
{
	bool is_quick = memory->put_us != 0 && now_us - memory->put_us < QUICK_US;
	bool was_slow = memory->is_slow;

	if (!seen->has_peer) {
		claim_forget(memory);
		return CLAIM_ACT_WITHDRAW;
	}
	if (seen->is_whole) {
		note_true(memory, now_us);
		return CLAIM_ACT_NONE;
	}
	if (now_us < memory->paused_until_us) {
		memory->state = CLAIM_LEFT_ALONE;
		return CLAIM_ACT_NONE;
	}
	if (seen->is_rewritten)
		memset(memory->undone_us, 0, sizeof(memory->undone_us));
	if (memory->state == CLAIM_TRUE && is_quick) {
		if (seen->is_rewritten)
			memory->is_slow |= note_undone(memory->rewritten_us, now_us);
		else if (note_undone(memory->undone_us, now_us))
			return pause(memory, now_us);
	}
	memory->state = CLAIM_WAITING;
	if (memory->is_slow && is_quick)
		return was_slow ? CLAIM_ACT_NONE : CLAIM_ACT_SLOW_DOWN;
	return CLAIM_ACT_PUT_RIGHT;
}

void claim_note_put(struct claim_memory *memory, bool is_whole, uint64_t now_us)
{
	memory->put_us = now_us;
	if (is_whole)
		note_true(memory, now_us);
}
