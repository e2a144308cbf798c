/* Which server a ClientHello asks for: OpenSSL's own hellos, cut into records of every size, and name extensions. */
#include "server/client_hello.h"

#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RECORD_HEADER_LEN 5
#define HELLO_ROOM 2048

/* A hello of OpenSSL's client for @name (NULL: none), with the record it comes in. Return: its bytes. */
static size_t make_hello(uint8_t hello[HELLO_ROOM], const char *name, int version)
{
	SSL_CTX *context = SSL_CTX_new(TLS_client_method());
	SSL *ssl = SSL_new(context);
	BIO *out = BIO_new(BIO_s_mem());
	int len;

	SSL_set_max_proto_version(ssl, version);
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), out);
	if (name)
		assert_int_equal(SSL_set_tlsext_host_name(ssl, (void *)(uintptr_t)name), 1);
	assert_int_equal(SSL_connect(ssl), -1);
	len = BIO_read(out, hello, HELLO_ROOM);
	SSL_free(ssl);
	SSL_CTX_free(context);
	assert_true(len > RECORD_HEADER_LEN && len < HELLO_ROOM);
	return (size_t)len;
}

/* The message of @hello again, in records of @piece bytes. Return: bytes in @ret. */
static size_t cut(const uint8_t *hello, size_t len, size_t piece, uint8_t *ret)
{
	size_t at = RECORD_HEADER_LEN, used = 0;

	while (at < len) {
		size_t now = len - at < piece ? len - at : piece;

		memcpy(ret + used, "\x16\x03\x01", 3);
		ret[used + 3] = (uint8_t)(now >> 8);
		ret[used + 4] = (uint8_t)now;
		memcpy(ret + used + RECORD_HEADER_LEN, hello + at, now);
		used += RECORD_HEADER_LEN + now;
		at += now;
	}
	return used;
}

static void length_is_known_whatever_the_records_are(void **state)
{
	static const int versions[] = {TLS1_VERSION, TLS1_2_VERSION, TLS1_3_VERSION};
	uint8_t hello[HELLO_ROOM], records[HELLO_ROOM * (RECORD_HEADER_LEN + 1)];

	(void)state;
	for (size_t i = 0; i < sizeof(versions) / sizeof(*versions); i++) {
		size_t len = make_hello(hello, i == 1 ? NULL : "home.example.org", versions[i]);

		for (size_t piece = 1; piece < len; piece++)
			assert_int_equal(
				client_hello_len(records, cut(hello, len, piece, records)), len - RECORD_HEADER_LEN);
	}
}

static void length_is_known_as_soon_as_it_has_come(void **state)
{
	uint8_t hello[HELLO_ROOM], records[HELLO_ROOM * (RECORD_HEADER_LEN + 1)];
	size_t len = make_hello(hello, "home.example.org", TLS1_3_VERSION);

	(void)state;
	for (size_t piece = 1; piece < 6; piece++) {
		size_t used = cut(hello, len, piece, records),
		       known = 4 + RECORD_HEADER_LEN * ((4 + piece - 1) / piece);

		for (size_t at = 0; at <= used; at++)
			assert_int_equal(client_hello_len(records, at), at < known ? 0 : len - RECORD_HEADER_LEN);
	}
}

static void other_bytes_have_no_length(void **state)
{
	static const char *const others[] = {"GET / HTTP/1.1\r\n", "\x15\x03\x01\0\x02\x01\0\x16\x03\x01",
		"\x16\x03\x01\0\x04\x02\0\0\x10", "\x17\x03\x03\0\x04\x01\0\0\x10", "\x80\x2e\x01\x03\x01\0\x15\0\0"};

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_int_equal(client_hello_len((const uint8_t *)others[i], 9), 0);
}

static void longest_message_is_measured(void **state)
{
	(void)state;
	assert_int_equal(client_hello_len((const uint8_t *)"\x16\x03\x01\x40\0\x01\0\x3f\xfc", 9), CLIENT_HELLO_MAX);
	assert_int_equal(client_hello_len((const uint8_t *)"\x16\x03\x01\x40\0\x01\xff\xff\xff", 9), 4 + 0xffffff);
}

/* --- names --- */

static void expect_name(const char *extension, size_t len, const char *name)
{
	uint8_t *exact = malloc(len ? len : 1); /* so that the sanitizer sees a byte too far */
	size_t name_len = 0;
	const char *found;

	memcpy(exact, extension, len);
	found = client_hello_name(exact, len, &name_len);
	if (name) {
		assert_non_null(found);
		assert_int_equal(name_len, strlen(name));
		assert_memory_equal(found, name, name_len);
	} else {
		assert_null(found);
	}
	free(exact);
}

static void one_name_is_found(void **state)
{
	(void)state;
	expect_name("\0\x07\0\0\x04home", 9, "home");
	expect_name("\0\x04\0\0\x01h", 6, "h");
}

static void everything_but_one_name_is_none(void **state)
{
	static const char whole[] = "\0\x07\0\0\x04home";

	(void)state;
	for (size_t len = 0; len < sizeof(whole) - 1; len++)
		expect_name(whole, len, NULL);
	expect_name("\0\x03\0\0\0", 5, NULL);		 /* an empty name */
	expect_name("\0\x07\x01\0\x04home", 9, NULL);	 /* another type */
	expect_name("\0\x08\0\0\x04home!", 10, NULL);	 /* a byte behind it */
	expect_name("\0\x08\0\0\0\0\0\x02hi", 10, NULL); /* two */
	expect_name("\0\x07\0\0\x05home", 9, NULL);	 /* longer than the list */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(length_is_known_whatever_the_records_are),
		cmocka_unit_test(length_is_known_as_soon_as_it_has_come),
		cmocka_unit_test(other_bytes_have_no_length),
		cmocka_unit_test(longest_message_is_measured),
		cmocka_unit_test(one_name_is_found),
		cmocka_unit_test(everything_but_one_name_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
