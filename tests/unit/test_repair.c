/* The repair: missing changes are put back, though not for ever, and a change during a look leads to another look. */
#include "host_bed.h"

#include "common/host/repair.h"
#include "common/net/address.h"
#include "common/net/dns.h"
#include "common/net/link.h"
#include "common/net/netmon.h"

#define INDEX 12345

static struct repair repair;
static uv_timer_t timer;
static unsigned looks, scans, raises;
static enum { DEVICE_THERE, DEVICE_GONE, DEVICE_RENAMED } device;
static bool finds_forward, asks_dns;

/* --- what the repair calls --- */

/* Once a look. */
int net_link_find(struct netlink *netlink, const char *name, struct net_link *ret, struct err *err)
{
	(void)netlink;
	(void)name;
	(void)err;
	looks++;
	*ret = (struct net_link){.index = INDEX};
	return device == DEVICE_THERE ? 0 : -ENODEV;
}

int net_link_list(struct netlink *netlink, struct net_link **ret, size_t *ret_count, struct err *err)
{
	(void)netlink;
	(void)ret;
	(void)ret_count;
	return err_set(err, -ENOTSUP, "not asked for");
}

int net_link_get(struct netlink *netlink, int index, struct net_link *ret, struct err *err)
{
	(void)netlink;
	(void)err;
	*ret = (struct net_link){.index = index, .name = "other", .kind = "wireguard"};
	return device == DEVICE_RENAMED ? 0 : -ENODEV;
}

int net_address_list(struct netlink *netlink, struct net_address **ret, size_t *ret_count, struct err *err)
{
	(void)netlink;
	(void)err;
	*ret = NULL;
	*ret_count = 0;
	return 0;
}

int ruleset_scan_start(struct ruleset_scan **ret, uv_loop_t *loop,
	void (*on_read)(void *owner, const struct ruleset_texts *texts), void *owner, struct err *err)
{
	(void)ret;
	(void)loop;
	(void)err;
	scans++;
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
	(void)setup;
	(void)err;
	ret->count = finds_forward ? 1 : 0;
	strcpy(ret->rules[0].check, "check-it");
	strcpy(ret->rules[0].insert, "insert-it");
	return 0;
}

bool dns_is_asked_first(const char *root, const char *set)
{
	(void)root;
	assert_string_equal(set, "set-dns");
	return asks_dns;
}

/* --- the bed --- */

static void on_looked(void *owner)
{
	(void)owner;
}

static void on_raised(void *owner)
{
	(void)owner;
	raises++;
}

static int set_up(void **state)
{
	const struct repair_setup setup = {.applied = &bed.applied, .timer = &timer, .on_looked = on_looked, .on_raised = on_raised};

	(void)state;
	make_host_bed();
	make_plan_of_bed();
	bed.applied.index = INDEX;
	looks = scans = raises = 0;
	device = DEVICE_THERE;
	finds_forward = false;
	uv_timer_init(&bed.loop, &timer);
	repair_start(&repair, &setup);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	repair_stop(&repair);
	if (bed.applied.netlink.socket)
		netlink_close(&bed.applied.netlink);
	uv_close((uv_handle_t *)&timer, NULL);
	clear_host_bed();
	return 0;
}

/* Until the look number @count is over, its programs too. */
static void run_to_look(unsigned count)
{
	while (looks < count || repair.is_under_way) {
		assert_true(uv_is_active((uv_handle_t *)&timer) || bed.program_word[0]);
		if (!bed.program_word[0])
			uv_run(&bed.loop, UV_RUN_ONCE);
		end_programs();
	}
}

/* To the middle of a look: its first program runs. */
static void run_to_program(void)
{
	while (!bed.program_word[0])
		uv_run(&bed.loop, UV_RUN_ONCE);
}

/* --- tests --- */

static void host_as_it_should_be_is_left_alone(void **state)
{
	(void)state;
	run_to_look(1);
	assert_log("list");
}

static void what_is_missing_is_put_back_in_the_plans_order(void **state)
{
	(void)state;
	bed.missing[0] = "route20";
	bed.missing[1] = "address";
	run_to_look(1);
	assert_log("address route20 list");
}

/* A table that another program has changed is made anew, and its new listing is what the next look compares with. */
static void changed_table_is_made_again_and_listed(void **state)
{
	(void)state;
	bed.table = "table inet towpath-home { }";
	run_to_look(1);
	assert_log("list table list");
	repair_on_network(&repair, NETMON_ROUTE);
	run_to_look(2);
	assert_log("list");
}

