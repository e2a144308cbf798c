/* client/link: the table that link.c draws, each state with each event, and the message and the next step at a failure.
 *
 * The search and the attempt are stand-ins: their functions in this file take the place of the client's.
 */
#include "client/attempt.h"
#include "client/client.h"
#include "client/link.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* After those: */
#include <cmocka.h>

/* --- stand-ins --- */

struct attempt {
	const struct attempt_handlers *handlers;
	void *owner;
	unsigned checks;
	bool is_closing;
};

static unsigned searches, wakes;
static bool is_searching;
static struct attempt attempt;

void seek_init(struct seek *seek, const struct seek_setup *setup)
{
	*seek = (struct seek){.setup = *setup};
}

void seek_start(struct seek *seek, struct profile *profile, size_t server)
{
	(void)seek;
	(void)profile;
	(void)server;
	searches++;
	is_searching = true;
}

void seek_tick(struct seek *seek, uint64_t now_us)
{
	(void)seek;
	(void)now_us;
}

void seek_wake(struct seek *seek, uint64_t now_us)
{
	(void)seek;
	(void)now_us;
	wakes++;
}

void seek_stop(struct seek *seek)
{
	(void)seek;
	is_searching = false;
}

void seek_close(struct seek *seek)
{
	seek_stop(seek);
	seek->setup.handlers->on_closed(seek->setup.owner);
}

void attempt_set_owner(struct attempt *a, const struct attempt_handlers *handlers, void *owner)
{
	a->handlers = handlers;
	a->owner = owner;
}

void attempt_tick(struct attempt *a, uint64_t now_us)
{
	(void)a;
	(void)now_us;
}

void attempt_check(struct attempt *a, uint64_t now_us)
{
	(void)now_us;
	a->checks++;
}

void attempt_close(struct attempt *a)
{
	a->is_closing = true;
}

const char *attempt_networks(const struct attempt *a)
{
	(void)a;
	return NULL;
}

const char *attempt_tls_version(const struct attempt *a)
{
	(void)a;
	return "TLSv1.3";
}

json_t *attempt_pace(const struct attempt *a)
{
	(void)a;
	return json_null();
}

uint64_t attempt_rtt_us(const struct attempt *a)
{
	(void)a;
	return 0;
}

static struct attempt second; /* closing, or never there: it is not up */
static bool has_second;

void second_init(struct second *s, const struct second_setup *setup)
{
	*s = (struct second){.setup = *setup};
}

void second_tick(struct second *s, const struct second_first *first, uint64_t now_us)
{
	(void)s;
	(void)first;
	(void)now_us;
}

void second_check(struct second *s, uint64_t now_us)
{
	(void)s;
	second.checks += has_second;
	(void)now_us;
}

struct attempt *second_take(struct second *s)
{
	bool had_second = has_second;

	(void)s;
	has_second = false;
	return had_second ? &second : NULL;
}

void second_stop(struct second *s)
{
	(void)s;
	has_second = false;
}

void second_close(struct second *s)
{
	s->setup.on_closed(s->setup.owner);
}

bool second_is_up(const struct second *s)
{
	(void)s;
	return has_second;
}

static char told[CHANNEL_TEXT_MAX]; /* the last CHANNEL_STATE */

int channel_send(struct channel *channel, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	(void)channel;
	(void)fd;
	if (kind == CHANNEL_STATE)
		snprintf(told, sizeof(told), "%.*s", (int)len, (const char *)payload);
	return 0;
}

/* --- the link and its owner --- */

static char one[] = "one", two[] = "two", url_one[] = "wss://one", url_two[] = "wss://two";

static struct {
	struct client client;
	struct client_settings_server named[2];
	struct profile_server servers[2];
	struct profile profile;
	struct link link;
	bool is_superseded, must_wait, is_closed;
} f;

static void on_closed(void *owner)
{
	(void)owner;
	f.is_closed = true;
}

static bool is_superseded(void *owner)
{
	(void)owner;
	return f.is_superseded;
}

static bool may_dial(void *owner)
{
	(void)owner;
	return !f.must_wait;
}

static const struct link_handlers handlers = {
	.on_closed = on_closed, .is_superseded = is_superseded, .may_dial = may_dial};

static int set_up(void **state)
{
	struct link_setup setup = {.client = &f.client, .is_first = true, .handlers = &handlers};

	(void)state;
	memset(&f, 0, sizeof(f));
	memset(&attempt, 0, sizeof(attempt));
	memset(&second, 0, sizeof(second));
	has_second = false;
	searches = wakes = 0;
	told[0] = '\0';
	uv_loop_init(&f.client.loop);
	f.named[0] = (struct client_settings_server){.url = url_one, .host = one, .port = 443};
	f.named[1] = (struct client_settings_server){.url = url_two, .host = two, .port = 443};
	f.profile = (struct profile){.users = 1, .servers = f.servers};
	f.profile.settings.servers = f.named;
	f.profile.settings.server_count = 1;
	f.client.profile = &f.profile;
	link_open(&f.link, &setup);
	return 0;
}

