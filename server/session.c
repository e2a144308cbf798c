/* A connection's way from accept() to a tunnel, or to the web site.
 *
 * Theory of operation. A session is one TCP connection. Its state alone decides what it does next; the table `rules`
 * says for each state how long it may last and which events of the stream it takes:
 *
 *    PROXIED ──header──▶ TLS ──handshake──▶ REQUEST ──upgrade accepted──▶ ADMITTED ──visitor closed──▶ WAITING
 *                                              │                                                     │ flow is there
 *                     ┌──last answer is given──┘                                                     ▼
 *                     ▼                                                       RETIRED ◀──replaced── TUNNEL
 *                  FLUSHING ──all bytes have left──▶ LINGERING              any state ──▶ CLOSED
 *
 *    PROXIED    From one of TrustedProxies: its PROXY header is awaited, if it sends one. The stream is not TLS yet.
 *    TLS        The handshake. On a listener without TLS only the first turn of the loop. A ClientHello for a published
 *               server takes the socket out of here: it becomes a passage, and this session ends.
 *    REQUEST    ->visitor reads HTTP requests and answers them. It has a timeout of its own.
 *    ADMITTED   on_upgrade() has said yes inside visitor_feed(), which must return before the visitor may go. Nothing
 *               else can happen meanwhile. Bytes behind the request are in ->rest from then on.
 *    WAITING    Attached to ->flow, whose socket the supervisor is asked for. Reading is paused.
 *    TUNNEL     The 101 is written; ->carrier has the stream's events and moves ->flow's datagrams.
 *    RETIRED    As TUNNEL, but a newer session carries the flow: what is under way is still taken for five seconds.
 *    FLUSHING   The last answer is being sent; then the connection ends.
 *    LINGERING  FIN was sent. Bytes from the peer are read and dropped: closing a socket with unread bytes sends a
 *               reset, which can overtake the answer.
 *    CLOSED     Out of hub->sessions. Only on_stream_closed() is to come, and it frees the session.
 *
 * Callbacks come from the stream (until the carrier has it), the visitor, the carrier, and the flow table. All but the
 * worker's tick may come from inside a call of ours, and any of them may close the session. So each call that can call
 * back is the last one in its function, or ->state is looked at behind it.
 *
 * Failure. Whatever goes wrong ends in session_close(), which is safe in any state and lets go of the visitor, the
 * stream and the flow in this order; the carrier leaves the flow before the flow is given back. A peer that is no
 * client learns nothing: it sees the web site, a TLS alert, or the end. The reason goes to the debug log. A client over
 * a limit gets a 503, one whose upgrade a reverse proxy has lost a 426.
 */
#include "server/session.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/require.h"
#include "common/tunnel/carrier.h"
#include "common/tunnel/tcp_rate.h"
#include "common/tunnel/tls.h"
#include "common/tunnel/tls_stream.h"
#include "common/tunnel/upgrade.h"
#include "server/client_hello.h"
#include "server/client_number.h"
#include "server/hub.h"
#include "server/passage.h"
#include "server/proxy_header.h"
#include "server/visitor.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STRANGER_PAUSE_US (60 * CLOCK_US_PER_S) /* between two lines about connections that were not let in */

enum session_state {
	SESSION_PROXIED,
	SESSION_TLS,
	SESSION_REQUEST,
	SESSION_ADMITTED,
	SESSION_WAITING,
	SESSION_TUNNEL,
	SESSION_RETIRED,
	SESSION_FLUSHING,
	SESSION_LINGERING,
	SESSION_CLOSED,
	SESSION_STATE_COUNT,
};

