/* A reload: what it adds, takes away, refuses, and keeps until a restart. */
#include "host_bed.h"

#include "common/host/endpoints.h"
#include "common/host/reload.h"
#include "common/wireguard/wg_device.h"

static struct reload reload;
static struct wg_config_prefix new_allowed[4];
static struct wg_config_peer new_peer;
static struct wg_config fresh; /* the configuration that is reloaded; the bed's own at first */
static char restart[100];
static struct err err;
static struct wg_device_setup synced;

/* --- what a reload calls --- */

int wg_device_sync(
	const char *name, const struct wg_device_setup *plan, const struct wg_config *before, struct err *ret_err)
{
	(void)name;
	note("sync", "");
	assert_ptr_equal(before, &bed.wireguard);
	synced = *plan;
	return fails_at("sync") ? err_set(ret_err, bed.failure, "refused") : 0;
}

void endpoints_take_literals(const struct wg_config *config, const struct addr *through, struct addr *addrs)
{
	(void)config;
	(void)through;
	(void)addrs;
}

/* --- the bed --- */

static int set_up(void **state)
{
	(void)state;
	make_host_bed();
	make_plan_of_bed();
	memset(new_allowed, 0, sizeof(new_allowed));
	new_peer = (struct wg_config_peer){.has_public_key = true};
	fresh = bed.wireguard;
	fresh.peers = &new_peer;
	memset(restart, 'x', sizeof(restart));
	err.text[0] = '\0';
	bed.failure = -EPERM;
	reload = (struct reload){.setup = &bed.setup, .applied = &bed.applied};
	reload_start(&reload);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	clear_host_bed();
	return 0;
}

static int take(void)
{
	return reload_take(&reload, &fresh, NULL, 0, restart, sizeof(restart), &err);
}

/* --- tests --- */

static void same_configuration_changes_no_route(void **state)
{
	(void)state;
	allow(&new_peer, new_allowed, "10.20.0.0/16");
	assert_int_equal(take(), 0);
	assert_log("check-routes sync");
	assert_string_equal(restart, "");
	assert_ptr_equal(bed.setup.wireguard, &fresh);
}

static void new_route_is_added_and_old_one_goes(void **state)
{
	(void)state;
	allow(&new_peer, new_allowed, "10.30.0.0/16");
	assert_int_equal(take(), 0);
	assert_log("check-routes sync route30 -route20");
	assert_string_equal(restart, "");
}

/* The list that the repair goes by is the new one. */
static void plan_has_the_new_routes_only(void **state)
{
	size_t count = bed.applied.plan.count;
	char text[CHANGE_TEXT_MAX];

	(void)state;
	allow(&new_peer, new_allowed, "10.30.0.0/16");
	assert_int_equal(take(), 0);
	assert_int_equal(bed.applied.plan.count, count);
	assert_string_equal(change_text(text, applied_find(&bed.applied, CHANGE_ROUTE)), "route30");
	assert_true(applied_find(&bed.applied, CHANGE_ROUTE)->is_made);
	assert_non_null(applied_find(&bed.applied, CHANGE_ADDRESS));
}

/* A wider route held it; that one goes. */
static void covered_route_is_made_when_its_cover_goes(void **state)
{
	(void)state;
	applied_find(&bed.applied, CHANGE_ROUTE)->is_covered = true;
	allow(&new_peer, new_allowed, "10.20.0.0/16");
	assert_int_equal(take(), 0);
	assert_log("check-routes sync route20");
}

static void route_of_another_owner_refuses_the_whole(void **state)
{
	(void)state;
	allow(&new_peer, new_allowed, "10.30.0.0/16");
	bed.fails = "check-routes";
	assert_int_equal(take(), -EPERM);
	assert_log("check-routes");
	assert_string_equal(err.text, "home.conf:9: taken by eth0");
	assert_ptr_equal(bed.setup.wireguard, &bed.wireguard);
}

static void device_that_refuses_leaves_routes_as_they_were(void **state)
{
	(void)state;
	allow(&new_peer, new_allowed, "10.30.0.0/16");
	bed.fails = "sync";
	assert_int_equal(take(), -EPERM);
	assert_log("check-routes sync");
	assert_ptr_equal(bed.setup.wireguard, &bed.wireguard);
}

static void what_needs_a_restart_is_named_and_kept(void **state)
{
	(void)state;
	allow(&new_peer, new_allowed, "10.20.0.0/16");
	fresh.interface.mtu = 1300;
	fresh.interface.listen_port = 7;
	fresh.interface.has_private_key = true;
	assert_int_equal(take(), 0);
	assert_string_equal(restart, "ListenPort, MTU");
	assert_true(synced.keeps_listen_port);
	assert_false(synced.keeps_private_key);
}

/* A second reload compares with what was brought up, not with the first reload. */
static void restart_is_asked_for_until_it_comes(void **state)
{
	(void)state;
	allow(&new_peer, new_allowed, "10.20.0.0/16");
	fresh.interface.mtu = 1300;
	assert_int_equal(take(), 0);
	bed.setup.wireguard = &bed.wireguard; /* for wg_device_sync() above */
	assert_int_equal(take(), 0);
	assert_string_equal(restart, "MTU");
}

/* Its rules are not there, and its route without them would take away the default route. */
static void full_tunnel_waits_for_a_restart(void **state)
{
	(void)state;
	allow(&new_peer, new_allowed, "10.20.0.0/16");
	allow(&new_peer, new_allowed, "0.0.0.0/0");
	assert_int_equal(take(), 0);
	assert_log("check-routes sync");
	assert_string_equal(restart, "AllowedIPs (IPv4 full tunnel)");
}

/* Its rules are there: the new routes come first, so that nothing leaves in clear before the old one goes. */
static void full_tunnel_may_be_spelled_anew(void **state)
{
	(void)state;
	plan_done(&bed.applied.plan);
	bed.peer.allowed_ip_count = 0;
	allow(&bed.peer, bed.allowed, "0.0.0.0/0");
	make_plan_of_bed();
	reload_start(&reload);
	allow(&new_peer, new_allowed, "0.1.0.0/1");
	allow(&new_peer, new_allowed, "128.2.0.0/1");
	assert_int_equal(take(), 0);
	assert_log("check-routes sync route1 route2 -route0");
	assert_string_equal(restart, "");
}

static void route_that_fails_is_no_change_of_ours(void **state)
{
	(void)state;
	allow(&new_peer, new_allowed, "10.20.0.0/16");
	allow(&new_peer, new_allowed, "10.30.0.0/16");
	bed.fails = "route30";
	assert_int_equal(take(), 0);
	for (size_t i = 0; i < bed.applied.plan.count; i++)
		assert_true(bed.applied.plan.changes[i].is_made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(same_configuration_changes_no_route, set_up, tear_down),
		cmocka_unit_test_setup_teardown(new_route_is_added_and_old_one_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(plan_has_the_new_routes_only, set_up, tear_down),
		cmocka_unit_test_setup_teardown(covered_route_is_made_when_its_cover_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(route_of_another_owner_refuses_the_whole, set_up, tear_down),
		cmocka_unit_test_setup_teardown(device_that_refuses_leaves_routes_as_they_were, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_needs_a_restart_is_named_and_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(restart_is_asked_for_until_it_comes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(full_tunnel_waits_for_a_restart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(full_tunnel_may_be_spelled_anew, set_up, tear_down),
		cmocka_unit_test_setup_teardown(route_that_fails_is_no_change_of_ours, set_up, tear_down),
	};

	return cmocka_run_group_tests_name("reload", tests, NULL, NULL);
}
