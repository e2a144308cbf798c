/* The web site behind the front end: real libwebsockets on a real loop, asked over its socketpairs.
 *
 * Each test closes what it opened; a handle that is left fails it.
 */
#include "server/website.h"

#include <errno.h>
#include <linux/sockios.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGE "<!doctype html>\n<h1>Welcome</h1>\n"
#define TURNS_MAX 4000
#define GET_PAGE "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define GET_OTHER "GET /other HTTP/1.1\r\nHost: x\r\n\r\n"

static uv_loop_t loop;
static struct website *website;

struct visit {
	int fd;
	char text[65536];
	size_t len;
	bool ended;
};

static void visit_open(struct visit *visit)
{
	*visit = (struct visit){.fd = website_connect(website)};
	assert_true(visit->fd >= 0);
}

static void visit_say(struct visit *visit, const char *text)
{
	assert_int_equal(send(visit->fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void visit_read(struct visit *visit)
{
	ssize_t len = recv(visit->fd, visit->text + visit->len, sizeof(visit->text) - 1 - visit->len, 0);

	if (len > 0)
		visit->len += (size_t)len;
	else if (len == 0 || errno != EAGAIN)
		visit->ended = true;
}

static void run_turn(struct visit *visit)
{
	uv_run(&loop, UV_RUN_NOWAIT);
	usleep(200);
	if (visit)
		visit_read(visit);
}

#define RUN_UNTIL(visit, condition)                                                                                    \
	do {                                                                                                           \
		for (unsigned turn_ = 0; turn_ < TURNS_MAX && !(condition); turn_++)                                   \
			run_turn(visit);                                                                               \
		assert_true(condition);                                                                                \
	} while (0)

static unsigned count(const char *text, const char *word)
{
	unsigned n = 0;

	for (; (text = strstr(text, word)); text += strlen(word))
		n++;
	return n;
}

static int set_up(void **state)
{
	struct err err = {""};

	(void)state;
	return uv_loop_init(&loop) || website_open(&website, &loop, PAGE, &err);
}

/* Everything is closed: the loop ends by itself and no handle is left. */
static int tear_down(void **state)
{
	(void)state;
	website_close(website);
	for (unsigned turn = 0; turn < TURNS_MAX && uv_run(&loop, UV_RUN_NOWAIT) != 0; turn++)
		usleep(200);
	return uv_loop_close(&loop);
}

/* The descriptor is non-blocking and not inherited. */
static void descriptor_is_as_promised(void **state)
{
	struct visit visit;
	char byte;

	(void)state;
	visit_open(&visit);
	assert_int_equal(recv(visit.fd, &byte, 1, 0), -1);
	assert_int_equal(errno, EAGAIN);
	close(visit.fd);
}

/* The page, then something that is not there, on one connection. */
static void page_and_not_found(void **state)
{
	struct visit visit;

	(void)state;
	visit_open(&visit);
	visit_say(&visit, GET_PAGE);
	RUN_UNTIL(&visit, strstr(visit.text, PAGE));
	assert_non_null(strstr(visit.text, "HTTP/1.1 200 OK\r\n"));
	visit_say(&visit, GET_OTHER);
	RUN_UNTIL(&visit, strstr(visit.text, "<h1>404 Not Found</h1>"));
	assert_false(visit.ended);
	close(visit.fd);
}

/* A request in one-byte pieces is served. */
static void bytes_one_by_one(void **state)
{
	struct visit visit;
	const char *at;

	(void)state;
	visit_open(&visit);
	for (at = GET_PAGE; *at; at++) {
		assert_int_equal(send(visit.fd, at, 1, 0), 1);
		run_turn(&visit);
	}
	RUN_UNTIL(&visit, strstr(visit.text, PAGE));
	close(visit.fd);
}

/* Two requests in one piece are answered in their order. */
static void two_at_once(void **state)
{
	struct visit visit;

	(void)state;
	visit_open(&visit);
	visit_say(&visit, GET_OTHER GET_PAGE);
	RUN_UNTIL(&visit, strstr(visit.text, PAGE));
	assert_true(strstr(visit.text, "404 Not Found") < strstr(visit.text, "200 OK"));
	close(visit.fd);
}

static bool is_taken(const struct visit *visit)
{
	int unread = -1;

	return ioctl(visit->fd, SIOCOUTQ, &unread) == 0 && unread == 0;
}

/* A body is read and dropped; the next request is found behind it. Not in one piece with the body's end: libwebsockets
 * 4.3.5 drops it, too. */
static void body_is_dropped(void **state)
{
	struct visit visit;

	(void)state;
	visit_open(&visit);
	visit_say(&visit, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234");
	RUN_UNTIL(&visit, strstr(visit.text, "405 Method Not Allowed</h1>"));
	assert_non_null(strstr(visit.text, "\r\nallow: GET, HEAD\r\n"));
	visit_say(&visit, "56789");
	RUN_UNTIL(&visit, is_taken(&visit));
	visit_say(&visit, GET_PAGE);
	RUN_UNTIL(&visit, strstr(visit.text, PAGE));
	assert_false(visit.ended);
	close(visit.fd);
}

/* Where the body's end cannot be told, the connection ends behind the answer: nothing of it is taken for a request. */
static void chunked_body_ends(void **state)
{
	static const char *const methods[] = {"GET", "POST"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct visit visit;

		visit_open(&visit);
		visit_say(&visit, methods[i]);
		visit_say(&visit,
			" / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" GET_PAGE);
		RUN_UNTIL(&visit, visit.ended);
		assert_int_equal(count(visit.text, "HTTP/1.1 "), 1);
		assert_non_null(strstr(visit.text, "\r\nconnection: close\r\n"));
		close(visit.fd);
	}
}

/* HEAD tells the length and sends no body. */
static void head_has_no_body(void **state)
{
	struct visit visit;

	(void)state;
	visit_open(&visit);
	visit_say(&visit, "HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	RUN_UNTIL(&visit, visit.ended);
	assert_non_null(strstr(visit.text, "\r\ncontent-length: 33\r\n"));
	assert_string_equal(visit.text + visit.len - 4, "\r\n\r\n");
	close(visit.fd);
}

/* A visitor that says it has sent all is not held for ever. */
static void half_closed_visitor_ends(void **state)
{
	struct visit visit;

	(void)state;
	visit_open(&visit);
	visit_say(&visit, "GET / HTT");
	assert_int_equal(shutdown(visit.fd, SHUT_WR), 0);
	RUN_UNTIL(&visit, visit.ended);
	close(visit.fd);
}

/* Garbage ends its own connection and no other. */
static void garbage_ends_its_own_connection(void **state)
{
	struct visit other;
	struct visit visit;

	(void)state;
	visit_open(&other);
	visit_open(&visit);
	visit_say(&visit, GET_PAGE "\x01\x02\xff garbage\r\n\r\n");
	RUN_UNTIL(&visit, visit.ended);
	visit_say(&other, GET_PAGE);
	RUN_UNTIL(&other, strstr(other.text, PAGE));
	close(visit.fd);
	close(other.fd);
}

/* A hundred at once, each asking in its turn. */
static void hundred_visitors(void **state)
{
	enum { COUNT = 100 };
	struct visit *visits = calloc(COUNT, sizeof(*visits));

	(void)state;
	for (unsigned i = 0; i < COUNT; i++)
		visit_open(&visits[i]);
	for (unsigned i = 0; i < COUNT; i++)
		visit_say(&visits[i], GET_PAGE);
	for (unsigned i = 0; i < COUNT; i++)
		RUN_UNTIL(&visits[i], strstr(visits[i].text, PAGE));
	for (unsigned i = 0; i < COUNT; i++)
		close(visits[i].fd);
	free(visits);
}

/* Beyond its limit the web site refuses, and takes visitors again when others have gone. */
static void limit_is_kept(void **state)
{
	enum { COUNT = 1100 };
	int *fds = calloc(COUNT, sizeof(*fds));
	struct visit visit;
	unsigned opened = 0;

	(void)state;
	while (opened < COUNT && (fds[opened] = website_connect(website)) >= 0)
		opened++;
	if (opened == COUNT || (fds[opened] != -EBUSY && fds[opened] != -EMFILE))
		fail_msg("limit after %u: %d", opened, fds[opened]);
	while (opened > 0)
		close(fds[--opened]);
	free(fds);
	for (unsigned turn = 0; turn < 20; turn++)
		run_turn(NULL);
	visit_open(&visit);
	visit_say(&visit, GET_PAGE);
	RUN_UNTIL(&visit, strstr(visit.text, PAGE));
	close(visit.fd);
}

/* Closing with visitors in every state ends them. */
static void close_ends_visitors(void **state)
{
	struct visit visits[4];

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		visit_open(&visits[i]);
	visit_say(&visits[1], GET_PAGE);
	visit_say(&visits[2], "GET / HT");
	visit_say(&visits[3], "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234");
	RUN_UNTIL(&visits[1], strstr(visits[1].text, PAGE));
	website_close(website);
	website = NULL;
	for (unsigned i = 0; i < 4; i++) {
		RUN_UNTIL(&visits[i], visits[i].ended);
		close(visits[i].fd);
	}
}

static unsigned refusal_of(const char *text)
{
	struct http_head head;
	size_t used;

	assert_int_equal(http_head_parse_request(text, strlen(text), &head, &used), HTTP_OK);
	return website_refusal(&head);
}

/* Requests that libwebsockets would answer in its own words are refused before it sees them. */
static void refusals(void **state)
{
	(void)state;
	assert_int_equal(refusal_of(GET_PAGE), 0);
	assert_int_equal(refusal_of("HEAD /a%20b?c=%41 HTTP/1.1\r\nHost: x\r\n\r\n"), 0);
	assert_int_equal(refusal_of("GET / HTTP/1.0\r\n\r\n"), 0);
	assert_int_equal(refusal_of("BOGUS / HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
	assert_int_equal(refusal_of("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n"), 405);
	assert_int_equal(refusal_of("GET * HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
	assert_int_equal(refusal_of("GET /%4 HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
	assert_int_equal(refusal_of("GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n"), 400);
	assert_int_equal(refusal_of("GET / HTTP/1.1\r\n\r\n"), 400);
	assert_int_equal(refusal_of("GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n"), 400);
	assert_int_equal(refusal_of("GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"), 411);
}

/* An error that does not fit is told, not cut. */
static void error_that_does_not_fit(void **state)
{
	char buf[WEBSITE_ERROR_MAX];
	int len = website_format_error(buf, sizeof(buf), 431, true, true);

	(void)state;
	assert_true(len > 0);
	for (size_t size = 0; size < (size_t)len; size += 7)
		assert_int_equal(website_format_error(buf, size, 431, true, true), -ENOBUFS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(descriptor_is_as_promised),
		TEST(page_and_not_found),
		TEST(bytes_one_by_one),
		TEST(two_at_once),
		TEST(body_is_dropped),
		TEST(chunked_body_ends),
		TEST(head_has_no_body),
		TEST(half_closed_visitor_ends),
		TEST(garbage_ends_its_own_connection),
		TEST(hundred_visitors),
		TEST(limit_is_kept),
		TEST(close_ends_visitors),
		cmocka_unit_test(refusals),
		cmocka_unit_test(error_that_does_not_fit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
