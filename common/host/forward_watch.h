/* Other tables' FORWARD chains that begin to drop while the tunnel is up: Docker, ufw or firewalld was started after
 * us.
 *
 * Embedded in the repair, which starts a round when the kernel says that nftables has changed. A round changes the
 * plan: rules for chains that have come are added to it, and our own table is made anew to confine what those rules let
 * through.
 */
#pragma once

#include "common/host/applied.h"
#include "common/net/forward.h"

struct forward_watch {
	struct applied *applied;
	void (*on_done)(void *owner); /* once for each start, also where something failed, which is logged */
	void *owner;
	struct forward_scan *scan; /* NULL: none under way */
	size_t at;		   /* the rule of applied->forwards that is gone through */
};

/* @watch: applied, on_done and owner are set. on_done may come before this returns. */
void forward_watch_start(struct forward_watch *watch);
/* on_done does not come any more. A program under way is applied's: applied_stop() it. */
void forward_watch_stop(struct forward_watch *watch);
