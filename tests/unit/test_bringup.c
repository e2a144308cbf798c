/* The order of bring-up, and that a failure at any step ends it there, with a line for the operator. */
#include "host_bed.h"

#include "common/host/bringup.h"
#include "common/wireguard/wg_device.h"

static struct bringup bringup;
static struct hooks hooks;
static char ping[] = "ping -c1 10.0.0.1";
static char *hook_lines[] = {ping};
static char failure[ERR_TEXT_MAX];
static bool finds_forward; /* the scan of other tables finds a FORWARD that drops */

/* Every step of a hub's bring-up but the last word, by name. "raised" and "up" are told to the owner. */
static const char *const steps[] = {"check", "PreUp", "names", "facts", "sysctl", "device", "peers", "address", "raise",
	"raised", "route20", "record-table", "table", "PostUp", "list", "hooks", "scan", "record-forward", "insert-it",
	"sysctl"};
#define SECOND_SYSCTL 19

#define STEP_COUNT (sizeof(steps) / sizeof(steps[0]))

/* --- what bring-up calls --- */

void hooks_start(struct hooks *started)
{
	static const char *const words[] = {"PreUp", "PostUp", "PreDown", "PostDown"};
	const char *word = words[started->kind];

	note(word, "");
	started->on_done(started->owner, fails_at(word) ? "refused" : NULL);
}

void hooks_stop(struct hooks *stopped)
{
	(void)stopped;
}

void hooks_kill(struct hooks *killed)
{
	(void)killed;
}

void endpoints_take_literals(const struct wg_config *config, const struct addr *through, struct addr *addrs)
{
	(void)config;
	(void)through;
	(void)addrs;
}

void endpoints_start(struct endpoints *endpoints)
{
	note("names", "");
	endpoints->on_done(endpoints->owner, fails_at("names") ? "refused" : NULL);
}

void endpoints_stop(struct endpoints *endpoints)
{
	(void)endpoints;
}

int ruleset_scan_start(struct ruleset_scan **ret, uv_loop_t *loop,
	void (*on_read)(void *owner, const struct ruleset_texts *texts), void *owner, struct err *err)
{
	(void)ret;
	(void)loop;
	if (fails_at("scan")) {
		note("scan", "");
		return err_set(err, bed.failure, "refused");
	}
	on_read(owner, NULL);
	return 0;
}

void ruleset_scan_close(struct ruleset_scan *scan)
{
	(void)scan;
}

int forward_find(const struct ruleset_texts *texts, const struct forward_setup *setup, struct forward_rules *ret,
	struct err *err)
{
	(void)texts;
	(void)err;
	note("scan", setup->among_peers ? "" : "-for-gateways");
	ret->count = finds_forward ? 1 : 0;
	strcpy(ret->rules[0].insert, "insert-it");
	return 0;
}

int wg_device_configure(const char *name, const struct wg_device_setup *plan, struct err *err)
{
	(void)name;
	(void)plan;
	note("peers", "");
	return fails_at("peers") ? err_set(err, bed.failure, "refused") : 0;
}

/* --- the owner --- */

static void on_raised(void *owner)
{
	(void)owner;
	note("raised", "");
}

static void on_done(void *owner, const char *text)
{
	(void)owner;
	snprintf(failure, sizeof(failure), "%s", text ? text : "");
	note(text ? "failed" : "up", "");
}

static int set_up(void **state)
{
	(void)state;
	make_host_bed();
	finds_forward = true;
	bed.failure = -EPERM;
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	clear_host_bed();
	return 0;
}

static void start(void)
{
	const struct bringup_setup setup = {
		.applied = &bed.applied, .hooks = &hooks, .on_raised = on_raised, .on_done = on_done};

	bringup_start(&bringup, &setup);
}

static void bring_up(void)
{
	start();
	end_programs();
}

/* --- tests --- */

/* Nothing is changed before the plan is there; handshakes may begin once the device is up; hooks come before all that
 * forwards. */
