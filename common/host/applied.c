/* A pass over the changes (applied.h).
 *
 *     applied_make_all     record, make          each change, in its order
 *     applied_look         look, make again      netlink's first and at once, then what programs look for
 *     applied_make_again   make again            one change
 *
 * pass_go_on() is the loop of all three. Where a change needs a program it returns, and the program's end calls it
 * again. A program that cannot be started ends at once with a negative errno, so there is one way on for every result.
 *
 * Changes that a program made, and rules in another table, are checked by the exit code of a program. Our own nftables
 * table has no such code: its listing is compared with the listing taken right after we had made it.
 */
#include "common/host/applied.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/require.h"
#include "common/net/firewall.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PROGRAM_TIMEOUT_MS 10000 /* nft waits for the kernel's lock, resolvconf for its scripts */

static void pass_go_on(struct applied *applied);

/* For one call: @index and the birth's socket change while bring-up goes on. */
static struct change_target target_of(struct applied *applied)
{
	return (struct change_target){.netlink = &applied->netlink,
		.birth = applied->birth.socket ? &applied->birth : &applied->netlink,
		.netns_fd = applied->netns_fd,
		.routes = &applied->routes,
		.undo = applied->undo,
		.device = applied->setup->device,
		.table = applied->plan.table,
		.index = applied->index};
}

/* --- the one program --- */

static void on_program_exit(void *owner, int status, const char *output)
{
	struct applied *applied = owner;

	applied->command = NULL;
	applied->on_program(applied, status, output);
}

/* @on_program gets the exit code and all output, or a negative errno with the reason as output. It may come before
 * this returns, so nothing may follow a call of this. The time limit kills nft or a shell that hangs: the pass then
 * goes on with -ETIMEDOUT, and the next look tries again. */
static void run_program(struct applied *applied, const char *const *argv, const char *input,
	void (*on_program)(struct applied *applied, int status, const char *output))
{
	const struct command_setup setup = {.argv = argv,
		.input = input,
		.input_len = input ? strlen(input) : 0,
		.timeout_ms = PROGRAM_TIMEOUT_MS,
		.on_exit = on_program_exit,
		.owner = applied};
	struct err err = {""};
	int rc;

	require(!applied->command); /* a second one would be forgotten, and answer for the first */
	applied->on_program = on_program;
	rc = command_start(&applied->command, applied->loop, &setup, &err);
	if (rc < 0)
		on_program(applied, rc, err.text);
}

static void run_shell(struct applied *applied, const char *line,
	void (*on_program)(struct applied *applied, int status, const char *output))
{
	const char *const argv[] = {"sh", "-c", line, NULL};

	run_program(applied, argv, NULL, on_program);
}

static void list_table(
	struct applied *applied, void (*on_program)(struct applied *applied, int status, const char *output))
{
	const char *const argv[] = {"nft", "list", "table", "inet", applied->plan.table, NULL};

	run_program(applied, argv, NULL, on_program);
}

/* --- one pass --- */

static void pass_begin(struct applied *applied, const struct applied_handlers *handlers, void *owner)
{
	require(!applied->handlers);
	net_routes_done(&applied->routes);
	applied->handlers = handlers;
	applied->owner = owner;
	applied->is_making = false;
	applied->at = 0;
	applied->end = applied->plan.count;
}

static struct change *change_now(struct applied *applied)
{
	return &applied->plan.changes[applied->at];
}

static void pass_next(struct applied *applied)
{
	applied->at++;
	pass_go_on(applied);
}

/* Return: true if the pass goes on. The handler may have ended it by applied_stop(). */
static bool tell_made(struct applied *applied, struct change *change, int status, const char *why)
{
	const struct applied_handlers *handlers = applied->handlers;

	if (status == 0)
		change->is_made = true;
	if (handlers->on_made && !handlers->on_made(applied->owner, change, status, why))
		applied->handlers = NULL;
	else if (!handlers->on_made && status != 0)
		log_warning("firewall", "%s", why);
	return applied->handlers;
}

/* Also the end of applied_keep_listing(), where at is end already. A table that cannot be listed keeps its old listing:
 * the next look then makes the table again, which does no harm. */
static void on_listed(struct applied *applied, int status, const char *output)
{
	if (status == 0) {
		free(applied->firewall_listing);
		applied->firewall_listing = strdup(output);
		if (applied->firewall_listing)
			firewall_normalise(applied->firewall_listing);
	}
	pass_next(applied);
}

