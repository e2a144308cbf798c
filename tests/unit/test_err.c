/* One line of error text: setting, wrapping, the system's and OpenSSL's words, too long a text. */
#include "common/base/err.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* The code comes back and the text is the formatted one. */
static void set_fills_text(void **state)
{
	struct err err = {""};

	(void)state;
	assert_int_equal(err_set(&err, -EINVAL, "port %d", 7), -EINVAL);
	assert_string_equal(err.text, "port 7");
}

/* The system's words stand behind the text. */
static void system_appends_words(void **state)
{
	struct err err = {""};

	(void)state;
	assert_int_equal(err_system(&err, -EACCES, "bind"), -EACCES);
	assert_string_equal(err.text, "bind: Permission denied");
}

/* Each caller puts its noun in front. */
static void wrap_puts_noun_in_front(void **state)
{
	struct err err = {""};

	(void)state;
	err_system(&err, -EACCES, "bind");
	assert_int_equal(err_wrap(&err, -EACCES, "listener %s", "[::]:443"), -EACCES);
	assert_string_equal(err.text, "listener [::]:443: bind: Permission denied");
}

/* The text that is there may be among the arguments. */
static void text_may_be_its_own_argument(void **state)
{
	struct err err = {"inner"};

	(void)state;
	err_set(&err, -EIO, "(%s)", err.text);
	assert_string_equal(err.text, "(inner)");
	err_wrap(&err, -EIO, "again %s", err.text);
	assert_string_equal(err.text, "again (inner): (inner)");
}

/* Too long a text is cut and terminated. */
static void long_text_is_cut(void **state)
{
	struct err err = {""};
	char noun[ERR_TEXT_MAX];

	(void)state;
	memset(noun, 'a', sizeof(noun) - 1);
	noun[sizeof(noun) - 1] = '\0';
	err_set(&err, -EIO, "x");
	for (int i = 0; i < 3; i++)
		err_wrap(&err, -EIO, "%s", noun);
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
}

/* No error to fill is fine, the code still comes back. */
static void null_is_fine(void **state)
{
	(void)state;
	assert_int_equal(err_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_wrap(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_system(NULL, -EIO, "x"), -EIO);
	assert_int_equal(err_openssl(NULL, -EIO, "x"), -EIO);
}

/* OpenSSL's oldest reason is told, and its queue is empty afterwards. */
static void openssl_queue_is_taken(void **state)
{
	struct err err = {""};

	(void)state;
	ERR_raise(ERR_LIB_PEM, PEM_R_NO_START_LINE);
	ERR_raise(ERR_LIB_PEM, PEM_R_BAD_DECRYPT);
	assert_int_equal(err_openssl(&err, -EINVAL, "cert.pem"), -EINVAL);
	assert_string_equal(err.text, "cert.pem: no start line");
	assert_int_equal(ERR_peek_error(), 0);
}

/* An error of the system that went through OpenSSL keeps its words; with an empty queue the code speaks. */
static void openssl_system_error_keeps_words(void **state)
{
	struct err err = {""};

	(void)state;
	ERR_raise(ERR_LIB_SYS, ENOENT);
	err_openssl(&err, -EINVAL, "cert.pem");
	assert_string_equal(err.text, "cert.pem: No such file or directory");
	err_openssl(&err, -EINVAL, "cert.pem");
	assert_string_equal(err.text, "cert.pem: Invalid argument");
}

/* The queue is emptied also where the caller wants no text. */
static void openssl_queue_is_emptied_without_err(void **state)
{
	(void)state;
	ERR_raise(ERR_LIB_PEM, PEM_R_NO_START_LINE);
	err_openssl(NULL, -EINVAL, "cert.pem");
	assert_int_equal(ERR_peek_error(), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(set_fills_text),
		cmocka_unit_test(system_appends_words),
		cmocka_unit_test(wrap_puts_noun_in_front),
		cmocka_unit_test(text_may_be_its_own_argument),
		cmocka_unit_test(long_text_is_cut),
		cmocka_unit_test(null_is_fine),
		cmocka_unit_test(openssl_queue_is_taken),
		cmocka_unit_test(openssl_system_error_keeps_words),
		cmocka_unit_test(openssl_queue_is_emptied_without_err),
	};

	return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