/* WireGuard forgets its sessions while its device is down. */
static void device_that_was_down_is_told(void **state)
{
	(void)state;
	bed.missing[0] = "raise";
	run_to_look(1);
	assert_int_equal(raises, 1);
}

static void fight_is_given_up_after_five_repairs(void **state)
{
	struct change *route = applied_find(&bed.applied, CHANGE_ROUTE);

	(void)state;
	for (unsigned look = 1; look <= 7; look++) {
		bed.missing[0] = "route20";
		repair_on_network(&repair, NETMON_ROUTE);
		run_to_look(look);
	}
	assert_log("route20 list route20 list route20 list route20 list route20 list list list");
	/* Once the pause is over it is tried again. */
	route->paused_until_us = 1;
	repair_on_network(&repair, NETMON_ROUTE);
	run_to_look(8);
	assert_log("route20 list");
}

/* The rules of published services are put back however often they go, and each time within two seconds. */
static void services_are_put_back_in_a_fight(void **state)
{
	static struct service one;
	static struct firewall_service service = {.service = &one};
	struct change *table = applied_find(&bed.applied, CHANGE_FIREWALL);

	(void)state;
	bed.applied.published.services = &service;
	bed.applied.published.count = 1;
	for (unsigned look = 1; look <= 9; look++) {
		bed.table = "";
		bed.log[0] = '\0';
		repair_on_network(&repair, NETMON_ROUTE);
		run_to_look(look);
		assert_log("list table list");
		assert_true(table->paused_until_us < clock_now_us() + 1500 * CLOCK_US_PER_MS);
		assert_int_equal(table->paused_until_us > clock_now_us(), look > 5);
		table->paused_until_us = 0;
	}
	bed.applied.published.services = NULL;
	bed.applied.published.count = 0;
}

/* Instead of the hub: a laptop with a full tunnel. */
static void have_full_tunnel(void)
{
	struct err err = {""};

	plan_done(&bed.applied.plan);
	bed.peer.allowed_ip_count = 0;
	bed.setup.is_hub = false;
	allow(&bed.peer, bed.allowed, "0.0.0.0/0");
	allow(&bed.peer, bed.allowed, "10.20.0.0/16");
	make_plan_of_bed();
	if (!bed.applied.netlink.socket)
		assert_int_equal(netlink_open(&bed.applied.netlink, -1, &err), 0);
}

static bool barrier_is_up(void)
{
	return bed.applied.facts.plan.barrier.is_up;
}

static void look_without(const char *what, unsigned look)
{
	bed.missing[0] = what;
	repair_on_network(&repair, NETMON_RULE);
	run_to_look(look);
}

/* Once may have been a slip; the second time what leaves in clear is dropped. */
static void barrier_goes_up_with_the_second_loss(void **state)
{
	(void)state;
	have_full_tunnel();
	look_without("rule", 1);
	assert_log("rule list");
	assert_false(barrier_is_up());
	look_without("route0", 2);
	assert_log("route0 list table list");
	assert_true(barrier_is_up());
	look_without("rule", 3);
	assert_log("rule list");
	assert_true(barrier_is_up());
}

static void barrier_goes_down_when_all_has_stood(void **state)
{
	(void)state;
	have_full_tunnel();
	look_without("rule", 1);
	look_without("rule", 2);
	assert_true(barrier_is_up());
	repair.barrier.missing_us -= BARRIER_HOLD_US - CLOCK_US_PER_S / 5;
	bed.log[0] = '\0';
	run_to_look(3); /* it comes by itself */
	assert_log("list table list");
	assert_false(barrier_is_up());
	/* The next loss is a first one again. */
	repair.barrier.missing_us -= BARRIER_HOLD_US;
	look_without("rule", 4);
	assert_log("rule list");
	assert_false(barrier_is_up());
}

/* A second loss long after the first one, and what no full tunnel needs. */
static void barrier_stays_down(void **state)
{
	(void)state;
	have_full_tunnel();
	look_without("rule", 1);
	repair.barrier.missing_us -= BARRIER_HOLD_US;
	look_without("rule", 2);
	look_without("route20", 3);
	assert_false(barrier_is_up());
}

