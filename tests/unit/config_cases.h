/* Shared by the tests of both programs' configurations: files made of text, complaints looked for, warnings caught. */
#pragma once

#include "common/base/ini.h"
#include "common/base/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY_A "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define KEY_B "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define TOKEN "0123456789abcdefgh"
#define INTERFACE "[Interface]\nPrivateKey = " KEY_A "\n" /* two lines */

static char case_folder[64];

/* A folder of the test's own; the tests run in it. */
static int case_setup(void **state)
{
	(void)state;
	strcpy(case_folder, "/tmp/towpath-unit-XXXXXX");
	return mkdtemp(case_folder) && chdir(case_folder) == 0 ? 0 : -1;
}

static int case_teardown(void **state)
{
	char command[128];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", case_folder);
	return chdir("/") == 0 && system(command) == 0 ? 0 : -1;
}

/* @text with the tests' folder for each "DIR/". Return: good until the next call but one. */
__attribute__((unused)) static const char *in_folder(const char *text)
{
	static char buffers[2][2048];
	static unsigned turn;
	char *to = buffers[turn++ % 2], *start = to;

	for (; *text; text++)
		if (strncmp(text, "DIR/", 4) == 0 && (size_t)(to - start) + sizeof(case_folder) < sizeof(*buffers)) {
			to = stpcpy(to, case_folder);
			text += 2;
		} else if ((size_t)(to - start) + 1 < sizeof(*buffers)) {
			*to++ = *text;
		}
	*to = '\0';
	return start;
}

static void write_file(const char *name, const char *text, mode_t mode)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

/* Is @line among the report's, exactly? */
static int has_line(const struct ini_report *report, const char *line)
{
	for (size_t i = 0; i < report->count; i++)
		if (strcmp(report->lines[i], line) == 0)
			return 1;
	return 0;
}

/* The report is exactly @line, or, for "", empty. */
static void assert_only_line(const struct ini_report *report, const char *text, const char *line)
{
	if (report->count == (*line ? 1u : 0u) && (!*line || has_line(report, line)))
		return;
	for (size_t i = 0; i < report->count; i++)
		print_error("said: %s\n", report->lines[i]);
	fail_msg("of:   %s\nnot:  %s", text, line);
}

static int case_stderr = -1;

/* The log goes into a file from now on. */
__attribute__((unused)) static void begin_warnings(void)
{
	int fd = open("warnings", O_RDWR | O_CREAT | O_TRUNC, 0600);

	case_stderr = dup(STDERR_FILENO);
	log_flush();
	assert_true(fd >= 0 && case_stderr >= 0 && dup2(fd, STDERR_FILENO) >= 0);
	close(fd);
}

/* Return: what was logged, until the next call. */
__attribute__((unused)) static const char *end_warnings(void)
{
	static char text[4096];
	int fd = open("warnings", O_RDONLY);
	ssize_t len;

	log_flush();
	dup2(case_stderr, STDERR_FILENO);
	close(case_stderr);
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[len > 0 ? len : 0] = '\0';
	return text;
}
