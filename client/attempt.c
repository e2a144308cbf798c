/* Proxy, TLS, upgrade and tunnel on one stream.
 *
 *     connected ──→ PROXY ──→ TLS ──→ UPGRADE ──→ UP
 *         │                    ↑         ↑
 *         └── without a proxy ─┘         └── ws:// skips TLS
 *
 * Happy path: the stream opens in the clear; CONNECT is written and its answer read; tls_stream_secure() makes the
 * stream open once more, now with TLS; the pin is compared; the request is written; the answer 101 starts the carrier.
 *
 * Fails in each phase with the phase's name and a reason, once: what the proxy or the server answered, what TLS says,
 * or no answer within the deadline. The owner closes the attempt then. Nothing is tried again here.
 */
#include "client/attempt.h"

#include "client/mistrust.h"
#include "client/profile.h"
#include "client/socket_request.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/tunnel/carrier.h"
#include "common/tunnel/http_head.h"
#include "common/tunnel/jwt.h"
#include "common/tunnel/tls.h"
#include "common/tunnel/tls_explain.h"
#include "common/tunnel/tls_stream.h"
#include "common/tunnel/upgrade.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PHASE_TIMEOUT_US (10 * CLOCK_US_PER_S)
/* The limit for a phase during which the network has changed: the path may be gone, and a new try may find another. */
#define CHANGED_TIMEOUT_US (3 * CLOCK_US_PER_S)
#define REASON_MAX 768 /* what is wrong with a certificate, and what helps */

enum attempt_phase { ATTEMPT_PROXY, ATTEMPT_TLS, ATTEMPT_UPGRADE, ATTEMPT_UP };

struct attempt {
	struct attempt_setup setup;
	const struct client_settings *settings; /* the profile's */
	const struct client_settings_server *server;
	enum attempt_phase phase;
	bool is_failed;
	bool is_closing;
	bool is_hurried;      /* the network has changed; the phase's deadline was brought forward */
	uint64_t deadline_us; /* of the phase; UP: unused, the carrier has its own */
	struct tls_stream stream;
	struct carrier carrier;
	char id[JWT_ID_SIZE];	  /* of its JWT */
	char beside[JWT_ID_SIZE]; /* of the one that it stands beside; "": none */
	bool takes_second;	  /* the server takes another one beside it */
	char key[UPGRADE_KEY_TEXT_LEN + 1];
	char *head; /* HTTP_HEAD_MAX bytes while an answer is read, else NULL */
	size_t head_len;
	char *networks; /* as the hub has told them; NULL: it has not */
};

/* For the log line of a failure. NULL for UP: such a failure is a loss, not a phase that went wrong. */
static const char *phase_name(enum attempt_phase phase)
{
	switch (phase) {
	case ATTEMPT_PROXY:
		return "proxy";
	case ATTEMPT_TLS:
		return "TLS";
	case ATTEMPT_UPGRADE:
		return "upgrade";
	case ATTEMPT_UP:
		break;
	}
	return NULL;
}

/* Report the first failure only: later ones are its consequences. */
static void attempt_fail(struct attempt *attempt, const char *reason)
{
	if (attempt->is_failed || attempt->is_closing)
		return;
	attempt->is_failed = true;
	attempt->setup.handlers->on_failed(attempt->setup.owner, phase_name(attempt->phase), reason);
}

/* The deadline covers the whole phase, so that slow trickling bytes do not extend it. */
static void enter_phase(struct attempt *attempt, enum attempt_phase phase)
{
	attempt->phase = phase;
	attempt->deadline_us = clock_now_us() + PHASE_TIMEOUT_US;
	attempt->is_hurried = false;
}

/* The last callback of the stream, directly or through the carrier. The owner is told last, because it may then free
 * what we borrowed. */
static void attempt_on_closed(void *owner)
{
	struct attempt *attempt = owner;
	struct attempt_setup setup = attempt->setup;

	free(attempt->head);
	free(attempt->networks);
	free(attempt);
	profile_release(setup.profile);
	setup.handlers->on_closed(setup.owner);
}

/* --- tunnel --- */

static void tunnel_on_end(void *owner, const char *reason)
{
	attempt_fail(owner, reason);
}

static const struct carrier_handlers tunnel_handlers = {.on_end = tunnel_on_end, .on_closed = attempt_on_closed};

/* The carrier takes the stream over. on_up comes first: carrier_start() serves the bytes that came behind the answer,
 * and these may be the tunnel's end already, which has to be reported after it was up. */
