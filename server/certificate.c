/* Reads, makes and renews the hub's certificate (certificate.h).
 *
 * Happy path: key.pem and certificate.pem are in the folder, belong together and have time left; they are read. On the
 * first start both are made. Later the certificate is made anew with the same key, so that the pin stays: a client's
 * pin is the hash of the public key.
 *
 * It fails, and changes nothing, where a file cannot be read or the two do not belong together. It never makes a new
 * key in place of an old one, because every client would refuse the new pin; that is for the operator to decide.
 *
 * The key is written before the certificate. A crash between the two leaves a key alone, for which the next start makes
 * a certificate; a certificate alone is told as an error.
 */
#include "server/certificate.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "common/base/log.h"
#include "common/base/secret.h"
#include "common/tunnel/tls.h"

#include <errno.h>
#include <limits.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FILE_LEN_MAX (1u << 20)	  /* a chain of certificates has some KiB */
#define LIFE_DAYS 90		  /* as public authorities give: nothing about it is conspicuous */
#define CLOCK_SLACK_S (24 * 3600) /* a client's clock may be behind ours */
#define SERIAL_LEN 16		  /* bytes; RFC 5280 §4.1.2.2 allows 20 */
#define COMMON_NAME_MAX 64	  /* RFC 5280, ub-common-name */
#define TIME_TEXT_MAX 32	  /* "2026-11-21T02:45:00Z" */

/* The first certificate of a chain, which is the server's. */
static int parse_certificate(const char *pem, const char *path, X509 **ret, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = bio ? PEM_read_bio_X509_AUX(bio, NULL, tls_no_password, NULL) : NULL;

	BIO_free(bio);
	if (!certificate)
		return err_openssl(err, -EINVAL, "%s: no certificate in PEM form", path);
	*ret = certificate;
	return 0;
}

static int parse_key(const char *pem, const char *path, EVP_PKEY **ret, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, tls_no_password, NULL) : NULL;

	BIO_free(bio);
	if (!key)
		return err_openssl(err, -EINVAL, "%s: no private key in PEM form without a password", path);
	*ret = key;
	return 0;
}

/* Check that key and certificate belong together, and that OpenSSL would serve them: it refuses a chain that is cut, or
 * a key that is too short. Both are parsed first, so that the error names a broken file's path. */
static int check_pair(const char *certificate_pem, const char *certificate_path, const char *key_pem,
	const char *key_path, struct err *err)
{
	X509 *certificate = NULL;
	EVP_PKEY *key = NULL;
	SSL_CTX *tls = NULL;
	int rc = parse_certificate(certificate_pem, certificate_path, &certificate, err);

	if (rc == 0)
		rc = parse_key(key_pem, key_path, &key, err);
	if (rc == 0 && X509_check_private_key(certificate, key) != 1) {
		ERR_clear_error();
		rc = err_set(
			err, -EINVAL, "%s: the key does not belong to the certificate %s", key_path, certificate_path);
	}
	if (rc == 0) {
		rc = tls_server_context(&tls, certificate_pem, key_pem, err);
		if (rc < 0)
			err_wrap(err, rc, "%s", certificate_path);
	}
	SSL_CTX_free(tls);
	EVP_PKEY_free(key);
	X509_free(certificate);
	return rc;
}

int certificate_load(const char *certificate_path, const char *key_path, char **ret_certificate_pem, char **ret_key_pem,
	struct err *err)
{
	char *certificate_pem = NULL, *key_pem = NULL;
	int rc = file_read_text(certificate_path, FILE_LEN_MAX, &certificate_pem, err);

	if (rc == 0)
		rc = file_read_text(key_path, FILE_LEN_MAX, &key_pem, err);
	if (rc == 0)
		rc = check_pair(certificate_pem, certificate_path, key_pem, key_path, err);
	if (rc < 0) {
		free(certificate_pem);
		secret_free(key_pem);
		return rc;
	}
	*ret_certificate_pem = certificate_pem;
	*ret_key_pem = key_pem;
	return 0;
}

