/* The guests of a hub: clients that come in are greeted, clients whose clock went back are revived, none is forgotten.
 *
 * The device is a stand-in: the functions of wg_device in this file take the place of common/wireguard's.
 */
#include "common/wireguard/wg_device.h"
#include "common/wireguard/wg_guest.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* After those: */
#include <cmocka.h>

#define PEERS 5
#define NOW_S 1800000000
#define CALLS 5000
#define PAUSE_MS 100 /* READ_PAUSE_MS of wg_guest.c */

/* --- the device --- */

static int64_t handshakes_s[PEERS]; /* the key of peer 3 is all 3s, and so on */
static unsigned reads, revivals[PEERS], endpoints[PEERS], pokes[PEERS];
static uint64_t poked_ms[PEERS];
static bool is_unreadable, refuses_endpoints;
static int revive_result;
static uv_loop_t *loop_now;

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
		ret->peers[i].persistent_keepalive_s = (uint16_t)(20 + i);
	}
	return 0;
}

int wg_device_revive_peer(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], struct err *err)
{
	(void)name;
	(void)err;
	revivals[public_key[0]]++;
	handshakes_s[public_key[0]] = 0;
	return revive_result;
}

int wg_device_set_endpoint(
	const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *endpoint, struct err *err)
{
	(void)name;
	assert_int_equal(endpoint->sa.sa_family, AF_INET);
	endpoints[public_key[0]]++;
	return refuses_endpoints ? err_set(err, -ENODEV, "no such device") : 0;
}

int wg_device_poke(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], uint16_t keepalive_s, struct err *err)
{
	(void)name;
	(void)err;
	assert_int_equal(keepalive_s, 20 + public_key[0]);
	assert_int_equal(endpoints[public_key[0]], 1);
	pokes[public_key[0]]++;
	poked_ms[public_key[0]] = uv_now(loop_now);
	return 0;
}

/* --- the hub --- */

struct fixture {
	uv_loop_t loop;
	struct wg_guests guests;
	unsigned closed;
};

static void count_handle(uv_handle_t *handle, void *count)
{
	(void)handle;
	++*(unsigned *)count;
}

/* The owner may free the guests here, so that the loop must have let go of both timers. */
static void on_closed(void *owner)
{
	struct fixture *f = owner;
	unsigned handles = 0;

	uv_walk(&f->loop, count_handle, &handles);
	assert_int_equal(handles, 0);
	f->closed++;
}

static int set_up_down(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct wg_guests_setup setup = {.device = "wg0", .on_closed = on_closed};

	assert_non_null(f);
	uv_loop_init(&f->loop);
	loop_now = &f->loop;
	for (int i = 0; i < PEERS; i++) {
		handshakes_s[i] = NOW_S;
		revivals[i] = endpoints[i] = pokes[i] = 0;
		poked_ms[i] = 0;
	}
	reads = 0;
	is_unreadable = refuses_endpoints = false;
	revive_result = 1;
	setup.loop = &f->loop;
	setup.owner = f;
	wg_guests_open(&f->guests, &setup);
	*state = f;
	return 0;
}

static int set_up(void **state)
{
	struct fixture *f;

	set_up_down(state);
	f = *state;
	wg_guests_start(&f->guests);
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	wg_guests_close(&f->guests);
	assert_int_equal(f->closed, 0);
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(f->closed, 1);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f);
	return 0;
}

static void says_from(struct fixture *f, int peer, int64_t wall_s, int family)
{
	const struct addr from = {.sa.sa_family = (sa_family_t)family};
	uint8_t key[WG_CONFIG_KEY_LEN];

	key_of(peer, key);
	wg_guests_take_clock(&f->guests, key, &from, 0, wall_s);
}

static void says(struct fixture *f, int peer, int64_t wall_s)
{
	says_from(f, peer, wall_s, AF_UNSPEC);
}

static void comes_in(struct fixture *f, int peer, uint32_t rtt_ms)
{
	const struct addr from = {.sa.sa_family = AF_INET};
	uint8_t key[WG_CONFIG_KEY_LEN];

	key_of(peer, key);
	if (peer < PEERS)
		handshakes_s[peer] = 0;
	wg_guests_greet(&f->guests, key, &from, rtt_ms);
}