static void start_tunnel(struct attempt *attempt, size_t head_used)
{
	const struct client_settings *settings = attempt->settings;
	char *head = attempt->head;

	attempt->head = NULL;
	attempt->phase = ATTEMPT_UP;
	attempt->setup.handlers->on_up(attempt->setup.owner);
	carrier_start(&attempt->carrier,
		&(struct carrier_setup){.pump = attempt->setup.pump,
			.stream = &attempt->stream,
			.flow = attempt->setup.flow,
			.is_second = attempt->beside[0],
			.mask = settings->mask,
			.ping_interval_ms = settings->ping_interval_ms,
			.handlers = &tunnel_handlers,
			.owner = attempt,
			.rest = (const uint8_t *)head + head_used,
			.rest_len = attempt->head_len - head_used},
		clock_now_us());
	free(head);
}

/* --- upgrade --- */

/* Our own server is told more than a stock one: the token's id, the flow's instance (to recognise it when it comes
 * back), and a binding to this TLS connection, which makes the token useless to a machine in between. Interception (a
 * company's proxy that opens TLS) would break the binding. Return: the length or a negative errno. */
static int make_jwt(struct attempt *attempt, char *out, size_t size)
{
	const struct client_settings *settings = attempt->settings;
	const char *key = settings->jwt_key ? settings->jwt_key : settings->token;
	int64_t wall_s = clock_wall_s();
	struct jwt_claims claims = {
		.is_udp = true, .port = settings->stock_target_port, .has_iat = true, .iat_s = wall_s};

	jwt_make_id(claims.id, wall_s * 1000);
	memcpy(attempt->id, claims.id, sizeof(attempt->id));
	snprintf(claims.host, sizeof(claims.host), "%s", settings->stock_target_host);
	if (settings->token) {
		claims.has_kid = claims.has_instance = true;
		claims.takes_any = settings->takes_any_target;
		claims.has_beside = true;
		memcpy(claims.beside, attempt->beside, sizeof(claims.beside));
		claims.has_public_key = settings->has_public_key;
		memcpy(claims.public_key, settings->public_key, sizeof(claims.public_key));
		jwt_make_kid(claims.kid, settings->token);
		memcpy(claims.instance, attempt->setup.instance, sizeof(claims.instance));
		claims.has_binding = attempt->stream.ssl && !settings->interception &&
				     tls_channel_binding(attempt->stream.ssl, claims.binding) == 0;
	}
	return jwt_encode(out, size, &claims, key ? key : "", key ? strlen(key) : 0);
}

/* The upgrade: RFC 6455 §4.1, with the JWT as a subprotocol. Return: 0 or a negative errno. */
static int write_request(struct attempt *attempt)
{
	const struct client_settings *settings = attempt->settings;
	char jwt[JWT_TEXT_MAX], request[UPGRADE_REQUEST_MAX];
	struct upgrade_ask ask = {
		.prefix = settings->stock_path ? settings->stock_path : "v1",
		.host = attempt->server->host,
		.port = attempt->server->port,
		.key = attempt->key,
		.jwt = jwt,
		.basic_auth = settings->basic_auth,
		.headers = (const char *const *)settings->headers,
	};
	int len = make_jwt(attempt, jwt, sizeof(jwt));

	if (len < 0)
		return len;
	upgrade_make_key(attempt->key);
	len = upgrade_write_request(request, sizeof(request), &ask);
	if (len < 0)
		return len;
	return tls_stream_write(&attempt->stream, request, (size_t)len);
}

static struct profile_server *remembered_server(const struct attempt *attempt)
{
	return &attempt->setup.profile->servers[attempt->setup.server];
}

/* on_secured comes before the request, so that only the attempt that was chosen sends a token. */
static void start_upgrade(struct attempt *attempt)
{
	enter_phase(attempt, ATTEMPT_UPGRADE);
	if (attempt->stream.ssl)
		remembered_server(attempt)->is_known = true;
	attempt->setup.handlers->on_secured(attempt->setup.owner);
	if (write_request(attempt) < 0 || tls_stream_flush(&attempt->stream) < 0)
		attempt_fail(attempt, "the request could not be sent");
}

/* --- answers of the proxy and of the server --- */

static void take_http_answer(struct attempt *attempt, const struct http_head *head, size_t used);