/* The PEM that @bio holds, terminated; frees @bio, whose own copy is wiped, because it may be the key. */
static int take_pem(BIO *bio, bool is_written, const char *noun, char **ret_pem, struct err *err)
{
	char *data = NULL, *pem = NULL;
	long len = is_written ? BIO_get_mem_data(bio, &data) : 0;

	if (len > 0) {
		pem = calloc(1, (size_t)len + 1);
		if (pem)
			memcpy(pem, data, (size_t)len);
		secret_wipe(data, (size_t)len);
	}
	BIO_free(bio);
	if (!pem)
		return err_openssl(err, -ENOMEM, "writing the %s", noun);
	*ret_pem = pem;
	return 0;
}

/* PEM, without a password: the file is 0600. */
static int format_key(EVP_PKEY *key, char **ret_pem, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());
	bool is_written = bio && PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL) == 1;

	return take_pem(bio, is_written, "key", ret_pem, err);
}

static int format_certificate(X509 *certificate, char **ret_pem, struct err *err)
{
	BIO *bio = BIO_new(BIO_s_mem());

	return take_pem(bio, bio && PEM_write_bio_X509(bio, certificate) == 1, "certificate", ret_pem, err);
}

/* The host's own name if it is valid in a certificate; it reveals no more than the host's other services do. */
static void own_name(char name[COMMON_NAME_MAX + 1])
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-";
	char host[HOST_NAME_MAX + 1] = "";
	size_t len;

	gethostname(host, sizeof(host) - 1);
	len = strlen(host);
	if (len == 0 || len > COMMON_NAME_MAX || strspn(host, allowed) != len)
		snprintf(host, sizeof(host), "localhost");
	memcpy(name, host, strlen(host) + 1);
}

/* "localhost" is no name of a host's own. */
void certificate_each_name(const char *pem, void (*on_name)(void *owner, const char *name), void *owner)
{
	char host[COMMON_NAME_MAX + 1] = "";
	X509 *certificate = NULL;
	GENERAL_NAMES *names;

	if (!pem) {
		own_name(host);
		if (strcmp(host, "localhost") != 0)
			on_name(owner, host);
		return;
	}
	if (parse_certificate(pem, "", &certificate, NULL) < 0)
		return;
	if (X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, host, sizeof(host)) > 0)
		on_name(owner, host);
	names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS &&
			strcasecmp((const char *)ASN1_STRING_get0_data(name->d.dNSName), host) != 0)
			on_name(owner, (const char *)ASN1_STRING_get0_data(name->d.dNSName)); /* terminated */
	}
	GENERAL_NAMES_free(names);
	X509_free(certificate);
}

/* A random serial number. */
static bool set_serial(X509 *certificate)
{
	unsigned char bytes[SERIAL_LEN];
	BIGNUM *number;
	bool is_set;

	if (RAND_bytes(bytes, sizeof(bytes)) != 1)
		return false;
	bytes[0] = (bytes[0] & 0x3f) | 0x40; /* positive, and always of the same length */
	number = BN_bin2bn(bytes, sizeof(bytes), NULL);
	is_set = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate));
	BN_free(number);
	return is_set;
}

/* Issued by itself, to the host's name. */
static bool set_names(X509 *certificate, const char *host)
{
	X509_NAME *name = X509_NAME_new();
	const unsigned char *text = (const unsigned char *)host;
	bool is_set = name && X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_ASC, text, -1, -1, 0) == 1 &&
		      X509_set_subject_name(certificate, name) == 1 && X509_set_issuer_name(certificate, name) == 1;

	X509_NAME_free(name);
	return is_set;
}

/* @value: in the syntax of openssl.cnf(5). */
static bool add_extension(X509 *certificate, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;
	bool is_added;

	X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	is_added = extension && X509_add_ext(certificate, extension, -1) == 1;
	X509_EXTENSION_free(extension);
	return is_added;
}

/* The extensions of a server's certificate. Clients look for the name in the alternative names only (RFC 9525). */
static bool add_extensions(X509 *certificate, const char *host)
{
	char alternative[sizeof("DNS:") + COMMON_NAME_MAX];

	snprintf(alternative, sizeof(alternative), "DNS:%s", host);
	return add_extension(certificate, NID_basic_constraints, "critical,CA:FALSE") &&
	       add_extension(certificate, NID_key_usage, "critical,digitalSignature") &&
	       add_extension(certificate, NID_ext_key_usage, "serverAuth") &&
	       add_extension(certificate, NID_subject_key_identifier, "hash") &&
	       add_extension(certificate, NID_subject_alt_name, alternative);
}

