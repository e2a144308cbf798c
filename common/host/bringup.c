/* Bring-up (bringup.h), one step after the other:
 *
 *     check_host()      refuses what cannot work, with the line to change
 *     rules             of other tables, which may refuse a [Publish]
 *     PreUp             may prepare what the rest needs, for example a network
 *     endpoints         names of peers become addresses
 *     plan              facts of this host → list of changes
 *     changes           each recorded in the undo list, then made
 *     PostUp            may change all of it
 *     listing           of our nftables table as the hooks have left it
 *     forward watch     other tables' FORWARD chains that drop; only where we forward
 *     forwarding        is switched on where a hook has not done so
 *
 * Nothing of ours is changed before the plan is there. Each step ends in fail() or in the next one; hooks, names, the
 * watch and some changes are programs beside the loop. A hook may do what check_host() was to rule out, so a change
 * that meets "exists" asks it again for the line that names the other owner.
 *
 * What a hook lets the device forward stays open, so we look at it before we switch forwarding on ourselves. Rules in
 * another FORWARD chain go to its head: those that [Gateway] and [Publish] ask for come before PostUp, so that a rule
 * which a hook puts there wins over them; that among peers comes after it, where no rule keeps them apart.
 */
#include "common/host/bringup.h"

#include "common/base/dropins.h"
#include "common/base/log.h"
#include "common/base/place.h"
#include "common/host/check.h"
#include "common/host/confined.h"
#include "common/host/full_tunnel.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAMES_PATIENCE_MS 20000

/* The text may be on the stack of a part that is stopped here, so the owner copies it. */
static void fail(struct bringup *bringup, const char *text)
{
	bringup_stop(bringup);
	bringup->setup.on_done(bringup->setup.owner, text);
}

/* With FILE:LINE in front, unless the reason begins with the file, or one of its drop-ins, already. @line 0: the line of
 * [Interface]. */
static void fail_at(struct bringup *bringup, unsigned line, const char *reason)
{
	const struct host_setup *host = bringup->setup.applied->setup;
	char text[ERR_TEXT_MAX];

	if (strncmp(reason, host->wireguard_path, dropins_stem_len(host->wireguard_path)) == 0)
		snprintf(text, sizeof(text), "%s", reason);
	else
		snprintf(text, sizeof(text), "%.300s: %.600s",
			PLACE(host->wireguard_path, line ? line : host->wireguard->interface.line), reason);
	fail(bringup, text);
}

void bringup_run_hooks(struct hooks *hooks, const struct wg_config_interface *interface, enum hook_kind kind,
	void (*on_done)(void *owner, const char *failure), void *owner)
{
	hooks->kind = kind;
	hooks->lines = interface->hooks[kind];
	hooks->file_lines = interface->hook_lines[kind];
	hooks->count = interface->hook_count[kind];
	hooks->on_done = on_done;
	hooks->owner = owner;
	hooks_start(hooks);
}

static void run_up_hooks(
	struct bringup *bringup, enum hook_kind kind, void (*on_done)(void *owner, const char *failure))
{
	const struct wg_config *config = bringup->setup.applied->setup->wireguard;

	bringup_run_hooks(bringup->setup.hooks, &config->interface, kind, on_done, bringup);
}

/* --- the changes --- */

/* Return: true, and whose it is, if another program has taken what was free when the host was checked. PreUp may, for
 * one. */
static bool was_taken(struct applied *applied, const struct change *change, struct err *err)
{
	if (change->kind == CHANGE_DEVICE)
		return check_host(&applied->netlink, applied->setup, err) < 0;
	return change->kind == CHANGE_ROUTE &&
	       check_new_routes(&applied->netlink, applied->setup, applied->index, NULL, err) < 0;
}

static void fail_change(struct bringup *bringup, const struct change *change, int status, const char *why)
{
	struct applied *applied = bringup->setup.applied;
	const char *module = change->kind == CHANGE_FIREWALL ? firewall_missing_module(why) : NULL;
	char text[CHANGE_TEXT_MAX], whole[ERR_TEXT_MAX];
	struct err err = {""};

	if (status == -EEXIST && was_taken(applied, change, &err)) {
		fail(bringup, err.text);
		return;
	}
	if (status == -EADDRINUSE) /* only a UDP port can be in use */
		snprintf(whole, sizeof(whole), "ListenPort: %u: taken by another program; `ss -lunp` names it",
			applied->setup->wireguard->interface.listen_port);
	else if (module)
		snprintf(whole, sizeof(whole),
			"device %s: nftables table: the kernel seems to have no %s, modprobe %s on the host helps: "
			"%.400s",
			applied->setup->device, module, module, why);
	else
		snprintf(whole, sizeof(whole), "device %s: %.300s: %.500s", applied->setup->device,
			change_text(text, change), why);
	fail_at(bringup, change->line, whole);
}

