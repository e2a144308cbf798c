/* The inside of struct host, for the files of this folder.
 *
 *     host.c     its life: open, up, down, close
 *     bringup.c  the steps up, one after the other
 *     settle.c   programs of single changes: the resolver, nft, a rule in FORWARD
 *     repair.c   what others took away
 *     later.c    what others did that we have to do something about
 *     overlap.c  networks of the host's own that the tunnel wants, too
 *     reload.c   another configuration
 *     report.c   status
 */
#ifndef TOWPATH_HOST_HOST_INTERNAL_H
#define TOWPATH_HOST_HOST_INTERNAL_H

#include "common/host/endpoints.h"
#include "common/host/facts.h"
#include "common/host/fingerprint.h"
#include "common/host/hook.h"
#include "common/host/host.h"
#include "common/host/plan.h"
#include "common/host/undo.h"
#include "common/host/unwind.h"
#include "common/net/command.h"
#include "common/net/forward.h"
#include "common/net/netlink.h"
#include "common/wireguard/wg_guest.h"
#include "common/wireguard/wg_handshake.h"

enum host_phase {
	HOST_NEW,
	HOST_CLEANING, /* what a crash left */
	HOST_STARTING,
	HOST_UP,
	HOST_PRE_DOWN,	/* hooks run, all is still there */
	HOST_UNWINDING, /* everything is undone */
	HOST_POST_DOWN,
	HOST_ENDED,
};

enum host_timer {
	HOST_TIMER_STEP,    /* what comes next, from the loop */
	HOST_TIMER_RESOLVE, /* endpoints */
	HOST_TIMER_REPAIR,
	HOST_TIMER_COUNT,
};

struct host_repair {
	bool is_under_way, is_wanted; /* something has changed again meanwhile */
	bool device_is_gone, is_renamed;
	bool looks_for_forwards; /* nftables has changed */
	size_t put_back;	 /* in this look */
	size_t at;		 /* the change that a program looks at */
	size_t later;		 /* the rule of host->forwards that is gone through */
	uint64_t due_ms;
	uint64_t looked_ms; /* when the last look ended */
};

struct host {
	uv_loop_t *loop;
	struct host_setup setup;
	struct host_handlers handlers;
	void *owner;
	enum host_phase phase;
	bool is_stopping; /* host_down() was called */
	bool has_failed;
	char failure[ERR_TEXT_MAX];

	uv_timer_t timers[HOST_TIMER_COUNT];
	size_t open_handles; /* timers, the handshake and the guests: the last one to close frees the host */
	void (*next)(struct host *host); /* of HOST_TIMER_STEP */

	struct netlink netlink, birth;
	int netns_fd; /* ours, where the device is born in another; -1 */
	struct undo *undo;
	struct unwind unwind;
	struct hooks hooks;
	struct command_tails tails; /* of all hooks */

	struct endpoints endpoints;
	struct addr *addrs; /* one for each peer */
	struct forward_look *look;
	struct forward_rules forwards;
	uint32_t mark;
	int table_claim; /* of the full tunnel's table, which is called as the mark; negative: none */
	int index;
	struct facts facts; /* that the plan was made from */
	struct plan plan;
	size_t made;		  /* changes made; the next one's number */
	struct net_routes routes; /* of the pass over the changes that was begun last, see change.h */
	struct command *command;
	void (*on_command)(struct host *host, int status, const char *output);
	struct net_address *overlaps; /* what was told of */
	size_t overlap_count;
	char *firewall_listing; /* of our table as we left it, normalised */

	bool is_raised, link_is_up;
	struct wg_handshake handshake;
	struct wg_guests guests;
	struct host_repair repair;
	struct fingerprint fingerprint; /* of the configuration it was brought up with */
};

/* --- host.c --- */

/* Go on with @next from the loop. */
void host_go_on(struct host *host, void (*next)(struct host *host));
/* Bringing up failed: @text is the reason; everything is undone. */
void host_fail(struct host *host, const char *text);
/* Run a program; @on_done gets its exit code, or a negative errno where it could not be started. */
void host_run(struct host *host, const char *const *argv, const char *input,
	void (*on_done)(struct host *host, int status, const char *output));
struct change_place host_place(struct host *host);
void host_run_hooks(struct host *host, enum hook_kind kind, void (*on_done)(void *owner, const char *failure));

/* --- bringup.c --- */
void bringup_start(struct host *host);
void bringup_stop(struct host *host);

/* --- settle.c --- */

/* Make a change that a program makes. @on_made: @status 0, or not and @output says why. */
void settle_make(struct host *host, const struct change *change,
	void (*on_made)(struct host *host, int status, const char *output));
/* Is the FORWARD rule there; what does our table look like? @on_looked: @status 0: there it is. */
void settle_look(struct host *host, const struct change *change,
	void (*on_looked)(struct host *host, int status, const char *output));
void settle_list_table(struct host *host, void (*on_listed)(struct host *host, int status, const char *output));

/* --- repair.c --- */
void repair_begin(struct host *host); /* it is up now */
void repair_stop(struct host *host);
void repair_restart(struct host *host); /* the list of changes is another one: a look under way begins anew */
void repair_finish(struct host *host);	/* one look, its programs included */
/* Keep what our table looks like now, for the comparison. */
void repair_keep_listing(struct host *host, const char *output);

/* --- later.c --- */
void later_look(struct host *host); /* for a FORWARD that has begun to drop; ends in repair_finish() */

/* --- overlap.c --- */
void overlap_look(struct host *host);

/* --- reload.c --- */
void reload_remember(struct host *host);

#endif
