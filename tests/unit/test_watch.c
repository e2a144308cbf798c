/* Clients that say their time, or come in: what host_on_peer_clock() and host_greet_peer() cost, when the latter is done, and that
 * nobody is forgotten.
 *
 * The device is a stand-in: wg_device's functions in this file take the place of common/wireguard's.
 */
#include "common/host/host_internal.h"
#include "common/wireguard/wg_device.h"

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
#define PAUSE_MS 100 /* as in watch.c */

/* --- the device --- */

static int64_t handshakes_s[PEERS]; /* peer 3's key is all 3s, and so on */
static unsigned reads, revivals[PEERS];
static uint64_t poked_ms[PEERS];
static uv_loop_t *poke_loop;

static void key_of(int peer, uint8_t ret[WG_CONFIG_KEY_LEN])
{
	memset(ret, peer, WG_CONFIG_KEY_LEN);
}

int wg_device_read(const char *name, struct wg_state *ret, struct err *err)
{
	(void)name;
	(void)err;
	reads++;
	*ret = (struct wg_state){.peers = calloc(PEERS, sizeof(*ret->peers)), .peer_count = PEERS};
	assert_non_null(ret->peers);
	for (int i = 0; i < PEERS; i++) {
		key_of(i, ret->peers[i].public_key);
		ret->peers[i].latest_handshake_s = handshakes_s[i];
	}
	return 0;
}

void wg_state_done(struct wg_state *state)
{
	free(state->peers);
}

int wg_device_revive_peer(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], struct err *err)
{
	(void)name;
	(void)err;
	revivals[public_key[0]]++;
	handshakes_s[public_key[0]] = 0;
	return 1;
}

int wg_device_set_endpoint(
	const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *endpoint, struct err *err)
{
	(void)name;
	(void)public_key;
	(void)endpoint;
	(void)err;
	return 0;
}

int wg_device_poke(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], uint16_t keepalive_s, struct err *err)
{
	(void)name;
	(void)keepalive_s;
	(void)err;
	assert_int_equal(poked_ms[public_key[0]], 0);
	poked_ms[public_key[0]] = uv_now(poke_loop);
	return 0;
}

bool host_is_through(const struct wg_config_peer *peer)
{
	(void)peer;
	return true;
}

/* --- the host --- */

struct fixture {
	uv_loop_t loop;
	struct wg_config_peer peers[PEERS];
	struct wg_config config;
	struct host host;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	uv_loop_init(&f->loop);
	f->host = (struct host){.loop = &f->loop, .is_raised = true, .setup.wireguard = &f->config};
	for (; f->host.open_timers < HOST_TIMER_COUNT; f->host.open_timers++) {
		uv_timer_init(&f->loop, &f->host.timers[f->host.open_timers]);
		f->host.timers[f->host.open_timers].data = &f->host;
	}
	for (int i = 0; i < PEERS; i++) {
		handshakes_s[i] = NOW_S;
		key_of(i, f->peers[i].public_key);
	}
	f->config = (struct wg_config){.peers = f->peers, .peer_count = PEERS};
	memset(revivals, 0, sizeof(revivals));
	memset(poked_ms, 0, sizeof(poked_ms));
	poke_loop = &f->loop;
	reads = 0;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	for (int i = 0; i < HOST_TIMER_COUNT; i++)
		uv_close((uv_handle_t *)&f->host.timers[i], NULL);
	assert_int_equal(uv_run(&f->loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&f->loop), 0);
	free(f->host.guests);
	free(f->host.clocks);
	free(f);
	return 0;
}

static void says(struct fixture *f, int peer, int64_t wall_s)
{
	const struct addr nowhere = {.sa.sa_family = AF_UNSPEC};
	uint8_t key[WG_CONFIG_KEY_LEN];

	key_of(peer, key);
	host_on_peer_clock(&f->host, key, &nowhere, 0, wall_s);
}

static void comes_in(struct fixture *f, int peer, uint32_t rtt_ms)
{
	const struct addr from = {.sa.sa_family = AF_INET};
	uint8_t key[WG_CONFIG_KEY_LEN];

	key_of(peer, key);
	handshakes_s[peer] = 0;
	host_greet_peer(&f->host, key, &from, rtt_ms);
}

/* --- the claims --- */

/* Who comes first does not wait. */
static void first_is_looked_at_in_the_next_turn(void **state)
{
	struct fixture *f = *state;

	says(f, 2, 1000);
	assert_int_equal(reads, 0);
	uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(reads, 1);
	assert_int_equal(revivals[2], 1);
}

/* Thousands of calls are a few looks: one in so long, however many calls there were. */
static void number_of_looks_is_limited(void **state)
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

/* All who are behind are taken anew, once, also those who said so while others were looked at. */
static void none_is_forgotten(void **state)
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

/* One that is not behind its handshake is looked at and left alone; what it said last counts. */
static void only_those_behind_are_taken_anew(void **state)
{
	struct fixture *f = *state;

	says(f, 1, NOW_S);
	says(f, 3, 1000);
	says(f, 3, NOW_S + 5);
	says(f, 4, 1000);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(revivals[1] + revivals[3], 0);
	assert_int_equal(revivals[4], 1);
	assert_int_equal(reads, 1);
}

/* A device that is not up has nobody to take anew. */
static void device_that_is_down_is_not_looked_at(void **state)
{
	struct fixture *f = *state;

	says(f, 1, 1000);
	f->host.is_raised = false;
	says(f, 2, 1000);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(reads, 0);
}

/* Whose own handshake may still be on its way is not greeted; who is far holds nobody up. */
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
}

static void who_has_shaken_hands_is_not_greeted(void **state)
{
	struct fixture *f = *state;

	comes_in(f, 1, 0);
	handshakes_s[1] = NOW_S;
	uv_run(&f->loop, UV_RUN_DEFAULT);
	assert_int_equal(poked_ms[1], 0);
	assert_int_equal(reads, 1);
}

/* Whatever round trips they have. */
static void number_of_looks_for_guests_is_limited(void **state)
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

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(first_is_looked_at_in_the_next_turn),
		TEST(number_of_looks_is_limited),
		TEST(none_is_forgotten),
		TEST(only_those_behind_are_taken_anew),
		TEST(device_that_is_down_is_not_looked_at),
		TEST(greeting_waits_for_the_round_trip),
		TEST(who_has_shaken_hands_is_not_greeted),
		TEST(number_of_looks_for_guests_is_limited),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
