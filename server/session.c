/* A connection's way from accept() to tunnel, or to the web site. Every failure ends in session_close(), which lets go
 * of flow, visitor and stream in that order; the memory goes with the stream's on_closed. */
#include "server/session.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/tunnel/carrier.h"
#include "common/tunnel/tcp_rate.h"
#include "common/tunnel/tls.h"
#include "common/tunnel/tls_stream.h"
#include "common/tunnel/upgrade.h"
#include "server/hub.h"
#include "server/proxy_header.h"
#include "server/client_number.h"
#include "server/visitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define TLS_DEADLINE_US (10 * CLOCK_US_PER_S)
#define WAITING_DEADLINE_US (5 * CLOCK_US_PER_S)
#define LEAVING_DEADLINE_US (5 * CLOCK_US_PER_S)
#define LINGER_US (2 * CLOCK_US_PER_S)
#define RETIRED_US (5 * CLOCK_US_PER_S)

enum session_state { SESSION_PROXIED, SESSION_TLS, SESSION_REQUEST, SESSION_WAITING, SESSION_TUNNEL, SESSION_LEAVING };

struct session {
	struct hub *hub;
	struct session *next, *before;
	struct tls_stream stream;
	struct carrier carrier;
	struct visitor *visitor;
	struct hub_flow *flow; /* claimed or carried */
	enum session_state state;
	bool is_closing;
	bool is_cleartext; /* of the listener */
	bool is_trusted;   /* a reverse proxy of TrustedProxies: it may say the visitor's address */
	bool is_throttled;
	bool is_retired;
	bool is_lingering;
	uint64_t deadline_us; /* of the state; 0: none */
	uint64_t answer_us;   /* throttled: no answer before */
	int64_t since_s;
	struct addr from;
	char from_text[ADDR_TEXT_MAX];
	struct admit_grant grant;
	char key[UPGRADE_KEY_TEXT_LEN + 1];
	uint8_t *rest; /* what came and has not been taken: behind a head, or the beginning of a PROXY header */
	size_t rest_len;
};

static const char *client_name(const struct session *session)
{
	return hub_client_name(session->hub, session->grant.client);
}

struct session *session_next(const struct session *session)
{
	return session->next;
}

/* --- the end --- */

static void session_on_closed(void *owner)
{
	struct session *session = owner;

	free(session->rest);
	free(session);
}

static void hub_remove(struct session *session)
{
	struct hub *hub = session->hub;

	if (session->before)
		session->before->next = session->next;
	else
		hub->sessions = session->next;
	if (session->next)
		session->next->before = session->before;
	hub->connection_count--;
}

static void session_end(struct session *session, uint16_t code)
{
	bool was_tunnel = session->state == SESSION_TUNNEL;

	if (session->is_closing)
		return;
	session->is_closing = true;
	hub_remove(session);
	visitor_close(session->visitor);
	session->visitor = NULL;
	if (was_tunnel) {
		session->hub->tunnel_count--;
		carrier_close(&session->carrier, code);
	} else {
		tls_stream_close(&session->stream);
	}
	if (session->flow)
		flow_table_release(session->flow, session);
	session->flow = NULL;
}

void session_close(struct session *session)
{
	session_end(session, FRAME_CLOSE_GOING_AWAY);
}

const struct admit_grant *session_grant(const struct session *session)
{
	bool is_in = session->state == SESSION_WAITING || session->state == SESSION_TUNNEL;

	return is_in && !session->is_closing ? &session->grant : NULL;
}

void session_revoke(struct session *session)
{
	log_notice(
		"session", "%s: ended from %s: it may not come in any more", client_name(session), session->from_text);
	session_end(session, FRAME_CLOSE_POLICY);
}

/* All has been written. What the peer still sends is read and dropped for a moment: closing on it would be a reset, which
 * can overtake the answer. */
static void session_linger(struct session *session)
{
	session->is_lingering = true;
	session->deadline_us = clock_now_us() + LINGER_US;
	tls_stream_finish(&session->stream);
	tls_stream_pause(&session->stream, false);
}

