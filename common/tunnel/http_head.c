/* HTTP/1.1 heads, read strictly.
 *
 *    bytes ──find_head()──▶ lines ──read_start()──▶ request or status line
 *                                 ──read_fields()──▶ name: value …
 *                                 ──read_framing()──▶ where the body ends
 *
 * The happy path: empty lines in front are skipped, the empty line that ends the head is found, each line is cut at
 * its CR LF and taken apart, and at the end the framing of a body follows from what was found. Whatever another
 * reader of the same bytes could understand otherwise is HTTP_BAD: there is no second guess and no repair. That
 * other reader is the web server to which a visitor's request is passed on, or a proxy in front of us.
 *
 * An unfinished head is only searched for what no later byte can make good, so that a head which comes byte by byte
 * costs little. A head of HTTP_HEAD_MAX bytes without its end is HTTP_TOO_LARGE, so no sender makes us keep more.
 */
#include "common/tunnel/http_head.h"

#include <string.h>
#include <strings.h>

#define LENGTH_DIGITS_MAX 19 /* of INT64_MAX; no body is longer */

struct cursor {
	const char *at;
	const char *end;
};

static bool is_token_char(char c)
{
	if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'))
		return true;
	return c != '\0' && strchr("!#$%&'*+-.^_`|~", c); /* RFC 9110 §5.6.2 */
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

bool http_is_value_char(char c)
{
	unsigned char byte = (unsigned char)c;

	return byte == '\t' || (byte >= ' ' && byte != 0x7f);
}

int http_hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20; /* lower case */
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Bytes from 0x80 on are let through, as in a value. A blank would end the target. */
static bool is_target_char(char c)
{
	return http_is_value_char(c) && !is_blank(c);
}

static bool is_all(struct http_span span, bool (*is_good)(char c))
{
	for (size_t i = 0; i < span.len; i++)
		if (!is_good(span.text[i]))
			return false;
	return true;
}

static bool is_token(struct http_span span)
{
	return span.len > 0 && is_all(span, is_token_char);
}

struct http_span http_span_trim(struct http_span span)
{
	while (span.len > 0 && is_blank(span.text[0])) {
		span.text++;
		span.len--;
	}
	while (span.len > 0 && is_blank(span.text[span.len - 1]))
		span.len--;
	return span;
}

struct http_span http_span_cut(struct http_span *span, char c, bool *ret_found)
{
	const char *found = span->len > 0 ? memchr(span->text, c, span->len) : NULL;
	struct http_span before = *span;

	*ret_found = found != NULL;
	if (!found) {
		span->text += span->len;
		span->len = 0;
		return before;
	}
	before.len = (size_t)(found - span->text);
	span->text = found + 1;
	span->len -= before.len + 1;
	return before;
}

bool http_span_is(struct http_span span, const char *text)
{
	return span.len == strlen(text) && (span.len == 0 || memcmp(span.text, text, span.len) == 0);
}

bool http_span_is_word(struct http_span span, const char *text)
{
	return span.len == strlen(text) && (span.len == 0 || strncasecmp(span.text, text, span.len) == 0);
}

/* The next line without its CR LF. False for a bare LF; a bare CR is found where the line is read. */
static bool take_line(struct cursor *cursor, struct http_span *ret)
{
	const char *lf = memchr(cursor->at, '\n', (size_t)(cursor->end - cursor->at));

	if (!lf || lf == cursor->at || lf[-1] != '\r')
		return false;
	ret->text = cursor->at;
	ret->len = (size_t)(lf - 1 - cursor->at);
	cursor->at = lf + 1;
	return true;
}

/* True if no further byte can make a head of it: it has a NUL, or an LF without CR. Keeps a head that arrives byte
 * by byte from being parsed each time. */
static bool is_spoilt(const char *buf, size_t len)
{
	const char *end = buf + len;

	if (memchr(buf, '\0', len))
		return true;
	for (const char *at = buf; at < end; at++) {
		at = memchr(at, '\n', (size_t)(end - at));
		if (!at)
			return false;
		if (at == buf || at[-1] != '\r')
			return true;
	}
	return false;
}

/* Find the head's lines: from behind the empty lines up to and with the last field's CR LF. */
static enum http_result find_head(const char *buf, size_t len, struct cursor *ret, size_t *ret_used)
{
	size_t bounded = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
	size_t start = 0;
	const char *end;

	while (bounded - start >= 2 && buf[start] == '\r' && buf[start + 1] == '\n')
		start += 2; /* RFC 9112 §2.2 */
	if (bounded == start)
		return len < HTTP_HEAD_MAX ? HTTP_MORE : HTTP_TOO_LARGE;
	end = memmem(buf + start, bounded - start, "\r\n\r\n", 4);
	if (!end) {
		if (is_spoilt(buf + start, bounded - start))
			return HTTP_BAD;
		return len < HTTP_HEAD_MAX ? HTTP_MORE : HTTP_TOO_LARGE;
	}
	ret->at = buf + start;
	ret->end = end + 2;
	*ret_used = (size_t)(end + 4 - buf);
	return HTTP_OK;
}

/* "HTTP/1.0" or "HTTP/1.1": any other version may mean another framing. */
static bool read_version(struct http_span span, unsigned *ret_minor)
{
	if (http_span_is(span, "HTTP/1.1"))
		*ret_minor = 1;
	else if (http_span_is(span, "HTTP/1.0"))
		*ret_minor = 0;
	else
		return false;
	return true;
}

/* method SP request-target SP HTTP-version (RFC 9112 §3) */
static bool read_request_line(struct http_span line, struct http_head *ret)
{
	bool has_target, has_version;

	ret->method = http_span_cut(&line, ' ', &has_target);
	ret->target = http_span_cut(&line, ' ', &has_version);
	if (!has_target || !has_version || !is_token(ret->method))
		return false;
	if (ret->target.len == 0 || !is_all(ret->target, is_target_char))
		return false;
	return read_version(line, &ret->minor_version);
}

/* HTTP-version SP status-code [SP reason] (RFC 9112 §4); proxies leave the second blank out. */
static bool read_status_line(struct http_span line, struct http_head *ret)
{
	bool found;
	struct http_span version = http_span_cut(&line, ' ', &found);
	struct http_span status = http_span_cut(&line, ' ', &found);

	ret->reason = line;
	if (!read_version(version, &ret->minor_version) || !is_all(ret->reason, http_is_value_char) || status.len != 3)
		return false;
	for (size_t i = 0; i < 3; i++) {
		if (status.text[i] < '0' || status.text[i] > '9')
			return false;
		ret->status = ret->status * 10 + (unsigned)(status.text[i] - '0');
	}
	return ret->status >= 100;
}

/* field-name ":" OWS field-value OWS (RFC 9112 §5). Folded lines and blanks before the colon have no token in front. */
static bool read_field(struct http_span line, struct http_field *ret)
{
	bool has_colon;

	ret->name = http_span_cut(&line, ':', &has_colon);
	if (!has_colon || !is_token(ret->name) || !is_all(line, http_is_value_char))
		return false;
	ret->value = http_span_trim(line);
	return true;
}

/* Up to the end of the cursor, which find_head() has put behind the last field's CR LF. */
static enum http_result read_fields(struct cursor *cursor, struct http_head *ret)
{
	struct http_span line;

	while (cursor->at < cursor->end) {
		if (!take_line(cursor, &line))
			return HTTP_BAD;
		if (ret->field_count == HTTP_FIELDS_MAX)
			return HTTP_TOO_LARGE;
		if (!read_field(line, &ret->fields[ret->field_count]))
			return HTTP_BAD;
		ret->field_count++;
	}
	return HTTP_OK;
}

/* 1*DIGIT, no sign, no list, no blank inside. */
static bool read_length(struct http_span span, uint64_t *ret)
{
	uint64_t value = 0;

	if (span.len == 0 || span.len > LENGTH_DIGITS_MAX)
		return false;
	for (size_t i = 0; i < span.len; i++) {
		if (span.text[i] < '0' || span.text[i] > '9')
			return false;
		value = value * 10 + (uint64_t)(span.text[i] - '0'); /* 19 digits fit into 64 bits */
	}
	if (value > INT64_MAX)
		return false;
	*ret = value;
	return true;
}

/* RFC 9112 §6.3, without its leniency towards faulty senders: with two lengths, or a length and chunks, two readers can
 * disagree about where the next request begins (request smuggling). */
static bool read_framing(struct http_head *ret)
{
	const struct http_field *length = http_head_find(ret, "Content-Length", 0);
	const struct http_field *encoding = http_head_find(ret, "Transfer-Encoding", 0);

	if (http_head_find(ret, "Content-Length", 1) || http_head_find(ret, "Transfer-Encoding", 1))
		return false;
	if (encoding) {
		ret->framing = HTTP_FRAMING_CHUNKED;
		return !length && ret->minor_version >= 1 && http_span_is_word(encoding->value, "chunked");
	}
	if (!length)
		return true;
	if (!read_length(length->value, &ret->content_length))
		return false;
	ret->framing = ret->content_length > 0 ? HTTP_FRAMING_LENGTH : HTTP_FRAMING_NONE;
	return true;
}

/* @read_start: reads the first line, in which alone a request and an answer differ. @ret is whole with HTTP_OK only. */
static enum http_result parse(const char *buf, size_t len, bool (*read_start)(struct http_span, struct http_head *),
	struct http_head *ret, size_t *ret_used)
{
	struct cursor cursor;
	struct http_span line;
	size_t used;
	enum http_result result = find_head(buf, len, &cursor, &used);

	if (result != HTTP_OK)
		return result;
	*ret = (struct http_head){0};
	if (!take_line(&cursor, &line) || !read_start(line, ret))
		return HTTP_BAD;
	result = read_fields(&cursor, ret);
	if (result != HTTP_OK)
		return result;
	if (!read_framing(ret))
		return HTTP_BAD;
	*ret_used = used;
	return HTTP_OK;
}

enum http_result http_head_parse_request(const char *buf, size_t len, struct http_head *ret, size_t *ret_used)
{
	return parse(buf, len, read_request_line, ret, ret_used);
}

enum http_result http_head_parse_answer(const char *buf, size_t len, struct http_head *ret, size_t *ret_used)
{
	enum http_result result = parse(buf, len, read_status_line, ret, ret_used);

	if (result == HTTP_OK && (ret->status < 200 || ret->status == 204 || ret->status == 304))
		ret->framing = HTTP_FRAMING_NONE; /* RFC 9112 §6.3, rule 1 */
	return result;
}

const struct http_field *http_head_find(const struct http_head *head, const char *name, size_t n)
{
	for (size_t i = 0; i < head->field_count; i++)
		if (http_span_is_word(head->fields[i].name, name) && n-- == 0)
			return &head->fields[i];
	return NULL;
}

/* An empty element, as in "a,,b", is allowed by RFC 9110 §5.6.1 and equals no token. */
static bool list_has_token(struct http_span list, const char *token)
{
	bool more = true;

	while (more)
		if (http_span_is_word(http_span_trim(http_span_cut(&list, ',', &more)), token))
			return true;
	return false;
}

bool http_head_has_token(const struct http_head *head, const char *name, const char *token)
{
	for (size_t i = 0; i < head->field_count; i++)
		if (http_span_is_word(head->fields[i].name, name) && list_has_token(head->fields[i].value, token))
			return true;
	return false;
}

/* Write @word over the beginning of @span, which points into @buf and is at least as long. */
static void overwrite(char *buf, struct http_span span, const char *word)
{
	memcpy(buf + (span.text - buf), word, strlen(word));
}

/* Hide every @word that has no word characters beside it, also in a value that is not a proper list: the server
 * behind may be less strict than we are. */
static void hide_word(char *buf, struct http_span value, const char *word, const char *neutral)
{
	size_t start = 0;

	for (size_t i = 0; i <= value.len; i++) {
		struct http_span found = {value.text + start, i - start};

		if (i < value.len && is_token_char(value.text[i]))
			continue;
		if (http_span_is_word(found, word))
			overwrite(buf, found, neutral);
		start = i + 1;
	}
}

/* The word in Connection becomes the new name of the field, which so remains a field of this hop only. */
void http_head_hide_upgrade(char *buf, const struct http_head *head)
{
	for (size_t i = 0; i < head->field_count; i++) {
		const struct http_field *field = &head->fields[i];

		if (http_span_is_word(field->name, "Upgrade"))
			overwrite(buf, field->name, "X-Extra");
		else if (field->name.len >= strlen("Sec-WebSocket-") &&
			 strncasecmp(field->name.text, "Sec-WebSocket-", strlen("Sec-WebSocket-")) == 0)
			overwrite(buf, field->name, "X-Client-Item-");
		else if (http_span_is_word(field->name, "Connection"))
			hide_word(buf, field->value, "upgrade", "x-extra");
	}
}