/* The table with the barrier was being made when a reload came: the next look makes it. */
static void barrier_outlives_a_reload(void **state)
{
	(void)state;
	have_full_tunnel();
	look_without("rule", 1);
	bed.missing[0] = "rule";
	repair_on_network(&repair, NETMON_RULE);
	run_to_program();
	end_program(); /* list */
	assert_string_equal(bed.program_word, "table");
	bed.log[0] = '\0';
	repair_restart(&repair);
	run_to_look(3);
	assert_log("killed-table list table list");
}

/* The gap doubles from half a second to four, and the rule is never given up. */
static void rules_of_a_full_tunnel_are_put_back_ever_more_slowly(void **state)
{
	static const unsigned gaps_ms[] = {500, 1000, 2000, 4000, 4000};
	struct change *rule;

	(void)state;
	have_full_tunnel();
	for (unsigned look = 1; look <= 5; look++)
		look_without("rule", look);
	rule = applied_find(&bed.applied, CHANGE_RULE);
	assert_int_equal(rule->paused_until_us, 0);
	bed.log[0] = '\0';
	for (unsigned i = 0; i < 5; i++) {
		look_without("rule", 6 + i);
		assert_log("rule list");
		assert_int_equal(rule->paused_until_us - rule->repairs_since_us, gaps_ms[i] * CLOCK_US_PER_MS);
		rule->paused_until_us = 1;
	}
	assert_true(barrier_is_up());
}

/* A paused table costs no program either. */
static void paused_change_is_not_looked_for(void **state)
{
	(void)state;
	applied_find(&bed.applied, CHANGE_FIREWALL)->paused_until_us = UINT64_MAX;
	run_to_look(1);
	assert_log("");
}

static void what_changes_during_a_look_is_looked_at_again(void **state)
{
	(void)state;
	run_to_program();
	bed.missing[0] = "route20"; /* after the look has passed it */
	repair_on_network(&repair, NETMON_ROUTE);
	run_to_look(1);
	assert_log("list");
	run_to_look(2);
	assert_log("route20 list");
}

static void reload_makes_a_look_under_way_begin_anew(void **state)
{
	(void)state;
	run_to_program();
	repair_restart(&repair);
	assert_false(repair.is_under_way);
	run_to_look(2);
	assert_log("list killed-list list");
}

static void deleted_device_is_never_made_again(void **state)
{
	(void)state;
	device = DEVICE_GONE;
	bed.missing[0] = "route20";
	run_to_look(1);
	assert_true(repair.device_is_gone);
	repair_on_network(&repair, NETMON_ALL);
	assert_false(uv_is_active((uv_handle_t *)&timer));
	assert_log("");
}

static void renamed_device_is_left_until_it_has_its_name(void **state)
{
	(void)state;
	device = DEVICE_RENAMED;
	bed.missing[0] = "route20";
	run_to_look(1);
	assert_log("");
	device = DEVICE_THERE;
	repair_on_network(&repair, NETMON_LINK);
	run_to_look(2);
	assert_log("route20 list");
}

static void forward_that_begins_to_drop_gets_a_rule(void **state)
{
	(void)state;
	finds_forward = true;
	repair_on_network(&repair, NETMON_FIREWALL);
	run_to_look(1);
	assert_int_equal(scans, 1);
	assert_true(applied_find(&bed.applied, CHANGE_FORWARD)->is_made);
	assert_non_null(strstr(bed.log, "record-forward insert-it"));
}

static void take_forward(void)
{
	const struct change forward = {
		.kind = CHANGE_FORWARD, .forward = {.check = "check-it", .insert = "insert-it"}, .is_made = true};

	assert_int_equal(plan_take(&bed.applied.plan, &forward), 0);
	bed.failure = 1;
}

static void rule_that_is_missing_is_made_again(void **state)
{
	(void)state;
	take_forward();
	bed.fails = "check-it";
	run_to_look(1);
	assert_log("list check-it insert-it");
	assert_true(applied_find(&bed.applied, CHANGE_FORWARD)->is_made);
}

/* Its chain is gone, with firewalld: the rule is let go, and a scan tells whether it is needed elsewhere. */
static void rule_without_a_chain_is_let_go(void **state)
{
	(void)state;
	take_forward();
	bed.fails = "check-it";
	run_to_program();
	end_program(); /* list */
	end_program(); /* check-it */
	bed.fails = "insert-it";
	run_to_look(1);
	assert_log("list check-it insert-it");
	assert_false(applied_find(&bed.applied, CHANGE_FORWARD)->is_made);
	assert_int_equal(scans, 1);
}

