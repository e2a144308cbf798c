/* A host without a kernel, for tests of common/host: the functions in this file take the place of change.c, facts.c,
 * check.c and net/command.c. All that is done is written to a log, one word a step: "route" is made, "route?" is looked
 * for and there, "route!" is looked for and missing, "-route" is taken back; a program ends when the test says so
 * (end_programs()). Included once, by a test that links libcommon: its own object files of these functions are then
 * left out of the link.
 */
#pragma once

#include "common/host/applied.h"
#include "common/host/check.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define TABLE_AS_MADE "table inet towpath-home { chain input { } }"

static struct host_bed {
	uv_loop_t loop;
	struct wg_config_prefix addresses[2], allowed[4];
	struct wg_config_peer peer;
	struct wg_config wireguard;
	struct host_setup setup;
	struct applied applied;
	char log[2048];
	const char *fails;	/* the step that fails */
	int failure;		/* with this errno, or exit code */
	const char *missing[4]; /* changes that a look does not find; made again they are there */
	const char *covered;	/* a route that the device's network holds */
	const char *table;	/* what nft lists */
	bool others_forward;	/* another program has switched forwarding on */
	struct command_setup program;
	char program_word[40]; /* "" where none runs */
} bed;

static inline void note(const char *word, const char *suffix)
{
	size_t len = strlen(bed.log);

	snprintf(bed.log + len, sizeof(bed.log) - len, "%s%s%s", len > 0 ? " " : "", word, suffix);
}

static bool fails_at(const char *word)
{
	return bed.fails && strcmp(bed.fails, word) == 0;
}

static inline void assert_log(const char *expected)
{
	assert_string_equal(bed.log, expected);
	bed.log[0] = '\0';
}

/* --- changes --- */

static const char *word_of(const struct change *change)
{
	static const char *const words[] = {[CHANGE_SYSCTL] = "sysctl",
		[CHANGE_DEVICE] = "device",
		[CHANGE_CONFIGURE] = "peers",
		[CHANGE_ADDRESS] = "address",
		[CHANGE_RAISE] = "raise",
		[CHANGE_DNS] = "dns",
		[CHANGE_ROUTE] = "route",
		[CHANGE_FIREWALL] = "table",
		[CHANGE_RULE] = "rule",
		[CHANGE_FORWARD] = "forward"};

	return words[change->kind];
}

/* Routes are told apart by their third byte: "route20". */
const char *change_text(char buf[CHANGE_TEXT_MAX], const struct change *change)
{
	const uint8_t *bytes = (const uint8_t *)&change->route.to.addr.in4.sin_addr;

	snprintf(buf, CHANGE_TEXT_MAX, "%s", word_of(change));
	if (change->kind == CHANGE_ROUTE)
		snprintf(buf, CHANGE_TEXT_MAX, "route%u", bytes[1]);
	return buf;
}

const char *change_area(const struct change *change)
{
	(void)change;
	return "test";
}

bool change_is_sync(const struct change *change)
{
	return change->kind != CHANGE_CONFIGURE && change->kind != CHANGE_DNS && change->kind != CHANGE_FIREWALL &&
	       change->kind != CHANGE_FORWARD;
}

static int make(const struct change *change, struct err *err)
{
	char text[CHANGE_TEXT_MAX];

	note(change_text(text, change), "");
	for (size_t i = 0; i < sizeof(bed.missing) / sizeof(bed.missing[0]); i++)
		if (bed.missing[i] && strcmp(bed.missing[i], text) == 0)
			bed.missing[i] = NULL;
	return fails_at(text) ? err_set(err, bed.failure, "refused") : 0;
}

int change_make(const struct change_target *target, struct change *change, struct err *err)
{
	char text[CHANGE_TEXT_MAX];
	int rc;

	(void)target;
	change->is_covered = bed.covered && strcmp(bed.covered, change_text(text, change)) == 0;
	rc = change->is_covered ? 0 : make(change, err);
	change->is_made = rc == 0;
	return rc;
}