struct session {
	struct hub *hub;
	struct session_node node; /* in hub->sessions */
	struct tls_stream stream;
	struct carrier carrier;	     /* TUNNEL, RETIRED */
	struct visitor *visitor;     /* from REQUEST until ADMITTED or CLOSED; else NULL */
	struct hub_flow *flow;	     /* attached to it; else NULL */
	struct proxy_header *header; /* PROXIED; else NULL */
	struct passage *passage;     /* from the ClientHello of a published server until it starts; else NULL */
	enum session_state state;
	bool is_cleartext;    /* of the listener */
	bool is_trusted;      /* a reverse proxy of TrustedProxies: it may say the visitor's address */
	bool is_throttled;    /* its source opens connections at a rate no visitor has */
	uint64_t deadline_us; /* of the state; 0: none */
	uint64_t answer_us;   /* throttled: no answer before; 0: nothing is to be answered */
	int64_t since_s;      /* a tunnel since, wall clock */
	struct addr from;     /* the visitor, as far as it is known; port 0 from X-Forwarded-For */
	struct addr sender;   /* the visitor, or the proxy that has brought it */
	char from_text[ADDR_TEXT_MAX];
	struct admit_grant grant;	    /* from ADMITTED on */
	char key[UPGRADE_KEY_TEXT_LEN + 1]; /* of the request, for the 101 */
	const char *lost;		    /* what a reverse proxy took out of the request; NULL: nothing */
	uint8_t *rest;			    /* what came and the visitor has not taken */
	size_t rest_len;
};

/* The rules of a state. An event without a handler is ignored: it cannot come, or a later state takes it. */
struct state_rule {
	uint64_t time_us; /* how long the state may last; 0: as long as it likes */
	void (*on_open)(struct session *session);
	void (*on_readable)(struct session *session);
	void (*on_writable)(struct session *session); /* all that was written has left */
	bool has_grant;				      /* it is a client's */
	bool has_carrier;
};

static const struct state_rule rules[SESSION_STATE_COUNT]; /* at the end of this file */

static void enter(struct session *session, enum session_state state)
{
	uint64_t time_us = rules[state].time_us;

	session->state = state;
	session->deadline_us = time_us ? clock_now_us() + time_us : 0;
}

/* The client is in the settings: a reload ends the sessions and flows of clients that are gone before it swaps them. */
static const char *client_name(const struct session *session)
{
	const struct server_settings_client *client =
		server_settings_find(&session->hub->settings, session->grant.client);

	return client ? client->name : "a revoked client";
}

/* --- the end --- */

static void on_stream_closed(void *owner)
{
	struct session *session = owner;

	free(session->header);
	free(session->rest);
	free(session);
}

/* @code: of the WebSocket close frame; only a tunnel has one. */
static void close_with(struct session *session, uint16_t code)
{
	bool has_carrier = rules[session->state].has_carrier;

	if (session->state == SESSION_CLOSED)
		return;
	enter(session, SESSION_CLOSED);
	session_list_remove(&session->hub->sessions, &session->node);
	visitor_close(session->visitor);
	session->visitor = NULL;
	if (has_carrier)
		carrier_close(&session->carrier, code);
	else
		tls_stream_close(&session->stream);
	if (session->flow)
		flow_table_detach(session->flow, session);
	session->flow = NULL;
}

void session_close(struct session *session)
{
	close_with(session, FRAME_CLOSE_GOING_AWAY);
}

const struct admit_grant *session_grant(const struct session *session)
{
	return rules[session->state].has_grant ? &session->grant : NULL;
}

void session_revoke(struct session *session, const char *why)
{
	if (rules[session->state].has_grant)
		log_notice("session", "%s: ended from %s: %s", client_name(session), session->from_text, why);
	close_with(session, FRAME_CLOSE_POLICY);
}

/* Everything has left: say that nothing follows, and read on until the peer says the same, or two seconds are over. */
static void start_lingering(struct session *session)
{
	enter(session, SESSION_LINGERING);
	tls_stream_finish(&session->stream);
	tls_stream_pause(&session->stream, false);
}

/* Send what was written, then end. If the socket is full now, on_writable continues. */
static void flush_and_end(struct session *session)
{
	int rc = tls_stream_flush(&session->stream);

	enter(session, SESSION_FLUSHING);
	if (rc < 0)
		session_close(session);
	else if (rc == 0)
		start_lingering(session);
}

