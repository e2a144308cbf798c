/* Lines on stderr: prefix, levels, repetitions, one event one line, text from outside. */
#include "common/base/log.h"
#include "common/base/require.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static int saved_stderr = -1;
static char written[65536];

/* From here on stderr is a file in memory, and what earlier tests left pending is gone. */
static int capture(void **state)
{
	int fd = memfd_create("log", MFD_CLOEXEC);

	(void)state;
	unsetenv("JOURNAL_STREAM");
	log_set_level(LOG_LEVEL_INFO);
	log_set_verbose(false);
	saved_stderr = dup(STDERR_FILENO);
	if (fd < 0 || saved_stderr < 0 || dup2(fd, STDERR_FILENO) < 0)
		return -1;
	close(fd);
	log_flush();
	return ftruncate(STDERR_FILENO, 0) < 0 || lseek(STDERR_FILENO, 0, SEEK_SET) < 0 ? -1 : 0;
}

static int release(void **state)
{
	(void)state;
	if (dup2(saved_stderr, STDERR_FILENO) < 0)
		return -1;
	return close(saved_stderr);
}

static const char *output(void)
{
	ssize_t len = pread(STDERR_FILENO, written, sizeof(written) - 1, 0);

	written[len < 0 ? 0 : len] = '\0';
	return written;
}

/* A line is area, colon, text. */
static void line_begins_with_area(void **state)
{
	(void)state;
	log_info("session", "%s: up", "laptop");
	assert_string_equal(output(), "session: laptop: up\n");
}

/* With JOURNAL_STREAM the journal's priority stands in front, also when verbose. */
static void journal_gets_priority(void **state)
{
	(void)state;
	setenv("JOURNAL_STREAM", "8:1", 1);
	log_set_verbose(true);
	log_info("link", "one");
	log_error("link", "two");
	assert_string_equal(output(), "<6>link: one\n<3>link: two\n");
}

/* Verbose shows time and level on a terminal. */
static void verbose_shows_level_and_time(void **state)
{
	(void)state;
	log_set_verbose(true);
	log_warning("link", "verbose line");
	assert_non_null(strstr(output(), "Z warning link: verbose line\n"));
	assert_int_equal(written[10], 'T');
}

/* Events above the level are not shown. */
static void level_hides(void **state)
{
	(void)state;
	log_set_level(LOG_LEVEL_WARNING);
	assert_int_equal(log_get_level(), LOG_LEVEL_WARNING);
	log_info("link", "hidden");
	log_notice("link", "hidden too");
	log_warning("link", "shown");
	assert_string_equal(output(), "link: shown\n");
}

/* A line that comes again is counted, and the count is told when another one comes. */
static void repetitions_are_counted(void **state)
{
	(void)state;
	for (int i = 0; i < 4; i++)
		log_info("link", "refused");
	log_info("link", "up");
	assert_string_equal(output(), "link: refused\nlink: last message repeated 3 times\nlink: up\n");
}

/* Area and level belong to a line as well as its text. */
static void other_area_or_level_is_no_repetition(void **state)
{
	(void)state;
	log_info("link", "x");
	log_info("session", "x");
	log_warning("session", "x");
	assert_string_equal(output(), "link: x\nsession: x\nsession: x\n");
}

/* Events that are not shown do not interrupt a row of repetitions. */
static void hidden_line_does_not_end_a_row(void **state)
{
	(void)state;
	log_info("link", "row");
	log_debug("link", "hidden");
	log_info("link", "row");
	assert_string_equal(output(), "link: row\n");
}

/* log_flush() tells the count once, and the row goes on. */
static void flush_tells_the_count(void **state)
{
	(void)state;
	log_info("link", "again");
	log_info("link", "again");
	log_flush();
	log_flush();
	log_info("link", "again");
	assert_string_equal(output(), "link: again\nlink: last message repeated 1 times\n");
	log_flush();
}

