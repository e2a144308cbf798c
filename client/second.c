/* See second.h. Happy path: the ticks see LOSSES_MIN losses within WINDOW_US → dial → attempt → up, and no loss for
 * KEEP_US → closed. Every failure is a debug line and a longer time until the next try; the tunnel goes on without. */
#include "client/second.h"

#include "client/attempt.h"
#include "client/client.h"
#include "client/dial.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/require.h"

#define WINDOW_US (10 * CLOCK_US_PER_S)
#define LOSSES_MIN 2u /* one alone is an accident; a queue that overflows has several, milliseconds apart */
#define KEEP_US (60 * CLOCK_US_PER_S)
#define RETRY_MIN_US (30 * CLOCK_US_PER_S)
#define RETRY_MAX_US (3600 * CLOCK_US_PER_S)

static void release_second(struct second *second)
{
	require(second->pending > 0);
	if (--second->pending == 0)
		second->setup.on_closed(second->setup.owner);
}

static void second_fail(struct second *second, const char *phase, const char *reason)
{
	log_debug("link", "second connection: %s%s%s", phase ? phase : "lost", phase || reason ? ": " : "", reason);
	second_stop(second);
	second->retry_us = clock_now_us() + second->retry_wait_us;
	if (second->retry_wait_us < RETRY_MAX_US)
		second->retry_wait_us *= 2;
}

static void on_second_secured(void *owner)
{
	(void)owner; /* the address is that of the first one, which has proved itself; the attempt has compared the pin */
}

static void on_second_up(void *owner)
{
	struct second *second = owner;

	second->is_up = true;
	second->retry_wait_us = RETRY_MIN_US;
	log_info("link", "second connection: up, because the line loses segments");
}

static void on_second_failed(void *owner, const char *phase, const char *reason)
{
	second_fail(owner, phase, reason);
}

static void on_second_closed(void *owner)
{
	release_second(owner);
}

static const struct attempt_handlers second_attempt_handlers = {.on_secured = on_second_secured,
	.on_up = on_second_up,
	.on_failed = on_second_failed,
	.on_closed = on_second_closed};

static void on_second_connected(void *owner, int fd, const struct addr *addr)
{
	struct second *second = owner;
	struct client *client = second->setup.client;
	struct attempt_setup setup = {.loop = &client->loop,
		.pump = &client->pump,
		.profile = second->profile,
		.server = second->server,
		.flow = second->setup.flow,
		.beside = second->first,
		.instance = second->setup.instance,
		.handlers = &second_attempt_handlers,
		.owner = second};

	(void)addr;
	dial_close(second->dial);
	second->dial = NULL;
	second->attempt = attempt_open(&setup, fd);
	if (second->attempt)
		second->pending++;
	else
		second_fail(second, "connect", "out of memory");
}

static void on_second_unreachable(void *owner, const struct addr *addr, const char *reason)
{
	(void)addr;
	second_fail(owner, "connect", reason);
}

static const struct dial_handlers second_dial_handlers = {
	.on_connected = on_second_connected, .on_failed = on_second_unreachable};

/* Those since the last look at the same one. What an attempt has lost before its first look was counted elsewhere. */
static uint32_t new_losses(struct second_count *counted, const struct attempt *attempt)
{
	uint32_t losses = attempt ? attempt_losses(attempt) : 0;
	/* Another one may have got the same memory. */
	uint32_t more = attempt == counted->of && losses > counted->losses ? losses - counted->losses : 0;

	*counted = (struct second_count){.of = attempt, .losses = losses};
	return more;
}

static void note_losses(struct second *second, const struct attempt *first, uint64_t now_us)
{
	second->window_losses +=
		new_losses(&second->counted[0], first) + new_losses(&second->counted[1], second->attempt);
	if (second->window_losses >= LOSSES_MIN)
		second->wanted_until_us = now_us + KEEP_US;
	else if (now_us - second->window_us < WINDOW_US)
		return;
	second->window_us = now_us;
	second->window_losses = 0;
}

void second_init(struct second *second, const struct second_setup *setup)
{
	*second = (struct second){.setup = *setup, .pending = 1, .retry_wait_us = RETRY_MIN_US};
}

void second_tick(struct second *second, const struct second_first *first, uint64_t now_us)
{
	if (second->attempt)
		attempt_tick(second->attempt, now_us); /* which may fail */
	note_losses(second, first->attempt, now_us);
	if (now_us >= second->wanted_until_us) {
		if (second->is_up)
			log_info("link", "second connection: closed, because nothing was lost for a minute");
		second_stop(second);
	} else if (!second->dial && !second->attempt && now_us >= second->retry_us &&
		   attempt_may_have_second(first->attempt)) {
		second->profile = first->profile;
		second->server = first->server;
		second->first = first->attempt;
		second->dial = dial_open(&second->setup.client->loop, &second->setup.client->sockets, first->addr, 1,
			&second_dial_handlers, second);
	}
}

void second_check(struct second *second, uint64_t now_us)
{
	if (second->attempt)
		attempt_check(second->attempt, now_us);
}

struct attempt *second_take(struct second *second)
{
	struct attempt *attempt = second->is_up ? second->attempt : NULL;

	if (!attempt)
		return NULL;
	second->pending--; /* its close is the new owner's to wait for */
	second->attempt = NULL;
	second->is_up = false;
	return attempt;
}

void second_stop(struct second *second)
{
	dial_close(second->dial);
	second->dial = NULL;
	if (second->attempt)
		attempt_close(second->attempt);
	second->attempt = NULL;
	second->is_up = false;
}

void second_close(struct second *second)
{
	second_stop(second);
	release_second(second);
}

bool second_is_up(const struct second *second)
{
	return second->is_up;
}
