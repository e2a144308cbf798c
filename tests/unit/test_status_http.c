/* The status page's answers: which Host is ours, which request gets which text, and what stands in a head. */
#include "common/status/status_http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define CLAIM(name) cmocka_unit_test(name)

static struct addr own_of(const char *text)
{
	struct addr own;

	assert_int_equal(addr_parse(text, 1, &own), 0);
	return own;
}

static bool is_own(const char *host, const char *own)
{
	const struct addr addr = own_of(own);

	return status_http_is_own_host((struct http_span){host, strlen(host)}, &addr);
}

static void loopback_and_own_address_are_own_with_any_port(void **state)
{
	static const char *const hosts[] = {"localhost", "LocalHost", "localhost:9586", "localhost:80", "127.0.0.1",
		"127.0.0.1:9586", "127.1.2.3", "[::1]", "[::1]:9586", "[0:0:0:0:0:0:0:1]:1"};

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++)
		assert_true(is_own(hosts[i], "127.0.0.1:9586"));
	assert_true(is_own("10.10.0.1", "10.10.0.1:9586"));
	assert_true(is_own("10.10.0.1:9586", "10.10.0.1:9586"));
	assert_true(is_own("[fd10::1]:9586", "[fd10::1]:9586"));
	assert_true(is_own("[FD10:0::1]", "[fd10::1]:9586"));
}

/* Names of strangers that an attacker's name server could lead here, and what only looks like one of ours. */
static void other_hosts_are_foreign(void **state)
{
	static const char *const hosts[] = {"", "evil.example", "evil.example:9586", "localhost.evil.example",
		"localhost5", "localhost:", "localhost:x", "localhost:0", "localhost:65536", "localhost:80:80",
		"127.0.0.1.evil.example", "127.1", "2130706433", "0x7f000001", "127.0.0.1:9586.evil.example", "[::1",
		"[::1]x", "::ffff:127.0.0.1x", "0.0.0.0", "[::]", "10.10.0.1", "192.168.1.1:9586", "[fe80::1%lo]",
		"localhost@evil.example", " localhost", "user@127.0.0.1", "xlocalhost", "local"};
	char longer[300];

	(void)state;
	for (size_t i = 0; i < sizeof(hosts) / sizeof(*hosts); i++)
		if (is_own(hosts[i], "127.0.0.1:9586"))
			fail_msg("'%s' is taken for ours", hosts[i]);
	memset(longer, '1', sizeof(longer));
	longer[sizeof(longer) - 1] = '\0';
	assert_false(is_own(longer, "127.0.0.1:9586"));
	assert_false(is_own("10.10.0.2", "10.10.0.1:9586"));
}

static unsigned find(const char *request, enum status_text *ret)
{
	const struct addr own = own_of("127.0.0.1:9586");
	struct http_head head;
	size_t used;

	*ret = STATUS_TEXT_COUNT;
	assert_int_equal(http_head_parse_request(request, strlen(request), &head, &used), HTTP_OK);
	return status_http_find(&head, &own, ret);
}

#define HOST "Host: localhost:9586\r\n"

static void three_paths_are_found(void **state)
{
	enum status_text text;

	(void)state;
	assert_int_equal(find("GET / HTTP/1.1\r\n" HOST "\r\n", &text), 200);
	assert_int_equal(text, STATUS_PAGE);
	assert_int_equal(find("HEAD /status.json HTTP/1.1\r\n" HOST "\r\n", &text), 200);
	assert_int_equal(text, STATUS_JSON);
	assert_int_equal(find("GET /metrics?name=x HTTP/1.1\r\n" HOST "\r\n", &text), 200);
	assert_int_equal(text, STATUS_METRICS);
	assert_int_equal(find("GET / HTTP/1.0\r\n\r\n", &text), 200);
}

