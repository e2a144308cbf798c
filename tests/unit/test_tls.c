/* TLS contexts of both ends, shaking hands in memory. */
#include "common/base/cpu.h"
#include "common/tunnel/tls.h"
#include "common/tunnel/tls_explain.h"

#include <errno.h>
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

#include <cmocka.h>

#define DAY_S (24 * 3600)
#define REASON_MAX 512

/* ---- the processor ---- */

static bool has_aes = true;

/* In place of the library's. */
bool cpu_has_aes(void)
{
	return has_aes;
}

/* ---- certificates ---- */

struct identity {
	EVP_PKEY *key;
	X509 *certificate;
	char *certificate_pem;
	char *key_pem;
};

static char *text_of(BIO *bio)
{
	char *data = NULL;
	long len = BIO_get_mem_data(bio, &data);
	char *text = calloc(1, (size_t)len + 1);

	memcpy(text, data, (size_t)len);
	BIO_free(bio);
	return text;
}

static void add_extension(X509 *certificate, int nid, const char *value)
{
	X509V3_CTX context;
	X509_EXTENSION *extension;

	X509V3_set_ctx_nodb(&context);
	X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
	assert_non_null(extension);
	assert_int_equal(X509_add_ext(certificate, extension, -1), 1);
	X509_EXTENSION_free(extension);
}

static void set_name(X509_NAME *name, const char *text)
{
	assert_int_equal(
		X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8, (const unsigned char *)text, -1, -1, 0), 1);
}

/* @names: alternative names, NULL: none. @issuer: NULL: signed by itself. Days count from today. */
static void identity_make(struct identity *ret, const char *subject, const char *names, const struct identity *issuer,
	int from_day, int to_day)
{
	EVP_PKEY *key = ret->key ? ret->key : EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	BIO *bio;

	X509_set_version(certificate, X509_VERSION_3);
	ASN1_INTEGER_set(X509_get_serialNumber(certificate), 7);
	set_name(X509_get_subject_name(certificate), subject);
	X509_set_issuer_name(certificate, X509_get_subject_name(issuer ? issuer->certificate : certificate));
	X509_gmtime_adj(X509_getm_notBefore(certificate), (long)from_day * DAY_S);
	X509_gmtime_adj(X509_getm_notAfter(certificate), (long)to_day * DAY_S);
	X509_set_pubkey(certificate, key);
	if (!names && !issuer)
		add_extension(certificate, NID_basic_constraints, "critical,CA:TRUE");
	if (names)
		add_extension(certificate, NID_subject_alt_name, names);
	assert_true(X509_sign(certificate, issuer ? issuer->key : key, EVP_sha256()) > 0);

	ret->key = key;
	ret->certificate = certificate;
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_X509(bio, certificate);
	ret->certificate_pem = text_of(bio);
	bio = BIO_new(BIO_s_mem());
	PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL);
	ret->key_pem = text_of(bio);
}

static void identity_done(struct identity *identity)
{
	EVP_PKEY_free(identity->key);
	X509_free(identity->certificate);
	free(identity->certificate_pem);
	free(identity->key_pem);
}

static struct identity authority, hub, expired, future, elsewhere, own;

static int make_identities(void **state)
{
	(void)state;
	identity_make(&authority, "Test authority", NULL, NULL, -10, 1000);
	identity_make(&hub, "hub", "DNS:hub.example.org,IP:127.0.0.1,IP:::1", &authority, -1, 90);
	identity_make(&expired, "hub", "DNS:hub.example.org", &authority, -90, -1);
	identity_make(&future, "hub", "DNS:hub.example.org", &authority, 5, 90);
	identity_make(&elsewhere, "x",
		"DNS:a.example.net,DNS:b.example.net,DNS:c.example.net,DNS:d.example.net,IP:192.0.2.7", &authority, -1,
		90);
	identity_make(&own, "hub.example.org", "DNS:hub.example.org", NULL, -1, 90);
	return 0;
}

static int free_identities(void **state)
{
	(void)state;
	identity_done(&authority);
	identity_done(&hub);
	identity_done(&expired);
	identity_done(&future);
	identity_done(&elsewhere);
	identity_done(&own);
	return 0;
}

