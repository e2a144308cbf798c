/* Theory of operation.
 *
 * A link keeps one flow connected to a server. It owns a search (seek.h), which ends with an attempt (attempt.h) whose
 * server has proved who it is; from then on it owns that attempt, which becomes the tunnel. Datagrams do not come
 * through here: the attempt's carrier takes them from the flow, and between two connections they wait in the flow's
 * queue.
 *
 *                CHOSEN  UP  FAILED   TIMER    RESTART  CLOSE
 *     SEEKING    CHOSEN      WAITING           WAITING  CLOSED
 *     CHOSEN             UP  WAITING           WAITING  CLOSED
 *     UP                     WAITING                    CLOSED
 *     WAITING                         SEEKING  WAITING  CLOSED
 *
 * Handlers translate what happened into an event; link_step() finds the next state in the table and enters it. An empty
 * place means that the event changes nothing in that state. Handlers of the search, of the attempt and of the timer
 * come from the loop; a search that fails at once comes from inside link_step(), after the state was set, so that the
 * nested step is right.
 *
 * How it fails: link_fail() writes the one log line, chooses the next server and the time to wait, then steps. With
 * several servers the next one is tried at once; when all have failed the back-off begins (0.2 s to 5 s). After a link
 * that was up the first server comes first again, and one that was up for STABLE_US starts with the shortest wait.
 * There is no last try.
 *
 * RESTART tries again at once: another network, another clock, other settings. It goes through WAITING with no time to
 * wait, so that a search under the old settings ends before the next begins. A link that is up does not restart: other
 * settings wait for its next connect, another network only makes it check whether the server still answers.
 *
 * Several links, one for each local source: the hub starts a WireGuard handshake with the first client that comes in
 * after a break, so the link in use has to be the first. The others are superseded: they begin SUPERSEDED_DELAY_MS
 * later, and then wait until the one in use is up, for at most SUPERSEDED_MAX_US.
 *
 * Closing: everything under way is closed, and on_closed comes when the timer, the search and all attempts have let go.
 */
#include "client/link.h"

#include "client/attempt.h"
#include "client/client.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/require.h"

#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>

#define SUPERSEDED_DELAY_MS 600 /* the link in use may notice its loss later than this one */
#define SUPERSEDED_MAX_US (10 * CLOCK_US_PER_S)
#define STABLE_US (5 * CLOCK_US_PER_S)

#define NO LINK_STATE_COUNT /* the event changes nothing in this state */

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

/* --- what the operator reads --- */

/* For systemd's STATUS= and for `up`. One link speaks for the tunnel. */
static void tell_state(const struct link *link, const char *text)
{
	size_t len = strlen(text);

	if (link->setup.is_first)
		channel_send(link->client->channel, CHANNEL_STATE, text,
			len < CHANNEL_TEXT_MAX ? len : CHANNEL_TEXT_MAX - 1, -1);
}

/* "host (203.0.113.10:443)". Without the parentheses where the host is an address, or no address is known. */
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

/* The addresses by which the name was reached, for the next search. */
static void keep_answer(struct link *link)
{
	struct profile_server *server = &link->profile->servers[link->server];

	server->address_count = link->seek.answer_count;
	memcpy(server->addresses, link->seek.answer, link->seek.answer_count * sizeof(*link->seek.answer));
}

/* Choose the next server and the wait before it is tried: no wait while a server is left untried. */
static void choose_next_try(struct link *link)
{
	uint32_t random = 0;

	link->server = link->state == LINK_UP ? 0 : (link->server + 1) % link->profile->settings.server_count;
	link->wait_ms = 0;
	if (link->server == 0) {
		RAND_bytes((uint8_t *)&random, sizeof(random));
		link->wait_ms = backoff_next_ms(&link->backoff, random);
	}
	if (link->setup.handlers->is_superseded(link->setup.owner))
		link->wait_ms += SUPERSEDED_DELAY_MS;
}

/* Say what failed and what comes next, then step. @phase NULL: the link was up and is lost. @addr may be NULL. */
static void link_fail(struct link *link, const char *phase, const struct addr *addr, const char *reason)
{
	struct client *client = link->client;
	char peer[320], error[1024], state[1040];
	bool is_news;

	format_peer(link, addr, peer, sizeof(peer));
	snprintf(error, sizeof(error), "%s: %s%s%s", peer, phase ? phase : "", phase ? ": " : "lost: ", reason);
	is_news = link->state == LINK_UP || strcmp(client->last_error, error) != 0;
	snprintf(client->last_error, sizeof(client->last_error), "%s", error);
	client->last_error_s = clock_wall_s();
	/* An answer that has not worked yet is better than none where the next look-up fails. */
	if (link->seek.answer_count > 0 && link->profile->servers[link->server].address_count == 0)
		keep_answer(link);
	link->lost_us = clock_now_us();
	choose_next_try(link);
	if (!is_news) /* the line is the same each time, and the log counts it instead of repeating it */
		log_notice("link", "%s; still trying", error);
	else if (link->wait_ms == 0)
		log_notice("link", "%s; next: %s", error, server_of(link)->url);
	else
		log_notice("link", "%s; next try in %.1f s", error, link->wait_ms / 1000.0);
	snprintf(state, sizeof(state), "connecting: %s", error);
	tell_state(link, state);
	link_step(link, LINK_EVENT_FAILED);
}