int change_repeat(const struct change_target *target, const struct change *change, struct err *err)
{
	(void)target;
	return make(change, err);
}

int change_record(const struct change_target *target, const struct change *change, struct err *err)
{
	(void)target;
	(void)err;
	note("record-", word_of(change));
	return 0;
}

int change_is_there(const struct change_target *target, const struct change *change, struct err *err)
{
	char text[CHANGE_TEXT_MAX];

	(void)target;
	(void)err;
	change_text(text, change);
	for (size_t i = 0; i < sizeof(bed.missing) / sizeof(bed.missing[0]); i++)
		if (bed.missing[i] && strcmp(bed.missing[i], text) == 0)
			return 0;
	return 1;
}

int change_take_back(const struct change_target *target, const struct change *change, struct err *err)
{
	char text[CHANGE_TEXT_MAX];

	(void)target;
	(void)err;
	note("-", change_text(text, change));
	return 0;
}

void change_done(struct change *change)
{
	if (change->kind == CHANGE_DNS) {
		free(change->dns.set);
		free(change->dns.unset);
	}
	if (change->kind == CHANGE_FIREWALL)
		free(change->firewall);
}

/* --- programs --- */

/* A shell is named by the line that it runs. */
int command_start(struct command **ret, uv_loop_t *loop, const struct command_setup *plan, struct err *err)
{
	bool is_nft = strcmp(plan->argv[0], "nft") == 0;
	const char *const *last = plan->argv;

	while (last[1])
		last++;
	(void)loop;
	(void)err;
	assert_string_equal(bed.program_word, "");
	snprintf(bed.program_word, sizeof(bed.program_word), "%s",
		is_nft && strcmp(plan->argv[1], "list") == 0 ? "list"
		: is_nft				     ? "table"
							     : *last);
	note(bed.program_word, "");
	bed.program = *plan;
	*ret = (struct command *)&bed;
	return 0;
}

void command_close(struct command *command)
{
	if (command)
		note("killed-", bed.program_word);
	bed.program_word[0] = '\0';
}

void command_tails_close(struct command_tails *tails)
{
	(void)tails;
}

void command_kill(struct command *command)
{
	(void)command;
}

bool command_exists(const char *program)
{
	(void)program;
	return true;
}

const char *command_why(char *buf, size_t size, int status, const char *output)
{
	(void)status;
	snprintf(buf, size, "%s", output);
	return buf;
}

/* The program that runs ends; it may be followed by another one. */
static inline void end_program(void)
{
	const struct command_setup program = bed.program;
	bool is_list = strcmp(bed.program_word, "list") == 0, is_failure = fails_at(bed.program_word);

	if (strcmp(bed.program_word, "table") == 0)
		bed.table = TABLE_AS_MADE;
	bed.program_word[0] = '\0';
	program.on_exit(program.owner, is_failure ? bed.failure : 0, is_list ? bed.table : "refused");
}

static inline void end_programs(void)
{
	while (bed.program_word[0])
		end_program();
}

/* --- facts, checks --- */

int facts_pick_mark(struct netlink *netlink, const struct host_setup *setup, const struct undo *left, uint32_t *ret,
	int *ret_lock, struct err *err)
{
	(void)netlink;
	(void)setup;
	(void)left;
	(void)ret;
	(void)ret_lock;
	(void)err;
	return 0;
}

int facts_pick_index(struct netlink *netlink, struct err *err)
{
	(void)netlink;
	(void)err;
	return 12345;
}

int facts_gather(struct facts *ret, struct netlink *netlink, const struct host_setup *setup,
	const struct addr *endpoints, uint32_t mark, struct err *err)
{
	(void)netlink;
	(void)setup;
	(void)endpoints;
	note("facts", "");
	*ret = (struct facts){.plan = {.mark = mark, .mtu = 1420}};
	return fails_at("facts") ? err_set(err, bed.failure, "refused") : 0;
}

void facts_done(struct facts *facts)
{
	(void)facts;
}

void facts_follow_devices(struct facts *facts, struct netlink *netlink)
{
	(void)facts;
	(void)netlink;
}

