/* The table of a session's states: what each event does in each state. The stream, the visitor, the carrier, the
 * flow table and admission are pretended; each call into them leaves a word in a log, which a test compares with
 * what it expects. */
#include "server/session.h"

#include "common/base/clock.h"
#include "common/tunnel/carrier.h"
#include "common/tunnel/tls.h"
#include "common/tunnel/tls_stream.h"
#include "server/client_hello.h"
#include "server/hub.h"
#include "server/passage.h"
#include "server/proxy_header.h"
#include "server/visitor.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum state { PROXIED, TLS, REQUEST, WAITING, TUNNEL, RETIRED, FLUSHING, LINGERING, STATE_COUNT };

#define CLIENT 7
#define HEAD_LEN 4 /* bytes that the pretended visitor takes of an upgrade; the rest belongs to the tunnel */

static struct {
	struct hub hub;
	struct prefix proxy; /* of TrustedProxies */
	/* Calls that the session has made to the parts below it. */
	struct session *session;
	struct tls_stream *stream;
	const struct visitor_callbacks *visitor;
	struct carrier *carrier;
	/* The answers of these parts. */
	const char *input; /* what tls_stream_read() gives, once; NULL: nothing */
	int input_end;	   /* then this: 0 or a negative errno */
	int flush;
	int attach;
	enum flow_state flow_state;
	bool asks_for_tunnel; /* the next request is an upgrade */
	const char *lost;     /* what a proxy has taken out of it */
	uint8_t extension[64]; /* server_name of the ClientHello */
	size_t extension_len;  /* 0: it has none */
	enum proxy_header_result header;
	struct hub_flow flow;
	char log[512];
} bed;

static void note(const char *word)
{
	strcat(strcat(bed.log, bed.log[0] ? " " : ""), word);
}

/* --- stand-ins --- */

int tls_stream_open(struct tls_stream *stream, uv_loop_t *loop, int fd, SSL *ssl, bool is_server,
	struct tls_buffers *buffers, const struct tls_stream_handlers *handlers, void *owner, struct err *err)
{
	(void)loop;
	(void)fd;
	(void)is_server;
	(void)buffers;
	(void)err;
	*stream = (struct tls_stream){.fd = -1, .ssl = ssl, .handlers = handlers, .owner = owner};
	bed.stream = stream;
	bed.session = owner;
	return 0;
}

int tls_stream_secure(struct tls_stream *stream, SSL *ssl, bool is_server, struct err *err)
{
	(void)is_server;
	(void)err;
	stream->ssl = ssl;
	note("secure");
	return 0;
}

ssize_t tls_stream_read(struct tls_stream *stream, void *buf, size_t len)
{
	const char *input = bed.input;

	(void)stream;
	if (!input)
		return bed.input_end;
	assert_true(strlen(input) <= len);
	memcpy(buf, input, strlen(input));
	bed.input = NULL;
	return (ssize_t)strlen(input);
}

size_t tls_stream_room(const struct tls_stream *stream)
{
	(void)stream;
	return TLS_STREAM_BURST;
}

int tls_stream_write(struct tls_stream *stream, const void *buf, size_t len)
{
	(void)stream;
	note(len > 12 && memcmp(buf, "HTTP/1.1 101", 12) == 0	   ? "101"
		: len > 12 && memcmp(buf, "HTTP/1.1 503", 12) == 0 ? "503"
		: len > 12 && memcmp(buf, "HTTP/1.1 426", 12) == 0 ? "426"
								   : "write");
	return 0;
}

int tls_stream_flush(struct tls_stream *stream)
{
	(void)stream;
	return bed.flush;
}

void tls_stream_pause(struct tls_stream *stream, bool is_paused)
{
	stream->is_paused = is_paused;
}

void tls_stream_finish(struct tls_stream *stream)
{
	(void)stream;
	note("finish");
}

void tls_stream_close(struct tls_stream *stream)
{
	(void)stream;
	note("close");
}

void tls_stream_keep_hello(struct tls_stream *stream)
{
	(void)stream;
	note("keep");
}

