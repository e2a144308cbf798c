/* base64 and base64url (RFC 4648 §4, §5). Strict: no white space, no stray bits in the last character. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum base64_variant {
	BASE64_STANDARD, /* "+/", padded */
	BASE64_URL,	 /* "-_", without padding; padding is refused when decoding */
};

#define BASE64_LEN(n) (((n) + 2) / 3 * 4) /* characters for n bytes, padded, without the terminator */

/* Encode @len bytes and terminate. @size: at least BASE64_LEN(len) + 1. Return: characters written. */
size_t base64_encode(char *out, size_t size, const void *data, size_t len, enum base64_variant variant);

/* Decode @len characters. Return: bytes written, or -EINVAL (also if they do not fit into @size). */
ssize_t base64_decode(uint8_t *out, size_t size, const char *text, size_t len, enum base64_variant variant);
