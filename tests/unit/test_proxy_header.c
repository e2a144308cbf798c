/* The visitor's address as a reverse proxy tells it. */
#include "server/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static enum proxy_header_result parse(const void *bytes, size_t len, size_t *ret_used, char *ret_text)
{
	struct addr from = {0};
	enum proxy_header_result result = proxy_header_parse(bytes, len, ret_used, &from);

	if (result == PROXY_HEADER_OK && from.sa.sa_family != AF_UNSPEC)
		addr_format(ret_text, ADDR_TEXT_MAX, &from);
	return result;
}

static void expect_text(const char *header, enum proxy_header_result result, const char *address)
{
	char text[ADDR_TEXT_MAX] = "";
	size_t used = 0;

	assert_int_equal(parse(header, strlen(header), &used, text), result);
	assert_string_equal(text, address);
}

static void version_1_tells_the_visitor(void **state)
{
	(void)state;
	expect_text("PROXY TCP4 203.0.113.7 192.0.2.1 51544 443\r\nGET /", PROXY_HEADER_OK, "203.0.113.7:51544");
	expect_text("PROXY TCP6 2001:db8::7 2001:db8::1 51544 443\r\n", PROXY_HEADER_OK, "[2001:db8::7]:51544");
	expect_text("PROXY UNKNOWN\r\n", PROXY_HEADER_OK, "");
}

static void version_1_is_read_up_to_its_line_end(void **state)
{
	const char *header = "PROXY TCP4 203.0.113.7 192.0.2.1 51544 443\r\nGET /";
	char text[ADDR_TEXT_MAX];
	size_t used = 0, len;

	(void)state;
	for (len = 1; len < strlen("PROXY TCP4 203.0.113.7 192.0.2.1 51544 443\r\n"); len++)
		assert_int_equal(parse(header, len, &used, text), PROXY_HEADER_MORE);
	assert_int_equal(parse(header, strlen(header), &used, text), PROXY_HEADER_OK);
	assert_string_equal(header + used, "GET /");
}

static void bad_version_1_is_refused(void **state)
{
	char long_line[200];

	(void)state;
	expect_text("PROXY TCP4 203.0.113.7 192.0.2.1 51544 443\n", PROXY_HEADER_BAD, "");
	expect_text("PROXY TCP4 host 192.0.2.1 51544 443\r\n", PROXY_HEADER_BAD, "");
	expect_text("PROXY TCP4 203.0.113.7 192.0.2.1 70000 443\r\n", PROXY_HEADER_BAD, "");
	expect_text("PROXY UDP4 203.0.113.7 192.0.2.1 5 443\r\n", PROXY_HEADER_BAD, "");
	memset(long_line, 'x', sizeof(long_line));
	memcpy(long_line, "PROXY ", 6);
	long_line[sizeof(long_line) - 1] = '\0';
	expect_text(long_line, PROXY_HEADER_BAD, "");
}

static void anything_else_is_no_header(void **state)
{
	(void)state;
	expect_text("GET / HTTP/1.1\r\n", PROXY_HEADER_NONE, "");
	expect_text("\x16\x03\x01", PROXY_HEADER_NONE, "");
	expect_text("POST", PROXY_HEADER_NONE, "");
	expect_text("P", PROXY_HEADER_MORE, "");
}

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static void version_2_tells_the_visitor(void **state)
{
	const char four[] = V2 "\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xc9\x58\x01\xbb";
	const char local[] = V2 "\x20\0\0\0";
	char text[ADDR_TEXT_MAX] = "";
	size_t used = 0, len;

	(void)state;
	assert_int_equal(parse(four, sizeof(four) - 1, &used, text), PROXY_HEADER_OK);
	assert_string_equal(text, "203.0.113.7:51544");
	assert_int_equal(used, 28);
	for (len = 1; len < 28; len++)
		assert_int_equal(parse(four, len, &used, text), PROXY_HEADER_MORE);
	text[0] = '\0';
	assert_int_equal(parse(local, sizeof(local) - 1, &used, text), PROXY_HEADER_OK);
	assert_string_equal(text, "");
}

static void bad_version_2_is_refused(void **state)
{
	const char version[] = V2 "\x31\x11\0\x0c";
	const char endless[] = V2 "\x21\x11\xff\xff";
	char text[ADDR_TEXT_MAX];
	size_t used;

	(void)state;
	assert_int_equal(parse(version, sizeof(version) - 1, &used, text), PROXY_HEADER_BAD);
	assert_int_equal(parse(endless, sizeof(endless) - 1, &used, text), PROXY_HEADER_BAD);
}

/* --- from a socket --- */

#define LINE "PROXY TCP4 203.0.113.7 192.0.2.1 51544 443\r\n"

/* Send @bytes in @pieces, receive after each. Return: the last result, with what the socket still holds in
 * @ret_left. */
static enum proxy_header_result receive(const char *bytes, size_t pieces, struct proxy_header *header, char *ret_left)
{
	enum proxy_header_result result = PROXY_HEADER_MORE;
	size_t len = strlen(bytes), piece = (len + pieces - 1) / pieces;
	struct addr from;
	int ends[2];
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	for (size_t at = 0; at < len && result == PROXY_HEADER_MORE; at += piece) {
		size_t now = len - at < piece ? len - at : piece;

		assert_int_equal(send(ends[0], bytes + at, now, 0), now);
		result = proxy_header_receive(header, ends[1], &from);
	}
	n = recv(ends[1], ret_left, 63, MSG_DONTWAIT);
	ret_left[n > 0 ? n : 0] = '\0';
	close(ends[0]);
	if (result == PROXY_HEADER_MORE)
		result = proxy_header_receive(header, ends[1], &from);
	close(ends[1]);
	return result;
}

