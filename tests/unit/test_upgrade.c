/* The upgrade: the published accept key, every tolerance and every strictness of the wire format, what we write. */
#include "common/tunnel/upgrade.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ==" /* RFC 6455 §1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
#define LINE "GET /v1/events HTTP/1.1\r\n"
#define HOST "host: a.example\r\n"
#define UPGRADE "upgrade: websocket\r\n"
#define CONNECTION "connection: upgrade\r\n"
#define WS_KEY "sec-websocket-key: " KEY "\r\n"
#define WS_VERSION "sec-websocket-version: 13\r\n"
#define WS_PROTOCOL "sec-websocket-protocol: v1, authorization.bearer.a.b.c\r\n"
#define BUT_LINE HOST UPGRADE CONNECTION WS_KEY WS_VERSION WS_PROTOCOL "\r\n"
#define BUT_PROTOCOL LINE HOST UPGRADE CONNECTION WS_KEY WS_VERSION
#define GOOD LINE BUT_LINE

struct fixture {
	struct http_head head;
	struct upgrade_request request;
	char text[16384];
	char out[UPGRADE_REQUEST_MAX];
};

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

static bool reads(void **state, const char *text)
{
	struct fixture *f = *state;
	size_t used;

	assert_true(strlen(text) < sizeof(f->text));
	strcpy(f->text, text);
	memset(&f->request, 0, sizeof(f->request));
	assert_int_equal(http_head_parse_request(f->text, strlen(text), &f->head, &used), HTTP_OK);
	return upgrade_read_request(&f->head, &f->request);
}

static void assert_span(struct http_span span, const char *text)
{
	assert_int_equal(span.len, strlen(text));
	assert_memory_equal(span.text, text, span.len);
}

/* Return: what the request has lost; NULL: it is whole, or no client's. */
static const char *loses(void **state, const char *text)
{
	struct fixture *f = *state;

	return reads(state, text) || !upgrade_read_lost(&f->head, &f->request) ? NULL : f->request.lost;
}

#define ASSERT_READS(text) assert_true(reads(state, text))
#define ASSERT_VISITOR(text) assert_false(reads(state, text))
#define ASSERT_JWT(text, expected)                                                                                     \
	do {                                                                                                           \
		ASSERT_READS(text);                                                                                    \
		assert_span(((struct fixture *)*state)->request.jwt, expected);                                        \
	} while (0)

/* RFC 6455 §1.3: the accept key of the sample nonce. */
static void rfc_accept_key(void **state)
{
	char out[UPGRADE_ACCEPT_TEXT_LEN + 1];

	(void)state;
	upgrade_accept(out, (struct http_span){KEY, strlen(KEY)});
	assert_string_equal(out, ACCEPT);
}

/* The request of a stock client gives prefix, key and JWT. */
static void stock_request_is_read(void **state)
{
	struct fixture *f = *state;

	ASSERT_READS(GOOD);
	assert_span(f->request.prefix, "v1");
	assert_span(f->request.key, KEY);
	assert_span(f->request.jwt, "a.b.c");
}

/* Any case and order of names, no blank or a tab after the colon, blanks at the end. */
static void any_case_order_and_blanks(void **state)
{
	ASSERT_READS(LINE "SEC-WEBSOCKET-PROTOCOL:v1,authorization.bearer.a.b.c\r\nSec-WebSocket-Version:\t13 \r\n"
			  "Sec-WebSocket-Key:" KEY " \t\r\nConnection:Upgrade\r\nUpgrade:WebSocket\r\nHost:a"
			  "\r\n\r\n");
}

