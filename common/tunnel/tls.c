/* TLS contexts for both ends.
 *
 * Happy path: a context is made once; the server makes SSLs from it with SSL_new(), the client with
 * tls_client_session(), which adds the name to ask for and to verify; after the handshake the caller compares pins and
 * takes the channel binding. It fails by a negative errno and a text. OpenSSL's error queue is emptied where the call
 * failed. A failed handshake is put into words by tls_explain.c, for which the verify callback remembers the
 * certificate that was refused.
 */
#include "common/tunnel/tls.h"

#include "common/base/base64.h"
#include "common/base/cpu.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <string.h>

/* Four whole records at once: 4 * (16384 plaintext + 256 largest expansion + 5 header). */
#define READ_BUFFER_LEN (4u * (16384u + 256u + 5u))
#define TICKETS 2	 /* of TLS 1.3 for each connection: one is spent at the next one */
#define NAME_MAX_LEN 255 /* of a DNS name, RFC 1035 §2.3.4 */

#define SUITES_AES_FIRST "TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384"
#define SUITES_CHACHA_FIRST "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384"
#define CIPHERS_AES_FIRST                                                                                              \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                                   \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                                   \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"
#define CIPHERS_CHACHA_FIRST                                                                                           \
	"ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"                                                   \
	"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"                                                   \
	"ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384"

static const unsigned char alpn_http11[] = {8, 'h', 't', 't', 'p', '/', '1', '.', '1'};
static const unsigned char session_context[] = {1};

/* --- the certificate that was refused --- */

/* A struct tls_refusal is kept with its SSL, under this index, until the SSL is freed. */
static CRYPTO_ONCE refusal_once = CRYPTO_ONCE_STATIC_INIT;
static int refusal_index = -1;

static void refusal_free(void *parent, void *item, CRYPTO_EX_DATA *data, int index, long number, void *argument)
{
	struct tls_refusal *refusal = item;

	(void)parent;
	(void)data;
	(void)index;
	(void)number;
	(void)argument;
	if (!refusal)
		return;
	X509_free(refusal->leaf);
	X509_free(refusal->faulty);
	OPENSSL_free(refusal);
}

static void refusal_make_index(void)
{
	refusal_index = SSL_get_ex_new_index(0, NULL, NULL, NULL, refusal_free);
}

const struct tls_refusal *tls_refused(SSL *ssl)
{
	return refusal_index < 0 ? NULL : SSL_get_ex_data(ssl, refusal_index);
}

static X509 *take_reference(X509 *certificate)
{
	return certificate && X509_up_ref(certificate) ? certificate : NULL;
}

