/* The JWT: the published vector, those of stock and Go clients, those that are refused, signatures. */
#include "common/tunnel/jwt.h"

#include "common/base/base64.h"

#include <errno.h>
#include <openssl/hmac.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEADER "{\"typ\":\"JWT\",\"alg\":\"HS256\"}"
#define VECTOR_KEY "xxxxxxxxxxxxxxxx" /* 16 bytes of 0x78 */
#define VECTOR_SIGNATURE "bfw2OIR3ZSzp_UvqwOj87u3HKCf_zaSD8vimqhKiStI"
#define ID "\"id\":\"01919e42-7b2b-7ff3-b0fe-af5e07f5d913\""
#define P "\"p\":{\"Udp\":{\"timeout\":null}}"
#define R "\"r\":\"127.0.0.1\",\"rp\":51820"
#define BASE ID "," P "," R

struct fixture {
	struct jwt_claims claims;
	char text[JWT_TEXT_MAX * 2];
};

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	free(*state);
	return 0;
}

static struct jwt_claims vector_claims(void)
{
	return (struct jwt_claims){
		.id = "01919e42-7b2b-7ff3-b0fe-af5e07f5d913", .is_udp = true, .host = "127.0.0.1", .port = 51820};
}

static size_t encode(struct fixture *f, const struct jwt_claims *claims)
{
	int len = jwt_encode(f->text, sizeof(f->text), claims, VECTOR_KEY, 16);

	assert_true(len > 0);
	assert_int_equal(strlen(f->text), len);
	return (size_t)len;
}

/* A JWT of that header and these claims, with whatever is given as signature. */
static const char *make(struct fixture *f, const char *header, const char *claims, const char *signature)
{
	size_t len = base64_encode(f->text, sizeof(f->text), header, strlen(header), BASE64_URL);

	f->text[len++] = '.';
	len += base64_encode(f->text + len, sizeof(f->text) - len, claims, strlen(claims), BASE64_URL);
	snprintf(f->text + len, sizeof(f->text) - len, ".%s", signature);
	return f->text;
}

static int decode_text(struct fixture *f, const char *text)
{
	size_t len = strlen(text);
	char *copy = calloc(1, len ? len : 1);
	int rc;

	memcpy(copy, text, len);
	rc = jwt_decode(copy, len, &f->claims);
	free(copy);
	return rc;
}

static int decode(struct fixture *f, const char *claims)
{
	return decode_text(f, make(f, HEADER, claims, "c2ln"));
}

static bool is_signed_with(struct fixture *f, const char *key)
{
	return jwt_verify(f->text, strlen(f->text), key, strlen(key));
}

#define ASSERT_READS(claims) assert_int_equal(decode(f, "{" claims "}"), 0)
#define ASSERT_REFUSED(claims) assert_int_equal(decode(f, "{" claims "}"), -EINVAL)

/* The published vector: 216 characters with this signature. */
static void published_vector(void **state)
{
	struct fixture *f = *state;
	struct jwt_claims claims = vector_claims();

	assert_int_equal(encode(f, &claims), 216);
	assert_string_equal(strrchr(f->text, '.') + 1, VECTOR_SIGNATURE);
	assert_true(is_signed_with(f, VECTOR_KEY));
}

/* Claims come back as they were written, timeout and own claims included. */
static void round_trip(void **state)
{
	struct fixture *f = *state;
	struct jwt_claims claims = vector_claims();

	claims.timeout_s = 30;
	strcpy(claims.kid, "0123456789abcdef");
	claims.has_kid = claims.has_instance = claims.has_iat = claims.has_binding = true;
	memset(claims.instance, 0xa5, sizeof(claims.instance));
	memset(claims.binding, 0xfe, sizeof(claims.binding));
	claims.iat_s = 1763690000;
	claims.takes_any = claims.has_beside = true;
	strcpy(claims.beside, "01919e42-7b2b-7ff3-b0fe-af5e07f5d914");
	assert_int_equal(jwt_decode(f->text, encode(f, &claims), &f->claims), 0);
	assert_memory_equal(&f->claims, &claims, sizeof(claims));
}

