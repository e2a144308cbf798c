/* Names of endpoints that are looked up again: whose, when, and what is done with the answer.
 *
 * The device and getent are stand-ins: the functions of wg_device and command in this file take the place of libcommon's.
 */
#include "common/base/clock.h"
#include "common/host/endpoint_watch.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PEERS 2
#define LOOK_MS 30000
#define SILENT_S 136

/* --- the device; the key of peer 1 is all 1s --- */

static struct wg_state_peer device[PEERS];
static size_t device_count;
static char set[200]; /* "0 192.0.2.9:7", for each endpoint that was set */

int wg_device_read(const char *name, struct wg_state *ret, struct err *err)
{
	(void)err;
	assert_string_equal(name, "home");
	*ret = (struct wg_state){.peers = calloc(PEERS, sizeof(*ret->peers)), .peer_count = device_count};
	assert_non_null(ret->peers);
	memcpy(ret->peers, device, sizeof(device));
	return 0;
}

int wg_device_set_endpoint(
	const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *endpoint, struct err *err)
{
	size_t len = strlen(set);
	char text[ADDR_TEXT_MAX];

	(void)err;
	assert_string_equal(name, "home");
	snprintf(set + len, sizeof(set) - len, "%s%d %s", len ? ", " : "", public_key[0],
		addr_format(text, sizeof(text), endpoint));
	device[public_key[0]].endpoint = *endpoint;
	return 0;
}

/* --- getent --- */

static struct command_setup program;
static char asked[256]; /* names, with a blank between */

int command_start(struct command **ret, uv_loop_t *loop, const struct command_setup *setup, struct err *err)
{
	size_t len = strlen(asked);

	(void)loop;
	(void)err;
	assert_null(program.on_exit);
	assert_string_equal(setup->argv[0], "getent");
	snprintf(asked + len, sizeof(asked) - len, "%s%s", len ? " " : "", setup->argv[2]);
	program = *setup;
	*ret = (struct command *)&program;
	return 0;
}

void command_close(struct command *command)
{
	if (command)
		program.on_exit = NULL;
}

/* @answer: NULL: the name is not found. */
static void answer(const char *text)
{
	struct command_setup ended = program;

	assert_non_null(ended.on_exit);
	program.on_exit = NULL;
	ended.on_exit(ended.owner, text ? 0 : 2, text ? text : "");
}

/* --- the bed --- */

static uv_loop_t loop;
static uv_timer_t timer;
static struct wg_config_peer peers[PEERS];
static struct wg_config config;
static struct host_setup host;
static struct addr endpoints[PEERS];
static struct applied applied;
static struct endpoint_watch watch;
static uint64_t now_ms;

static void address(struct addr *ret, const char *text)
{
	assert_int_equal(addr_parse(text, 0, ret), 0);
}

