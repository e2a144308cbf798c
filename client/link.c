/* The dial machine. Callbacks translate what happened into an event; link_step() looks up the next state and enters it.
 *
 *                CHOSEN  UP  FAILED   TIMER    RESTART  CLOSE
 *     SEEKING    CHOSEN      WAITING           WAITING  CLOSED
 *     CHOSEN             UP  WAITING           WAITING  CLOSED
 *     UP                     WAITING                    CLOSED
 *     WAITING                         SEEKING  WAITING  CLOSED
 *
 * SEEKING has failed when the look-up and both roads have. Failures are told by link_fail() before the step, with what
 * comes next.
 */
#include "client/link.h"

#include "client/attempt.h"
#include "client/client.h"
#include "client/dial.h"
#include "client/resolver.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define LEFT_BEHIND_MS 600
#define LEFT_BEHIND_MAX_US (10 * CLOCK_US_PER_S)
#define STABLE_US (5 * CLOCK_US_PER_S) /* up for so long: the next failure begins with the shortest wait */

#define NO LINK_STATE_COUNT /* the event means nothing in this state */

/* clang-format off */
static const enum link_state link_next[LINK_STATE_COUNT][LINK_EVENT_COUNT] = {
	/*                 CHOSEN       UP       FAILED        TIMER         RESTART       CLOSE */
	[LINK_SEEKING] = {LINK_CHOSEN, NO,      LINK_WAITING, NO,           LINK_WAITING, LINK_CLOSED},
	[LINK_CHOSEN]  = {NO,          LINK_UP, LINK_WAITING, NO,           LINK_WAITING, LINK_CLOSED},
	[LINK_UP]      = {NO,          NO,      LINK_WAITING, NO,           NO,           LINK_CLOSED},
	[LINK_WAITING] = {NO,          NO,      NO,           LINK_SEEKING, LINK_WAITING, LINK_CLOSED},
	[LINK_CLOSED]  = {NO,          NO,      NO,           NO,           NO,           NO},
};
/* clang-format on */

static const struct client_settings_server *server_of(const struct link *link)
{
	return &link->profile->settings.servers[link->server];
}

static void link_step(struct link *link, enum link_event event);

/* --- what the operator hears --- */

static void tell_state(const struct link *link, const char *text)
{
	size_t len = strlen(text);

	if (link->is_first)
		channel_send(link->client->channel, CHANNEL_STATE, text,
			len < CHANNEL_TEXT_MAX ? len : CHANNEL_TEXT_MAX - 1, -1);
}

/* "host (203.0.113.10:443)", without the parentheses where the host is an address or none is known. */
static void format_peer(const struct link *link, const struct addr *addr, char *buf, size_t size)
{
	const char *host = server_of(link)->host;
	char text[ADDR_TEXT_MAX], bare[ADDR_TEXT_MAX];

	if (!addr || addr->sa.sa_family == AF_UNSPEC) {
		snprintf(buf, size, "%s", host);
		return;
	}
	addr_format(text, sizeof(text), addr);
	if (strcmp(addr_format_host(bare, sizeof(bare), addr), host) == 0)
		snprintf(buf, size, "%s", text);
	else
		snprintf(buf, size, "%s (%s)", host, text);
}

/* Return: true where it is another one than the last. */
static bool remember_error(struct link *link, const char *text)
{
	bool is_news = strcmp(link->client->last_error, text) != 0;

	snprintf(link->client->last_error, sizeof(link->client->last_error), "%s", text);
	link->client->last_error_s = clock_wall_s();
	return is_news;
}

/* The next server, and how long to wait before it is tried: not at all while there is one that was not tried yet. After a
 * link was up the first one is asked first. */
static uint32_t choose_wait_ms(struct link *link)
{
	uint32_t random = 0;

	link->server = link->state == LINK_UP ? 0 : (link->server + 1) % link->profile->settings.server_count;
	if (link->server != 0)
		return 0;
	RAND_bytes((uint8_t *)&random, sizeof(random));
	return backoff_next_ms(&link->backoff, random);
}

