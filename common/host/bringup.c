/* The steps up: what a crash left is undone; the host is asked (check.h); PreUp; names of endpoints; what other FORWARDs do;
 * then the plan is made and one change after the other; PostUp; up.
 *
 * Nothing of ours is changed before the plan is there. A step that fails ends in host_fail(), with the line that matters.
 */
#include "common/host/host_internal.h"

#include "common/base/log.h"
#include "common/host/check.h"
#include "common/host/facts.h"
#include "common/net/netmon.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void make_next(struct host *host);

/* FILE:LINE in front, where the text does not begin with the file already. */
static void fail_at(struct host *host, unsigned line, const char *reason)
{
	const char *path = host->setup.wireguard_path;
	char text[ERR_TEXT_MAX];

	if (strncmp(reason, path, strlen(path)) == 0)
		snprintf(text, sizeof(text), "%s", reason);
	else
		snprintf(text, sizeof(text), "%.300s:%u: %.600s", path,
			line ? line : host->setup.wireguard->interface.line, reason);
	host_fail(host, text);
}

/* --- up --- */

/* A hook may have taken away on purpose what is ours: `PostUp = ip route del …`. It is not put back then. */
static void leave_to_hooks(struct host *host)
{
	const struct change_place place = host_place(host);

	net_routes_done(&host->routes);
	for (size_t i = 0; i < host->plan.count; i++) {
		struct change *change = &host->plan.changes[i];
		char text[320];

		if (!change->is_made || !change_is_sync(change) || change_is_there(&place, change, NULL) != 0)
			continue;
		change->is_made = false;
		log_info(change_area(change), "%s: taken away by a hook; left so",
			change_text(text, sizeof(text), change));
	}
}

static void is_up(struct host *host)
{
	host->phase = HOST_UP;
	reload_remember(host);
	repair_begin(host);
	host->handlers.on_up(host->owner);
}

static void on_listed(struct host *host, int status, const char *output)
{
	if (status == 0)
		repair_keep_listing(host, output);
	is_up(host);
}

static bool has_firewall(const struct host *host)
{
	for (size_t i = 0; i < host->plan.count; i++)
		if (host->plan.changes[i].kind == CHANGE_FIREWALL)
			return true;
	return false;
}

static void on_post_up_done(void *owner, const char *failure)
{
	struct host *host = owner;

	if (failure) {
		fail_at(host, host->setup.wireguard->interface.hook_lines[HOOK_POST_UP], failure);
		return;
	}
	if (host->setup.wireguard->interface.hook_count[HOOK_POST_UP] > 0)
		leave_to_hooks(host);
	if (has_firewall(host))
		settle_list_table(host, on_listed);
	else
		host_go_on(host, is_up);
}

static void run_post_up(struct host *host)
{
	host_run_hooks(host, HOOK_POST_UP, on_post_up_done);
}

/* --- one change after the other --- */

static int configure(struct host *host, struct err *err)
{
	const struct wg_device_plan plan = {
		.config = host->setup.wireguard, .fwmark = host->mark, .endpoints = host->addrs};

	return wg_device_configure(host->setup.device, &plan, err);
}

/* Somebody has taken it since the host was asked, PreUp for one: asked again, it says whose it is and what helps. */
static bool is_taken_now(struct host *host, const struct change *change, struct err *err)
{
	if (change->kind == CHANGE_DEVICE)
		return check_host(&host->netlink, &host->setup, err) < 0;
	return change->kind == CHANGE_ROUTE &&
	       check_new_routes(&host->netlink, &host->setup, host->index, NULL, err) < 0;
}

static void fail_change(struct host *host, const struct change *change, int code, const char *reason)
{
	char text[320], whole[ERR_TEXT_MAX];
	struct err err = {""};

	if (code == -EEXIST && is_taken_now(host, change, &err)) {
		host_fail(host, err.text);
		return;
	}
	change_text(text, sizeof(text), change);
	if (code == -EADDRINUSE)
		snprintf(whole, sizeof(whole), "ListenPort: %u: taken by another program; `ss -lunp` names it",
			host->setup.wireguard->interface.listen_port);
	else
		snprintf(whole, sizeof(whole), "device %s: %s: %.500s", host->setup.device, text, reason);
	fail_at(host, change->line, whole);
}

static void on_made_by_program(struct host *host, int status, const char *output)
{
	struct change *change = &host->plan.changes[host->made];
	char line[400];

	if (status == 0) {
		change->is_made = true;
		host->made++;
		make_next(host);
		return;
	}
	fail_change(host, change, 0, command_why(line, sizeof(line), status, output));
}

static int make_by_program(struct host *host, struct change *change, struct err *err)
{
	const struct change_place place = host_place(host);
	int rc = change_record(&place, change, host->plan.table, err);

	if (rc == 0)
		settle_make(host, change, on_made_by_program);
	return rc;
}

