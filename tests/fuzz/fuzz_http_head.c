/* HTTP heads: what is accepted has one reading only, also for a reader that is far more lenient, and says nothing of an
 * upgrade any more once that is hidden.
 */
#include "common/tunnel/http_head.h"
#include "common/tunnel/upgrade.h"
#include "tests/fuzz/fuzz.h"

#include <strings.h>

static void check_span(struct http_span span, const char *buf, size_t used)
{
	if (span.len == 0)
		return;
	CLAIM(span.text >= buf && span.text + span.len <= buf + used);
	CLAIM(!memchr(span.text, '\r', span.len) && !memchr(span.text, '\n', span.len));
	CLAIM(!memchr(span.text, '\0', span.len));
}

static void check_spans(const struct http_head *head, const char *buf, size_t used)
{
	CLAIM(head->field_count <= HTTP_FIELDS_MAX && head->minor_version <= 1);
	check_span(head->method, buf, used);
	check_span(head->target, buf, used);
	check_span(head->reason, buf, used);
	for (size_t i = 0; i < head->field_count; i++) {
		CLAIM(head->fields[i].name.len > 0);
		check_span(head->fields[i].name, buf, used);
		check_span(head->fields[i].value, buf, used);
	}
}

/* A line as the most lenient server cuts it: at an LF, or at a CR. */
static size_t lenient_line(const char *buf, size_t len)
{
	size_t i = 0;

	while (i < len && buf[i] != '\n' && buf[i] != '\r')
		i++;
	return i;
}

static size_t lenient_line_end(const char *buf, size_t len)
{
	if (len >= 2 && buf[0] == '\r' && buf[1] == '\n')
		return 2;
	return len > 0 ? 1 : 0;
}

/* Does the line name that field, blanks and control characters around the name forgiven? */
static bool lenient_name(const char *line, size_t len, const char *name)
{
	const char *colon = memchr(line, ':', len);
	size_t name_len = colon ? (size_t)(colon - line) : 0;

	while (name_len > 0 && (unsigned char)*line <= ' ') {
		line++;
		name_len--;
	}
	while (name_len > 0 && (unsigned char)line[name_len - 1] <= ' ')
		name_len--;
	return name_len == strlen(name) && strncasecmp(line, name, name_len) == 0;
}

struct lenient {
	size_t used;
	unsigned lengths;
	unsigned encodings;
	unsigned upgrades;
};

static bool read_leniently(const char *buf, size_t len, struct lenient *ret)
{
	size_t at = 0;
	bool is_first = true;

	*ret = (struct lenient){0};
	while (at < len && (buf[at] == '\r' || buf[at] == '\n'))
		at++;
	while (at < len) {
		size_t line = lenient_line(buf + at, len - at);

		if (line == 0 && !is_first) {
			ret->used = at + lenient_line_end(buf + at, len - at);
			return true;
		}
		ret->lengths += lenient_name(buf + at, line, "content-length");
		ret->encodings += lenient_name(buf + at, line, "transfer-encoding");
		ret->upgrades += lenient_name(buf + at, line, "upgrade");
		at += line;
		at += lenient_line_end(buf + at, len - at);
		is_first = false;
	}
	return false;
}

static void check_one_reading(const struct http_head *head, const char *buf, size_t len, size_t used)
{
	struct lenient lenient;

	CLAIM(read_leniently(buf, len, &lenient));
	CLAIM(lenient.used == used);
	CLAIM(lenient.lengths + lenient.encodings <= 1);
	CLAIM((lenient.encodings == 1) == (head->framing == HTTP_FRAMING_CHUNKED));
	CLAIM(head->framing != HTTP_FRAMING_CHUNKED || head->minor_version == 1);
	CLAIM(head->framing != HTTP_FRAMING_LENGTH || (lenient.lengths == 1 && head->content_length > 0));
	CLAIM((lenient.upgrades > 0) == (http_head_find(head, "Upgrade", 0) != NULL));
}

/* Less than the whole head is never a head, nor is it bad. */
static void check_prefixes(const char *buf, size_t used)
{
	struct http_head head;
	size_t again;

	for (size_t cut = used > 64 ? used - 64 : 0; cut < used; cut++) {
		char *exact = fuzz_copy(buf, cut);

		CLAIM(http_head_parse_request(exact, cut, &head, &again) == HTTP_MORE);
		free(exact);
	}
}

static void check_hidden(char *buf, size_t len, const struct http_head *head, size_t used)
{
	struct upgrade_request request;
	struct http_head hidden;
	size_t again;

	http_head_hide_upgrade(buf, head);
	CLAIM(http_head_parse_request(buf, len, &hidden, &again) == HTTP_OK);
	CLAIM(again == used && hidden.field_count == head->field_count && hidden.framing == head->framing);
	CLAIM(!http_head_find(&hidden, "Upgrade", 0) && !http_head_has_token(&hidden, "Connection", "upgrade"));
	CLAIM(!http_head_find(&hidden, "Sec-WebSocket-Key", 0) && !upgrade_read_request(&hidden, &request));
	for (size_t i = 0; i < hidden.field_count; i++) {
		CLAIM(hidden.fields[i].name.text == head->fields[i].name.text);
		CLAIM(hidden.fields[i].name.len == head->fields[i].name.len);
		CLAIM(hidden.fields[i].value.len == head->fields[i].value.len);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *buf = fuzz_copy(data, size);
	struct http_head head;
	size_t used = 0;

	if (http_head_parse_answer(buf, size, &head, &used) == HTTP_OK) {
		CLAIM(used <= size && used <= HTTP_HEAD_MAX && head.status >= 100 && head.status <= 999);
		check_spans(&head, buf, used);
	}
	if (http_head_parse_request(buf, size, &head, &used) == HTTP_OK) {
		CLAIM(used <= size && used <= HTTP_HEAD_MAX && head.status == 0);
		check_spans(&head, buf, used);
		check_one_reading(&head, buf, size, used);
		check_prefixes(buf, used);
		check_hidden(buf, size, &head, used);
	}
	free(buf);
	return 0;
}