/* The table that is there, if any, is not what is wanted now, so the next look makes it again. */
static void note_failure(struct applied *applied, struct change *firewall, const char *why)
{
	published_fail(&applied->published, why);
	free(applied->firewall_listing);
	applied->firewall_listing = NULL;
	firewall->failures++;
	firewall->paused_until_us = clock_now_us() + HOST_AGAIN_S * CLOCK_US_PER_S;
}

static void on_made_by_program(struct applied *applied, int status, const char *output)
{
	struct change *change = change_now(applied);
	bool is_firewall = change->kind == CHANGE_FIREWALL;
	char why[COMMAND_WHY_MAX] = "";

	if (status != 0)
		command_why(why, sizeof(why), status, output);
	if (is_firewall)
		memcpy(applied->firewall_why, why, sizeof(why));
	if (is_firewall && status == 0)
		published_settle(&applied->published, &applied->netlink);
	else if (is_firewall)
		note_failure(applied, change, why);
	if (!tell_made(applied, change, status, why))
		return;
	if (status == 0)
		change->failures = 0;
	/* While all is made for the first time, a hook may still change the table: bring-up lists it when hooks are
	 * over. */
	if (is_firewall && status == 0 && !applied->is_making)
		list_table(applied, on_listed);
	else
		pass_next(applied);
}

/* Published services have counters, which begin where those of the table before have ended. */
static void renew_script(struct applied *applied, struct change *change)
{
	char *script;

	published_read(&applied->published, applied->plan.table);
	script = plan_format_firewall(applied->setup, &applied->facts.plan);
	if (!script)
		return;
	free(change->firewall);
	change->firewall = script;
}

/* The script replaces the whole table in one transaction, so it may be run over one that is there, as the shell lines
 * may. */
static void make_by_program(struct applied *applied, struct change *change)
{
	static const char *const nft[] = {"nft", "-f", "-", NULL};

	if (change->kind == CHANGE_FIREWALL && applied->published.count > 0)
		renew_script(applied, change);
	if (change->kind == CHANGE_FIREWALL)
		run_program(applied, nft, change->firewall, on_made_by_program);
	else
		run_shell(applied, change->kind == CHANGE_DNS ? change->dns.set : change->forward.insert,
			on_made_by_program);
}

/* Return: true if a program was started, which goes on with the pass. */
static bool make_change(struct applied *applied, struct change *change)
{
	const struct change_target target = target_of(applied);
	const struct wg_device_setup device = {
		.config = applied->setup->wireguard, .fwmark = applied->mark, .endpoints = applied->endpoints};
	struct err err = {""};
	int rc;

	if (change_is_sync(change)) {
		rc = change_make(&target, change, &err);
	} else if (change->kind == CHANGE_CONFIGURE) {
		rc = wg_device_configure(applied->setup->device, &device, &err);
	} else {
		rc = change_record(&target, change, &err);
		if (rc == 0) {
			make_by_program(applied, change);
			return true;
		}
	}
	tell_made(applied, change, rc, err.text);
	return false;
}

/* If memory runs out the table counts as unchanged: making it again would not help. */
static bool is_as_kept(const struct applied *applied, const char *output)
{
	char *listing = strdup(output);
	bool is_same = true;

	if (listing) {
		firewall_normalise(listing);
		is_same = applied->firewall_listing && strcmp(listing, applied->firewall_listing) == 0;
	}
	free(listing);
	return is_same;
}

/* nft's exit code tells only whether the table is there, so its text decides; a FORWARD rule's check has the answer. */
static void on_looked(struct applied *applied, int status, const char *output)
{
	struct change *change = change_now(applied);

	if ((status == 0 && (change->kind != CHANGE_FIREWALL || is_as_kept(applied, output))) ||
		!applied->handlers->may_repair(applied->owner, change))
		pass_next(applied);
	else
		make_by_program(applied, change);
}

/* A change that is put back too often is not looked for either: a fight with another program shall not cost us
 * programs. */
static bool is_due(const struct change *change)
{
	return change->is_made && clock_now_us() >= change->paused_until_us;
}

/* The resolver is not looked at: resolvconf has no question that tells our entry from another's. Return: as
 * make_change(). */
static bool look_by_program(struct applied *applied, struct change *change)
{
	if (!is_due(change) || (change->kind != CHANGE_FIREWALL && change->kind != CHANGE_FORWARD))
		return false;
	if (change->kind == CHANGE_FIREWALL)
		list_table(applied, on_looked);
	else
		run_shell(applied, change->forward.check, on_looked);
	return true;
}

/* Ends in on_done, or in a program whose end calls this again. The handlers are forgotten first: on_done may start a
 * pass. */
