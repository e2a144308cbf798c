/* A connection that is no tunnel: real web server, real loop, a pretended owner.
 *
 * Each test feeds what a peer sends, runs the loop until a condition holds, and closes everything; a handle that is
 * left fails it.
 */
#include "server/visitor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE "<!doctype html>\n<h1>Welcome</h1>\n"
#define TURNS_MAX 4000
#define OUTPUT_MAX (8u << 20)
#define LARGE_PAGE (3u << 20)

#define GET_PAGE "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define GET_OTHER "GET /other HTTP/1.1\r\nHost: x\r\n\r\n"
#define UPGRADE                                                                                                        \
	"GET /v1/events HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n"                          \
	"sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-version: 13\r\n"                                 \
	"sec-websocket-protocol: v1, authorization.bearer.a.b.c\r\n\r\n"

static uv_loop_t loop;
static struct website *website;

/* The part that session.c plays in the program. */
struct peer {
	struct visitor *visitor;
	char *input;
	size_t input_len;
	size_t input_used;
	size_t piece; /* bytes offered at once */
	char *output;
	size_t output_len;
	unsigned blocks; /* on_output calls to refuse before the next one is taken */
	bool accepts;
	bool closes_in_output, closes_in_upgrade, closes_in_end;
	unsigned upgrades; /* times it was asked */
	size_t output_at_upgrade;
	bool taken;
	bool ended;
	bool blocked;
};

static void peer_pump(struct peer *peer)
{
	while (peer->input_used < peer->input_len && !peer->taken && peer->visitor) {
		size_t left = peer->input_len - peer->input_used;
		size_t offered = left < peer->piece ? left : peer->piece;
		size_t took = visitor_feed(peer->visitor, (const uint8_t *)peer->input + peer->input_used, offered);

		assert_true(took <= offered);
		peer->input_used += took;
		if (took < offered)
			return;
	}
}

static void peer_close(struct peer *peer)
{
	visitor_close(peer->visitor);
	peer->visitor = NULL;
}

static bool on_output(void *owner, const uint8_t *data, size_t len)
{
	struct peer *peer = owner;

	assert_false(peer->ended);
	assert_false(peer->taken);
	assert_true(len > 0 && len <= VISITOR_OUTPUT_MAX);
	if (peer->blocks > 0) {
		peer->blocks--;
		peer->blocked = true;
		return false;
	}
	assert_true(peer->output_len + len < OUTPUT_MAX);
	peer->output = realloc(peer->output, peer->output_len + len + 1);
	memcpy(peer->output + peer->output_len, data, len);
	peer->output_len += len;
	peer->output[peer->output_len] = '\0';
	if (peer->closes_in_output)
		peer_close(peer);
	return true;
}

static bool on_upgrade(void *owner, const struct http_head *head, const struct upgrade_request *request)
{
	struct peer *peer = owner;

	assert_true(http_span_is(head->target, "/v1/events"));
	assert_true(http_span_is(request->jwt, "a.b.c"));
	peer->upgrades++;
	peer->output_at_upgrade = peer->output_len;
	peer->taken = peer->accepts;
	if (peer->closes_in_upgrade)
		peer_close(peer);
	return peer->accepts;
}

static void on_room(void *owner)
{
	peer_pump(owner);
}

static void on_end(void *owner)
{
	struct peer *peer = owner;

	assert_false(peer->ended);
	assert_false(peer->taken);
	peer->ended = true;
	if (peer->closes_in_end)
		peer_close(peer);
}

static const struct visitor_callbacks callbacks = {on_output, on_upgrade, on_room, on_end};

static void peer_open(struct peer *peer, uint64_t idle_timeout_ms)
{
	struct visitor_setup plan = {.loop = &loop,
		.website = website,
		.callbacks = &callbacks,
		.owner = peer,
		.idle_timeout_ms = idle_timeout_ms};

	*peer = (struct peer){.piece = SIZE_MAX};
	assert_int_equal(visitor_open(&peer->visitor, &plan), 0);
}

