/* See invitation.h. Happy path of reading: the frame and the checksum first, then each field by its bounds, to the last
 * byte. A right sum says that a hub has written it, but not which one, so the fields are checked all the same. */
#include "common/base/invitation.h"

#include "common/base/addr.h"
#include "common/base/base64.h"
#include "common/base/secret.h"
#include "common/base/text.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define SCHEME "towpath://"
#define VERSION 1
#define SUM_LEN 4
#define DATA_MAX (INVITATION_TEXT_MAX / 4 * 3)
#define UNTIL_LEN 5 /* bytes: until the year 36812 */
#define IPV6_FLAG 6
#define IPV4_FLAG 4
#define DAMAGED "damaged: a character is wrong or missing; copy the whole line that 'towpath-server add' has printed"

static bool make_sum(uint8_t ret[SUM_LEN], const char *server, const uint8_t *data, size_t len)
{
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	uint8_t hash[EVP_MAX_MD_SIZE];
	bool is_made = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
		       EVP_DigestUpdate(context, server, strlen(server)) == 1 &&
		       EVP_DigestUpdate(context, data, len) == 1 && EVP_DigestFinal_ex(context, hash, NULL) == 1;

	EVP_MD_CTX_free(context);
	if (is_made)
		memcpy(ret, hash, SUM_LEN);
	return is_made;
}

/* --- writing --- */

struct writer {
	uint8_t data[DATA_MAX];
	size_t len;
	bool is_full;
};

static void put(struct writer *writer, const void *data, size_t len)
{
	if (len > sizeof(writer->data) - writer->len)
		writer->is_full = true;
	else
		memcpy(writer->data + writer->len, data, len);
	writer->len += writer->is_full ? 0 : len;
}

static void put_byte(struct writer *writer, size_t value)
{
	uint8_t byte = (uint8_t)value;

	put(writer, &byte, 1);
}

static void put_text(struct writer *writer, const char *text)
{
	put_byte(writer, strlen(text));
	put(writer, text, strlen(text));
}

/* As the bytes that it spells. */
static void put_token(struct writer *writer, const char *token)
{
	uint8_t bytes[INVITATION_TOKEN_MAX];
	ssize_t len = base64_decode(bytes, sizeof(bytes), token, strlen(token), BASE64_URL);

	writer->is_full |= len < 0;
	put_byte(writer, len > 0 ? (size_t)len : 0);
	put(writer, bytes, len > 0 ? (size_t)len : 0);
	secret_wipe(bytes, sizeof(bytes));
}

static void put_prefixes(struct writer *writer, const struct prefix *prefixes, size_t count)
{
	put_byte(writer, count);
	for (size_t i = 0; i < count; i++) {
		const struct addr *addr = &prefixes[i].addr;
		bool is_ipv6 = addr->sa.sa_family == AF_INET6;

		put_byte(writer, is_ipv6 ? IPV6_FLAG : IPV4_FLAG);
		put_byte(writer, prefixes[i].bits);
		put(writer, is_ipv6 ? (const void *)&addr->in6.sin6_addr : &addr->in4.sin_addr, is_ipv6 ? 16 : 4);
	}
}

static void put_fields(struct writer *writer, const struct invitation *invitation)
{
	put_byte(writer, VERSION);
	for (int shift = 8 * (UNTIL_LEN - 1); shift >= 0; shift -= 8)
		put_byte(writer, (uint64_t)invitation->until_s >> shift & 0xff);
	put(writer, invitation->public_key, sizeof(invitation->public_key));
	put_byte(writer, invitation->has_pin);
	if (invitation->has_pin)
		put(writer, invitation->pin, sizeof(invitation->pin));
	put_token(writer, invitation->token);
	put_text(writer, invitation->hub);
	put_text(writer, invitation->client);
	put_prefixes(writer, invitation->addresses, invitation->address_count);
	put_prefixes(writer, invitation->allowed, invitation->allowed_count);
	put_prefixes(writer, invitation->lans, invitation->lan_count);
}

int invitation_format(char *buf, size_t size, const struct invitation *invitation)
{
	struct writer writer = {.len = 0};
	uint8_t sum[SUM_LEN];
	int used = snprintf(buf, size, SCHEME "%s/#", invitation->server), rc = -ENOSPC;

	put_fields(&writer, invitation);
	if (make_sum(sum, invitation->server, writer.data, writer.len))
		put(&writer, sum, sizeof(sum));
	else
		writer.is_full = true;
	if (!writer.is_full && (size_t)used + BASE64_LEN(writer.len) < size)
		rc = used + (int)base64_encode(buf + used, size - (size_t)used, writer.data, writer.len, BASE64_URL);
	secret_wipe(&writer, sizeof(writer));
	return rc;
}

/* --- reading --- */

struct reader {
	const uint8_t *data;
	size_t len; /* bytes that are left */
	bool is_wrong;
};

/* Return: the bytes, or NULL. */
static const uint8_t *take(struct reader *reader, size_t len)
{
	const uint8_t *data = reader->data;

	if (reader->is_wrong || len > reader->len) {
		reader->is_wrong = true;
		return NULL;
	}
	reader->data += len;
	reader->len -= len;
	return data;
}

static size_t take_byte(struct reader *reader)
{
	const uint8_t *byte = take(reader, 1);

	return byte ? *byte : 0;
}

static void take_bytes(struct reader *reader, void *ret, size_t len)
{
	const uint8_t *bytes = take(reader, len);

	if (bytes)
		memcpy(ret, bytes, len);
}

