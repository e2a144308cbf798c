/* Chooses the advice by what OpenSSL found and by what this host knows of the server. Pure, but for the clock and a look
 * whether this host has any authorities.
 *
 * The captive portal of a hotel, a company's proxy, and a new hub look alike on the wire: TLS by an unknown key. The
 * names in the certificate are told so that a person can see which it is. A person who follows advice blindly must
 * not end with the key of a forger, so a pin is always to be compared at the hub.
 *
 * The first case that fits gives the advice:
 *
 *    not valid yet, and our clock is before 2024    the clock, not the certificate
 *    not valid yet; expired                         the clock; a certificate that is to be renewed
 *    a test authority of Let's Encrypt              the server needs one of the real authority
 *    no authority is known here                     the package that brings them
 *    the server was reached before                  another one may have answered: no key is shown
 *    self-signed, never reached                     a new hub: its pin, to be compared there
 *    an authority that is not known here            CA =, or a chain that is not whole
 *    any other fault, mostly the name               ServerName =, or the pin
 */
#include "client/mistrust.h"

#include "common/base/clock.h"
#include "common/tunnel/tls.h"
#include "common/tunnel/tls_explain.h"

#include <dirent.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME_MAX_LEN 255 /* of a DNS name, RFC 1035 §2.3.4 */
#define PIN_OF_STATUS "the Pin that towpath-server status shows there"

/* Names whatever may have answered in the server's place. */
static const char *suspect(const struct mistrust *mistrust)
{
	return mistrust->has_proxy ? "the proxy, which opens TLS,"
				   : "a captive portal (log in with a browser) or a proxy that opens TLS";
}

/* A host without a battery for its clock starts in 1970, when no certificate is valid yet. Only then is the clock
 * named: on any other host the certificate is at fault. wakeup.h tells when the clock has been set. */
static const char *explain_clock(char *buf, size_t size)
{
	char now[32];

	clock_format_utc(now, sizeof(now), clock_wall_s());
	snprintf(buf, size,
		"this host's clock is wrong, it says %.10s, when the certificate is not yet valid; "
		"waiting for the time to be set (with Pin = sha256//… no clock is needed)",
		now);
	return buf;
}

/* As a rule the certificate is for another name. That is shown: a user who knows it sees at once what to write. */
static void advise_name(char *buf, size_t size, const struct mistrust *mistrust, X509 *leaf)
{
	char name[NAME_MAX_LEN + 1];

	if (tls_first_name(leaf, name, sizeof(name)))
		snprintf(buf, size,
			"; if that is your server, add ServerName = %s or " PIN_OF_STATUS "; else %s has answered",
			name, suspect(mistrust));
	else
		snprintf(buf, size, "; if that is your server, add " PIN_OF_STATUS "; else %s has answered",
			suspect(mistrust));
}

/* The pin that was seen is for comparison: the user is told to add it only if the hub's own status shows the same. */
static void advise_new_hub(char *buf, size_t size, const struct mistrust *mistrust, X509 *leaf)
{
	char text[TLS_PIN_TEXT_MAX];
	uint8_t pin[TLS_PIN_LEN];

	if (tls_pin_of_certificate(leaf, pin))
		snprintf(buf, size,
			"; if towpath-server status shows the same pin there, add Pin = %s; else %s has answered",
			tls_pin_format(text, pin), suspect(mistrust));
}

/* A slim system has none: neither one file of them all, nor a folder with one file each. */
static bool has_authorities(void)
{
	DIR *folder = opendir(X509_get_default_cert_dir());
	const struct dirent *entry;
	bool found = access(X509_get_default_cert_file(), F_OK) == 0;

	while (folder && !found && (entry = readdir(folder)))
		found = entry->d_name[0] != '.';
	if (folder)
		closedir(folder);
	return found;
}

/* Sets @buf to "; …", or to "" where nothing helps. @result: of OpenSSL's verification, not X509_V_OK. */
static void advise(char *buf, size_t size, const struct mistrust *mistrust, long result, const char *reason)
{
	const struct tls_refusal *refusal = tls_refused(mistrust->ssl);

	*buf = '\0';
	if (result == X509_V_ERR_CERT_NOT_YET_VALID)
		snprintf(buf, size, "; is this host's clock right?");
	else if (result == X509_V_ERR_CERT_HAS_EXPIRED)
		snprintf(buf, size, "; have the server renew it");
	else if (strstr(reason, "(STAGING)")) /* Let's Encrypt's, whose root no system has */
		snprintf(buf, size, "; it is a test authority: have the server get a certificate of the real one");
	else if (tls_is_unknown_authority(result) && result != X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT &&
		!mistrust->has_ca && !has_authorities())
		snprintf(buf, size,
			"; this system knows no authority at all, its package ca-certificates brings the public ones (a "
			"client that runs needs a reload then)");
	else if (mistrust->is_known)
		snprintf(buf, size,
			"; the server was reached before, so %s may have answered; if its certificate is new, add "
			PIN_OF_STATUS,
			suspect(mistrust));
	else if (result == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT && refusal && refusal->leaf)
		advise_new_hub(buf, size, mistrust, refusal->leaf);
	else if (tls_is_unknown_authority(result))
		snprintf(buf, size,
			"; if you know it, add CA = PATH (if it is a proxy's, Interception = yes too); if it is a "
			"public one, have the server send its whole chain; else %s has answered",
			suspect(mistrust));
	else if (refusal && refusal->leaf)
		advise_name(buf, size, mistrust, refusal->leaf);
}

const char *mistrust_explain(char *buf, size_t size, const struct mistrust *mistrust, const char *reason)
{
	long result = mistrust->ssl ? SSL_get_verify_result(mistrust->ssl) : X509_V_OK;
	char advice[512] = "";

	if (result == X509_V_ERR_CERT_NOT_YET_VALID && clock_wall_s() < CLOCK_PLAUSIBLE_S)
		return explain_clock(buf, size);
	if (result != X509_V_OK)
		advise(advice, sizeof(advice), mistrust, result, reason);
	snprintf(buf, size, "%s%s", reason, advice);
	return buf;
}

const char *mistrust_explain_pin(char *buf, size_t size, const struct mistrust *mistrust)
{
	X509 *leaf = SSL_get0_peer_certificate(mistrust->ssl);
	char text[TLS_DESCRIPTION_MAX] = "";

	snprintf(buf, size,
		"the server's public key is not the Pin: %s; %s has answered, or the server was set up anew: then use "
		PIN_OF_STATUS,
		leaf ? tls_describe_certificate(leaf, text, sizeof(text)) : "no certificate", suspect(mistrust));
	return buf;
}

const char *mistrust_suspect_binding(char *buf, size_t size, SSL *ssl)
{
	X509 *leaf = SSL_get0_peer_certificate(ssl);
	char text[TLS_DESCRIPTION_MAX];

	snprintf(buf, size, "; its %s: if that is a proxy that opens TLS, add Interception = yes",
		leaf ? tls_describe_certificate(leaf, text, sizeof(text)) : "certificate is not known");
	return buf;
}