/* For each change, also while the plan is gone through for thousands of routes: at debug level only. */
static bool on_change_made(void *owner, struct change *change, int status, const char *why)
{
	struct bringup *bringup = owner;
	char text[CHANGE_TEXT_MAX];

	if (status != 0) {
		fail_change(bringup, change, status, why);
		return false;
	}
	if (!change->is_covered)
		log_debug(change_area(change), "device %s: %s", bringup->setup.applied->setup->device,
			change_text(text, change));
	if (change->kind == CHANGE_RAISE)
		bringup->setup.on_raised(bringup->setup.owner);
	return true;
}

/* --- hooks, and forwarding --- */

static void on_forwarding_on(void *owner)
{
	struct bringup *bringup = owner;

	bringup->setup.on_done(bringup->setup.owner, NULL);
}

static void switch_forwarding_on(void *owner)
{
	static const struct applied_handlers handlers = {.on_made = on_change_made, .on_done = on_forwarding_on};
	struct bringup *bringup = owner;
	struct applied *applied = bringup->setup.applied;
	size_t from = applied->plan.count;

	if (plan_add_forwarding(&applied->plan, applied->setup, &applied->facts.plan) < 0)
		fail_at(bringup, 0, "out of memory");
	else
		applied_make_all(applied, from, &handlers, bringup);
}

static void watch_forwards(struct bringup *bringup, bool is_before_hooks, void (*on_done)(void *owner))
{
	bringup->forwards = (struct forward_watch){.applied = bringup->setup.applied,
		.is_before_hooks = is_before_hooks,
		.on_done = on_done,
		.owner = bringup};
	forward_watch_start(&bringup->forwards);
}

static void on_listing_kept(void *owner)
{
	struct bringup *bringup = owner;
	struct applied *applied = bringup->setup.applied;
	struct err err = {""};

	if (!plan_forwards(applied->setup)) {
		bringup->setup.on_done(bringup->setup.owner, NULL);
		return;
	}
	if (facts_look_at_hooks(&applied->facts, &applied->netlink, applied->setup, &err) < 0) {
		fail_at(bringup, 0, err.text);
		return;
	}
	confined_tell(applied->setup, &applied->facts.plan);
	watch_forwards(bringup, false, switch_forwarding_on);
}

static void on_post_up_done(void *owner, const char *failure)
{
	static const struct applied_handlers handlers = {.on_done = on_listing_kept};
	struct bringup *bringup = owner;
	struct applied *applied = bringup->setup.applied;
	const struct wg_config_interface *interface = &applied->setup->wireguard->interface;

	if (failure) {
		fail_at(bringup, bringup->setup.hooks->failed_line, failure);
		return;
	}
	/* `PostUp = ip route del …` is meant so: the repair shall not put it back. */
	if (interface->hook_count[HOOK_POST_UP] > 0)
		applied_release_missing(applied);
	applied_keep_listing(applied, &handlers, bringup);
}

static void run_post_up(void *owner)
{
	run_up_hooks(owner, HOOK_POST_UP, on_post_up_done);
}

static void on_all_made(void *owner)
{
	struct bringup *bringup = owner;
	const struct host_setup *host = bringup->setup.applied->setup;

	if (host->gateway_count + host->publish_count > 0 && host->wireguard->interface.hook_count[HOOK_POST_UP] > 0)
		watch_forwards(bringup, true, run_post_up);
	else
		run_post_up(bringup);
}

/* --- the plan --- */

/* The numbers that were chosen: an operator meets them in `ip rule` and in the rules of a firewall. */
static void tell_numbers(const struct applied *applied, const struct plan_facts *facts)
{
	struct full_tunnel full;

	full_tunnel_find(&full, applied->setup);
	log_info("wireguard", "device %s: index %d, MTU %u", applied->setup->device, applied->index, facts->mtu);
	for (int i = 0; i < (facts->has_ipv6 ? 2 : 1); i++)
		if (full.is_full[i])
			log_info("route", "full tunnel, %s: table and mark %u, rules %u and %u",
				i == 0 ? "IPv4" : "IPv6", applied->mark, facts->free_priority[i] - 1,
				facts->free_priority[i]);
	if (!facts->has_ipv6)
		log_warning("wireguard", "this kernel has no IPv6: its addresses and routes are left out");
}

