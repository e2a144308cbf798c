/* The search for a server that proves who it is. A look-up and two address tries run side by side:
 *
 *     start ──→ look-up ──── addresses ────→ ANSWERED:    IDLE → DIALING → PROVING ──→ chosen
 *        │         └──────── fails                                                        ↑
 *        └── 250 ms, or all else has failed → REMEMBERED: IDLE → DIALING → PROVING ──────┘
 *
 * A try that fails, or is not needed, is OVER. The first try whose server has proved itself is chosen, which ends the
 * other try and the look-up. The answer of the look-up decides about the remembered addresses:
 *
 *     it holds all of them       REMEMBERED is OVER: the other try dials them
 *     it is another answer       REMEMBERED begins after SEEK_FALLBACK_DELAY_MS, because a name server may lie
 *                                (a hotel's portal), or the server may have moved
 *     REMEMBERED runs already    ANSWERED dials only what is not being dialled yet
 *
 * Fails when the look-up and both tries have, with the phase, address and reason of the part that failed last. The
 * failures before are debug lines. Where ANSWERED or the look-up fails while REMEMBERED is IDLE, that begins at once.
 */
#include "client/seek.h"

#include "client/attempt.h"
#include "client/dial.h"
#include "client/profile.h"
#include "client/resolver.h"
#include "common/base/log.h"
#include "common/base/require.h"

#include <string.h>

static bool is_under_way(const struct address_try *try)
{
	return try->state == TRY_DIALING || try->state == TRY_PROVING;
}

static bool may_remember(const struct seek *seek)
{
	return seek->tries[TRY_REMEMBERED].state == TRY_IDLE && seek->profile->servers[seek->server].address_count > 0;
}

static void end_try(struct address_try *try)
{
	try->state = TRY_OVER;
	dial_close(try->dial);
	try->dial = NULL;
	if (try->attempt)
		attempt_close(try->attempt);
	try->attempt = NULL;
}

static void end_look_up(struct seek *seek)
{
	resolver_close(seek->resolver);
	seek->resolver = NULL;
}

static void start_try(struct seek *seek, enum address_try_kind kind, const struct addr *addresses, size_t count);

static void try_remembered(struct seek *seek)
{
	const struct profile_server *server = &seek->profile->servers[seek->server];

	uv_timer_stop(&seek->timer);
	log_debug("link", "%s: trying the addresses by which it was last reached",
		profile_host(seek->profile, seek->server));
	start_try(seek, TRY_REMEMBERED, server->addresses, server->address_count);
}

/* The look-up or a try has failed and is over. If nothing else is under way or left, the search has failed. */
static void on_part_failed(struct seek *seek, const char *phase, const struct addr *addr, const char *reason)
{
	if (seek->resolver || is_under_way(&seek->tries[TRY_ANSWERED]) || is_under_way(&seek->tries[TRY_REMEMBERED])) {
		log_debug("link", "%s: %s: %s; another way is being tried",
			seek->profile->settings.servers[seek->server].host, phase, reason);
	} else if (may_remember(seek)) {
		try_remembered(seek);
	} else {
		seek_stop(seek);
		seek->setup.handlers->on_failed(seek->setup.owner, phase, addr, reason);
	}
}

/* --- one address try: dial, then an attempt --- */

/* The first server that proves itself. A try that is over has closed its attempt, which then reports nothing. */
static void on_try_secured(void *owner)
{
	struct address_try *try = owner;
	struct seek *seek = try->seek;
	struct attempt *attempt = try->attempt;
	struct addr addr = try->addr;

	require(seek->pending > 1);
	seek->pending--; /* the attempt's close is the new owner's to wait for */
	try->attempt = NULL;
	seek_stop(seek);
	seek->setup.handlers->on_chosen(seek->setup.owner, attempt, &addr);
}

/* @reason and @addr outlive end_try(): what they lie in is freed by the loop, later. */
static void on_try_failed(void *owner, const char *phase, const char *reason)
{
	struct address_try *try = owner;

	end_try(try);
	on_part_failed(try->seek, phase, &try->addr, reason);
}

static void release_seek(struct seek *seek)
{
	require(seek->pending > 0);
	if (--seek->pending == 0)
		seek->setup.handlers->on_closed(seek->setup.owner);
}

static void on_try_closed(void *owner)
{
	release_seek(((struct address_try *)owner)->seek);
}

/* Without on_up: on_secured comes before it, and with that another owner. */
static const struct attempt_handlers try_attempt_handlers = {
	.on_secured = on_try_secured, .on_failed = on_try_failed, .on_closed = on_try_closed};

static void on_try_connected(void *owner, int fd, const struct addr *addr)
{
	struct address_try *try = owner;
	struct seek *seek = try->seek;
	struct attempt_setup setup = {.loop = seek->setup.loop,
		.pump = seek->setup.pump,
		.profile = seek->profile,
		.server = seek->server,
		.flow = seek->setup.flow,
		.instance = seek->setup.instance,
		.handlers = &try_attempt_handlers,
		.owner = try};

	try->addr = *addr;
	dial_close(try->dial);
	try->dial = NULL;
	try->attempt = attempt_open(&setup, fd);
	if (!try->attempt) {
		on_try_failed(try, "connect", "out of memory");
		return;
	}
	try->state = TRY_PROVING;
	seek->pending++;
}

static void on_try_unreachable(void *owner, const struct addr *addr, const char *reason)
{
	struct address_try *try = owner;

	try->addr = *addr;
	on_try_failed(try, try->seek->profile->settings.proxy_host ? "proxy: connect" : "connect", reason);
}