/* The name's addresses have worked: keep them for the next search, and let the supervisor write them down for the next
 * start. Where the configuration gives an address there is nothing to remember. */
static void remember_answer(struct link *link)
{
	char text[CHANNEL_TEXT_MAX], list[ADDRESS_LIST_TEXT_MAX];
	struct addr literal[ADDRESS_LIST_MAX];
	int len;

	if (link->seek.answer_count == 0 ||
		address_list_parse(profile_host(link->profile, link->server), 1, literal) == 1)
		return;
	keep_answer(link);
	len = snprintf(text, sizeof(text), "%zu %s", link->server,
		address_list_format(list, link->seek.answer, link->seek.answer_count));
	if (link->profile == link->client->profile) /* the supervisor counts the servers of the newest settings */
		channel_send(link->client->channel, CHANNEL_ADDRESSES, text, (size_t)len, -1);
}

/* --- the attempt that was chosen --- */

static void release_link(struct link *link)
{
	require(link->pending > 0);
	if (--link->pending > 0)
		return;
	profile_release(link->profile);
	link->setup.handlers->on_closed(link->setup.owner);
}

/* To a machine that joins the hub tells what lies behind it. The supervisor reads no text of a stranger. */
static void tell_networks(const struct link *link)
{
	const char *text = attempt_networks(link->attempt);
	struct channel_networks told;
	char one[PREFIX_TEXT_MAX];

	memset(&told, 0, sizeof(told));
	while (text && *text && told.count < CHANNEL_NETWORKS_MAX) {
		size_t len = strcspn(text, ",");

		snprintf(one, sizeof(one), "%.*s", (int)(len < sizeof(one) ? len : 0), text);
		if (prefix_parse(one, &told.networks[told.count]) == 0)
			told.count++;
		text += len + (text[len] == ',');
	}
	if (told.count > 0)
		channel_send(link->client->channel, CHANNEL_NETWORKS, &told, sizeof(told), -1);
}

static void on_link_up(void *owner)
{
	tell_networks(owner);
	link_step(owner, LINK_EVENT_UP);
}

static bool go_on_by_second(struct link *link, const char *reason);

static void on_link_failed(void *owner, const char *phase, const char *reason)
{
	struct link *link = owner;

	if (!go_on_by_second(link, reason))
		link_fail(link, phase, &link->addr, reason);
}

/* The current or an earlier attempt has closed: it may do so while the next search runs. */
static void on_link_part_closed(void *owner)
{
	release_link(owner);
}

/* Without on_secured: it has come already, and has chosen this attempt. */
static const struct attempt_handlers link_attempt_handlers = {
	.on_up = on_link_up, .on_failed = on_link_failed, .on_closed = on_link_part_closed};

/* The datagrams have moved to the second connection already. Return: false: there is none. */
static bool go_on_by_second(struct link *link, const char *reason)
{
	struct attempt *attempt = link->state == LINK_UP ? second_take(&link->second) : NULL;
	struct client *client = link->client;
	char peer[320];

	if (!attempt)
		return false;
	format_peer(link, &link->addr, peer, sizeof(peer));
	snprintf(client->last_error, sizeof(client->last_error), "%s: lost: %s", peer, reason);
	client->last_error_s = clock_wall_s();
	log_notice("link", "%s; the second connection goes on", client->last_error);
	attempt_set_owner(attempt, &link_attempt_handlers, link);
	link->pending++;
	attempt_close(link->attempt);
	link->attempt = attempt;
	client->connects++;
	return true;
}

/* --- the search --- */

static void on_seek_chosen(void *owner, struct attempt *attempt, const struct addr *addr)
{
	struct link *link = owner;

	attempt_set_owner(attempt, &link_attempt_handlers, link);
	link->pending++;
	link->attempt = attempt;
	link->addr = *addr;
	link_step(link, LINK_EVENT_CHOSEN);
}

static void on_seek_failed(void *owner, const char *phase, const struct addr *addr, const char *reason)
{
	link_fail(owner, phase, addr, reason);
}

static const struct seek_handlers link_seek_handlers = {
	.on_chosen = on_seek_chosen, .on_failed = on_seek_failed, .on_closed = on_link_part_closed};

/* --- the machine --- */

