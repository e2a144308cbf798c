/* Build one line of error text, from the inside out.
 *
 * Every function formats into a local buffer first, so that the text that is already there may be among the
 * arguments. Too long a text is cut; nothing here fails.
 */
#include "common/base/err.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *system_words(int code)
{
	const char *words = strerrordesc_np(code < 0 ? -code : code);

	return words ? words : "unknown error";
}

/* "head: tail" into @err, cut at its size. */
static void err_join(struct err *err, const char *head, const char *tail)
{
	char joined[ERR_TEXT_MAX];
	int len = snprintf(joined, sizeof(joined), "%s: %s", head, tail);

	if (len < 0)
		joined[0] = '\0';
	memcpy(err->text, joined, sizeof(joined));
}

int err_set(struct err *err, int code, const char *format, ...)
{
	char text[ERR_TEXT_MAX] = "";
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	memcpy(err->text, text, sizeof(text));
	return code;
}

int err_system(struct err *err, int code, const char *format, ...)
{
	char text[ERR_TEXT_MAX] = "";
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	err_join(err, text, system_words(code));
	return code;
}

int err_wrap(struct err *err, int code, const char *format, ...)
{
	char text[ERR_TEXT_MAX] = "";
	va_list args;

	if (!err)
		return code;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	err_join(err, text, err->text);
	return code;
}

/* The words of the oldest error in OpenSSL's queue; those of @code where the queue is empty. */
static const char *openssl_words(int code)
{
	unsigned long number = ERR_peek_error();
	const char *words;

	if (number == 0)
		return system_words(code);
	if (ERR_SYSTEM_ERROR(number))
		return system_words(ERR_GET_REASON(number));
	words = ERR_reason_error_string(number);
	return words ? words : "unknown error of OpenSSL";
}

int err_openssl(struct err *err, int code, const char *format, ...)
{
	char text[ERR_TEXT_MAX] = "";
	va_list args;

	if (err) {
		va_start(args, format);
		vsnprintf(text, sizeof(text), format, args);
		va_end(args);
		err_join(err, text, openssl_words(code));
	}
	ERR_clear_error();
	return code;
}