static unsigned all_pokes(void)
{
	return pokes[0] + pokes[1] + pokes[2] + pokes[3] + pokes[4];
}

/* --- a client that says its time --- */

static void first_clock_is_compared_in_the_next_turn(void **state)
{
	struct fixture *f = *state;

	says(f, 2, 1000);
	assert_int_equal(reads, 0);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(reads, 1);
	assert_int_equal(revivals[2], 1);
}

/* One reading in 100 ms, however many calls there were. */
static void number_of_readings_for_clocks_is_limited(void **state)
{
	struct fixture *f = *state;
	uint64_t began_ms = uv_now(&f->loop), limit;

	for (int i = 0; i < CALLS; i++) {
		says(f, i % PEERS, NOW_S + 1);
		uv_run(&f->loop, UV_RUN_NOWAIT);
	}
	uv_update_time(&f->loop);
	limit = (uv_now(&f->loop) - began_ms) / PAUSE_MS + 2;
	assert_in_range(reads, 1, limit);
	assert_true(limit < CALLS);
}

/* Also one that says so while the others are seen to. */
static void each_clock_behind_revives_its_peer_once(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < PEERS - 1; i++)
		says(f, i, 1000);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	says(f, PEERS - 1, 1000);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	for (int i = 0; i < PEERS; i++)
		assert_int_equal(revivals[i], 1);
	assert_int_equal(reads, PEERS);
}

static void one_peer_is_revived_at_a_time(void **state)
{
	struct fixture *f = *state;

	says(f, 1, 1000);
	says(f, 2, 1000);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(revivals[1], 1);
	assert_int_equal(revivals[2], 0);
	uv_run(&f->loop, UV_RUN_ONCE);
	assert_int_equal(revivals[2], 1);
}

/* The time that a client said last counts, and a few seconds are no difference. */
static void clock_that_is_not_behind_is_left_alone(void **state)
{
	struct fixture *f = *state;

	says(f, 1, NOW_S);
	says(f, 2, NOW_S - 5);
	says(f, 3, 1000);
	says(f, 3, NOW_S + 5);
	says(f, 4, NOW_S - 6);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(revivals[1] + revivals[2] + revivals[3], 0);
	assert_int_equal(revivals[4], 1);
	assert_int_equal(reads, 1);
}

static void revived_peer_is_greeted(void **state)
{
	struct fixture *f = *state;

	says_from(f, 2, 1000, AF_INET);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(revivals[2], 1);
	assert_int_equal(pokes[2], 1);
}

static void revived_peer_without_an_address_is_not_greeted(void **state)
{
	struct fixture *f = *state;

	says(f, 2, 1000);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(revivals[2], 1);
	assert_int_equal(all_pokes(), 0);
	assert_int_equal(reads, 1);
}

/* Another program removed it, or the kernel refused: it is not greeted, and the next one has its turn. */
static void peer_that_was_not_revived_is_not_greeted(void **state)
{
	struct fixture *f = *state;

	for (int result = -1; result <= 0; result++) {
		revive_result = result;
		says_from(f, 1, 1000, AF_INET);
		says_from(f, 2, 1000, AF_INET);
		uv_run(&f->loop, UV_RUN_DEFAULT);
		handshakes_s[1] = handshakes_s[2] = NOW_S;
	}
	assert_int_equal(revivals[1], 2);
	assert_int_equal(revivals[2], 2);
	assert_int_equal(all_pokes(), 0);
}

static void clocks_are_ignored_before_start(void **state)
{
	struct fixture *f = *state;

	says(f, 1, 1000);
	wg_guests_start(&f->guests);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(reads, 0);
}

static void clocks_of_an_unreadable_device_are_dropped(void **state)
{
	struct fixture *f = *state;

	is_unreadable = true;
	says(f, 1, 1000);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	is_unreadable = false;
	says(f, 2, 1000);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(revivals[1], 0);
	assert_int_equal(revivals[2], 1);
}

/* --- a client that comes in --- */

/* Its own handshake may still be on its way; one that is far does not hold up the others. */
static void greeting_waits_for_the_round_trip(void **state)
{
	struct fixture *f = *state;
	uint64_t began_ms = uv_now(&f->loop);

	comes_in(f, 1, 700);
	comes_in(f, 2, 30);
	comes_in(f, 3, UINT32_MAX);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_true(poked_ms[1] >= began_ms + 900);
	assert_true(poked_ms[2] >= began_ms + 400 && poked_ms[2] < poked_ms[1]);
	assert_true(poked_ms[3] >= began_ms + 3000);
	assert_int_equal(reads, 3);
	assert_int_equal(all_pokes(), 3);
}