/* Peer 0 has a name and a known address, peer 1 an address. */
static int set_up(void **state)
{
	static char names[PEERS][40];

	(void)state;
	uv_loop_init(&loop);
	uv_timer_init(&loop, &timer);
	strcpy(names[0], "router.example.org:7");
	strcpy(names[1], "198.51.100.1:7");
	memset(device, 0, sizeof(device));
	for (int i = 0; i < PEERS; i++) {
		peers[i] = (struct wg_config_peer){.has_public_key = true, .endpoint = names[i]};
		memset(peers[i].public_key, i, WG_CONFIG_KEY_LEN);
		memset(device[i].public_key, i, WG_CONFIG_KEY_LEN);
		device[i].latest_handshake_s = clock_wall_s() - SILENT_S;
		address(&device[i].endpoint, "192.0.2.1:7");
	}
	config = (struct wg_config){.peers = peers, .peer_count = PEERS};
	host = (struct host_setup){.wireguard = &config, .wireguard_path = "home.conf", .device = "home"};
	applied = (struct applied){.loop = &loop, .setup = &host, .endpoints = endpoints};
	memset(endpoints, 0, sizeof(endpoints));
	memset(&program, 0, sizeof(program));
	device_count = PEERS;
	asked[0] = set[0] = '\0';
	now_ms = 1000000;
	watch = (struct endpoint_watch){.applied = &applied, .timer = &timer};
	endpoint_watch_start(&watch);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	endpoint_watch_stop(&watch);
	uv_close((uv_handle_t *)&timer, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	return 0;
}

static uint64_t look(void)
{
	return endpoint_watch_look(&watch, now_ms, clock_wall_s());
}

/* The time to the next look goes by, and each peer is sent to without an answer. */
static void send_in_vain(void)
{
	now_ms += look();
	for (int i = 0; i < PEERS; i++)
		device[i].sent_bytes += 148;
}

static void assert_asked(const char *expected)
{
	assert_string_equal(asked, expected);
	asked[0] = '\0';
}

/* --- the claims --- */

/* A name that is not a name is never asked for. */
static void silent_peers_name_is_asked_for(void **state)
{
	(void)state;
	send_in_vain();
	assert_asked("");
	assert_int_equal(look(), LOOK_MS);
	assert_asked("router.example.org");
	answer("192.0.2.9       STREAM router.example.org\n192.0.2.9       DGRAM\n");
	assert_string_equal(set, "0 192.0.2.9:7");
	assert_true(addr_equal(&endpoints[0], &device[0].endpoint));
}

static void same_address_is_not_set(void **state)
{
	(void)state;
	send_in_vain();
	look();
	answer("192.0.2.1       STREAM router.example.org\n");
	assert_string_equal(set, "");
}

static void ipv6_address_is_taken(void **state)
{
	(void)state;
	send_in_vain();
	look();
	answer("2001:db8::9     STREAM router.example.org\n");
	assert_string_equal(set, "0 [2001:db8::9]:7");
}

/* It may have roamed: its endpoint is not what the name says, and right. */
static void live_peer_is_left_alone(void **state)
{
	(void)state;
	device[0].latest_handshake_s = clock_wall_s() - 100;
	for (int i = 0; i < 5; i++)
		send_in_vain();
	assert_asked("");
}

/* Nothing is sent to it, so it cannot answer; or it answers, by an old session for example. */
static void idle_peer_is_left_alone(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		now_ms += look();
	for (int i = 0; i < 5; i++) {
		send_in_vain();
		device[0].received_bytes += 92;
	}
	assert_asked("");
}

/* It comes back while getent runs. */
static void answer_for_a_live_peer_is_not_set(void **state)
{
	(void)state;
	send_in_vain();
	look();
	device[0].latest_handshake_s = clock_wall_s();
	answer("192.0.2.9       STREAM router.example.org\n");
	assert_string_equal(set, "");
}

static void removed_peer_is_not_asked_for(void **state)
{
	(void)state;
	send_in_vain();
	look();
	device_count = 0;
	answer("192.0.2.9       STREAM router.example.org\n");
	assert_string_equal(set, "");
	asked[0] = '\0';
	send_in_vain();
	look();
	assert_asked("");
}

/* Another program set the clock back: the handshake lies in the future, and says nothing. */
static void handshake_of_the_future_is_none(void **state)
{
	(void)state;
	device[0].latest_handshake_s = clock_wall_s() + 5000;
	send_in_vain();
	look();
	assert_asked("router.example.org");
}

/* A second search does not begin while one is under way. */
static void slow_answer_is_waited_for(void **state)
{
	(void)state;
	for (int i = 0; i < 5; i++)
		send_in_vain();
	assert_asked("router.example.org");
	answer("192.0.2.1       STREAM router.example.org\n");
	send_in_vain();
	look();
	assert_asked("router.example.org");
}

/* Ten hours of silence: every 30 s at first, every five minutes in the end; after a handshake from the start again. */
static void pauses_grow(void **state)
{
	unsigned count = 0;

	(void)state;
	for (int i = 0; i < 1200; i++) {
		send_in_vain();
		if (program.on_exit) {
			answer(NULL);
			count++;
		}
		if (i == 5)
			assert_in_range(count, 4, 6);
	}
	assert_in_range(count, 115, 130);
	device[0].latest_handshake_s = clock_wall_s();
	look();
	device[0].latest_handshake_s = clock_wall_s() - SILENT_S;
	asked[0] = '\0';
	send_in_vain();
	assert_int_equal(look(), LOOK_MS);
	assert_asked("router.example.org");
}

/* It has no endpoint yet, so nothing is sent to it: its name is asked for all the same, soon. */
static void unknown_name_is_asked_for_soon(void **state)
{
	(void)state;
	device[0].endpoint = (struct addr){.sa = {0}};
	device[0].latest_handshake_s = 0;
	assert_int_equal(look(), 1000);
	answer(NULL);
	now_ms += 1000;
	assert_int_equal(look(), 2000);
	answer(NULL);
	now_ms += 2000;
	assert_asked("router.example.org router.example.org");
	assert_int_equal(look(), 4000);
	answer("192.0.2.9       STREAM router.example.org\n");
	assert_string_equal(set, "0 192.0.2.9:7");
	now_ms += 4000;
	assert_int_equal(look(), LOOK_MS);
}

/* A name that is not found holds up no other. */
static void each_name_is_tried(void **state)
{
	char name[] = "nas.example.org:8";

	(void)state;
	peers[1].endpoint = name;
	endpoint_watch_start(&watch);
	send_in_vain();
	look();
	answer(NULL);
	answer("192.0.2.8       STREAM nas.example.org\n");
	assert_asked("router.example.org nas.example.org");
	assert_string_equal(set, "1 192.0.2.8:8");
}

/* localhost at our own port is the tunnel, and not a name. */
static void tunnel_has_no_name(void **state)
{
	char name[] = "localhost:51820";

	(void)state;
	peers[0].endpoint = name;
	address(&host.endpoint, "127.0.0.1:51820");
	endpoint_watch_start(&watch);
	assert_false(uv_is_active((uv_handle_t *)&timer));
	send_in_vain();
	look();
	assert_asked("");
}

int main(void)
{
#define WATCH_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		WATCH_TEST(silent_peers_name_is_asked_for),
		WATCH_TEST(same_address_is_not_set),
		WATCH_TEST(ipv6_address_is_taken),
		WATCH_TEST(live_peer_is_left_alone),
		WATCH_TEST(idle_peer_is_left_alone),
		WATCH_TEST(answer_for_a_live_peer_is_not_set),
		WATCH_TEST(removed_peer_is_not_asked_for),
		WATCH_TEST(handshake_of_the_future_is_none),
		WATCH_TEST(slow_answer_is_waited_for),
		WATCH_TEST(pauses_grow),
		WATCH_TEST(unknown_name_is_asked_for_soon),
		WATCH_TEST(each_name_is_tried),
		WATCH_TEST(tunnel_has_no_name),
	};

	return cmocka_run_group_tests_name("endpoint_watch", tests, NULL, NULL);
}