static const struct dial_handlers try_dial_handlers = {
	.on_connected = on_try_connected, .on_failed = on_try_unreachable};

static void start_try(struct seek *seek, enum address_try_kind kind, const struct addr *addresses, size_t count)
{
	struct address_try *try = &seek->tries[kind];

	try->state = TRY_DIALING;
	try->dial = dial_open(seek->setup.loop, seek->setup.sockets, addresses, count, &try_dial_handlers, try);
	if (!try->dial)
		on_try_failed(try, "connect", "out of memory");
}

/* --- the look-up --- */

static void on_remembered_turn(uv_timer_t *timer)
{
	struct seek *seek = timer->data;

	if (may_remember(seek))
		try_remembered(seek);
}

static bool has_address(const struct addr *addresses, size_t count, const struct addr *addr)
{
	for (size_t i = 0; i < count; i++)
		if (addr_equal(&addresses[i], addr))
			return true;
	return false;
}

/* Dial what is not being dialled already, and decide when the remembered addresses are tried: see the top of this
 * file. */
static void use_answer(struct seek *seek)
{
	const struct profile_server *server = &seek->profile->servers[seek->server];
	bool is_dialed = is_under_way(&seek->tries[TRY_REMEMBERED]), is_confirmed = true;
	struct addr others[ADDRESS_LIST_MAX];
	size_t count = 0;

	for (size_t i = 0; i < seek->answer_count; i++)
		if (!is_dialed || !has_address(server->addresses, server->address_count, &seek->answer[i]))
			others[count++] = seek->answer[i];
	if (count == 0)
		return;
	for (size_t i = 0; i < server->address_count; i++)
		if (!has_address(seek->answer, seek->answer_count, &server->addresses[i]))
			is_confirmed = false;
	if (is_confirmed && !is_dialed)
		seek->tries[TRY_REMEMBERED].state = TRY_OVER;
	if (is_confirmed)
		uv_timer_stop(&seek->timer);
	else if (may_remember(seek))
		uv_timer_start(&seek->timer, on_remembered_turn, SEEK_FALLBACK_DELAY_MS, 0);
	start_try(seek, TRY_ANSWERED, others, count);
}

/* @addresses and @reason outlive end_look_up(): the resolver's memory is freed by the loop, later. */
static void on_resolved(void *owner, const struct addr *addresses, size_t count, const char *reason)
{
	struct seek *seek = owner;

	seek->answer_count = count < ADDRESS_LIST_MAX ? count : ADDRESS_LIST_MAX;
	memcpy(seek->answer, addresses, seek->answer_count * sizeof(*addresses));
	end_look_up(seek);
	if (seek->answer_count > 0)
		use_answer(seek);
	else
		on_part_failed(seek, "resolve", NULL, reason);
}

static void look_up(struct seek *seek)
{
	struct err err = {""};
	struct resolver_setup setup = {.loop = seek->setup.loop,
		.sockets = seek->setup.sockets,
		.nameservers = seek->setup.nameservers,
		.host = profile_host(seek->profile, seek->server),
		.port = profile_port(seek->profile, seek->server),
		.on_answer = on_resolved,
		.owner = seek};

	if (resolver_open(&seek->resolver, &setup, &err) < 0)
		on_part_failed(seek, "resolve", NULL, err.text);
}

/* --- from the link --- */

void seek_init(struct seek *seek, const struct seek_setup *setup)
{
	*seek = (struct seek){.setup = *setup, .pending = 1};
	for (size_t i = 0; i < TRY_COUNT; i++)
		seek->tries[i].seek = seek;
	uv_timer_init(setup->loop, &seek->timer);
	seek->timer.data = seek;
}

void seek_start(struct seek *seek, struct profile *profile, size_t server)
{
	seek_stop(seek);
	seek->is_running = true;
	seek->profile = profile;
	seek->server = server;
	seek->answer_count = 0;
	for (size_t i = 0; i < TRY_COUNT; i++)
		seek->tries[i].state = TRY_IDLE;
	if (may_remember(seek))
		uv_timer_start(&seek->timer, on_remembered_turn, SEEK_HEAD_START_MS, 0);
	look_up(seek);
}

void seek_tick(struct seek *seek, uint64_t now_us)
{
	/* A tick may end the search, and with it the other try. */
	for (size_t i = 0; i < TRY_COUNT; i++)
		if (seek->tries[i].attempt)
			attempt_tick(seek->tries[i].attempt, now_us);
}

void seek_wake(struct seek *seek, uint64_t now_us)
{
	for (size_t i = 0; i < TRY_COUNT; i++) {
		if (seek->tries[i].dial)
			dial_again(seek->tries[i].dial);
		if (seek->tries[i].attempt)
			attempt_check(seek->tries[i].attempt, now_us);
	}
	if (!seek->is_running || seek->answer_count > 0 || (seek->resolver && !resolver_is_stale(seek->resolver)))
		return;
	end_look_up(seek);
	look_up(seek);
}

void seek_stop(struct seek *seek)
{
	seek->is_running = false;
	uv_timer_stop(&seek->timer);
	end_look_up(seek);
	for (size_t i = 0; i < TRY_COUNT; i++)
		end_try(&seek->tries[i]);
}

static void on_seek_timer_closed(uv_handle_t *handle)
{
	release_seek(handle->data);
}

void seek_close(struct seek *seek)
{
	seek_stop(seek);
	uv_close((uv_handle_t *)&seek->timer, on_seek_timer_closed);
}