/* ->hub->pump.in is the worker's buffer for what is read now; nothing in it is kept. */
static void discard_input(struct session *session)
{
	ssize_t n;

	do
		n = tls_stream_read(&session->stream, session->hub->pump.in, TLS_RECORD_MAX);
	while (n > 0);
	if (n < 0)
		session_close(session);
}

/* --- tunnel --- */

static void on_carrier_end(void *owner, const char *reason)
{
	struct session *session = owner;

	if (session->state == SESSION_TUNNEL) /* the end of a retired one is no news */
		log_info("session", "%s: down from %s: %s", client_name(session), session->from_text, reason);
	session_close(session);
}

static const struct carrier_handlers tunnel_handlers = {
	.on_end = on_carrier_end,
	.on_closed = on_stream_closed,
};

/* A machine that shows the token of an unused invitation, and no key yet, asks what it is invited to. Return: NULL to all
 * others. */
static const char *networks_to_tell(const struct session *session)
{
	const struct server_settings *settings = &session->hub->settings;
	const struct server_settings_client *client = server_settings_find(settings, session->grant.client);

	return client && client->waits_until_s && !session->grant.is_stock && !session->grant.has_public_key
		       ? settings->networks
		       : NULL;
}

/* The flow can be used: write the 101, then hand the stream and what came behind the request to a carrier. The 101 is
 * flushed before the carrier starts, so that it is not held up by the first datagrams. */
static void start_tunnel(struct session *session)
{
	struct hub *hub = session->hub;
	SSL *ssl = session->stream.ssl;
	uint8_t *rest = session->rest;
	char answer[UPGRADE_ANSWER_MAX];
	struct http_span key = {session->key, UPGRADE_KEY_TEXT_LEN};
	const struct channel_clock clock = {.wall_s = session->grant.iat_s, .client = session->grant.client};
	bool is_second = session->flow->second == session;
	const struct upgrade_told told = {.networks = networks_to_tell(session),
		.is_beside = is_second || (session->grant.has_beside && !session->grant.beside[0])};
	int len = upgrade_write_answer(answer, sizeof(answer), key, clock_wall_s(), &told);

	if (len < 0 || tls_stream_write(&session->stream, answer, (size_t)len) < 0) {
		session_close(session);
		return;
	}
	session->rest = NULL;
	enter(session, SESSION_TUNNEL);
	session->since_s = clock_wall_s();
	log_info("session", "%s: up from %s, %s%s%s", client_name(session), session->from_text,
		ssl ? SSL_get_version(ssl) : "cleartext", session->grant.has_instance ? "" : ", stock client",
		is_second ? ", second connection" : "");
	/* WireGuard behind Target ignores a client whose clock is behind what it said before. The supervisor can help
	 * where it runs the device, if it knows the client's time. */
	if (session->grant.has_iat)
		channel_send(hub->channel, CHANNEL_CLOCK, &clock, sizeof(clock), -1);
	tls_stream_flush(&session->stream); /* where it fails, the carrier notices */
	tls_stream_pause(&session->stream, false);
	carrier_start(&session->carrier,
		&(struct carrier_setup){.pump = &hub->pump,
			.stream = &session->stream,
			.flow = &session->flow->flow,
			.is_second = is_second,
			.mask = CARRIER_MASK_NONE,
			.ping_interval_ms = hub->settings.ping_interval_ms,
			.handlers = &tunnel_handlers,
			.owner = session,
			.rest = rest,
			.rest_len = session->rest_len},
		clock_now_us());
	free(rest);
}

/* The session has waited since attach(). Where @flow is NULL it is detached already. */
static void on_flow(struct session *session, struct hub_flow *flow)
{
	require(session->state == SESSION_WAITING);
	session->flow = flow;
	if (flow)
		start_tunnel(session);
	else
		session_close(session);
}

static void on_retire(struct session *session)
{
	enter(session, SESSION_RETIRED);
	carrier_step_down(&session->carrier);
}

static const char *get_id(const struct session *session)
{
	return session->grant.id;
}

const struct flow_handlers session_flow_handlers = {
	.on_flow = on_flow, .on_retire = on_retire, .on_outlived = session_close, .get_id = get_id};

/* --- attaching to a flow --- */

