/* An error on its way to the operator: one line of text, built from the inside out.
 *
 * Set-up code returns a negative errno and fills a trailing `struct err *`; each caller wraps it with the
 * noun it knows ("listener [::]:443"), main() prints the result once. Never used on the datagram path.
 */
#pragma once

#define ERR_TEXT_MAX 1024

struct err {
	char text[ERR_TEXT_MAX]; /* always terminated; "" while nothing failed */
};

/* Set the text. @code: a negative errno. Return: @code. @err may be NULL. */
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Set the text and append ": " and the words of -@code. Return: @code. */
int err_system(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Put "outer noun: " in front of the text that is there. Return: @code. */
int err_wrap(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Take the oldest error of OpenSSL's queue as the reason, append it to the text, and empty the queue. Return: @code. */
int err_openssl(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