/* Called by OpenSSL for each certificate of the chain. Changes no verdict: it only remembers the first refusal. */
static int on_verify(int is_good, X509_STORE_CTX *store_context)
{
	SSL *ssl = X509_STORE_CTX_get_ex_data(store_context, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct tls_refusal *refusal;

	if (is_good || !ssl || SSL_get_ex_data(ssl, refusal_index))
		return is_good;
	refusal = OPENSSL_zalloc(sizeof(*refusal));
	if (!refusal)
		return is_good;
	refusal->leaf = take_reference(X509_STORE_CTX_get0_cert(store_context));
	refusal->faulty = take_reference(X509_STORE_CTX_get_current_cert(store_context));
	if (!SSL_set_ex_data(ssl, refusal_index, refusal))
		refusal_free(NULL, refusal, NULL, 0, 0, NULL);
	return is_good;
}

/* --- PEM --- */

int tls_no_password(char *buf, int size, int is_writing, void *argument)
{
	(void)buf;
	(void)size;
	(void)is_writing;
	(void)argument;
	return -1;
}

/* Reading a text of several certificates ends with an error in any case. True if it is the harmless one: the text is
 * over, rather than broken. */
static bool is_end_of_pem(void)
{
	unsigned long code = ERR_peek_last_error();

	return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

/* All further certificates of @bio go into the chain that is sent. */
static int add_chain(SSL_CTX *context, BIO *bio, struct err *err)
{
	X509 *issuer;

	while ((issuer = PEM_read_bio_X509(bio, NULL, tls_no_password, NULL)))
		if (!SSL_CTX_add0_chain_cert(context, issuer)) {
			X509_free(issuer);
			return err_openssl(err, -EINVAL, "certificate chain");
		}
	if (!is_end_of_pem())
		return err_openssl(err, -EINVAL, "certificate chain");
	ERR_clear_error();
	return 0;
}

/* The first certificate of @pem is the leaf, what follows its chain: the order of fullchain.pem. */
static int use_certificate(SSL_CTX *context, const char *pem, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *leaf = bio ? PEM_read_bio_X509_AUX(bio, NULL, tls_no_password, NULL) : NULL;
	int rc;

	if (!leaf)
		rc = err_openssl(err, -EINVAL, "no certificate in PEM form");
	else if (SSL_CTX_use_certificate(context, leaf) != 1)
		rc = err_openssl(err, -EINVAL, "certificate");
	else
		rc = add_chain(context, bio, err);
	X509_free(leaf);
	BIO_free(bio);
	return rc;
}

static int use_key(SSL_CTX *context, const char *pem, struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	EVP_PKEY *key = bio ? PEM_read_bio_PrivateKey(bio, NULL, tls_no_password, NULL) : NULL;
	int rc = 0;

	if (!key) {
		rc = err_openssl(err, -EINVAL, "no private key in PEM form without a password");
	} else if (SSL_CTX_use_PrivateKey(context, key) != 1 || SSL_CTX_check_private_key(context) != 1) {
		ERR_clear_error();
		rc = err_set(err, -EINVAL, "the key does not belong to the certificate");
	}
	EVP_PKEY_free(key);
	BIO_free(bio);
	return rc;
}

static int use_identity(SSL_CTX *context, const char *certificate_pem, const char *key_pem, struct err *err)
{
	int rc = use_certificate(context, certificate_pem, err);

	return rc < 0 ? rc : use_key(context, key_pem, err);
}

/* --- contexts --- */

/* Common to both ends: versions, no compression, no renegotiation, reads of several records at once, and the ciphers in
 * the order of this machine. */
static int make_context(SSL_CTX **ret, const SSL_METHOD *method, struct err *err)
{
	bool has_aes = cpu_has_aes();
	SSL_CTX *context = SSL_CTX_new(method);

	if (!context || !SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION)) {
		SSL_CTX_free(context);
		return err_openssl(err, -ENOMEM, "TLS");
	}
	/* An end without close_notify is a plain end: stock peers and a vanished path look like that anyway. */
	SSL_CTX_set_options(context, SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
	/* One SSL_write() is one record or fails: tls_stream.c has checked that there is room. */
	SSL_CTX_clear_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE);
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS); /* until there is traffic, see tls_stream_keep_buffers() */
	SSL_CTX_set_default_read_buffer_len(context, READ_BUFFER_LEN);
	SSL_CTX_set_read_ahead(context, 1);
	/* TLS 1.3 has a list of its own. */
	if (!SSL_CTX_set_ciphersuites(context, has_aes ? SUITES_AES_FIRST : SUITES_CHACHA_FIRST) ||
		!SSL_CTX_set_cipher_list(context, has_aes ? CIPHERS_AES_FIRST : CIPHERS_CHACHA_FIRST)) {
		SSL_CTX_free(context);
		return err_openssl(err, -ENOTSUP, "TLS ciphers");
	}
	*ret = context;
	return 0;
}