/* A known client may learn the reason. @fields: of the answer, each with its end of line. */
static void refuse(struct session *session, const char *status, const char *fields, const char *reason)
{
	char answer[512];
	int len = snprintf(answer, sizeof(answer),
		"HTTP/1.1 %s\r\ncontent-type: text/plain\r\ncontent-length: %zu\r\n%s\r\n%s\n", status,
		strlen(reason) + 1, fields, reason);

	tls_stream_write(&session->stream, answer, (size_t)len);
	flush_and_end(session);
}

/* `retry-after` keeps the client from asking again at once. */
static void refuse_over_limit(struct session *session, const char *reason)
{
	log_notice("session", "%s: refused from %s: %s", client_name(session), session->from_text, reason);
	refuse(session, "503 Service Unavailable", "retry-after: 10\r\nconnection: close\r\n", reason);
}

/* The same line at each try, without an address that changes, so that the log counts it. */
static void refuse_lost(struct session *session)
{
	log_warning("session",
		"%s: not let in: its request has come through a reverse proxy without %s; expected a proxy that passes "
		"HTTP/1.1, Upgrade and Connection on, in nginx by: proxy_http_version 1.1; proxy_set_header Upgrade "
		"$http_upgrade; proxy_set_header Connection upgrade;",
		client_name(session), session->lost);
	refuse(session, "426 Upgrade Required", "upgrade: websocket\r\nconnection: upgrade, close\r\n",
		"a reverse proxy has taken the upgrade out of the request");
}

/* A guest whose invitation does not let it in hears why, by fixed words: its program knows what helps. */
static void refuse_invitation(struct session *session, const char *words)
{
	char fields[128];

	snprintf(fields, sizeof(fields), "invitation: %s\r\nretry-after: 10\r\nconnection: close\r\n", words);
	log_notice("session", "%s: refused from %s: its invitation is %s", client_name(session), session->from_text,
		words);
	refuse(session, "403 Forbidden", fields, words);
}

/* Return: NULL, or the words for an invitation that lets nobody in. While its machine is told of a key that was not written
 * down, it is not written either: the machine may have given the key up. */
static const char *find_invitation_fault(const struct session *session)
{
	const struct server_settings_client *client =
		server_settings_find(&session->hub->settings, session->grant.client);

	if (!client)
		return "revoked";
	if (session->grant.is_stock)
		return NULL;
	if (client->waits_until_s && (uint64_t)clock_wall_s() > client->waits_until_s)
		return "expired";
	if (client->has_joined && session->grant.has_public_key &&
		memcmp(client->joined_key, session->grant.public_key, sizeof(client->joined_key)) != 0)
		return "used";
	if (session->grant.has_public_key && clock_now_us() < client->unwritten_until_us)
		return client->unwritten;
	return NULL;
}

void session_refuse_key(struct session *session, const char *words)
{
	if (session->state != SESSION_WAITING) {
		session_revoke(session, "its public key was not written down");
		return;
	}
	flow_table_detach(session->flow, session);
	session->flow = NULL;
	refuse_invitation(session, words);
}

/* The first machine that shows the token of an invitation is its owner. The supervisor decides, and its settings that
 * follow end the sessions of others. */
static void tell_key(const struct session *session)
{
	const struct server_settings_client *client =
		server_settings_find(&session->hub->settings, session->grant.client);
	struct channel_enrol enrol = {.from = session->from, .client = session->grant.client};

	if (!client->waits_until_s || !session->grant.has_public_key || session->grant.is_stock)
		return;
	memcpy(enrol.public_key, session->grant.public_key, sizeof(enrol.public_key));
	channel_send(session->hub->channel, CHANNEL_ENROL, &enrol, sizeof(enrol), -1);
}

