/* INI as wg-quick reads it: entries with their lines, and lines that are refused. */
#include "common/base/ini.h"

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

static char path[] = "/tmp/test_ini.XXXXXX";

static int make_file(void **state)
{
	int fd = mkstemp(path);

	(void)state;
	return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

struct fixture {
	struct ini ini;
	struct ini_report report;
	struct err err;
};

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	ini_done(&f->ini);
	ini_report_done(&f->report);
	free(f);
	return 0;
}

static int read_bytes(struct fixture *f, const char *bytes, size_t len)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
	return ini_read(path, &f->ini, &f->report, &f->err);
}

static int read_text(struct fixture *f, const char *text)
{
	return read_bytes(f, text, strlen(text));
}

static void assert_entry(
	struct fixture *f, size_t section, size_t entry, const char *key, const char *value, unsigned line)
{
	assert_true(section < f->ini.section_count);
	assert_true(entry < f->ini.sections[section].entry_count);
	assert_string_equal(f->ini.sections[section].entries[entry].key, key);
	assert_string_equal(f->ini.sections[section].entries[entry].value, value);
	assert_int_equal(f->ini.sections[section].entries[entry].line, line);
}

/* Sections and entries keep their order, spelling and lines; sections may repeat. */
static void sections_and_entries_are_read(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, "# head\n[Interface]\nprivatekey = x\n\n[PEER]\nA=1\nB=2\n[Peer]\n"), 0);
	assert_int_equal(f->ini.section_count, 3);
	assert_string_equal(f->ini.sections[0].name, "Interface");
	assert_int_equal(f->ini.sections[0].line, 2);
	assert_entry(f, 0, 0, "privatekey", "x", 3);
	assert_string_equal(f->ini.sections[1].name, "PEER");
	assert_entry(f, 1, 1, "B", "2", 7);
	assert_int_equal(f->ini.sections[2].entry_count, 0);
	assert_string_equal(f->ini.path, path);
}

/* Blanks around, comments behind and Windows' line ends do not belong to a value. */
static void blanks_and_comments_go(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, " [ S ] # x\r\n\t A \t=  b c\t # d\r\nE =\nF = # only\nG = a=b=\nH=1"), 0);
	assert_string_equal(f->ini.sections[0].name, "S");
	assert_entry(f, 0, 0, "A", "b c", 2);
	assert_entry(f, 0, 1, "E", "", 3);
	assert_entry(f, 0, 2, "F", "", 4);
	assert_entry(f, 0, 3, "G", "a=b=", 5);
	assert_entry(f, 0, 4, "H", "1", 6);
}

/* A file without anything is valid here. */
static void empty_file_has_no_sections(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, ""), 0);
	assert_int_equal(f->ini.section_count, 0);
	ini_done(&f->ini);
	assert_int_equal(read_text(f, "\n # x\n\n"), 0);
	assert_int_equal(f->ini.section_count, 0);
}

/* Every wrong line gets its message, and the right ones are read all the same. */
static void wrong_lines_are_all_told(void **state)
{
	struct fixture *f = *state;
	char expected[128];

	assert_int_equal(read_text(f, "Early = 1\n[A\nB = 1\n[C] d\n[]\n[C]\nD\nE = 2\n= 3\nF G = 4\n"), -EINVAL);
	assert_int_equal(f->report.count, 7);
	snprintf(expected, sizeof(expected), "%s:1: Early: a key stands before the first section", path);
	assert_memory_equal(f->report.lines[0], expected, strlen(expected));
	for (size_t i = 1; i < 7; i++) {
		static const unsigned lines[] = {0, 2, 4, 5, 7, 9, 10};

		snprintf(expected, sizeof(expected), "%s:%u: ", path, lines[i]);
		assert_memory_equal(f->report.lines[i], expected, strlen(expected));
	}
	assert_int_equal(f->ini.section_count, 1);
	assert_entry(f, 0, 0, "E", "2", 8);
}

/* A line that is not understood may be a key without its name: it is not shown. */
static void misplaced_secret_is_not_shown(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(
		read_text(f, "yAnz5TFlXXJte14tji3zlMNqhd2rYUIgJBgB3fBmkmmm=\n[A]\n"
			     "PrivateKey yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\nyAnz5TF+lXX\n[yAnz5TF\n"),
		-EINVAL);
	assert_int_equal(f->report.count, 4);
	for (size_t i = 0; i < f->report.count; i++)
		assert_null(strstr(f->report.lines[i], "yAnz5TF"));
}