/* "http/1.1" out of any list; a list without it gets the alert. Not called where the client sends no list. */
static int on_alpn(SSL *ssl, const unsigned char **ret, unsigned char *ret_len, const unsigned char *offered,
	unsigned int offered_len, void *argument)
{
	(void)ssl;
	(void)argument;
	for (unsigned int at = 0; at < offered_len; at += 1u + offered[at]) {
		if (offered_len - at < sizeof(alpn_http11) ||
			memcmp(offered + at, alpn_http11, sizeof(alpn_http11)) != 0)
			continue;
		*ret = offered + at + 1;
		*ret_len = offered[at];
		return SSL_TLSEXT_ERR_OK;
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

int tls_server_context(SSL_CTX **ret, const char *certificate_pem, const char *key_pem, struct err *err)
{
	SSL_CTX *context = NULL;
	int rc = make_context(&context, TLS_server_method(), err);

	if (rc < 0)
		return rc;
	rc = use_identity(context, certificate_pem, key_pem, err);
	if (rc < 0) {
		SSL_CTX_free(context);
		return rc;
	}
	/* A client that asks for ChaCha20 gets it: it may have no AES instructions. */
	SSL_CTX_set_options(context, SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_set_alpn_select_cb(context, on_alpn, NULL);
	/* Stateless tickets only: sessions that are never resumed cost no memory. Early data stays off (the
	 * default). */
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_session_id_context(context, session_context, sizeof(session_context));
	SSL_CTX_set_num_tickets(context, TICKETS);
	*ret = context;
	return 0;
}

/* Every certificate of @pem becomes a trust anchor, also one that is no root. */
static int trust_pem(SSL_CTX *context, const char *pem, struct err *err)
{
	X509_STORE *store = SSL_CTX_get_cert_store(context);
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *anchor;
	int count = 0;

	while (bio && (anchor = PEM_read_bio_X509(bio, NULL, tls_no_password, NULL))) {
		count += X509_STORE_add_cert(store, anchor);
		X509_free(anchor);
	}
	BIO_free(bio);
	if (count == 0 || !is_end_of_pem())
		return err_openssl(err, -EINVAL, "CA: no certificate in PEM form");
	ERR_clear_error();
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
	return 0;
}

/* With pins OpenSSL verifies nothing, not even the date: a host whose clock stands at 1970 can still connect. */
static int set_verification(SSL_CTX *context, const struct tls_client_setup *setup, struct err *err)
{
	if (setup->has_pins) {
		SSL_CTX_set_verify(context, SSL_VERIFY_NONE, NULL);
		return 0;
	}
	if (!CRYPTO_THREAD_run_once(&refusal_once, refusal_make_index) || refusal_index < 0)
		return err_openssl(err, -ENOMEM, "TLS");
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, on_verify);
	if (setup->ca_pem)
		return trust_pem(context, setup->ca_pem, err);
	if (!SSL_CTX_set_default_verify_paths(context))
		return err_openssl(err, -EINVAL, "the system's certificate authorities");
	return 0;
}

int tls_client_context(SSL_CTX **ret, const struct tls_client_setup *setup, struct err *err)
{
	SSL_CTX *context = NULL;
	int rc = make_context(&context, TLS_client_method(), err);

	if (rc < 0)
		return rc;
	rc = set_verification(context, setup, err);
	if (rc == 0 && setup->certificate_pem)
		rc = use_identity(context, setup->certificate_pem, setup->key_pem ? setup->key_pem : "", err);
	if (rc == 0 && SSL_CTX_set_alpn_protos(context, alpn_http11, sizeof(alpn_http11)) != 0)
		rc = err_openssl(err, -ENOMEM, "ALPN");
	if (rc < 0) {
		SSL_CTX_free(context);
		return rc;
	}
	*ret = context;
	return 0;
}

/* Sessions are the caller's to keep, by server; OpenSSL's own cache goes by session id, which a client does not ask
 * for. */
void tls_client_on_session(SSL_CTX *context, int (*on_session)(SSL *ssl, SSL_SESSION *session))
{
	SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(context, on_session);
}

/* Set the name to verify, and SNI where it is a DNS name: RFC 6066 §3 allows no address there. */
static bool set_name(SSL *ssl, char *name) /* not modified; the SNI macro casts const away */
{
	struct in6_addr ignored;

	if (inet_pton(AF_INET, name, &ignored) == 1 || inet_pton(AF_INET6, name, &ignored) == 1)
		return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

int tls_client_session(SSL **ret, SSL_CTX *context, const char *server_name, SSL_SESSION *resume, struct err *err)
{
	size_t len = strcspn(server_name, "%"); /* an IPv6 zone means nothing to the other side */
	char name[NAME_MAX_LEN + 1];
	SSL *ssl;

	if (len > 1 && server_name[len - 1] == '.')
		len--; /* the root's dot is in no certificate */
	if (len == 0 || len > NAME_MAX_LEN)
		return err_set(err, -EINVAL, "server name is empty or too long");
	memcpy(name, server_name, len);
	name[len] = '\0';
	ssl = SSL_new(context);
	if (!ssl || !set_name(ssl, name) || (resume && !SSL_set_session(ssl, resume))) {
		SSL_free(ssl);
		return err_openssl(err, -EINVAL, "TLS");
	}
	SSL_set_connect_state(ssl);
	*ret = ssl;
	return 0;
}

/* --- pins and binding --- */

bool tls_pin_of_certificate(X509 *certificate, uint8_t ret_pin[TLS_PIN_LEN])
{
	unsigned char *der = NULL;
	int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	bool is_good = len > 0 && EVP_Digest(der, (size_t)len, ret_pin, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return is_good;
}

bool tls_check_pin(SSL *ssl, const uint8_t (*pins)[TLS_PIN_LEN], size_t pin_count)
{
	X509 *certificate = SSL_get0_peer_certificate(ssl);
	uint8_t pin[TLS_PIN_LEN];

	if (!certificate || !tls_pin_of_certificate(certificate, pin))
		return false;
	for (size_t i = 0; i < pin_count; i++)
		if (memcmp(pin, pins[i], TLS_PIN_LEN) == 0)
			return true;
	return false;
}

int tls_peer_pin(SSL *ssl, uint8_t ret_pin[TLS_PIN_LEN])
{
	X509 *certificate = SSL_get0_peer_certificate(ssl);

	return certificate && tls_pin_of_certificate(certificate, ret_pin) ? 0 : -ENOENT;
}

int tls_pin_of_pem(const char *pem, uint8_t ret_pin[TLS_PIN_LEN], struct err *err)
{
	BIO *bio = BIO_new_mem_buf(pem, -1);
	X509 *certificate = bio ? PEM_read_bio_X509_AUX(bio, NULL, tls_no_password, NULL) : NULL;
	int rc = 0;

	if (!certificate || !tls_pin_of_certificate(certificate, ret_pin))
		rc = err_openssl(err, -EINVAL, "no certificate in PEM form");
	X509_free(certificate);
	BIO_free(bio);
	return rc;
}

const char *tls_pin_format(char buf[TLS_PIN_TEXT_MAX], const uint8_t pin[TLS_PIN_LEN])
{
	static const char prefix[] = "sha256//";

	memcpy(buf, prefix, sizeof(prefix));
	base64_encode(
		buf + sizeof(prefix) - 1, TLS_PIN_TEXT_MAX - (sizeof(prefix) - 1), pin, TLS_PIN_LEN, BASE64_STANDARD);
	return buf;
}

int tls_channel_binding(SSL *ssl, uint8_t ret[TLS_BINDING_LEN])
{
	static const char label[] = "EXPORTER-Channel-Binding";
	static const unsigned char no_context[1];

	/* RFC 9266 §4.2: under TLS 1.2 unique with the extended master secret only. */
	if (SSL_version(ssl) < TLS1_3_VERSION && SSL_get_extms_support(ssl) != 1)
		return -ENOTSUP;
	if (SSL_export_keying_material(ssl, ret, TLS_BINDING_LEN, label, sizeof(label) - 1, no_context, 0, 1) != 1) {
		ERR_clear_error();
		return -ENOTSUP;
	}
	return 0;
}
