/* HTTP/1.1 heads, read strictly (RFC 9112). Pure; allocates nothing; everything points into the caller's buffer.
 *
 * A head whose framing is in doubt is HTTP_BAD: Content-Length and Transfer-Encoding together, two lengths, bare CR
 * or LF, NUL, a blank before the colon, folded lines, a Transfer-Encoding other than `chunked`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HTTP_HEAD_MAX 16384 /* bytes, up to and with the empty line */
#define HTTP_FIELDS_MAX 128

struct http_span {
	const char *text;
	size_t len;
};

struct http_field {
	struct http_span name;
	struct http_span value; /* blanks around it removed */
};

enum http_framing {
	HTTP_FRAMING_NONE,    /* no body */
	HTTP_FRAMING_LENGTH,  /* content_length bytes */
	HTTP_FRAMING_CHUNKED, /* chunk by chunk, with trailers */
};

struct http_head {
	/* of a request */
	struct http_span method;
	struct http_span target;
	/* of an answer */
	unsigned status; /* 100..999; 0 in a request */
	struct http_span reason;

	unsigned minor_version; /* HTTP/1.x */
	struct http_field fields[HTTP_FIELDS_MAX];
	size_t field_count;
	enum http_framing framing; /* requests; for an answer only as far as its head says */
	uint64_t content_length;
};

enum http_result {
	HTTP_OK,
	HTTP_MORE,	/* no empty line yet */
	HTTP_BAD,	/* 400 */
	HTTP_TOO_LARGE, /* 431 */
};

/* Read a request's head from the front of @buf. Empty lines in front are skipped (RFC 9112 §2.2).
 * @ret_used: with HTTP_OK, bytes of the head, up to and with the empty line. */
enum http_result http_head_parse_request(const char *buf, size_t len, struct http_head *ret, size_t *ret_used);

/* The same for an answer ("HTTP/1.1 101 …", also "HTTP/1.0 200 …" of a proxy). */
enum http_result http_head_parse_answer(const char *buf, size_t len, struct http_head *ret, size_t *ret_used);

/* The n-th field of that name (any case), n from 0; NULL where there are fewer. */
const struct http_field *http_head_find(const struct http_head *head, const char *name, size_t n);

/* Does any field of that name hold @token in its comma-separated list (any case)? The field may come twice. */
bool http_head_has_token(const struct http_head *head, const char *name, const char *token);

bool http_span_is(struct http_span span, const char *text);	 /* exactly */
bool http_span_is_word(struct http_span span, const char *text); /* in any case */

/* Without blanks and tabs at both ends. */
struct http_span http_span_trim(struct http_span span);

/* Cut @span at the first @c: return what is before it, keep what is behind. Without a @c all is returned, and
 * *ret_found is false. */
struct http_span http_span_cut(struct http_span *span, char c, bool *ret_found);

/* Is it a field value: no control character but the tab; bytes from 0x80 on as they are. */
bool http_is_value_char(char c);

/* The value of a hexadecimal digit in either case; -1 for any other character. */
int http_hex_digit(char c);

/* Rename Upgrade, Sec-WebSocket-* and the word `upgrade` in Connection to neutral words of the same length, in the
 * bytes themselves, so that the web server behind neither upgrades nor hangs up; number, size and order stay. */
void http_head_hide_upgrade(char *buf, const struct http_head *head);

/* Follows a request's body to its end, so that the next head is found. */
struct http_body {
	enum http_framing framing;
	uint64_t left; /* bytes of the length, or of the current chunk */
	uint8_t state; /* chunked: where in the grammar */
	uint16_t line; /* bytes of the current chunk-size or trailer line, bounded */
};

void http_body_init(struct http_body *body, const struct http_head *head);
bool http_body_is_done(const struct http_body *body);
/* @ret_used: how many of @len bytes belong to the body. Return: HTTP_OK (also when more is to come) or HTTP_BAD. */
enum http_result http_body_follow(struct http_body *body, const char *buf, size_t len, size_t *ret_used);