/* A NUL byte is refused, it would hide what follows. */
static void nul_byte_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_bytes(f, "[A]\nB = 1\0#\nC = 2\n", 18), -EINVAL);
	assert_int_equal(f->report.count, 1);
	assert_non_null(strstr(f->report.lines[0], ":2: the line has a NUL byte"));
	assert_entry(f, 0, 0, "C", "2", 3);
}

/* A line may be as long as the file: a list of 11,000 prefixes is 180 KB. */
static void line_may_be_long(void **state)
{
	enum { LONG = 1 << 20 };
	struct fixture *f = *state;
	char *text = malloc(LONG);

	assert_non_null(text);
	memset(text, 'x', LONG);
	memcpy(text, "[A]\nB=", 6);
	assert_int_equal(read_bytes(f, text, LONG), 0);
	assert_int_equal(strlen(f->ini.sections[0].entries[0].value), LONG - 6);
	free(text);
}

/* Windows' editors: a byte order mark, CRLF, both; and files with marks, joined. */
static void byte_order_marks_and_carriage_returns_are_passed_over(void **state)
{
	static const char *const texts[] = {"\xef\xbb\xbf[A]\nB = 1\n", "[A]\r\nB = 1\r\n",
		"\xef\xbb\xbf[A]\r\nB = 1\r\n", "\xef\xbb\xbf# x\r\n\xef\xbb\xbf[A]\nB = 1",
		"\xef\xbb\xbf\n[A]\nB = 1 # x\r\n", "\xef\xbb\xbf [ A ] \r\nB=1\r"};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		assert_int_equal(read_bytes(f, texts[i], strlen(texts[i])), 0);
		assert_int_equal(f->ini.section_count, 1);
		assert_string_equal(f->ini.sections[0].name, "A");
		assert_string_equal(f->ini.sections[0].entries[0].key, "B");
		assert_string_equal(f->ini.sections[0].entries[0].value, "1");
		ini_done(&f->ini);
	}
	assert_int_equal(read_bytes(f, "\xef\xbb\xbf", 3), 0);
}

/* UTF-16 is told once and not line by line, in both byte orders, with a mark or without. */
static void other_encodings_are_named_once(void **state)
{
	static const struct {
		const char *bytes;
		size_t len;
		const char *command;
	} cases[] = {{"\xff\xfe[\0A\0]\0\n\0", 10, "iconv -f UTF-16 "},
		{"\xfe\xff\0[\0A\0]\0\n", 10, "iconv -f UTF-16 "}, {"[\0A\0]\0\n\0", 8, "iconv -f UTF-16LE "},
		{"\0[\0A\0]\0\n", 8, "iconv -f UTF-16BE "}, {"\xff\xfe\0\0[\0\0\0", 8, "iconv -f UTF-32 "},
		{"\xff\xfe", 2, "iconv -f UTF-16 "}, {"#\0 \0\xfc\0\r\0\n\0", 10, "iconv -f UTF-16LE "}};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		assert_int_equal(read_bytes(f, cases[i].bytes, cases[i].len), -EILSEQ);
		assert_int_equal(f->report.count, 0);
		assert_non_null(strstr(f->err.text, cases[i].command));
		assert_non_null(strstr(f->err.text, ":1: the file is UTF-"));
	}
}

/* A file over the limit is refused as a whole. */
static void file_size_is_limited(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(read_text(f, ""), 0);
	ini_done(&f->ini);
	assert_int_equal(truncate(path, INI_FILE_MAX + 1), 0);
	assert_int_equal(ini_read(path, &f->ini, &f->report, &f->err), -EFBIG);
	assert_non_null(strstr(f->err.text, path));
}

/* A file that cannot be read is named with the system's words, and nothing is left over. */
static void missing_file_is_named(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(ini_read("/nonexistent/x.conf", &f->ini, &f->report, &f->err), -ENOENT);
	assert_string_equal(f->err.text, "/nonexistent/x.conf: No such file or directory");
	assert_int_equal(ini_read("/", &f->ini, &f->report, &f->err), -EISDIR);
	assert_null(f->ini.path);
	assert_int_equal(f->report.count, 0);
}