/* Datagrams come from another local source now. The hub begins a handshake with whoever comes in first, so this one waits. */
static bool is_left_behind(const struct link *link)
{
	const struct local_flow *recent = link->client->relay.recent;

	return recent && &recent->link != link;
}

/* The one in use may have noticed its loss later. */
static bool must_wait_on(const struct link *link)
{
	return link->state == LINK_WAITING && is_left_behind(link) &&
	       link->client->relay.recent->link.state != LINK_UP && clock_now_us() - link->lost_us < LEFT_BEHIND_MAX_US;
}

static void keep_answer(struct link *link)
{
	struct profile_server *server = &link->profile->servers[link->server];

	server->address_count = link->answer_count;
	memcpy(server->addresses, link->answer, link->answer_count * sizeof(*link->answer));
}

/* Say what failed and what comes next, then step. */
static void link_fail(struct link *link, const struct addr *addr, const char *step, const char *reason)
{
	char peer[320], error[640], state[700];
	bool is_news;

	format_peer(link, addr, peer, sizeof(peer));
	snprintf(error, sizeof(error), "%s: %s%s%s", peer, step ? step : "", step ? ": " : "lost: ", reason);
	is_news = remember_error(link, error) || link->state == LINK_UP;
	if (link->answer_count > 0 && link->profile->servers[link->server].address_count == 0)
		keep_answer(link); /* it has not worked yet, but is better than none where the next look-up fails */
	link->lost_us = clock_now_us();
	link->wait_ms = choose_wait_ms(link) + (is_left_behind(link) ? LEFT_BEHIND_MS : 0);
	if (!is_news) /* always the same line, which the log counts instead of repeating it */
		log_notice("link", "%s; still trying", error);
	else if (link->wait_ms == 0)
		log_notice("link", "%s; next: %s", error, server_of(link)->url);
	else
		log_notice("link", "%s; next try in %.1f s", error, link->wait_ms / 1000.0);
	snprintf(state, sizeof(state), "connecting: %s", error);
	tell_state(link, state);
	link_step(link, LINK_EVENT_FAILED);
}

/* --- the two roads --- */

static bool is_under_way(const struct link_road *road)
{
	return road->dial || road->attempt;
}

static bool may_remember(const struct link *link)
{
	return !link->roads[LINK_ROAD_REMEMBERED].is_tried && link->profile->servers[link->server].address_count > 0;
}

static void road_close(struct link_road *road)
{
	dial_close(road->dial);
	road->dial = NULL;
	if (road->attempt)
		attempt_close(road->attempt);
	road->attempt = NULL;
}

static void start_remembered(struct link *link);

/* One way less. Was it the last? */
static void seek_failed(struct link *link, const struct addr *addr, const char *step, const char *reason)
{
	link->failure = (struct link_failure){.step = step};
	if (addr)
		link->failure.addr = *addr;
	snprintf(link->failure.reason, sizeof(link->failure.reason), "%s", reason);
	if (link->resolver || is_under_way(&link->roads[LINK_ROAD_ANSWERED]) ||
		is_under_way(&link->roads[LINK_ROAD_REMEMBERED])) {
		log_debug("link", "%s: %s: %s; another way is being tried", server_of(link)->host, step, reason);
		return;
	}
	if (may_remember(link))
		start_remembered(link);
	else
		link_fail(link, &link->failure.addr, link->failure.step, link->failure.reason);
}

static void on_connected(void *owner, int fd, const struct addr *addr)
{
	struct link_road *road = owner;
	struct link *link = road->link;

	road->addr = *addr;
	dial_close(road->dial);
	road->dial = NULL;
	road->attempt = attempt_open(link, fd);
	if (road->attempt)
		link->pending++;
	else
		seek_failed(link, &road->addr, "connect", "out of memory");
}

static void on_dial_failed(void *owner, const struct addr *addr, const char *reason)
{
	struct link_road *road = owner;
	struct link *link = road->link;
	struct addr last = *addr;
	char text[128];

	snprintf(text, sizeof(text), "%s", reason);
	road_close(road);
	seek_failed(link, &last, link->profile->settings.proxy_host ? "proxy: connect" : "connect", text);
}