static int make_now(struct host *host, struct change *change, struct err *err)
{
	const struct change_place place = host_place(host);
	char text[320];
	int rc;

	if (change->kind == CHANGE_CONFIGURE)
		rc = configure(host, err);
	else
		rc = change_make(&place, change, err);
	if (rc == 0 && !change->is_covered)
		log_debug(change_area(change), "device %s: %s", host->setup.device,
			change_text(text, sizeof(text), change));
	if (rc == 0 && change->kind == CHANGE_RAISE) {
		host->is_raised = true;
		wg_guests_start(&host->guests);
		if (host->link_is_up)
			wg_handshake_start(&host->handshake);
	}
	return rc;
}

static void make_next(struct host *host)
{
	struct err err = {""};
	int rc = 0;

	net_routes_done(&host->routes);
	for (; rc == 0 && host->made < host->plan.count; host->made++) {
		struct change *change = &host->plan.changes[host->made];

		if (!change_is_sync(change) && change->kind != CHANGE_CONFIGURE) {
			rc = make_by_program(host, change, &err);
			if (rc == 0)
				return;
		} else {
			rc = make_now(host, change, &err);
		}
		if (rc < 0) {
			fail_change(host, change, rc, err.text);
			return;
		}
	}
	host_go_on(host, run_post_up);
}

/* --- the plan --- */

static void tell_numbers(const struct host *host, const struct plan_facts *facts)
{
	const struct wg_config *config = host->setup.wireguard;

	log_info("wireguard", "device %s: index %d, MTU %u", host->setup.device, host->index, facts->mtu);
	if (plan_is_full_tunnel(config, AF_INET))
		log_info("route", "0.0.0.0/0: table and mark %u, rules %u and %u", host->mark,
			facts->free_priority[0] - 1, facts->free_priority[0]);
	if (plan_is_full_tunnel(config, AF_INET6) && facts->has_ipv6)
		log_info("route", "::/0: table and mark %u, rules %u and %u", host->mark, facts->free_priority[1] - 1,
			facts->free_priority[1]);
	if (!facts->has_ipv6)
		log_warning("wireguard", "this kernel has no IPv6: its addresses and routes are left out");
}

static int make_plan(struct host *host, struct err *err)
{
	int rc = facts_gather(&host->facts, &host->netlink, &host->setup, host->addrs, host->mark, err);

	if (rc < 0)
		return rc;
	host->facts.plan.forwards = &host->forwards;
	host->index = facts_pick_index(&host->netlink, err);
	if (host->index < 0)
		return host->index;
	rc = plan_make(&host->plan, &host->setup, &host->facts.plan, host->index, err);
	if (rc == 0)
		tell_numbers(host, &host->facts.plan);
	return rc;
}

static void plan_and_make(struct host *host)
{
	struct err err = {""};

	if (make_plan(host, &err) < 0)
		fail_at(host, 0, err.text);
	else
		make_next(host);
}

static void on_forwards_found(void *owner, const struct forward_rules *rules)
{
	struct host *host = owner;

	host->look = NULL;
	host->forwards = *rules;
	host_go_on(host, plan_and_make);
}

static void look_at_forwards(struct host *host)
{
	struct err err = {""};
	char comment[FIREWALL_TABLE_MAX];

	if (!plan_forwards(&host->setup)) {
		plan_and_make(host);
		return;
	}
	firewall_format_table(comment, host->setup.name);
	if (forward_look_start(&host->look, host->loop, host->setup.device, comment, on_forwards_found, host, &err) < 0)
		fail_at(host, 0, err.text);
}

/* --- before the plan --- */

static void on_endpoints_known(void *owner, const char *failure)
{
	struct host *host = owner;

	if (failure)
		fail_at(host, 0, failure);
	else
		host_go_on(host, look_at_forwards);
}

static void find_endpoints(struct host *host)
{
	host->endpoints = (struct endpoints){.loop = host->loop,
		.timer = &host->timers[HOST_TIMER_RESOLVE],
		.config = host->setup.wireguard,
		.path = host->setup.wireguard_path,
		.addrs = host->addrs,
		.on_done = on_endpoints_known,
		.owner = host};
	endpoints_take_literals(host->setup.wireguard, &host->setup.endpoint, host->addrs);
	endpoints_start(&host->endpoints);
}

static void on_pre_up_done(void *owner, const char *failure)
{
	struct host *host = owner;

	if (failure)
		fail_at(host, host->setup.wireguard->interface.hook_lines[HOOK_PRE_UP], failure);
	else
		host_go_on(host, find_endpoints);
}

static void on_cleaned(void *owner)
{
	struct host *host = owner;
	struct err err = {""};

	if (host->unwind.undone > 0)
		log_notice("wireguard", "changes undone that a crash had left behind: %u", host->unwind.undone);
	host->phase = HOST_STARTING;
	if (host->is_stopping)
		host_fail(host, "");
	else if (check_host(&host->netlink, &host->setup, &err) < 0)
		host_fail(host, err.text);
	else
		host_run_hooks(host, HOOK_PRE_UP, on_pre_up_done);
}

void bringup_start(struct host *host)
{
	unwind_start(&host->unwind, host->loop, host->undo, on_cleaned, host);
}

void bringup_stop(struct host *host)
{
	endpoints_stop(&host->endpoints);
	forward_look_close(host->look);
	host->look = NULL;
	command_close(host->command);
	host->command = NULL;
}