/* --- events --- */

static void run_timer(void)
{
	uv_timer_start(&f.link.timer, f.link.timer.timer_cb, 0, 0);
	uv_run(&f.client.loop, UV_RUN_NOWAIT);
}

static void chosen(void)
{
	struct addr addr;

	addr_parse("192.0.2.1:443", 0, &addr);
	attempt.is_closing = false;
	f.link.seek.setup.handlers->on_chosen(&f.link, &attempt, &addr);
}

static void seek_failed(void)
{
	f.link.seek.setup.handlers->on_failed(&f.link, "resolve", NULL, "no such name");
}

static void up(void)
{
	attempt.handlers->on_up(attempt.owner);
}

static void attempt_failed(void)
{
	attempt.handlers->on_failed(attempt.owner, f.link.state == LINK_UP ? NULL : "upgrade", "no");
}

static void attempt_closed(void)
{
	attempt.handlers->on_closed(attempt.owner);
}

static void go_to(enum link_state state)
{
	if (state == LINK_WAITING)
		return; /* a link begins there */
	run_timer();
	if (state == LINK_CHOSEN || state == LINK_UP)
		chosen();
	if (state == LINK_UP)
		up();
	if (state == LINK_CLOSED)
		link_close(&f.link);
	assert_int_equal(f.link.state, state);
}

static int tear_down(void **state)
{
	bool has_attempt = f.link.attempt || attempt.is_closing;

	(void)state;
	link_close(&f.link);
	if (has_attempt)
		attempt_closed();
	uv_run(&f.client.loop, UV_RUN_DEFAULT);
	assert_true(f.is_closed);
	assert_int_equal(f.profile.users, 1);
	return uv_loop_close(&f.client.loop);
}

/* --- claims --- */

static void the_first_search_starts_from_the_loop(void **state)
{
	(void)state;
	assert_int_equal(searches, 0);
	uv_run(&f.client.loop, UV_RUN_NOWAIT);
	assert_int_equal(f.link.state, LINK_SEEKING);
	assert_int_equal(searches, 1);
}

static void seeking_ends_with_what_is_chosen(void **state)
{
	(void)state;
	go_to(LINK_SEEKING);
	chosen();
	assert_int_equal(f.link.state, LINK_CHOSEN);
	assert_ptr_equal(f.link.attempt, &attempt);
}

static void seeking_fails_and_waits(void **state)
{
	(void)state;
	go_to(LINK_SEEKING);
	seek_failed();
	assert_int_equal(f.link.state, LINK_WAITING);
	assert_in_range(f.link.wait_ms, 1, BACKOFF_FIRST_MS * 5 / 4);
	assert_string_equal(told, "connecting: one: resolve: no such name");
}

static void seeking_restarts_through_waiting(void **state)
{
	(void)state;
	go_to(LINK_SEEKING);
	link_on_reload(&f.link);
	assert_int_equal(f.link.state, LINK_WAITING);
	assert_false(is_searching);
	assert_int_equal(f.link.wait_ms, 0);
	uv_run(&f.client.loop, UV_RUN_NOWAIT);
	assert_int_equal(searches, 2);
}

static void seeking_is_woken_and_goes_on(void **state)
{
	(void)state;
	go_to(LINK_SEEKING);
	link_wake(&f.link);
	assert_int_equal(f.link.state, LINK_SEEKING);
	assert_int_equal(wakes, 1);
}

static void chosen_comes_up(void **state)
{
	(void)state;
	go_to(LINK_CHOSEN);
	up();
	assert_true(link_is_up(&f.link));
	assert_int_equal(f.client.connects, 1);
	assert_string_equal(told, "up");
}

static void chosen_fails_and_waits(void **state)
{
	(void)state;
	go_to(LINK_CHOSEN);
	attempt_failed();
	assert_int_equal(f.link.state, LINK_WAITING);
	assert_true(attempt.is_closing);
	assert_string_equal(told, "connecting: one (192.0.2.1:443): upgrade: no");
}

static void chosen_restarts_through_waiting(void **state)
{
	(void)state;
	go_to(LINK_CHOSEN);
	link_on_reload(&f.link);
	assert_int_equal(f.link.state, LINK_WAITING);
	assert_true(attempt.is_closing);
}

static void up_is_lost_and_waits(void **state)
{
	(void)state;
	go_to(LINK_UP);
	attempt_failed();
	assert_int_equal(f.link.state, LINK_WAITING);
	assert_string_equal(told, "connecting: one (192.0.2.1:443): lost: no");
}

