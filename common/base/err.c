/* Build one line of error text, from the inside out.
 *
 * Every function formats into a local buffer first, so that the text that is already there may be among the
 * arguments: err_set(err, code, "%s; try again", err->text) is fine. Too long a text is cut; nothing here fails.
 */
#include "common/base/err.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* strerrordesc_np() has the words of the C locale, and no buffer that another thread may overwrite. */
static const char *system_words(int code)
{
	const char *words = strerrordesc_np(code < 0 ? -code : code);

	return words ? words : "unknown error";
}

/* Format into @err, followed by ": " and @tail unless that is NULL. @tail may lie in @err. */
__attribute__((format(printf, 3, 0))) static void fill(
	struct err *err, const char *tail, const char *format, va_list args)
{
	char text[ERR_TEXT_MAX] = "";
	size_t len;

	vsnprintf(text, sizeof(text), format, args);
	len = strlen(text);
	if (tail)
		snprintf(text + len, sizeof(text) - len, ": %s", tail);
	memcpy(err->text, text, sizeof(text));
}

int err_set(struct err *err, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (err)
		fill(err, NULL, format, args);
	va_end(args);
	return code;
}

int err_system(struct err *err, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (err)
		fill(err, system_words(code), format, args);
	va_end(args);
	return code;
}

int err_wrap(struct err *err, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (err)
		fill(err, err->text, format, args);
	va_end(args);
	return code;
}

/* The words of the oldest error in OpenSSL's queue; those of @code where the queue is empty. */
static const char *openssl_words(int code)
{
	unsigned long number = ERR_peek_error();
	const char *words;

	if (number == 0)
		return system_words(code);
	/* OpenSSL packs an errno in its own way and has no words for it. */
	if (ERR_SYSTEM_ERROR(number))
		return system_words(ERR_GET_REASON(number));
	words = ERR_reason_error_string(number);
	return words ? words : "unknown error of OpenSSL";
}

int err_openssl(struct err *err, int code, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (err)
		fill(err, openssl_words(code), format, args);
	va_end(args);
	ERR_clear_error(); /* also where @err is NULL: else the next failure would report this one's words */
	return code;
}