/* Claims stand in the order of the wire format, without white space. */
static void claims_are_in_order(void **state)
{
	struct fixture *f = *state;
	struct jwt_claims claims = vector_claims();
	uint8_t json[JWT_TEXT_MAX];
	char *middle;
	ssize_t len;

	claims.timeout_s = 30;
	strcpy(claims.kid, "0123456789abcdef");
	claims.has_kid = claims.has_instance = claims.has_iat = claims.has_binding = true;
	claims.iat_s = 1;
	claims.takes_any = claims.has_beside = true;
	encode(f, &claims);
	middle = strchr(f->text, '.') + 1;
	len = base64_decode(json, sizeof(json) - 1, middle, (size_t)(strrchr(f->text, '.') - middle), BASE64_URL);
	assert_true(len > 0);
	json[len] = '\0';
	assert_string_equal((char *)json,
		"{" ID ",\"p\":{\"Udp\":{\"timeout\":{\"secs\":30,\"nanos\":0}}}," R ",\"kid\":\"0123456789abcdef\","
		"\"inst\":\"00000000000000000000000000000000\",\"iat\":1,"
		"\"cb\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\",\"any\":true,\"beside\":\"\"}");
}

/* A buffer that is too small is -ENOBUFS, at every size. */
static void small_buffer_is_told(void **state)
{
	struct jwt_claims claims = vector_claims();

	(void)state;
	for (size_t size = 0; size <= 216; size++) {
		char *small = malloc(size ? size : 1);

		assert_int_equal(jwt_encode(small, size, &claims, VECTOR_KEY, 16), -ENOBUFS);
		free(small);
	}
}

/* Any order, any white space, and a header that begins with `alg`, as the Go client sends it. */
static void any_order_and_white_space(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(decode_text(f, make(f, "{ \"alg\" : \"HS256\", \"typ\":\"JWT\" }",
						" {\n\"rp\" : 51820 ,\t\"r\":\"127.0.0.1\", \"p\":{ \"Udp\" : "
						"{\"timeout\" : null } },\r\n" ID " } ",
						"")),
		0);
	assert_true(f->claims.is_udp);
	assert_string_equal(f->claims.host, "127.0.0.1");
	assert_int_equal(f->claims.port, 51820);
}

/* null, missing and Go's two zeros mean no timeout. */
static void no_timeout_in_three_ways(void **state)
{
	struct fixture *f = *state;

	ASSERT_READS(ID "," P "," R);
	assert_int_equal(f->claims.timeout_s, 0);
	ASSERT_READS(ID ",\"p\":{\"Udp\":{}}," R);
	assert_int_equal(f->claims.timeout_s, 0);
	ASSERT_READS(ID ",\"p\":{\"Udp\":{\"timeout\":{\"secs\":0,\"nanos\":0}}}," R);
	assert_int_equal(f->claims.timeout_s, 0);
	assert_true(f->claims.is_udp);
}

/* A timeout is read in seconds, a part of one counts as one, and there is an end to it. */
static void timeout_is_read(void **state)
{
	struct fixture *f = *state;

	ASSERT_READS(ID ",\"p\":{\"Udp\":{\"timeout\":{\"nanos\":0,\"secs\":30}}}," R);
	assert_int_equal(f->claims.timeout_s, 30);
	ASSERT_READS(ID ",\"p\":{\"Udp\":{\"timeout\":{\"secs\":0,\"nanos\":1}}}," R);
	assert_int_equal(f->claims.timeout_s, 1);
	ASSERT_READS(ID ",\"p\":{\"Udp\":{\"timeout\":{\"secs\":9223372036854775807,\"nanos\":1}}}," R);
	assert_true(f->claims.timeout_s <= UINT32_MAX);
}

/* A timeout in another form is refused, one of the two numbers alone as at a stock server. */
static void odd_timeouts_are_refused(void **state)
{
	struct fixture *f = *state;

	ASSERT_REFUSED(ID ",\"p\":{\"Udp\":{\"timeout\":{\"secs\":30}}}," R);
	ASSERT_REFUSED(ID ",\"p\":{\"Udp\":{\"timeout\":{\"nanos\":30}}}," R);
	ASSERT_REFUSED(ID ",\"p\":{\"Udp\":{\"timeout\":{\"secs\":-1,\"nanos\":0}}}," R);
	ASSERT_REFUSED(ID ",\"p\":{\"Udp\":{\"timeout\":{\"secs\":1.5,\"nanos\":0}}}," R);
	ASSERT_REFUSED(ID ",\"p\":{\"Udp\":{\"timeout\":30}}," R);
	ASSERT_REFUSED(ID ",\"p\":{\"Udp\":null}," R);
}

