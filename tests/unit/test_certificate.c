/* The hub's own certificate, and the administrator's. */
#include "server/certificate.h"

#include "common/base/secret.h"
#include "common/tunnel/tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DAY_S (24 * 3600)
#define PATH_LEN 256

/* A fresh place, and what certificate_ensure() gave. */
struct place {
	char top[64];
	char folder[PATH_LEN];
	char certificate_path[PATH_LEN + 32];
	char key_path[PATH_LEN + 32];
	char *certificate_pem;
	char *key_pem;
	bool is_made;
	struct err err;
};

static void place_open(struct place *place)
{
	*place = (struct place){.top = "/tmp/test_certificate.XXXXXX"};
	assert_non_null(mkdtemp(place->top));
	snprintf(place->folder, sizeof(place->folder), "%s/state/hub", place->top);
	snprintf(place->certificate_path, sizeof(place->certificate_path), "%s/certificate.pem", place->folder);
	snprintf(place->key_path, sizeof(place->key_path), "%s/key.pem", place->folder);
}

static void place_forget(struct place *place)
{
	free(place->certificate_pem);
	secret_free(place->key_pem);
	place->certificate_pem = NULL;
	place->key_pem = NULL;
}

static void place_done(struct place *place)
{
	char path[PATH_LEN];

	place_forget(place);
	unlink(place->certificate_path);
	unlink(place->key_path);
	assert_int_equal(rmdir(place->folder), 0); /* nothing else was left in it */
	snprintf(path, sizeof(path), "%s/state", place->top);
	rmdir(path);
	rmdir(place->top);
	assert_int_equal(ERR_peek_error(), 0);
}

static int ensure(struct place *place)
{
	place_forget(place);
	return certificate_ensure(
		place->folder, &place->certificate_pem, &place->key_pem, &place->is_made, &place->err);
}

static void write_text(const char *path, const char *text, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), (ssize_t)len);
	close(fd);
}

static void pin_of(const struct place *place, uint8_t pin[TLS_PIN_LEN])
{
	assert_int_equal(tls_pin_of_pem(place->certificate_pem, pin, NULL), 0);
}

static X509 *read_certificate(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = PEM_read_bio_X509(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(certificate);
	return certificate;
}

static EVP_PKEY *read_key(const char *pem)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);

	BIO_free(bio);
	assert_non_null(key);
	return key;
}

/* Give the certificate on disk other dates, signed anew by its key. */
static void set_dates(struct place *place, int from_day, int to_day)
{
	X509 *certificate = read_certificate(place->certificate_pem);
	EVP_PKEY *key = read_key(place->key_pem);
	BIO *bio = BIO_new(BIO_s_mem());
	char *data;
	long len;

	X509_gmtime_adj(X509_getm_notBefore(certificate), (long)from_day * DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(certificate), (long)to_day * DAY_S);
	assert_true(X509_sign(certificate, key, EVP_sha256()) > 0);
	PEM_write_bio_X509(bio, certificate);
	len = BIO_get_mem_data(bio, &data);
	write_text(place->certificate_path, data, (size_t)len);
	BIO_free(bio);
	EVP_PKEY_free(key);
	X509_free(certificate);
}

#define ASSERT_HAS(text, part)                                                                                         \
	do {                                                                                                           \
		if (!strstr(text, part))                                                                               \
			fail_msg("\"%s\" lacks \"%s\"", text, part);                                                   \
	} while (0)

/* The first start makes both, for their owner only, in folders that it makes. */
static void first_start(void **state)
{
	struct place place;
	struct stat status;

	(void)state;
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	assert_true(place.is_made);
	assert_string_equal(place.err.text, "");
	assert_int_equal(stat(place.folder, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0700);
	assert_int_equal(stat(place.key_path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	assert_int_equal(stat(place.certificate_path, &status), 0);
	assert_int_equal(status.st_mode & 0777, 0600);
	place_done(&place);
}

/* ECDSA P-256, 90 days, the host's own name and no other. */
static void looks_like_any_other(void **state)
{
	char host[256] = "";
	char group[32];
	struct place place;
	X509 *certificate;
	char name[256];
	int days;
	int seconds;

	(void)state;
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	certificate = read_certificate(place.certificate_pem);
	assert_int_equal(EVP_PKEY_get_group_name(X509_get0_pubkey(certificate), group, sizeof(group), NULL), 1);
	assert_string_equal(group, "prime256v1");
	ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate));
	assert_true(days == 90 || (days == 89 && seconds > 0));
	ASN1_TIME_diff(&days, &seconds, X509_get0_notBefore(certificate), NULL);
	assert_true(days >= 0 && seconds >= 0);
	gethostname(host, sizeof(host) - 1);
	X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name, sizeof(name));
	if (strlen(host) <= 64)
		assert_string_equal(name, host);
	assert_int_equal(X509_check_host(certificate, name, 0, 0, NULL), 1);
	assert_int_equal(X509_NAME_entry_count(X509_get_subject_name(certificate)), 1);
	assert_int_equal(X509_self_signed(certificate, 1), 1);
	X509_free(certificate);
	place_done(&place);
}