/* A self-signed certificate for @key. Clients pin the key, so that nobody checks the signature; it is there for a
 * visitor's browser. */
static int make_certificate(EVP_PKEY *key, char **ret_pem, struct err *err)
{
	X509 *certificate = X509_new();
	char host[COMMON_NAME_MAX + 1];
	bool is_made;
	int rc;

	own_name(host);
	is_made = certificate && X509_set_version(certificate, X509_VERSION_3) == 1 && set_serial(certificate) &&
		  set_names(certificate, host) && X509_gmtime_adj(X509_getm_notBefore(certificate), -CLOCK_SLACK_S) &&
		  X509_time_adj_ex(X509_getm_notAfter(certificate), LIFE_DAYS, 0, NULL) &&
		  X509_set_pubkey(certificate, key) == 1 && add_extensions(certificate, host) &&
		  X509_sign(certificate, key, EVP_sha256()) > 0;
	rc = is_made ? format_certificate(certificate, ret_pem, err)
		     : err_openssl(err, -ENOMEM, "making a certificate");
	X509_free(certificate);
	return rc;
}

/* Return: 0 for an invalid time, so that such a certificate counts as due. */
static int64_t seconds_between(const ASN1_TIME *from, const ASN1_TIME *to)
{
	int days = 0, seconds = 0;

	if (!ASN1_TIME_diff(&days, &seconds, from, to)) /* NULL is now */
		return 0;
	return (int64_t)days * 24 * 3600 + seconds;
}

/* The state of certificate_ensure(). The key is freed with secret_free(). */
struct own {
	const char *folder;
	char certificate_path[PATH_MAX];
	char key_path[PATH_MAX];
	char *certificate_pem; /* NULL: to be made */
	char *key_pem;	       /* NULL: to be made */
};

/* A missing file leaves NULL and is no error. */
static int read_if_there(const char *path, char **ret_text, struct err *err)
{
	int rc = file_read_text(path, FILE_LEN_MAX, ret_text, err);

	return rc == -ENOENT ? err_set(err, 0, "%s", "") : rc;
}

/* Read what is there and check that it belongs together. A key alone is fine: its certificate is made. */
static int own_read(struct own *own, struct err *err)
{
	int rc = read_if_there(own->key_path, &own->key_pem, err);

	if (rc == 0)
		rc = read_if_there(own->certificate_path, &own->certificate_pem, err);
	if (rc < 0)
		return rc;
	if (own->certificate_pem && !own->key_pem)
		return err_set(err, -EINVAL,
			"%s: missing, but its certificate is there; put the key back, or remove certificate.pem to "
			"make both anew (with a new pin)",
			own->key_path);
	if (own->certificate_pem)
		return check_pair(own->certificate_pem, own->certificate_path, own->key_pem, own->key_path, err);
	return 0;
}

/* A new key, in memory and on disk. */
static int own_make_key(struct own *own, EVP_PKEY **ret_key, struct err *err)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	int rc = key ? format_key(key, &own->key_pem, err) : err_openssl(err, -ENOMEM, "making a key");

	if (rc == 0)
		rc = file_write_text(own->key_path, own->key_pem, err);
	if (rc < 0) {
		EVP_PKEY_free(key);
		return rc;
	}
	*ret_key = key;
	return 0;
}

/* A certificate for the key, in memory and on disk. */
static int own_make_certificate(struct own *own, EVP_PKEY *key, struct err *err)
{
	char *pem = NULL;
	int rc = make_certificate(key, &pem, err);

	if (rc == 0)
		rc = file_write_text(own->certificate_path, pem, err);
	if (rc < 0) {
		free(pem);
		return rc;
	}
	free(own->certificate_pem);
	own->certificate_pem = pem;
	return 0;
}

/* True if the certificate is missing, unreadable, expired, not yet valid (made while the clock was wrong), or has less
 * than a third of its time left. */