/* A reload does not wait for the writer of a pipe, who may never come. */
static void pipe_is_no_file(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(unlink(path), 0);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(ini_read(path, &f->ini, &f->report, &f->err), -ENODEV);
	assert_int_equal(unlink(path), 0);
	assert_non_null(strstr(f->err.text, ": not a regular file"));
	assert_null(f->ini.path);
	assert_int_equal(read_text(f, ""), 0);
}

/* Many sections and entries are no trouble. */
static void many_entries_are_read(void **state)
{
	struct fixture *f = *state;
	char *text = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&text, &size);

	assert_non_null(file);
	for (int i = 0; i < 3000; i++)
		fprintf(file, "[Peer]\nName = p%d\nToken = t\n", i);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(read_bytes(f, text, size), 0);
	free(text);
	assert_int_equal(f->ini.section_count, 3000);
	assert_entry(f, 2999, 0, "Name", "p2999", 8999);
}

/* Control characters do not reach the terminal by way of a message. */
static void report_is_printable(void **state)
{
	struct fixture *f = *state;

	ini_report_add(&f->report, "x.conf", 7, "%s: '%s': is wrong", "Key", "a\x1b[1mb");
	assert_string_equal(f->report.lines[0], "x.conf:7: Key: 'a?[1mb': is wrong");
}

/* The nearest known word is found in any case, also with two letters swapped; a far one is none. */
static void nearest_word_is_found(void **state)
{
	static const char *const known[] = {"PrivateKey", "PublicKey", "AllowedIPs", "MTU", "Token", NULL};

	(void)state;
	assert_string_equal(ini_nearest("PirvateKey", known), "PrivateKey");
	assert_string_equal(ini_nearest("publikey", known), "PublicKey");
	assert_string_equal(ini_nearest("AllowedIP", known), "AllowedIPs");
	assert_string_equal(ini_nearest("Tokne", known), "Token");
	assert_string_equal(ini_nearest("token", known), "Token");
	assert_string_equal(ini_nearest("MTV", known), "MTU");
	assert_null(ini_nearest("Xyz", known));
	assert_null(ini_nearest("Endpoint", known));
	assert_null(ini_nearest("", known));
	assert_null(ini_nearest("PrivateKeyPrivateKeyPrivateKeyPrivateKey", known));
}

/* In one error: what does not fit is counted, no line is cut. */
static void lines_are_joined_whole(void **state)
{
	struct ini_report report = {0};
	struct err err = {"as it was"};

	(void)state;
	assert_int_equal(ini_report_join(&report, -EINVAL, &err), -EINVAL);
	assert_string_equal(err.text, "as it was");
	ini_report_add(&report, "x.conf", 1, "%s", "one");
	ini_report_add(&report, "x.conf", 2, "%s", "two");
	ini_report_join(&report, -EINVAL, &err);
	assert_string_equal(err.text, "x.conf:1: one\nx.conf:2: two");
	ini_report_add(&report, "x.conf", 3, "%0*d", ERR_TEXT_MAX, 0);
	ini_report_add(&report, "x.conf", 4, "%s", "four");
	ini_report_join(&report, -EINVAL, &err);
	assert_string_equal(err.text, "x.conf:1: one\nx.conf:2: two\n2 lines more; check tells them all");
	ini_report_done(&report);
}

#define INI_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		INI_TEST(sections_and_entries_are_read),
		INI_TEST(blanks_and_comments_go),
		INI_TEST(empty_file_has_no_sections),
		INI_TEST(wrong_lines_are_all_told),
		INI_TEST(misplaced_secret_is_not_shown),
		INI_TEST(nul_byte_is_refused),
		INI_TEST(line_may_be_long),
		INI_TEST(byte_order_marks_and_carriage_returns_are_passed_over),
		INI_TEST(other_encodings_are_named_once),
		INI_TEST(file_size_is_limited),
		INI_TEST(missing_file_is_named),
		INI_TEST(pipe_is_no_file),
		INI_TEST(many_entries_are_read),
		INI_TEST(report_is_printable),
		cmocka_unit_test(nearest_word_is_found),
		cmocka_unit_test(lines_are_joined_whole),
	};

	return cmocka_run_group_tests_name("ini", tests, make_file, remove_file);
}