int tls_stream_let_go(struct tls_stream *stream, struct tls_kept *ret_kept)
{
	note("let_go");
	*ret_kept = stream->kept;
	return 77;
}

int SSL_client_hello_get0_ext(SSL *ssl, unsigned int type, const unsigned char **ret, size_t *ret_len)
{
	(void)ssl;
	assert_int_equal(type, TLSEXT_TYPE_server_name);
	*ret = bed.extension;
	*ret_len = bed.extension_len;
	return bed.extension_len > 0;
}

int server_settings_find_publish(const struct server_settings *settings, const char *name, size_t len)
{
	(void)settings;
	return strncmp(name, "home.example.org", len) == 0 ? 3 : -ENOENT;
}

struct passage *passage_new(struct hub *hub, size_t publish, const char *name, size_t len)
{
	(void)hub;
	assert_int_equal(publish, 3);
	assert_int_equal(len, strlen(name));
	return (struct passage *)&bed;
}

void passage_start(struct passage *passage, int fd, struct tls_kept *kept, const struct addr *from)
{
	(void)kept;
	assert_ptr_equal(passage, &bed);
	assert_int_equal(fd, 77);
	assert_int_equal(addr_port(from), 5000);
	note("passage");
}

int tls_channel_binding(SSL *ssl, uint8_t ret[TLS_BINDING_LEN])
{
	(void)ssl;
	memset(ret, 1, TLS_BINDING_LEN);
	return 0;
}

json_t *carrier_pace(const struct carrier *carrier)
{
	(void)carrier;
	return json_null();
}

void carrier_start(struct carrier *carrier, const struct carrier_setup *setup, uint64_t now_us)
{
	char text[64];

	(void)now_us;
	assert_ptr_equal(setup->flow, &bed.flow.flow);
	*carrier = (struct carrier){.handlers = setup->handlers, .owner = setup->owner};
	bed.carrier = carrier;
	snprintf(text, sizeof(text), "carrier(%.*s)", (int)setup->rest_len,
		setup->rest ? (const char *)setup->rest : "");
	note(text);
}

void carrier_step_down(struct carrier *carrier)
{
	assert_ptr_equal(carrier, bed.carrier);
	note("step_down");
}

void carrier_tick(struct carrier *carrier, uint64_t now_us)
{
	(void)carrier;
	(void)now_us;
	note("tick");
}

void carrier_close(struct carrier *carrier, uint16_t code)
{
	char text[32];

	assert_ptr_equal(carrier, bed.carrier);
	snprintf(text, sizeof(text), "carrier_close(%u)", code);
	note(text);
}

int visitor_open(struct visitor **ret, const struct visitor_setup *setup)
{
	*ret = (struct visitor *)&bed;
	bed.visitor = setup->callbacks;
	note("visitor");
	return 0;
}

size_t visitor_feed(struct visitor *visitor, const uint8_t *data, size_t len)
{
	struct upgrade_request request = {.key = {"AAAAAAAAAAAAAAAAAAAAAA==", UPGRADE_KEY_TEXT_LEN}, .lost = bed.lost};
	struct http_head head = {0};

	(void)visitor;
	(void)data;
	note("feed");
	if (bed.asks_for_tunnel && bed.visitor->on_upgrade(bed.session, &head, &request))
		return HEAD_LEN;
	return len;
}

void visitor_feed_end(struct visitor *visitor)
{
	(void)visitor;
	note("feed_end");
}

void visitor_output_drained(struct visitor *visitor)
{
	(void)visitor;
	note("drained");
}

void visitor_close(struct visitor *visitor)
{
	if (!visitor)
		return;
	note("visitor_close");
	if (bed.asks_for_tunnel &&
		bed.hub.sessions.count > 0) /* ADMITTED, the only moment that can be seen from outside */
		assert_non_null(session_grant(bed.session));
}

enum proxy_header_result proxy_header_receive(struct proxy_header *header, int fd, struct addr *ret_from)
{
	(void)header;
	(void)fd;
	(void)ret_from;
	return bed.header;
}