/* The upgrade was admitted and the visitor has returned: close it, get the flow. */
static void attach(struct session *session)
{
	struct tcp_rate rate;
	uint32_t rtt_ms = tcp_rate_read(session->stream.fd, &rate) == 0 ? rate.rtt_us / 1000 : 0;
	const char *fault;
	int rc;

	visitor_close(session->visitor);
	session->visitor = NULL;
	if (session->lost) {
		refuse_lost(session);
		return;
	}
	fault = find_invitation_fault(session);
	if (fault) {
		refuse_invitation(session, fault);
		return;
	}
	tell_key(session);
	enter(session, SESSION_WAITING);
	tls_stream_pause(&session->stream, true);
	rc = flow_table_attach(&session->hub->flows, &session->grant, rtt_ms, session, &session->flow);
	if (rc == -ENOSPC)
		refuse_over_limit(session, "too many sessions on this server (MaxClients)");
	else if (rc == -EUSERS)
		refuse_over_limit(session, "too many sessions of this client (MaxSessionsPerClient)");
	else if (rc < 0)
		session_close(session);
	else if (session->flow->state == FLOW_CARRIED)
		start_tunnel(session);
}

/* --- request --- */

/* The visitor's address, for the log and status. A proxy may correct it later, by its header or by X-Forwarded-For. */
static void set_from(struct session *session, const struct addr *from)
{
	session->from = *from;
	if (addr_port(from) != 0)
		addr_format(session->from_text, sizeof(session->from_text), from);
	else
		addr_format_host(session->from_text, sizeof(session->from_text), from);
}

/* A throttled source waits for each answer. The visitor keeps the bytes; session_tick() asks for them again. */
static bool on_visitor_output(void *owner, const uint8_t *data, size_t len)
{
	struct session *session = owner;

	if (session->is_throttled && session->answer_us == 0)
		session->answer_us = clock_now_us() + THROTTLE_WAIT_US;
	if (session->is_throttled && clock_now_us() < session->answer_us)
		return false;
	if (session->stream.is_blocked || tls_stream_room(&session->stream) < len)
		return false;
	if (tls_stream_write(&session->stream, data, len) < 0 || tls_stream_flush(&session->stream) < 0)
		session_close(session);
	return true;
}

/* Admission is asked only here: for a request with the form of an upgrade, with no answer outstanding. One that a proxy
 * of ours has spoilt is admitted too, by attach() to be told so; without a proxy nothing gets spoilt on the way. */
static bool on_visitor_upgrade(void *owner, const struct http_head *head, const struct upgrade_request *request)
{
	struct session *session = owner;
	/* Stays zero, which fits no token, for a session that cannot be bound (TLS 1.2 without extended master
	 * secret). */
	uint8_t binding[TLS_BINDING_LEN] = {0};
	SSL *ssl = session->stream.ssl;
	const char *why = "";
	struct addr from;

	if (request->lost && !session->is_cleartext && !session->is_trusted)
		return false;
	if (session->is_trusted && proxy_header_forwarded_for(head, &from) == 0)
		set_from(session, &from);
	if (ssl)
		tls_channel_binding(ssl, binding);
	if (!admit_check(session->hub->admit, request, ssl ? binding : NULL, &session->grant, &why)) {
		log_debug("session", "visitor from %s: %s", session->from_text, why);
		return false;
	}
	session->lost = request->lost;
	if (!session->lost)
		memcpy(session->key, request->key.text, UPGRADE_KEY_TEXT_LEN);
	enter(session, SESSION_ADMITTED);
	return true;
}

/* Keep what the visitor did not take, until it has room or the tunnel starts. Return: false: out of memory. */
static bool keep_rest(struct session *session, const uint8_t *data, size_t len)
{
	uint8_t *rest = len > 0 ? malloc(len) : NULL;

	if (len > 0 && !rest)
		return false;
	if (len > 0)
		memcpy(rest, data, len);
	free(session->rest);
	session->rest = rest;
	session->rest_len = len;
	return true;
}

/* Return: true if the visitor takes more; false where it took less than all, or the session went on to another
 * state. */
static bool feed_visitor(struct session *session, const uint8_t *data, size_t len)
{
	size_t taken = visitor_feed(session->visitor, data, len);

	if (session->state == SESSION_CLOSED)
		return false;
	if (!keep_rest(session, data + taken, len - taken)) {
		session_close(session);
		return false;
	}
	if (session->state == SESSION_ADMITTED) {
		attach(session);
		return false;
	}
	if (taken < len)
		tls_stream_pause(&session->stream, true);
	return taken == len && session->state == SESSION_REQUEST;
}