static void peer_say_bytes(struct peer *peer, const char *data, size_t len)
{
	peer->input = realloc(peer->input, peer->input_len + len + 1);
	memcpy(peer->input + peer->input_len, data, len);
	peer->input_len += len;
	peer_pump(peer);
}

static void peer_say(struct peer *peer, const char *text)
{
	peer_say_bytes(peer, text, strlen(text));
}

static void peer_done(struct peer *peer)
{
	peer_close(peer);
	free(peer->input);
	free(peer->output);
}

static void run_turns(unsigned turns)
{
	while (turns-- > 0) {
		uv_run(&loop, UV_RUN_NOWAIT);
		usleep(200);
	}
}

#define RUN_UNTIL(condition)                                                                                           \
	do {                                                                                                           \
		for (unsigned turn_ = 0; turn_ < TURNS_MAX && !(condition); turn_++)                                   \
			run_turns(1);                                                                                  \
		assert_true(condition);                                                                                \
	} while (0)

static unsigned count(const char *text, const char *word)
{
	unsigned n = 0;

	for (; text && (text = strstr(text, word)); text += strlen(word))
		n++;
	return n;
}

static unsigned answers(const struct peer *peer, const char *status)
{
	char line[32];

	snprintf(line, sizeof(line), "HTTP/1.1 %s ", status);
	return count(peer->output, line);
}

static bool ends_with(const struct peer *peer, const char *text)
{
	size_t len = strlen(text);

	return peer->output_len >= len && strcmp(peer->output + peer->output_len - len, text) == 0;
}

static void open_website(const char *page)
{
	struct err err = {""};

	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(website_open(&website, &loop, page, &err), 0);
}

static int set_up(void **state)
{
	(void)state;
	open_website(PAGE);
	return 0;
}

/* Everything is closed: the loop ends by itself and no handle is left. */
static int tear_down(void **state)
{
	(void)state;
	website_close(website);
	for (unsigned turn = 0; turn < TURNS_MAX && uv_run(&loop, UV_RUN_NOWAIT) != 0; turn++)
		usleep(200);
	return uv_loop_close(&loop);
}

/* A request for the page gets it, and the connection stays. */
static void page_is_served(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, GET_PAGE);
	RUN_UNTIL(answers(&peer, "200") == 1 && ends_with(&peer, PAGE));
	run_turns(20);
	assert_false(peer.ended);
	peer_say(&peer, GET_OTHER);
	RUN_UNTIL(answers(&peer, "404") == 1);
	assert_false(peer.ended);
	peer_done(&peer);
}

/* One-byte pieces make no difference. */
static void bytes_one_by_one(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer.piece = 1;
	peer_say(&peer, GET_PAGE "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: "
				 "chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: r\r\n\r\n" GET_PAGE);
	RUN_UNTIL(answers(&peer, "200") == 2 && answers(&peer, "405") == 1);
	assert_false(peer.ended);
	peer_done(&peer);
}

/* Pipelined requests are answered in their order. */
static void pipelined_requests_in_order(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, GET_OTHER GET_PAGE GET_OTHER);
	RUN_UNTIL(answers(&peer, "404") == 2 && answers(&peer, "200") == 1);
	assert_true(strstr(peer.output, "404 Not") < strstr(peer.output, "200 OK"));
	assert_true(ends_with(&peer, "<h1>404 Not Found</h1>\n"));
	peer_done(&peer);
}

/* Empty lines in front of a request are no part of it (RFC 9112 §2.2). */
static void empty_lines_in_front(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, "\r\n" GET_PAGE "\r\n\r\n" GET_PAGE);
	RUN_UNTIL(answers(&peer, "200") == 2);
	peer_done(&peer);
}

/* An accepted upgrade is the owner's at once, and so are the bytes behind it. */
static void accepted_upgrade_is_handed_over(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer.accepts = true;
	peer_say(&peer, UPGRADE "frames");
	assert_true(peer.taken);
	assert_int_equal(peer.input_len - peer.input_used, strlen("frames"));
	run_turns(10);
	assert_int_equal(peer.output_len, 0);
	peer_done(&peer);
}