void facts_follow_forwarding(struct facts *facts, const char *device)
{
	(void)device;
	facts->is_forwarding_changed |= facts->plan.forwards_ipv4 != bed.others_forward;
	facts->plan.forwards_ipv4 = bed.others_forward;
}

int facts_look_at_hooks(struct facts *facts, struct netlink *netlink, const struct host_setup *setup, struct err *err)
{
	(void)netlink;
	note("hooks", "");
	facts_follow_forwarding(facts, setup->device);
	return fails_at("hooks") ? err_set(err, bed.failure, "refused") : 0;
}

int check_host(struct netlink *netlink, const struct host_setup *setup, struct err *err)
{
	(void)netlink;
	(void)setup;
	note("check", "");
	return fails_at("check") ? err_set(err, bed.failure, "refused") : 0;
}

int check_capable(const char *path, const struct wg_config *wireguard, bool is_hidden, struct err *err)
{
	(void)path;
	(void)is_hidden;
	(void)wireguard;
	(void)err;
	return 0;
}

int check_new_routes(struct netlink *netlink, const struct host_setup *setup, int index, const struct plan_index *had,
	struct err *err)
{
	(void)netlink;
	(void)setup;
	(void)index;
	(void)had;
	note("check-routes", "");
	return fails_at("check-routes") ? err_set(err, bed.failure, "home.conf:9: taken by eth0") : 0;
}

/* --- the bed --- */

static inline void allow(struct wg_config_peer *peer, struct wg_config_prefix *list, const char *text)
{
	struct prefix prefix;

	assert_int_equal(prefix_parse(text, &prefix), 0);
	peer->allowed_ips = list;
	list[peer->allowed_ip_count++] = (struct wg_config_prefix){.prefix = prefix, .line = 8};
}

/* A hub "home" with an address and one peer behind 10.20.0.0/16. */
static void make_host_bed(void)
{
	struct prefix address;

	memset(&bed, 0, sizeof(bed));
	uv_loop_init(&bed.loop);
	bed.table = TABLE_AS_MADE;
	assert_int_equal(prefix_parse("10.10.0.1/24", &address), 0);
	bed.addresses[0] = (struct wg_config_prefix){.prefix = address, .line = 3};
	bed.peer.has_public_key = true;
	allow(&bed.peer, bed.allowed, "10.20.0.0/16");
	bed.wireguard = (struct wg_config){.interface = {.line = 2, .addresses = bed.addresses, .address_count = 1},
		.peers = &bed.peer,
		.peer_count = 1};
	bed.setup = (struct host_setup){.name = "home",
		.config_path = "home.conf",
		.wireguard_path = "home.conf",
		.device = "home",
		.wireguard = &bed.wireguard,
		.is_hub = true,
		.birth_netns_fd = -1};
	bed.applied = (struct applied){.loop = &bed.loop, .setup = &bed.setup, .netns_fd = -1, .table_lock = -1};
	bed.applied.endpoints = calloc(4, sizeof(*bed.applied.endpoints));
}

/* As bring-up leaves it: each change made. */
static inline void make_plan_of_bed(void)
{
	const struct plan_facts facts = {.mtu = 1420};
	struct err err = {""};

	assert_int_equal(plan_make(&bed.applied.plan, &bed.setup, &facts, 12345, &err), 0);
	assert_int_equal(plan_add_forwarding(&bed.applied.plan, &bed.setup, &facts), 0);
	for (size_t i = 0; i < bed.applied.plan.count; i++)
		bed.applied.plan.changes[i].is_made = true;
	free(bed.applied.firewall_listing);
	bed.applied.firewall_listing = strdup(TABLE_AS_MADE);
}

static void clear_host_bed(void)
{
	applied_stop(&bed.applied);
	plan_done(&bed.applied.plan);
	free(bed.applied.endpoints);
	free(bed.applied.firewall_listing);
	assert_int_equal(uv_run(&bed.loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&bed.loop), 0);
}