static void read_request(struct session *session)
{
	uint8_t *buf = session->hub->pump.in;
	ssize_t n;

	while ((n = tls_stream_read(&session->stream, buf, TLS_RECORD_MAX)) > 0) {
		session->answer_us = 0;
		if (!feed_visitor(session, buf, (size_t)n))
			return;
	}
	if (n == -EPIPE) { /* the peer asks nothing more, and may still read the answer */
		tls_stream_pause(&session->stream, true);
		visitor_feed_end(session->visitor);
	} else if (n < 0) {
		session_close(session);
	}
}

/* The visitor takes what it left before: first ->rest, then what waits in the stream. */
static void on_visitor_room(void *owner)
{
	struct session *session = owner;
	uint8_t *rest = session->rest;
	bool goes_on;

	session->rest = NULL;
	goes_on = !rest || feed_visitor(session, rest, session->rest_len);
	free(rest);
	if (!goes_on)
		return;
	tls_stream_pause(&session->stream, false);
	read_request(session); /* OpenSSL may hold what the poll does not show */
}

static void on_visitor_end(void *owner)
{
	flush_and_end(owner);
}

static const struct visitor_callbacks visitor_callbacks = {
	.on_output = on_visitor_output,
	.on_upgrade = on_visitor_upgrade,
	.on_room = on_visitor_room,
	.on_end = on_visitor_end,
};

static void drain_visitor(struct session *session)
{
	visitor_output_drained(session->visitor);
}

/* --- before the first request --- */

/* The handshake is done, or the listener has no TLS. */
static void start_request(struct session *session)
{
	struct visitor_setup setup = {.loop = &session->hub->loop,
		.website = session->hub->website,
		.callbacks = &visitor_callbacks,
		.owner = session};

	enter(session, SESSION_REQUEST);
	if (visitor_open(&session->visitor, &setup) < 0)
		session_close(session);
}

/* The proxy's header is read, or there is none: go on as on any connection. Bytes that were taken but are no header
 * belong to the request. In front of TLS they are lost, and the connection fails. */
static void leave_proxied(struct session *session)
{
	struct proxy_header *header = session->header;
	struct err err = {""};

	session->header = NULL;
	if (session->is_cleartext) {
		start_request(session);
		if (session->state == SESSION_REQUEST &&
			(header->len == 0 || feed_visitor(session, header->bytes, header->len)))
			read_request(session);
	} else {
		SSL *ssl = SSL_new(session->hub->tls);

		enter(session, SESSION_TLS);
		if (!ssl || tls_stream_secure(&session->stream, ssl, true, &err) < 0)
			session_close(session);
		else if (session->hub->settings.publish_count > 0)
			tls_stream_keep_hello(&session->stream);
	}
	free(header);
}

/* From now on the visitor behind the proxy is counted by the throttle, not the proxy. */
static void read_proxy_header(struct session *session)
{
	struct addr from = {.sa.sa_family = AF_UNSPEC};

	switch (proxy_header_receive(session->header, session->stream.fd, &from)) {
	case PROXY_HEADER_MORE:
		return;
	case PROXY_HEADER_OK:
		if (from.sa.sa_family != AF_UNSPEC) {
			set_from(session, &from);
			session->is_throttled = throttle_count(&session->hub->throttle, &from, clock_now_us());
		}
		leave_proxied(session);
		return;
	case PROXY_HEADER_NONE:
		leave_proxied(session);
		return;
	case PROXY_HEADER_BAD:
		log_warning("session", "%s: a bad PROXY header", session->from_text);
		session_close(session);
		return;
	case PROXY_HEADER_LOST:
		session_close(session);
		return;
	}
}

/* --- a ClientHello for another server --- */

/* OpenSSL has read all of the hello and said nothing yet. Where this says no, and where it is not asked, the connection
 * goes on as if nothing was published. */