/* Other protocols of stock clients are read as such: not UDP. */
static void other_protocols_are_not_udp(void **state)
{
	struct fixture *f = *state;

	ASSERT_READS(ID ",\"p\":{\"Tcp\":{\"proxy_protocol\":false}}," R);
	assert_false(f->claims.is_udp);
	ASSERT_READS(ID ",\"p\":{\"ReverseUdp\":{\"timeout\":null}}," R);
	assert_false(f->claims.is_udp);
	ASSERT_READS(ID ",\"p\":\"ReverseTcp\"," R);
	assert_false(f->claims.is_udp);
	ASSERT_READS(ID ",\"p\":{\"Udp\":{},\"Tcp\":{}}," R);
	assert_false(f->claims.is_udp);
	ASSERT_READS(ID ",\"p\":{\"udp\":{}}," R);
	assert_false(f->claims.is_udp);
}

/* The host is handed up as it came: names, IPv6 with and without brackets. */
static void host_is_text(void **state)
{
	struct fixture *f = *state;

	ASSERT_READS(ID "," P ",\"r\":\"[::1]\",\"rp\":1");
	assert_string_equal(f->claims.host, "[::1]");
	ASSERT_READS(ID "," P ",\"r\":\"::1\",\"rp\":1");
	assert_string_equal(f->claims.host, "::1");
	ASSERT_READS(ID "," P ",\"r\":\"localhost\",\"rp\":1");
	assert_string_equal(f->claims.host, "localhost");
}

/* A port is an integer of 1 to 65535, and 0 for everything else. */
static void port_is_an_integer(void **state)
{
	struct fixture *f = *state;
	static const struct {
		const char *text;
		int64_t port;
	} ports[] = {{"1", 1}, {"65535", 65535}, {"0", 0}, {"65536", 0}, {"-1", 0}, {"51820.0", 0}, {"\"51820\"", 0},
		{"null", 0}, {"5.182e4", 0}, {"4294967297", 0}};

	for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++) {
		char json[256];

		snprintf(json, sizeof(json), "{" ID "," P ",\"r\":\"a\",\"rp\":%s}", ports[i].text);
		assert_int_equal(decode(f, json), 0);
		assert_int_equal(f->claims.port, ports[i].port);
	}
	ASSERT_READS(ID "," P ",\"r\":\"a\"");
	assert_int_equal(f->claims.port, 0);
}

/* Without id, protocol or host, or with one in another form, it is no request. */
static void missing_claims_are_refused(void **state)
{
	struct fixture *f = *state;

	ASSERT_REFUSED(P "," R);
	ASSERT_REFUSED(ID "," R);
	ASSERT_REFUSED(ID "," P ",\"rp\":1");
	ASSERT_REFUSED("\"id\":1," P "," R);
	ASSERT_REFUSED("\"id\":\"01919e42-7b2b-7ff3-b0fe-af5e07f5d913x\"," P "," R);
	ASSERT_REFUSED(ID "," P ",\"r\":1,\"rp\":1");
}

/* A host of 255 characters is read, a longer one refused. */
static void longest_host(void **state)
{
	struct fixture *f = *state;
	char json[512];
	char name[257];

	memset(name, 'a', 256);
	name[255] = '\0';
	snprintf(json, sizeof(json), "{" ID "," P ",\"r\":\"%s\",\"rp\":1}", name);
	assert_int_equal(decode(f, json), 0);
	name[255] = 'a';
	name[256] = '\0';
	snprintf(json, sizeof(json), "{" ID "," P ",\"r\":\"%s\",\"rp\":1}", name);
	assert_int_equal(decode(f, json), -EINVAL);
}

/* A key twice is refused, on every level, also one that is unknown. */
static void key_twice_is_refused(void **state)
{
	struct fixture *f = *state;

	ASSERT_REFUSED(BASE ",\"r\":\"127.0.0.1\"");
	ASSERT_REFUSED(BASE ",\"x\":1,\"x\":1");
	ASSERT_REFUSED(ID ",\"p\":{\"Udp\":{\"timeout\":null,\"timeout\":null}}," R);
	assert_int_equal(decode_text(f, make(f, "{\"alg\":\"HS256\",\"alg\":\"HS256\"}", "{" BASE "}", "")), -EINVAL);
}

/* Unknown claims are ignored, 4 KB of them. */
static void unknown_claims_are_ignored(void **state)
{
	struct fixture *f = *state;
	char json[5000];
	size_t len = (size_t)snprintf(json, sizeof(json), "{" BASE ",\"deep\":{\"a\":[1,2,{\"b\":null}]},\"pad\":\"");

	memset(json + len, 'x', 4096);
	strcpy(json + len + 4096, "\"}");
	assert_int_equal(decode(f, json), 0);
	assert_false(f->claims.has_kid || f->claims.has_instance || f->claims.has_iat || f->claims.has_binding);
}

