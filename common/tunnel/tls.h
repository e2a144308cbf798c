/* TLS contexts and what a finished handshake tells. Knows no sockets; see tls_stream.h for bytes.
 *
 * TLS 1.3, 1.2 as minimum; never early data; ALPN http/1.1; session resumption both ways; AES-128-GCM first, ChaCha20
 * first where the processor of either end has no AES instructions (a server follows a client that asks so).
 * Certificates are verified always: system CAs, a CA, or pins (then neither chain, name nor date is asked).
 */
#pragma once

#include "common/base/err.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TLS_PIN_LEN 32
#define TLS_PIN_TEXT_MAX 56 /* "sha256//" + 44 + terminator */
#define TLS_BINDING_LEN 32

/* The server's: certificate chain and key as PEM text. ALPN: picks http/1.1 out of any list, lives without ALPN,
 * refuses a list that lacks it with no_application_protocol. An unknown SNI gets this certificate. */
int tls_server_context(SSL_CTX **ret, const char *certificate_pem, const char *key_pem, struct err *err);

struct tls_client_setup {
	const char *ca_pem;	     /* NULL: the system's store */
	const char *certificate_pem; /* client certificate chain; NULL: none */
	const char *key_pem;
	bool has_pins; /* no chain is verified; tls_check_pin() afterwards is the caller's duty */
};

int tls_client_context(SSL_CTX **ret, const struct tls_client_setup *setup, struct err *err);

/* A client's SSL for one connection: SNI (not for addresses) and the name or address to verify. @resume: a session to
 * resume, or NULL (borrowed). */
int tls_client_session(SSL **ret, SSL_CTX *context, const char *server_name, SSL_SESSION *resume, struct err *err);

/* Have OpenSSL call @on_session with every session that can be resumed later (under TLS 1.3 some time after the
 * handshake). It keeps a copy, SSL_SESSION_dup(), and returns 0: OpenSSL spoils its own session when the connection
 * ends without close_notify, and resumption is wanted most after a reset. */
void tls_client_on_session(SSL_CTX *context, int (*on_session)(SSL *ssl, SSL_SESSION *session));

/* After the handshake: is the peer's public key one of the pins? */
bool tls_check_pin(SSL *ssl, const uint8_t (*pins)[TLS_PIN_LEN], size_t pin_count);

/* After the handshake: the pin that would fit, for the message about one that does not. Return: 0 or -ENOENT. */
int tls_peer_pin(SSL *ssl, uint8_t ret_pin[TLS_PIN_LEN]);

/* SHA-256 of the certificate's SubjectPublicKeyInfo. Return: false where memory ran out. */
bool tls_pin_of_certificate(X509 *certificate, uint8_t ret_pin[TLS_PIN_LEN]);
/* The same of the first certificate in @pem. Return: 0 or a negative errno. */
int tls_pin_of_pem(const char *pem, uint8_t ret_pin[TLS_PIN_LEN], struct err *err);
const char *tls_pin_format(char buf[TLS_PIN_TEXT_MAX], const uint8_t pin[TLS_PIN_LEN]); /* "sha256//BASE64" */

/* RFC 9266 "tls-exporter": EXPORTER-Channel-Binding, zero-length context, 32 bytes. Return: 0 or -ENOTSUP (TLS 1.2
 * without extended master secret). */
int tls_channel_binding(SSL *ssl, uint8_t ret[TLS_BINDING_LEN]);

/* The certificate of a failed verification; for tls_explain.c. */
struct tls_refusal {
	X509 *leaf;   /* NULL: could not be kept */
	X509 *faulty; /* the certificate of the chain that the error is about; may be the leaf */
};

/* Return: what this connection refused first, borrowed from @ssl, or NULL. */
const struct tls_refusal *tls_refused(SSL *ssl);

/* For OpenSSL's functions that read PEM: never ask a terminal for a password. A key that has one is an error. */
int tls_no_password(char *buf, int size, int is_writing, void *argument);
