/* client/seek: which address wins, when the second try starts, and when the search has failed.
 *
 * Resolver, dial and attempt are stand-ins: their functions in this file take the place of the client's. A test lets
 * them answer.
 */
#include "client/attempt.h"
#include "client/dial.h"
#include "client/profile.h"
#include "client/resolver.h"
#include "client/seek.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
/* After those: */
#include <cmocka.h>

/* --- stand-ins --- */

struct resolver {
	struct resolver_setup setup;
};

struct dial {
	const struct dial_handlers *handlers;
	void *owner;
	struct addr addresses[DIAL_ADDRESSES_MAX];
	size_t count;
	unsigned again;
};

struct attempt {
	struct attempt_setup setup;
	bool is_closing;
};

#define PARTS_MAX 8
static struct resolver *question; /* the newest; NULL: none is open */
static unsigned questions;
static bool is_resolver_broken, is_question_stale;
static struct dial *dials[PARTS_MAX]; /* in the order of their start; NULL: closed */
static unsigned dial_count;
static struct attempt *attempts[PARTS_MAX];
static unsigned attempt_count;

int resolver_open(struct resolver **ret, const struct resolver_setup *setup, struct err *err)
{
	if (is_resolver_broken)
		return err_set(err, -5, "no resolver");
	*ret = question = calloc(1, sizeof(*question));
	assert_non_null(question);
	question->setup = *setup;
	questions++;
	return 0;
}

bool resolver_is_stale(const struct resolver *resolver)
{
	(void)resolver;
	return is_question_stale;
}

void resolver_close(struct resolver *resolver)
{
	if (resolver == question)
		question = NULL;
	free(resolver);
}

struct dial *dial_open(uv_loop_t *loop, struct socket_source *sockets, const struct addr *addresses, size_t count,
	const struct dial_handlers *handlers, void *owner)
{
	struct dial *dial = calloc(1, sizeof(*dial));

	(void)loop;
	(void)sockets;
	assert_non_null(dial);
	*dial = (struct dial){.handlers = handlers, .owner = owner, .count = count};
	memcpy(dial->addresses, addresses, count * sizeof(*addresses));
	assert_true(dial_count < PARTS_MAX);
	dials[dial_count++] = dial;
	return dial;
}

void dial_close(struct dial *dial)
{
	for (unsigned i = 0; dial && i < dial_count; i++)
		if (dials[i] == dial)
			dials[i] = NULL;
	free(dial);
}

void dial_again(struct dial *dial)
{
	dial->again++;
}

struct attempt *attempt_open(const struct attempt_setup *setup, int fd)
{
	struct attempt *attempt = calloc(1, sizeof(*attempt));

	(void)fd;
	assert_non_null(attempt);
	attempt->setup = *setup;
	assert_true(attempt_count < PARTS_MAX);
	attempts[attempt_count++] = attempt;
	return attempt;
}

void attempt_tick(struct attempt *attempt, uint64_t now_us)
{
	(void)attempt;
	(void)now_us;
}

void attempt_check(struct attempt *attempt, uint64_t now_us)
{
	(void)attempt;
	(void)now_us;
}

void attempt_close(struct attempt *attempt)
{
	attempt->is_closing = true;
}

/* --- the search and its owner --- */

static char hub[] = "hub.example.org";

static struct {
	uv_loop_t loop;
	struct profile_server server;
	struct client_settings_server named;
	struct profile profile;
	struct seek seek;
	struct attempt *chosen;
	char addr[ADDR_TEXT_MAX]; /* of what was chosen or has failed; "": none */
	char phase[64], reason[128];
	unsigned failures;
	bool is_closed;
} f;

static void note_addr(const struct addr *addr)
{
	f.addr[0] = '\0';
	if (addr)
		addr_format_host(f.addr, sizeof(f.addr), addr);
}

static void on_chosen(void *owner, struct attempt *attempt, const struct addr *addr)
{
	(void)owner;
	assert_null(f.chosen);
	f.chosen = attempt;
	note_addr(addr);
}

