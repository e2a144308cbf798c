/* Handshakes: made to happen when the link comes up, and seen.
 *
 * The device is a stand-in: the functions of wg_device in this file take the place of common/wireguard's.
 */
#include "common/base/clock.h"
#include "common/wireguard/wg_device.h"
#include "common/wireguard/wg_handshake.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* After those: */
#include <cmocka.h>

#define PEERS 4
#define OLD_S 1000 /* ago: not fresh any more */

/* --- the device --- */

static int64_t handshakes_s[PEERS]; /* the key of peer 3 is all 3s, and so on */
static struct addr endpoints[PEERS], own;
static unsigned reads, pokes[PEERS];
static bool is_unreadable;

static void key_of(int peer, uint8_t ret[WG_CONFIG_KEY_LEN])
{
	memset(ret, peer, WG_CONFIG_KEY_LEN);
}

int wg_device_read(const char *name, struct wg_state *ret, struct err *err)
{
	assert_string_equal(name, "wg0");
	reads++;
	if (is_unreadable)
		return err_set(err, -ENODEV, "no such device");
	*ret = (struct wg_state){.peers = calloc(PEERS, sizeof(*ret->peers)), .peer_count = PEERS};
	assert_non_null(ret->peers);
	for (int i = 0; i < PEERS; i++) {
		key_of(i, ret->peers[i].public_key);
		ret->peers[i].latest_handshake_s = handshakes_s[i];
		ret->peers[i].endpoint = endpoints[i];
	}
	return 0;
}

int wg_device_poke(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], uint16_t keepalive_s, struct err *err)
{
	(void)err;
	assert_string_equal(name, "wg0");
	assert_int_equal(keepalive_s, 20 + public_key[0]);
	pokes[public_key[0]]++;
	return 0;
}

/* --- the link --- */

struct fixture {
	uv_loop_t loop;
	uv_timer_t alarm; /* ends run_for() */
	struct wg_config_peer peers[PEERS];
	struct wg_config config;
	struct wg_handshake handshake;
	unsigned handshakes, closed;
	bool starts_again, is_inside;
};

static void on_handshake(void *owner)
{
	struct fixture *f = owner;

	assert_false(f->is_inside);
	f->handshakes++;
	if (f->starts_again)
		wg_handshake_start(&f->handshake);
	f->starts_again = false;
}

static void on_closed(void *owner)
{
	((struct fixture *)owner)->closed++;
}

/* Four peers that are reached through the tunnel, with an old handshake each. */
static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct wg_handshake_setup setup = {.device = "wg0", .on_handshake = on_handshake, .on_closed = on_closed};

	assert_non_null(f);
	uv_loop_init(&f->loop);
	uv_timer_init(&f->loop, &f->alarm);
	for (int i = 0; i < PEERS; i++) {
		handshakes_s[i] = clock_wall_s() - OLD_S;
		key_of(i, f->peers[i].public_key);
		f->peers[i].has_public_key = true;
		f->peers[i].persistent_keepalive_s = (uint16_t)(20 + i);
	}
	f->config = (struct wg_config){.peers = f->peers, .peer_count = PEERS};
	memset(pokes, 0, sizeof(pokes));
	reads = 0;
	is_unreadable = false;
	setup.loop = &f->loop;
	setup.config = &f->config;
	memset(endpoints, 0, sizeof(endpoints));
	memset(&own, 0, sizeof(own));
	setup.own = &own;
	setup.owner = f;
	wg_handshake_open(&f->handshake, &setup);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	wg_handshake_close(&f->handshake);
	assert_int_equal(f->closed, 0);
	uv_close((uv_handle_t *)&f->alarm, NULL);
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(f->closed, 1);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

static void link_comes_up(struct fixture *f)
{
	f->is_inside = true;
	wg_handshake_start(&f->handshake);
	f->is_inside = false;
}

