/* The dial machine. Callbacks translate what happened into an event; link_step() looks up the next state and enters it.
 *
 *                 RESOLVED    CONNECTED  UP  FAILED   TIMER      CLOSE
 *     RESOLVING   CONNECTING                 WAITING             CLOSED
 *     CONNECTING              SECURING       WAITING             CLOSED
 *     SECURING                           UP  WAITING             CLOSED
 *     UP                                     WAITING             CLOSED
 *     WAITING                                         RESOLVING  CLOSED
 *
 * Failures are told by link_fail() before the step, with what comes next.
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

#define STABLE_US (5 * CLOCK_US_PER_S) /* up for so long: the next failure begins with the shortest wait */

#define NO LINK_STATE_COUNT /* the event means nothing in this state */

static const enum link_state link_next[LINK_STATE_COUNT][LINK_EVENT_COUNT] = {
	/*                   RESOLVED         CONNECTED      UP       FAILED        TIMER           CLOSE */
	[LINK_RESOLVING] = {LINK_CONNECTING, NO,	     NO,      LINK_WAITING, NO,		    LINK_CLOSED},
	[LINK_CONNECTING] = {NO,	     LINK_SECURING, NO,	      LINK_WAITING, NO,		    LINK_CLOSED},
	[LINK_SECURING] = {NO,		     NO,	     LINK_UP, LINK_WAITING, NO,		    LINK_CLOSED},
	[LINK_UP] = {NO,		     NO,	     NO,      LINK_WAITING, NO,		    LINK_CLOSED},
	[LINK_WAITING] = {NO,		     NO,	     NO,      NO,	    LINK_RESOLVING, LINK_CLOSED},
	[LINK_CLOSED] = {NO,		     NO,	     NO,      NO,	    NO,		    NO},
};

static const struct client_settings_server *server_of(const struct link *link)
{
	return &link->client->settings.servers[link->server];
}

static void link_step(struct link *link, enum link_event event);

/* --- what the operator hears --- */

static void tell_state(const struct link *link, const char *text)
{
	size_t len = strlen(text);

	if (link->is_first)
		channel_send(link->client->channel, CHANNEL_STATE, text, len < CHANNEL_TEXT_MAX ? len : CHANNEL_TEXT_MAX - 1, -1);
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

	link->server = link->state == LINK_UP ? 0 : (link->server + 1) % link->client->settings.server_count;
	if (link->server != 0)
		return 0;
	RAND_bytes((uint8_t *)&random, sizeof(random));
	return backoff_next_ms(&link->backoff, random);
}