/* An upgrade pipelined behind a page is asked about when the page has been taken whole. */
static void upgrade_behind_page_waits(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer.accepts = true;
	peer_say(&peer, GET_PAGE UPGRADE "frames");
	assert_int_equal(peer.upgrades, 0);
	RUN_UNTIL(peer.taken);
	assert_true(ends_with(&peer, PAGE));
	assert_int_equal(peer.output_at_upgrade, peer.output_len);
	assert_int_equal(peer.input_len - peer.input_used, strlen("frames"));
	peer_done(&peer);
}

/* While the page is stuck in the owner's queue, the upgrade behind it is not asked about. */
static void upgrade_waits_for_blocked_output(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer.accepts = true;
	peer.blocks = 1;
	peer_say(&peer, GET_PAGE UPGRADE);
	RUN_UNTIL(peer.blocked);
	run_turns(20);
	assert_int_equal(peer.upgrades, 0);
	visitor_output_drained(peer.visitor);
	RUN_UNTIL(peer.taken);
	assert_true(ends_with(&peer, PAGE));
	peer_done(&peer);
}

/* A refused upgrade gets what any other request for that path gets; the next one on the connection is asked about
 * anew. */
static void refused_upgrade_is_a_page_request(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, UPGRADE);
	RUN_UNTIL(answers(&peer, "404") == 1);
	assert_int_equal(answers(&peer, "101"), 0);
	peer.accepts = true;
	peer_say(&peer, UPGRADE "f");
	assert_true(peer.taken);
	assert_int_equal(peer.upgrades, 2);
	assert_int_equal(peer.input_len - peer.input_used, 1);
	peer_done(&peer);
}

/* Bodies are followed to their end, and the next request is found behind them. */
static void bodies_are_followed(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer,
		"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\nGET /v1/events HTTP/1.1\r\nHost:" GET_PAGE);
	RUN_UNTIL(answers(&peer, "405") == 1 && answers(&peer, "200") == 1);
	peer_say(&peer,
		"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n" GET_PAGE);
	RUN_UNTIL(answers(&peer, "405") == 2 && answers(&peer, "200") == 2);
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nabcd" GET_OTHER);
	RUN_UNTIL(answers(&peer, "200") == 3 && answers(&peer, "404") == 1);
	peer_say(&peer, "POST / HTTP/1.1\r\nHost: x\r\n\r\n" GET_OTHER);
	RUN_UNTIL(answers(&peer, "405") == 3 && answers(&peer, "404") == 2);
	assert_int_equal(peer.upgrades, 0);
	assert_false(peer.ended);
	peer_done(&peer);
}

/* An upgrade behind a body that came in pieces is found too. */
static void upgrade_behind_body(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer.accepts = true;
	peer.piece = 7;
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 300\r\n\r\n");
	for (unsigned i = 0; i < 30; i++)
		peer_say(&peer, "0123456789");
	peer_say(&peer, UPGRADE);
	RUN_UNTIL(peer.taken);
	assert_int_equal(answers(&peer, "200"), 1);
	peer_done(&peer);
}

/* A body much larger than any buffer goes through, piece by piece. */
static void large_body_has_backpressure(void **state)
{
	enum { LEN = 4 << 20 };
	char *body = calloc(1, LEN);
	struct peer peer;
	char head[128];

	(void)state;
	memset(body, 'b', LEN);
	peer_open(&peer, 0);
	snprintf(head, sizeof(head), "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n", LEN);
	peer_say(&peer, head);
	peer_say_bytes(&peer, body, LEN);
	assert_true(peer.input_used < peer.input_len); /* the web server is slower than we are */
	peer_say(&peer, GET_OTHER);
	RUN_UNTIL(answers(&peer, "404") == 1);
	assert_int_equal(answers(&peer, "200"), 1);
	free(body);
	peer_done(&peer);
}