static void bytes_behind_the_header_stay_in_the_socket(void **state)
{
	struct proxy_header header = {.len = 0};
	char left[64];

	(void)state;
	assert_int_equal(receive(LINE "GET /", 1, &header, left), PROXY_HEADER_OK);
	assert_string_equal(left, "GET /");
	assert_int_equal(receive(LINE, strlen(LINE), &header, left), PROXY_HEADER_OK);
	assert_int_equal(header.len, 0);
}

static void beginning_that_is_no_header_is_kept(void **state)
{
	struct proxy_header header = {.len = 0};
	char left[64];

	(void)state;
	assert_int_equal(receive("PROPFIND", 2, &header, left), PROXY_HEADER_NONE);
	assert_int_equal(header.len, 0);
	assert_int_equal(receive("PROXIMA", 3, &header, left), PROXY_HEADER_NONE);
	assert_memory_equal(header.bytes, "PRO", header.len);
	assert_int_equal(header.len, 3);
	assert_string_equal(left, "XIM");
}

static void end_within_a_header_is_told(void **state)
{
	struct proxy_header header = {.len = 0};
	char left[64];

	(void)state;
	assert_int_equal(receive("PROXY TCP4", 1, &header, left), PROXY_HEADER_LOST);
}

static void expect_forwarded(const char *fields, const char *address)
{
	char request[512], text[ADDR_TEXT_MAX] = "";
	struct http_head head;
	struct addr from;
	size_t used;
	int len = snprintf(request, sizeof(request), "GET / HTTP/1.1\r\nHost: a\r\n%s\r\n", fields);

	assert_int_equal(http_head_parse_request(request, (size_t)len, &head, &used), HTTP_OK);
	if (proxy_header_forwarded_for(&head, &from) == 0)
		addr_format_host(text, sizeof(text), &from);
	assert_string_equal(text, address);
}

static void the_last_forwarded_address_counts(void **state)
{
	(void)state;
	expect_forwarded("X-Forwarded-For: 6.6.6.6, 203.0.113.7\r\n", "203.0.113.7");
	expect_forwarded("X-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7");
	expect_forwarded("X-Forwarded-For: unknown\r\n", "");
	expect_forwarded("X-Forwarded-For:\r\n", "");
	expect_forwarded("", "");
}

/* Write a header and read it again: the visitor, and the length. */
static void expect_written(unsigned version, const char *from_text, const char *to_text, const char *read)
{
	uint8_t header[PROXY_HEADER_WRITE_MAX];
	char text[ADDR_TEXT_MAX] = "";
	struct addr from, to;
	size_t len, used = 0;

	assert_int_equal(addr_parse(from_text, 0, &from), 0);
	assert_int_equal(addr_parse(to_text, 0, &to), 0);
	len = proxy_header_write(header, version, &from, &to);
	assert_int_equal(parse(header, len, &used, text), PROXY_HEADER_OK);
	assert_int_equal(used, len);
	assert_string_equal(text, read);
}

static void written_header_is_read_again(void **state)
{
	(void)state;
	for (unsigned version = 1; version <= 2; version++) {
		expect_written(version, "203.0.113.7:51544", "192.0.2.1:443", "203.0.113.7:51544");
		expect_written(version, "[2001:db8::7]:51544", "[2001:db8::1]:443", "[2001:db8::7]:51544");
		expect_written(version, "[ff02:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
			"[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
			"[ff02:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
	}
}

static void written_header_is_as_the_specification_has_it(void **state)
{
	uint8_t header[PROXY_HEADER_WRITE_MAX];
	struct addr from, to;

	(void)state;
	assert_int_equal(addr_parse("203.0.113.7:51544", 0, &from), 0);
	assert_int_equal(addr_parse("192.0.2.1:443", 0, &to), 0);
	assert_int_equal(proxy_header_write(header, 1, &from, &to), strlen(LINE));
	assert_memory_equal(header, LINE, strlen(LINE));
	assert_int_equal(proxy_header_write(header, 2, &from, &to), 28);
	assert_memory_equal(header, V2 "\x21\x11\0\x0c\xcb\0\x71\x07\xc0\0\x02\x01\xc9\x58\x01\xbb", 28);
	/* A proxy in front of us has told of a visitor by IPv6, and has come by IPv4 itself. */
	assert_int_equal(addr_parse("[2001:db8::7]:51544", 0, &from), 0);
	header[proxy_header_write(header, 1, &from, &to)] = '\0';
	assert_string_equal((char *)header, "PROXY TCP6 2001:db8::7 ::ffff:192.0.2.1 51544 443\r\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(version_1_tells_the_visitor),
		cmocka_unit_test(version_1_is_read_up_to_its_line_end),
		cmocka_unit_test(bad_version_1_is_refused),
		cmocka_unit_test(anything_else_is_no_header),
		cmocka_unit_test(version_2_tells_the_visitor),
		cmocka_unit_test(bad_version_2_is_refused),
		cmocka_unit_test(bytes_behind_the_header_stay_in_the_socket),
		cmocka_unit_test(beginning_that_is_no_header_is_kept),
		cmocka_unit_test(end_within_a_header_is_told),
		cmocka_unit_test(the_last_forwarded_address_counts),
		cmocka_unit_test(written_header_is_read_again),
		cmocka_unit_test(written_header_is_as_the_specification_has_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