/* Flush what was written, then close. */
static void session_leave(struct session *session)
{
	int rc = tls_stream_flush(&session->stream);

	session->state = SESSION_LEAVING;
	session->deadline_us = clock_now_us() + LEAVING_DEADLINE_US;
	if (rc < 0)
		session_close(session);
	else if (rc == 0)
		session_linger(session);
}

/* --- tunnel --- */

static void tunnel_on_end(void *owner, const char *reason)
{
	struct session *session = owner;

	if (!session->is_retired)
		log_info("session", "%s: down from %s: %s", client_name(session), session->from_text, reason);
	session_close(session);
}

static const struct carrier_handlers tunnel_handlers = {
	.on_end = tunnel_on_end,
	.on_closed = session_on_closed,
};

static void log_up(const struct session *session)
{
	const char *tls = session->stream.ssl ? SSL_get_version(session->stream.ssl) : "cleartext";

	log_info("session", "%s: up from %s, %s%s", client_name(session), session->from_text, tls,
		session->grant.has_instance ? "" : ", stock client");
}

static bool write_answer(struct session *session)
{
	char answer[UPGRADE_ANSWER_MAX];
	struct http_span key = {session->key, UPGRADE_KEY_TEXT_LEN};
	int len = upgrade_write_answer(answer, sizeof(answer), key, clock_wall_s());

	return len > 0 && tls_stream_write(&session->stream, answer, (size_t)len) == 0;
}

void session_set_claim(struct session *session, struct hub_flow *flow)
{
	session->flow = flow;
}

/* A client without a clock, which WireGuard may ignore (DESIGN §6): the supervisor can help where it runs the device. */
static void tell_clock(const struct session *session)
{
	const struct admit_grant *grant = &session->grant;
	const struct channel_clock clock = {.wall_s = grant->iat_s, .client = grant->client};

	if (grant->has_iat)
		channel_send(session->hub->channel, CHANNEL_CLOCK, &clock, sizeof(clock), -1);
}

/* The 101 and the first frames may share a record's send: the carrier flushes both. */
static void session_start_tunnel(struct session *session)
{
	uint8_t *rest = session->rest;
	size_t rest_len = session->rest_len;

	session->rest = NULL;
	session->rest_len = 0;
	session->state = SESSION_TUNNEL;
	session->deadline_us = 0;
	session->since_s = clock_wall_s();
	session->hub->tunnel_count++;
	log_up(session);
	tell_clock(session);
	tls_stream_flush(&session->stream);
	tls_stream_pause(&session->stream, false);
	carrier_start(&session->carrier, &session->hub->pump, &session->stream, &session->flow->flow, CARRIER_MASK_NONE,
		session->hub->settings.ping_interval_ms, &tunnel_handlers, session, rest, rest_len, clock_now_us());
	free(rest);
}

void session_on_flow(struct session *session, struct hub_flow *flow)
{
	session->flow = flow;
	if (!flow || !write_answer(session)) {
		session_close(session);
		return;
	}
	session_start_tunnel(session);
}

void session_retire(struct session *session)
{
	session->is_retired = true;
	session->deadline_us = clock_now_us() + RETIRED_US;
}

/* --- who is it --- */

static void set_from(struct session *session, const struct addr *from)
{
	session->from = *from;
	if (addr_port(from) != 0)
		addr_format(session->from_text, sizeof(session->from_text), from);
	else
		addr_format_host(session->from_text, sizeof(session->from_text), from);
}

static bool is_trusted_proxy(const struct hub *hub, const struct addr *from)
{
	struct addr bare = *from;
	size_t i;

	addr_set_port(&bare, 0);
	for (i = 0; i < hub->settings.trusted_proxy_count; i++)
		if (addr_equal(&bare, &hub->settings.trusted_proxies[i]))
			return true;
	return false;
}

/* --- request --- */

