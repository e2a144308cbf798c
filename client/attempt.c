/* proxy → TLS → upgrade → tunnel on one stream. Each step has a deadline; a failure names the step and goes up once. */
#include "client/attempt.h"

#include "client/client.h"
#include "client/link.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/tunnel/carrier.h"
#include "common/tunnel/http_head.h"
#include "common/tunnel/jwt.h"
#include "common/tunnel/tls.h"
#include "common/tunnel/tls_stream.h"
#include "common/tunnel/upgrade.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STEP_TIMEOUT_US (10 * CLOCK_US_PER_S)
/* Of a step during which the network has changed: the path may be gone. */
#define CHANGED_TIMEOUT_US (3 * CLOCK_US_PER_S)

enum attempt_step { ATTEMPT_PROXY, ATTEMPT_TLS, ATTEMPT_UPGRADE, ATTEMPT_UP };

struct attempt {
	struct link *link;
	struct client *client;
	struct profile *profile;		/* kept: the client's own may be another by now */
	const struct client_settings *settings; /* the profile's */
	const struct client_settings_server *server;
	size_t server_index;
	enum attempt_step step;
	bool is_failed;
	bool is_closing;
	bool is_hurried; /* the step's deadline was brought forward */
	uint64_t deadline_us;
	struct tls_stream stream;
	struct carrier carrier;
	char key[UPGRADE_KEY_TEXT_LEN + 1];
	char *head; /* HTTP_HEAD_MAX bytes while an answer is read */
	size_t head_len;
};