/* A text over the largest size is refused without being looked at. */
static void too_long_is_refused(void **state)
{
	struct fixture *f = *state;
	char json[6000];
	size_t len = (size_t)snprintf(json, sizeof(json), "{" BASE ",\"pad\":\"");

	memset(json + len, 'x', 5000);
	strcpy(json + len + 5000, "\"}");
	assert_int_equal(decode(f, json), -EINVAL);
	memset(json, 'x', sizeof(json) - 1);
	json[sizeof(json) - 1] = '\0';
	assert_int_equal(decode_text(f, make(f, HEADER, "{" BASE "}", json)), -EINVAL);
}

/* Claims of ours in a wrong form are refused. */
static void own_claims_in_wrong_form(void **state)
{
	struct fixture *f = *state;

	ASSERT_REFUSED(BASE ",\"kid\":\"0123456789abcde\"");
	ASSERT_REFUSED(BASE ",\"kid\":\"0123456789abcdeg\"");
	ASSERT_REFUSED(BASE ",\"kid\":1");
	ASSERT_REFUSED(BASE ",\"inst\":\"00\"");
	ASSERT_REFUSED(BASE ",\"inst\":null");
	ASSERT_REFUSED(BASE ",\"iat\":\"1\"");
	ASSERT_REFUSED(BASE ",\"any\":1");
	ASSERT_REFUSED(BASE ",\"beside\":true");
	ASSERT_REFUSED(BASE ",\"beside\":\"a text that is longer than any id can be\"");
	ASSERT_REFUSED(BASE ",\"cb\":\"AAAA\"");
	ASSERT_REFUSED(BASE ",\"cb\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"");
	ASSERT_REFUSED(BASE ",\"cb\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"");
}

/* A clock is no reason to refuse: 1970, before, and parts of a second are read. */
static void any_clock_is_read(void **state)
{
	struct fixture *f = *state;

	ASSERT_READS(BASE ",\"iat\":-5");
	assert_int_equal(f->claims.iat_s, -5);
	ASSERT_READS(BASE ",\"iat\":1763690000.75");
	assert_int_equal(f->claims.iat_s, 1763690000);
	ASSERT_READS(BASE ",\"iat\":9223372036854775807");
	assert_true(f->claims.has_iat);
}

/* Text that is no JWT is refused: parts, padding, base64, JSON. */
static void what_is_no_jwt(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(decode_text(f, ""), -EINVAL);
	assert_int_equal(decode_text(f, ".."), -EINVAL);
	assert_int_equal(decode_text(f, "a.b"), -EINVAL);
	make(f, HEADER, "{" BASE "}", "a.b");
	assert_int_equal(decode_text(f, f->text), -EINVAL);
	assert_int_equal(decode_text(f, make(f, HEADER, "[1]", "")), -EINVAL);
	assert_int_equal(decode_text(f, make(f, HEADER, "{" BASE "} x", "")), -EINVAL);
	assert_int_equal(decode_text(f, make(f, HEADER, "{" BASE ",}", "")), -EINVAL);
	assert_int_equal(decode_text(f, make(f, HEADER, "{" ID "," P ",\"r\":\"a\\u0000b\",\"rp\":1}", "")), -EINVAL);
	assert_int_equal(decode_text(f, make(f, HEADER, "{" ID "," P ",\"r\":\"\xff\",\"rp\":1}", "")), -EINVAL);
}

/* Padding in a part is refused. */
static void padding_is_refused(void **state)
{
	struct fixture *f = *state;
	struct jwt_claims claims = vector_claims();
	char padded[300];
	const char *dot;

	strcpy(claims.host, "127.0.0.10"); /* makes the claims' part end where padding would be */
	encode(f, &claims);
	assert_int_equal(decode_text(f, f->text), 0);
	dot = strrchr(f->text, '.');
	snprintf(padded, sizeof(padded), "%.*s=%s", (int)(dot - f->text), f->text, dot);
	assert_int_equal(decode_text(f, padded), -EINVAL);
	snprintf(padded, sizeof(padded), "%.*s==%s", (int)(dot - f->text), f->text, dot);
	assert_int_equal(decode_text(f, padded), -EINVAL);
}

/* As at a stock server the signature may be anything, the algorithm any known one. */
static void signature_is_not_looked_at(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(decode_text(f, make(f, HEADER, "{" BASE "}", "")), 0);
	assert_int_equal(decode_text(f, make(f, HEADER, "{" BASE "}", "!?")), 0);
	assert_int_equal(decode_text(f, make(f, "{\"alg\":\"ES256\"}", "{" BASE "}", "")), 0);
	assert_int_equal(decode_text(f, make(f, "{\"alg\":\"none\"}", "{" BASE "}", "")), -EINVAL);
	assert_int_equal(decode_text(f, make(f, "{\"alg\":\"XX256\"}", "{" BASE "}", "")), -EINVAL);
	assert_int_equal(decode_text(f, make(f, "{\"typ\":\"JWT\"}", "{" BASE "}", "")), -EINVAL);
}

/* Another key, a changed byte anywhere, a shorter or empty signature: not verified. */
static void wrong_signatures(void **state)
{
	struct fixture *f = *state;
	struct jwt_claims claims = vector_claims();
	size_t len = encode(f, &claims);

	assert_false(is_signed_with(f, "yxxxxxxxxxxxxxxx"));
	assert_false(is_signed_with(f, ""));
	for (size_t i = 0; i < len; i++) {
		char kept = f->text[i];

		f->text[i] = kept == 'A' ? 'B' : 'A';
		assert_false(is_signed_with(f, VECTOR_KEY));
		f->text[i] = kept;
	}
	for (size_t shorter = 0; shorter < len; shorter++)
		assert_false(jwt_verify(f->text, shorter, VECTOR_KEY, 16));
	assert_true(is_signed_with(f, VECTOR_KEY));
}

/* A good HMAC under another algorithm's name is not verified, under its own it is. */
static void algorithm_is_hs256_only(void **state)
{
	static const char *const headers[] = {"{\"alg\":\"HS512\"}", "{\"alg\":\"HS256\"}"};
	struct fixture *f = *state;

	for (size_t i = 0; i < 2; i++) {
		uint8_t hash[32];
		char signature[BASE64_LEN(sizeof(hash)) + 1];
		size_t len = strlen(make(f, headers[i], "{" BASE "}", "")) - 1;

		assert_non_null(HMAC(EVP_sha256(), VECTOR_KEY, 16, (uint8_t *)f->text, len, hash, NULL));
		base64_encode(signature, sizeof(signature), hash, sizeof(hash), BASE64_URL);
		strcpy(f->text + len + 1, signature);
		assert_int_equal(is_signed_with(f, VECTOR_KEY), i == 1);
	}
}

/* An id is a UUID of version 7: it begins with the time, and no two are the same. */
static void ids_are_version_7(void **state)
{
	char a[37];
	char b[37];

	(void)state;
	jwt_make_id(a, 0x017f22e279b0); /* the time of RFC 9562, A.6 */
	jwt_make_id(b, 0x017f22e279b0);
	assert_int_equal(strlen(a), 36);
	assert_memory_equal(a, "017f22e2-79b0-7", 15);
	assert_non_null(strchr("89ab", a[19]));
	assert_string_not_equal(a, b);
}

/* A key's id is the first 8 bytes of the token's SHA-256 ("abc": FIPS 180-4's example). */
static void kid_is_a_hash(void **state)
{
	char kid[JWT_KID_LEN + 1];

	(void)state;
	jwt_make_kid(kid, "abc");
	assert_string_equal(kid, "ba7816bf8f01cfea");
}

/* A kid in upper case names the same token. */
static void kid_in_upper_case(void **state)
{
	struct fixture *f = *state;

	ASSERT_READS(BASE ",\"kid\":\"BA7816BF8F01CFEA\"");
	assert_string_equal(f->claims.kid, "ba7816bf8f01cfea");
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(published_vector),
		CLAIM(round_trip),
		CLAIM(claims_are_in_order),
		CLAIM(small_buffer_is_told),
		CLAIM(any_order_and_white_space),
		CLAIM(no_timeout_in_three_ways),
		CLAIM(timeout_is_read),
		CLAIM(odd_timeouts_are_refused),
		CLAIM(other_protocols_are_not_udp),
		CLAIM(host_is_text),
		CLAIM(port_is_an_integer),
		CLAIM(missing_claims_are_refused),
		CLAIM(longest_host),
		CLAIM(key_twice_is_refused),
		CLAIM(unknown_claims_are_ignored),
		CLAIM(too_long_is_refused),
		CLAIM(own_claims_in_wrong_form),
		CLAIM(any_clock_is_read),
		CLAIM(what_is_no_jwt),
		CLAIM(padding_is_refused),
		CLAIM(signature_is_not_looked_at),
		CLAIM(wrong_signatures),
		CLAIM(algorithm_is_hs256_only),
		CLAIM(ids_are_version_7),
		CLAIM(kid_is_a_hash),
		CLAIM(kid_in_upper_case),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