/* Read once. Return: true if the head is incomplete and more bytes may be waiting. */
static bool read_http_answer(struct attempt *attempt)
{
	struct http_head head;
	char reason[256];
	size_t used;
	ssize_t n;

	n = tls_stream_read(&attempt->stream, attempt->head + attempt->head_len, HTTP_HEAD_MAX - attempt->head_len);
	if (n <= 0) {
		if (n < 0)
			attempt_fail(attempt, tls_stream_reason(&attempt->stream, n, reason, sizeof(reason)));
		return false;
	}
	attempt->head_len += (size_t)n;
	switch (http_head_parse_answer(attempt->head, attempt->head_len, &head, &used)) {
	case HTTP_OK:
		take_http_answer(attempt, &head, used);
		return false;
	case HTTP_MORE:
		if (attempt->head_len < HTTP_HEAD_MAX)
			return true;
		attempt_fail(attempt, "the answer's head is too long");
		return false;
	case HTTP_BAD:
	case HTTP_TOO_LARGE:
		attempt_fail(attempt, "the answer is not HTTP");
		return false;
	}
	return false;
}

static void start_tls(struct attempt *attempt);

/* The answer to CONNECT (RFC 9110 §9.3.6): any 2xx means that the bytes behind it are the server's. */
static void take_proxy_answer(struct attempt *attempt, const struct http_head *head, size_t used)
{
	char reason[256], phrase[64];

	if (head->status < 200 || head->status > 299) {
		log_quote(phrase, sizeof(phrase), head->reason.text, head->reason.len);
		snprintf(reason, sizeof(reason), "status %u %s%s", head->status, phrase,
			head->status == 407 ? "; expected user and password in Proxy = http://user:password@host:port"
					    : "");
		attempt_fail(attempt, reason);
		return;
	}
	if (used < attempt->head_len) { /* in TLS the client speaks first, so these bytes are not the server's */
		attempt_fail(attempt, "the proxy sent data of its own");
		return;
	}
	attempt->head_len = 0;
	start_tls(attempt);
}

/* A refusal looks like any website's answer, on purpose, so the advice has to come from here. A hub of ours answers 426
 * and 503 only to a client that it knows. */
static const char *advise_on_answer(const struct attempt *attempt, unsigned status)
{
	switch (status) {
	case 101: /* of another protocol, which the reason says */
		return "";
	case 426:
		return "; a reverse proxy in front of the server takes the upgrade out of the request (the server's "
		       "log says more); in nginx add: proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; "
		       "proxy_set_header Connection upgrade;";
	case 502:
	case 504:
		return "; a reverse proxy in front of the server does not reach it: is towpath-server running, where "
		       "the proxy looks for it?";
	case 503:
		return "; the server has too many sessions (MaxClients, MaxSessionsPerClient), or a reverse proxy in "
		       "front of it does not reach it";
	case 511:
		return "; a captive portal has answered: log in with a browser";
	default:
		return attempt->settings->stock_path
			       ? "; compare Path, Target, BasicAuth and JwtKey with what the server admits"
			       : "; the server takes us for a visitor: compare Token and Target with its "
				 "configuration";
	}
}

/* Where a proxy whose CA is trusted can stand in between, it may be why a good token is not admitted. */
static bool may_be_intercepted(const struct attempt *attempt, unsigned status)
{
	const struct client_settings *settings = attempt->settings;

	return attempt->stream.ssl && settings->token && settings->pin_count == 0 && !settings->interception &&
	       (status == 200 || (status >= 400 && status < 500 && status != 426));
}

/* A hub of ours tells a guest in fixed words why it does not let it in. Return: false: it does not. */
static bool format_invitation(const struct http_head *head, char *reason, size_t size)
{
	static const struct {
		const char *word, *advice;
	} words[] = {
		{"used",
			"by another machine; 'towpath-server list' on the hub tells from where and when, 'towpath-server revoke' "
			"ends it, 'towpath-server add --again' makes another"},
		{"expired", "'towpath-server add --again' on the hub makes another"},
		{"revoked", "'towpath-server add' on the hub makes another"},
		{"good, but the hub's disk is full", "free space there; then the same link works"},
		{"good, but the hub cannot write the key down",
			"its log tells why, and once that is mended the same link works"}};
	const struct http_field *field = http_head_find(head, "invitation", 0);

	for (size_t i = 0; field && head->status == 403 && i < sizeof(words) / sizeof(*words); i++)
		if (http_span_is(field->value, words[i].word))
			return snprintf(reason, size, "the invitation is %s: %s", words[i].word, words[i].advice) > 0;
	return false;
}