/* ---- a client and a server in memory ---- */

struct pair {
	SSL_CTX *server_context;
	SSL_CTX *client_context;
	SSL *server;
	SSL *client;
	bool is_up;
	char client_reason[REASON_MAX];
	char server_reason[REASON_MAX];
};

static SSL_SESSION *kept_session;

static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	(void)ssl;
	SSL_SESSION_free(kept_session);
	kept_session = SSL_SESSION_dup(session);
	return 0;
}

static void pair_init(struct pair *pair, const struct identity *server, const struct tls_client_setup *plan)
{
	struct err err = {""};

	*pair = (struct pair){0};
	assert_int_equal(tls_server_context(&pair->server_context, server->certificate_pem, server->key_pem, &err), 0);
	assert_int_equal(tls_client_context(&pair->client_context, plan, &err), 0);
	assert_string_equal(err.text, "");
}

/* One direction: everything written is there for the other to read. */
static void pair_join(struct pair *pair)
{
	BIO *up = BIO_new(BIO_s_mem());
	BIO *down = BIO_new(BIO_s_mem());

	BIO_set_mem_eof_return(up, -1);
	BIO_set_mem_eof_return(down, -1);
	BIO_up_ref(up);
	BIO_up_ref(down);
	SSL_set_bio(pair->client, down, up);
	SSL_set_bio(pair->server, up, down);
}

/* Return: false where it failed for good. */
static bool shake(SSL *ssl, char reason[REASON_MAX])
{
	int rc;

	ERR_clear_error();
	rc = SSL_do_handshake(ssl);
	if (rc == 1 || SSL_get_error(ssl, rc) == SSL_ERROR_WANT_READ)
		return true;
	tls_explain_failure(ssl, reason, REASON_MAX);
	assert_int_equal(ERR_peek_error(), 0);
	return false;
}

/* The server has made pair->server or gets one; both shake hands until they are done or cannot. */
static void pair_shake(struct pair *pair)
{
	bool client_lives = true;
	bool server_lives = true;

	if (!pair->server)
		pair->server = SSL_new(pair->server_context);
	SSL_set_accept_state(pair->server);
	pair_join(pair);
	for (int turn = 0; turn < 10; turn++) {
		if (client_lives)
			client_lives = shake(pair->client, pair->client_reason);
		if (server_lives)
			server_lives = shake(pair->server, pair->server_reason);
	}
	pair->is_up = client_lives && server_lives && SSL_is_init_finished(pair->client) &&
		      SSL_is_init_finished(pair->server);
}

static void pair_connect(struct pair *pair, const char *name, SSL_SESSION *resume)
{
	struct err err = {""};

	assert_int_equal(tls_client_session(&pair->client, pair->client_context, name, resume, &err), 0);
	pair_shake(pair);
}

static void pair_drop(struct pair *pair)
{
	SSL_free(pair->client);
	SSL_free(pair->server);
	pair->client = NULL;
	pair->server = NULL;
}

static void pair_done(struct pair *pair)
{
	pair_drop(pair);
	SSL_CTX_free(pair->client_context);
	SSL_CTX_free(pair->server_context);
	ERR_clear_error();
}

static struct tls_client_setup with_authority(void)
{
	return (struct tls_client_setup){.ca_pem = authority.certificate_pem};
}

#define ASSERT_HAS(text, part)                                                                                         \
	do {                                                                                                           \
		if (!strstr(text, part))                                                                               \
			fail_msg("\"%s\" lacks \"%s\"", text, part);                                                   \
	} while (0)

/* Connect with @plan to @name at @server and hand back why the client refused. */
static void refused_because(
	const struct identity *server, const struct tls_client_setup *plan, const char *name, char reason[REASON_MAX])
{
	struct pair pair;

	pair_init(&pair, server, plan);
	pair_connect(&pair, name, NULL);
	assert_false(pair.is_up);
	snprintf(reason, REASON_MAX, "%s", pair.client_reason);
	pair_done(&pair);
}

/* ---- verification ---- */

