/* base64 and base64url: the published vectors, and that every text has one spelling. */
#include "common/base/base64.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* RFC 4648 §10, and §5 without padding. */
static const struct {
	const char *bytes, *standard, *url;
} vectors[] = {
	{"", "", ""},
	{"f", "Zg==", "Zg"},
	{"fo", "Zm8=", "Zm8"},
	{"foo", "Zm9v", "Zm9v"},
	{"foob", "Zm9vYg==", "Zm9vYg"},
	{"fooba", "Zm9vYmE=", "Zm9vYmE"},
	{"foobar", "Zm9vYmFy", "Zm9vYmFy"},
	{"\xfb\xff\xbf", "+/+/", "-_-_"},
};

/* The published vectors are written in both variants. */
static void vectors_are_encoded(void **state)
{
	char out[32];

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		size_t len = strlen(vectors[i].bytes);

		assert_int_equal(base64_encode(out, sizeof(out), vectors[i].bytes, len, BASE64_STANDARD),
			strlen(vectors[i].standard));
		assert_string_equal(out, vectors[i].standard);
		assert_int_equal(
			base64_encode(out, sizeof(out), vectors[i].bytes, len, BASE64_URL), strlen(vectors[i].url));
		assert_string_equal(out, vectors[i].url);
	}
}

/* The text lies in memory of exactly its size, so that the sanitizer sees every step too far. */
static ssize_t decode(uint8_t *out, size_t size, const char *text, enum base64_variant variant)
{
	size_t len = strlen(text);
	char *copy = malloc(len ? len : 1);
	ssize_t got;

	assert_non_null(copy);
	memcpy(copy, text, len);
	got = base64_decode(out, size, copy, len, variant);
	free(copy);
	return got;
}

/* The published vectors are read in both variants, into room of exactly their size. */
static void vectors_are_decoded(void **state)
{
	uint8_t out[8];

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		size_t len = strlen(vectors[i].bytes);

		assert_int_equal(decode(out, len, vectors[i].standard, BASE64_STANDARD), len);
		assert_memory_equal(out, vectors[i].bytes, len);
		assert_int_equal(decode(out, len, vectors[i].url, BASE64_URL), len);
		assert_memory_equal(out, vectors[i].bytes, len);
	}
}

/* Whatever is not exactly what encoding writes is refused. */
static void other_spellings_are_refused(void **state)
{
	static const char *const standard[] = {
		"Z",
		"Zg",
		"Zg=",
		"Zg===",
		"Zh==",
		"Zm9=",
		"Zm8",
		"====",
		"=",
		"==",
		"A===",
		"Zg==Zg==",
		"Zm 9v",
		" Zm9v",
		"Zm9v\n",
		"Zm9v ",
		"Zm-v",
		"Zm_v",
		"Zm9\x80",
		"Zg=a",
		"-AAA",
		"Z===",
		"Zm9vZ",
	};
	static const char *const url[] = {"Z", "Zg==", "Zm8=", "Zh", "Zm9", "+/+/", "Zm9v\n", "Zm9vZ", "Zg="};
	uint8_t out[16];

	(void)state;
	for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++)
		if (decode(out, sizeof(out), standard[i], BASE64_STANDARD) != -EINVAL)
			fail_msg("standard '%s' was taken", standard[i]);
	for (size_t i = 0; i < sizeof(url) / sizeof(url[0]); i++)
		if (decode(out, sizeof(out), url[i], BASE64_URL) != -EINVAL)
			fail_msg("url '%s' was taken", url[i]);
}

/* A NUL byte is no end of the text. */
static void nul_byte_is_refused(void **state)
{
	uint8_t out[16];

	(void)state;
	assert_int_equal(base64_decode(out, sizeof(out), "Zm9v\0AAA", 8, BASE64_STANDARD), -EINVAL);
}

/* Text that does not fit is refused, not cut. */
static void too_small_room_is_refused(void **state)
{
	uint8_t out[8];
	char text[8] = "x";

	(void)state;
	assert_int_equal(decode(out, 5, "Zm9vYmFy", BASE64_STANDARD), -EINVAL);
	assert_int_equal(decode(out, 0, "Zg==", BASE64_STANDARD), -EINVAL);
	assert_int_equal(base64_encode(text, 8, "foobar", 6, BASE64_STANDARD), 0);
	assert_string_equal(text, "");
}

/* Any bytes come back from both variants. */
static void bytes_come_back(void **state)
{
	uint8_t bytes[256], out[256];
	char text[BASE64_LEN(256) + 1];

	(void)state;
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 37 + 11);
	for (size_t len = 0; len <= sizeof(bytes); len++) {
		for (int variant = BASE64_STANDARD; variant <= BASE64_URL; variant++) {
			size_t written = base64_encode(text, sizeof(text), bytes, len, variant);

			assert_int_equal(base64_decode(out, len, text, written, variant), len);
			assert_memory_equal(out, bytes, len);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(vectors_are_encoded),
		cmocka_unit_test(vectors_are_decoded),
		cmocka_unit_test(other_spellings_are_refused),
		cmocka_unit_test(nul_byte_is_refused),
		cmocka_unit_test(too_small_room_is_refused),
		cmocka_unit_test(bytes_come_back),
	};

	return cmocka_run_group_tests_name("base64", tests, NULL, NULL);
}