/* `Connection: keep-alive, Upgrade`, as browsers and proxies send it. */
static void connection_as_list(void **state)
{
	ASSERT_READS(LINE HOST UPGRADE "Connection: keep-alive, Upgrade\r\n" WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
}

/* `Connection` in two lines. */
static void connection_in_two_lines(void **state)
{
	ASSERT_READS(LINE HOST UPGRADE "Connection: keep-alive\r\n" CONNECTION WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
}

/* 3 KB of other sub-protocol names in front of the JWT. */
static void other_protocols_in_front(void **state)
{
	char text[8192];
	size_t len = (size_t)snprintf(text, sizeof(text), BUT_PROTOCOL "sec-websocket-protocol: ");

	for (int i = 0; i < 300; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "protocol%d, ", i);
	snprintf(text + len, sizeof(text) - len, "v1, authorization.bearer.a.b.c\r\n\r\n");
	assert_true(len > 3072);
	ASSERT_JWT(text, "a.b.c");
}

/* No blank after the comma; a blank before it; the JWT in front. */
static void blanks_around_commas(void **state)
{
	ASSERT_JWT(BUT_PROTOCOL "sec-websocket-protocol: v1,authorization.bearer.a.b.c\r\n\r\n", "a.b.c");
	ASSERT_JWT(BUT_PROTOCOL "sec-websocket-protocol: v1 ,\t authorization.bearer.a.b.c\t,x\r\n\r\n", "a.b.c");
	ASSERT_JWT(BUT_PROTOCOL "sec-websocket-protocol: authorization.bearer.a.b.c, v1\r\n\r\n", "a.b.c");
}

/* Only the first sub-protocol line counts. */
static void first_protocol_line_counts(void **state)
{
	ASSERT_JWT(BUT_PROTOCOL WS_PROTOCOL "sec-websocket-protocol: authorization.bearer.d.e.f\r\n\r\n", "a.b.c");
	ASSERT_VISITOR(BUT_PROTOCOL "sec-websocket-protocol: v1\r\n" WS_PROTOCOL "\r\n");
}

/* A JWT bare in Cookie counts where no sub-protocol has one, or there is no sub-protocol line. */
static void cookie_counts_without_protocol(void **state)
{
	ASSERT_JWT(BUT_PROTOCOL "cookie: a.b.c\r\n\r\n", "a.b.c");
	ASSERT_JWT(BUT_PROTOCOL "sec-websocket-protocol: v1\r\ncookie: a.b.c\r\n\r\n", "a.b.c");
}

/* The sub-protocol wins over the cookie. */
static void protocol_wins_over_cookie(void **state)
{
	ASSERT_JWT(BUT_PROTOCOL "cookie: d.e.f\r\n" WS_PROTOCOL "\r\n", "a.b.c");
}

/* A cookie with a name is a web site's. */
static void named_cookie_is_no_jwt(void **state)
{
	ASSERT_VISITOR(BUT_PROTOCOL "cookie: session=a.b.c\r\n\r\n");
	ASSERT_VISITOR(BUT_PROTOCOL "cookie: a.b.c;d\r\n\r\n");
	ASSERT_VISITOR(BUT_PROTOCOL "cookie: a.b.c, d\r\n\r\n");
	ASSERT_VISITOR(BUT_PROTOCOL "cookie: a.b.c d\r\n\r\n");
	ASSERT_JWT(BUT_PROTOCOL "cookie: session=1\r\n" WS_PROTOCOL "\r\n", "a.b.c");
}

/* 80 further headers, an offered permessage-deflate, Origin, X-Forwarded-For, Authorization are no obstacle. */
static void further_headers_are_no_obstacle(void **state)
{
	char text[8192];
	size_t len = (size_t)snprintf(text, sizeof(text),
		BUT_PROTOCOL WS_PROTOCOL "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n"
					 "Origin: https://a.example\r\nX-Forwarded-For: 192.0.2.1\r\n"
					 "Authorization: Basic YTpi\r\n");

	for (int i = 0; i < 80; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "x-%d: y\r\n", i);
	snprintf(text + len, sizeof(text) - len, "\r\n");
	ASSERT_READS(text);
}

/* The path is "/<prefix>/events", exactly. */
static void path_is_exact(void **state)
{
	struct fixture *f = *state;

	ASSERT_VISITOR("GET /v1/xevents HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET /v1/events/ HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET /v1/events?x HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET /v1/Events HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET /events HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET //events HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET / HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET http://a.example/v1/events HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET xv1/events HTTP/1.1\r\n" BUT_LINE);
	ASSERT_READS("GET /a/events/events HTTP/1.1\r\n" BUT_LINE);
	assert_span(f->request.prefix, "a/events");
}

/* Another method or HTTP/1.0 is a visitor's. */
static void other_methods_and_versions(void **state)
{
	ASSERT_VISITOR("POST /v1/events HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("get /v1/events HTTP/1.1\r\n" BUT_LINE);
	ASSERT_VISITOR("GET /v1/events HTTP/1.0\r\n" BUT_LINE);
}

/* There is exactly one Host, and it is not empty. */
static void host_is_asked_for(void **state)
{
	ASSERT_VISITOR(LINE UPGRADE CONNECTION WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST HOST UPGRADE CONNECTION WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE "host:\r\n" UPGRADE CONNECTION WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
}

/* The words in Upgrade and Connection, and version 13, are asked for. */
static void words_are_asked_for(void **state)
{
	ASSERT_VISITOR(LINE HOST CONNECTION WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST "upgrade: websockets\r\n" CONNECTION WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE "connection: close\r\n" WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE CONNECTION WS_KEY WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE CONNECTION WS_KEY "sec-websocket-version: 8\r\n" WS_PROTOCOL "\r\n");
}

/* A key is 16 bytes in base64, once. */
static void key_is_sixteen_bytes(void **state)
{
	ASSERT_VISITOR(LINE HOST UPGRADE CONNECTION WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE CONNECTION WS_KEY WS_KEY WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE CONNECTION "sec-websocket-key: x\r\n" WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE CONNECTION
		"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ\r\n" WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE CONNECTION
		"sec-websocket-key: dGhlIHNhbXBsZSBub25jZTEy\r\n" WS_VERSION WS_PROTOCOL "\r\n");
	ASSERT_VISITOR(LINE HOST UPGRADE CONNECTION
		"sec-websocket-key: dGhlIHNhbXBsZSBub25jZ!==\r\n" WS_VERSION WS_PROTOCOL "\r\n");
}

/* No body may be announced. */
static void no_body_is_announced(void **state)
{
	ASSERT_VISITOR(LINE "content-length: 1\r\n" BUT_LINE);
	ASSERT_VISITOR(LINE "transfer-encoding: chunked\r\n" BUT_LINE);
	ASSERT_READS(LINE "content-length: 0\r\n" BUT_LINE);
}

/* Without a JWT it is a visitor's. */
static void jwt_is_asked_for(void **state)
{
	ASSERT_VISITOR(BUT_PROTOCOL "\r\n");
	ASSERT_VISITOR(BUT_PROTOCOL "sec-websocket-protocol: v1, chat\r\n\r\n");
	ASSERT_VISITOR(BUT_PROTOCOL "sec-websocket-protocol: v1, authorization.bearer.\r\n\r\n");
	ASSERT_VISITOR(BUT_PROTOCOL "sec-websocket-protocol: v1 authorization.bearer.a.b.c\r\n\r\n");
}

static const struct upgrade_ask plain_ask = {
	.prefix = "v1", .host = "vps.example.org", .port = 443, .key = KEY, .jwt = "a.b.c"};

static void assert_writes(struct fixture *f, const struct upgrade_ask *ask, const char *text)
{
	assert_int_equal(upgrade_write_request(f->out, sizeof(f->out), ask), strlen(text));
	assert_string_equal(f->out, text);
}

/* Our request is byte for byte the stock one. */
static void request_is_written(void **state)
{
	assert_writes(*state, &plain_ask,
		"GET /v1/events HTTP/1.1\r\nhost: vps.example.org\r\nupgrade: websocket\r\nconnection: "
		"upgrade\r\n" WS_KEY
		"sec-websocket-version: 13\r\nsec-websocket-protocol: v1, authorization.bearer.a.b.c\r\n\r\n");
}

/* Our own requests and answers are read as they were written. */
static void own_request_is_read(void **state)
{
	struct fixture *f = *state;
	char text[UPGRADE_REQUEST_MAX];

	assert_true(upgrade_write_request(text, sizeof(text), &plain_ask) > 0);
	ASSERT_JWT(text, "a.b.c");
	assert_span(f->request.prefix, "v1");
}

/* The port is left out where it is 80 or 443; IPv6 stands in brackets. */
static void host_is_written(void **state)
{
	struct fixture *f = *state;
	struct upgrade_ask ask = plain_ask;

	ask.host = "2001:db8::1";
	ask.port = 8443;
	assert_true(upgrade_write_request(f->out, sizeof(f->out), &ask) > 0);
	assert_non_null(strstr(f->out, "\r\nhost: [2001:db8::1]:8443\r\n"));
	ask.port = 80;
	assert_true(upgrade_write_request(f->out, sizeof(f->out), &ask) > 0);
	assert_non_null(strstr(f->out, "\r\nhost: [2001:db8::1]\r\n"));
}

/* Credentials and custom headers follow; one of the same name takes the place of ours. */
static void further_headers_are_written(void **state)
{
	const char *const headers[] = {"X-One: 1", "Host: front.example.net", "X-Two: 2", NULL};
	struct upgrade_ask ask = plain_ask;

	ask.basic_auth = "user:pass:word";
	ask.headers = headers;
	assert_writes(*state, &ask,
		LINE "Host: front.example.net\r\n" UPGRADE CONNECTION WS_KEY WS_VERSION WS_PROTOCOL
		     "authorization: Basic dXNlcjpwYXNzOndvcmQ=\r\nX-One: 1\r\nX-Two: 2\r\n\r\n");
}

/* A buffer too small by one byte is -ENOBUFS, and nothing is written past it. */
static void small_buffer_is_told(void **state)
{
	struct fixture *f = *state;
	int len = upgrade_write_request(f->out, sizeof(f->out), &plain_ask);

	for (size_t size = 0; size <= (size_t)len; size++) {
		char *small = malloc(size ? size : 1);

		assert_int_equal(upgrade_write_request(small, size, &plain_ask), -ENOBUFS);
		free(small);
	}
	assert_int_equal(upgrade_write_request(f->out, (size_t)len + 1, &plain_ask), len);
}

/* The 101 is as stock clients want it: `connection` has this one word. */
static void answer_is_written(void **state)
{
	struct fixture *f = *state;
	const char text[] = "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
			    "sec-websocket-accept: " ACCEPT "\r\nsec-websocket-protocol: v1\r\n"
			    "date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n"; /* the date of RFC 9110 §5.6.7 */
	int len = upgrade_write_answer(f->out, UPGRADE_ANSWER_MAX, (struct http_span){KEY, strlen(KEY)}, 784111777, &(struct upgrade_told){0});

	assert_int_equal(len, strlen(text));
	assert_string_equal(f->out, text);
	assert_int_equal(upgrade_write_answer(f->out, (size_t)len, (struct http_span){KEY, 24}, 784111777, &(struct upgrade_told){0}), -ENOBUFS);
}

/* Each key is another one, of 16 bytes. */
static void keys_differ(void **state)
{
	char a[UPGRADE_KEY_TEXT_LEN + 1];
	char b[UPGRADE_KEY_TEXT_LEN + 1];

	(void)state;
	upgrade_make_key(a);
	upgrade_make_key(b);
	assert_int_equal(strlen(a), UPGRADE_KEY_TEXT_LEN);
	assert_string_equal(a + 22, "==");
	assert_string_not_equal(a, b);
}

static const char *check(void **state, const char *text)
{
	struct fixture *f = *state;
	size_t used;

	strcpy(f->text, text);
	assert_int_equal(http_head_parse_answer(f->text, strlen(text), &f->head, &used), HTTP_OK);
	return upgrade_check_answer(&f->head, KEY, f->out, sizeof(f->out));
}

#define SWITCHING "HTTP/1.1 101 Switching Protocols\r\n"
#define WS_ACCEPT "Sec-WebSocket-Accept: " ACCEPT "\r\n"

/* A good answer is good, `Connection` read as a list, with or without a sub-protocol. */
static void good_answers_pass(void **state)
{
	assert_null(check(state, SWITCHING UPGRADE CONNECTION WS_ACCEPT "\r\n"));
	assert_null(check(state, SWITCHING "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n" WS_ACCEPT
					   "sec-websocket-protocol: v1\r\ndate: x\r\n\r\n"));
}

/* A refusal is told by its status, a redirect with its harmless target. */
static void refusals_are_told(void **state)
{
	assert_string_equal(check(state, "HTTP/1.1 403 Forbidden\r\n\r\n"), "status 403");
	assert_string_equal(check(state, "HTTP/1.1 302 x\r\nLocation: http://portal.example/\r\n\r\n"),
		"status 302, redirect to http://portal.example/");
	assert_null(strchr(check(state, "HTTP/1.1 302 x\r\nLocation: \xc2\x9b"
					"31m\r\n\r\n"),
		'\x9b'));
}

/* A 101 that lacks a word, answers another key or brings an extension is none. */
static void wrong_switches_are_told(void **state)
{
	assert_non_null(check(state, SWITCHING CONNECTION WS_ACCEPT "\r\n"));
	assert_non_null(check(state, SWITCHING UPGRADE WS_ACCEPT "\r\n"));
	assert_non_null(check(state, SWITCHING UPGRADE CONNECTION "\r\n"));
	assert_non_null(check(state, SWITCHING UPGRADE CONNECTION "Sec-WebSocket-Accept: " KEY "\r\n\r\n"));
	assert_non_null(check(state, SWITCHING UPGRADE CONNECTION WS_ACCEPT WS_ACCEPT "\r\n"));
	assert_non_null(check(
		state, SWITCHING UPGRADE CONNECTION WS_ACCEPT "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"));
}

/* A proxy is asked with the address in both places, credentials at once. */
static void connect_is_written(void **state)
{
	struct fixture *f = *state;

	assert_true(upgrade_write_connect(f->out, sizeof(f->out), "vps.example.org", 443, NULL, NULL) > 0);
	assert_string_equal(f->out, "CONNECT vps.example.org:443 HTTP/1.1\r\nhost: vps.example.org:443\r\n\r\n");
	assert_true(upgrade_write_connect(f->out, sizeof(f->out), "2001:db8::1", 8443, "user", "password") > 0);
	assert_string_equal(f->out, "CONNECT [2001:db8::1]:8443 HTTP/1.1\r\nhost: [2001:db8::1]:8443\r\n"
				    "proxy-authorization: Basic dXNlcjpwYXNzd29yZA==\r\n\r\n");
	assert_int_equal(upgrade_write_connect(f->out, 40, "vps.example.org", 443, NULL, NULL), -ENOBUFS);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#define LOST_TAIL "Host: a\r\nSec-WebSocket-Protocol: v1, authorization.bearer.a.b.c\r\n\r\n"

/* Headers that a reverse proxy drops are named: Upgrade first, then Connection, then the version. */
static void upgrade_lost_on_the_way(void **state)
{
	assert_string_equal(loses(state, "GET /v1/events HTTP/1.0\r\nConnection: close\r\n" LOST_TAIL), "Upgrade");
	assert_span(((struct fixture *)*state)->request.jwt, "a.b.c");
	assert_span(((struct fixture *)*state)->request.prefix, "v1");
	assert_string_equal(loses(state, "GET /v1/events HTTP/1.1\r\nConnection: upgrade\r\n" LOST_TAIL), "Upgrade");
	assert_string_equal(
		loses(state, "GET /v1/events HTTP/1.1\r\nUpgrade: websocket\r\nConnection: close\r\n" LOST_TAIL),
		"Connection");
	assert_string_equal(
		loses(state, "GET /v1/events HTTP/1.0\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" LOST_TAIL),
		"HTTP/1.1");
}

/* A visitor's request has lost nothing: another method or path, no JWT, a body, another fault. */
static void visitors_lose_nothing(void **state)
{
	assert_null(loses(state, "POST /v1/events HTTP/1.1\r\n" LOST_TAIL));
	assert_null(loses(state, "GET /v1/event HTTP/1.1\r\n" LOST_TAIL));
	assert_null(loses(state, "GET /v1/events HTTP/1.1\r\nContent-Length: 1\r\n" LOST_TAIL));
	assert_null(loses(state, "GET /v1/events HTTP/1.1\r\nHost: a\r\nSec-WebSocket-Protocol: v1\r\n\r\n"));
	assert_null(
		loses(state, "GET /v1/events HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n" LOST_TAIL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(rfc_accept_key),
		CLAIM(upgrade_lost_on_the_way),
		CLAIM(visitors_lose_nothing),
		CLAIM(stock_request_is_read),
		CLAIM(any_case_order_and_blanks),
		CLAIM(connection_as_list),
		CLAIM(connection_in_two_lines),
		CLAIM(other_protocols_in_front),
		CLAIM(blanks_around_commas),
		CLAIM(first_protocol_line_counts),
		CLAIM(cookie_counts_without_protocol),
		CLAIM(protocol_wins_over_cookie),
		CLAIM(named_cookie_is_no_jwt),
		CLAIM(further_headers_are_no_obstacle),
		CLAIM(path_is_exact),
		CLAIM(other_methods_and_versions),
		CLAIM(host_is_asked_for),
		CLAIM(words_are_asked_for),
		CLAIM(key_is_sixteen_bytes),
		CLAIM(no_body_is_announced),
		CLAIM(jwt_is_asked_for),
		CLAIM(request_is_written),
		CLAIM(own_request_is_read),
		CLAIM(host_is_written),
		CLAIM(further_headers_are_written),
		CLAIM(small_buffer_is_told),
		CLAIM(answer_is_written),
		CLAIM(keys_differ),
		CLAIM(good_answers_pass),
		CLAIM(refusals_are_told),
		CLAIM(wrong_switches_are_told),
		CLAIM(connect_is_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
