/* One round of the forward watch (forward_watch.h): scan → our table, if its script has changed or a hook has taken it
 * away → each new rule → on_done.
 *
 * Our own table confines what we switch forwarding on for, so where it cannot be made the round ends. A rule that fails
 * is logged and the next one is tried.
 */
#include "common/host/forward_watch.h"

#include "common/base/log.h"

#include <stdlib.h>
#include <string.h>

static void make_next_rule(void *owner);

/* By its command line, which holds the chain: rules of two chains are two changes. */
static struct change *find_rule(const struct forward_watch *watch, const struct forward_rule *rule)
{
	const struct plan *plan = &watch->applied->plan;

	for (size_t i = 0; i < plan->count; i++)
		if (plan->changes[i].kind == CHANGE_FORWARD &&
			strcmp(plan->changes[i].forward.insert, rule->insert) == 0)
			return &plan->changes[i];
	return NULL;
}

/* Return: a rule that is not in the plan, or that the repair has let go because its chain was gone; NULL: no more. */
static const struct forward_rule *next_new_rule(struct forward_watch *watch)
{
	const struct forward_rules *found = &watch->applied->forwards;

	for (; watch->at < found->count; watch->at++) {
		const struct change *change = find_rule(watch, &found->rules[watch->at]);

		if (!change || !change->is_made)
			return &found->rules[watch->at];
	}
	return NULL;
}

/* A rule that fails stops neither the next one nor the tunnel; without it the other chain still drops, as it did
 * before. */
static void make_next_rule(void *owner)
{
	static const struct applied_handlers handlers = {.on_done = make_next_rule};
	struct forward_watch *watch = owner;
	const struct forward_rule *rule = next_new_rule(watch);
	struct change *change = rule ? find_rule(watch, rule) : NULL;
	struct err err = {""};

	if (!rule) {
		watch->on_done(watch->owner);
		return;
	}
	/* One that was let go is still in the undo list. */
	if (!change) {
		const struct change added = {.kind = CHANGE_FORWARD, .forward = *rule};

		if (applied_add(watch->applied, &added, &err) < 0) {
			log_warning("firewall", "%s", err.text);
			watch->on_done(watch->owner);
			return;
		}
		change = &watch->applied->plan.changes[watch->applied->plan.count - 1];
	}
	log_notice("firewall", "another program's FORWARD drops; for %s: %s", watch->applied->setup->device,
		rule->insert);
	change->is_made = true; /* also where it fails, or is interrupted by a reload: the next look misses it then */
	watch->at++;
	applied_make_again(watch->applied, change, &handlers, watch);
}

static bool on_table_made(void *owner, struct change *change, int status, const char *why)
{
	struct forward_watch *watch = owner;

	if (status == 0 && change->failures > 0)
		log_notice("firewall", "nftables table: in force now");
	if (status == 0)
		return true;
	if (change->failures == 1)
		log_warning("firewall", "nftables table: cannot be made: %s; tried again every %d s", why,
			HOST_AGAIN_S);
	watch->applied->facts.is_forwarding_changed = true; /* tried again by the next look */
	watch->on_done(watch->owner);
	return false;
}

/* Another program may have begun to send their packets elsewhere. */
static void watch_services(struct applied *applied, const struct ruleset_texts *texts)
{
	struct published_check check = {
		.path = applied->setup->config_path, .table = applied->plan.table, .netlink = &applied->netlink};
	json_t *rules = NULL;

	if (ruleset_read(texts, &rules, NULL) < 0)
		return;
	check.rules = rules;
	published_watch(&applied->published, applied->setup->publishes, &check);
	json_decref(rules);
}

/* Our table is made anew where it would confine another family, where other services are published, and where a hook has
 * taken it away; else it stays, with the rules that a hook has put into it. */
static void on_ruleset_read(void *owner, const struct ruleset_texts *texts)
{
	static const struct applied_handlers handlers = {.on_made = on_table_made, .on_done = make_next_rule};
	struct forward_watch *watch = owner;
	struct applied *applied = watch->applied;
	const struct forward_setup setup = {.device = applied->setup->device,
		.comment = applied->plan.table,
		.among_peers = applied->setup->is_hub && !watch->is_before_hooks,
		.gateways = applied->facts.plan.gateways,
		.gateway_count = applied->facts.plan.gateway_count,
		.services = applied->published.services,
		.service_count = applied->published.count};
	struct change *firewall = applied_find(applied, CHANGE_FIREWALL);
	struct err err = {""};
	char *script = NULL;

	watch->scan = NULL;
	watch->at = 0;
	applied->forwards.count = 0;
	if (forward_find(texts, &setup, &applied->forwards, &err) < 0)
		log_warning("firewall", "%s; another table may drop what is forwarded", err.text);
	if (applied->published.count > 0)
		watch_services(applied, texts);
	if (firewall &&
		(applied->facts.is_forwarding_changed || applied->published.is_changed || !applied->firewall_listing))
		script = plan_format_firewall(applied->setup, &applied->facts.plan);
	applied->facts.is_forwarding_changed = false;
	if (!script) {
		make_next_rule(watch);
		return;
	}
	free(firewall->firewall);
	firewall->firewall = script;
	applied_make_again(applied, firewall, &handlers, watch);
}

void forward_watch_start(struct forward_watch *watch)
{
	const struct applied *applied = watch->applied;
	struct err err = {""};

	if (ruleset_scan_start(&watch->scan, applied->loop, on_ruleset_read, watch, &err) < 0) {
		log_warning("firewall", "%s", err.text);
		watch->on_done(watch->owner);
	}
}

void forward_watch_stop(struct forward_watch *watch)
{
	ruleset_scan_close(watch->scan);
	watch->scan = NULL;
}