static const char *step_name(enum attempt_step step)
{
	switch (step) {
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

static void attempt_fail(struct attempt *attempt, const char *reason)
{
	if (attempt->is_failed || attempt->is_closing)
		return;
	attempt->is_failed = true;
	link_on_attempt_failed(attempt->link, attempt, step_name(attempt->step), reason);
}

static void enter_step(struct attempt *attempt, enum attempt_step step)
{
	attempt->step = step;
	attempt->deadline_us = clock_now_us() + STEP_TIMEOUT_US;
	attempt->is_hurried = false;
}

static void attempt_on_closed(void *owner)
{
	struct attempt *attempt = owner;
	struct link *link = attempt->link;

	profile_release(attempt->profile);
	free(attempt->head);
	free(attempt);
	link_on_attempt_closed(link);
}

/* --- tunnel --- */

static void tunnel_on_end(void *owner, const char *reason)
{
	attempt_fail(owner, reason);
}

static const struct carrier_handlers tunnel_handlers = {.on_end = tunnel_on_end, .on_closed = attempt_on_closed};

static void start_tunnel(struct attempt *attempt, size_t head_used)
{
	const struct client_settings *settings = attempt->settings;
	char *head = attempt->head;

	attempt->head = NULL;
	attempt->step = ATTEMPT_UP;
	attempt->deadline_us = 0;
	link_on_attempt_up(attempt->link);
	carrier_start(&attempt->carrier,
		&(struct carrier_setup){.pump = &attempt->client->pump,
			.stream = &attempt->stream,
			.flow = attempt->link->flow,
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

static int make_jwt(const struct attempt *attempt, char *out, size_t size)
{
	const struct client_settings *settings = attempt->settings;
	const char *key = settings->jwt_key ? settings->jwt_key : settings->token;
	int64_t wall_s = clock_wall_s();
	struct jwt_claims claims = {
		.is_udp = true, .port = settings->stock_target_port, .has_iat = true, .iat_s = wall_s};

	jwt_make_id(claims.id, wall_s * 1000);
	snprintf(claims.host, sizeof(claims.host), "%s", settings->stock_target_host);
	if (settings->token) {
		claims.has_kid = claims.has_instance = true;
		jwt_make_kid(claims.kid, settings->token);
		memcpy(claims.instance, attempt->link->instance, sizeof(claims.instance));
		claims.has_binding = attempt->stream.ssl && !settings->interception &&
				     tls_channel_binding(attempt->stream.ssl, claims.binding) == 0;
	}
	return jwt_encode(out, size, &claims, key ? key : "", key ? strlen(key) : 0);
}

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

static void start_upgrade(struct attempt *attempt)
{
	enter_step(attempt, ATTEMPT_UPGRADE);
	link_on_attempt_secured(attempt->link, attempt);
	if (write_request(attempt) < 0 || tls_stream_flush(&attempt->stream) < 0)
		attempt_fail(attempt, "the request could not be sent");
}

/* --- answers, of the proxy and of the server --- */

static void take_answer(struct attempt *attempt, const struct http_head *head, size_t used);

/* Read once. Return: true where there is more to read for the head to become whole. */
static bool read_answer(struct attempt *attempt)
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
		take_answer(attempt, &head, used);
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

static void take_proxy_answer(struct attempt *attempt, const struct http_head *head, size_t used)
{
	char reason[256], phrase[64];

	if (head->status < 200 || head->status > 299) {
		log_quote(phrase, sizeof(phrase), head->reason.text, head->reason.len);
		snprintf(reason, sizeof(reason), "status %u %s%s", head->status, phrase,
			head->status == 407 ? "; give user and password in Proxy = http://user:password@host:port"
					    : "");
		attempt_fail(attempt, reason);
		return;
	}
	if (used < attempt->head_len) {
		attempt_fail(attempt, "the proxy sent data of its own");
		return;
	}
	attempt->head_len = 0;
	start_tls(attempt);
}

/* A busy server, and one that speaks another protocol, say so themselves. */
static const char *refusal_advice(const struct attempt *attempt, unsigned status)
{
	if (status == 101 || status == 503)
		return "";
	if (attempt->settings->stock_path)
		return "; compare Path, Target, BasicAuth and JwtKey with what the server admits";
	return "; the server takes us for a visitor: compare Token and Target with its configuration";
}

static void take_answer(struct attempt *attempt, const struct http_head *head, size_t used)
{
	char buf[256], reason[400];
	const char *wrong;

	if (attempt->step == ATTEMPT_PROXY) {
		take_proxy_answer(attempt, head, used);
		return;
	}
	wrong = upgrade_check_answer(head, attempt->key, buf, sizeof(buf));
	if (!wrong) {
		start_tunnel(attempt, used);
		return;
	}
	snprintf(reason, sizeof(reason), "%s%s", wrong, refusal_advice(attempt, head->status));
	attempt_fail(attempt, reason);
}

/* --- proxy and TLS --- */

static bool check_server(struct attempt *attempt, char *reason, size_t size)
{
	const struct client_settings *settings = attempt->settings;
	char text[TLS_PIN_TEXT_MAX];
	uint8_t pin[TLS_PIN_LEN];

	if (!attempt->stream.ssl || settings->pin_count == 0 ||
		tls_check_pin(attempt->stream.ssl, (const uint8_t(*)[TLS_PIN_LEN])settings->pins, settings->pin_count))
		return true;
	if (tls_peer_pin(attempt->stream.ssl, pin) == 0)
		snprintf(reason, size,
			"the server's public key is %s, which is not the Pin; if the server was set up anew, take that one",
			tls_pin_format(text, pin));
	else
		snprintf(reason, size, "the server's public key does not match the Pin");
	return false;
}

/* Where the newest session with this server is kept. */
static SSL_SESSION **resume_of(const struct attempt *attempt)
{
	return &attempt->profile->servers[attempt->server_index].resume;
}

static void start_tls(struct attempt *attempt)
{
	const struct client_settings *settings = attempt->settings;
	const char *name = settings->server_name ? settings->server_name : attempt->server->host;
	struct err err = {0};
	SSL *ssl;

	if (attempt->server->cleartext) {
		start_upgrade(attempt);
		return;
	}
	enter_step(attempt, ATTEMPT_TLS);
	if (tls_client_session(&ssl, attempt->profile->tls, name, *resume_of(attempt), &err) < 0) {
		attempt_fail(attempt, err.text);
		return;
	}
	SSL_set_app_data(ssl, attempt);
	if (tls_stream_secure(&attempt->stream, ssl, false, &err) < 0)
		attempt_fail(attempt, err.text);
}

static void start_proxy(struct attempt *attempt)
{
	const struct client_settings *settings = attempt->settings;
	char request[1024];
	int len = upgrade_write_connect(request, sizeof(request), attempt->server->host, attempt->server->port,
		settings->proxy_user, settings->proxy_password);

	enter_step(attempt, ATTEMPT_PROXY);
	if (len < 0 || tls_stream_write(&attempt->stream, request, (size_t)len) < 0 ||
		tls_stream_flush(&attempt->stream) < 0)
		attempt_fail(attempt, "the request could not be sent");
}

/* Once for the connection in the clear, once more when TLS is up. */
static void stream_on_open(void *owner)
{
	struct attempt *attempt = owner;
	char reason[256];

	if (!attempt->stream.ssl && attempt->settings->proxy_host)
		start_proxy(attempt);
	else if (!attempt->stream.ssl)
		start_tls(attempt);
	else if (!check_server(attempt, reason, sizeof(reason)))
		attempt_fail(attempt, reason);
	else
		start_upgrade(attempt);
}

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
	while (read_answer(attempt))
		; /* until the stream has no more; a record may hold a single byte, so this is no recursion */
}

static void stream_on_writable(void *owner)
{
	(void)owner; /* what was asked has left; the answer comes by itself */
}

/* A host that was just switched on and has no clock of its own refuses every certificate: it is from the future. */
static bool is_clocks_fault(const struct attempt *attempt)
{
	return attempt->step == ATTEMPT_TLS && attempt->stream.ssl && clock_wall_s() < CLOCK_PLAUSIBLE_S &&
	       SSL_get_verify_result(attempt->stream.ssl) == X509_V_ERR_CERT_NOT_YET_VALID;
}

static void stream_on_failed(void *owner, const char *reason)
{
	struct attempt *attempt = owner;
	char now[32], text[256];

	if (!is_clocks_fault(attempt)) {
		attempt_fail(attempt, reason);
		return;
	}
	clock_format_utc(now, sizeof(now), clock_wall_s());
	snprintf(text, sizeof(text),
		"this host's clock is wrong, it says %.10s, when the certificate is not yet valid; waiting for the time to "
		"be set (with Pin = sha256//… no clock is needed)",
		now);
	attempt_fail(attempt, text);
}

static const struct tls_stream_handlers stream_handlers = {
	.on_open = stream_on_open,
	.on_readable = stream_on_readable,
	.on_writable = stream_on_writable,
	.on_failed = stream_on_failed,
	.on_closed = attempt_on_closed,
};

struct attempt *attempt_open(struct link *link, int fd)
{
	struct attempt *attempt = calloc(1, sizeof(*attempt));
	struct client *client = link->client;
	struct err err = {0};

	if (!attempt) {
		socket_request_close_socket(fd);
		return NULL;
	}
	attempt->link = link;
	attempt->client = client;
	attempt->profile = profile_keep(link->profile);
	attempt->settings = &link->profile->settings;
	attempt->server_index = link->server;
	attempt->server = &attempt->settings->servers[link->server];
	enter_step(attempt, attempt->settings->proxy_host ? ATTEMPT_PROXY : ATTEMPT_TLS);
	if (tls_stream_open(&attempt->stream, &client->loop, fd, NULL, false, &client->pump.buffers, &stream_handlers,
		    attempt, &err) < 0) {
		log_warning("link", "%s", err.text);
		profile_release(attempt->profile);
		free(attempt);
		return NULL;
	}
	return attempt;
}

void attempt_step(struct attempt *attempt, uint64_t now_us)
{
	if (attempt->step == ATTEMPT_UP)
		carrier_tick(&attempt->carrier, now_us);
	else if (now_us >= attempt->deadline_us)
		attempt_fail(
			attempt, attempt->is_hurried ? "no answer since the network changed" : "no answer in 10 s");
}

void attempt_check(struct attempt *attempt, uint64_t now_us)
{
	if (attempt->step == ATTEMPT_UP)
		carrier_check(&attempt->carrier, now_us);
	if (attempt->step == ATTEMPT_UP || attempt->deadline_us <= now_us + CHANGED_TIMEOUT_US)
		return;
	attempt->deadline_us = now_us + CHANGED_TIMEOUT_US;
	attempt->is_hurried = true;
}

void attempt_close(struct attempt *attempt)
{
	if (attempt->is_closing)
		return;
	attempt->is_closing = true;
	if (attempt->stream.ssl)
		SSL_set_app_data(attempt->stream.ssl, NULL);
	if (attempt->step == ATTEMPT_UP)
		carrier_close(&attempt->carrier, FRAME_CLOSE_NORMAL);
	else
		tls_stream_close(&attempt->stream);
}

int attempt_keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct attempt *attempt = SSL_get_app_data(ssl);
	SSL_SESSION **place;

	if (!attempt)
		return 0;
	place = resume_of(attempt);
	SSL_SESSION_free(*place);
	*place = session;
	return 1;
}

const char *attempt_tls_version(const struct attempt *attempt)
{
	return attempt->stream.ssl ? SSL_get_version(attempt->stream.ssl) : "none";
}

uint64_t attempt_rtt_us(const struct attempt *attempt)
{
	return attempt->step == ATTEMPT_UP ? attempt->carrier.liveness.rtt_us : 0;
}