static void refuse_over_limit(struct session *session, const char *reason)
{
	char answer[256];
	int len = snprintf(answer, sizeof(answer),
		"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n"
		"retry-after: 10\r\nconnection: close\r\n\r\n%s\n",
		strlen(reason) + 1, reason);

	log_notice("session", "%s: refused from %s: %s", client_name(session), session->from_text, reason);
	tls_stream_write(&session->stream, answer, (size_t)len);
	session_leave(session);
}

/* The upgrade was admitted and the visitor is gone: get the flow. */
static void session_claim(struct session *session)
{
	struct hub *hub = session->hub;
	int rc;

	session->state = SESSION_WAITING;
	session->deadline_us = clock_now_us() + WAITING_DEADLINE_US;
	tls_stream_pause(&session->stream, true);
	rc = flow_table_claim(&hub->flows, &session->grant, session);
	if (rc == -ENOSPC)
		refuse_over_limit(session, "too many sessions on this server (MaxClients)");
	else if (rc == -EUSERS)
		refuse_over_limit(session, "too many sessions of this client (MaxSessionsPerClient)");
	else if (rc < 0)
		session_close(session);
}

static bool visitor_on_output(void *owner, const uint8_t *data, size_t len)
{
	struct session *session = owner;

	if (session->is_throttled && session->answer_us == 0)
		session->answer_us = clock_now_us() + THROTTLE_WAIT_US;
	if (session->is_throttled && clock_now_us() < session->answer_us)
		return false; /* offered again by session_step() */
	if (session->stream.is_blocked || tls_stream_room(&session->stream) < len)
		return false;
	if (tls_stream_write(&session->stream, data, len) < 0 || tls_stream_flush(&session->stream) < 0)
		session_close(session);
	return true;
}

static bool visitor_on_upgrade(void *owner, const struct http_head *head, const struct upgrade_request *request)
{
	struct session *session = owner;
	/* Stays zero, which fits no token, for a session that cannot be bound (TLS 1.2 without extended master secret). */
	uint8_t binding[TLS_BINDING_LEN] = {0};
	SSL *ssl = session->stream.ssl;
	const char *why = "";
	struct addr from;

	if (session->is_trusted && proxy_header_forwarded_for(head, &from) == 0)
		set_from(session, &from);
	if (ssl)
		tls_channel_binding(ssl, binding);
	if (!admit_check(session->hub->admit, request, ssl ? binding : NULL, &session->grant, &why)) {
		log_debug("session", "visitor from %s: %s", session->from_text, why);
		return false;
	}
	memcpy(session->key, request->key.text, UPGRADE_KEY_TEXT_LEN);
	session->state = SESSION_WAITING;
	return true;
}

static void visitor_on_end(void *owner)
{
	session_leave(owner);
}

/* Keep what the visitor did not take; reading goes on when it has room, or the tunnel starts. */
static bool keep_rest(struct session *session, const uint8_t *data, size_t len)
{
	uint8_t *rest = NULL;

	if (len > 0) {
		rest = malloc(len);
		if (!rest)
			return false;
		memcpy(rest, data, len);
	}
	free(session->rest);
	session->rest = rest;
	session->rest_len = len;
	return true;
}

/* Return: false where the visitor took less than all, or the session went on to something else. */
static bool session_feed(struct session *session, const uint8_t *data, size_t len)
{
	size_t taken = visitor_feed(session->visitor, data, len);

	if (session->is_closing)
		return false;
	if (!keep_rest(session, data + taken, len - taken)) {
		session_close(session);
		return false;
	}
	if (session->state == SESSION_WAITING) {
		visitor_close(session->visitor);
		session->visitor = NULL;
		session_claim(session);
		return false;
	}
	if (taken < len)
		tls_stream_pause(&session->stream, true);
	return taken == len && session->state == SESSION_REQUEST;
}

static void proxied_on_readable(struct session *session);

static void session_on_readable(void *owner)
{
	struct session *session = owner;
	uint8_t *buf = session->hub->pump.in;
	ssize_t n;

	if (session->state == SESSION_PROXIED) {
		proxied_on_readable(session);
		return;
	}
	while ((n = tls_stream_read(&session->stream, buf, TLS_RECORD_MAX)) > 0) {
		if (session->is_lingering)
			continue;
		session->answer_us = 0;
		if (session->state != SESSION_REQUEST || !session_feed(session, buf, (size_t)n))
			return;
	}
	if (n == -EPIPE && session->state == SESSION_REQUEST) {
		tls_stream_pause(&session->stream, true);
		visitor_feed_end(session->visitor);
	} else if (n < 0) {
		session_close(session);
	}
}