/* A certificate of a given authority, for the asked name, is accepted, by TLS 1.3. */
static void good_certificate(void **state)
{
	struct tls_client_setup plan = with_authority();
	struct pair pair;

	(void)state;
	pair_init(&pair, &hub, &plan);
	pair_connect(&pair, "hub.example.org", NULL);
	assert_true(pair.is_up);
	assert_int_equal(SSL_version(pair.client), TLS1_3_VERSION);
	assert_string_equal(SSL_get_servername(pair.server, TLSEXT_NAMETYPE_host_name), "hub.example.org");
	pair_done(&pair);
}

/* The hub's own certificate, named as CA, is enough. */
static void own_certificate_as_authority(void **state)
{
	struct tls_client_setup plan = {.ca_pem = own.certificate_pem};
	struct pair pair;

	(void)state;
	pair_init(&pair, &own, &plan);
	pair_connect(&pair, "hub.example.org.", NULL);
	assert_true(pair.is_up);
	pair_done(&pair);
}

/* An address is verified as an address, and no SNI is sent for it. */
static void address_in_url(void **state)
{
	static const char *const addresses[] = {"127.0.0.1", "::1", "::1%lo"};
	struct tls_client_setup plan = with_authority();
	char reason[REASON_MAX];

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		struct pair pair;

		pair_init(&pair, &hub, &plan);
		pair_connect(&pair, addresses[i], NULL);
		assert_true(pair.is_up);
		assert_null(SSL_get_servername(pair.server, TLSEXT_NAMETYPE_host_name));
		pair_done(&pair);
	}
	refused_because(&hub, &plan, "127.0.0.2", reason);
	assert_string_equal(
		reason, "certificate is for hub.example.org, 127.0.0.1, ::1, signed by \"Test authority\"");
}

/* A wrong name is refused, and told which would be right. */
static void wrong_name(void **state)
{
	struct tls_client_setup plan = with_authority();
	char reason[REASON_MAX];
	char name[64];

	(void)state;
	refused_because(&elsewhere, &plan, "hub.example.org", reason);
	assert_string_equal(reason, "certificate is for a.example.net, b.example.net, c.example.net and 2 more, signed "
				    "by \"Test authority\"");
	assert_true(tls_first_name(elsewhere.certificate, name, sizeof(name)));
	assert_string_equal(name, "a.example.net");
}

/* An expired certificate is refused with its date. */
static void expired_certificate(void **state)
{
	struct tls_client_setup plan = with_authority();
	char reason[REASON_MAX];
	char expected[64];
	struct tm tm;

	(void)state;
	ASN1_TIME_to_tm(X509_get0_notAfter(expired.certificate), &tm);
	strftime(expected, sizeof(expected), "certificate expired on %Y-%m-%d", &tm);
	refused_because(&expired, &plan, "hub.example.org", reason);
	assert_string_equal(reason, expected);
}

/* One that is not valid yet is refused with its date. */
static void certificate_of_the_future(void **state)
{
	struct tls_client_setup plan = with_authority();
	char reason[REASON_MAX];

	(void)state;
	refused_because(&future, &plan, "hub.example.org", reason);
	ASSERT_HAS(reason, "certificate is not valid before 2");
}

/* An unknown authority is named, and a certificate that has none is told apart. */
static void unknown_authority(void **state)
{
	struct tls_client_setup plan = {.ca_pem = own.certificate_pem};
	char reason[REASON_MAX];

	(void)state;
	refused_because(&hub, &plan, "hub.example.org", reason);
	assert_string_equal(reason, "certificate is for hub.example.org, 127.0.0.1, ::1, signed by \"Test authority\", an "
				    "unknown authority");
	plan = with_authority();
	refused_because(&own, &plan, "hub.example.org", reason);
	assert_string_equal(reason, "certificate is for hub.example.org, self-signed");
	plan = (struct tls_client_setup){0}; /* the system's */
	refused_because(&own, &plan, "hub.example.org", reason);
	assert_string_equal(reason, "certificate is for hub.example.org, self-signed");
}

