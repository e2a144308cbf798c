/* Bring-up: from a host that nothing was changed on to a tunnel that is up. Once in the life of a host, which embeds
 * it.
 *
 * Undoes nothing. After a failure, and after bringup_stop(), the undo list holds what was made, and the owner works it
 * off.
 */
#pragma once

#include "common/host/applied.h"
#include "common/host/endpoints.h"
#include "common/host/forward_watch.h"
#include "common/host/hook.h"

struct bringup_setup {
	struct applied *applied;	/* with its undo list empty */
	struct hooks *hooks;		/* the owner's, for all hooks: loop, device and tails are set */
	uv_timer_t *timer;		/* the owner's; its data is ours meanwhile */
	void (*on_raised)(void *owner); /* the device is up; addresses and routes are not complete yet */
	/* @failure: NULL: everything is up; else one line for the operator. Called once, not after bringup_stop(). */
	void (*on_done)(void *owner, const char *failure);
	void *owner;
};

struct bringup {
	struct bringup_setup setup;
	struct ruleset_scan *scan;  /* NULL: none under way */
	struct endpoints endpoints; /* names of peers that are looked up */
	struct forward_watch forwards;
};

/* To be called from the loop: on_done may come before this returns. */
void bringup_start(struct bringup *bringup, const struct bringup_setup *setup);
/* Kills what runs. Also before bringup_start() and after on_done. */
void bringup_stop(struct bringup *bringup);

/* Run the lines of @kind with the owner's and the callback that are set; also used for going down. */
void bringup_run_hooks(struct hooks *hooks, const struct wg_config_interface *interface, enum hook_kind kind,
	void (*on_done)(void *owner, const char *failure), void *owner);