static const struct dial_handlers dial_handlers = {.on_connected = on_connected, .on_failed = on_dial_failed};

static void road_open(struct link *link, enum link_road_kind kind, const struct addr *addresses, size_t count)
{
	struct link_road *road = &link->roads[kind];

	road->is_tried = true;
	road->dial = dial_open(link->client, addresses, count, &dial_handlers, road);
	if (!road->dial)
		seek_failed(link, NULL, "connect", "out of memory");
}

static void start_remembered(struct link *link)
{
	const struct profile_server *server = &link->profile->servers[link->server];

	uv_timer_stop(&link->timer);
	if (!may_remember(link))
		return;
	log_debug("link", "%s: trying the addresses by which it was last reached",
		profile_host(link->profile, link->server));
	road_open(link, LINK_ROAD_REMEMBERED, server->addresses, server->address_count);
}

/* --- the look-up --- */

static void on_timer(uv_timer_t *timer)
{
	struct link *link = timer->data;

	if (link->state == LINK_SEEKING)
		start_remembered(link);
	else if (must_wait_on(link))
		uv_timer_start(timer, on_timer, LEFT_BEHIND_MS, 0);
	else
		link_step(link, LINK_EVENT_TIMER);
}

static bool has_address(const struct addr *addresses, size_t count, const struct addr *addr)
{
	for (size_t i = 0; i < count; i++)
		if (addr_equal(&addresses[i], addr))
			return true;
	return false;
}

/* Does the answer hold every remembered address? */
static bool is_confirmed(const struct link *link)
{
	const struct profile_server *server = &link->profile->servers[link->server];

	for (size_t i = 0; i < server->address_count; i++)
		if (!has_address(link->answer, link->answer_count, &server->addresses[i]))
			return false;
	return true;
}

/* Dial what is not being dialled already. Where the answer is another one than it was, it may be a false one: the
 * remembered addresses get their turn later. */
static void take_answer(struct link *link)
{
	const struct profile_server *server = &link->profile->servers[link->server];
	bool is_dialled = is_under_way(&link->roads[LINK_ROAD_REMEMBERED]);
	struct addr others[ADDRESS_LIST_MAX];
	size_t count = 0;

	for (size_t i = 0; i < link->answer_count; i++)
		if (!is_dialled || !has_address(server->addresses, server->address_count, &link->answer[i]))
			others[count++] = link->answer[i];
	if (count == 0)
		return;
	if (is_confirmed(link)) {
		link->roads[LINK_ROAD_REMEMBERED].is_tried = true;
		uv_timer_stop(&link->timer);
	} else if (may_remember(link))
		uv_timer_start(&link->timer, on_timer, LINK_SECOND_THOUGHT_MS, 0);
	road_open(link, LINK_ROAD_ANSWERED, others, count);
}

static void on_resolved(void *owner, const struct addr *addresses, size_t count, const char *reason)
{
	struct link *link = owner;
	char text[200];

	snprintf(text, sizeof(text), "%s", reason);
	link->answer_count = count < ADDRESS_LIST_MAX ? count : ADDRESS_LIST_MAX;
	memcpy(link->answer, addresses, link->answer_count * sizeof(*addresses));
	resolver_close(link->resolver);
	link->resolver = NULL;
	if (link->answer_count > 0)
		take_answer(link);
	else
		seek_failed(link, NULL, "resolve", text);
}

static void look_up(struct link *link)
{
	struct err err = {0};

	if (resolver_open(&link->resolver, link->client, profile_host(link->profile, link->server),
		    profile_port(link->profile, link->server), on_resolved, link, &err) < 0)
		seek_failed(link, NULL, "resolve", err.text);
}