/* Letters, digits, and @more. */
static void take_word(struct reader *reader, char *ret, size_t size, const char *more)
{
	size_t len = take_byte(reader);
	const uint8_t *bytes = take(reader, len);

	if (bytes && len > 0 && len < size && text_is_made_of((const char *)bytes, len, more) && bytes[0] != '.')
		memcpy(ret, bytes, len); /* the rest is 0 */
	else
		reader->is_wrong = true;
}

static void take_token(struct reader *reader, char *ret, size_t size)
{
	size_t len = take_byte(reader);
	const uint8_t *bytes = take(reader, len);

	if (bytes && len >= INVITATION_TOKEN_MIN && len <= INVITATION_TOKEN_MAX)
		base64_encode(ret, size, bytes, len, BASE64_URL);
	else
		reader->is_wrong = true;
}

static struct prefix take_prefix(struct reader *reader)
{
	size_t family = take_byte(reader), bits = take_byte(reader);
	struct prefix ret = {.bits = (uint8_t)bits};

	if (family == IPV4_FLAG && bits <= 32) {
		ret.addr.in4.sin_family = AF_INET;
		take_bytes(reader, &ret.addr.in4.sin_addr, 4);
	} else if (family == IPV6_FLAG && bits <= 128) {
		ret.addr.in6.sin6_family = AF_INET6;
		take_bytes(reader, &ret.addr.in6.sin6_addr, 16);
	} else {
		reader->is_wrong = true;
	}
	return ret;
}

static size_t take_prefixes(struct reader *reader, struct prefix *ret, size_t max)
{
	size_t count = take_byte(reader);

	reader->is_wrong |= count > max;
	for (size_t i = 0; i < count && !reader->is_wrong; i++)
		ret[i] = take_prefix(reader);
	return count;
}

/* @data: what follows the version; its sum is right. Return: true if it is right to the last byte. */
static bool take_fields(const uint8_t *data, size_t len, struct invitation *ret)
{
	struct reader reader = {.data = data, .len = len};

	for (int i = 0; i < UNTIL_LEN; i++)
		ret->until_s = ret->until_s << 8 | (int64_t)take_byte(&reader);
	take_bytes(&reader, ret->public_key, sizeof(ret->public_key));
	ret->has_pin = take_byte(&reader) == 1;
	if (ret->has_pin)
		take_bytes(&reader, ret->pin, sizeof(ret->pin));
	take_token(&reader, ret->token, sizeof(ret->token));
	take_word(&reader, ret->hub, sizeof(ret->hub), "_=+.-@");
	take_word(&reader, ret->client, sizeof(ret->client), "-");
	ret->address_count = take_prefixes(&reader, ret->addresses, 2);
	ret->allowed_count = take_prefixes(&reader, ret->allowed, INVITATION_PREFIXES_MAX);
	ret->lan_count = take_prefixes(&reader, ret->lans, INVITATION_PREFIXES_MAX);
	return !reader.is_wrong && reader.len == 0 && ret->address_count > 0;
}

/* Cut HOST[:PORT] out. Return: where the base64 begins, or NULL. */
static const char *split(const char *text, char *server, size_t size)
{
	const char *slash = strncmp(text, SCHEME, strlen(SCHEME)) == 0 ? strchr(text + strlen(SCHEME), '/') : NULL;
	size_t len = slash ? (size_t)(slash - text) - strlen(SCHEME) : 0;
	char host[256];
	uint16_t port;

	if (len == 0 || len >= size || slash[1] != '#')
		return NULL;
	memcpy(server, text + strlen(SCHEME), len);
	server[len] = '\0';
	return addr_split(server, host, sizeof(host), &port) == 0 && addr_is_host(host) ? slash + 2 : NULL;
}

int invitation_parse(const char *text, struct invitation *ret, const char **ret_why)
{
	struct invitation invitation = {.server = ""};
	uint8_t data[DATA_MAX], sum[SUM_LEN];
	const char *encoded = split(text, invitation.server, sizeof(invitation.server));
	ssize_t len = encoded ? base64_decode(data, sizeof(data), encoded, strlen(encoded), BASE64_URL) : -EINVAL;
	int rc = -EINVAL;

	*ret_why = DAMAGED;
	if (len <= 1 + SUM_LEN || !make_sum(sum, invitation.server, data, (size_t)len - SUM_LEN) ||
		memcmp(sum, data + len - SUM_LEN, SUM_LEN) != 0)
		rc = -EINVAL;
	else if (data[0] != VERSION)
		*ret_why =
			"of another version; expected one that a hub of the same version as this program has printed";
	else if (take_fields(data + 1, (size_t)len - 1 - SUM_LEN, &invitation))
		rc = 0;
	if (rc == 0)
		*ret = invitation;
	secret_wipe(data, sizeof(data));
	secret_wipe(&invitation, sizeof(invitation));
	return rc;
}

void invitation_drop_lans(struct invitation *invitation)
{
	size_t kept = 0;

	for (size_t i = 0; i < invitation->allowed_count; i++) {
		bool is_own = false;

		for (size_t j = 0; j < invitation->lan_count; j++)
			is_own |= prefix_equal(&invitation->allowed[i], &invitation->lans[j]);
		if (!is_own)
			invitation->allowed[kept++] = invitation->allowed[i];
	}
	invitation->allowed_count = kept;
}
