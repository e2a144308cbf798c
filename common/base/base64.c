/* base64 by OpenSSL's block functions, with the strictness they lack around them.
 *
 * Decoding goes four characters at a time: each is checked against the alphabet, the block is decoded, and the
 * last block is encoded again and compared, so that a text has one spelling only. Blocks are wiped: keys pass here.
 */
#include "common/base/base64.h"

#include "common/base/secret.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <string.h>

size_t base64_encode(char *out, size_t size, const void *data, size_t len, enum base64_variant variant)
{
	size_t used;

	if (size == 0)
		return 0;
	out[0] = '\0';
	if (len == 0 || size < BASE64_LEN(len) + 1)
		return 0;
	used = (size_t)EVP_EncodeBlock((unsigned char *)out, data, (int)len);
	if (variant == BASE64_STANDARD)
		return used;
	while (used > 0 && out[used - 1] == '=')
		out[--used] = '\0';
	for (size_t i = 0; i < used; i++) {
		if (out[i] == '+')
			out[i] = '-';
		else if (out[i] == '/')
			out[i] = '_';
	}
	return used;
}

/* Return: the character of the standard alphabet, or 0. */
static char to_standard(char c, enum base64_variant variant)
{
	if ((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))
		return c;
	if (c == (variant == BASE64_URL ? '-' : '+'))
		return '+';
	if (c == (variant == BASE64_URL ? '_' : '/'))
		return '/';
	return 0;
}

/* 2 to 4 characters to 1 to 3 bytes. */
static bool decode_block(uint8_t bytes[3], const char *text, size_t chars, enum base64_variant variant)
{
	unsigned char block[4] = "====", again[5];
	bool ok; /* of the same bytes encoded again: stray bits in the last character give another text */

	for (size_t i = 0; i < chars; i++) {
		block[i] = (unsigned char)to_standard(text[i], variant);
		if (block[i] == 0)
			return false;
	}
	ok = EVP_DecodeBlock(bytes, block, sizeof(block)) == 3 &&
	     EVP_EncodeBlock(again, bytes, (int)(chars - 1)) == 4 && memcmp(again, block, sizeof(block)) == 0;
	secret_wipe(block, sizeof(block));
	secret_wipe(again, sizeof(again));
	return ok;
}

/* Take the padding off, which only the standard variant has. One character alone carries six bits, less than a byte.
 * Return: characters that carry data, or -EINVAL. */
static ssize_t significant_len(const char *text, size_t len, enum base64_variant variant)
{
	size_t padding = 0;

	if (variant == BASE64_STANDARD) {
		if (len % 4 != 0)
			return -EINVAL;
		while (padding < 2 && padding < len && text[len - 1 - padding] == '=')
			padding++;
	}
	len -= padding;
	return len % 4 == 1 ? -EINVAL : (ssize_t)len;
}

ssize_t base64_decode(uint8_t *out, size_t size, const char *text, size_t len, enum base64_variant variant)
{
	ssize_t rest = significant_len(text, len, variant);
	uint8_t bytes[3];
	size_t used = 0;

	for (; rest > 0; rest -= 4, text += 4) {
		size_t chars = rest < 4 ? (size_t)rest : 4;

		if (used + chars - 1 > size || !decode_block(bytes, text, chars, variant)) {
			rest = -EINVAL;
			break;
		}
		memcpy(out + used, bytes, chars - 1);
		used += chars - 1;
	}
	secret_wipe(bytes, sizeof(bytes));
	return rest == -EINVAL ? -EINVAL : (ssize_t)used;
}