static bool on_stream_hello(void *owner)
{
	struct session *session = owner;
	const struct tls_kept *kept = &session->stream.kept;
	size_t message_len = client_hello_len(kept->bytes, kept->len), extension_len, len;
	const unsigned char *extension;
	const char *name;
	int publish;

	if (message_len == 0 || message_len > CLIENT_HELLO_MAX ||
		SSL_client_hello_get0_ext(session->stream.ssl, TLSEXT_TYPE_server_name, &extension, &extension_len) !=
			1)
		return false;
	name = client_hello_name(extension, extension_len, &len);
	publish = name ? server_settings_find_publish(&session->hub->settings, name, len) : -ENOENT;
	if (publish < 0)
		return false;
	session->passage = passage_new(session->hub, (size_t)publish, name, len);
	return session->passage != NULL;
}

static void on_stream_let_go(void *owner)
{
	struct session *session = owner;
	struct tls_kept kept;
	int fd = tls_stream_let_go(&session->stream, &kept);

	enter(session, SESSION_CLOSED);
	session_list_remove(&session->hub->sessions, &session->node);
	passage_start(session->passage, fd, &kept, &session->from);
}

/* --- the stream's events, until a carrier has it --- */

static void on_stream_open(void *owner)
{
	struct session *session = owner;

	if (rules[session->state].on_open)
		rules[session->state].on_open(session);
}

static void on_stream_readable(void *owner)
{
	struct session *session = owner;

	if (rules[session->state].on_readable)
		rules[session->state].on_readable(session);
}

static void on_stream_writable(void *owner)
{
	struct session *session = owner;

	if (rules[session->state].on_writable)
		rules[session->state].on_writable(session);
}

static void on_stream_failed(void *owner, const char *reason)
{
	struct session *session = owner;

	log_debug("session", "visitor from %s: %s", session->from_text, reason);
	session_close(session);
}

static const struct tls_stream_handlers stream_handlers = {
	.on_open = on_stream_open,
	.on_readable = on_stream_readable,
	.on_writable = on_stream_writable,
	.on_failed = on_stream_failed,
	.on_closed = on_stream_closed,
	.on_hello = on_stream_hello,
	.on_let_go = on_stream_let_go,
};

/* REQUEST ends by the visitor's timeout, a tunnel by the carrier's pings: neither has a time here. */
static const struct state_rule rules[SESSION_STATE_COUNT] = {
	[SESSION_PROXIED] = {.time_us = 10 * CLOCK_US_PER_S, .on_readable = read_proxy_header},
	[SESSION_TLS] = {.time_us = 10 * CLOCK_US_PER_S, .on_open = start_request},
	[SESSION_REQUEST] = {.on_readable = read_request, .on_writable = drain_visitor},
	[SESSION_ADMITTED] = {.has_grant = true},
	[SESSION_WAITING] = {.time_us = 5 * CLOCK_US_PER_S, .has_grant = true},
	[SESSION_TUNNEL] = {.has_grant = true, .has_carrier = true},
	[SESSION_RETIRED] = {.time_us = 5 * CLOCK_US_PER_S, .has_grant = true, .has_carrier = true},
	[SESSION_FLUSHING] = {.time_us = 5 * CLOCK_US_PER_S,
		.on_readable = discard_input,
		.on_writable = start_lingering},
	[SESSION_LINGERING] = {.time_us = 2 * CLOCK_US_PER_S, .on_readable = discard_input},
	[SESSION_CLOSED] = {0},
};

/* --- from the worker --- */

static bool is_trusted_proxy(const struct server_settings *settings, const struct addr *from)
{
	const struct prefix host = {.addr = *from, .bits = from->sa.sa_family == AF_INET6 ? 128 : 32};

	for (size_t i = 0; i < settings->trusted_proxy_count; i++)
		if (prefix_contains(&settings->trusted_proxies[i], &host))
			return true;
	return false;
}

bool session_lost_proxy(const struct session *session, const struct server_settings *settings)
{
	return session->is_trusted && !is_trusted_proxy(settings, &session->sender);
}