/* What the name stood for is kept where it has worked: here for the next time, by the supervisor for the next start. */
static void remember_answer(struct link *link)
{
	char text[CHANNEL_TEXT_MAX], list[ADDRESS_LIST_TEXT_MAX];
	struct addr literal[ADDRESS_LIST_MAX];
	int len;

	if (link->answer_count == 0 || address_list_parse(profile_host(link->profile, link->server), 1, literal) == 1)
		return;
	keep_answer(link);
	len = snprintf(text, sizeof(text), "%zu %s", link->server,
		address_list_format(list, link->answer, link->answer_count));
	if (link->profile == link->client->profile) /* the supervisor counts by the newest settings */
		channel_send(link->client->channel, CHANNEL_ADDRESSES, text, (size_t)len, -1);
}

/* --- entering states --- */

static void take_profile(struct link *link)
{
	if (link->profile == link->client->profile)
		return;
	profile_release(link->profile);
	link->profile = profile_keep(link->client->profile);
	link->server = 0;
}

static void enter_seeking(struct link *link)
{
	for (size_t i = 0; i < LINK_ROAD_COUNT; i++)
		link->roads[i] = (struct link_road){.link = link};
	link->answer_count = 0;
	take_profile(link);
	if (may_remember(link))
		uv_timer_start(&link->timer, on_timer, LINK_HEAD_START_MS, 0);
	look_up(link);
}

/* The other road is no way any more. */
static void enter_chosen(struct link *link)
{
	uv_timer_stop(&link->timer);
	resolver_close(link->resolver);
	link->resolver = NULL;
	for (size_t i = 0; i < LINK_ROAD_COUNT; i++)
		road_close(&link->roads[i]);
}

static void enter_up(struct link *link)
{
	char peer[320];

	link->up_us = clock_now_us();
	link->client->connects++;
	format_peer(link, &link->addr, peer, sizeof(peer));
	log_info("link", "%s: up, %s", peer,
		server_of(link)->cleartext ? "in the clear" : attempt_tls_version(link->attempt));
	remember_answer(link);
	tell_state(link, "up");
}

/* Whatever is under way ends; the datagrams wait in the flow. */
static void drop_everything(struct link *link)
{
	uv_timer_stop(&link->timer);
	resolver_close(link->resolver);
	link->resolver = NULL;
	for (size_t i = 0; i < LINK_ROAD_COUNT; i++)
		road_close(&link->roads[i]);
	if (link->attempt)
		attempt_close(link->attempt);
	link->attempt = NULL;
}

static void link_release(struct link *link)
{
	if (--link->pending > 0)
		return;
	profile_release(link->profile);
	link->on_closed(link->owner);
}

static void on_timer_closed(uv_handle_t *handle)
{
	link_release(handle->data);
}

static void enter_closed(struct link *link)
{
	drop_everything(link);
	uv_close((uv_handle_t *)&link->timer, on_timer_closed);
}

static void link_step(struct link *link, enum link_event event)
{
	enum link_state next = link_next[link->state][event];

	if (next == NO)
		return;
	link->state = next;
	switch (next) {
	case LINK_SEEKING:
		enter_seeking(link);
		break;
	case LINK_CHOSEN:
		enter_chosen(link);
		break;
	case LINK_UP:
		enter_up(link);
		break;
	case LINK_WAITING:
		drop_everything(link);
		uv_timer_start(&link->timer, on_timer, link->wait_ms, 0);
		break;
	case LINK_CLOSED:
		enter_closed(link);
		break;
	case LINK_STATE_COUNT:
		break;
	}
}

/* --- from outside --- */

void link_open(struct link *link, const struct link_plan *plan)
{
	*link = (struct link){
		.client = plan->client,
		.profile = profile_keep(plan->client->profile),
		.flow = plan->flow,
		.instance = plan->instance,
		.is_first = plan->is_first,
		.on_closed = plan->on_closed,
		.owner = plan->owner,
		.state = LINK_WAITING,
		.pending = 1,
	};
	uv_timer_init(&plan->client->loop, &link->timer);
	link->timer.data = link;
	uv_timer_start(&link->timer, on_timer, 0, 0);
}

void link_step_time(struct link *link, uint64_t now_us)
{
	for (size_t i = 0; i < LINK_ROAD_COUNT && link->state == LINK_SEEKING; i++)
		if (link->roads[i].attempt)
			attempt_step(link->roads[i].attempt, now_us);
	if (link->attempt)
		attempt_step(link->attempt, now_us);
	if (link->state == LINK_UP && now_us - link->up_us > STABLE_US)
		backoff_reset(&link->backoff);
}