static void steps_come_in_their_order(void **state)
{
	(void)state;
	bring_up();
	assert_log(
		"check PreUp names facts sysctl device peers address raise raised route20 record-table table PostUp list "
		"hooks scan record-forward insert-it sysctl up");
	assert_string_equal(bed.applied.firewall_listing, TABLE_AS_MADE);
}

/* Whatever step fails, the owner hears of it once, and no later step is begun. */
static void failure_at_any_step_ends_it_there(void **state)
{
	char name[] = "vps.example.org:51820";

	clear_host_bed();
	for (size_t failing = 0; failing < STEP_COUNT; failing++) {
		char expected[512] = "";

		/* Left out: the second of two steps with one name, steps that cannot fail, and steps that may. */
		if (failing == SECOND_SYSCTL || strcmp(steps[failing], "raised") == 0 ||
			strncmp(steps[failing], "record", 6) == 0 || strcmp(steps[failing], "list") == 0 ||
			strcmp(steps[failing], "scan") == 0 || strcmp(steps[failing], "insert-it") == 0)
			continue;
		set_up(state);
		bed.fails = steps[failing];
		bed.peer.endpoint = name; /* of the only peer */
		bring_up();
		for (size_t i = 0; i <= failing; i++)
			strcat(strcat(expected, steps[i]), " ");
		assert_log(strcat(expected, "failed"));
		clear_host_bed();
	}
	set_up(state);
}

/* It is asked for again later; the peer without an Endpoint needs none. */
static void name_that_is_not_found_keeps_no_other_peer_down(void **state)
{
	(void)state;
	bed.fails = "names";
	bring_up();
	assert_log(
		"check PreUp names facts sysctl device peers address raise raised route20 record-table table PostUp list "
		"hooks scan record-forward insert-it sysctl up");
}

/* Changes made before a failure stay, and are in the undo list: the owner undoes them. */
static void what_was_made_is_left_to_the_undo_list(void **state)
{
	(void)state;
	bed.fails = "route20";
	bring_up();
	assert_true(applied_find(&bed.applied, CHANGE_ADDRESS)->is_made);
	assert_false(applied_find(&bed.applied, CHANGE_ROUTE)->is_made);
	assert_null(strstr(bed.log, "-route"));
}

static void failure_names_the_line_of_the_file(void **state)
{
	(void)state;
	bed.fails = "route20";
	bring_up();
	assert_string_equal(failure, "home.conf:8: device home: route20: refused");
}

static void program_that_fails_is_quoted(void **state)
{
	(void)state;
	bed.fails = "table";
	bed.failure = 1;
	bring_up();
	assert_string_equal(failure, "home.conf:2: device home: table: refused");
}

static void port_in_use_is_named(void **state)
{
	(void)state;
	bed.wireguard.interface.listen_port = 51820;
	bed.fails = "peers";
	bed.failure = -EADDRINUSE;
	bring_up();
	assert_string_equal(failure, "home.conf:2: ListenPort: 51820: taken by another program; `ss -lunp` names it");
}

/* A route that PreUp has made, say: the check knows whose it is. */
static void what_was_taken_since_the_check_is_asked_again(void **state)
{
	(void)state;
	bed.fails = "route20";
	bed.failure = -EEXIST;
	bring_up();
	assert_non_null(strstr(bed.log, "route20 check-routes failed"));
	assert_string_equal(failure, "home.conf:8: device home: route20: refused");
}

static void stop_kills_the_program_and_ends_it(void **state)
{
	(void)state;
	start();
	assert_string_equal(bed.program_word, "table");
	bed.log[0] = '\0';
	bringup_stop(&bringup);
	assert_log("killed-table");
	end_programs();
	assert_log("");
}

static void use_a_hook(void)
{
	bed.wireguard.interface.hooks[HOOK_POST_UP] = hook_lines;
	bed.wireguard.interface.hook_count[HOOK_POST_UP] = 1;
}