int proxy_header_forwarded_for(const struct http_head *head, struct addr *ret_from)
{
	(void)head;
	(void)ret_from;
	return -ENOENT;
}

bool admit_check(const struct admit_table *table, const struct upgrade_request *request, const uint8_t *binding,
	struct admit_grant *ret, const char **ret_why)
{
	(void)table;
	(void)request;
	(void)binding;
	(void)ret_why;
	*ret = (struct admit_grant){.client = CLIENT, .has_instance = true};
	return true;
}

int flow_table_attach(struct flow_table *table, const struct admit_grant *grant, uint32_t rtt_ms,
	struct session *session, struct hub_flow **ret)
{
	(void)table;
	(void)rtt_ms;
	assert_ptr_equal(session, bed.session);
	assert_int_equal(grant->client, CLIENT);
	note("attach");
	if (bed.attach < 0)
		return bed.attach;
	bed.flow.state = bed.flow_state;
	*ret = &bed.flow;
	return 0;
}

void flow_table_detach(struct hub_flow *flow, struct session *session)
{
	assert_ptr_equal(flow, &bed.flow);
	assert_ptr_equal(session, bed.session);
	note("detach");
}

const struct server_settings_client *server_settings_find(const struct server_settings *settings, uint32_t number)
{
	static char name[] = "laptop";
	static const struct server_settings_client client = {.number = CLIENT, .name = name};

	(void)settings;
	assert_int_equal(number, CLIENT);
	return &client;
}

int channel_send(struct channel *channel, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	(void)channel;
	(void)kind;
	(void)payload;
	(void)len;
	(void)fd;
	return 0;
}

/* --- verbs --- */

static int set_up(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	assert_int_equal(prefix_parse("192.0.2.0/28", &bed.proxy), 0);
	bed.hub.settings.trusted_proxies = &bed.proxy;
	bed.hub.settings.trusted_proxy_count = 1;
	bed.hub.tls = SSL_CTX_new(TLS_server_method());
	bed.hub.pump.in = malloc(PUMP_IN_LEN);
	throttle_init(&bed.hub.throttle, 1);
	return 0;
}

/* The stream has closed: the session frees itself. */
static void forget(void)
{
	if (!bed.session)
		return;
	if (bed.hub.sessions.count > 0)
		session_close(bed.session);
	SSL_free(bed.stream->ssl);
	if (bed.carrier)
		bed.carrier->handlers->on_closed(bed.session);
	else
		bed.stream->handlers->on_closed(bed.session);
	bed.session = NULL;
	bed.carrier = NULL;
}

static int tear_down(void **state)
{
	(void)state;
	forget();
	assert_int_equal(bed.hub.sessions.count, 0);
	SSL_CTX_free(bed.hub.tls);
	free(bed.hub.pump.in);
	return 0;
}

static void expect(const char *log)
{
	assert_string_equal(bed.log, log);
	bed.log[0] = '\0';
}

static void on_open(void)
{
	bed.stream->handlers->on_open(bed.session);
}

static void on_readable(void)
{
	bed.stream->handlers->on_readable(bed.session);
}

static void on_writable(void)
{
	bed.stream->handlers->on_writable(bed.session);
}

static void on_failed(void)
{
	if (bed.carrier)
		bed.carrier->handlers->on_end(bed.session, "gone");
	else
		bed.stream->handlers->on_failed(bed.session, "gone");
}

static void say(const char *bytes)
{
	bed.input = bytes;
	on_readable();
}

static void accept_from(const char *text)
{
	struct addr from;

	assert_int_equal(addr_parse(text, 0, &from), 0);
	session_open(&bed.hub, -1, &(struct server_settings_listener){.text = "0.0.0.0:443"}, &from);
}

static void ask_for_tunnel(void)
{
	bed.asks_for_tunnel = true;
	say("HEADfirst");
}