/* The next start reads the same again. */
static void second_start(void **state)
{
	struct place place;
	char *certificate_pem;
	char *key_pem;

	(void)state;
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	certificate_pem = strdup(place.certificate_pem);
	key_pem = strdup(place.key_pem);
	assert_int_equal(ensure(&place), 0);
	assert_false(place.is_made);
	assert_string_equal(place.certificate_pem, certificate_pem);
	assert_string_equal(place.key_pem, key_pem);
	free(certificate_pem);
	secret_free(key_pem);
	place_done(&place);
}

/* It can be given to a TLS server, and trusted by itself. */
static void usable_for_tls(void **state)
{
	struct tls_client_setup plan = {0};
	SSL_CTX *context = NULL;
	struct place place;

	(void)state;
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	assert_int_equal(tls_server_context(&context, place.certificate_pem, place.key_pem, NULL), 0);
	SSL_CTX_free(context);
	plan.ca_pem = place.certificate_pem;
	assert_int_equal(tls_client_context(&context, &plan, NULL), 0);
	SSL_CTX_free(context);
	place_done(&place);
}

/* Expired, nearly expired, or made while the clock was wrong: a new certificate with the old pin. */
static void renewal_keeps_the_pin(void **state)
{
	static const int dates[][2] = {{-100, -10}, {-61, 29}, {100, 190}};

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		uint8_t before[TLS_PIN_LEN];
		uint8_t after[TLS_PIN_LEN];
		struct place place;
		X509 *certificate;
		int days;
		int seconds;

		place_open(&place);
		assert_int_equal(ensure(&place), 0);
		pin_of(&place, before);
		set_dates(&place, dates[i][0], dates[i][1]);
		assert_int_equal(ensure(&place), 0);
		assert_false(place.is_made);
		pin_of(&place, after);
		assert_memory_equal(before, after, TLS_PIN_LEN);
		certificate = read_certificate(place.certificate_pem);
		ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate));
		assert_true(days >= 89);
		X509_free(certificate);
		place_done(&place);
	}
}

/* With more than a third of its time left it stays. */
static void no_early_renewal(void **state)
{
	struct place place;
	X509 *certificate;
	int days;
	int seconds;

	(void)state;
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	set_dates(&place, -58, 32);
	assert_int_equal(ensure(&place), 0);
	certificate = read_certificate(place.certificate_pem);
	ASN1_TIME_diff(&days, &seconds, NULL, X509_get0_notAfter(certificate));
	assert_true(days <= 32);
	X509_free(certificate);
	place_done(&place);
}

/* A certificate that is gone is made again for the same key. */
static void missing_certificate(void **state)
{
	uint8_t before[TLS_PIN_LEN];
	uint8_t after[TLS_PIN_LEN];
	struct place place;

	(void)state;
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	pin_of(&place, before);
	unlink(place.certificate_path);
	assert_int_equal(ensure(&place), 0);
	assert_false(place.is_made);
	pin_of(&place, after);
	assert_memory_equal(before, after, TLS_PIN_LEN);
	place_done(&place);
}

/* A key that is gone is not replaced in silence: the pin would change. */
static void missing_key(void **state)
{
	struct place place;

	(void)state;
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	unlink(place.key_path);
	assert_int_equal(ensure(&place), -EINVAL);
	ASSERT_HAS(place.err.text, place.key_path);
	ASSERT_HAS(place.err.text, "new pin");
	assert_int_equal(access(place.key_path, F_OK), -1);
	place_done(&place);
}

/* Files that do not belong together, or are cut, are refused and left as they are. */
static void spoilt_files(void **state)
{
	struct place place;
	struct place other;
	struct stat status;
	size_t half;

	(void)state;
	place_open(&place);
	place_open(&other);
	assert_int_equal(ensure(&place), 0);
	assert_int_equal(ensure(&other), 0);
	write_text(place.key_path, other.key_pem, strlen(other.key_pem));
	assert_int_equal(ensure(&place), -EINVAL);
	ASSERT_HAS(place.err.text, "the key does not belong to the certificate");

	half = strlen(other.key_pem) / 2;
	write_text(place.key_path, other.key_pem, half);
	assert_int_equal(ensure(&place), -EINVAL);
	ASSERT_HAS(place.err.text, "key.pem: no private key in PEM form");
	assert_int_equal(stat(place.key_path, &status), 0);
	assert_int_equal(status.st_size, half);

	half = strlen(other.certificate_pem) / 2;
	write_text(other.certificate_path, other.certificate_pem, half);
	assert_int_equal(ensure(&other), -EINVAL);
	ASSERT_HAS(other.err.text, "certificate.pem: no certificate in PEM form");
	write_text(other.certificate_path, "", 0);
	assert_int_equal(ensure(&other), -EINVAL);
	place_done(&place);
	place_done(&other);
}

