/* Why a TLS handshake failed, in words an operator can act on. Above tls.h, below tls_stream.h. */
#pragma once

#include <openssl/ssl.h>
#include <stddef.h>

/* Certificate expired, for another name (which), unknown CA, alert received, plain HTTP spoken … Call right after the
 * failure: it reads OpenSSL's error queue, and empties it. Text that does not fit into @size is cut. Return: @buf. */
const char *tls_explain_failure(SSL *ssl, char *buf, size_t size);