static bool own_is_due(const struct own *own)
{
	X509 *certificate = NULL;
	const ASN1_TIME *begin, *end;
	bool is_due;

	if (!own->certificate_pem ||
		parse_certificate(own->certificate_pem, own->certificate_path, &certificate, NULL) < 0)
		return true;
	begin = X509_get0_notBefore(certificate);
	end = X509_get0_notAfter(certificate);
	is_due = seconds_between(begin, NULL) < 0 || seconds_between(NULL, end) * 3 < seconds_between(begin, end);
	X509_free(certificate);
	return is_due;
}

/* Make what is missing or due. *ret_made: a new key, and so a new pin. */
static int own_complete(struct own *own, bool *ret_made, struct err *err)
{
	bool is_new = !own->key_pem;
	EVP_PKEY *key = NULL;
	int rc;

	if (!own_is_due(own)) {
		*ret_made = false;
		return 0;
	}
	rc = folder_ensure_parent(own->folder, "--state-dir", err);
	if (rc == 0 && mkdir(own->folder, 0700) < 0 && errno != EEXIST)
		rc = err_system(err, -errno, "%s", own->folder);
	if (rc == 0)
		rc = is_new ? own_make_key(own, &key, err) : parse_key(own->key_pem, own->key_path, &key, err);
	if (rc == 0)
		rc = own_make_certificate(own, key, err);
	EVP_PKEY_free(key);
	if (rc == 0)
		*ret_made = is_new;
	return rc;
}

int certificate_ensure(
	const char *folder, char **ret_certificate_pem, char **ret_key_pem, bool *ret_made, struct err *err)
{
	struct own own = {.folder = folder};
	int size = sizeof(own.key_path), rc;

	if (snprintf(own.certificate_path, sizeof(own.certificate_path), "%s/certificate.pem", folder) >= size ||
		snprintf(own.key_path, sizeof(own.key_path), "%s/key.pem", folder) >= size)
		return err_system(err, -ENAMETOOLONG, "%s", folder);
	rc = own_read(&own, err);
	if (rc == 0)
		rc = own_complete(&own, ret_made, err);
	if (rc < 0) {
		free(own.certificate_pem);
		secret_free(own.key_pem);
		return rc;
	}
	*ret_certificate_pem = own.certificate_pem;
	*ret_key_pem = own.key_pem;
	return 0;
}

/* "2026-11-21T02:45:00Z". Return: @buf. */
static const char *format_time(char buf[TIME_TEXT_MAX], const ASN1_TIME *time)
{
	struct tm parts = {0};

	ASN1_TIME_to_tm(time, &parts); /* leaves 1900 where it fails */
	return clock_format_utc(buf, TIME_TEXT_MAX, timegm(&parts));
}

void certificate_tell_change(const char *path, const char *before_pem, const char *pem)
{
	uint8_t before[TLS_PIN_LEN], pin[TLS_PIN_LEN];
	char until[TIME_TEXT_MAX], text[TLS_PIN_TEXT_MAX];
	X509 *certificate = NULL;

	if (parse_certificate(pem, path, &certificate, NULL) < 0)
		return;
	log_info("config", "%s: a new certificate, valid until %s, for new connections; open ones go on", path,
		format_time(until, X509_get0_notAfter(certificate)));
	X509_free(certificate);
	if (tls_pin_of_pem(before_pem, before, NULL) < 0 || tls_pin_of_pem(pem, pin, NULL) < 0 ||
		memcmp(before, pin, sizeof(pin)) == 0)
		return;
	log_notice("config",
		"%s: has a new key; clients that pin the old one need: Pin = %s (renewed with the same key, which certbot "
		"does with --reuse-key, a certificate keeps its pin)",
		path, tls_pin_format(text, pin));
}

void certificate_warn_dates(const char *path, const char *pem)
{
	char text[TIME_TEXT_MAX];
	X509 *certificate = NULL;

	if (parse_certificate(pem, path, &certificate, NULL) < 0)
		return;
	if (X509_cmp_current_time(X509_get0_notAfter(certificate)) < 0)
		log_warning("config", "%s: expired since %s; clients without Pin refuse it until it is renewed", path,
			format_time(text, X509_get0_notAfter(certificate)));
	else if (X509_cmp_current_time(X509_get0_notBefore(certificate)) > 0)
		log_warning("config",
			"%s: not valid before %s; clients without Pin refuse it until then; if that is past, set this "
			"host's clock",
			path, format_time(text, X509_get0_notBefore(certificate)));
	X509_free(certificate);
}