static void on_failed(void *owner, const char *phase, const struct addr *addr, const char *reason)
{
	(void)owner;
	f.failures++;
	note_addr(addr);
	snprintf(f.phase, sizeof(f.phase), "%s", phase);
	snprintf(f.reason, sizeof(f.reason), "%s", reason);
}

static void on_closed(void *owner)
{
	(void)owner;
	f.is_closed = true;
}

static const struct seek_handlers handlers = {.on_chosen = on_chosen, .on_failed = on_failed, .on_closed = on_closed};

static int set_up(void **state)
{
	struct seek_setup setup = {.loop = &f.loop, .nameservers = "", .handlers = &handlers};

	(void)state;
	memset(&f, 0, sizeof(f));
	question = NULL;
	questions = dial_count = attempt_count = 0;
	is_resolver_broken = is_question_stale = false;
	uv_loop_init(&f.loop);
	f.named = (struct client_settings_server){.host = hub, .port = 443};
	f.profile = (struct profile){.users = 1, .servers = &f.server};
	f.profile.settings.servers = &f.named;
	f.profile.settings.server_count = 1;
	seek_init(&f.seek, &setup);
	return 0;
}

/* An attempt that was closed lets go when the loop runs on. */
static void let_go(void)
{
	for (unsigned i = 0; i < attempt_count; i++) {
		if (!attempts[i] || !attempts[i]->is_closing)
			continue;
		if (attempts[i] != f.chosen)
			attempts[i]->setup.handlers->on_closed(attempts[i]->setup.owner);
		free(attempts[i]);
		attempts[i] = NULL;
	}
}

static int tear_down(void **state)
{
	(void)state;
	if (f.chosen)
		attempt_close(f.chosen);
	if (!uv_is_closing((uv_handle_t *)&f.seek.timer))
		seek_close(&f.seek);
	let_go();
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_true(f.is_closed);
	assert_null(question);
	for (unsigned i = 0; i < PARTS_MAX; i++)
		assert_true(i >= dial_count || !dials[i]);
	return uv_loop_close(&f.loop);
}

static size_t parse(const char *list, struct addr addresses[ADDRESS_LIST_MAX])
{
	int count = address_list_parse(list, 443, addresses);

	assert_true(count >= 0);
	return (size_t)count;
}

/* --- verbs --- */

static void search(const char *remembered)
{
	f.server.address_count = parse(remembered, f.server.addresses);
	seek_start(&f.seek, &f.profile, 0);
}

static void answer(const char *list, const char *reason)
{
	struct addr addresses[ADDRESS_LIST_MAX];
	size_t count = parse(list, addresses);

	assert_non_null(question);
	question->setup.on_answer(question->setup.owner, addresses, count, reason);
}

/* The time until the remembered addresses are tried passes. */
static void pass_delay(unsigned delay_ms)
{
	assert_in_range(uv_timer_get_due_in(&f.seek.timer), delay_ms - 20, delay_ms);
	uv_timer_start(&f.seek.timer, f.seek.timer.timer_cb, 0, 0);
	uv_run(&f.loop, UV_RUN_NOWAIT);
}

static void assert_dials(unsigned i, const char *list)
{
	char text[ADDRESS_LIST_TEXT_MAX];

	assert_true(i < dial_count && dials[i]);
	assert_string_equal(address_list_format(text, dials[i]->addresses, dials[i]->count), list);
}

static void connect_dial(unsigned i)
{
	struct dial *dial = dials[i];

	assert_non_null(dial);
	dial->handlers->on_connected(dial->owner, -1, &dial->addresses[0]);
}

static void fail_dial(unsigned i, const char *reason)
{
	struct dial *dial = dials[i];
	struct addr addr = dial->addresses[0];

	dial->handlers->on_failed(dial->owner, &addr, reason);
}

static void prove(unsigned i)
{
	attempts[i]->setup.handlers->on_secured(attempts[i]->setup.owner);
}

