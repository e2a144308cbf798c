/* The upgrade: an accepted request is one in every point, our answer to it passes our own check, and any answer from
 * outside is either good or explained in printable text.
 */
#include "common/tunnel/upgrade.h"
#include "tests/fuzz/fuzz.h"

#define WALL_S 784111777

static void check_answer_to(struct http_span key)
{
	char answer[UPGRADE_ANSWER_MAX];
	char text[UPGRADE_KEY_TEXT_LEN + 1] = {0};
	char why[256];
	struct http_head head;
	size_t used;
	int len = upgrade_write_answer(answer, sizeof(answer), key, WALL_S, &(struct upgrade_told){0});

	CLAIM(len > 0 && key.len == UPGRADE_KEY_TEXT_LEN);
	memcpy(text, key.text, key.len);
	CLAIM(http_head_parse_answer(answer, (size_t)len, &head, &used) == HTTP_OK && used == (size_t)len);
	CLAIM(!upgrade_check_answer(&head, text, why, sizeof(why)));
}

static void check_request(const struct http_head *head)
{
	struct upgrade_request request;
	bool is_whole = upgrade_read_request(head, &request);
	bool is_lost = !is_whole && upgrade_read_lost(head, &request);

	if (!is_whole && !is_lost)
		return;
	CLAIM(is_lost == (request.lost != NULL));
	CLAIM(http_span_is(head->method, "GET") && head->framing == HTTP_FRAMING_NONE);
	CLAIM(request.jwt.len > 0 && !memchr(request.jwt.text, ',', request.jwt.len));
	CLAIM(request.prefix.text == head->target.text + 1 && request.prefix.len > 0);
	CLAIM(head->target.len == request.prefix.len + strlen("//events"));
	if (is_lost)
		return;
	CLAIM(head->minor_version == 1);
	CLAIM(http_head_has_token(head, "Upgrade", "websocket") && http_head_has_token(head, "Connection", "upgrade"));
	CLAIM(http_head_find(head, "Host", 0) && !http_head_find(head, "Host", 1));
	check_answer_to(request.key);
}

static void check_foreign_answer(const struct http_head *head)
{
	char why_buf[64];
	const char *why = upgrade_check_answer(head, "dGhlIHNhbXBsZSBub25jZQ==", why_buf, sizeof(why_buf));

	if (!why) {
		CLAIM(head->status == 101);
		return;
	}
	CLAIM(strlen(why) > 0);
	for (; *why; why++)
		CLAIM(*why >= ' ' && *why < 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *buf = fuzz_copy(data, size);
	struct http_head head;
	size_t used;

	if (http_head_parse_request(buf, size, &head, &used) == HTTP_OK)
		check_request(&head);
	if (http_head_parse_answer(buf, size, &head, &used) == HTTP_OK)
		check_foreign_answer(&head);
	free(buf);
	return 0;
}
