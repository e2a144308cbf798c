/* HTTP/1.1 heads and bodies: forms that are read or refused, the end of a body, words that are hidden. */
#include "common/tunnel/http_head.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define END "\r\n\r\n"
#define GET "GET / HTTP/1.1\r\n"
#define POST "POST / HTTP/1.1\r\n"

struct fixture {
	struct http_head head;
	struct http_body body;
	char *text; /* exactly as long as what was given, so that the sanitizer sees every step too far */
	size_t used;
};

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	free(f->text);
	free(f);
	return 0;
}

static void keep(struct fixture *f, const char *text, size_t len)
{
	free(f->text);
	f->text = malloc(len ? len : 1);
	assert_non_null(f->text);
	memcpy(f->text, text, len);
}

static enum http_result request_bytes(struct fixture *f, const char *text, size_t len)
{
	keep(f, text, len);
	return http_head_parse_request(f->text, len, &f->head, &f->used);
}

static enum http_result request(struct fixture *f, const char *text)
{
	return request_bytes(f, text, strlen(text));
}

static enum http_result answer(struct fixture *f, const char *text)
{
	keep(f, text, strlen(text));
	return http_head_parse_answer(f->text, strlen(text), &f->head, &f->used);
}

static void assert_span(struct http_span span, const char *text)
{
	assert_int_equal(span.len, strlen(text));
	assert_memory_equal(span.text, text, span.len);
}

static void assert_field(struct fixture *f, const char *name, const char *value)
{
	const struct http_field *field = http_head_find(&f->head, name, 0);

	assert_non_null(field);
	assert_span(field->value, value);
}

/* A plain request is taken apart: method, target, version, fields. */
static void request_is_taken_apart(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, "GET /v1/events HTTP/1.1\r\nhost: a.example\r\nupgrade: websocket" END), HTTP_OK);
	assert_span(f->head.method, "GET");
	assert_span(f->head.target, "/v1/events");
	assert_int_equal(f->head.minor_version, 1);
	assert_int_equal(f->head.status, 0);
	assert_int_equal(f->head.field_count, 2);
	assert_field(f, "Host", "a.example");
	assert_int_equal(f->head.framing, HTTP_FRAMING_NONE);
}

/* Bytes behind the empty line are left for the next reader, whatever they are. */
static void rest_is_left(void **state)
{
	struct fixture *f = *state;
	const char text[] = GET "Host: a" END "\0\n\r\x82";

	assert_int_equal(request_bytes(f, text, sizeof(text) - 1), HTTP_OK);
	assert_int_equal(f->used, strlen(GET "Host: a" END));
}

/* A head without fields is one. */
static void head_without_fields(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, "GET / HTTP/1.0" END), HTTP_OK);
	assert_int_equal(f->head.field_count, 0);
	assert_int_equal(f->head.minor_version, 0);
}

/* No blank, a tab and many blanks after the colon, blanks at the end, an empty value: all are read. */
static void blanks_around_values(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, GET "A:1\r\nB:\t2\r\nC:   3  \t\r\nD:\r\nE: \t " END), HTTP_OK);
	assert_field(f, "a", "1");
	assert_field(f, "b", "2");
	assert_field(f, "c", "3");
	assert_field(f, "d", "");
	assert_field(f, "e", "");
}

/* Names are found in any case, and the n-th of a name in the order they came. */
static void fields_are_found(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, GET "X-a: 1\r\nx-A: 2\r\nx-ab: 3" END), HTTP_OK);
	assert_span(http_head_find(&f->head, "x-a", 0)->value, "1");
	assert_span(http_head_find(&f->head, "X-A", 1)->value, "2");
	assert_null(http_head_find(&f->head, "X-A", 2));
	assert_null(http_head_find(&f->head, "X", 0));
}

/* `Connection` in two lines is one list; words are whole words in any case. */
static void lists_over_two_lines(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, GET "Connection: keep-alive\r\nconnection:a,, UPgrade\t" END), HTTP_OK);
	assert_true(http_head_has_token(&f->head, "Connection", "upgrade"));
	assert_true(http_head_has_token(&f->head, "Connection", "keep-alive"));
	assert_false(http_head_has_token(&f->head, "Connection", "keep"));
	assert_false(http_head_has_token(&f->head, "Upgrade", "upgrade"));
}

