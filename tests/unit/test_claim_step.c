/* common/host/claim_step: when a claim is put right, when it is left alone, and what does not count as a fight. */
#include "common/base/clock.h"
#include "common/host/claim_step.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct claim_memory memory;
static uint64_t now_us;

static int start(void **state)
{
	(void)state;
	claim_forget(&memory);
	now_us = 1000 * CLOCK_US_PER_S;
	return 0;
}

static enum claim_act look(bool has_peer, bool is_whole, bool is_rewritten)
{
	const struct claim_seen seen = {has_peer, is_whole, is_rewritten};

	return claim_step(&memory, &seen, now_us);
}

static void wait_ms(uint64_t ms)
{
	now_us += ms * CLOCK_US_PER_MS;
}

/* A look finds it undone, and all of it is made again. */
static void put_right(void)
{
	assert_int_equal(look(true, false, false), CLAIM_ACT_PUT_RIGHT);
	claim_note_put(&memory, true, now_us);
	assert_int_equal(memory.state, CLAIM_TRUE);
}

/* Put right, and undone @after_ms later, @times in a row. */
static void undo_often(unsigned times, uint64_t after_ms)
{
	for (unsigned i = 0; i < times; i++) {
		put_right();
		wait_ms(after_ms);
	}
}

/* Without the peer nothing is made; with it all is, once. */
static void waits_for_the_peer(void **state)
{
	(void)state;
	assert_int_equal(look(false, false, false), CLAIM_ACT_WITHDRAW);
	assert_int_equal(memory.state, CLAIM_WAITING);
	put_right();
	wait_ms(2000);
	assert_int_equal(look(true, true, false), CLAIM_ACT_NONE);
	assert_int_equal(memory.state, CLAIM_TRUE);
}

/* A claim that was true without us is true. */
static void takes_what_is_there(void **state)
{
	(void)state;
	assert_int_equal(look(true, true, false), CLAIM_ACT_NONE);
	assert_int_equal(memory.state, CLAIM_TRUE);
}

/* What could not be made whole is tried at the next look, and that is no fight. */
static void tries_again(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		assert_int_equal(look(true, false, false), CLAIM_ACT_PUT_RIGHT);
		claim_note_put(&memory, false, now_us);
		assert_int_equal(memory.state, CLAIM_WAITING);
		wait_ms(300);
	}
}

/* Undone five times in ten seconds, each time within one: left alone for thirty, and said. */
static void a_fight_ends_in_a_pause(void **state)
{
	(void)state;
	undo_often(5, 900);
	assert_int_equal(look(true, false, false), CLAIM_ACT_LEAVE_ALONE);
	assert_int_equal(memory.state, CLAIM_LEFT_ALONE);
	wait_ms(29900);
	assert_int_equal(look(true, false, false), CLAIM_ACT_NONE);
	assert_int_equal(memory.state, CLAIM_LEFT_ALONE);
	wait_ms(200);
	put_right();
}

/* Four times are not enough. */
static void four_times_are_no_fight(void **state)
{
	(void)state;
	undo_often(4, 900);
	put_right();
	wait_ms(11000);
	undo_often(4, 900);
	put_right();
}

/* A fight that goes on is said once; one that begins anew after a while of peace is said again. */
static void a_fight_is_told_once(void **state)
{
	(void)state;
	undo_often(5, 300);
	assert_int_equal(look(true, false, false), CLAIM_ACT_LEAVE_ALONE);
	wait_ms(31000);
	undo_often(5, 300);
	assert_int_equal(look(true, false, false), CLAIM_ACT_NONE);
	assert_int_equal(memory.state, CLAIM_LEFT_ALONE);
	wait_ms(31000);
	put_right();
	wait_ms(11000);
	assert_int_equal(look(true, true, false), CLAIM_ACT_NONE);
	undo_often(5, 300);
	assert_int_equal(look(true, false, false), CLAIM_ACT_LEAVE_ALONE);
}

/* Undone a second later or more, as often as it may be: put right each time. */
static void slow_undoings_do_not_count(void **state)
{
	(void)state;
	undo_often(30, 1100);
	put_right();
}

/* Five quick undoings in more than ten seconds are no fight. */
static void the_window_has_an_end(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		put_right();
		wait_ms(500);
		put_right();
		wait_ms(4600);
		assert_int_equal(look(true, true, false), CLAIM_ACT_NONE);
	}
}

/* A peer that goes and comes, as fast as it may, is no fight. */
static void a_peer_that_goes_does_not_count(void **state)
{
	(void)state;
	for (int i = 0; i < 30; i++) {
		put_right();
		wait_ms(200);
		assert_int_equal(look(false, false, false), CLAIM_ACT_WITHDRAW);
		wait_ms(200);
	}
}

/* It also ends a fight that was under way, and its pause. */
static void a_peer_that_goes_ends_the_pause(void **state)
{
	(void)state;
	undo_often(5, 300);
	assert_int_equal(look(true, false, false), CLAIM_ACT_LEAVE_ALONE);
	assert_int_equal(look(false, false, false), CLAIM_ACT_WITHDRAW);
	put_right();
}

/* A new device: the owner forgets. */
static void a_restart_does_not_count(void **state)
{
	(void)state;
	for (int i = 0; i < 30; i++) {
		put_right();
		wait_ms(200);
		claim_forget(&memory);
	}
	put_right();
}