static void take_http_answer(struct attempt *attempt, const struct http_head *head, size_t used)
{
	char buf[256], reason[REASON_MAX], binding[TLS_DESCRIPTION_MAX + 80] = "";
	const struct http_field *networks;
	const char *wrong;

	if (attempt->phase == ATTEMPT_PROXY) {
		take_proxy_answer(attempt, head, used);
		return;
	}
	wrong = upgrade_check_answer(head, attempt->key, buf, sizeof(buf));
	attempt->takes_second = http_head_find(head, "beside", 0);
	if (!wrong && attempt->beside[0] && !attempt->takes_second)
		wrong = "the server has not put it beside the first";
	networks = http_head_find(head, "networks", 0);
	if (!wrong && networks && attempt->settings->token)
		attempt->networks = strndup(networks->value.text, networks->value.len);
	if (!wrong) {
		start_tunnel(attempt, used);
		return;
	}
	if (attempt->settings->token && format_invitation(head, reason, sizeof(reason))) {
		attempt_fail(attempt, reason);
		return;
	}
	if (may_be_intercepted(attempt, head->status))
		mistrust_suspect_binding(binding, sizeof(binding), attempt->stream.ssl);
	snprintf(reason, sizeof(reason), "%s%s%s", wrong, advise_on_answer(attempt, head->status), binding);
	attempt_fail(attempt, reason);
}

/* --- proxy and TLS --- */

/* With pins, OpenSSL has verified neither chain nor name (tls.h): the key alone decides. */
static bool is_right_server(const struct attempt *attempt)
{
	const struct client_settings *settings = attempt->settings;

	return !attempt->stream.ssl || settings->pin_count == 0 ||
	       tls_check_pin(
		       attempt->stream.ssl, (const uint8_t(*)[TLS_PIN_LEN])settings->pins, settings->pin_count);
}

static struct mistrust make_mistrust(const struct attempt *attempt)
{
	return (struct mistrust){.ssl = attempt->stream.ssl,
		.is_known = remembered_server(attempt)->is_known,
		.has_proxy = attempt->settings->proxy_host,
		.has_ca = attempt->settings->ca_pem};
}

static void start_tls(struct attempt *attempt)
{
	const struct client_settings *settings = attempt->settings;
	const char *name = settings->server_name ? settings->server_name : attempt->server->host;
	struct err err = {""};
	SSL *ssl;

	if (attempt->server->cleartext) {
		start_upgrade(attempt);
		return;
	}
	enter_phase(attempt, ATTEMPT_TLS);
	if (tls_client_session(&ssl, attempt->setup.profile->tls, name, remembered_server(attempt)->resume, &err) < 0) {
		attempt_fail(attempt, err.text);
		return;
	}
	SSL_set_app_data(ssl, attempt); /* for attempt_keep_session() */
	if (tls_stream_secure(&attempt->stream, ssl, false, &err) < 0)
		attempt_fail(attempt, err.text);
}

/* Ask the proxy for a connection to the server. The name is looked up by the proxy, not here. */
static void start_proxy(struct attempt *attempt)
{
	const struct client_settings *settings = attempt->settings;
	char request[1024];
	int len = upgrade_write_connect(request, sizeof(request), attempt->server->host, attempt->server->port,
		settings->proxy_user, settings->proxy_password);

	enter_phase(attempt, ATTEMPT_PROXY);
	if (len < 0 || tls_stream_write(&attempt->stream, request, (size_t)len) < 0 ||
		tls_stream_flush(&attempt->stream) < 0)
		attempt_fail(attempt, "the request could not be sent");
}

/* Called when the cleartext connection is open, and again when the TLS handshake is done. */
static void stream_on_open(void *owner)
{
	struct attempt *attempt = owner;
	struct mistrust mistrust = make_mistrust(attempt);
	char reason[REASON_MAX];

	if (!attempt->stream.ssl && attempt->settings->proxy_host)
		start_proxy(attempt);
	else if (!attempt->stream.ssl)
		start_tls(attempt);
	else if (!is_right_server(attempt))
		attempt_fail(attempt, mistrust_explain_pin(reason, sizeof(reason), &mistrust));
	else
		start_upgrade(attempt);
}

/* Until the carrier takes over, the bytes read belong to the head of an HTTP answer. */
static void stream_on_readable(void *owner)
{
	struct attempt *attempt = owner;

	if (attempt->is_failed)
		return;
	if (!attempt->head)
		attempt->head = malloc(HTTP_HEAD_MAX);
	if (!attempt->head) {
		attempt_fail(attempt, "out of memory");
		return;
	}
	while (read_http_answer(attempt))
		; /* a TLS record may hold a single byte: a loop, because a recursion could be made deep */
}

static void stream_on_writable(void *owner)
{
	(void)owner; /* the request has left; nothing to do until the answer */
}

