/* Other tables' FORWARD chains that drop: when the tunnel comes up, and while it is up, as Docker, ufw or firewalld may
 * be started after us.
 *
 * Embedded in the bring-up, and in the repair, which starts a round when the kernel says that nftables or forwarding
 * has changed. A round changes the plan: rules for chains that have come are added to it, and our own table is made
 * anew where another program has begun or ceased to forward for the device.
 */
#pragma once

#include "common/host/applied.h"
#include "common/net/ruleset_scan.h"

struct forward_watch {
	struct applied *applied;
	bool is_before_hooks; /* PostUp is still to come: no rule among peers, which a hook may want to keep apart */
	void (*on_done)(void *owner); /* once for each start, also where something failed, which is logged */
	void *owner;
	struct ruleset_scan *scan; /* NULL: none under way */
	size_t at;		   /* the rule of applied->forwards that is gone through */
};

/* @watch: all before scan are set. on_done may come before this returns. */
void forward_watch_start(struct forward_watch *watch);
/* on_done does not come any more. A program under way is applied's: applied_stop() it. */
void forward_watch_stop(struct forward_watch *watch);
