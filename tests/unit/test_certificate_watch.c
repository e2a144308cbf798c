/* When the certificate's files are read, and when a pair that does not fit is worth a warning. */
#include "server/certificate_watch.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define S 1000000ull
#define DAY_S (24ull * 3600)
#define START_S 1000u

static char top[64];
static struct certificate_watch watch;
static struct certificate_marks in_use;
static unsigned now_s;

static const char *in_top(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", top, name);
	return path;
}

static void write_at(const char *name, const char *text)
{
	int fd = open(in_top(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* As certbot keeps them: live/ has links into archive/. */
static int set_up(void **state)
{
	(void)state;
	snprintf(top, sizeof(top), "/tmp/test_certificate_watch.XXXXXX");
	assert_non_null(mkdtemp(top));
	write_at("fullchain1.pem", "certificate 1");
	write_at("privkey1.pem", "key 1");
	assert_int_equal(symlink("fullchain1.pem", in_top("fullchain.pem")), 0);
	assert_int_equal(symlink("privkey1.pem", in_top("privkey.pem")), 0);
	certificate_marks_look(&in_use, in_top("fullchain.pem"), in_top("privkey.pem"));
	watch = (struct certificate_watch){.read_us = START_S * S};
	now_s = START_S;
	return 0;
}

static int tear_down(void **state)
{
	static const char *const names[] = {"fullchain.pem", "privkey.pem", "fullchain1.pem", "privkey1.pem",
		"fullchain2.pem", "new", "away"};

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unlink(in_top(names[i]));
	return rmdir(top);
}

/* A look, 15 s after the one before. */
static bool is_due(void)
{
	struct certificate_marks now;

	now_s += CERTIFICATE_LOOK_MS / 1000;
	certificate_marks_look(&now, in_top("fullchain.pem"), in_top("privkey.pem"));
	return certificate_watch_is_due(&watch, &in_use, &now, now_s * S);
}

static bool refused_is_told(void)
{
	return certificate_watch_note(&watch, false, now_s * S);
}

static void take(void)
{
	certificate_marks_look(&in_use, in_top("fullchain.pem"), in_top("privkey.pem"));
	assert_false(certificate_watch_note(&watch, true, now_s * S));
}

static void files_that_stay_are_not_read(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++)
		assert_false(is_due());
}

static void link_that_turns_is_seen(void **state)
{
	(void)state;
	write_at("fullchain2.pem", "certificate 1"); /* of the same size */
	assert_false(is_due());
	assert_int_equal(symlink("fullchain2.pem", in_top("new")), 0);
	assert_int_equal(rename(in_top("new"), in_top("fullchain.pem")), 0);
	assert_true(is_due());
	take();
	assert_false(is_due());
}

static void write_in_place_is_seen(void **state)
{
	(void)state;
	usleep(20000); /* more than the granularity of a file's time */
	write_at("privkey1.pem", "key 2");
	assert_true(is_due());
	take();
	assert_false(is_due());
}

static void rename_over_is_seen(void **state)
{
	(void)state;
	write_at("new", "certificate 2");
	assert_int_equal(rename(in_top("new"), in_top("fullchain1.pem")), 0);
	assert_true(is_due());
}

static void touch_is_seen(void **state)
{
	(void)state;
	assert_int_equal(utimensat(AT_FDCWD, in_top("fullchain1.pem"), NULL, 0), 0);
	assert_true(is_due());
	take();
	assert_false(is_due());
}

static void file_that_goes_is_seen_and_its_return_too(void **state)
{
	(void)state;
	assert_int_equal(rename(in_top("privkey1.pem"), in_top("away")), 0);
	assert_true(is_due());
	assert_false(refused_is_told());
	assert_int_equal(rename(in_top("away"), in_top("privkey1.pem")), 0);
	assert_true(is_due());
	take();
	assert_false(is_due());
}

/* A change between the look and the reading belongs to the next look. */
static void what_is_written_after_the_look_is_read_at_the_next(void **state)
{
	struct certificate_marks before;

	(void)state;
	write_at("fullchain1.pem", "longer certificate");
	certificate_marks_look(&before, in_top("fullchain.pem"), in_top("privkey.pem"));
	write_at("fullchain1.pem", "the longest certificate");
	in_use = before;
	assert_false(certificate_watch_note(&watch, true, now_s * S));
	assert_true(is_due());
}

static void refused_pair_is_tried_at_each_look_and_told_once(void **state)
{
	unsigned told = 0;

	(void)state;
	write_at("fullchain1.pem", "of another key");
	for (unsigned i = 0; i < 40; i++) {
		assert_true(is_due());
		if (!refused_is_told())
			continue;
		assert_int_equal(now_s, START_S + 75); /* a minute after the first look that saw it */
		told++;
	}
	assert_int_equal(told, 1);
	take();
	assert_false(is_due());
}

static void refused_again_later_is_told_again(void **state)
{
	(void)state;
	for (unsigned round = 0; round < 2; round++) {
		unsigned told = 0;

		write_at("fullchain1.pem", round ? "of a third key" : "of another key");
		for (unsigned i = 0; i < 5; i++) {
			assert_true(is_due());
			told += refused_is_told();
		}
		assert_int_equal(told, 1);
		assert_true(is_due());
		take();
	}
}

/* Renewing our own can fail, too, without a file that changes. */
static void own_certificate_is_read_once_a_day_and_again_after_a_failure(void **state)
{
	struct certificate_marks none;

	(void)state;
	certificate_marks_look(&none, NULL, NULL);
	assert_false(certificate_watch_is_due(&watch, &none, &none, (START_S + DAY_S - 1) * S));
	assert_true(certificate_watch_is_due(&watch, &none, &none, (START_S + DAY_S) * S));
	assert_false(certificate_watch_note(&watch, false, (START_S + DAY_S) * S));
	assert_true(certificate_watch_is_due(&watch, &none, &none, (START_S + DAY_S + 15) * S));
	assert_false(certificate_watch_note(&watch, true, (START_S + DAY_S + 15) * S));
	assert_false(certificate_watch_is_due(&watch, &none, &none, (START_S + DAY_S + 30) * S));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(files_that_stay_are_not_read, set_up, tear_down),
		cmocka_unit_test_setup_teardown(link_that_turns_is_seen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(write_in_place_is_seen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(rename_over_is_seen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(touch_is_seen, set_up, tear_down),
		cmocka_unit_test_setup_teardown(file_that_goes_is_seen_and_its_return_too, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_written_after_the_look_is_read_at_the_next, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refused_pair_is_tried_at_each_look_and_told_once, set_up, tear_down),
		cmocka_unit_test_setup_teardown(refused_again_later_is_told_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			own_certificate_is_read_once_a_day_and_again_after_a_failure, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