/* `PostUp = ip route del …` is meant so: it is no longer ours to put back. */
static void what_a_hook_takes_away_is_released(void **state)
{
	(void)state;
	use_a_hook();
	bed.missing[0] = "never made";
	start();
	bed.missing[0] = "route20";
	end_programs();
	assert_false(applied_find(&bed.applied, CHANGE_ROUTE)->is_made);
	assert_true(applied_find(&bed.applied, CHANGE_ADDRESS)->is_made);
}

/* Without a rule the host forwards all the same, so neither stops it. */
static void scan_and_rules_that_fail_do_not_stop_it(void **state)
{
	(void)state;
	bed.fails = "scan";
	bring_up();
	assert_log("check PreUp names facts sysctl device peers address raise raised route20 record-table table PostUp "
		   "list hooks scan sysctl up");
	clear_host_bed();
	set_up(state);
	bed.fails = "insert-it";
	bring_up();
	assert_log("check PreUp names facts sysctl device peers address raise raised route20 record-table table PostUp "
		   "list hooks scan record-forward insert-it sysctl up");
}

/* `PostUp = sysctl -w net.ipv4.ip_forward=1; iptables -A FORWARD …` opens the device, and our table lets it. */
static void what_a_hook_forwards_is_not_confined(void **state)
{
	(void)state;
	finds_forward = false;
	use_a_hook();
	bed.others_forward = true;
	bring_up();
	assert_log("check PreUp names facts sysctl device peers address raise raised route20 record-table table PostUp "
		   "list hooks scan table list sysctl up");
	assert_null(strstr(applied_find(&bed.applied, CHANGE_FIREWALL)->firewall, "drop"));
}

/* `nft flush ruleset` in a hook: our table is back before we forward. */
static void table_that_a_hook_takes_away_comes_back_first(void **state)
{
	(void)state;
	finds_forward = false;
	use_a_hook();
	bed.fails = "list";
	bed.failure = 1;
	bring_up();
	assert_log("check PreUp names facts sysctl device peers address raise raised route20 record-table table PostUp "
		   "list hooks scan table list sysctl up");
}

/* A rule that a hook inserts stands above those for [Gateway], and decides whether peers reach each other. */
static void rules_for_a_gateway_come_before_hooks(void **state)
{
	static struct prefix lan;
	const struct gateway gateway = {.lans = &lan, .lan_count = 1};

	(void)state;
	bed.setup.gateways = &gateway;
	bed.setup.gateway_count = 1;
	use_a_hook();
	bring_up();
	assert_log("check PreUp names facts sysctl device peers address raise raised route20 record-table table "
		   "scan-for-gateways table list record-forward insert-it PostUp list hooks scan sysctl up");
}

/* Without a hub and a gateway there is no other table to look at, and none of ours. */
static void host_that_does_not_forward_scans_nothing(void **state)
{
	(void)state;
	bed.setup.is_hub = false;
	finds_forward = false;
	bring_up();
	assert_log("check PreUp names facts sysctl device peers address raise raised route20 PostUp up");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(steps_come_in_their_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failure_at_any_step_ends_it_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(name_that_is_not_found_keeps_no_other_peer_down, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_made_is_left_to_the_undo_list, set_up, tear_down),
		cmocka_unit_test_setup_teardown(failure_names_the_line_of_the_file, set_up, tear_down),
		cmocka_unit_test_setup_teardown(program_that_fails_is_quoted, set_up, tear_down),
		cmocka_unit_test_setup_teardown(port_in_use_is_named, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_taken_since_the_check_is_asked_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(stop_kills_the_program_and_ends_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_hook_takes_away_is_released, set_up, tear_down),
		cmocka_unit_test_setup_teardown(scan_and_rules_that_fail_do_not_stop_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_a_hook_forwards_is_not_confined, set_up, tear_down),
		cmocka_unit_test_setup_teardown(table_that_a_hook_takes_away_comes_back_first, set_up, tear_down),
		cmocka_unit_test_setup_teardown(rules_for_a_gateway_come_before_hooks, set_up, tear_down),
		cmocka_unit_test_setup_teardown(host_that_does_not_forward_scans_nothing, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("bringup", tests, NULL, NULL);
}