static void restart(struct link *link)
{
	backoff_reset(&link->backoff);
	link->wait_ms = 0;
	link_step(link, LINK_EVENT_RESTART);
}

/* What is under way goes on: networks that never rest must not end every attempt. Beside it begins another. */
static void seek_again(struct link *link, uint64_t now_us)
{
	for (size_t i = 0; i < LINK_ROAD_COUNT; i++) {
		if (link->roads[i].dial)
			dial_again(link->roads[i].dial);
		if (link->roads[i].attempt)
			attempt_check(link->roads[i].attempt, now_us);
	}
	if (link->answer_count > 0 || (link->resolver && !resolver_is_stale(link->resolver)))
		return;
	resolver_close(link->resolver);
	link->resolver = NULL;
	look_up(link);
}

void link_wake(struct link *link)
{
	uint64_t now_us = clock_now_us();

	switch (link->state) {
	case LINK_WAITING:
		restart(link);
		break;
	case LINK_SEEKING:
		seek_again(link, now_us);
		break;
	case LINK_CHOSEN:
	case LINK_UP:
		attempt_check(link->attempt, now_us);
		break;
	case LINK_CLOSED:
	case LINK_STATE_COUNT:
		break;
	}
}

void link_on_reload(struct link *link)
{
	restart(link); /* means nothing to a link that is up */
}

void link_close(struct link *link)
{
	link_step(link, LINK_EVENT_CLOSE);
}

void link_on_attempt_secured(struct link *link, struct attempt *attempt)
{
	for (size_t i = 0; i < LINK_ROAD_COUNT; i++) {
		if (link->roads[i].attempt != attempt)
			continue;
		link->attempt = attempt;
		link->addr = link->roads[i].addr;
		link->roads[i].attempt = NULL;
		link_step(link, LINK_EVENT_CHOSEN);
	}
}

void link_on_attempt_up(struct link *link)
{
	link_step(link, LINK_EVENT_UP);
}

void link_on_attempt_failed(struct link *link, struct attempt *attempt, const char *step, const char *reason)
{
	char text[480];

	snprintf(text, sizeof(text), "%s", reason);
	for (size_t i = 0; i < LINK_ROAD_COUNT; i++) {
		struct link_road *road = &link->roads[i];

		if (road->attempt != attempt)
			continue;
		road_close(road);
		seek_failed(link, &road->addr, step, text);
		return;
	}
	link_fail(link, &link->addr, step, text);
}

void link_on_attempt_closed(struct link *link)
{
	link_release(link);
}

static const char *verified_by(const struct client_settings *settings, const struct client_settings_server *server)
{
	if (server->cleartext)
		return "no";
	if (settings->pin_count > 0)
		return "pin";
	return settings->ca_pem ? "ca" : "system";
}

void link_report(const struct link *link, json_t *object)
{
	const struct client *client = link->client;
	const struct client_settings_server *server = server_of(link);
	bool is_up = link->state == LINK_UP;
	char address[ADDR_TEXT_MAX] = "", at[32] = "";
	json_t *line;

	if (is_up)
		addr_format(address, sizeof(address), &link->addr);
	if (client->last_error_s != 0)
		clock_format_utc(at, sizeof(at), client->last_error_s);
	json_object_set_new(object, "server",
		json_pack("{s:s,s:s,s:s,s:s}", "url", server->url, "address", address, "tls",
			is_up ? attempt_tls_version(link->attempt) : "", "verified",
			verified_by(&link->profile->settings, server)));
	line = json_pack("{s:f,s:I}", "rtt_ms", is_up ? (double)attempt_rtt_us(link->attempt) / CLOCK_US_PER_MS : 0.0,
		"connects", (json_int_t)client->connects);
	json_object_set_new(line, "last_error", json_string(client->last_error));
	json_object_set_new(line, "last_error_at", json_string(at));
	json_object_set_new(object, "link", line);
}