/* A request whose end is in doubt gets a 400, after the answers before it, and then the end. */
static void doubtful_heads_end_with_400(void **state)
{
	static const char *const heads[] = {
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\n\n",
		"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n folded\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
		"GET /% HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"\x16\x03\x01\x02\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct peer peer;

		peer_open(&peer, 0);
		peer_say(&peer, GET_PAGE);
		peer_say(&peer, heads[i]);
		peer_say(&peer, "and more");
		RUN_UNTIL(peer.ended);
		assert_int_equal(answers(&peer, "200"), 1);
		assert_int_equal(answers(&peer, "400"), 1);
		assert_true(ends_with(&peer, "<h1>400 Bad Request</h1>\n"));
		peer_done(&peer);
	}
}

/* A body that breaks its own rules ends the connection. */
static void broken_body_ends(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nabcdXX" UPGRADE);
	RUN_UNTIL(peer.ended);
	assert_int_equal(peer.upgrades, 0);
	peer_done(&peer);
}

/* A head over 16 KiB, or with too many fields, gets a 431 and the end. */
static void large_head_ends_with_431(void **state)
{
	char long_line[HTTP_HEAD_MAX + 1];
	struct peer peer;

	(void)state;
	memset(long_line, 'a', sizeof(long_line) - 1);
	long_line[sizeof(long_line) - 1] = '\0';
	peer_open(&peer, 0);
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: x\r\nCookie: ");
	peer_say(&peer, long_line);
	RUN_UNTIL(peer.ended);
	assert_int_equal(answers(&peer, "431"), 1);
	peer_done(&peer);

	peer_open(&peer, 0);
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: x\r\n");
	for (unsigned i = 0; i < HTTP_FIELDS_MAX; i++)
		peer_say(&peer, "a: b\r\n");
	peer_say(&peer, "\r\n");
	RUN_UNTIL(peer.ended);
	assert_int_equal(answers(&peer, "431"), 1);
	peer_done(&peer);
}

/* A head that is large, but allowed, is served like a small one. */
static void largest_head_is_served(void **state)
{
	char filler[HTTP_HEAD_MAX];
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: x\r\n");
	for (unsigned i = 0; i < 100; i++)
		peer_say(&peer, "X-Something-Long-That-Nobody-Knows: value\r\n");
	memset(filler, 'f', sizeof(filler));
	snprintf(filler, sizeof(filler), "Cookie: %.*s", 9000, "");
	memset(filler + 8, 'f', 9000);
	filler[9008] = '\0';
	peer_say(&peer, filler);
	peer_say(&peer, "\r\n\r\n");
	RUN_UNTIL(answers(&peer, "200") == 1);
	peer_done(&peer);
}

/* `Connection: close` and HTTP/1.0 end the connection behind the answer, whatever is pipelined. */
static void last_request_ends(void **state)
{
	static const char *const requests[] = {
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nConnection: te, Close\r\n\r\n",
		"GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct peer peer;

		peer_open(&peer, 0);
		peer_say(&peer, requests[i]);
		peer_say(&peer, GET_OTHER);
		RUN_UNTIL(peer.ended);
		assert_int_equal(answers(&peer, "200"), 1);
		assert_int_equal(answers(&peer, "404"), 0);
		assert_true(ends_with(&peer, PAGE));
		assert_int_equal(count(peer.output, "connection: close\r\n"), 1);
		peer_done(&peer);
	}
}

/* An answer to HEAD has a length and no body; the next answer is not mistaken for it. */
static void head_has_no_body(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, "HEAD / HTTP/1.1\r\nHost: x\r\n\r\nHEAD /none HTTP/1.1\r\nHost: x\r\n\r\n" GET_OTHER);
	RUN_UNTIL(answers(&peer, "200") == 1 && answers(&peer, "404") == 2);
	assert_int_equal(count(peer.output, "<h1>"), 1);
	peer_done(&peer);
}

/* A target with scheme and host is that host's path. */
static void absolute_targets(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, "GET http://example.org/ HTTP/1.1\r\nHost: x\r\n\r\n"
			"GET https://e?q HTTP/1.1\r\nHost: x\r\n\r\n"
			"GET HTTP://example.org HTTP/1.1\r\nHost: x\r\n\r\n"
			"GET http://example.org/none HTTP/1.1\r\nHost: x\r\n\r\n");
	RUN_UNTIL(answers(&peer, "404") == 1);
	assert_int_equal(answers(&peer, "200"), 3);
	peer_done(&peer);
}

