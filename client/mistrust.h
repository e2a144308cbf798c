/* A server whose certificate was not accepted: what is wrong with it, and what helps. Called by attempt.h. */
#pragma once

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

struct mistrust {
	SSL *ssl;	/* of the connection that ended */
	bool is_known;	/* this host has reached the server before */
	bool has_proxy; /* the connection goes through an HTTP proxy */
	bool has_ca;	/* the system's authorities do not count */
};

/**
 * mistrust_explain() - Complete the reason for a failed handshake by what helps
 * @reason: of tls_explain_failure()
 *
 * The key that was seen becomes advice only where the certificate is self-signed and the server was never reached: a
 * new hub. The key of any other connection may be that of a captive portal, or of a proxy that opens TLS.
 *
 * Return: @buf. A failure that is about no certificate is @reason alone.
 */
const char *mistrust_explain(char *buf, size_t size, const struct mistrust *mistrust, const char *reason);

/* The same for a handshake that succeeded with a key that is none of the pins. */
const char *mistrust_explain_pin(char *buf, size_t size, const struct mistrust *mistrust);

/* The words to add where a hub of ours refuses a good token: a proxy that opens TLS, whose CA is trusted here, breaks
 * the token's binding to the TLS session, and looks like the server until then. Return: @buf. */
const char *mistrust_suspect_binding(char *buf, size_t size, SSL *ssl);