/* 80 further headers fit. */
static void eighty_further_headers(void **state)
{
	char text[HTTP_HEAD_MAX];
	size_t len = (size_t)snprintf(text, sizeof(text), GET "Host: a\r\n");

	for (int i = 0; i < 80; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len, "X-%d: %d\r\n", i, i);
	snprintf(text + len, sizeof(text) - len, "\r\n");
	assert_int_equal(request(*state, text), HTTP_OK);
	assert_field(*state, "X-79", "79");
}

/* 128 headers fit, one more is 431. */
static void too_many_headers(void **state)
{
	for (int count = HTTP_FIELDS_MAX; count <= HTTP_FIELDS_MAX + 1; count++) {
		char text[HTTP_HEAD_MAX];
		size_t len = (size_t)snprintf(text, sizeof(text), GET);

		for (int i = 0; i < count; i++)
			len += (size_t)snprintf(text + len, sizeof(text) - len, "a: b\r\n");
		snprintf(text + len, sizeof(text) - len, "\r\n");
		assert_int_equal(request(*state, text), count == HTTP_FIELDS_MAX ? HTTP_OK : HTTP_TOO_LARGE);
	}
}

/* A head of exactly the largest size passes; one that needs a byte more is 431, as soon as that shows. */
static void largest_head(void **state)
{
	char *text = malloc(HTTP_HEAD_MAX + 1);

	assert_non_null(text);
	memset(text, 'x', HTTP_HEAD_MAX + 1);
	memcpy(text, GET "A: ", strlen(GET "A: "));
	assert_int_equal(request_bytes(*state, text, HTTP_HEAD_MAX - 1), HTTP_MORE);
	assert_int_equal(request_bytes(*state, text, HTTP_HEAD_MAX), HTTP_TOO_LARGE);
	memcpy(text + HTTP_HEAD_MAX + 1 - 4, END, 4);
	assert_int_equal(request_bytes(*state, text, HTTP_HEAD_MAX + 1), HTTP_TOO_LARGE);
	memcpy(text + HTTP_HEAD_MAX - 4, END, 4);
	assert_int_equal(request_bytes(*state, text, HTTP_HEAD_MAX), HTTP_OK);
	free(text);
}

/* A head that comes byte by byte wants more until its very last byte. */
static void bytes_one_by_one(void **state)
{
	const char text[] = "\r\n" GET "Host: a\r\nConnection: close" END;

	for (size_t len = 0; len < strlen(text); len++)
		assert_int_equal(request_bytes(*state, text, len), HTTP_MORE);
	assert_int_equal(request(*state, text), HTTP_OK);
}

/* Empty lines in front are skipped and counted as used. */
static void empty_lines_in_front(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, "\r\n\r\n" GET "\r\n"), HTTP_OK);
	assert_int_equal(f->used, 4 + strlen(GET "\r\n"));
}

/* Empty lines without end are no head. */
static void nothing_but_empty_lines(void **state)
{
	char text[HTTP_HEAD_MAX];

	for (size_t i = 0; i < sizeof(text); i += 2)
		memcpy(text + i, "\r\n", 2);
	assert_int_equal(request_bytes(*state, text, sizeof(text)), HTTP_TOO_LARGE);
}

#define ASSERT_BAD(text) assert_int_equal(request_bytes(*state, text, sizeof(text) - 1), HTTP_BAD)

/* A bare LF is refused wherever it is, at once: no empty line will come. */
static void bare_lf_is_bad(void **state)
{
	ASSERT_BAD("GET / HTTP/1.1\nHost: a\n\n");
	ASSERT_BAD("GET / HTTP/1.1\n");
	ASSERT_BAD("\nGET / HTTP/1.1" END);
	ASSERT_BAD(GET "Host: a\nUpgrade: websocket" END);
	ASSERT_BAD(GET "Host: a\r\n\n" END);
}