/* An event stays one line whatever its text has, so that no peer can forge a second one. */
static void text_is_flattened(void **state)
{
	(void)state;
	log_info("link", "a\n<3>link: b\tc\x1b[1m\r\n");
	assert_string_equal(output(), "link: a <3>link: b c [1m\n");
}

/* A very long line is cut and still ends. */
static void long_line_is_cut(void **state)
{
	char *text = calloc(1, 100001);

	(void)state;
	assert_non_null(text);
	memset(text, 'x', 100000);
	log_info("link", "%s", text);
	log_info(text, "area");
	free(text);
	output();
	assert_true(strlen(written) < 5000);
	assert_int_equal(written[strlen(written) - 1], '\n');
}

/* Text from outside is made harmless and never half an escape. */
static void quote_escapes(void **state)
{
	char buf[16];

	(void)state;
	assert_string_equal(log_quote(buf, sizeof(buf), "a\n\xff z", 5), "a\\x0a\\xff z");
	assert_string_equal(log_quote(buf, 6, "ab\ncd", 5), "ab");
	assert_string_equal(log_quote(buf, 7, "ab\ncd", 5), "ab\\x0a");
	assert_string_equal(log_quote(buf, sizeof(buf), "", 0), "");
	assert_string_equal(log_quote(buf, sizeof(buf), "a\0b", 3), "a\\x00b");
}

/* A broken requirement is told with its place and ends the program; one that holds has no effect. */
static void broken_requirement_is_told_and_aborts(void **state)
{
	int status = 0, evaluated = 0;
	pid_t pid = fork();

	(void)state;
	if (pid == 0) {
		require(1 + 1 == 3);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	assert_non_null(strstr(output(), "internal: "));
	assert_non_null(strstr(output(), "test_log.c:"));
	assert_non_null(strstr(output(), "1 + 1 == 3"));
	assert_int_equal(ftruncate(STDERR_FILENO, 0), 0);
	require(++evaluated == 1);
	assert_int_equal(evaluated, 1);
	assert_string_equal(output(), "");
}

/* The last lines are kept for the status, those of debug are not, nor more than there is room for. */
static void last_lines_are_kept(void **state)
{
	char text[2000];

	(void)state;
	log_set_level(LOG_LEVEL_DEBUG);
	log_warning("link", "first");
	log_debug("link", "hidden");
	assert_string_equal(log_event_find(0)->text, "link: first");
	assert_int_equal(log_event_find(0)->level, LOG_LEVEL_WARNING);
	for (int i = 0; i < 3 * LOG_EVENTS_MAX; i++)
		log_info("link", "%d", i);
	for (int i = 0; i < LOG_EVENTS_MAX; i++)
		assert_int_equal(atoi(log_event_find((size_t)i)->text + 6), 3 * LOG_EVENTS_MAX - 1 - i);
	assert_null(log_event_find(LOG_EVENTS_MAX));
	memset(text, 'x', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	log_info("link", "%s", text);
	assert_int_equal(strlen(log_event_find(0)->text), LOG_EVENT_MAX - 1);
}

#define LOG_TEST(name) cmocka_unit_test_setup_teardown(name, capture, release)

int main(void)
{
	const struct CMUnitTest tests[] = {
		LOG_TEST(line_begins_with_area),
		LOG_TEST(journal_gets_priority),
		LOG_TEST(verbose_shows_level_and_time),
		LOG_TEST(level_hides),
		LOG_TEST(repetitions_are_counted),
		LOG_TEST(other_area_or_level_is_no_repetition),
		LOG_TEST(hidden_line_does_not_end_a_row),
		LOG_TEST(flush_tells_the_count),
		LOG_TEST(text_is_flattened),
		LOG_TEST(long_line_is_cut),
		LOG_TEST(last_lines_are_kept),
		LOG_TEST(broken_requirement_is_told_and_aborts),
		cmocka_unit_test(quote_escapes),
	};

	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