/* The index is drawn here and not by the kernel: undoing the device goes by it, so it has to be on disk before. */
static int make_plan(struct applied *applied, struct err *err)
{
	int rc = facts_gather(
		&applied->facts, &applied->netlink, applied->setup, applied->endpoints, applied->mark, err);

	if (rc == 0)
		rc = applied_take_services(applied, err);
	if (rc < 0)
		return rc;
	applied->index = facts_pick_index(&applied->netlink, err);
	if (applied->index < 0)
		return applied->index;
	rc = plan_make(&applied->plan, applied->setup, &applied->facts.plan, applied->index, err);
	if (rc == 0)
		tell_numbers(applied, &applied->facts.plan);
	return rc;
}

/* Return: true if there is a peer whose Endpoint is known, or that needs none. */
static bool has_peer(const struct applied *applied)
{
	const struct wg_config *config = applied->setup->wireguard;

	for (size_t i = 0; i < config->peer_count; i++)
		if (config->peers[i].has_public_key &&
			(!config->peers[i].endpoint || applied->endpoints[i].sa.sa_family != 0))
			return true;
	return false;
}

/* A name that is not found keeps the other peers from nothing: endpoint_watch.c asks for it again, and says so. */
static void on_endpoints_known(void *owner, const char *failure)
{
	static const struct applied_handlers handlers = {.on_made = on_change_made, .on_done = on_all_made};
	struct bringup *bringup = owner;
	struct err err = {""};

	if (failure && !has_peer(bringup->setup.applied))
		fail_at(bringup, 0, failure);
	else if (make_plan(bringup->setup.applied, &err) < 0)
		fail_at(bringup, 0, err.text);
	else
		applied_make_all(bringup->setup.applied, 0, &handlers, bringup);
}

/* --- before the plan --- */

static void on_pre_up_done(void *owner, const char *failure)
{
	struct bringup *bringup = owner;
	struct applied *applied = bringup->setup.applied;
	const struct wg_config *config = applied->setup->wireguard;

	if (failure) {
		fail_at(bringup, bringup->setup.hooks->failed_line, failure);
		return;
	}
	bringup->endpoints = (struct endpoints){.loop = applied->loop,
		.timer = bringup->setup.timer,
		.patience_ms = NAMES_PATIENCE_MS,
		.config = config,
		.path = applied->setup->wireguard_path,
		.addrs = applied->endpoints,
		.on_done = on_endpoints_known,
		.owner = bringup};
	endpoints_take_literals(config, &applied->setup->endpoint, applied->endpoints);
	endpoints_start(&bringup->endpoints);
}

static void on_ruleset_read(void *owner, const struct ruleset_texts *texts)
{
	struct bringup *bringup = owner;
	struct applied *applied = bringup->setup.applied;
	const struct host_setup *host = applied->setup;
	char table[FIREWALL_TABLE_MAX];
	struct published_check check = {.path = host->config_path,
		.table = firewall_format_table(table, host->name),
		.netlink = &applied->netlink};
	struct err err = {""};
	json_t *rules = NULL;
	int rc;

	bringup->scan = NULL;
	if (ruleset_read(texts, &rules, &err) < 0)
		log_warning("publish", "%s; another table may send what is published elsewhere", err.text);
	check.rules = rules;
	rc = published_check(&applied->published, host->publishes, host->publish_count, &check, &err);
	json_decref(rules);
	if (rc < 0)
		fail(bringup, err.text);
	else
		run_up_hooks(bringup, HOOK_PRE_UP, on_pre_up_done);
}

void bringup_start(struct bringup *bringup, const struct bringup_setup *setup)
{
	struct applied *applied = setup->applied;
	struct err err = {""};

	*bringup = (struct bringup){.setup = *setup};
	if (check_host(&applied->netlink, applied->setup, &err) < 0)
		fail(bringup, err.text);
	else if (applied->setup->publish_count == 0)
		run_up_hooks(bringup, HOOK_PRE_UP, on_pre_up_done);
	else if (ruleset_scan_start(&bringup->scan, applied->loop, on_ruleset_read, bringup, &err) < 0)
		fail(bringup, err.text);
}

void bringup_stop(struct bringup *bringup)
{
	if (!bringup->setup.applied)
		return;
	ruleset_scan_close(bringup->scan);
	bringup->scan = NULL;
	endpoints_stop(&bringup->endpoints);
	hooks_stop(bringup->setup.hooks);
	forward_watch_stop(&bringup->forwards);
	applied_stop(bringup->setup.applied);
}
