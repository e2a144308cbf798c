/* A configuration and its drop-ins: which files are read, in which order, and what is said about them. */
#include "common/base/dropins.h"
#include "common/base/place.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	char folder[32], path[64];
	struct ini ini;
	struct ini_report report;
	struct err err;
};

static void write_file(const struct fixture *f, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

/* @path: as the user names the file. */
static int read_config(struct fixture *f, const char *path)
{
	ini_done(&f->ini);
	ini_report_done(&f->report);
	return dropins_read(path, &f->ini, &f->report, &f->err);
}

/* The names of all sections, one letter each. */
static const char *sections_of(const struct fixture *f)
{
	static char text[32];

	text[0] = '\0';
	for (size_t i = 0; i < f->ini.section_count; i++)
		strncat(text, f->ini.sections[i].name, sizeof(text) - strlen(text) - 1);
	return text;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	char folder[64];

	*state = f;
	strcpy(f->folder, "/tmp/test_dropins.XXXXXX");
	if (!f || !mkdtemp(f->folder))
		return -1;
	snprintf(f->path, sizeof(f->path), "%s/hub.conf", f->folder);
	snprintf(folder, sizeof(folder), "%s/hub.d", f->folder);
	write_file(f, "hub.conf", "[M]\nkey = 1\n");
	return mkdir(folder, 0700);
}

static int teardown(void **state)
{
	struct fixture *f = *state;
	char command[64];
	int rc;

	ini_done(&f->ini);
	ini_report_done(&f->report);
	snprintf(command, sizeof(command), "rm -r %s", f->folder);
	rc = system(command);
	free(f);
	return rc;
}

static void dropins_follow_in_the_order_of_their_names(void **state)
{
	struct fixture *f = *state;

	write_file(f, "hub.d/b.conf", "[B]\n");
	write_file(f, "hub.d/a.conf", "[A]\n[C]\n");
	write_file(f, "hub.d/Z.conf", "[Z]\n"); /* bytes, not the locale's order */
	assert_int_equal(read_config(f, f->path), 0);
	assert_string_equal(sections_of(f), "MZACB");
}

/* What editors and package managers leave behind. */
static void only_names_that_end_in_conf_are_read(void **state)
{
	static const char *const others[] = {"hub.d/.a.conf.swp", "hub.d/.a.conf", "hub.d/a.conf~", "hub.d/#a.conf#",
		"hub.d/a.conf.dpkg-new", "hub.d/a.conf.dpkg-old", "hub.d/a.conf.bak", "hub.d/4913", "hub.d/a.CONF",
		"hub.d/a.conf.Xy3Kc1", "hub.d/.conf"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		write_file(f, others[i], "[X]\n");
	assert_int_equal(read_config(f, f->path), 0);
	assert_string_equal(sections_of(f), "M");
}

static void without_a_folder_there_are_none(void **state)
{
	struct fixture *f = *state;
	char folder[64];

	snprintf(folder, sizeof(folder), "%s/hub.d", f->folder);
	assert_int_equal(rmdir(folder), 0);
	assert_int_equal(read_config(f, f->path), 0);
	assert_string_equal(sections_of(f), "M");
}

/* "as if they stood at its end" stops at the section: a forgotten header must not put a key into another file's. */
static void a_dropin_begins_with_a_section(void **state)
{
	struct fixture *f = *state;
	char expected[160];

	write_file(f, "hub.d/a.conf", "\nkey = 2\n");
	write_file(f, "hub.d/b.conf", "[B]\n");
	assert_int_equal(read_config(f, f->path), -EINVAL);
	assert_int_equal(f->report.count, 1);
	snprintf(expected, sizeof(expected), "%s/hub.d/a.conf:2: key: a key stands before the first section; ", f->folder);
	assert_memory_equal(f->report.lines[0], expected, strlen(expected));
	assert_string_equal(sections_of(f), "MB"); /* the others are checked as well */
}

static void a_place_names_its_file(void **state)
{
	struct fixture *f = *state;
	char expected[160];

	write_file(f, "hub.d/a.conf", "# a comment\n[A]\nkey = 1\n");
	assert_int_equal(read_config(f, f->path), 0);
	snprintf(expected, sizeof(expected), "%s/hub.d/a.conf:3", f->folder);
	assert_string_equal(PLACE(f->ini.path, f->ini.sections[1].entries[0].line), expected);
	snprintf(expected, sizeof(expected), "%s:2", f->path);
	assert_string_equal(PLACE(f->ini.path, f->ini.sections[0].entries[0].line), expected);
}

static void a_file_without_conf_has_them_too(void **state)
{
	struct fixture *f = *state;
	char path[64];

	write_file(f, "hub", "[N]\n");
	write_file(f, "hub.d/a.conf", "[A]\n");
	snprintf(path, sizeof(path), "%s/hub", f->folder);
	assert_int_equal(read_config(f, path), 0);
	assert_string_equal(sections_of(f), "NA");
}

/* Nothing of what belongs to the configuration is passed over. */
static void what_cannot_be_read_is_named(void **state)
{
	struct fixture *f = *state;
	char path[64];

	snprintf(path, sizeof(path), "%s/hub.d/a.conf", f->folder);
	assert_int_equal(symlink("/nonexistent", path), 0);
	assert_int_equal(read_config(f, f->path), -ENOENT);
	assert_non_null(strstr(f->err.text, "/hub.d/a.conf: No such file"));
	assert_null(f->ini.path);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(read_config(f, f->path), -EISDIR);
	assert_non_null(strstr(f->err.text, "/hub.d/a.conf: Is a directory"));
	assert_int_equal(rmdir(path), 0);
	snprintf(path, sizeof(path), "%s/hub.d", f->folder);
	assert_int_equal(rmdir(path), 0);
	write_file(f, "hub.d", "");
	assert_int_equal(read_config(f, f->path), -ENOTDIR);
	assert_non_null(strstr(f->err.text, "/hub.d: Not a directory"));
	assert_int_equal(read_config(f, "/nonexistent/x.conf"), -ENOENT);
}

/* Lines beyond would have the numbers of the next drop-in. */
static void too_many_lines_are_refused(void **state)
{
	struct fixture *f = *state;
	char *text = malloc(PLACE_LINES_MAX + 8);

	memset(text, '\n', PLACE_LINES_MAX);
	strcpy(text + PLACE_LINES_MAX - 4, "[A]\n");
	write_file(f, "hub.d/a.conf", text);
	assert_int_equal(read_config(f, f->path), 0);
	strcpy(text + PLACE_LINES_MAX - 4, "\n\n\n\n[A]\n");
	write_file(f, "hub.d/a.conf", text);
	free(text);
	assert_int_equal(read_config(f, f->path), -EINVAL);
	assert_non_null(strstr(f->report.lines[0], "/hub.d/a.conf:32767: a drop-in has at most 32767 lines"));
}

int main(void)
{
#define DROPINS_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		DROPINS_TEST(dropins_follow_in_the_order_of_their_names),
		DROPINS_TEST(only_names_that_end_in_conf_are_read),
		DROPINS_TEST(without_a_folder_there_are_none),
		DROPINS_TEST(a_dropin_begins_with_a_section),
		DROPINS_TEST(a_place_names_its_file),
		DROPINS_TEST(a_file_without_conf_has_them_too),
		DROPINS_TEST(what_cannot_be_read_is_named),
		DROPINS_TEST(too_many_lines_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