/* A fresh session in @state, by the way that leads there. */
static void reach(enum state state)
{
	forget();
	bed.flow_state = FLOW_ASKED;
	bed.asks_for_tunnel = false;
	bed.flush = 0;
	accept_from(state == PROXIED ? "192.0.2.1:5000" : "203.0.113.7:5000");
	if (state >= REQUEST)
		on_open();
	if (state >= WAITING && state <= RETIRED)
		ask_for_tunnel();
	if (state == TUNNEL || state == RETIRED)
		session_flow_handlers.on_flow(bed.session, &bed.flow);
	if (state == RETIRED)
		session_flow_handlers.on_retire(bed.session);
	if (state == FLUSHING || state == LINGERING) {
		bed.flush = state == FLUSHING;
		bed.visitor->on_end(bed.session);
	}
	bed.log[0] = '\0';
}

/* Closing in each state: everything that the state holds is let go of, once. */
static const char *const closes[STATE_COUNT] = {
	[PROXIED] = "close",
	[TLS] = "close",
	[REQUEST] = "visitor_close close",
	[WAITING] = "close detach",
	[TUNNEL] = "carrier_close(1001) detach",
	[RETIRED] = "carrier_close(1001) detach",
	[FLUSHING] = "visitor_close close",
	[LINGERING] = "visitor_close close",
};

/* --- before the request --- */

static void handshake_comes_before_the_visitor(void **state)
{
	(void)state;
	reach(TLS);
	say("too early");
	on_writable();
	expect("");
	on_open();
	expect("visitor");
}

/* A hello of @message_len bytes for @name, in one record whose length means nothing here. Return: the session's
 * answer. */
static bool hello(const char *name, size_t message_len)
{
	uint8_t bytes[] = {22, 3, 1, 0, 99, 1, 0, (uint8_t)((message_len - 4) >> 8), (uint8_t)(message_len - 4)};

	reach(TLS);
	bed.extension_len = name ? strlen(name) + 5 : 0;
	memcpy(bed.extension, (uint8_t[]){0, (uint8_t)(bed.extension_len - 2), 0, 0, (uint8_t)(bed.extension_len - 5)},
		5);
	memcpy(bed.extension + 5, name ? name : "", name ? strlen(name) : 0);
	bed.stream->kept = (struct tls_kept){bytes, sizeof(bytes)};
	return bed.stream->handlers->on_hello(bed.session);
}

static void published_name_takes_the_socket_out_of_the_session(void **state)
{
	(void)state;
	assert_true(hello("home.example.org", CLIENT_HELLO_MAX));
	bed.stream->handlers->on_let_go(bed.session);
	expect("let_go passage");
	assert_int_equal(bed.hub.sessions.count, 0);
}

static void every_other_hello_is_ours(void **state)
{
	(void)state;
	assert_false(hello(NULL, 500));
	assert_false(hello("", 500));
	assert_false(hello("vps.example.org", 500));
	assert_false(hello("home.example.org", CLIENT_HELLO_MAX + 1));
	expect("");
	on_open();
	expect("visitor");
}

static void hello_is_kept_only_where_something_is_published(void **state)
{
	(void)state;
	bed.hub.settings.publish_count = 1;
	accept_from("203.0.113.7:5000");
	expect("keep");
	reach(PROXIED);
	bed.header = PROXY_HEADER_NONE;
	on_readable();
	expect("secure keep");
	bed.hub.settings.publish_count = 0;
	reach(PROXIED);
	on_readable();
	expect("secure");
}

static void proxied_connection_reads_its_header_first(void **state)
{
	(void)state;
	reach(PROXIED);
	assert_null(bed.stream->ssl);
	on_open();
	bed.header = PROXY_HEADER_MORE;
	on_readable();
	expect("");
	bed.header = PROXY_HEADER_OK;
	on_readable();
	expect("secure");
	on_open();
	expect("visitor");
}

static void connection_without_a_header_goes_on_as_any_other(void **state)
{
	(void)state;
	reach(PROXIED);
	bed.header = PROXY_HEADER_NONE;
	on_readable();
	expect("secure");
}

