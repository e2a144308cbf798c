/* Why a TLS handshake failed, in words an operator can act on. Above tls.h, below tls_stream.h. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

#define TLS_DESCRIPTION_MAX 320 /* three names and an issuer, each cut at a length */

/* Certificate expired, for another name (which), unknown CA, alert received, plain HTTP spoken … Call right after the
 * failure: it reads OpenSSL's error queue, and empties it. Text that does not fit into @size is cut. Return: @buf. */
const char *tls_explain_failure(SSL *ssl, char *buf, size_t size);

/* True if @result, of SSL_get_verify_result(), says that nobody known has signed the certificate. */
bool tls_is_unknown_authority(long result);

/* certificate is for a.example.org, signed by "CN" of "O". The peer's words are escaped and cut. Return: @buf. */
const char *tls_describe_certificate(X509 *certificate, char *buf, size_t size);

/* The first name that the certificate has in full, for ServerName. Return: false if it has none. */
bool tls_first_name(X509 *certificate, char *buf, size_t size);