static void on_alarm(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void run_for(struct fixture *f, uint64_t ms)
{
	uv_update_time(&f->loop);
	uv_timer_start(&f->alarm, on_alarm, ms, 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
}

static unsigned all_pokes(void)
{
	unsigned sum = 0;

	for (int i = 0; i < PEERS; i++)
		sum += pokes[i];
	return sum;
}

/* --- the claims --- */

static void fresh_handshake_is_told_without_a_new_one(void **state)
{
	struct fixture *f = *state;

	handshakes_s[2] = clock_wall_s() - 10;
	link_comes_up(f);
	assert_int_equal(f->handshakes, 0);
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
	assert_int_equal(all_pokes(), 0);
}

static void old_handshake_is_replaced_by_a_new_one(void **state)
{
	struct fixture *f = *state;

	link_comes_up(f);
	run_for(f, 50);
	for (int i = 0; i < PEERS; i++)
		assert_int_equal(pokes[i], 1);
	assert_int_equal(f->handshakes, 0);
	handshakes_s[1] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
}

static void handshake_is_told_once(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	handshakes_s[0] = 0;
	link_comes_up(f);
	handshakes_s[0] = clock_wall_s();
	run_for(f, 50);
	before = reads;
	handshakes_s[1] = clock_wall_s();
	run_for(f, 100);
	assert_int_equal(f->handshakes, 1);
	assert_int_equal(reads, before);
}

/* A peer with an Endpoint of its own, or without a key, says nothing about the tunnel. */
static void only_peers_through_the_tunnel_count(void **state)
{
	struct fixture *f = *state;
	char endpoint[] = "192.0.2.1:51820";

	f->peers[0].endpoint = endpoint;
	f->peers[1].has_public_key = false;
	handshakes_s[0] = clock_wall_s();
	link_comes_up(f);
	handshakes_s[0] = clock_wall_s() - 1;
	handshakes_s[1] = clock_wall_s();
	run_for(f, 100);
	assert_int_equal(pokes[0] + pokes[1], 0);
	assert_int_equal(pokes[2] + pokes[3], 2);
	assert_int_equal(f->handshakes, 0);
}

static void tunnel_is_at(const char *text)
{
	assert_int_equal(addr_parse(text, 0, &own), 0);
	for (int i = 0; i < PEERS; i++)
		endpoints[i] = own;
}

/* Where a peer names our port it is the hub; another one without an Endpoint comes to us, by UDP for example. */
static void only_the_hub_counts_where_one_names_our_port(void **state)
{
	struct fixture *f = *state;
	char endpoint[] = "127.0.0.1:51820";

	tunnel_is_at(endpoint);
	f->peers[2].endpoint = endpoint;
	handshakes_s[1] = clock_wall_s();
	link_comes_up(f);
	handshakes_s[0] = clock_wall_s();
	run_for(f, 100);
	assert_int_equal(all_pokes(), pokes[2]);
	assert_int_equal(f->handshakes, 0);
	handshakes_s[2] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
}

/* No peer names our port, so one of them is the hub. One whose handshake came past the tunnel is not, also when its
 * endpoint is set to the tunnel later. */
static void handshake_past_the_tunnel_is_none_with_the_hub(void **state)
{
	struct fixture *f = *state;

	tunnel_is_at("127.0.0.1:51820");
	assert_int_equal(addr_parse("192.0.2.7:7", 0, &endpoints[1]), 0);
	handshakes_s[1] = clock_wall_s() - 1;
	link_comes_up(f);
	handshakes_s[1] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(all_pokes(), PEERS);
	endpoints[1] = own;
	run_for(f, 50);
	assert_int_equal(f->handshakes, 0);
	handshakes_s[0] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
}

/* The only one is the hub, wherever its packets come from. */
static void only_peer_is_the_hub(void **state)
{
	struct fixture *f = *state;

	tunnel_is_at("127.0.0.1:51820");
	f->config.peer_count = 1;
	assert_int_equal(addr_parse("192.0.2.7:7", 0, &endpoints[0]), 0);
	link_comes_up(f);
	handshakes_s[0] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
}

static void without_such_a_peer_there_is_nothing_to_wait_for(void **state)
{
	struct fixture *f = *state;

	f->config.peer_count = 0;
	link_comes_up(f);
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
}

/* The wall clock was set back: the old handshake lies in the future, and the new one is earlier. */
static void clock_that_was_set_back_hides_no_handshake(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < PEERS; i++)
		handshakes_s[i] = clock_wall_s() + OLD_S;
	link_comes_up(f);
	run_for(f, 50);
	assert_int_equal(all_pokes(), PEERS);
	assert_int_equal(f->handshakes, 0);
	handshakes_s[3] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
}

static void unreadable_device_is_not_waited_for(void **state)
{
	struct fixture *f = *state;

	is_unreadable = true;
	link_comes_up(f);
	run_for(f, 50);
	assert_int_equal(f->handshakes, 0);
	assert_int_equal(reads, 1);
}

static void failed_reading_is_repeated(void **state)
{
	struct fixture *f = *state;

	link_comes_up(f);
	is_unreadable = true;
	run_for(f, 50);
	is_unreadable = false;
	handshakes_s[0] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
}

static void device_is_read_every_20_ms_at_first(void **state)
{
	struct fixture *f = *state;

	link_comes_up(f);
	run_for(f, 300);
	assert_in_range(reads, 3, 300 / 20 + 2);
}

/* WireGuard gives up after 90 s. */
static void peers_are_poked_again_after_30_s(void **state)
{
	struct fixture *f = *state;

	link_comes_up(f);
	run_for(f, 50);
	assert_int_equal(all_pokes(), PEERS);
	f->handshake.poked_ms -= 30000;
	run_for(f, 50);
	assert_int_equal(all_pokes(), 2 * PEERS);
}

static void nothing_is_told_after_stop(void **state)
{
	struct fixture *f = *state;

	link_comes_up(f);
	wg_handshake_stop(&f->handshake);
	handshakes_s[0] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(f->handshakes, 0);
	assert_int_equal(reads, 1);
}

static void wait_may_begin_anew_from_inside_the_handler(void **state)
{
	struct fixture *f = *state;

	handshakes_s[0] = clock_wall_s();
	f->starts_again = true;
	link_comes_up(f);
	run_for(f, 50);
	assert_int_equal(f->handshakes, 2);
}

/* Peers in another order, and one less: what was noted of one is not compared with another. */
static void other_configuration_begins_the_wait_anew(void **state)
{
	struct fixture *f = *state;
	struct wg_config_peer peers[] = {f->peers[3], f->peers[0]};
	const struct wg_config config = {.peers = peers, .peer_count = 2};

	handshakes_s[3] = clock_wall_s() - 2 * OLD_S;
	link_comes_up(f);
	wg_handshake_set_config(&f->handshake, &config);
	run_for(f, 50);
	assert_int_equal(f->handshakes, 0);
	handshakes_s[3] = clock_wall_s();
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
}

static void other_configuration_after_the_handshake_begins_no_wait(void **state)
{
	struct fixture *f = *state;
	unsigned before;

	link_comes_up(f);
	handshakes_s[0] = clock_wall_s();
	run_for(f, 50);
	before = reads;
	wg_handshake_set_config(&f->handshake, &f->config);
	run_for(f, 50);
	assert_int_equal(f->handshakes, 1);
	assert_int_equal(reads, before);
}

static void other_configuration_begins_no_wait(void **state)
{
	struct fixture *f = *state;
	const struct wg_config config = {.peers = f->peers, .peer_count = 1};

	wg_handshake_set_config(&f->handshake, &config);
	run_for(f, 50);
	assert_int_equal(reads, 0);
	wg_handshake_poke_all(&f->handshake);
	assert_int_equal(all_pokes(), 1);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(fresh_handshake_is_told_without_a_new_one),
		TEST(old_handshake_is_replaced_by_a_new_one),
		TEST(handshake_is_told_once),
		TEST(only_peers_through_the_tunnel_count),
		TEST(only_the_hub_counts_where_one_names_our_port),
		TEST(handshake_past_the_tunnel_is_none_with_the_hub),
		TEST(only_peer_is_the_hub),
		TEST(without_such_a_peer_there_is_nothing_to_wait_for),
		TEST(clock_that_was_set_back_hides_no_handshake),
		TEST(unreadable_device_is_not_waited_for),
		TEST(failed_reading_is_repeated),
		TEST(device_is_read_every_20_ms_at_first),
		TEST(peers_are_poked_again_after_30_s),
		TEST(nothing_is_told_after_stop),
		TEST(wait_may_begin_anew_from_inside_the_handler),
		TEST(other_configuration_begins_the_wait_anew),
		TEST(other_configuration_after_the_handshake_begins_no_wait),
		TEST(other_configuration_begins_no_wait),
	};

	return cmocka_run_group_tests_name("wg_handshake", tests, NULL, NULL);
}