static void fail_attempt(unsigned i, const char *reason)
{
	attempts[i]->setup.handlers->on_failed(attempts[i]->setup.owner, "TLS", reason);
}

static void assert_failed(const char *phase, const char *addr, const char *reason)
{
	assert_int_equal(f.failures, 1);
	assert_string_equal(f.phase, phase);
	assert_string_equal(f.addr, addr);
	assert_string_equal(f.reason, reason);
}

/* --- claims --- */

static void the_first_server_that_proves_itself_wins(void **state)
{
	(void)state;
	search("192.0.2.1");
	pass_delay(SEEK_HEAD_START_MS);
	answer("192.0.2.2", "");
	connect_dial(0);
	connect_dial(1);
	assert_null(f.chosen); /* a connection alone proves nothing */
	prove(1);
	assert_ptr_equal(f.chosen, attempts[1]);
	assert_string_equal(f.addr, "192.0.2.2");
	assert_true(attempts[0]->is_closing);
	assert_false(attempts[1]->is_closing);
	assert_int_equal(f.failures, 0);
}

static void remembered_addresses_wait_for_the_head_start(void **state)
{
	(void)state;
	search("192.0.2.1,192.0.2.3");
	assert_int_equal(dial_count, 0);
	pass_delay(SEEK_HEAD_START_MS);
	assert_dials(0, "192.0.2.1,192.0.2.3");
}

static void nothing_remembered_means_no_second_try(void **state)
{
	(void)state;
	search("");
	assert_false(uv_is_active((uv_handle_t *)&f.seek.timer));
	answer("192.0.2.2", "");
	fail_dial(0, "refused");
	assert_failed("connect", "192.0.2.2", "refused");
}

static void an_answer_in_time_that_confirms_leaves_memory_alone(void **state)
{
	(void)state;
	search("192.0.2.1");
	answer("192.0.2.2,192.0.2.1", "");
	assert_dials(0, "192.0.2.2,192.0.2.1");
	assert_false(uv_is_active((uv_handle_t *)&f.seek.timer));
	fail_dial(0, "refused");
	assert_int_equal(dial_count, 1);
	assert_failed("connect", "192.0.2.2", "refused");
}

static void another_answer_gets_the_fallback_delay(void **state)
{
	(void)state;
	search("192.0.2.1");
	answer("192.0.2.2", "");
	assert_dials(0, "192.0.2.2");
	assert_int_equal(dial_count, 1);
	pass_delay(SEEK_FALLBACK_DELAY_MS);
	assert_dials(1, "192.0.2.1");
}

static void what_is_dialed_already_is_not_dialed_twice(void **state)
{
	(void)state;
	search("192.0.2.1");
	pass_delay(SEEK_HEAD_START_MS);
	answer("192.0.2.1,192.0.2.2", "");
	assert_dials(1, "192.0.2.2");
}

static void one_try_fails_and_the_other_goes_on(void **state)
{
	(void)state;
	search("192.0.2.1");
	pass_delay(SEEK_HEAD_START_MS);
	answer("192.0.2.2", "");
	fail_dial(1, "refused");
	connect_dial(0);
	assert_int_equal(f.failures, 0);
	prove(0);
	assert_string_equal(f.addr, "192.0.2.1");
}

static void the_answer_fails_and_memory_is_tried_at_once(void **state)
{
	(void)state;
	search("192.0.2.1");
	answer("192.0.2.2", "");
	fail_dial(0, "refused");
	assert_int_equal(f.failures, 0);
	assert_dials(1, "192.0.2.1");
}

static void the_last_failure_is_the_searchs(void **state)
{
	(void)state;
	search("192.0.2.1");
	pass_delay(SEEK_HEAD_START_MS);
	answer("192.0.2.2", "");
	fail_dial(1, "refused");
	connect_dial(0);
	fail_attempt(0, "certificate is for another name");
	assert_failed("TLS", "192.0.2.1", "certificate is for another name");
	assert_true(attempts[0]->is_closing);
}