static void bad_or_lost_header_closes(void **state)
{
	(void)state;
	for (bed.header = PROXY_HEADER_BAD; bed.header <= PROXY_HEADER_LOST; bed.header++) {
		reach(PROXIED);
		on_readable();
		expect("close");
	}
}

/* --- request --- */

static void visitor_gets_what_the_peer_says(void **state)
{
	(void)state;
	reach(REQUEST);
	say("GET /");
	expect("feed");
	on_writable();
	expect("drained");
	bed.input_end = -EPIPE;
	on_readable();
	expect("feed_end");
	assert_true(bed.stream->is_paused);
}

static void visitor_closes_before_the_session_attaches(void **state)
{
	(void)state;
	reach(REQUEST);
	ask_for_tunnel();
	expect("feed visitor_close attach");
	assert_true(bed.stream->is_paused);
}

static void visitor_that_ends_lets_its_answer_leave(void **state)
{
	(void)state;
	reach(REQUEST);
	bed.flush = 1;
	bed.visitor->on_end(bed.session);
	expect("");
	on_writable();
	expect("finish");
}

/* --- waiting, tunnel --- */

static void waiting_session_takes_no_event_of_the_stream(void **state)
{
	(void)state;
	reach(WAITING);
	say("early");
	assert_non_null(bed.input); /* not read, and so not lost */
	on_writable();
	on_open();
	expect("");
}

static void flow_starts_the_tunnel_with_what_came_behind_the_request(void **state)
{
	(void)state;
	reach(WAITING);
	session_flow_handlers.on_flow(bed.session, &bed.flow);
	expect("101 carrier(first)");
	assert_false(bed.stream->is_paused);
}

static void flow_that_is_there_starts_the_tunnel_at_once(void **state)
{
	(void)state;
	reach(REQUEST);
	bed.flow_state = FLOW_CARRIED;
	ask_for_tunnel();
	expect("feed visitor_close attach 101 carrier(first)");
}

static void flow_that_cannot_be_had_closes_without_detaching(void **state)
{
	(void)state;
	reach(WAITING);
	session_flow_handlers.on_flow(bed.session, NULL);
	expect("close");
}

/* A known client whose upgrade a proxy has lost reads 426; without a proxy in front such a request is a visitor's. */
static void upgrade_lost_in_a_proxy_reads_426(void **state)
{
	(void)state;
	bed.lost = "Upgrade";
	reach(REQUEST);
	bed.asks_for_tunnel = true;
	say("HEAD");
	expect("feed");
	reach(PROXIED);
	bed.header = PROXY_HEADER_NONE;
	on_readable();
	on_open();
	bed.log[0] = '\0';
	ask_for_tunnel();
	expect("feed visitor_close 426 finish");
}

static void client_over_a_limit_reads_503_and_is_lingered_for(void **state)
{
	static const int limits[] = {-ENOSPC, -EUSERS};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		reach(REQUEST);
		bed.attach = limits[i];
		ask_for_tunnel();
		expect("feed visitor_close attach 503 finish");
		bed.attach = 0;
		assert_null(session_grant(bed.session));
	}
}

static void lack_of_memory_for_the_flow_closes(void **state)
{
	(void)state;
	reach(REQUEST);
	bed.attach = -ENOMEM;
	ask_for_tunnel();
	expect("feed visitor_close attach close");
}

static void retired_tunnel_goes_on_until_its_time_is_over(void **state)
{
	(void)state;
	reach(RETIRED);
	session_tick(bed.session, clock_now_us());
	expect("tick");
	session_tick(bed.session, clock_now_us() + 6 * CLOCK_US_PER_S);
	expect("carrier_close(1000) detach");
}

static void revoked_client_is_closed_by_policy(void **state)
{
	(void)state;
	reach(TUNNEL);
	session_revoke(bed.session, "it may not come in any more");
	expect("carrier_close(1008) detach");
}

/* --- the end --- */