/* A bare CR is refused wherever it is. */
static void bare_cr_is_bad(void **state)
{
	ASSERT_BAD("\rGET / HTTP/1.1" END);
	ASSERT_BAD("GET / HTTP/1.1\rHost: a" END);
	ASSERT_BAD(GET "Host: a\rUpgrade: websocket" END);
	ASSERT_BAD(GET "Host: a\r\r\n" END);
	ASSERT_BAD(GET "Host:\ra" END);
}

/* A NUL and other control characters are refused, the NUL before the head is complete. */
static void control_characters_are_bad(void **state)
{
	ASSERT_BAD("GET /\0");
	ASSERT_BAD(GET "Host: a\0b" END);
	ASSERT_BAD(GET "Host: a\x7f" END);
	ASSERT_BAD(GET "Host: \x01" END);
	ASSERT_BAD(GET "Ho\x0bst: a" END);
	ASSERT_BAD("GET /\x08 HTTP/1.1" END);
}

/* A blank before the colon is refused. */
static void blank_before_colon_is_bad(void **state)
{
	ASSERT_BAD(GET "Content-Length : 5" END);
	ASSERT_BAD(GET "Content-Length\t: 5" END);
}

/* A folded line is refused, also as the first. */
static void folded_line_is_bad(void **state)
{
	ASSERT_BAD(GET "X: a\r\n Content-Length: 5" END);
	ASSERT_BAD(GET "X: a\r\n\tb" END);
	ASSERT_BAD(GET " Host: a" END);
}

/* A field is a name, a colon and a value. */
static void field_without_name_is_bad(void **state)
{
	ASSERT_BAD(GET ": a" END);
	ASSERT_BAD(GET "Host" END);
	ASSERT_BAD(GET "Ho st: a" END);
	ASSERT_BAD(GET "H\xc3\xb6st: a" END);
}

/* The first line is a method, a target and a version, with one blank between. */
static void wrong_request_line_is_bad(void **state)
{
	ASSERT_BAD("GET /" END);
	ASSERT_BAD("GET" END);
	ASSERT_BAD("GET  / HTTP/1.1" END);
	ASSERT_BAD("GET / HTTP/1.1 " END);
	ASSERT_BAD("GET /  HTTP/1.1" END);
	ASSERT_BAD("GET /a b HTTP/1.1" END);
	ASSERT_BAD("GET\t/ HTTP/1.1" END);
	ASSERT_BAD(" GET / HTTP/1.1" END);
	ASSERT_BAD("G(T / HTTP/1.1" END);
	ASSERT_BAD("HTTP/1.1 200 OK" END);
}

/* Other versions than 1.0 and 1.1 are refused, HTTP/2 with prior knowledge among them. */
static void other_versions_are_bad(void **state)
{
	ASSERT_BAD("PRI * HTTP/2.0" END "SM" END);
	ASSERT_BAD("GET / HTTP/0.9" END);
	ASSERT_BAD("GET / HTTP/1.2" END);
	ASSERT_BAD("GET / HTTP/1.10" END);
	ASSERT_BAD("GET / http/1.1" END);
	ASSERT_BAD("GET / HTTP/01.1" END);
}

/* Length and chunks together are refused, in either order. */
static void length_and_chunks_are_bad(void **state)
{
	ASSERT_BAD(POST "Content-Length: 5\r\nTransfer-Encoding: chunked" END);
	ASSERT_BAD(POST "Transfer-Encoding: chunked\r\nContent-Length: 0" END);
}

/* Two lengths are refused, also the same twice and in one list. */
static void two_lengths_are_bad(void **state)
{
	ASSERT_BAD(POST "Content-Length: 5\r\ncontent-length: 5" END);
	ASSERT_BAD(POST "Content-Length: 5\r\nContent-Length: 6" END);
	ASSERT_BAD(POST "Content-Length: 5, 5" END);
}