/* A stranger's names are escaped and cut, end no quotation, and cannot look like advice of ours. */
static void names_of_a_stranger(void **state)
{
	static const char far[] = "a\n<3>link: \"; add Pin = sha256//01234567890123456789012345678901";
	struct identity portal = {0}, odd = {0};
	char text[REASON_MAX];

	(void)state;
	identity_make(&portal, far, NULL, NULL, -1, 90);
	assert_string_equal(tls_describe_certificate(portal.certificate, text, sizeof(text)),
		"certificate is for \"a\\x0a<3>link: '; add Pin = sha256//0123456789012\", self-signed");
	identity_make(&odd, "hub", "DNS:a; add Pin = b,DNS:*.example.org", &portal, -1, 90);
	assert_string_equal(tls_describe_certificate(odd.certificate, text, sizeof(text)),
		"certificate is for *.example.org, signed by \"a\\x0a<3>link: '; add Pin = sha256//0123456789012\"");
	assert_false(tls_first_name(odd.certificate, text, sizeof(text)));
	identity_done(&portal);
	identity_done(&odd);
}

/* With a pin neither authority, name nor date is asked; the right pin fits, others do not. */
static void pins(void **state)
{
	static const struct identity *const servers[] = {&hub, &expired, &own, &elsewhere};
	struct tls_client_setup plan = {.has_pins = true};

	(void)state;
	for (size_t i = 0; i < 4; i++) {
		uint8_t list[2][TLS_PIN_LEN] = {{1}};
		uint8_t pin[TLS_PIN_LEN];
		struct pair pair;

		pair_init(&pair, servers[i], &plan);
		pair_connect(&pair, "whatever.example.com", NULL);
		assert_true(pair.is_up);
		assert_int_equal(tls_pin_of_pem(servers[i]->certificate_pem, list[1], NULL), 0);
		assert_true(tls_check_pin(pair.client, (const uint8_t(*)[TLS_PIN_LEN])list, 2));
		assert_false(tls_check_pin(pair.client, (const uint8_t(*)[TLS_PIN_LEN])list, 1));
		assert_false(tls_check_pin(pair.client, NULL, 0));
		assert_int_equal(tls_peer_pin(pair.client, pin), 0);
		assert_memory_equal(pin, list[1], TLS_PIN_LEN);
		pair_done(&pair);
	}
}

/* The pin is curl's: SHA-256 over the public key's DER, made with the openssl program. */
static void pin_of_a_known_certificate(void **state)
{
	static const char pem[] = "-----BEGIN CERTIFICATE-----\n"
				  "MIIBiDCCAS+gAwIBAgIUWAtGHWr0cHyKdQW0c86HYgYnogswCgYIKoZIzj0EAwIw\n"
				  "GTEXMBUGA1UEAwwOdmVjdG9yLmV4YW1wbGUwIBcNMjYxMTIxMTM1NzQ1WhgPMjEy\n"
				  "NjEwMjgxMzU3NDVaMBkxFzAVBgNVBAMMDnZlY3Rvci5leGFtcGxlMFkwEwYHKoZI\n"
				  "zj0CAQYIKoZIzj0DAQcDQgAEKtgzSfjpIETtdxJtcvilAaAJ9iVUmZPEbOrM1I+P\n"
				  "245G7uhSqlALy0nt/vuZuON39GnHbe8YRCGm4maWQi6wxqNTMFEwHQYDVR0OBBYE\n"
				  "FHlZyw2zWXb/972rv3JwaB/zlRuFMB8GA1UdIwQYMBaAFHlZyw2zWXb/972rv3Jw\n"
				  "aB/zlRuFMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgBlwR5K6j\n"
				  "+zXaUekBOCM3WUPPKRR8fBfWYJSbxyCQ9acCIBmYXwCPC48oGQN9Zhzc0q9eqYlH\n"
				  "eJJJpis36nl3nyiG\n"
				  "-----END CERTIFICATE-----\n";
	char text[TLS_PIN_TEXT_MAX];
	uint8_t pin[TLS_PIN_LEN];
	struct err err = {""};

	(void)state;
	assert_int_equal(tls_pin_of_pem(pem, pin, &err), 0);
	assert_string_equal(tls_pin_format(text, pin), "sha256//zuS18L1bDcTkwZzlVfiWahzoRyanW4J9a6ogWEImKc8=");
	assert_int_equal(tls_pin_of_pem("no certificate", pin, &err), -EINVAL);
	assert_string_not_equal(err.text, "");
}

/* ---- what a context refuses ---- */