static void guest_that_has_shaken_hands_is_not_greeted(void **state)
{
	struct fixture *f = *state;

	comes_in(f, 1, 0);
	handshakes_s[1] = NOW_S;
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(endpoints[1] + pokes[1], 0);
	assert_int_equal(reads, 1);
}

static void many_guests_at_once_cost_one_reading(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < PEERS; i++)
		comes_in(f, i, 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(reads, 1);
	assert_int_equal(all_pokes(), PEERS);
}

/* Whatever round trips they have. */
static void number_of_readings_for_guests_is_limited(void **state)
{
	struct fixture *f = *state;
	uint64_t began_ms = uv_now(&f->loop);

	for (uint32_t i = 0; i < CALLS; i++) {
		comes_in(f, 0, i % 700);
		handshakes_s[0] = NOW_S;
	}
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_in_range(reads, 1, (uv_now(&f->loop) - began_ms) / PAUSE_MS + 2);
}

static void guest_without_a_peer_is_not_greeted(void **state)
{
	struct fixture *f = *state;

	comes_in(f, PEERS + 1, 0);
	comes_in(f, 1, 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(all_pokes(), 1);
}

/* A handshake would go to the old endpoint. */
static void guest_without_its_endpoint_is_not_poked(void **state)
{
	struct fixture *f = *state;

	refuses_endpoints = true;
	comes_in(f, 1, 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(endpoints[1], 1);
	assert_int_equal(pokes[1], 0);
}

static void guests_of_an_unreadable_device_are_dropped(void **state)
{
	struct fixture *f = *state;

	is_unreadable = true;
	comes_in(f, 1, 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(reads, 1);
	is_unreadable = false;
	comes_in(f, 2, 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(pokes[1], 0);
	assert_int_equal(pokes[2], 1);
}

static void guest_from_before_the_start_is_greeted_after_it(void **state)
{
	struct fixture *f = *state;

	comes_in(f, 1, 0);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(reads, 0);
	wg_guests_start(&f->guests);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(pokes[1], 1);
}

static void stop_forgets_all(void **state)
{
	struct fixture *f = *state;

	comes_in(f, 1, 0);
	says(f, 2, 1000);
	wg_guests_stop(&f->guests);
	wg_guests_start(&f->guests);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(reads, 0);
}

/* Its tear-down checks that the loop is left. */
static void close_does_not_wait_for_guests(void **state)
{
	struct fixture *f = *state;

	comes_in(f, 1, UINT32_MAX);
	says(f, 2, 1000);
	assert_int_equal(reads, 0);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define TEST_DOWN(test) cmocka_unit_test_setup_teardown(test, set_up_down, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_clock_is_compared_in_the_next_turn),
		TEST(number_of_readings_for_clocks_is_limited),
		TEST(each_clock_behind_revives_its_peer_once),
		TEST(one_peer_is_revived_at_a_time),
		TEST(clock_that_is_not_behind_is_left_alone),
		TEST(revived_peer_is_greeted),
		TEST(revived_peer_without_an_address_is_not_greeted),
		TEST(peer_that_was_not_revived_is_not_greeted),
		TEST_DOWN(clocks_are_ignored_before_start),
		TEST(clocks_of_an_unreadable_device_are_dropped),
		TEST(greeting_waits_for_the_round_trip),
		TEST(guest_that_has_shaken_hands_is_not_greeted),
		TEST(many_guests_at_once_cost_one_reading),
		TEST(number_of_readings_for_guests_is_limited),
		TEST(guest_without_a_peer_is_not_greeted),
		TEST(guest_without_its_endpoint_is_not_poked),
		TEST(guests_of_an_unreadable_device_are_dropped),
		TEST_DOWN(guest_from_before_the_start_is_greeted_after_it),
		TEST(stop_forgets_all),
		TEST(close_does_not_wait_for_guests),
	};

	return cmocka_run_group_tests_name("wg_guest", tests, NULL, NULL);
}