/* A length is digits only. */
static void odd_lengths_are_bad(void **state)
{
	ASSERT_BAD(POST "Content-Length:" END);
	ASSERT_BAD(POST "Content-Length: +5" END);
	ASSERT_BAD(POST "Content-Length: -1" END);
	ASSERT_BAD(POST "Content-Length: 0x5" END);
	ASSERT_BAD(POST "Content-Length: 5 5" END);
	ASSERT_BAD(POST "Content-Length: 5;" END);
	ASSERT_BAD(POST "Content-Length: 9223372036854775808" END);
	ASSERT_BAD(POST "Content-Length: 18446744073709551621" END);
	ASSERT_BAD(POST "Content-Length: 00000000000000000005" END);
}

/* The largest length there is is read. */
static void largest_length(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, POST "Content-Length: 9223372036854775807" END), HTTP_OK);
	assert_int_equal(f->head.framing, HTTP_FRAMING_LENGTH);
	assert_int_equal(f->head.content_length, INT64_MAX);
}

/* A Transfer-Encoding other than `chunked`, two of them, or one in HTTP/1.0 is refused. */
static void other_encodings_are_bad(void **state)
{
	ASSERT_BAD(POST "Transfer-Encoding: gzip, chunked" END);
	ASSERT_BAD(POST "Transfer-Encoding: identity" END);
	ASSERT_BAD(POST "Transfer-Encoding: xchunked" END);
	ASSERT_BAD(POST "Transfer-Encoding: chunked, chunked" END);
	ASSERT_BAD(POST "Transfer-Encoding: \x0b"
			"chunked" END);
	ASSERT_BAD(POST "Transfer-Encoding:" END);
	ASSERT_BAD(POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked" END);
	ASSERT_BAD("POST / HTTP/1.0\r\nTransfer-Encoding: chunked" END);
}

/* `chunked` is read in any case. */
static void chunked_in_any_case(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, POST "transfer-encoding:\tChunked " END), HTTP_OK);
	assert_int_equal(f->head.framing, HTTP_FRAMING_CHUNKED);
}

/* The 101 of a server is taken apart. */
static void answer_is_taken_apart(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(answer(f, "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket" END "\x82"), HTTP_OK);
	assert_int_equal(f->head.status, 101);
	assert_span(f->head.reason, "Switching Protocols");
	assert_int_equal(f->head.minor_version, 1);
	assert_field(f, "Upgrade", "websocket");
}

/* Proxies answer with HTTP/1.0, without reason, without the blank before it. */
static void answers_of_proxies(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(answer(f, "HTTP/1.0 200 Connection established" END), HTTP_OK);
	assert_int_equal(f->head.status, 200);
	assert_int_equal(f->head.minor_version, 0);
	assert_int_equal(answer(f, "HTTP/1.1 407 " END), HTTP_OK);
	assert_span(f->head.reason, "");
	assert_int_equal(answer(f, "HTTP/1.1 200" END), HTTP_OK);
}

/* A status is three digits from 100 on. */
static void odd_status_is_bad(void **state)
{
	assert_int_equal(answer(*state, "HTTP/1.1 1011 x" END), HTTP_BAD);
	assert_int_equal(answer(*state, "HTTP/1.1 99 x" END), HTTP_BAD);
	assert_int_equal(answer(*state, "HTTP/1.1 099 x" END), HTTP_BAD);
	assert_int_equal(answer(*state, "HTTP/1.1 +10 x" END), HTTP_BAD);
	assert_int_equal(answer(*state, "HTTP/1.1  200 x" END), HTTP_BAD);
	assert_int_equal(answer(*state, "HTTP/1.1" END), HTTP_BAD);
	assert_int_equal(answer(*state, GET "\r\n"), HTTP_BAD);
}

/* 1xx, 204 and 304 have no body, whatever they say. */
static void answers_without_body(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(answer(f, "HTTP/1.1 304 x\r\nContent-Length: 5" END), HTTP_OK);
	assert_int_equal(f->head.framing, HTTP_FRAMING_NONE);
	assert_int_equal(answer(f, "HTTP/1.1 403 x\r\nContent-Length: 5" END), HTTP_OK);
	assert_int_equal(f->head.framing, HTTP_FRAMING_LENGTH);
}

