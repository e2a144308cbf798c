/* Bodies: followed at once, in pieces, and by a lenient reader, they end at the same byte.
 *
 * The first byte says how long the pieces are, and with its top bit that the second is a length instead of chunks.
 */
#include "common/tunnel/http_head.h"
#include "tests/fuzz/fuzz.h"

static enum http_result follow_in_pieces(
	struct http_body *body, const char *buf, size_t len, size_t piece, size_t *ret_total)
{
	size_t total = 0;

	while (total < len && !http_body_is_done(body)) {
		size_t offered = piece < len - total ? piece : len - total;
		char *exact = fuzz_copy(buf + total, offered);
		size_t used = 0;
		enum http_result result = http_body_follow(body, exact, offered, &used);

		free(exact);
		if (result != HTTP_OK)
			return result;
		CLAIM(used == offered || http_body_is_done(body));
		total += used;
	}
	*ret_total = total;
	return HTTP_OK;
}

/* As a lenient server reads a line: to the LF, whatever is before it. Return: behind it, or 0. */
static size_t lenient_line_end(const char *buf, size_t at, size_t len)
{
	const char *lf = at < len ? memchr(buf + at, '\n', len - at) : NULL;

	return lf ? (size_t)(lf + 1 - buf) : 0;
}

/* Where the chunks end for it; 0 where they do not. */
static size_t lenient_end(const char *buf, size_t len)
{
	size_t at = 0;

	for (;;) {
		unsigned long long chunk = strtoull(buf + at, NULL, 16);
		size_t next = lenient_line_end(buf, at, len);

		if (next == 0 || chunk > len - next)
			return 0;
		if (chunk == 0) {
			at = next;
			break;
		}
		at = lenient_line_end(buf, next + chunk, len);
		if (at == 0)
			return 0;
	}
	for (;;) {
		size_t next = lenient_line_end(buf, at, len);

		if (next == 0)
			return 0;
		if (next - at == 1 || (next - at == 2 && buf[at] == '\r'))
			return next;
		at = next;
	}
}

static void check(const struct http_head *head, const char *buf, size_t len, size_t piece)
{
	struct http_body whole;
	struct http_body pieces;
	size_t used = 0;
	size_t total = 0;
	enum http_result result;

	http_body_init(&whole, head);
	http_body_init(&pieces, head);
	result = http_body_follow(&whole, buf, len, &used);
	CLAIM(result == HTTP_OK || result == HTTP_BAD);
	CLAIM(follow_in_pieces(&pieces, buf, len, piece, &total) == result);
	if (result != HTTP_OK)
		return;
	CLAIM(used == total && used <= len && http_body_is_done(&whole) == http_body_is_done(&pieces));
	CLAIM(http_body_is_done(&whole) || used == len);
	if (!http_body_is_done(&whole))
		return;
	if (head->framing == HTTP_FRAMING_LENGTH)
		CLAIM(used == head->content_length);
	else
		CLAIM(lenient_end(buf, len) == used);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct http_head head = {.framing = HTTP_FRAMING_CHUNKED};
	char *buf;

	if (size < 2)
		return 0;
	if (data[0] & 0x80) {
		head.content_length = data[1];
		head.framing = data[1] > 0 ? HTTP_FRAMING_LENGTH : HTTP_FRAMING_NONE;
	}
	buf = fuzz_copy(data, size); /* its last byte becomes the end of a string, for strtoull() */
	buf[size - 1] = '\0';
	if (head.framing != HTTP_FRAMING_NONE)
		check(&head, buf + 1, size - 2, 1u + (data[0] & 0x1f));
	free(buf);
	return 0;
}