/* Say what failed and what comes next, then step. */
static void link_fail(struct link *link, const struct addr *addr, const char *step, const char *reason)
{
	char peer[320], error[640], state[700];
	bool is_news;

	format_peer(link, addr, peer, sizeof(peer));
	snprintf(error, sizeof(error), "%s: %s%s%s", peer, step ? step : "", step ? ": " : "lost: ", reason);
	is_news = remember_error(link, error) || link->state == LINK_UP;
	link->wait_ms = choose_wait_ms(link);
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

/* --- entering states --- */

static void on_timer(uv_timer_t *timer)
{
	link_step(timer->data, LINK_EVENT_TIMER);
}

/* Names that once resolved stay known: a resolver that is gone for a moment is no reason not to try. */
static void on_resolved(void *owner, const struct addr *addresses, size_t count, const char *reason)
{
	struct link *link = owner;
	char text[200];

	resolver_close(link->resolver);
	link->resolver = NULL;
	if (count > 0) {
		link->address_count = count < LINK_ADDRESSES_MAX ? count : LINK_ADDRESSES_MAX;
		memcpy(link->addresses, addresses, link->address_count * sizeof(*addresses));
		link->addresses_server = link->server;
	} else if (link->address_count == 0 || link->addresses_server != link->server) {
		snprintf(text, sizeof(text), "%s", reason);
		link_fail(link, NULL, "resolve", text);
		return;
	} else {
		log_debug("link", "%s: resolve: %s; the last good addresses serve", server_of(link)->host, reason);
	}
	link_step(link, LINK_EVENT_RESOLVED);
}

static void enter_resolving(struct link *link)
{
	const struct client_settings *settings = &link->client->settings;
	const char *host = settings->proxy_host ? settings->proxy_host : server_of(link)->host;
	uint16_t port = settings->proxy_host ? settings->proxy_port : server_of(link)->port;
	struct err err = {0};

	if (resolver_open(&link->resolver, &link->client->loop, host, port, on_resolved, link, &err) < 0)
		link_fail(link, NULL, "resolve", err.text);
}

static void on_connected(void *owner, int fd, const struct addr *addr)
{
	struct link *link = owner;

	dial_close(link->dial);
	link->dial = NULL;
	link->fd = fd;
	link->addr = *addr;
	link_step(link, LINK_EVENT_CONNECTED);
}

static void on_dial_failed(void *owner, const struct addr *addr, const char *reason)
{
	struct link *link = owner;
	struct addr last = *addr;
	char text[128];

	snprintf(text, sizeof(text), "%s", reason);
	dial_close(link->dial);
	link->dial = NULL;
	link_fail(link, &last, link->client->settings.proxy_host ? "proxy: connect" : "connect", text);
}

static const struct dial_handlers dial_handlers = {.on_connected = on_connected, .on_failed = on_dial_failed};

static void enter_connecting(struct link *link)
{
	link->dial = dial_open(link->client, link->addresses, link->address_count, &dial_handlers, link);
	if (!link->dial)
		link_fail(link, NULL, "connect", "out of memory");
}

static void enter_securing(struct link *link)
{
	link->attempt = attempt_open(link, link->fd);
	link->fd = -1;
	if (link->attempt)
		link->pending++;
	else
		link_fail(link, &link->addr, "connect", "out of memory");
}

static void enter_up(struct link *link)
{
	char peer[320];

	link->up_us = clock_now_us();
	link->client->connects++;
	format_peer(link, &link->addr, peer, sizeof(peer));
	log_info("link", "%s: up, %s", peer, attempt_tls_version(link->attempt));
	tell_state(link, "up");
}

/* Whatever is under way ends; the datagrams wait in the flow. */
static void drop_everything(struct link *link)
{
	resolver_close(link->resolver);
	link->resolver = NULL;
	dial_close(link->dial);
	link->dial = NULL;
	if (link->attempt)
		attempt_close(link->attempt);
	link->attempt = NULL;
}

static void link_release(struct link *link)
{
	if (--link->pending == 0)
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
	case LINK_RESOLVING:
		enter_resolving(link);
		break;
	case LINK_CONNECTING:
		enter_connecting(link);
		break;
	case LINK_SECURING:
		enter_securing(link);
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
		.flow = plan->flow,
		.instance = plan->instance,
		.is_first = plan->is_first,
		.on_closed = plan->on_closed,
		.owner = plan->owner,
		.state = LINK_WAITING,
		.pending = 1,
		.fd = -1,
	};
	uv_timer_init(&plan->client->loop, &link->timer);
	link->timer.data = link;
	uv_timer_start(&link->timer, on_timer, 0, 0);
}

void link_step_time(struct link *link, uint64_t now_us)
{
	if (link->attempt)
		attempt_step(link->attempt, now_us);
	if (link->state == LINK_UP && now_us - link->up_us > STABLE_US)
		backoff_reset(&link->backoff);
}

void link_close(struct link *link)
{
	link_step(link, LINK_EVENT_CLOSE);
}

void link_on_attempt_up(struct link *link)
{
	link_step(link, LINK_EVENT_UP);
}

void link_on_attempt_failed(struct link *link, const char *step, const char *reason)
{
	char text[480];

	snprintf(text, sizeof(text), "%s", reason);
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
			is_up ? attempt_tls_version(link->attempt) : "", "verified", verified_by(&client->settings, server)));
	line = json_pack("{s:f,s:I}", "rtt_ms", is_up ? (double)attempt_rtt_us(link->attempt) / CLOCK_US_PER_MS : 0.0, "connects",
		(json_int_t)client->connects);
	json_object_set_new(line, "last_error", json_string(client->last_error));
	json_object_set_new(line, "last_error_at", json_string(at));
	json_object_set_new(object, "link", line);
}