/* Upgrade, Sec-WebSocket-* and the word in Connection are renamed, and nothing else moves. */
static void upgrade_is_hidden(void **state)
{
	struct fixture *f = *state;
	const char before[] = "GET /upgrade HTTP/1.1\r\nHost: upgrade.example\r\nUPGRADE: websocket\r\n"
			      "Connection: keep-alive, Upgrade,upgrade-x\r\nsec-websocket-Key: x\r\n"
			      "Sec-WebSocket-Version: 13\r\nconnection:upgrade\r\nUpgrade-Insecure-Requests: 1" END;
	const char after[] = "GET /upgrade HTTP/1.1\r\nHost: upgrade.example\r\nX-Extra: websocket\r\n"
			     "Connection: keep-alive, x-extra,upgrade-x\r\nX-Client-Item-Key: x\r\n"
			     "X-Client-Item-Version: 13\r\nconnection:x-extra\r\nUpgrade-Insecure-Requests: 1" END;

	assert_int_equal(sizeof(before), sizeof(after));
	assert_int_equal(request(f, before), HTTP_OK);
	http_head_hide_upgrade(f->text, &f->head);
	assert_memory_equal(f->text, after, strlen(after));
	assert_null(http_head_find(&f->head, "Upgrade", 0));
	assert_false(http_head_has_token(&f->head, "Connection", "upgrade"));
}

/* The word is hidden also where the list is malformed: another reader may take it apart otherwise. */
static void upgrade_is_hidden_in_odd_lists(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(request(f, GET "Connection: upgrade;q=1, \"Upgrade\" upgrade" END), HTTP_OK);
	http_head_hide_upgrade(f->text, &f->head);
	assert_field(f, "Connection", "x-extra;q=1, \"x-extra\" x-extra");
}

static enum http_result follow(struct fixture *f, const char *bytes)
{
	return http_body_follow(&f->body, bytes, strlen(bytes), &f->used);
}

static void begin_body(struct fixture *f, const char *head)
{
	assert_int_equal(request(f, head), HTTP_OK);
	http_body_init(&f->body, &f->head);
}

static void begin_chunks(struct fixture *f)
{
	begin_body(f, POST "Transfer-Encoding: chunked" END);
}

/* Without a length there is no body: the next byte is the next head's. */
static void no_body_is_done_at_once(void **state)
{
	struct fixture *f = *state;

	begin_body(f, POST "\r\n");
	assert_true(http_body_is_done(&f->body));
	begin_body(f, POST "Content-Length: 0" END);
	assert_true(http_body_is_done(&f->body));
	assert_int_equal(follow(f, "GET"), HTTP_OK);
	assert_int_equal(f->used, 0);
}

/* A body with a length ends after so many bytes, in one piece or in many. */
static void body_with_length(void **state)
{
	struct fixture *f = *state;

	begin_body(f, POST "Content-Length: 5" END);
	assert_int_equal(follow(f, "ab"), HTTP_OK);
	assert_int_equal(f->used, 2);
	assert_false(http_body_is_done(&f->body));
	assert_int_equal(follow(f, "cdeGET /"), HTTP_OK);
	assert_int_equal(f->used, 3);
	assert_true(http_body_is_done(&f->body));
}

/* Chunks, an extension and trailers are followed to the empty line, and no further. */
static void body_with_chunks(void **state)
{
	struct fixture *f = *state;
	const char body[] = "5\r\nhello\r\n0A;name=\"v\"\r\n\r\n\r\n012345\r\n0\r\nX-T: 1\r\nB:\r\n\r\n";
	char text[200];

	begin_chunks(f);
	snprintf(text, sizeof(text), "%sGET / HTTP/1.1\r\n", body);
	assert_int_equal(follow(f, text), HTTP_OK);
	assert_int_equal(f->used, strlen(body));
	assert_true(http_body_is_done(&f->body));
}

/* The same byte by byte ends at the same byte. */
static void chunks_byte_by_byte(void **state)
{
	struct fixture *f = *state;
	const char body[] = "5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n";

	begin_chunks(f);
	for (size_t i = 0; i < strlen(body); i++) {
		assert_false(http_body_is_done(&f->body));
		assert_int_equal(http_body_follow(&f->body, body + i, 1, &f->used), HTTP_OK);
		assert_int_equal(f->used, 1);
	}
	assert_true(http_body_is_done(&f->body));
}