static void pass_go_on(struct applied *applied)
{
	const struct applied_handlers *handlers = applied->handlers;

	/* Routes may have changed while a program ran. */
	net_routes_done(&applied->routes);
	for (; applied->handlers && applied->at < applied->end; applied->at++)
		if (applied->is_making ? make_change(applied, change_now(applied))
				       : look_by_program(applied, change_now(applied)))
			return;
	if (!applied->handlers)
		return;
	applied->handlers = NULL;
	handlers->on_done(applied->owner);
}

void applied_make_all(struct applied *applied, size_t from, const struct applied_handlers *handlers, void *owner)
{
	pass_begin(applied, handlers, owner);
	applied->is_making = true;
	applied->at = from;
	pass_go_on(applied);
}

void applied_look(struct applied *applied, const struct applied_handlers *handlers, void *owner)
{
	const struct change_target target = target_of(applied);

	pass_begin(applied, handlers, owner);
	published_read(&applied->published, applied->plan.table);
	for (size_t i = 0; i < applied->end && applied->handlers; i++) {
		struct change *change = &applied->plan.changes[i];
		struct err err = {""};
		int rc;

		if (!is_due(change) || !change_is_sync(change) || change_is_there(&target, change, NULL) != 0 ||
			!handlers->may_repair(owner, change))
			continue;
		rc = change_repeat(&target, change, &err);
		tell_made(applied, change, rc, err.text);
	}
	pass_go_on(applied);
}

void applied_make_again(
	struct applied *applied, struct change *change, const struct applied_handlers *handlers, void *owner)
{
	pass_begin(applied, handlers, owner);
	applied->at = (size_t)(change - applied->plan.changes);
	applied->end = applied->at + 1;
	make_by_program(applied, change);
}

void applied_keep_listing(struct applied *applied, const struct applied_handlers *handlers, void *owner)
{
	pass_begin(applied, handlers, owner);
	applied->at = applied->end;
	if (applied_find(applied, CHANGE_FIREWALL))
		list_table(applied, on_listed);
	else
		pass_go_on(applied);
}

void applied_stop(struct applied *applied)
{
	command_close(applied->command);
	applied->command = NULL;
	applied->handlers = NULL;
}

/* --- without a program --- */

struct change *applied_find(struct applied *applied, enum change_kind kind)
{
	for (size_t i = 0; i < applied->plan.count; i++)
		if (applied->plan.changes[i].kind == kind)
			return &applied->plan.changes[i];
	return NULL;
}

int applied_take_services(struct applied *applied, struct err *err)
{
	const struct host_setup *setup = applied->setup;
	struct plan_facts *facts = &applied->facts.plan;

	if (published_take(&applied->published, setup->publishes, setup->publish_count) < 0)
		return err_system(err, -ENOMEM, "[Publish]");
	published_tell_absent(setup->publishes, setup->publish_count, setup->config_path);
	facts->services = applied->published.services;
	facts->service_count = applied->published.count;
	for (size_t i = 0; i < setup->publish_count; i++)
		facts->opens_ipv4 |= setup->publishes[i].service.to.sa.sa_family == AF_INET;
	return 0;
}

/* Recorded before it is in the plan: without memory for the plan, the record undoes what was never made, which is
 * harmless. */
int applied_add(struct applied *applied, const struct change *change, struct err *err)
{
	const struct change_target target = target_of(applied);
	int rc = change_record(&target, change, err);

	if (rc == 0 && plan_take(&applied->plan, change) < 0)
		rc = err_system(err, -ENOMEM, "%s", change_area(change));
	return rc;
}

void applied_release_missing(struct applied *applied)
{
	const struct change_target target = target_of(applied);

	net_routes_done(&applied->routes);
	for (size_t i = 0; i < applied->plan.count; i++) {
		struct change *change = &applied->plan.changes[i];
		char text[CHANGE_TEXT_MAX];

		if (!change->is_made || !change_is_sync(change) || change_is_there(&target, change, NULL) != 0)
			continue;
		change->is_made = false;
		log_info(change_area(change), "%s: taken away by a hook; left so", change_text(text, change));
	}
}

/* --- another list of routes --- */

static bool is_reloadable(const struct change *change, const bool keeps_full[2])
{
	return change->kind == CHANGE_ROUTE && !(change->route.table != NET_ROUTE_TABLE_MAIN &&
						       keeps_full[change->route.to.addr.sa.sa_family == AF_INET6]);
}

