/* Secrets from files: the first line, and files that hold no secret. */
#include "common/base/secret.h"

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

static char path[] = "/tmp/test_secret.XXXXXX";

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

static void write_file(const char *bytes, size_t len)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_int_equal(fwrite(bytes, 1, len, file), len);
	assert_int_equal(fclose(file), 0);
}

static void assert_secret(const char *content, const char *expected)
{
	struct err err = {""};
	char *text = NULL;

	write_file(content, strlen(content));
	assert_int_equal(secret_read_file(path, 16, &text, &err), 0);
	assert_string_equal(text, expected);
	secret_free(text);
}

/* The secret is the first line, whatever ends it. */
static void first_line_is_read(void **state)
{
	(void)state;
	assert_secret("token", "token");
	assert_secret("token\n", "token");
	assert_secret("token\r\n", "token");
	assert_secret("token\nsecond\n", "token");
	assert_secret(" token \n", " token ");
}

/* As long as allowed is fine with every line end. */
static void longest_is_read(void **state)
{
	(void)state;
	assert_secret("0123456789abcdef", "0123456789abcdef");
	assert_secret("0123456789abcdef\n", "0123456789abcdef");
	assert_secret("0123456789abcdef\r\nsecond", "0123456789abcdef");
}

static void assert_refused(const char *content, size_t len, const char *word)
{
	struct err err = {""};
	char *text = NULL;

	write_file(content, len);
	assert_int_equal(secret_read_file(path, 16, &text, &err), -EINVAL);
	assert_null(text);
	assert_non_null(strstr(err.text, word));
	assert_non_null(strstr(err.text, path));
	assert_null(strstr(err.text, "0123456789"));
}

/* Nothing, too much and a NUL byte are refused, and the message does not show what was there. */
static void no_secret_is_refused(void **state)
{
	(void)state;
	assert_refused("", 0, "empty");
	assert_refused("\n0123456789", 11, "empty");
	assert_refused("\r\n", 2, "empty");
	assert_refused("0123456789abcdefg", 17, "longer");
	assert_refused("0123456789abcdef0123456789abcdef0123456789abcdef", 48, "longer");
	assert_refused("0123456789\0\n", 12, "NUL");
}

/* A file that is not there, or is none, is named with the system's words. */
static void missing_file_is_named(void **state)
{
	struct err err = {""};
	char *text = NULL;

	(void)state;
	assert_int_equal(secret_read_file("/nonexistent/token", 16, &text, &err), -ENOENT);
	assert_string_equal(err.text, "/nonexistent/token: No such file or directory");
	assert_int_equal(secret_read_file("/", 16, &text, &err), -EISDIR);
	assert_null(text);
}

/* Memory is equal where every byte is. */
static void equality_is_of_every_byte(void **state)
{
	(void)state;
	assert_true(secret_equal("abc", "abc", 3));
	assert_false(secret_equal("abc", "abd", 3));
	assert_false(secret_equal("abc", "bbc", 3));
	assert_true(secret_equal("abc", "abd", 2));
}

/* Wiped memory is zero; nothing is fine. */
static void wiped_memory_is_zero(void **state)
{
	char text[] = "secret";

	(void)state;
	secret_wipe(text, sizeof(text));
	for (size_t i = 0; i < sizeof(text); i++)
		assert_int_equal(text[i], 0);
	secret_wipe(NULL, 0);
	secret_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_line_is_read),
		cmocka_unit_test(longest_is_read),
		cmocka_unit_test(no_secret_is_refused),
		cmocka_unit_test(missing_file_is_named),
		cmocka_unit_test(equality_is_of_every_byte),
		cmocka_unit_test(wiped_memory_is_zero),
	};

	return cmocka_run_group_tests_name("secret", tests, make_file, remove_file);
}