/* No answer gives a program's name away, nor has the look of libwebsockets' own pages. */
static void nothing_tells_the_program(void **state)
{
	static const char *const requests[] = {
		GET_PAGE,
		GET_OTHER,
		UPGRADE,
		"BOGUS / HTTP/1.1\r\nHost: x\r\n\r\n",
		"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET //./.. HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET x HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nConnection: upgrade\r\nHTTP2-Settings: "
		"AAMAAABkAAQAAP__\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade, x\r\nSec-WebSocket-Key: "
		"a\r\n\r\n",
		"GET "
		"/?a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q&r&s&t&u&v&w&x&y&z&a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q&r&s&t&u&v&w&x&"
		"y&z"
		"&a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q&r&s&t&u&v&w&x&y&z&a&b&c&d&e&f&g&h&i&j&k&l&m&n&o&p&q "
		"HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\nabc",
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
		"garbage\r\n\r\n",
	};
	static const char *const words[] = {
		"lws", "LWS", "ibwebsocket", "owpath", "error.css", "server:", "Server:", "1.1 101", "1.1 403"};

	(void)state;
	for (size_t i = 0; i < sizeof(requests) / sizeof(requests[0]); i++) {
		struct peer peer;

		peer_open(&peer, 0);
		peer_say(&peer, requests[i]);
		RUN_UNTIL(peer.output_len > 0);
		run_turns(5);
		assert_int_equal(count(peer.output, "HTTP/1."), 1);
		assert_int_equal(count(peer.output, "\r\ncontent-type: text/html; charset=utf-8\r\n"), 1);
		for (size_t w = 0; w < sizeof(words) / sizeof(words[0]); w++)
			assert_int_equal(count(peer.output, words[w]), 0);
		peer_done(&peer);
	}
}

/* A page larger than all buffers reaches a slow reader whole. */
static void slow_reader_gets_all(void **state)
{
	char *page = malloc(LARGE_PAGE + 1);
	struct peer peer;
	size_t i;

	(void)state;
	for (i = 0; i < LARGE_PAGE; i++)
		page[i] = (char)('a' + i % 23);
	page[LARGE_PAGE] = '\0';
	open_website(page);
	peer_open(&peer, 0);
	peer_say(&peer, GET_PAGE GET_OTHER);
	for (i = 0; i < TURNS_MAX && answers(&peer, "404") == 0; i++) {
		peer.blocks = peer.blocks ? peer.blocks : i % 2;
		run_turns(1);
		if (peer.blocked) {
			peer.blocked = false;
			visitor_output_drained(peer.visitor);
		}
	}
	assert_int_equal(answers(&peer, "404"), 1);
	assert_non_null(strstr(peer.output, page));
	free(page);
	peer_done(&peer);
}

/* A peer that says it has sent all gets its answer, then the end. */
static void half_closed_peer_is_answered(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, GET_PAGE);
	visitor_feed_end(peer.visitor);
	RUN_UNTIL(peer.ended);
	assert_true(ends_with(&peer, PAGE));
	peer_done(&peer);
}

/* A peer that ends in the middle of a head or a body is let go. */
static void truncated_request_ends(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, "GET / HT");
	visitor_feed_end(peer.visitor);
	assert_true(peer.ended);
	peer_done(&peer);

	peer_open(&peer, 0);
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
	visitor_feed_end(peer.visitor);
	assert_true(peer.ended);
	peer_done(&peer);
}

/* A head that does not come whole within the idle timeout ends the connection, byte-wise progress or not. */
static void slow_head_ends(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 100);
	for (unsigned i = 0; i < TURNS_MAX && !peer.ended; i++) {
		peer_say(&peer, "a");
		run_turns(1);
	}
	assert_true(peer.ended);
	assert_int_equal(peer.output_len, 0);
	peer_done(&peer);
}

/* A peer that does not read its answer is let go as well. */
static void stuck_reader_ends(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 100);
	peer.blocks = UINT32_MAX;
	peer_say(&peer, GET_PAGE);
	RUN_UNTIL(peer.ended);
	peer_done(&peer);
}

