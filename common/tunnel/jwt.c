/* The JWT of the upgrade (RFC 7519, in the compact form of RFC 7515 §3.1):
 *
 *    base64url({"typ":"JWT","alg":"HS256"}) "." base64url(claims) "." base64url(HMAC-SHA-256 of all before this dot)
 *
 *    claims    {"id":UUID, "p":{"Udp":{"timeout":null or {"secs":N,"nanos":N}}}, "r":HOST, "rp":PORT}   stock
 *              and of ours: "kid":HEX, "inst":HEX, "iat":SECONDS, "cb":BASE64URL
 *
 * The happy path of decoding: cut at the two dots, decode, parse, take each claim. A text that is not a JWT, or a
 * claim in a wrong form, is -EINVAL; unknown claims are ignored. jwt_decode() does not check the signature,
 * jwt_verify() does: stock clients sign with a fixed key that is public.
 *
 * The two are calls of their own because the claims come first: "kid" names the client whose token is the key, and only
 * then can the signature be checked. Nothing in the claims may be trusted before that.
 */
#include "common/tunnel/jwt.h"

#include "common/base/base64.h"
#include "common/tunnel/http_head.h"

#include <errno.h>
#include <jansson.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER "{\"typ\":\"JWT\",\"alg\":\"HS256\"}"
#define SIGNATURE_LEN 32
#define JSON_TEXT_MAX (JWT_TEXT_MAX / 4 * 3)
#define KID_BYTES (JWT_KID_LEN / 2)
#define PORT_MAX 65535
#define TIMEOUT_MAX_S UINT32_MAX /* 136 years; µs of it still fit into 64 bits */

struct part {
	const char *text;
	size_t len;
};

enum { PART_HEADER, PART_CLAIMS, PART_SIGNATURE, PART_COUNT };

void jwt_make_id(char out[JWT_ID_SIZE], int64_t wall_ms)
{
	uint8_t b[16];

	/* RFC 9562 §5.7: 48 bits of Unix time in ms, big endian, then random bits around version and variant. */
	arc4random_buf(b, sizeof(b));
	for (int i = 0; i < 6; i++)
		b[i] = (uint8_t)((uint64_t)wall_ms >> (40 - 8 * i));
	b[6] = (uint8_t)(0x70 | (b[6] & 0x0f)); /* version 7 */
	b[8] = (uint8_t)(0x80 | (b[8] & 0x3f)); /* variant of RFC 9562 */
	snprintf(out, JWT_ID_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2],
		b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
}

/* Lower case, as jwt_make_kid() and the server's table have it: key ids are compared as text. */
static void format_hex(char *out, const uint8_t *data, size_t len)
{
	for (size_t i = 0; i < len; i++)
		snprintf(out + 2 * i, 3, "%02x", data[i]);
}

