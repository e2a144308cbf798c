/* client/second: when a second connection is opened, kept, handed over and closed.
 *
 * Dial and attempt are stand-ins: their functions in this file take the place of the client's. A test lets them answer.
 */
#include "client/second.h"

#include "client/attempt.h"
#include "client/client.h"
#include "client/dial.h"
#include "common/base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
/* After those: */
#include <cmocka.h>

#define S CLOCK_US_PER_S

enum { FD = 9 };

/* --- stand-ins --- */

struct attempt {
	struct attempt_setup setup;
	uint32_t losses;
	unsigned ticks, checks;
	bool is_closing;
};

static struct {
	bool may_have_second;
	struct client client;
	struct profile profile;
	struct addr addr;
	struct attempt first, other;
	const struct dial_handlers *dialing; /* NULL: no dial is open */
	void *dial_owner;
	unsigned dials;
	struct second second;
	bool is_closed;
	uint64_t began_us; /* later than any real clock, which a failure reads */
} f;

struct dial *dial_open(uv_loop_t *loop, struct socket_source *sockets, const struct addr *addresses, size_t count,
	const struct dial_handlers *handlers, void *owner)
{
	assert_ptr_equal(loop, &f.client.loop);
	assert_ptr_equal(sockets, &f.client.sockets);
	assert_int_equal(count, 1);
	assert_true(addr_equal(addresses, &f.addr));
	f.dialing = handlers;
	f.dial_owner = owner;
	f.dials++;
	return (struct dial *)&f.dialing;
}

void dial_close(struct dial *dial)
{
	if (dial)
		f.dialing = NULL;
}

struct attempt *attempt_open(const struct attempt_setup *setup, int fd)
{
	assert_int_equal(fd, FD);
	assert_ptr_equal(setup->beside, &f.first);
	f.other = (struct attempt){.setup = *setup};
	return &f.other;
}

void attempt_tick(struct attempt *attempt, uint64_t now_us)
{
	(void)now_us;
	attempt->ticks++;
}

void attempt_check(struct attempt *attempt, uint64_t now_us)
{
	(void)now_us;
	attempt->checks++;
}

void attempt_close(struct attempt *attempt)
{
	attempt->is_closing = true;
}

uint32_t attempt_losses(const struct attempt *attempt)
{
	return attempt->losses;
}

bool attempt_may_have_second(const struct attempt *attempt)
{
	return attempt == &f.first && f.may_have_second;
}

/* --- the second connection and its owner --- */

static void on_closed(void *owner)
{
	(void)owner;
	f.is_closed = true;
}

static int set_up(void **state)
{
	struct second_setup setup = {.client = &f.client, .on_closed = on_closed};

	(void)state;
	memset(&f, 0, sizeof(f));
	f.may_have_second = true;
	addr_parse("192.0.2.1:443", 0, &f.addr);
	second_init(&f.second, &setup);
	f.began_us = UINT64_MAX / 2;
	return 0;
}

static void tick(uint64_t at_us)
{
	struct second_first first = {.profile = &f.profile, .addr = &f.addr, .attempt = &f.first};

	second_tick(&f.second, &first, f.began_us + at_us);
}

/* So many more losses of the first one, and a tick that sees them. */
static void lose(uint32_t count, uint64_t at_us)
{
	f.first.losses += count;
	tick(at_us);
}

static void go_up(void)
{
	tick(0);
	lose(4, S);
	f.dialing->on_connected(f.dial_owner, FD, &f.addr);
	f.other.setup.handlers->on_secured(f.other.setup.owner);
	f.other.setup.handlers->on_up(f.other.setup.owner);
	assert_true(second_is_up(&f.second));
}

/* --- claims --- */

static void a_line_without_losses_has_none(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++)
		tick(i * S / 2);
	assert_int_equal(f.dials, 0);
}

static void a_few_losses_in_a_long_time_open_none(void **state)
{
	(void)state;
	tick(0);
	for (unsigned i = 1; i < 20; i++)
		lose(1, i * 11 * S);
	assert_int_equal(f.dials, 0);
}

static void losses_within_a_while_open_one(void **state)
{
	(void)state;
	tick(0);
	lose(1, S);
	lose(1, 2 * S);
	assert_int_equal(f.dials, 1);
	lose(9, 3 * S);
	assert_int_equal(f.dials, 1); /* not another one beside it */
}

static void losses_from_before_do_not_count_again_with_another_first_one(void **state)
{
	(void)state;
	tick(0);
	lose(1, 11 * S);
	f.first.losses = 0;
	tick(12 * S);
	lose(1, 23 * S);
	assert_int_equal(f.dials, 0);
}