/* Undone every 200 ms, each @every times with a new content of the manager's file. Return: how often that was put right. */
static unsigned click(unsigned times, unsigned every, unsigned *ret_told)
{
	unsigned count = 0;

	for (unsigned i = 1; i <= times; i++) {
		enum claim_act act;

		wait_ms(200);
		act = look(true, false, i % every == 0);
		assert_int_not_equal(act, CLAIM_ACT_LEAVE_ALONE);
		*ret_told += act == CLAIM_ACT_SLOW_DOWN;
		if (act == CLAIM_ACT_PUT_RIGHT) {
			claim_note_put(&memory, true, now_us);
			count++;
		}
	}
	return count;
}

/* A click without an effect writes the same content once more; one with an effect shows that nobody fights. */
static void clicks_without_effect_do_not_count_among_others(void **state)
{
	unsigned told = 0;

	(void)state;
	put_right();
	assert_int_equal(click(20, 5, &told), 20);
	assert_int_equal(told, 0);
}

/* Each click makes the manager write its file and undo the claim: never a fight, however fast the clicks come. They cost
 * us once a second, and one line. */
static void a_manager_at_work_does_not_count(void **state)
{
	unsigned told = 0, count;

	(void)state;
	put_right();
	count = click(100, 1, &told);
	assert_in_range(count, 4 + 18, 4 + 20);
	assert_int_equal(told, 1);
	wait_ms(1000);
	put_right();
	wait_ms(11000);
	assert_int_equal(look(true, true, false), CLAIM_ACT_NONE);
	assert_int_equal(click(4, 1, &told), 4);
	assert_int_equal(told, 1);
}

/* --- whose a prefix is --- */

static const uint8_t key_a[WG_CONFIG_KEY_LEN] = {1}, key_b[WG_CONFIG_KEY_LEN] = {2};
static struct prefix lan, host;

/* Peers a and b of a device: a has one address of the LAN, and b the LAN where @has_b_the_lan. */
static const struct wg_state *device(bool has_b_the_lan)
{
	static struct prefix of_a[1], of_b[1];
	static struct wg_state_peer peers[2] = {{.allowed_ips = of_a, .allowed_ip_count = 1}, {.allowed_ips = of_b}};
	static const struct wg_state both = {.peers = peers, .peer_count = 2};

	assert_int_equal(prefix_parse("192.168.1.0/24", &lan), 0);
	assert_int_equal(prefix_parse("192.168.1.7/32", &host), 0);
	of_a[0] = host;
	of_b[0] = lan;
	memcpy(peers[0].public_key, key_a, sizeof(key_a));
	memcpy(peers[1].public_key, key_b, sizeof(key_b));
	peers[1].allowed_ip_count = has_b_the_lan;
	return &both;
}

static enum claim_holding judge(const struct wg_state *state, const struct claim_file *file, bool is_fresh)
{
	return claim_judge(claim_find_holder(state, &lan), key_a, &lan, file, is_fresh);
}

/* A longer prefix of the same network is another prefix. */
static void nobody_has_it(void **state)
{
	const struct claim_file none = {0};
	const struct wg_state *both = device(false);

	(void)state;
	assert_int_equal(judge(both, &none, false), CLAIM_FREE);
	assert_ptr_equal(claim_find_holder(both, &host), &both->peers[0]);
	assert_int_equal(claim_judge(&both->peers[0], key_a, &host, &none, true), CLAIM_HELD);
}

/* Another peer has it: it is taken back, unless the manager's file gives it to that peer. */
static void another_peer_has_it(void **state)
{
	struct claim_file_line lines[] = {{.public_key = {1}}, {.public_key = {2}}};
	struct claim_file file = {.lines = lines, .count = 2};
	const struct wg_state *both = device(true);

	(void)state;
	lines[0].prefix = lan; /* the claim's own peer's: that is not what counts */
	lines[1].prefix = host;
	assert_int_equal(judge(both, &file, false), CLAIM_STOLEN);
	lines[1].prefix = lan;
	assert_int_equal(judge(both, &file, false), CLAIM_GIVEN);
	assert_int_equal(judge(both, &file, true), CLAIM_GIVEN);
}

/* A file that is just being written may not give it to that peer yet. */
static void a_fresh_file_is_waited_for(void **state)
{
	const struct claim_file empty = {0};

	(void)state;
	assert_int_equal(judge(device(true), &empty, true), CLAIM_UNSURE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nobody_has_it),
		cmocka_unit_test(another_peer_has_it),
		cmocka_unit_test(a_fresh_file_is_waited_for),
		cmocka_unit_test_setup(waits_for_the_peer, start),
		cmocka_unit_test_setup(takes_what_is_there, start),
		cmocka_unit_test_setup(tries_again, start),
		cmocka_unit_test_setup(a_fight_ends_in_a_pause, start),
		cmocka_unit_test_setup(four_times_are_no_fight, start),
		cmocka_unit_test_setup(a_fight_is_told_once, start),
		cmocka_unit_test_setup(slow_undoings_do_not_count, start),
		cmocka_unit_test_setup(the_window_has_an_end, start),
		cmocka_unit_test_setup(a_peer_that_goes_does_not_count, start),
		cmocka_unit_test_setup(a_peer_that_goes_ends_the_pause, start),
		cmocka_unit_test_setup(a_restart_does_not_count, start),
		cmocka_unit_test_setup(clicks_without_effect_do_not_count_among_others, start),
		cmocka_unit_test_setup(a_manager_at_work_does_not_count, start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