static void only_nftables_leads_to_a_scan(void **state)
{
	(void)state;
	repair_on_network(&repair, NETMON_ALL & ~NETMON_FIREWALL);
	run_to_look(1);
	assert_int_equal(scans, 0);
}

static const char *table_script(void)
{
	return applied_find(&bed.applied, CHANGE_FIREWALL)->firewall;
}

/* Docker comes and switches IPv4's forwarding on, or goes: then it is us again who do. */
static void table_follows_who_forwards(void **state)
{
	(void)state;
	assert_non_null(strstr(table_script(), "drop"));
	bed.others_forward = true;
	repair_on_network(&repair, NETMON_PARAMETER);
	run_to_look(1);
	assert_log("list table list");
	assert_null(strstr(table_script(), "drop"));
	bed.others_forward = false;
	repair_on_network(&repair, NETMON_PARAMETER);
	run_to_look(2);
	assert_log("list table list");
	assert_non_null(strstr(table_script(), "drop"));
}

/* One look that finds another program's file may have met it in the midst of a write: the second one tells. */
static void overwritten_resolv_conf_is_told_at_the_second_look(void **state)
{
	const struct plan_facts facts = {.mtu = 1420, .dns_set = "set-dns", .dns_unset = "unset-dns"};

	(void)state;
	plan_done(&bed.applied.plan);
	assert_int_equal(plan_make(&bed.applied.plan, &bed.setup, &facts, INDEX, NULL), 0);
	assert_int_equal(plan_add_forwarding(&bed.applied.plan, &bed.setup, &facts), 0);
	for (size_t i = 0; i < bed.applied.plan.count; i++)
		bed.applied.plan.changes[i].is_made = true;
	asks_dns = false; /* from the start: a resolver on this host is asked in its stead */
	run_to_look(1);
	assert_false(repair.has_lost_dns);
	asks_dns = true;
	repair_on_network(&repair, NETMON_ADDRESS);
	run_to_look(2);
	asks_dns = false;
	repair_on_network(&repair, NETMON_ADDRESS);
	run_to_look(3);
	assert_true(repair.asks_our_dns && repair.has_lost_dns);
	run_to_look(4); /* by itself */
	assert_false(repair.asks_our_dns);
	repair_on_network(&repair, NETMON_ADDRESS);
	run_to_look(5);
	assert_false(repair.is_wanted);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(host_as_it_should_be_is_left_alone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_missing_is_put_back_in_the_plans_order, set_up, tear_down),
		cmocka_unit_test_setup_teardown(changed_table_is_made_again_and_listed, set_up, tear_down),
		cmocka_unit_test_setup_teardown(device_that_was_down_is_told, set_up, tear_down),
		cmocka_unit_test_setup_teardown(services_are_put_back_in_a_fight, set_up, tear_down),
		cmocka_unit_test_setup_teardown(fight_is_given_up_after_five_repairs, set_up, tear_down),
		cmocka_unit_test_setup_teardown(barrier_goes_up_with_the_second_loss, set_up, tear_down),
		cmocka_unit_test_setup_teardown(barrier_goes_down_when_all_has_stood, set_up, tear_down),
		cmocka_unit_test_setup_teardown(barrier_stays_down, set_up, tear_down),
		cmocka_unit_test_setup_teardown(barrier_outlives_a_reload, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			rules_of_a_full_tunnel_are_put_back_ever_more_slowly, set_up, tear_down),
		cmocka_unit_test_setup_teardown(paused_change_is_not_looked_for, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_changes_during_a_look_is_looked_at_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(reload_makes_a_look_under_way_begin_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(deleted_device_is_never_made_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(renamed_device_is_left_until_it_has_its_name, set_up, tear_down),
		cmocka_unit_test_setup_teardown(table_follows_who_forwards, set_up, tear_down),
		cmocka_unit_test_setup_teardown(forward_that_begins_to_drop_gets_a_rule, set_up, tear_down),
		cmocka_unit_test_setup_teardown(rule_that_is_missing_is_made_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(rule_without_a_chain_is_let_go, set_up, tear_down),
		cmocka_unit_test_setup_teardown(only_nftables_leads_to_a_scan, set_up, tear_down),
		cmocka_unit_test_setup_teardown(overwritten_resolv_conf_is_told_at_the_second_look, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