static void a_server_that_knows_none_is_not_asked(void **state)
{
	(void)state;
	f.may_have_second = false;
	tick(0);
	lose(100, S);
	assert_int_equal(f.dials, 0);
}

static void it_is_closed_when_nothing_was_lost_for_a_minute(void **state)
{
	(void)state;
	go_up();
	tick(60 * S);
	assert_true(second_is_up(&f.second));
	tick(61 * S);
	assert_true(f.other.is_closing);
	assert_false(second_is_up(&f.second));
	tick(62 * S);
	assert_int_equal(f.dials, 1);
}

static void losses_from_before_do_not_open_it_again(void **state)
{
	(void)state;
	go_up();
	tick(20 * S);
	f.other.losses = 1;
	tick(30 * S);
	tick(61 * S);
	assert_false(second_is_up(&f.second));
	for (unsigned i = 62; i < 90; i++)
		tick(i * S);
	assert_int_equal(f.dials, 1);
}

static void its_own_losses_keep_it(void **state)
{
	(void)state;
	go_up();
	tick(20 * S);
	f.other.losses = 5;
	tick(30 * S);
	tick(61 * S);
	assert_true(second_is_up(&f.second));
}

static void a_failure_is_tried_again_later_and_later(void **state)
{
	(void)state;
	f.began_us = 0; /* the time of a failure is the real clock's, long before these */
	tick(0);
	lose(4, S);
	f.dialing->on_failed(f.dial_owner, &f.addr, "refused");
	assert_null(f.dialing);
	lose(4, 2 * S);
	assert_int_equal(f.dials, 1);
	assert_true(f.second.retry_us > 30 * S);
	lose(4, f.second.retry_us);
	assert_int_equal(f.dials, 2);
	f.dialing->on_failed(f.dial_owner, &f.addr, "refused");
	assert_int_equal(f.second.retry_wait_us, 120 * S);
}

static void a_server_that_knows_none_is_left_alone_for_a_while(void **state)
{
	(void)state;
	f.began_us = 0;
	tick(0);
	lose(4, S);
	f.dialing->on_connected(f.dial_owner, FD, &f.addr);
	f.other.setup.handlers->on_failed(f.other.setup.owner, "upgrade", "knows no second connection");
	assert_true(f.other.is_closing);
	lose(4, 2 * S);
	assert_int_equal(f.dials, 1);
}

static void only_one_that_is_up_is_handed_over(void **state)
{
	(void)state;
	tick(0);
	lose(4, S);
	assert_null(second_take(&f.second));
	f.dialing->on_connected(f.dial_owner, FD, &f.addr);
	assert_null(second_take(&f.second));
	f.other.setup.handlers->on_up(f.other.setup.owner);
	assert_ptr_equal(second_take(&f.second), &f.other);
	assert_false(f.other.is_closing);
	assert_false(second_is_up(&f.second));
	second_close(&f.second);
	assert_true(f.is_closed); /* the one that was handed over is not waited for */
}

static void after_a_hand_over_another_one_is_opened(void **state)
{
	(void)state;
	go_up();
	second_take(&f.second);
	tick(2 * S);
	assert_int_equal(f.dials, 2);
}

static void closing_waits_for_the_attempt(void **state)
{
	(void)state;
	go_up();
	second_check(&f.second, S);
	assert_int_equal(f.other.checks, 1);
	second_close(&f.second);
	assert_true(f.other.is_closing);
	assert_false(f.is_closed);
	f.other.setup.handlers->on_closed(f.other.setup.owner);
	assert_true(f.is_closed);
}

#define CLAIM(name) cmocka_unit_test_setup(name, set_up)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(a_line_without_losses_has_none),
		CLAIM(a_few_losses_in_a_long_time_open_none),
		CLAIM(losses_within_a_while_open_one),
		CLAIM(losses_from_before_do_not_count_again_with_another_first_one),
		CLAIM(a_server_that_knows_none_is_not_asked),
		CLAIM(it_is_closed_when_nothing_was_lost_for_a_minute),
		CLAIM(losses_from_before_do_not_open_it_again),
		CLAIM(its_own_losses_keep_it),
		CLAIM(a_failure_is_tried_again_later_and_later),
		CLAIM(a_server_that_knows_none_is_left_alone_for_a_while),
		CLAIM(only_one_that_is_up_is_handed_over),
		CLAIM(after_a_hand_over_another_one_is_opened),
		CLAIM(closing_waits_for_the_attempt),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
