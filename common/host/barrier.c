/* See barrier.h.
 *
 * Theory of operation. A full tunnel is a default route in a table of its own, and rules that lead there. While one of
 * them is missing, packets leave by the host's usual default route, in clear. Repair puts it back, but an opponent may
 * take it away faster. So from the second loss within BARRIER_HOLD_US on, our nftables table has a chain that drops
 * whatever would leave by another device, until nothing has been missing for that long.
 *
 *    down ──a part is missing, and one was within the hold time──▶ up ──nothing missing for BARRIER_HOLD_US──▶ down
 *
 * Each look of the repair reports what it misses (is_missing) and then calls barrier_settle(), which decides, reads the
 * networks that stay within reach (those of the host's own devices; they change with the café), and makes our table
 * anew if its script has changed. A look that finds nothing missing settles as well, so the barrier falls by itself.
 *
 * A table that cannot be made is logged, and the next look tries again. Networks that cannot be read leave those of the
 * last time.
 */
#include "common/host/barrier.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

/* Addresses count, and whether the device is up, because the routes go with them. Our table does not: the barrier
 * itself is in it. */
bool barrier_is_for(const struct applied *applied, const struct change *change)
{
	bool is_full = false;

	for (size_t i = 0; i < applied->plan.count; i++)
		is_full |= applied->plan.changes[i].kind == CHANGE_RULE;
	switch (change->kind) {
	case CHANGE_ROUTE:
		return is_full && change->route.table != NET_ROUTE_TABLE_MAIN;
	case CHANGE_ADDRESS:
	case CHANGE_RAISE:
	case CHANGE_RULE:
		return is_full;
	case CHANGE_SYSCTL:
	case CHANGE_DEVICE:
	case CHANGE_CONFIGURE:
	case CHANGE_DNS:
	case CHANGE_SERVICE:
	case CHANGE_FIREWALL:
	case CHANGE_FORWARD:
		break;
	}
	return false;
}

/* Return: true if the barrier is to be up. The first loss alone raises none: a restarting program takes away once. */
static bool decide(struct barrier *barrier)
{
	bool was_missing = barrier->is_missing;
	uint64_t now_us = clock_now_us();
	bool is_recent = barrier->missing_us != 0 && now_us - barrier->missing_us < BARRIER_HOLD_US;

	barrier->is_missing = false;
	if (was_missing)
		barrier->missing_us = now_us;
	return is_recent && (was_missing || barrier->applied->facts.plan.barrier.is_up);
}

/* Where the networks cannot be read, those that were read before count. */
static void read_networks(struct barrier *barrier)
{
	struct plan_barrier *plan = &barrier->applied->facts.plan.barrier;
	struct applied *applied = barrier->applied;
	struct prefix *networks;
	struct err err = {""};
	int count = net_route_list_networks(&applied->netlink, applied->index, &networks, &err);

	if (count < 0) {
		log_warning("route", "%s", err.text);
		return;
	}
	free(barrier->networks);
	barrier->networks = networks;
	plan->networks = networks;
	plan->network_count = (size_t)count;
}

static void on_settled(void *owner)
{
	struct barrier *barrier = owner;

	barrier->on_done(barrier->owner);
}

/* Without a listing a look makes the table again: so it does where a reload ends this before the program has. */
static void make_table(struct barrier *barrier, struct change *firewall, char *script)
{
	static const struct applied_handlers handlers = {.on_done = on_settled};
	struct applied *applied = barrier->applied;

	free(firewall->firewall);
	firewall->firewall = script;
	free(applied->firewall_listing);
	applied->firewall_listing = NULL;
	applied_make_again(applied, firewall, &handlers, barrier);
}

void barrier_settle(struct barrier *barrier)
{
	struct applied *applied = barrier->applied;
	struct plan_barrier *plan = &applied->facts.plan.barrier;
	struct change *firewall = applied_find(applied, CHANGE_FIREWALL);
	bool was_up = plan->is_up;
	char *script = NULL;

	plan->is_up = firewall && decide(barrier);
	if (plan->is_up)
		read_networks(barrier);
	if (plan->is_up || was_up)
		script = plan_format_firewall(applied->setup, &applied->facts.plan);
	if (plan->is_up && !was_up)
		log_warning("firewall",
			"another program takes parts of the full tunnel away again and again; until 10 s pass without "
			"that, what would leave past the tunnel is dropped; if it is systemd-networkd, "
			"ManageForeignRoutes=no and ManageForeignRoutingPolicyRules=no in networkd.conf help");
	else if (was_up && !plan->is_up)
		log_notice("firewall", "the full tunnel has been whole for 10 s; nothing is dropped any more");
	if (script && strcmp(script, firewall->firewall) != 0) {
		make_table(barrier, firewall, script);
		return;
	}
	free(script);
	on_settled(barrier);
}

/* The next look comes then at the latest, so that the barrier does not stay up for want of an event. */
uint64_t barrier_ms_left(const struct barrier *barrier)
{
	uint64_t since_us = clock_now_us() - barrier->missing_us;

	if (!barrier->applied->facts.plan.barrier.is_up)
		return 0;
	return since_us < BARRIER_HOLD_US ? (BARRIER_HOLD_US - since_us) / CLOCK_US_PER_MS + 1 : 1;
}

void barrier_done(struct barrier *barrier)
{
	free(barrier->networks);
	barrier->networks = NULL;
}
