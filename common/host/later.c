/* A FORWARD that begins to drop while we are up: Docker, ufw or firewalld was started after us. What bringing up looks for once
 * is looked for again when the kernel says that nftables has changed. What is new becomes a change like the others, after our
 * own table was told to confine what those rules let through.
 */
#include "common/host/host_internal.h"

#include "common/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void make_next(struct host *host);

static struct change *find_firewall(struct host *host)
{
	for (size_t i = 0; i < host->plan.count; i++)
		if (host->plan.changes[i].kind == CHANGE_FIREWALL)
			return &host->plan.changes[i];
	return NULL;
}

static struct change *find_rule(struct host *host, const struct forward_rule *rule)
{
	for (size_t i = 0; i < host->plan.count; i++)
		if (host->plan.changes[i].kind == CHANGE_FORWARD &&
			strcmp(host->plan.changes[i].forward.insert, rule->insert) == 0)
			return &host->plan.changes[i];
	return NULL;
}

/* One that is not there, or that was let go. */
static const struct forward_rule *next_new(struct host *host)
{
	for (; host->repair.later < host->forwards.count; host->repair.later++) {
		const struct forward_rule *rule = &host->forwards.rules[host->repair.later];
		const struct change *change = find_rule(host, rule);

		if (!change || !change->is_made)
			return rule;
	}
	return NULL;
}

static void tell_failure(int status, const char *output)
{
	char line[256];

	log_warning("firewall", "%s", command_why(line, sizeof(line), status, output));
}

/* --- the rules --- */

static int write_down(struct host *host, const struct forward_rule *rule, struct err *err)
{
	const struct change_place place = host_place(host);
	const struct change change = {.kind = CHANGE_FORWARD, .forward = *rule, .is_made = true};
	int rc = change_record(&place, &change, host->plan.table, err);

	if (rc == 0 && plan_take(&host->plan, &change) < 0)
		rc = err_system(err, -ENOMEM, "firewall");
	return rc;
}

static void on_rule_made(struct host *host, int status, const char *output)
{
	if (status != 0)
		tell_failure(status, output);
	make_next(host);
}

static void make_next(struct host *host)
{
	const struct forward_rule *rule = next_new(host);
	struct change *change = rule ? find_rule(host, rule) : NULL;
	struct err err = {""};

	if (!rule) {
		repair_finish(host);
		return;
	}
	/* One that was let go is written down still. */
	if (!change && write_down(host, rule, &err) < 0) {
		log_warning("firewall", "%s", err.text);
		repair_finish(host);
		return;
	}
	log_notice("firewall", "another FORWARD has begun to drop; for %s: %s", host->setup.device, rule->insert);
	if (!change)
		change = &host->plan.changes[host->plan.count - 1];
	change->is_made = true;
	settle_make(host, change, on_rule_made);
}

/* --- our table first --- */

static void on_table_listed(struct host *host, int status, const char *output)
{
	if (status == 0)
		repair_keep_listing(host, output);
	make_next(host);
}

static void on_table_made(struct host *host, int status, const char *output)
{
	if (status == 0) {
		settle_list_table(host, on_table_listed);
		return;
	}
	tell_failure(status, output);
	repair_finish(host);
}

static void on_found(void *owner, const struct forward_rules *rules)
{
	struct host *host = owner;
	struct change *firewall = find_firewall(host);
	char *script;

	host->look = NULL;
	host->forwards = *rules;
	host->repair.later = 0;
	script = next_new(host) ? plan_format_firewall(&host->setup, &host->facts.plan) : NULL;
	if (!script || !firewall || strcmp(script, firewall->firewall) == 0) {
		free(script);
		make_next(host);
		return;
	}
	free(firewall->firewall);
	firewall->firewall = script;
	settle_make(host, firewall, on_table_made);
}

void later_look(struct host *host)
{
	struct err err = {""};

	host->repair.looks_for_forwards = false;
	if (forward_look_start(&host->look, host->loop, host->setup.device, host->plan.table, on_found, host, &err) <
		0) {
		log_warning("firewall", "%s", err.text);
		repair_finish(host);
	}
}