/* A key of another certificate, half a certificate, no key, a CA without certificates: each is told. */
static void unusable_files(void **state)
{
	struct tls_client_setup plan = {.ca_pem = "nothing"};
	char half[200];
	SSL_CTX *context = NULL;
	struct err err = {""};

	(void)state;
	assert_int_equal(tls_server_context(&context, hub.certificate_pem, own.key_pem, &err), -EINVAL);
	ASSERT_HAS(err.text, "the key does not belong to the certificate");
	snprintf(half, sizeof(half), "%s", hub.certificate_pem);
	assert_int_equal(tls_server_context(&context, half, hub.key_pem, &err), -EINVAL);
	ASSERT_HAS(err.text, "no certificate in PEM form");
	assert_int_equal(tls_server_context(&context, hub.certificate_pem, "", &err), -EINVAL);
	ASSERT_HAS(err.text, "no private key in PEM form");
	assert_int_equal(tls_client_context(&context, &plan, &err), -EINVAL);
	ASSERT_HAS(err.text, "CA: no certificate in PEM form");
	assert_null(context);
	assert_int_equal(ERR_peek_error(), 0);
}

/* A name that is empty or longer than names can be is refused. */
static void impossible_names(void **state)
{
	struct tls_client_setup plan = with_authority();
	SSL_CTX *context = NULL;
	char name[300];
	SSL *ssl = NULL;

	(void)state;
	memset(name, 'a', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	assert_int_equal(tls_client_context(&context, &plan, NULL), 0);
	assert_int_equal(tls_client_session(&ssl, context, "", NULL, NULL), -EINVAL);
	assert_int_equal(tls_client_session(&ssl, context, name, NULL, NULL), -EINVAL);
	SSL_CTX_free(context);
}

/* ---- what the server takes ---- */

/* A client that is not ours: no verification, its own ALPN list, versions and ciphers. */
static void foreign_connect(struct pair *pair, const char *alpn, int highest, const char *suites, const char *sni)
{
	struct err err = {""};

	*pair = (struct pair){0};
	assert_int_equal(tls_server_context(&pair->server_context, hub.certificate_pem, hub.key_pem, &err), 0);
	pair->client_context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_cipher_list(pair->client_context, "ALL:@SECLEVEL=0");
	SSL_CTX_set_max_proto_version(pair->client_context, highest);
	if (suites)
		assert_int_equal(SSL_CTX_set_ciphersuites(pair->client_context, suites), 1);
	pair->client = SSL_new(pair->client_context);
	SSL_set_connect_state(pair->client);
	if (alpn)
		SSL_set_alpn_protos(pair->client, (const unsigned char *)alpn, (unsigned)strlen(alpn));
	if (sni) {
		char name[64];

		snprintf(name, sizeof(name), "%s", sni);
		SSL_set_tlsext_host_name(pair->client, name);
	}
	pair_shake(pair);
}

/* http/1.1 is picked out of any list, no list is fine, a list without it gets no_application_protocol. */
static void alpn_lists(void **state)
{
	static const struct {
		const char *list;
		bool is_good;
	} cases[] = {
		{"\x08http/1.1", true},
		{"\x02h2\x08http/1.1", true},
		{"\x08http/1.1\x02h2", true},
		{"\x03"
		 "foo\x08http/1.0\x08http/1.1",
			true},
		{NULL, true},
		{"\x02h2", false},
		{"\x08http/1.0", false},
		{"\x09http/1.11", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const unsigned char *picked = NULL;
		struct pair pair;
		unsigned len = 0;

		foreign_connect(&pair, cases[i].list, TLS1_3_VERSION, NULL, NULL);
		assert_int_equal(pair.is_up, cases[i].is_good);
		SSL_get0_alpn_selected(pair.client, &picked, &len);
		assert_int_equal(len, cases[i].is_good && cases[i].list ? 8 : 0);
		if (!cases[i].is_good)
			ASSERT_HAS(pair.client_reason, "no application protocol");
		pair_done(&pair);
	}
}

/* Our client offers http/1.1 and nothing else: a server that knows h2 only refuses. */
static void client_offers_http11(void **state)
{
	struct tls_client_setup plan = with_authority();
	const unsigned char *picked;
	struct pair pair;
	unsigned len;

	(void)state;
	pair_init(&pair, &hub, &plan);
	pair_connect(&pair, "hub.example.org", NULL);
	SSL_get0_alpn_selected(pair.server, &picked, &len);
	assert_int_equal(len, 8);
	assert_memory_equal(picked, "http/1.1", 8);
	pair_done(&pair);
}

/* TLS 1.2 is taken, 1.1 is refused. */
static void old_versions(void **state)
{
	struct pair pair;

	(void)state;
	foreign_connect(&pair, NULL, TLS1_2_VERSION, NULL, NULL);
	assert_true(pair.is_up);
	pair_done(&pair);
	foreign_connect(&pair, NULL, TLS1_1_VERSION, NULL, NULL);
	assert_false(pair.is_up);
	ASSERT_HAS(pair.server_reason, "speaks neither TLS 1.2 nor TLS 1.3");
	ASSERT_HAS(pair.client_reason, "protocol version");
	pair_done(&pair);
}

/* An unknown name gets the one certificate there is. */
static void unknown_sni(void **state)
{
	struct pair pair;

	(void)state;
	foreign_connect(&pair, NULL, TLS1_3_VERSION, NULL, "nobody.example.com");
	assert_true(pair.is_up);
	assert_int_equal(X509_cmp(SSL_get0_peer_certificate(pair.client), hub.certificate), 0);
	pair_done(&pair);
}

/* AES-128 is the server's choice, unless the client puts ChaCha20 first. */
static void cipher_order(void **state)
{
	static const char aes256[] = "TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256:TLS_CHACHA20_POLY1305_SHA256";
	static const char chacha[] = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_256_GCM_SHA384:TLS_AES_128_GCM_SHA256";
	struct pair pair;

	(void)state;
	foreign_connect(&pair, NULL, TLS1_3_VERSION, aes256, NULL);
	assert_string_equal(SSL_get_cipher_name(pair.client), "TLS_AES_128_GCM_SHA256");
	pair_done(&pair);
	foreign_connect(&pair, NULL, TLS1_3_VERSION, chacha, NULL);
	assert_string_equal(SSL_get_cipher_name(pair.client), "TLS_CHACHA20_POLY1305_SHA256");
	pair_done(&pair);
}

static bool speaks_chacha(bool server_has_aes, bool client_has_aes, int version)
{
	struct tls_client_setup plan = {.ca_pem = hub.certificate_pem};
	struct pair pair = {0};
	bool is_chacha;

	has_aes = server_has_aes;
	assert_int_equal(tls_server_context(&pair.server_context, hub.certificate_pem, hub.key_pem, NULL), 0);
	has_aes = client_has_aes;
	assert_int_equal(tls_client_context(&pair.client_context, &plan, NULL), 0);
	has_aes = true;
	SSL_CTX_set_max_proto_version(pair.client_context, version);
	pair_connect(&pair, "hub.example.org", NULL);
	assert_true(pair.is_up);
	is_chacha = strstr(SSL_get_cipher_name(pair.client), "CHACHA20") != NULL;
	pair_done(&pair);
	return is_chacha;
}

/* ChaCha20 where either end has no AES instructions: the slower of the two decides how fast the tunnel is. */
static void chacha_without_aes_instructions(void **state)
{
	static const int versions[] = {TLS1_2_VERSION, TLS1_3_VERSION};

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		assert_false(speaks_chacha(true, true, versions[i]));
		assert_true(speaks_chacha(true, false, versions[i]));
		assert_true(speaks_chacha(false, true, versions[i]));
		assert_true(speaks_chacha(false, false, versions[i]));
	}
}

/* ---- resumption and binding ---- */

static void let_tickets_through(struct pair *pair)
{
	char byte;

	assert_int_equal(SSL_read(pair->client, &byte, 1), -1);
}

/* A second connection resumes the first; no early data is offered. */
static void resumption(void **state)
{
	struct tls_client_setup plan = with_authority();
	struct pair pair;

	(void)state;
	kept_session = NULL;
	pair_init(&pair, &hub, &plan);
	tls_client_on_session(pair.client_context, keep_session);
	pair_connect(&pair, "hub.example.org", NULL);
	let_tickets_through(&pair);
	assert_false(SSL_session_reused(pair.client));
	assert_non_null(kept_session);
	assert_int_equal(SSL_SESSION_get_max_early_data(kept_session), 0);
	pair_drop(&pair);
	pair_connect(&pair, "hub.example.org", kept_session);
	assert_true(pair.is_up);
	assert_true(SSL_session_reused(pair.client));
	pair_done(&pair);
	SSL_SESSION_free(kept_session);
}

/* Pins are checked on a resumed connection too. */
static void resumed_connection_has_its_pin(void **state)
{
	struct tls_client_setup plan = {.has_pins = true};
	uint8_t pin[1][TLS_PIN_LEN];
	struct pair pair;

	(void)state;
	kept_session = NULL;
	assert_int_equal(tls_pin_of_pem(hub.certificate_pem, pin[0], NULL), 0);
	pair_init(&pair, &hub, &plan);
	tls_client_on_session(pair.client_context, keep_session);
	pair_connect(&pair, "hub.example.org", NULL);
	let_tickets_through(&pair);
	pair_drop(&pair);
	pair_connect(&pair, "hub.example.org", kept_session);
	assert_true(SSL_session_reused(pair.client));
	assert_true(tls_check_pin(pair.client, (const uint8_t(*)[TLS_PIN_LEN])pin, 1));
	pin[0][0] ^= 1;
	assert_false(tls_check_pin(pair.client, (const uint8_t(*)[TLS_PIN_LEN])pin, 1));
	pair_done(&pair);
	SSL_SESSION_free(kept_session);
}

/* A ticket of another server does no harm: a whole handshake is made. */
static void foreign_ticket(void **state)
{
	struct tls_client_setup plan = with_authority();
	struct pair first;
	struct pair second;

	(void)state;
	kept_session = NULL;
	pair_init(&first, &hub, &plan);
	tls_client_on_session(first.client_context, keep_session);
	pair_connect(&first, "hub.example.org", NULL);
	let_tickets_through(&first);
	pair_init(&second, &hub, &plan);
	pair_connect(&second, "hub.example.org", kept_session);
	assert_true(second.is_up);
	assert_false(SSL_session_reused(second.client));
	pair_done(&first);
	pair_done(&second);
	SSL_SESSION_free(kept_session);
}

/* Both ends have the same binding, another connection has another one, also under TLS 1.2. */
static void channel_binding(void **state)
{
	static const int versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
	uint8_t before[TLS_BINDING_LEN] = {0};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		uint8_t client[TLS_BINDING_LEN];
		uint8_t server[TLS_BINDING_LEN];
		struct pair pair;

		foreign_connect(&pair, NULL, versions[i], NULL, NULL);
		assert_int_equal(tls_channel_binding(pair.client, client), 0);
		assert_int_equal(tls_channel_binding(pair.server, server), 0);
		assert_memory_equal(client, server, TLS_BINDING_LEN);
		assert_memory_not_equal(client, before, TLS_BINDING_LEN);
		memcpy(before, client, TLS_BINDING_LEN);
		pair_done(&pair);
	}
}