/* In the clear and reachable from other hosts, a listener is the proxy's alone. */
static void refuse_stranger(struct hub *hub, const char *listener_text, const struct addr *from)
{
	uint64_t now_us = clock_now_us();
	char from_text[ADDR_TEXT_MAX];

	hub->stranger_count++;
	if (hub->stranger_us != 0 && now_us - hub->stranger_us < STRANGER_PAUSE_US)
		return;
	hub->stranger_us = now_us;
	log_notice("session", "ws://%s: not let in: %s, which is none of TrustedProxies (%llu connections so far)",
		listener_text, addr_format(from_text, sizeof(from_text), from),
		(unsigned long long)hub->stranger_count);
}

void session_open(struct hub *hub, int fd, const struct server_settings_listener *listener, const struct addr *from)
{
	bool is_trusted = is_trusted_proxy(&hub->settings, from), is_let_in = is_trusted || !listener->only_proxies;
	bool has_tls = !listener->cleartext && !is_trusted;
	struct session *session = is_let_in ? calloc(1, sizeof(*session)) : NULL;
	struct proxy_header *header = is_trusted ? calloc(1, sizeof(*header)) : NULL;
	SSL *ssl = session && has_tls ? SSL_new(hub->tls) : NULL;
	struct err err = {""};

	if (!is_let_in)
		refuse_stranger(hub, listener->text, from);
	if (!session || (is_trusted && !header) || (has_tls && !ssl)) {
		close(fd);
		SSL_free(ssl);
		free(header);
		free(session);
		return;
	}
	session->hub = hub;
	session->is_cleartext = listener->cleartext;
	session->is_trusted = is_trusted;
	session->header = header;
	session->sender = *from;
	set_from(session, from);
	session->is_throttled = !is_trusted && throttle_count(&hub->throttle, from, clock_now_us());
	enter(session, is_trusted ? SESSION_PROXIED : SESSION_TLS);
	if (tls_stream_open(&session->stream, &hub->loop, fd, ssl, true, &hub->pump.buffers, &stream_handlers, session,
		    &err) < 0) {
		log_warning("session", "%s: %s", session->from_text, err.text);
		on_stream_closed(session);
		return;
	}
	if (has_tls && hub->settings.publish_count > 0)
		tls_stream_keep_hello(&session->stream);
	session_list_add(&hub->sessions, &session->node, session);
}

void session_tick(struct session *session, uint64_t now_us)
{
	if (session->deadline_us != 0 && now_us >= session->deadline_us) {
		log_debug("session", "%s: deadline", session->from_text);
		close_with(session, FRAME_CLOSE_NORMAL);
		return;
	}
	if (rules[session->state].has_carrier)
		carrier_tick(&session->carrier, now_us);
	else if (session->state == SESSION_REQUEST && session->is_throttled && now_us >= session->answer_us)
		visitor_output_drained(
			session->visitor); /* answer_us may be 0 again: then its next output waits anew */
}

json_t *session_report(const struct session *session)
{
	char since[32], source_text[ADDR_TEXT_MAX] = "::1"; /* IPv6 has one loopback address for all clients */
	struct addr source;
	json_t *object;

	if (session->state != SESSION_TUNNEL || session->flow->second == session)
		return NULL;					     /* a second connection is no session of its own */
	if (session->hub->settings.target.sa.sa_family == AF_INET) { /* as `wg show` has it, without the port */
		client_number_address(session->grant.client, &source);
		addr_format_host(source_text, sizeof(source_text), &source);
	}
	object = json_pack("{s:s,s:s,s:s,s:s,s:b,s:f}", "client", client_name(session), "from", session->from_text,
		"source", source_text, "since", clock_format_utc(since, sizeof(since), session->since_s), "stock",
		!session->grant.has_instance, "rtt_ms", (double)session->carrier.liveness.rtt_us / CLOCK_US_PER_MS);
	if (object) {
		json_object_set_new(object, "pace", carrier_pace(&session->carrier));
		json_object_set_new(object, "connections", json_integer(session->flow->second ? 2 : 1));
		flow_counters_report(&session->flow->flow.counters, object);
	}
	return object;
}