static void up_goes_on_by_the_second_connection(void **state)
{
	(void)state;
	go_to(LINK_UP);
	has_second = true;
	attempt_failed();
	assert_true(link_is_up(&f.link));
	assert_true(attempt.is_closing);
	assert_ptr_equal(f.link.attempt, &second);
	assert_int_equal(searches, 1);
	assert_int_equal(f.client.connects, 2);
	assert_string_equal(told, "up");
	second.handlers->on_failed(second.owner, NULL, "no");
	assert_int_equal(f.link.state, LINK_WAITING);
	assert_true(second.is_closing);
	second.handlers->on_closed(second.owner);
}

static void a_second_connection_goes_with_the_link(void **state)
{
	(void)state;
	go_to(LINK_UP);
	has_second = true;
	link_wake(&f.link);
	assert_int_equal(second.checks, 1);
	link_close(&f.link);
	assert_false(has_second);
}

static void up_does_not_restart(void **state)
{
	(void)state;
	go_to(LINK_UP);
	link_on_reload(&f.link);
	assert_true(link_is_up(&f.link));
	link_wake(&f.link);
	assert_true(link_is_up(&f.link));
	assert_int_equal(attempt.checks, 1);
	assert_false(attempt.is_closing);
}

static void waiting_ends_with_the_timer_or_at_once_when_woken(void **state)
{
	(void)state;
	go_to(LINK_SEEKING);
	seek_failed();
	link_wake(&f.link);
	assert_int_equal(f.link.wait_ms, 0);
	uv_run(&f.client.loop, UV_RUN_NOWAIT);
	assert_int_equal(f.link.state, LINK_SEEKING);
}

static void every_state_closes(void **state)
{
	(void)state;
	for (enum link_state from = 0; from < LINK_STATE_COUNT; from++) {
		go_to(from);
		link_close(&f.link);
		assert_int_equal(f.link.state, LINK_CLOSED);
		assert_false(is_searching);
		assert_null(f.link.attempt);
		tear_down(NULL);
		set_up(NULL);
	}
}

static void closed_means_nothing_more(void **state)
{
	(void)state;
	go_to(LINK_CLOSED);
	link_wake(&f.link);
	link_on_reload(&f.link);
	link_close(&f.link);
	assert_int_equal(f.link.state, LINK_CLOSED);
	assert_int_equal(searches, 1);
}

static void the_next_server_is_tried_without_a_wait(void **state)
{
	(void)state;
	f.profile.settings.server_count = 2;
	go_to(LINK_SEEKING);
	seek_failed();
	assert_int_equal(f.link.server, 1);
	assert_int_equal(f.link.wait_ms, 0);
	run_timer();
	seek_failed();
	assert_int_equal(f.link.server, 0);
	assert_true(f.link.wait_ms > 0);
}

static void after_it_was_up_the_first_server_comes_first(void **state)
{
	(void)state;
	f.profile.settings.server_count = 2;
	go_to(LINK_UP);
	attempt_failed();
	assert_int_equal(f.link.server, 0);
}

static void a_superseded_link_waits_for_the_one_in_use(void **state)
{
	(void)state;
	go_to(LINK_SEEKING);
	f.is_superseded = f.must_wait = true;
	seek_failed();
	assert_true(f.link.wait_ms >= 600);
	run_timer();
	assert_int_equal(f.link.state, LINK_WAITING);
	f.must_wait = false;
	run_timer();
	assert_int_equal(f.link.state, LINK_SEEKING);
}

static void another_profile_is_taken_when_the_search_begins(void **state)
{
	struct profile other = f.profile;

	(void)state;
	other.users = 1;
	go_to(LINK_UP);
	f.client.profile = &other;
	link_on_reload(&f.link);
	assert_ptr_equal(f.link.profile, &f.profile);
	attempt_failed();
	run_timer();
	assert_ptr_equal(f.link.profile, &other);
	assert_int_equal(f.profile.users, 1);
	f.client.profile = &f.profile;
	link_on_reload(&f.link);
	run_timer();
	assert_int_equal(other.users, 1);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(the_first_search_starts_from_the_loop),
		CLAIM(seeking_ends_with_what_is_chosen),
		CLAIM(seeking_fails_and_waits),
		CLAIM(seeking_restarts_through_waiting),
		CLAIM(seeking_is_woken_and_goes_on),
		CLAIM(chosen_comes_up),
		CLAIM(chosen_fails_and_waits),
		CLAIM(chosen_restarts_through_waiting),
		CLAIM(up_is_lost_and_waits),
		CLAIM(up_goes_on_by_the_second_connection),
		CLAIM(a_second_connection_goes_with_the_link),
		CLAIM(up_does_not_restart),
		CLAIM(waiting_ends_with_the_timer_or_at_once_when_woken),
		CLAIM(every_state_closes),
		CLAIM(closed_means_nothing_more),
		CLAIM(the_next_server_is_tried_without_a_wait),
		CLAIM(after_it_was_up_the_first_server_comes_first),
		CLAIM(a_superseded_link_waits_for_the_one_in_use),
		CLAIM(another_profile_is_taken_when_the_search_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