static void others_are_refused(void **state)
{
	static const struct {
		const char *request;
		unsigned code;
	} cases[] = {
		{"GET /index.html HTTP/1.1\r\n" HOST "\r\n", 404},
		{"GET //metrics HTTP/1.1\r\n" HOST "\r\n", 404},
		{"GET /metrics/ HTTP/1.1\r\n" HOST "\r\n", 404},
		{"GET /Metrics HTTP/1.1\r\n" HOST "\r\n", 404},
		{"GET /../etc/passwd HTTP/1.1\r\n" HOST "\r\n", 404},
		{"GET http://localhost/ HTTP/1.1\r\n" HOST "\r\n", 404},
		{"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n", 405},
		{"get / HTTP/1.1\r\n" HOST "\r\n", 405},
		{"BREW /x HTTP/1.1\r\n" HOST "\r\n", 405},
		{"OPTIONS * HTTP/1.1\r\n" HOST "\r\n", 405},
		{"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
		{"POST /x HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403},
		{"GET / HTTP/1.0\r\nHost: evil.example\r\n\r\n", 403},
		{"GET / HTTP/1.1\r\n\r\n", 400},
		{"GET / HTTP/1.1\r\n" HOST HOST "\r\n", 400},
	};
	enum status_text text;

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		if (find(cases[i].request, &text) != cases[i].code)
			fail_msg("not %u: %s", cases[i].code, cases[i].request);
}

static void openmetrics_is_for_those_who_ask(void **state)
{
	static const struct {
		const char *accept;
		enum status_text text;
	} cases[] = {
		{"*/*", STATUS_METRICS},
		{"text/plain", STATUS_METRICS},
		{"application/*", STATUS_METRICS},
		{"application/openmetrics-text", STATUS_OPENMETRICS},
		{"Application/OpenMetrics-Text; version=1.0.0", STATUS_OPENMETRICS},
		{"application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
		 "text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
			STATUS_OPENMETRICS},
		{"text/plain;q=0.9, application/openmetrics-text;q=0.1", STATUS_METRICS},
		{"text/plain;q=0.1, application/openmetrics-text ; q=0.2", STATUS_OPENMETRICS},
		{"application/openmetrics-text;q=0", STATUS_METRICS},
		{"application/openmetrics-text;q=0.000", STATUS_METRICS},
		{"application/openmetrics-text;q=nan", STATUS_METRICS},
		{"application/openmetrics-text;q=9", STATUS_METRICS},
		{"application/openmetrics-textual", STATUS_METRICS},
		{";;,,;q=", STATUS_METRICS},
	};
	enum status_text text;
	char request[512];

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		snprintf(request, sizeof(request), "GET /metrics HTTP/1.1\r\n" HOST "Accept: %s\r\n\r\n",
			cases[i].accept);
		assert_int_equal(find(request, &text), 200);
		if (text != cases[i].text)
			fail_msg("Accept: %s", cases[i].accept);
	}
}

static void heads_say_what_they_are_and_close(void **state)
{
	char buf[STATUS_HTTP_ANSWER_MAX];
	struct http_head head;
	size_t used, len;

	(void)state;
	len = status_http_format(buf, 200, STATUS_OPENMETRICS, 1234567, true);
	assert_int_equal(http_head_parse_answer(buf, len, &head, &used), HTTP_OK);
	assert_int_equal(used, len);
	assert_int_equal(head.content_length, 1234567);
	assert_true(http_head_has_token(&head, "Connection", "close"));
	assert_non_null(strstr(buf, "Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"));
	assert_non_null(strstr(buf, "default-src 'none'; script-src 'sha256-"));
	assert_null(strstr(buf, "Access-Control"));
	for (unsigned code = 400; code < 504; code++) {
		len = status_http_format(buf, code, STATUS_PAGE, 0, true);
		assert_true(len < sizeof(buf));
		assert_int_equal(http_head_parse_answer(buf, len, &head, &used), HTTP_OK);
		assert_int_equal(head.status, code);
		assert_int_equal(head.content_length, len - used);
		assert_int_equal(status_http_format(buf, code, STATUS_PAGE, 0, false), used); /* HEAD */
	}
	status_http_format(buf, 405, STATUS_PAGE, 0, true);
	assert_non_null(strstr(buf, "\r\nAllow: GET, HEAD\r\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(loopback_and_own_address_are_own_with_any_port),
		CLAIM(other_hosts_are_foreign),
		CLAIM(three_paths_are_found),
		CLAIM(others_are_refused),
		CLAIM(openmetrics_is_for_those_who_ask),
		CLAIM(heads_say_what_they_are_and_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