static void a_failed_look_up_is_the_searchs_where_nothing_is_remembered(void **state)
{
	(void)state;
	search("");
	answer("", "no such name");
	assert_failed("resolve", "", "no such name");
}

static void a_failed_look_up_leads_to_memory_at_once(void **state)
{
	(void)state;
	search("192.0.2.1");
	answer("", "no such name");
	assert_int_equal(f.failures, 0);
	assert_dials(0, "192.0.2.1");
	fail_dial(0, "unreachable");
	assert_failed("connect", "192.0.2.1", "unreachable");
}

static void a_resolver_that_does_not_start_fails_like_a_look_up(void **state)
{
	(void)state;
	is_resolver_broken = true;
	search("");
	assert_failed("resolve", "", "no resolver");
}

static void memory_fails_and_the_look_up_goes_on(void **state)
{
	(void)state;
	search("192.0.2.1");
	pass_delay(SEEK_HEAD_START_MS);
	fail_dial(0, "refused");
	assert_int_equal(f.failures, 0);
	answer("192.0.2.2", "");
	assert_dials(1, "192.0.2.2");
}

static void stop_in_the_middle_calls_nobody(void **state)
{
	(void)state;
	search("192.0.2.1");
	pass_delay(SEEK_HEAD_START_MS);
	connect_dial(0);
	seek_stop(&f.seek);
	assert_null(question);
	assert_true(attempts[0]->is_closing);
	assert_int_equal(f.failures, 0);
	assert_null(f.chosen);
}

static void closed_when_every_attempt_has_let_go(void **state)
{
	(void)state;
	search("192.0.2.1");
	pass_delay(SEEK_HEAD_START_MS);
	connect_dial(0);
	seek_close(&f.seek);
	uv_run(&f.loop, UV_RUN_DEFAULT);
	assert_false(f.is_closed);
	let_go();
	assert_true(f.is_closed);
}

static void a_search_begins_while_the_last_ones_attempt_closes(void **state)
{
	(void)state;
	search("");
	answer("192.0.2.2", "");
	connect_dial(0);
	fail_attempt(0, "no");
	search("192.0.2.1");
	let_go();
	answer("192.0.2.5", "");
	connect_dial(1);
	prove(1);
	assert_string_equal(f.addr, "192.0.2.5");
}

static void a_change_of_network_dials_again_and_asks_again_where_the_question_is_lost(void **state)
{
	(void)state;
	search("192.0.2.1");
	pass_delay(SEEK_HEAD_START_MS);
	seek_wake(&f.seek, 0);
	assert_int_equal(dials[0]->again, 1);
	assert_int_equal(questions, 1);
	is_question_stale = true;
	seek_wake(&f.seek, 0);
	assert_int_equal(questions, 2);
	assert_int_equal(dial_count, 1);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(the_first_server_that_proves_itself_wins),
		CLAIM(remembered_addresses_wait_for_the_head_start),
		CLAIM(nothing_remembered_means_no_second_try),
		CLAIM(an_answer_in_time_that_confirms_leaves_memory_alone),
		CLAIM(another_answer_gets_the_fallback_delay),
		CLAIM(what_is_dialed_already_is_not_dialed_twice),
		CLAIM(one_try_fails_and_the_other_goes_on),
		CLAIM(the_answer_fails_and_memory_is_tried_at_once),
		CLAIM(the_last_failure_is_the_searchs),
		CLAIM(a_failed_look_up_is_the_searchs_where_nothing_is_remembered),
		CLAIM(a_failed_look_up_leads_to_memory_at_once),
		CLAIM(a_resolver_that_does_not_start_fails_like_a_look_up),
		CLAIM(memory_fails_and_the_look_up_goes_on),
		CLAIM(stop_in_the_middle_calls_nobody),
		CLAIM(closed_when_every_attempt_has_let_go),
		CLAIM(a_search_begins_while_the_last_ones_attempt_closes),
		CLAIM(a_change_of_network_dials_again_and_asks_again_where_the_question_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