static void last_bytes_leave_while_input_is_dropped(void **state)
{
	(void)state;
	for (enum state s = FLUSHING; s <= LINGERING; s++) {
		reach(s);
		say("more");
		assert_null(bed.input);
		expect("");
		bed.input_end = -EPIPE;
		on_readable();
		expect("visitor_close close");
		bed.input_end = 0;
	}
}

static void failure_in_any_state_lets_go_of_what_it_holds(void **state)
{
	(void)state;
	for (enum state s = PROXIED; s < STATE_COUNT; s++) {
		reach(s);
		on_failed();
		expect(closes[s]);
		assert_int_equal(bed.hub.sessions.count, 0);
	}
}

static void closed_session_takes_no_event(void **state)
{
	(void)state;
	for (enum state s = PROXIED; s < STATE_COUNT; s++) {
		reach(s);
		session_close(bed.session);
		expect(closes[s]);
		on_open();
		say("late");
		on_writable();
		on_failed();
		session_close(bed.session);
		session_tick(bed.session, clock_now_us() + 3600 * CLOCK_US_PER_S);
		expect("");
		assert_null(session_grant(bed.session));
		assert_null(session_report(bed.session));
	}
}

static void each_state_has_its_time(void **state)
{
	static const uint64_t seconds[STATE_COUNT] = {[PROXIED] = 10,
		[TLS] = 10,
		[REQUEST] = 0,
		[WAITING] = 5,
		[TUNNEL] = 0,
		[RETIRED] = 5,
		[FLUSHING] = 5,
		[LINGERING] = 2};

	(void)state;
	for (enum state s = PROXIED; s < STATE_COUNT; s++) {
		uint64_t time_us = seconds[s] ? seconds[s] * CLOCK_US_PER_S : 3600 * CLOCK_US_PER_S;

		reach(s);
		session_tick(bed.session, clock_now_us() + time_us - CLOCK_US_PER_S);
		assert_int_equal(bed.hub.sessions.count, 1);
		session_tick(bed.session, clock_now_us() + time_us);
		assert_int_equal(bed.hub.sessions.count, seconds[s] ? 0 : 1);
	}
}

static void only_admitted_sessions_are_a_clients_and_only_tunnels_are_reported(void **state)
{
	(void)state;
	for (enum state s = PROXIED; s < STATE_COUNT; s++) {
		json_t *report;

		reach(s);
		report = session_report(bed.session);
		assert_int_equal(session_grant(bed.session) != NULL, s >= WAITING && s <= RETIRED);
		assert_int_equal(report != NULL, s == TUNNEL);
		json_decref(report);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(handshake_comes_before_the_visitor),
		TEST(published_name_takes_the_socket_out_of_the_session),
		TEST(every_other_hello_is_ours),
		TEST(hello_is_kept_only_where_something_is_published),
		TEST(proxied_connection_reads_its_header_first),
		TEST(connection_without_a_header_goes_on_as_any_other),
		TEST(bad_or_lost_header_closes),
		TEST(visitor_gets_what_the_peer_says),
		TEST(visitor_closes_before_the_session_attaches),
		TEST(visitor_that_ends_lets_its_answer_leave),
		TEST(waiting_session_takes_no_event_of_the_stream),
		TEST(flow_starts_the_tunnel_with_what_came_behind_the_request),
		TEST(flow_that_is_there_starts_the_tunnel_at_once),
		TEST(flow_that_cannot_be_had_closes_without_detaching),
		TEST(upgrade_lost_in_a_proxy_reads_426),
		TEST(client_over_a_limit_reads_503_and_is_lingered_for),
		TEST(lack_of_memory_for_the_flow_closes),
		TEST(retired_tunnel_goes_on_until_its_time_is_over),
		TEST(revoked_client_is_closed_by_policy),
		TEST(last_bytes_leave_while_input_is_dropped),
		TEST(failure_in_any_state_lets_go_of_what_it_holds),
		TEST(closed_session_takes_no_event),
		TEST(each_state_has_its_time),
		TEST(only_admitted_sessions_are_a_clients_and_only_tunnels_are_reported),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
