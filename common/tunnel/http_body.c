/* Follows an HTTP/1.1 body to its end, by length or chunk by chunk (RFC 9112 §6, §7.1), so that the next head is found.
 *
 *    chunk-size in hex [;extension] CR LF | chunk-size bytes | CR LF | … | 0 [;extension] CR LF | trailers | CR LF
 *
 * Looks at lines byte by byte and steps over data. Whatever a second reader could cut elsewhere is HTTP_BAD: no blank
 * around the size, no bare CR or LF, no line and no trailers over BODY_LINE_MAX.
 */
#include "common/tunnel/http_head.h"

#include <string.h>

#define BODY_LINE_MAX 4096u /* a chunk-size line; all trailers together */
#define SIZE_DIGITS_MAX 16u

enum body_state {
	BODY_STATE_SIZE,	  /* hex digits, at least one */
	BODY_STATE_EXTENSION,	  /* after ";" */
	BODY_STATE_SIZE_LF,	  /* after the CR of the size's line */
	BODY_STATE_DATA,	  /* left bytes */
	BODY_STATE_DATA_CR,	  /* behind the data */
	BODY_STATE_DATA_LF,	  /* behind that CR */
	BODY_STATE_TRAILER_FIRST, /* a trailer's name, or the CR of the end */
	BODY_STATE_TRAILER_NAME,
	BODY_STATE_TRAILER_VALUE,
	BODY_STATE_TRAILER_LF,
	BODY_STATE_END_LF,
	BODY_STATE_DONE,
	BODY_STATE_BAD,
};

void http_body_init(struct http_body *body, const struct http_head *head)
{
	*body = (struct http_body){.framing = head->framing, .state = BODY_STATE_SIZE};
	if (head->framing == HTTP_FRAMING_CHUNKED)
		return;
	body->left = head->framing == HTTP_FRAMING_LENGTH ? head->content_length : 0;
	body->state = body->left > 0 ? BODY_STATE_DATA : BODY_STATE_DONE;
}

bool http_body_is_done(const struct http_body *body)
{
	return body->state == BODY_STATE_DONE;
}

/* In the hex digits of a chunk's size. Leading zeros count as digits, so their number is bounded too. The size stays
 * below 2^63: no reader behind takes it for negative. */
static enum body_state step_size(struct http_body *body, char c)
{
	int digit = http_hex_digit(c);

	if (digit >= 0) {
		if (body->line > SIZE_DIGITS_MAX || body->left > INT64_MAX >> 4)
			return BODY_STATE_BAD;
		body->left = body->left << 4 | (uint64_t)digit;
		return BODY_STATE_SIZE;
	}
	if (body->line == 1) /* not a single digit */
		return BODY_STATE_BAD;
	if (c == ';')
		return BODY_STATE_EXTENSION;
	return c == '\r' ? BODY_STATE_SIZE_LF : BODY_STATE_BAD;
}

/* In free text up to the CR: an extension or a trailer's value. Neither is interpreted. */
static enum body_state step_text(char c, enum body_state same, enum body_state after_cr)
{
	if (c == '\r')
		return after_cr;
	return http_is_value_char(c) ? same : BODY_STATE_BAD;
}

/* In a trailer's name. The first byte of the line has been checked to begin one, or to end the body. */
static enum body_state step_name(char c, enum body_state after_colon)
{
	if (c == ':')
		return after_colon;
	/* A token (RFC 9110 §5.6.2): printable ASCII but the delimiters. */
	if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", c))
		return BODY_STATE_BAD;
	return BODY_STATE_TRAILER_NAME;
}

static enum body_state expect(char c, char wanted, enum body_state next)
{
	return c == wanted ? next : BODY_STATE_BAD;
}

/* One byte that is not data. */
static enum body_state step(struct http_body *body, char c)
{
	switch ((enum body_state)body->state) {
	case BODY_STATE_SIZE:
		return step_size(body, c);
	case BODY_STATE_EXTENSION:
		return step_text(c, BODY_STATE_EXTENSION, BODY_STATE_SIZE_LF);
	case BODY_STATE_SIZE_LF:
		return expect(c, '\n', body->left > 0 ? BODY_STATE_DATA : BODY_STATE_TRAILER_FIRST);
	case BODY_STATE_DATA_CR:
		return expect(c, '\r', BODY_STATE_DATA_LF);
	case BODY_STATE_DATA_LF:
		return expect(c, '\n', BODY_STATE_SIZE);
	case BODY_STATE_TRAILER_FIRST:
		return c == '\r' ? BODY_STATE_END_LF : step_name(c, BODY_STATE_BAD);
	case BODY_STATE_TRAILER_NAME:
		return step_name(c, BODY_STATE_TRAILER_VALUE);
	case BODY_STATE_TRAILER_VALUE:
		return step_text(c, BODY_STATE_TRAILER_VALUE, BODY_STATE_TRAILER_LF);
	case BODY_STATE_TRAILER_LF:
		return expect(c, '\n', BODY_STATE_TRAILER_FIRST);
	case BODY_STATE_END_LF:
		return expect(c, '\n', BODY_STATE_DONE);
	case BODY_STATE_DATA:
	case BODY_STATE_DONE:
	case BODY_STATE_BAD:
		break;
	}
	return BODY_STATE_BAD;
}

/* A line byte: counted, so that no line goes on for ever. */
static void take_byte(struct http_body *body, char c)
{
	if (++body->line > BODY_LINE_MAX) {
		body->state = BODY_STATE_BAD;
		return;
	}
	body->state = (uint8_t)step(body, c);
	/* All trailers count as one line: the bound holds for the whole section. */
	if (body->state == BODY_STATE_DATA || (body->state == BODY_STATE_SIZE && c == '\n'))
		body->line = 0;
}

enum http_result http_body_follow(struct http_body *body, const char *buf, size_t len, size_t *ret_used)
{
	size_t used = 0;

	while (used < len && body->state != BODY_STATE_DONE && body->state != BODY_STATE_BAD) {
		size_t data = len - used < body->left ? len - used : (size_t)body->left;

		if (body->state != BODY_STATE_DATA) {
			take_byte(body, buf[used++]);
			continue;
		}
		/* Step over data without a look at it. */
		used += data;
		body->left -= data;
		if (body->left == 0)
			body->state = body->framing == HTTP_FRAMING_LENGTH ? BODY_STATE_DONE : BODY_STATE_DATA_CR;
	}
	if (body->state == BODY_STATE_BAD)
		return HTTP_BAD;
	*ret_used = used;
	return HTTP_OK;
}