/* TLS 1.2 without the extended master secret has no binding that is unique. */
static void no_binding_without_extended_master_secret(void **state)
{
	uint8_t binding[TLS_BINDING_LEN];
	struct pair pair = {0};

	(void)state;
	assert_int_equal(tls_server_context(&pair.server_context, hub.certificate_pem, hub.key_pem, NULL), 0);
	pair.client_context = SSL_CTX_new(TLS_client_method());
	SSL_CTX_set_max_proto_version(pair.client_context, TLS1_2_VERSION);
	SSL_CTX_set_options(pair.client_context, SSL_OP_NO_EXTENDED_MASTER_SECRET);
	pair.client = SSL_new(pair.client_context);
	SSL_set_connect_state(pair.client);
	pair_shake(&pair);
	assert_true(pair.is_up);
	assert_int_equal(tls_channel_binding(pair.server, binding), -ENOTSUP);
	pair_done(&pair);
}

/* ---- words ---- */

/* An answer that is not TLS is called by its name. */
static void other_protocols(void **state)
{
	static const struct {
		const char *text;
		const char *client; /* what the client says of such a server */
		const char *server;
	} cases[] = {
		{"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak TLS", NULL},
		{"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n", "does not speak TLS", NULL},
		{"GET / HTTP/1.1\r\nHost: x\r\n\r\n", NULL, "plain HTTP"},
		{"CONNECT x:443 HTTP/1.1\r\n\r\n", NULL, "plain HTTP"},
	};
	struct tls_client_setup plan = with_authority();

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char reason[REASON_MAX] = "";
		struct pair pair;
		SSL *ssl = NULL;
		BIO *in = BIO_new(BIO_s_mem());

		pair_init(&pair, &hub, &plan);
		if (cases[i].client) {
			assert_int_equal(tls_client_session(&ssl, pair.client_context, "x", NULL, NULL), 0);
		} else {
			ssl = SSL_new(pair.server_context);
			SSL_set_accept_state(ssl);
		}
		SSL_set_bio(ssl, in, BIO_new(BIO_s_null()));
		BIO_write(in, cases[i].text, (int)strlen(cases[i].text));
		assert_false(shake(ssl, reason));
		ASSERT_HAS(reason, cases[i].client ? cases[i].client : cases[i].server);
		SSL_free(ssl);
		pair_done(&pair);
	}
}