static void visitor_on_room(void *owner)
{
	struct session *session = owner;
	uint8_t *rest = session->rest;
	size_t rest_len = session->rest_len;
	bool goes_on;

	session->rest = NULL;
	session->rest_len = 0;
	goes_on = !rest || session_feed(session, rest, rest_len);
	free(rest);
	if (!goes_on)
		return;
	tls_stream_pause(&session->stream, false);
	session_on_readable(session); /* OpenSSL may hold what the poll does not show */
}

static const struct visitor_callbacks visitor_callbacks = {
	.on_output = visitor_on_output,
	.on_upgrade = visitor_on_upgrade,
	.on_room = visitor_on_room,
	.on_end = visitor_on_end,
};

static void session_on_writable(void *owner)
{
	struct session *session = owner;

	if (session->state == SESSION_LEAVING && !session->is_lingering)
		session_linger(session);
	else if (session->visitor)
		visitor_output_drained(session->visitor);
}

/* --- TLS --- */

static void start_request(struct session *session)
{
	struct visitor_plan plan = {.loop = &session->hub->loop,
		.website = session->hub->website,
		.callbacks = &visitor_callbacks,
		.owner = session};

	session->state = SESSION_REQUEST;
	session->deadline_us = 0; /* the visitor has its own */
	if (visitor_open(&session->visitor, &plan) < 0)
		session_close(session);
}

static void start_tls(struct session *session)
{
	SSL *ssl = SSL_new(session->hub->tls);
	struct err err = {0};

	session->state = SESSION_TLS;
	if (!ssl || tls_stream_secure(&session->stream, ssl, true, &err) < 0)
		session_close(session);
}

/* The stream is open: in the clear, then with TLS where the listener has it. */
static void session_on_open(void *owner)
{
	struct session *session = owner;

	if (session->state == SESSION_PROXIED)
		return; /* the header comes first */
	if (!session->stream.ssl && !session->is_cleartext)
		start_tls(session);
	else
		start_request(session);
}

/* --- behind a trusted proxy: its header, if it sends one, before anything else --- */

static void proxied_go_on(struct session *session)
{
	uint8_t *rest = session->rest;
	size_t rest_len = session->rest_len;

	session->rest = NULL;
	session->rest_len = 0;
	if (!session->is_cleartext) {
		start_tls(session);
	} else {
		start_request(session);
		if (!session->is_closing && (rest_len == 0 || session_feed(session, rest, rest_len)))
			session_on_readable(session);
	}
	free(rest);
}

/* Look at what is there without taking it: what follows the header is TLS's. */
static void proxied_on_readable(struct session *session)
{
	uint8_t buf[PROXY_HEADER_MAX];
	struct addr from = {.sa.sa_family = AF_UNSPEC};
	size_t used = 0, before = session->rest_len;
	ssize_t n = recv(session->stream.fd, buf + before, sizeof(buf) - before, MSG_PEEK | MSG_DONTWAIT);

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			session_close(session);
		return;
	}
	if (before > 0)
		memcpy(buf, session->rest, before);
	switch (proxy_header_parse(buf, before + (size_t)n, &used, &from)) {
	case PROXY_HEADER_MORE: /* all of it is the header's: take it, or the poll would not rest */
		if (recv(session->stream.fd, buf + before, (size_t)n, 0) != n ||
			!keep_rest(session, buf, before + (size_t)n))
			session_close(session);
		return;
	case PROXY_HEADER_OK:
		if (recv(session->stream.fd, buf, used - before, 0) != (ssize_t)(used - before)) {
			session_close(session);
			return;
		}
		keep_rest(session, NULL, 0);
		if (from.sa.sa_family != AF_UNSPEC) {
			set_from(session, &from);
			session->is_throttled = throttle_count(&session->hub->throttle, &from, clock_now_us());
		}
		proxied_go_on(session);
		return;
	case PROXY_HEADER_NONE:
		proxied_go_on(session);
		return;
	case PROXY_HEADER_BAD:
		log_warning("session", "%s: a bad PROXY header", session->from_text);
		session_close(session);
		return;
	}
}