/* Many visitors at once are all served. */
static void hundred_visitors(void **state)
{
	enum { COUNT = 100 };
	struct peer peers[COUNT];
	unsigned served = 0;

	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		peer_open(&peers[i], 0);
		peer_say(&peers[i], GET_PAGE GET_OTHER);
	}
	for (unsigned turn = 0; turn < TURNS_MAX && served < COUNT; turn++) {
		run_turns(1);
		for (served = 0; served < COUNT && answers(&peers[served], "404") == 1; served++)
			assert_int_equal(answers(&peers[served], "200"), 1);
	}
	assert_int_equal(served, COUNT);
	for (unsigned i = 0; i < COUNT; i++)
		peer_done(&peers[i]);
}

/* Visitors who keep their connection open for later take none of the web site's places. */
static void idle_visitors_take_no_place(void **state)
{
	enum { COUNT = 1100 }; /* more than there are places */
	struct peer *peers = calloc(COUNT, sizeof(*peers));

	(void)state;
	for (unsigned i = 0; i < COUNT; i++) {
		peer_open(&peers[i], 0);
		peer_say(&peers[i], GET_PAGE);
		RUN_UNTIL(ends_with(&peers[i], PAGE));
		assert_int_equal(answers(&peers[i], "200"), 1);
		assert_false(peers[i].ended);
	}
	for (unsigned i = 0; i < COUNT; i++)
		peer_done(&peers[i]);
	free(peers);
}

/* A visitor may be closed inside each callback, and at any time in between. */
static void close_at_any_time(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer.closes_in_output = true;
	peer_say(&peer, GET_PAGE GET_PAGE);
	RUN_UNTIL(!peer.visitor);
	peer_done(&peer);

	for (unsigned accepts = 0; accepts < 2; accepts++) {
		peer_open(&peer, 0);
		peer.closes_in_upgrade = true;
		peer.accepts = accepts;
		peer_say(&peer, UPGRADE GET_PAGE);
		assert_null(peer.visitor);
		peer_done(&peer);
	}

	peer_open(&peer, 0);
	peer.closes_in_end = true;
	peer_say(&peer, "garbage\r\n\r\n");
	assert_null(peer.visitor);
	peer_done(&peer);

	for (unsigned turns = 0; turns < 5; turns++) {
		peer_open(&peer, 0);
		peer_say(&peer, GET_PAGE);
		run_turns(turns);
		peer_done(&peer);
	}
}

/* A web site that ends takes its visitors along; the next request says so. */
static void website_that_ends(void **state)
{
	struct peer peer;

	(void)state;
	peer_open(&peer, 0);
	peer_say(&peer, "GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
	run_turns(10);
	website_close(website);
	website = NULL;
	RUN_UNTIL(peer.ended);
	peer_done(&peer);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(page_is_served),
		TEST(bytes_one_by_one),
		TEST(pipelined_requests_in_order),
		TEST(empty_lines_in_front),
		TEST(accepted_upgrade_is_handed_over),
		TEST(upgrade_behind_page_waits),
		TEST(upgrade_waits_for_blocked_output),
		TEST(refused_upgrade_is_a_page_request),
		TEST(bodies_are_followed),
		TEST(upgrade_behind_body),
		TEST(large_body_has_backpressure),
		TEST(doubtful_heads_end_with_400),
		TEST(broken_body_ends),
		TEST(large_head_ends_with_431),
		TEST(largest_head_is_served),
		TEST(last_request_ends),
		TEST(head_has_no_body),
		TEST(absolute_targets),
		TEST(nothing_tells_the_program),
		cmocka_unit_test_teardown(slow_reader_gets_all, tear_down),
		TEST(half_closed_peer_is_answered),
		TEST(truncated_request_ends),
		TEST(slow_head_ends),
		TEST(stuck_reader_ends),
		TEST(hundred_visitors),
		TEST(idle_visitors_take_no_place),
		TEST(close_at_any_time),
		TEST(website_that_ends),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
