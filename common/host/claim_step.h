/* One claim on one device: what is to be done, from what is seen. Pure.
 *
 *     WAITING ──the peer is there, and all of it was made──▶ TRUE ──another program undoes it──▶ (put right) ──▶ TRUE
 *        ▲                                                    │ │
 *        └────── the peer, the device or its place goes ──────┘ └──undone 5 times in 10 s──▶ LEFT_ALONE, 30 s
 *
 * What counts towards a fight is an undoing that is seen within a second after we have put the claim right. A peer that
 * goes does not count, nor a new device (the manager's restart). An undoing that came with a new content of the
 * manager's own file ends a fight: then a person has clicked, and the manager wrote down everything it knows. As many of
 * these in 10 s are said once, and from then on the claim is put right at most once a second, without a word, until it
 * has stood for 10 s.
 */
#pragma once

#include "common/host/claim_file.h"
#include "common/wireguard/wg_state.h"

#include <stdbool.h>
#include <stdint.h>

#define CLAIM_UNDONE_MAX 5

/* Whose a claimed prefix is. A prefix belongs to one peer of a device. */
enum claim_holding {
	CLAIM_HELD,   /* the claim's peer has it */
	CLAIM_FREE,   /* nobody has it */
	CLAIM_STOLEN, /* another peer has it, and the manager's file knows nothing of that: it is taken back */
	CLAIM_GIVEN,  /* another peer has it by the manager's file: it is left there */
	CLAIM_UNSURE, /* another peer has it, and the file is just being written */
};

/* Return: the peer that has exactly that prefix, or NULL. */
const struct wg_state_peer *claim_find_holder(const struct wg_state *state, const struct prefix *prefix);

/* @holder: of claim_find_holder(). @is_fresh: claim_file_is_fresh(). */
enum claim_holding claim_judge(const struct wg_state_peer *holder, const uint8_t public_key[WG_CONFIG_KEY_LEN],
	const struct prefix *prefix, const struct claim_file *file, bool is_fresh);

enum claim_state { CLAIM_WAITING, CLAIM_TRUE, CLAIM_LEFT_ALONE };

struct claim_memory {
	enum claim_state state;
	bool is_told;		/* of the fight, which may have several pauses */
	bool is_slow;		/* its manager rewrites it again and again */
	uint64_t put_us;	/* when it was put right last; 0: not on this device, or not for this peer */
	uint64_t paused_until_us;
	uint64_t undone_us[CLAIM_UNDONE_MAX]; /* when that happened, the oldest first; 0: not so often */
	uint64_t rewritten_us[CLAIM_UNDONE_MAX]; /* the same, with a new content */
	uint64_t true_us;	/* since when it is TRUE without a break */
};

/* One look at the device. */
struct claim_seen {
	bool has_peer;
	bool is_whole;	   /* the peer has every prefix that is not left to others, and each has its route */
	bool is_rewritten; /* the manager's file has another content than when the claim was put right */
};

enum claim_act {
	CLAIM_ACT_NONE,	    /* nothing is to be done */
	CLAIM_ACT_WITHDRAW, /* the peer is gone: its routes go as well */
	CLAIM_ACT_PUT_RIGHT,
	CLAIM_ACT_LEAVE_ALONE, /* from now on for a while: say so */
	CLAIM_ACT_SLOW_DOWN,   /* from now on: say so */
};

/* @now_us: monotonic, not 0. */
enum claim_act claim_step(struct claim_memory *memory, const struct claim_seen *seen, uint64_t now_us);

/* CLAIM_ACT_PUT_RIGHT was done. @is_whole: and nothing lacks. */
void claim_note_put(struct claim_memory *memory, bool is_whole, uint64_t now_us);

/* The device is gone, another one, or cannot be looked at. */
void claim_forget(struct claim_memory *memory);