/* A file where the folder should be is told. */
static void folder_is_a_file(void **state)
{
	struct place place;
	char path[PATH_LEN];

	(void)state;
	place_open(&place);
	snprintf(path, sizeof(path), "%s/state", place.top);
	write_text(path, "x", 1);
	assert_int_equal(ensure(&place), -ENOTDIR);
	ASSERT_HAS(place.err.text, "Not a directory");
	unlink(path);
	mkdir(path, 0700);
	mkdir(place.folder, 0700);
	place_done(&place);
}

static int load(struct place *place, const char *certificate_path, const char *key_path)
{
	place_forget(place);
	return certificate_load(certificate_path, key_path, &place->certificate_pem, &place->key_pem, &place->err);
}

/* The administrator's files are read as they are. */
static void given_files(void **state)
{
	struct place place;
	char *certificate_pem;

	(void)state;
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	certificate_pem = strdup(place.certificate_pem);
	assert_int_equal(load(&place, place.certificate_path, place.key_path), 0);
	assert_string_equal(place.certificate_pem, certificate_pem);
	free(certificate_pem);
	place_done(&place);
}

/* A file that cannot be used is told with its path: missing, a folder, a pipe, not PEM, swapped, of another
 * certificate, a chain that is cut. */
static void unusable_given_files(void **state)
{
	struct place place;
	struct place other;
	char pipe_path[PATH_LEN];
	char *chain = NULL;

	(void)state;
	place_open(&place);
	place_open(&other);
	assert_int_equal(ensure(&place), 0);
	assert_int_equal(ensure(&other), 0);
	assert_int_equal(load(&place, "/nonexistent/certificate.pem", place.key_path), -ENOENT);
	ASSERT_HAS(place.err.text, "/nonexistent/certificate.pem: No such file or directory");
	assert_int_equal(load(&place, place.certificate_path, place.folder), -EINVAL);
	ASSERT_HAS(place.err.text, "not a regular file");
	snprintf(pipe_path, sizeof(pipe_path), "%s/pipe", place.top);
	assert_int_equal(mkfifo(pipe_path, 0600), 0);
	assert_int_equal(load(&place, pipe_path, place.key_path), -EINVAL);
	unlink(pipe_path);
	assert_int_equal(load(&place, place.key_path, place.certificate_path), -EINVAL);
	ASSERT_HAS(place.err.text, "key.pem: no certificate in PEM form");
	assert_int_equal(load(&place, place.certificate_path, other.key_path), -EINVAL);
	ASSERT_HAS(place.err.text, other.key_path);
	ASSERT_HAS(place.err.text, place.certificate_path);
	assert_true(asprintf(&chain, "%s%.200s", other.certificate_pem, other.certificate_pem) > 0);
	write_text(other.certificate_path, chain, strlen(chain));
	assert_int_equal(load(&place, other.certificate_path, other.key_path), -EINVAL);
	ASSERT_HAS(place.err.text, "certificate.pem: certificate chain");
	free(chain);
	place_done(&place);
	place_done(&other);
}

/* A file that may not be read is told as such. */
static void forbidden_file(void **state)
{
	struct place place;
	int rc;

	(void)state;
	if (geteuid() != 0)
		skip();
	place_open(&place);
	assert_int_equal(ensure(&place), 0);
	assert_int_equal(chmod(place.top, 0755), 0);
	assert_int_equal(seteuid(65534), 0);
	rc = load(&place, place.certificate_path, place.key_path);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(rc, -EACCES);
	ASSERT_HAS(place.err.text, "Permission denied");
	place_done(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_start),
		cmocka_unit_test(looks_like_any_other),
		cmocka_unit_test(second_start),
		cmocka_unit_test(usable_for_tls),
		cmocka_unit_test(renewal_keeps_the_pin),
		cmocka_unit_test(no_early_renewal),
		cmocka_unit_test(missing_certificate),
		cmocka_unit_test(missing_key),
		cmocka_unit_test(spoilt_files),
		cmocka_unit_test(folder_is_a_file),
		cmocka_unit_test(given_files),
		cmocka_unit_test(unusable_given_files),
		cmocka_unit_test(forbidden_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