/* Whatever a second reader could cut elsewhere is refused, and stays refused. */
static void odd_chunks_are_bad(void **state)
{
	static const char *const bad[] = {
		"\r\n",
		";x\r\n",
		" 5\r\n",
		"5 \r\n",
		"5\t;x\r\n",
		"5\n",
		"5\rx",
		"5;x\n",
		"5;x\ry",
		"+5\r\n",
		"-1\r\n",
		"0x5\r\n",
		"g\r\n",
		"5\r\nhelloX",
		"5\r\nhello\n",
		"5\r\nhello\rX",
		"00000000000000005\r\n",
		"8000000000000000\r\n",
		"ffffffffffffffff\r\n",
		"0\r\n\n",
		"0\r\n\rX",
		"0\r\n x: folded\r\n\r\n",
		"0\r\nx : y\r\n\r\n",
		"0\r\nx\r\n\r\n",
		"0\r\nx: y\n",
		"0\r\nx: \x01",
		"0\r\n:\r\n",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		begin_chunks(*state);
		assert_int_equal(follow(*state, bad[i]), HTTP_BAD);
		assert_int_equal(follow(*state, "0\r\n\r\n"), HTTP_BAD);
	}
}

/* Neither an extension nor trailers go on for ever. */
static void endless_lines_are_bad(void **state)
{
	struct fixture *f = *state;
	enum http_result result = HTTP_OK;

	begin_chunks(f);
	assert_int_equal(follow(f, "5;"), HTTP_OK);
	for (int i = 0; i < 10000 && result == HTTP_OK; i++)
		result = follow(f, "x");
	assert_int_equal(result, HTTP_BAD);
	begin_chunks(f);
	result = follow(f, "0\r\n");
	for (int i = 0; i < 10000 && result == HTTP_OK; i++)
		result = follow(f, "x: y\r\n");
	assert_int_equal(result, HTTP_BAD);
}

/* Many chunks are no endless line. */
static void many_chunks_are_followed(void **state)
{
	struct fixture *f = *state;

	begin_chunks(f);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(follow(f, "1;x\r\ny\r\n"), HTTP_OK);
	assert_int_equal(follow(f, "0\r\n\r\n"), HTTP_OK);
	assert_true(http_body_is_done(&f->body));
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(request_is_taken_apart),
		CLAIM(rest_is_left),
		CLAIM(head_without_fields),
		CLAIM(blanks_around_values),
		CLAIM(fields_are_found),
		CLAIM(lists_over_two_lines),
		CLAIM(eighty_further_headers),
		CLAIM(too_many_headers),
		CLAIM(largest_head),
		CLAIM(bytes_one_by_one),
		CLAIM(empty_lines_in_front),
		CLAIM(nothing_but_empty_lines),
		CLAIM(bare_lf_is_bad),
		CLAIM(bare_cr_is_bad),
		CLAIM(control_characters_are_bad),
		CLAIM(blank_before_colon_is_bad),
		CLAIM(folded_line_is_bad),
		CLAIM(field_without_name_is_bad),
		CLAIM(wrong_request_line_is_bad),
		CLAIM(other_versions_are_bad),
		CLAIM(length_and_chunks_are_bad),
		CLAIM(two_lengths_are_bad),
		CLAIM(odd_lengths_are_bad),
		CLAIM(largest_length),
		CLAIM(other_encodings_are_bad),
		CLAIM(chunked_in_any_case),
		CLAIM(answer_is_taken_apart),
		CLAIM(answers_of_proxies),
		CLAIM(odd_status_is_bad),
		CLAIM(answers_without_body),
		CLAIM(upgrade_is_hidden),
		CLAIM(upgrade_is_hidden_in_odd_lists),
		CLAIM(no_body_is_done_at_once),
		CLAIM(body_with_length),
		CLAIM(body_with_chunks),
		CLAIM(chunks_byte_by_byte),
		CLAIM(odd_chunks_are_bad),
		CLAIM(endless_lines_are_bad),
		CLAIM(many_chunks_are_followed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
