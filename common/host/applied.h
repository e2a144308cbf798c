/* The plan as it stands on this host: what was made of it, with what it is made, and the one program that works on it.
 *
 * A change is made by netlink at once, or by a program beside the loop; callers do not see the difference. A call that
 * may need a program starts a *pass*: it goes over some changes in their order and calls the handlers below, from
 * inside the call or later from the loop, change by change. One pass at a time: the caller waits for on_done or calls
 * applied_stop(). A handler may call applied_stop(), and may start the next pass from on_done.
 *
 * Embedded in its owner, host.c. Used by bringup.c, repair.c, forward_watch.c and reload.c; it knows none of them.
 */
#pragma once

#include "common/host/facts.h"
#include "common/host/host_setup.h"
#include "common/host/plan.h"
#include "common/host/published.h"
#include "common/host/undo.h"
#include "common/net/command.h"
#include "common/net/forward.h"
#include "common/net/netlink.h"

struct applied_handlers {
	/* A look misses @change. Return: true to make it again. */
	bool (*may_repair)(void *owner, struct change *change);
	/* @change was made, or (@status not 0: a negative errno or a program's exit code) could not be; @why is one
	 * line. Return: true to go on with the pass; false ends it, and on_done does not come. NULL: a failure is
	 * logged as the firewall's, and the pass goes on. */
	bool (*on_made)(void *owner, struct change *change, int status, const char *why);
	void (*on_done)(void *owner);
};

struct applied {
	uv_loop_t *loop;
	const struct host_setup *setup; /* the owner's */
	struct netlink netlink, birth;
	int netns_fd; /* ours, where the device is born in another; -1 */
	struct undo *undo;
	uint32_t mark;	/* of the device; with a full tunnel the number of its table, too; 0: none */
	int table_lock; /* reserves that number; -1: none */
	int index;	/* of the device, chosen before it is made */

	struct addr *endpoints; /* one for each peer of the configuration; family 0: none or not known yet */
	struct facts facts;	/* what the plan was made from */
	struct published published;
	struct forward_rules forwards;
	struct plan plan;
	struct net_routes routes; /* as the pass under way has read them */
	char *firewall_listing;	  /* our table as we left it, normalised; NULL: none */
	char firewall_why[COMMAND_WHY_MAX]; /* it could not be made the last time; "": it was */

	/* The pass under way: */
	const struct applied_handlers *handlers; /* NULL: none */
	void *owner;
	bool is_making; /* the first time, with an entry in the undo list */
	size_t at, end; /* the change it is at, and the one before which it ends */
	struct command *command;
	void (*on_program)(struct applied *applied, int status, const char *output);
};

/* Lock the undo list, open netlink, choose the mark. Changes nothing. applied_close() it in any case.
 * Return: 0, -EBUSY where the tunnel runs already, or another negative errno. */
int applied_open(struct applied *applied, uv_loop_t *loop, const struct host_setup *setup, struct err *err);
void applied_close(struct applied *applied);

/* Make the changes of the plan from number @from on, each recorded first. */
void applied_make_all(struct applied *applied, size_t from, const struct applied_handlers *handlers, void *owner);

/* Look for all changes that were made and are not paused. First those that netlink can see, before this returns; then
 * those that a program has to look for. Missing ones are made again if may_repair allows it. */
void applied_look(struct applied *applied, const struct applied_handlers *handlers, void *owner);

/* Make @change of the plan again, whether it is there or not. */
void applied_make_again(
	struct applied *applied, struct change *change, const struct applied_handlers *handlers, void *owner);

/* Keep how our nftables table is listed now: looks compare with that. Without such a table nothing is asked. */
void applied_keep_listing(struct applied *applied, const struct applied_handlers *handlers, void *owner);

/* End the pass under way without on_done; its program is killed. */
void applied_stop(struct applied *applied);

/* --- without a program, done when these return --- */

/* The services of the setup take the place of what was published. Return: 0, or a negative errno: nothing has changed. */
int applied_take_services(struct applied *applied, struct err *err);

/* The first change of @kind. Return: NULL where there is none. */
struct change *applied_find(struct applied *applied, enum change_kind kind);

/* Record @change and put it at the end of the plan, for applied_make_again(). Return: 0 or a negative errno. */
int applied_add(struct applied *applied, const struct change *change, struct err *err);

/* Changes that are missing now are no longer ours: a hook took them away on purpose. */
void applied_release_missing(struct applied *applied);

/* Make the routes of @wanted those of the plan: what is new comes, then what is not among them goes, so that nothing
 * leaves in clear meanwhile. @keeps_full: of IPv4 and of IPv6, the routes outside the main table stay as they are.
 * Failures are logged and do not stop the rest. Return: 0 or -ENOMEM with nothing changed. */
int applied_set_routes(struct applied *applied, struct plan *wanted, const bool keeps_full[2]);