/* An end in the middle of the handshake is told as such. */
static void end_during_handshake(void **state)
{
	struct tls_client_setup plan = with_authority();
	char reason[REASON_MAX] = "";
	struct pair pair;
	BIO *in = BIO_new(BIO_s_mem());

	(void)state;
	pair_init(&pair, &hub, &plan);
	assert_int_equal(tls_client_session(&pair.client, pair.client_context, "x", NULL, NULL), 0);
	BIO_set_mem_eof_return(in, 0);
	SSL_set_bio(pair.client, in, BIO_new(BIO_s_null()));
	assert_false(shake(pair.client, reason));
	ASSERT_HAS(reason, "closed by the other side");
	pair_done(&pair);
}

/* A text that does not fit is cut, not run over. */
static void words_in_a_small_buffer(void **state)
{
	struct tls_client_setup plan = with_authority();
	char buf[16];
	struct pair pair;

	(void)state;
	pair_init(&pair, &elsewhere, &plan);
	assert_int_equal(tls_client_session(&pair.client, pair.client_context, "hub.example.org", NULL, NULL), 0);
	pair.server = SSL_new(pair.server_context);
	SSL_set_accept_state(pair.server);
	pair_join(&pair);
	SSL_do_handshake(pair.client);
	SSL_do_handshake(pair.server);
	ERR_clear_error();
	assert_int_equal(SSL_do_handshake(pair.client), -1);
	memset(buf, 'x', sizeof(buf));
	assert_string_equal(tls_explain_failure(pair.client, buf, 8), "certifi");
	assert_int_equal(buf[8], 'x');
	pair_done(&pair);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(good_certificate),
		cmocka_unit_test(own_certificate_as_authority),
		cmocka_unit_test(address_in_url),
		cmocka_unit_test(wrong_name),
		cmocka_unit_test(expired_certificate),
		cmocka_unit_test(certificate_of_the_future),
		cmocka_unit_test(unknown_authority),
		cmocka_unit_test(names_of_a_stranger),
		cmocka_unit_test(pins),
		cmocka_unit_test(pin_of_a_known_certificate),
		cmocka_unit_test(unusable_files),
		cmocka_unit_test(impossible_names),
		cmocka_unit_test(alpn_lists),
		cmocka_unit_test(client_offers_http11),
		cmocka_unit_test(old_versions),
		cmocka_unit_test(unknown_sni),
		cmocka_unit_test(cipher_order),
		cmocka_unit_test(chacha_without_aes_instructions),
		cmocka_unit_test(resumption),
		cmocka_unit_test(resumed_connection_has_its_pin),
		cmocka_unit_test(foreign_ticket),
		cmocka_unit_test(channel_binding),
		cmocka_unit_test(no_binding_without_extended_master_secret),
		cmocka_unit_test(other_protocols),
		cmocka_unit_test(end_during_handshake),
		cmocka_unit_test(words_in_a_small_buffer),
	};

	return cmocka_run_group_tests(tests, make_identities, free_identities);
}