/* Exactly @len bytes of hex digits, in either case. */
static bool parse_hex(uint8_t *out, size_t len, const char *text)
{
	if (strlen(text) != 2 * len)
		return false;
	for (size_t i = 0; i < len; i++) {
		int high = http_hex_digit(text[2 * i]);
		int low = http_hex_digit(text[2 * i + 1]);

		if (high < 0 || low < 0)
			return false;
		out[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

/* A hash, so that the server finds the token without trying each one, while the request does not give it away. */
void jwt_make_kid(char out[JWT_KID_LEN + 1], const char *token)
{
	uint8_t hash[EVP_MAX_MD_SIZE] = {0};

	EVP_Digest(token, strlen(token), hash, NULL, EVP_sha256(), NULL);
	format_hex(out, hash, KID_BYTES);
}

/* HS256: HMAC with SHA-256, RFC 7518 §3.2. OpenSSL does not take NULL for an empty key. */
static bool sign(uint8_t out[SIGNATURE_LEN], const void *key, size_t key_len, const char *text, size_t len)
{
	unsigned out_len = 0;

	return HMAC(EVP_sha256(), key_len > 0 ? key : "", (int)key_len, (const unsigned char *)text, len, out,
		       &out_len) &&
	       out_len == SIGNATURE_LEN;
}

/* The claims that only our own server reads; stock servers ignore them. */
static int add_own_claims(json_t *object, const struct jwt_claims *claims)
{
	char hex[2 * JWT_INSTANCE_LEN + 1];
	char binding[BASE64_LEN(JWT_BINDING_LEN) + 1];
	int rc = 0;

	if (claims->has_kid)
		rc |= json_object_set_new(object, "kid", json_string(claims->kid));
	if (claims->has_instance) {
		format_hex(hex, claims->instance, JWT_INSTANCE_LEN);
		rc |= json_object_set_new(object, "inst", json_string(hex));
	}
	if (claims->has_iat)
		rc |= json_object_set_new(object, "iat", json_integer(claims->iat_s));
	if (claims->has_binding) {
		base64_encode(binding, sizeof(binding), claims->binding, JWT_BINDING_LEN, BASE64_URL);
		rc |= json_object_set_new(object, "cb", json_string(binding));
	}
	if (claims->has_public_key) {
		base64_encode(binding, sizeof(binding), claims->public_key, sizeof(claims->public_key), BASE64_URL);
		rc |= json_object_set_new(object, "pub", json_string(binding));
	}
	if (claims->takes_any)
		rc |= json_object_set_new(object, "any", json_true());
	if (claims->has_beside)
		rc |= json_object_set_new(object, "beside", json_string(claims->beside));
	return rc;
}

/* The claims as JSON, in the order in which they were added. Free with free(); NULL where a text is not UTF-8. */
static char *format_claims(const struct jwt_claims *claims)
{
	/* Rust's Duration, as serde writes it; a stock server takes null for "no timeout". */
	json_t *timeout = claims->timeout_s > 0
				  ? json_pack("{s:I,s:i}", "secs", (json_int_t)claims->timeout_s, "nanos", 0)
				  : json_null();
	json_t *object = json_pack("{s:s,s:{s:{s:o}},s:s,s:I}", "id", claims->id, "p", "Udp", "timeout", timeout, "r",
		claims->host, "rp", (json_int_t)claims->port);
	char *text = NULL;

	if (object && add_own_claims(object, claims) == 0)
		text = json_dumps(object, JSON_COMPACT);
	json_decref(object);
	return text;
}

/* Append a part in base64url at @at of the buffer @out, which has @size bytes in all. Return: the new length, or 0
 * where it does not fit. */
static size_t append_part(char *out, size_t size, size_t at, const void *data, size_t len)
{
	if (at > size || size - at < BASE64_LEN(len) + 1)
		return 0;
	return at + base64_encode(out + at, size - at, data, len, BASE64_URL);
}

/* HEADER '.' claims '.' signature of all before it, RFC 7515 §5.1. */
int jwt_encode(char *out, size_t size, const struct jwt_claims *claims, const void *key, size_t key_len)
{
	uint8_t signature[SIGNATURE_LEN];
	char *json = format_claims(claims);
	size_t len;

	if (!json)
		return -EINVAL;
	len = append_part(out, size, 0, HEADER, strlen(HEADER));
	if (len > 0) {
		out[len++] = '.'; /* in place of the terminator */
		len = append_part(out, size, len, json, strlen(json));
	}
	free(json);
	if (len == 0)
		return -ENOBUFS;
	if (!sign(signature, key, key_len, out, len))
		return -EINVAL;
	out[len++] = '.';
	len = append_part(out, size, len, signature, sizeof(signature));
	return len > 0 ? (int)len : -ENOBUFS;
}

/* Exactly three parts, two dots. */
static bool split(const char *text, size_t len, struct part parts[PART_COUNT])
{
	size_t start = 0, count = 0;

	if (len > JWT_TEXT_MAX)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (i < len && text[i] != '.')
			continue;
		if (count == PART_COUNT)
			return false;
		parts[count++] = (struct part){text + start, i - start};
		start = i + 1;
	}
	return count == PART_COUNT;
}

/* Decode and parse one part. A key that stands twice is refused: another reader could take the other value. Return:
 * NULL where it is not an object in strict JSON. */
static json_t *parse_part(struct part part)
{
	uint8_t json[JSON_TEXT_MAX];
	ssize_t len = base64_decode(json, sizeof(json), part.text, part.len, BASE64_URL);
	json_t *object;

	if (len < 0)
		return NULL;
	object = json_loadb((const char *)json, (size_t)len, JSON_REJECT_DUPLICATES, NULL);
	if (json_is_object(object))
		return object;
	json_decref(object);
	return NULL;
}

/* The algorithms of RFC 7518 §3.1 and RFC 8037; never "none", or a client could sign with nothing. A stock server takes
 * any of them, and so does jwt_decode(); jwt_verify() takes HS256 only. Return: the name, or NULL. */
static const char *read_algorithm(struct part part)
{
	static const char *const known[] = {"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384",
		"PS512", "ES256", "ES384", "ES512", "EdDSA"};
	json_t *header = parse_part(part);
	const char *name = json_string_value(json_object_get(header, "alg")), *ret = NULL;

	for (size_t i = 0; name && i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(name, known[i]) == 0)
			ret = known[i];
	json_decref(header);
	return ret;
}

/* null, missing, or both `secs` and `nanos`. Zero means no timeout; a part of a second is rounded up to one. */
static bool take_timeout(const json_t *timeout, uint64_t *ret_s)
{
	const json_t *secs = json_object_get(timeout, "secs");
	const json_t *nanos = json_object_get(timeout, "nanos");

	*ret_s = 0;
	if (!timeout || json_is_null(timeout))
		return true;
	if (!json_is_integer(secs) || !json_is_integer(nanos))
		return false;
	if (json_integer_value(secs) < 0 || json_integer_value(nanos) < 0)
		return false;
	*ret_s = (uint64_t)json_integer_value(secs) + (json_integer_value(nanos) > 0 ? 1 : 0);
	if (*ret_s > TIMEOUT_MAX_S)
		*ret_s = TIMEOUT_MAX_S;
	return true;
}

/* An enum of Rust, as serde writes it: an object with one key, the protocol's name. */
static bool take_protocol(const json_t *protocol, struct jwt_claims *ret)
{
	const json_t *udp = json_object_get(protocol, "Udp");

	if (!protocol)
		return false;
	ret->is_udp = udp && json_object_size(protocol) == 1;
	if (!ret->is_udp)
		return true; /* another protocol; admit refuses all others alike */
	return json_is_object(udp) && take_timeout(json_object_get(udp, "timeout"), &ret->timeout_s);
}

/* A text that is longer than our field can be no value that we know. */
static bool take_text(const json_t *value, char *out, size_t size)
{
	const char *text = json_string_value(value);

	if (!text || strlen(text) >= size)
		return false;
	strcpy(out, text);
	return true;
}

/* Stored in lower case, whatever the client wrote, so that equal ids are equal texts. */
static bool take_kid(const json_t *value, struct jwt_claims *ret)
{
	const char *text = json_string_value(value);
	uint8_t bytes[KID_BYTES];

	if (!value)
		return true;
	if (!text || !parse_hex(bytes, sizeof(bytes), text))
		return false;
	format_hex(ret->kid, bytes, sizeof(bytes));
	ret->has_kid = true;
	return true;
}

/* RFC 7519 §2 allows parts of a second. */
static bool take_iat(const json_t *value, struct jwt_claims *ret)
{
	double number = json_number_value(value); /* within ±1e15 the cast to 64 bits is defined */

	if (!value)
		return true;
	if (json_is_integer(value))
		ret->iat_s = json_integer_value(value);
	else if (json_is_real(value) && number > -1e15 && number < 1e15)
		ret->iat_s = (int64_t)number;
	else
		return false;
	ret->has_iat = true;
	return true;
}

/* Stock's claims must be there; ours may be left out, and make the whole request invalid where their form is wrong. */
static bool take_claims(const json_t *object, struct jwt_claims *ret)
{
	const json_t *instance = json_object_get(object, "inst"), *binding = json_object_get(object, "cb");
	const json_t *any = json_object_get(object, "any"), *key = json_object_get(object, "pub");
	const json_t *beside = json_object_get(object, "beside");
	const char *text;
	json_int_t port;

	if (!take_text(json_object_get(object, "id"), ret->id, sizeof(ret->id)))
		return false;
	if (!take_protocol(json_object_get(object, "p"), ret))
		return false;
	if (!take_text(json_object_get(object, "r"), ret->host, sizeof(ret->host)))
		return false;
	/* A host or a port that no target has is no fault of the JWT: admit compares them with the target. */
	port = json_integer_value(json_object_get(object, "rp")); /* 0 where it is not an integer */
	ret->port = port >= 1 && port <= PORT_MAX ? port : 0;
	text = json_string_value(instance);
	ret->has_instance = text && parse_hex(ret->instance, JWT_INSTANCE_LEN, text);
	text = json_string_value(binding);
	ret->has_binding =
		text && base64_decode(ret->binding, JWT_BINDING_LEN, text, strlen(text), BASE64_URL) == JWT_BINDING_LEN;
	text = json_string_value(key);
	ret->has_public_key = text && base64_decode(ret->public_key, sizeof(ret->public_key), text, strlen(text),
					      BASE64_URL) == sizeof(ret->public_key);
	ret->takes_any = json_is_true(any);
	ret->has_beside = beside;
	if ((instance && !ret->has_instance) || (binding && !ret->has_binding) || (any && !json_is_boolean(any)) ||
		(beside && !take_text(beside, ret->beside, sizeof(ret->beside))) ||
		(key && !ret->has_public_key))
		return false;
	return take_kid(json_object_get(object, "kid"), ret) && take_iat(json_object_get(object, "iat"), ret);
}

int jwt_decode(const char *text, size_t len, struct jwt_claims *ret)
{
	struct jwt_claims claims = {0};
	struct part parts[PART_COUNT];
	json_t *object;
	bool good;

	if (!split(text, len, parts))
		return -EINVAL;
	object = parse_part(parts[PART_CLAIMS]);
	good = read_algorithm(parts[PART_HEADER]) && object && take_claims(object, &claims);
	json_decref(object);
	if (!good)
		return -EINVAL;
	*ret = claims;
	return 0;
}

bool jwt_verify(const char *text, size_t len, const void *key, size_t key_len)
{
	struct part parts[PART_COUNT];
	uint8_t given[SIGNATURE_LEN], wanted[SIGNATURE_LEN];
	const char *algorithm;
	bool good;

	if (!split(text, len, parts))
		return false;
	algorithm = read_algorithm(parts[PART_HEADER]);
	good = algorithm && strcmp(algorithm, "HS256") == 0;
	if (base64_decode(given, sizeof(given), parts[PART_SIGNATURE].text, parts[PART_SIGNATURE].len, BASE64_URL) !=
		SIGNATURE_LEN)
		return false;
	if (!sign(wanted, key, key_len, text, (size_t)(parts[PART_SIGNATURE].text - 1 - text)))
		return false;
	/* In constant time, and whatever the algorithm: the time must tell neither a right byte nor which check
	 * failed. */
	good = CRYPTO_memcmp(given, wanted, SIGNATURE_LEN) == 0 && good;
	OPENSSL_cleanse(wanted, sizeof(wanted));
	return good;
}