static void session_on_failed(void *owner, const char *reason)
{
	struct session *session = owner;

	log_debug("session", "visitor from %s: %s", session->from_text, reason);
	session_close(session);
}

static const struct tls_stream_handlers stream_handlers = {
	.on_open = session_on_open,
	.on_readable = session_on_readable,
	.on_writable = session_on_writable,
	.on_failed = session_on_failed,
	.on_closed = session_on_closed,
};

static void hub_add(struct session *session)
{
	struct hub *hub = session->hub;

	session->next = hub->sessions;
	if (hub->sessions)
		hub->sessions->before = session;
	hub->sessions = session;
	hub->connection_count++;
}

void session_open(struct hub *hub, int fd, bool is_cleartext, const struct addr *from)
{
	struct session *session = calloc(1, sizeof(*session));
	bool is_trusted = is_trusted_proxy(hub, from);
	SSL *ssl = session && !is_cleartext && !is_trusted ? SSL_new(hub->tls) : NULL;
	uint64_t now_us = clock_now_us();
	struct err err = {0};

	if (!session || (!is_cleartext && !is_trusted && !ssl)) {
		close(fd);
		free(session);
		return;
	}
	session->hub = hub;
	session->is_cleartext = is_cleartext;
	session->is_trusted = is_trusted;
	set_from(session, from);
	session->is_throttled = !is_trusted && throttle_count(&hub->throttle, from, now_us);
	session->state = is_trusted ? SESSION_PROXIED : SESSION_TLS;
	session->deadline_us = now_us + TLS_DEADLINE_US;
	if (tls_stream_open(&session->stream, &hub->loop, fd, ssl, true, &hub->pump.buffers, &stream_handlers, session,
		    &err) < 0) {
		log_warning("session", "%s: %s", session->from_text, err.text);
		free(session);
		return;
	}
	hub_add(session);
}

void session_step(struct session *session, uint64_t now_us)
{
	if (session->deadline_us != 0 && now_us >= session->deadline_us) {
		log_debug("session", "%s: deadline", session->from_text);
		session_end(session, FRAME_CLOSE_NORMAL);
		return;
	}
	if (session->state == SESSION_TUNNEL)
		carrier_step(&session->carrier, now_us);
	else if (session->visitor && session->is_throttled && now_us >= session->answer_us)
		visitor_output_drained(session->visitor); /* also where the wait began anew: it is asked for again */
}

uint32_t session_rtt_ms(const struct session *session)
{
	struct tcp_rate rate;

	return tcp_rate_read(session->stream.fd, &rate) == 0 ? rate.rtt_us / 1000 : 0;
}

/* As `wg show` has it, without the port. IPv6 has one loopback address for all. */
static const char *source_text(char *buf, size_t size, const struct session *session)
{
	struct addr source;

	if (session->hub->settings.target.sa.sa_family != AF_INET)
		return "::1";
	client_number_address(session->grant.client, &source);
	return addr_format_host(buf, size, &source);
}

json_t *session_report(const struct session *session)
{
	char since[32], source[ADDR_TEXT_MAX];
	json_t *object;

	if (session->state != SESSION_TUNNEL || !session->flow)
		return NULL;
	object = json_pack("{s:s,s:s,s:s,s:s,s:b,s:f}", "client", client_name(session), "from", session->from_text,
		"source", source_text(source, sizeof(source), session), "since",
		clock_format_utc(since, sizeof(since), session->since_s), "stock", !session->grant.has_instance,
		"rtt_ms", (double)session->carrier.liveness.rtt_us / CLOCK_US_PER_MS);
	if (object)
		flow_counters_report(&session->flow->flow.counters, object);
	return object;
}