static void on_wait_over(uv_timer_t *timer)
{
	struct link *link = timer->data;

	if (!link->setup.handlers->may_dial(link->setup.owner) && clock_now_us() - link->lost_us < SUPERSEDED_MAX_US)
		uv_timer_start(timer, on_wait_over, SUPERSEDED_DELAY_MS, 0);
	else
		link_step(link, LINK_EVENT_TIMER);
}

static void on_link_timer_closed(uv_handle_t *handle)
{
	release_link(handle->data);
}

/* End the search or the attempt. Datagrams wait in the flow. */
static void drop_everything(struct link *link)
{
	uv_timer_stop(&link->timer);
	seek_stop(&link->seek);
	second_stop(&link->second);
	if (link->attempt)
		attempt_close(link->attempt);
	link->attempt = NULL;
}

static void enter_seeking(struct link *link)
{
	if (link->profile != link->client->profile) {
		profile_release(link->profile);
		link->profile = profile_keep(link->client->profile);
		link->server = 0; /* the list of servers may be another one */
	}
	seek_start(&link->seek, link->profile, link->server);
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
	case LINK_CHOSEN: /* the upgrade is the attempt's business */
		break;
	case LINK_UP:
		enter_up(link);
		break;
	case LINK_WAITING:
		drop_everything(link);
		uv_timer_start(&link->timer, on_wait_over, link->wait_ms, 0);
		break;
	case LINK_CLOSED:
		drop_everything(link);
		seek_close(&link->seek);
		second_close(&link->second);
		uv_close((uv_handle_t *)&link->timer, on_link_timer_closed);
		break;
	case LINK_STATE_COUNT:
		break;
	}
}

/* --- from outside --- */

void link_open(struct link *link, const struct link_setup *setup)
{
	struct client *client = setup->client;
	struct seek_setup seek = {.loop = &client->loop,
		.sockets = &client->sockets,
		.nameservers = client->nameservers,
		.pump = &client->pump,
		.flow = setup->flow,
		.instance = setup->instance,
		.handlers = &link_seek_handlers,
		.owner = link};

	struct second_setup second = {.client = client,
		.flow = setup->flow,
		.instance = setup->instance,
		.on_closed = on_link_part_closed,
		.owner = link};

	*link = (struct link){.setup = *setup,
		.client = client,
		.profile = profile_keep(client->profile),
		.state = LINK_WAITING,
		.pending = 3};
	seek_init(&link->seek, &seek);
	second_init(&link->second, &second);
	uv_timer_init(&client->loop, &link->timer);
	link->timer.data = link;
	uv_timer_start(&link->timer, on_wait_over, 0, 0);
}

void link_tick(struct link *link, uint64_t now_us)
{
	seek_tick(&link->seek, now_us);
	if (link->attempt)
		attempt_tick(link->attempt, now_us);
	if (link->state == LINK_UP)
		second_tick(&link->second,
			&(struct second_first){link->profile, link->server, &link->addr, link->attempt}, now_us);
	if (link->state == LINK_UP && now_us - link->up_us > STABLE_US)
		backoff_reset(&link->backoff);
}

/* Changes nothing for a link that is up. */
void link_on_reload(struct link *link)
{
	backoff_reset(&link->backoff);
	link->wait_ms = 0;
	link_step(link, LINK_EVENT_RESTART);
}

void link_wake(struct link *link)
{
	uint64_t now_us = clock_now_us();

	switch (link->state) {
	case LINK_WAITING:
		link_on_reload(link);
		break;
	case LINK_SEEKING:
		seek_wake(&link->seek, now_us);
		break;
	case LINK_CHOSEN:
	case LINK_UP:
		attempt_check(link->attempt, now_us);
		second_check(&link->second, now_us);
		break;
	case LINK_CLOSED:
	case LINK_STATE_COUNT:
		break;
	}
}

void link_close(struct link *link)
{
	link_step(link, LINK_EVENT_CLOSE);
}

bool link_is_up(const struct link *link)
{
	return link->state == LINK_UP;
}

/* Status key "verified": what the server's identity was compared with. */
static const char *verified_by(const struct client_settings *settings, const struct client_settings_server *server)
{
	if (server->cleartext)
		return "no";
	if (settings->pin_count > 0)
		return "pin";
	return settings->ca_pem ? "ca" : "system";
}

uint64_t link_rtt_us(const struct link *link)
{
	return link->state == LINK_UP ? attempt_rtt_us(link->attempt) : 0;
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
	line = json_pack("{s:f,s:I}", "rtt_ms", (double)link_rtt_us(link) / CLOCK_US_PER_MS, "connects",
		(json_int_t)client->connects);
	json_object_set_new(line, "pace", is_up ? attempt_pace(link->attempt) : json_null());
	json_object_set_new(line, "connections", json_integer(is_up + second_is_up(&link->second)));
	json_object_set_new(line, "last_error", json_string(client->last_error));
	json_object_set_new(line, "last_error_at", json_string(at));
	json_object_set_new(object, "link", line);
}