/* A route that cannot be deleted is logged and forgotten: it goes with the device at the latest. */
static void drop_routes(struct applied *applied, const struct plan_index *wanted, const bool keeps_full[2])
{
	const struct change_target target = target_of(applied);
	size_t kept = 0;

	for (size_t i = 0; i < applied->plan.count; i++) {
		const struct change *change = &applied->plan.changes[i];
		struct err err = {""};

		if (!is_reloadable(change, keeps_full) || plan_index_has(wanted, &change->route.to))
			applied->plan.changes[kept++] = *change;
		else if (change->is_made && change_take_back(&target, change, &err) < 0)
			log_warning("route", "%s", err.text);
	}
	applied->plan.count = kept;
}

/* A route that a wider one held was left out; the wider one is gone by now. */
static void make_covered(struct applied *applied, const bool keeps_full[2])
{
	const struct change_target target = target_of(applied);

	for (size_t i = 0; i < applied->plan.count; i++) {
		struct change *change = &applied->plan.changes[i];
		struct err err = {""};

		if (is_reloadable(change, keeps_full) && change->is_covered && change_make(&target, change, &err) < 0)
			log_warning("route", "%s", err.text);
	}
}

static void add_routes(
	struct applied *applied, const struct plan_index *had, struct plan *wanted, const bool keeps_full[2])
{
	const struct change_target target = target_of(applied);

	for (size_t i = 0; i < wanted->count; i++) {
		struct change *change = &wanted->changes[i];
		struct err err = {""};

		if (!is_reloadable(change, keeps_full) || plan_index_has(had, &change->route.to))
			continue;
		if (change_make(&target, change, &err) < 0)
			log_warning("route", "%s", err.text);
		else if (plan_take(&applied->plan, change) < 0)
			log_warning("route", "out of memory");
	}
}

int applied_set_routes(struct applied *applied, struct plan *wanted, const bool keeps_full[2])
{
	struct plan_index in_wanted, had;

	if (plan_index_make(&in_wanted, wanted) < 0)
		return -ENOMEM;
	if (plan_index_make(&had, &applied->plan) < 0) {
		plan_index_done(&in_wanted);
		return -ENOMEM;
	}
	net_routes_done(&applied->routes);
	add_routes(applied, &had, wanted, keeps_full);
	drop_routes(applied, &in_wanted, keeps_full);
	net_routes_done(&applied->routes);
	make_covered(applied, keeps_full);
	plan_index_done(&in_wanted);
	plan_index_done(&had);
	return 0;
}

/* --- open, close --- */

/* Where the device is born in another namespace: a socket there, and our own namespace for the device to appear in. */
static int open_birth(struct applied *applied, struct err *err)
{
	if (applied->setup->birth_netns_fd < 0)
		return 0;
	applied->netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (applied->netns_fd < 0)
		return err_system(err, -errno, "/proc/self/ns/net");
	return netlink_open(&applied->birth, applied->setup->birth_netns_fd, err);
}

int applied_open(struct applied *applied, uv_loop_t *loop, const struct host_setup *setup, struct err *err)
{
	int rc;

	*applied = (struct applied){.loop = loop, .setup = setup, .netns_fd = -1, .table_lock = -1};
	applied->endpoints = calloc(setup->wireguard->peer_count + 1, sizeof(*applied->endpoints));
	if (!applied->endpoints)
		return err_system(err, -ENOMEM, "peers");
	/* The undo list is locked before a table is chosen: of two runs of this tunnel the second one must not get that
	 * far. */
	rc = netlink_open(&applied->netlink, -1, err);
	if (rc == 0)
		rc = open_birth(applied, err);
	if (rc == 0)
		rc = undo_open(&applied->undo, setup->state_dir, setup->name, err);
	/* Changes left by a crashed run are still in the list, so its table counts as free. */
	if (rc == 0)
		rc = facts_pick_mark(
			&applied->netlink, setup, applied->undo, &applied->mark, &applied->table_lock, err);
	return rc;
}

void applied_close(struct applied *applied)
{
	/* Each of them may be missing: applied_open() may have stopped anywhere. */
	applied_stop(applied);
	undo_close(applied->undo);
	if (applied->netlink.socket)
		netlink_close(&applied->netlink);
	if (applied->birth.socket)
		netlink_close(&applied->birth);
	if (applied->netns_fd >= 0)
		close(applied->netns_fd);
	if (applied->table_lock >= 0)
		close(applied->table_lock);
	plan_done(&applied->plan);
	published_done(&applied->published);
	facts_done(&applied->facts);
	net_routes_done(&applied->routes);
	free(applied->firewall_listing);
	free(applied->endpoints);
}