static void stream_on_failed(void *owner, const char *reason)
{
	struct attempt *attempt = owner;
	struct mistrust mistrust = make_mistrust(attempt);
	char text[REASON_MAX];

	if (attempt->phase == ATTEMPT_TLS)
		reason = mistrust_explain(text, sizeof(text), &mistrust, reason);
	attempt_fail(attempt, reason);
}

static const struct tls_stream_handlers stream_handlers = {
	.on_open = stream_on_open,
	.on_readable = stream_on_readable,
	.on_writable = stream_on_writable,
	.on_failed = stream_on_failed,
	.on_closed = attempt_on_closed,
};

/* Everything else follows from the stream's callbacks, the first of which comes with the next turn of the loop. */
struct attempt *attempt_open(const struct attempt_setup *setup, int fd)
{
	struct attempt *attempt = calloc(1, sizeof(*attempt));
	struct err err = {""};

	if (!attempt) {
		socket_request_close_socket(fd);
		return NULL;
	}
	attempt->setup = *setup;
	if (setup->beside)
		memcpy(attempt->beside, setup->beside->id, sizeof(attempt->beside));
	profile_keep(setup->profile);
	attempt->settings = &setup->profile->settings;
	attempt->server = &attempt->settings->servers[setup->server];
	enter_phase(attempt, attempt->settings->proxy_host ? ATTEMPT_PROXY : ATTEMPT_TLS);
	if (tls_stream_open(&attempt->stream, setup->loop, fd, NULL, false, &setup->pump->buffers, &stream_handlers,
		    attempt, &err) < 0) {
		log_warning("link", "%s", err.text);
		profile_release(setup->profile);
		free(attempt);
		return NULL;
	}
	return attempt;
}

void attempt_set_owner(struct attempt *attempt, const struct attempt_handlers *handlers, void *owner)
{
	attempt->setup.handlers = handlers;
	attempt->setup.owner = owner;
}

void attempt_tick(struct attempt *attempt, uint64_t now_us)
{
	if (attempt->phase == ATTEMPT_UP)
		carrier_tick(&attempt->carrier, now_us);
	else if (now_us >= attempt->deadline_us)
		attempt_fail(
			attempt, attempt->is_hurried ? "no answer since the network changed" : "no answer in 10 s");
}

/* A connection that survives the change answers within the shorter time. If it does not, the link dials again. */
void attempt_check(struct attempt *attempt, uint64_t now_us)
{
	if (attempt->phase == ATTEMPT_UP)
		carrier_check(&attempt->carrier, now_us);
	if (attempt->phase == ATTEMPT_UP || attempt->deadline_us <= now_us + CHANGED_TIMEOUT_US)
		return;
	attempt->deadline_us = now_us + CHANGED_TIMEOUT_US;
	attempt->is_hurried = true;
}

void attempt_close(struct attempt *attempt)
{
	if (attempt->is_closing)
		return;
	attempt->is_closing = true;
	if (attempt->stream.ssl) /* OpenSSL may keep the SSL for longer than we live */
		SSL_set_app_data(attempt->stream.ssl, NULL);
	if (attempt->phase == ATTEMPT_UP)
		carrier_close(&attempt->carrier, FRAME_CLOSE_NORMAL);
	else
		tls_stream_close(&attempt->stream);
}

/* Under TLS 1.3 sessions come after the handshake, perhaps several: the newest one is kept. */
int attempt_keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct attempt *attempt = SSL_get_app_data(ssl);
	SSL_SESSION *copy = attempt ? SSL_SESSION_dup(session) : NULL;

	if (copy) {
		SSL_SESSION **resume = &remembered_server(attempt)->resume;

		SSL_SESSION_free(*resume);
		*resume = copy;
	}
	return 0;
}

const char *attempt_networks(const struct attempt *attempt)
{
	return attempt->networks;
}

const char *attempt_tls_version(const struct attempt *attempt)
{
	return attempt->stream.ssl ? SSL_get_version(attempt->stream.ssl) : "none";
}

json_t *attempt_pace(const struct attempt *attempt)
{
	return attempt->phase == ATTEMPT_UP ? carrier_pace(&attempt->carrier) : json_null();
}

bool attempt_may_have_second(const struct attempt *attempt)
{
	return attempt->takes_second;
}

uint32_t attempt_losses(const struct attempt *attempt)
{
	return attempt->phase == ATTEMPT_UP ? carrier_losses(&attempt->carrier) : 0;
}

uint64_t attempt_rtt_us(const struct attempt *attempt)
{
	return attempt->phase == ATTEMPT_UP ? attempt->carrier.liveness.rtt_us : 0;
}
