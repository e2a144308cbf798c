/* Words for a failed TLS handshake: what is wrong with the certificate, what an alert of the peer asks for, what else
 * OpenSSL found. The remedy against an alert is named by its key of the configuration; the remedy where a certificate
 * was refused depends on what the client knows of the server, and is added by client/mistrust.c.
 *
 * tls_explain_failure() looks at the error queue: no error is a connection that ended; a failed verification leads to
 * the certificate that tls.c has remembered; an alert and a reason have tables of words.
 */
#include "common/tunnel/tls_explain.h"

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/tunnel/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define NAMES_TOLD 3	 /* names of a certificate in a message; it may have a hundred */
#define NAME_TOLD_LEN 48 /* of each name; whole messages must leave room for what helps */

/* Append to a text that is cut at its buffer's end. */
static void append(char *buf, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void append(char *buf, size_t size, const char *format, ...)
{
	size_t len = strlen(buf);
	va_list list;

	va_start(list, format);
	vsnprintf(buf + len, size - len, format, list);
	va_end(list);
}

/* --- the names in a certificate: a stranger's words --- */

/* A name of the certificate as text: a DNS name or an address. Return: false for other kinds of names, and for a DNS
 * name of other characters, which may have been made to look like advice of ours. */
static bool format_name(const GENERAL_NAME *name, char *buf, size_t size)
{
	int type;
	const ASN1_STRING *value = GENERAL_NAME_get0_value(name, &type);
	const unsigned char *data = type == GEN_DNS || type == GEN_IPADD ? ASN1_STRING_get0_data(value) : NULL;
	int len = data ? ASN1_STRING_length(value) : 0;

	if (type == GEN_DNS && len > 0 && text_is_made_of((const char *)data, (size_t)len, ".-_*"))
		return log_quote(buf, size, data, (size_t)len);
	if (type == GEN_IPADD && len == 4)
		return inet_ntop(AF_INET, data, buf, (socklen_t)size);
	return type == GEN_IPADD && len == 16 && inet_ntop(AF_INET6, data, buf, (socklen_t)size);
}

/* Append the first NAMES_TOLD names of the certificate. Return: how many names it has that can be told. */
static int append_alternative_names(X509 *certificate, char *buf, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	char name[NAME_TOLD_LEN + 1];
	int told = 0;

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		if (!format_name(sk_GENERAL_NAME_value(names, i), name, sizeof(name)))
			continue;
		if (told < NAMES_TOLD)
			append(buf, size, "%s%s", told ? ", " : "", name);
		told++;
	}
	if (told > NAMES_TOLD)
		append(buf, size, " and %d more", told - NAMES_TOLD);
	GENERAL_NAMES_free(names);
	return told;
}

/* Append one part of a distinguished name in quotes, which it cannot end itself. Return: false if it has none. */
static bool append_part(const X509_NAME *name, int nid, const char *before, char *buf, size_t size)
{
	int at = X509_NAME_get_index_by_NID(name, nid, -1);
	unsigned char *utf8 = NULL;
	int len = at < 0 ? -1 : ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
	char text[NAME_TOLD_LEN + 1], *quote;

	if (len > 0) {
		log_quote(text, sizeof(text), utf8, (size_t)len);
		while ((quote = strchr(text, '"')))
			*quote = '\'';
		append(buf, size, "%s\"%s\"", before, text);
	}
	OPENSSL_free(utf8);
	return len > 0;
}

const char *tls_describe_certificate(X509 *certificate, char *buf, size_t size)
{
	const X509_NAME *subject = X509_get_subject_name(certificate), *issuer = X509_get_issuer_name(certificate);

	snprintf(buf, size, "certificate is for ");
	/* Where it has no alternative names the common name counts, as it does for OpenSSL. */
	if (append_alternative_names(certificate, buf, size) == 0 &&
		!append_part(subject, NID_commonName, "", buf, size))
		append(buf, size, "no name");
	if (X509_NAME_cmp(subject, issuer) == 0) {
		append(buf, size, ", self-signed");
		return buf;
	}
	append(buf, size, ", signed by");
	if (!append_part(issuer, NID_commonName, " ", buf, size) &&
		!append_part(issuer, NID_organizationalUnitName, " ", buf, size))
		append(buf, size, " an authority");
	append_part(issuer, NID_organizationName, " of ", buf, size);
	return buf;
}

bool tls_first_name(X509 *certificate, char *buf, size_t size)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
	bool is_found = false;

	for (int i = 0; !is_found && i < sk_GENERAL_NAME_num(names); i++)
		is_found = format_name(sk_GENERAL_NAME_value(names, i), buf, size) && !strchr(buf, '*');
	GENERAL_NAMES_free(names);
	return is_found;
}

/* --- a certificate that was refused --- */

static void explain_date(const char *before, const ASN1_TIME *time, char *buf, size_t size)
{
	char date[32] = "an unreadable date";
	struct tm tm;

	if (ASN1_TIME_to_tm(time, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d", &tm);
	snprintf(buf, size, "%s %s", before, date);
}

/* The fault of the peer's certificate. Without a remembered certificate (memory ran out) only OpenSSL's own
 * words. */
static void explain_verification(SSL *ssl, char *buf, size_t size)
{
	const struct tls_refusal *refusal = tls_refused(ssl);
	long result = SSL_get_verify_result(ssl);
	bool is_known = refusal && refusal->leaf && refusal->faulty;
	char description[TLS_DESCRIPTION_MAX];

	if (is_known && result == X509_V_ERR_CERT_HAS_EXPIRED)
		explain_date(
			refusal->faulty == refusal->leaf ? "certificate expired on" : "certificate's issuer expired on",
			X509_get0_notAfter(refusal->faulty), buf, size);
	else if (is_known && result == X509_V_ERR_CERT_NOT_YET_VALID)
		explain_date("certificate is not valid before", X509_get0_notBefore(refusal->faulty), buf, size);
	else if (is_known && (result == X509_V_ERR_HOSTNAME_MISMATCH || result == X509_V_ERR_IP_ADDRESS_MISMATCH ||
				     result == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT))
		tls_describe_certificate(refusal->leaf, buf, size);
	else if (is_known && tls_is_unknown_authority(result))
		snprintf(buf, size, "%s, an unknown authority",
			tls_describe_certificate(refusal->leaf, description, sizeof(description)));
	else
		snprintf(buf, size, "certificate refused: %s", X509_verify_cert_error_string(result));
}

bool tls_is_unknown_authority(long result)
{
	switch (result) {
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_CERT_UNTRUSTED:
		return true;
	default:
		return false;
	}
}

/* Alerts that the peer sends before it hangs up (RFC 8446 §6.2), with what helps. */
static const struct {
	int alert;
	const char *hint;
} alert_hints[] = {
	{SSL_AD_PROTOCOL_VERSION, "; it wants another TLS version than 1.2 or 1.3"},
	{SSL_AD_NO_APPLICATION_PROTOCOL, "; it does not speak HTTP/1.1"},
	{SSL_AD_UNRECOGNIZED_NAME, "; it knows no such name, try ServerName = …"},
	{TLS13_AD_CERTIFICATE_REQUIRED, "; it wants ClientCertificate = … and ClientKey = …"},
	{SSL_AD_UNKNOWN_CA, "; it does not accept the certificate of this side"},
	{SSL_AD_BAD_CERTIFICATE, "; it does not accept the certificate of this side"},
	{SSL_AD_CERTIFICATE_EXPIRED, "; it does not accept the certificate of this side"},
	{SSL_AD_CERTIFICATE_REVOKED, "; it does not accept the certificate of this side"},
	{SSL_AD_CERTIFICATE_UNKNOWN, "; it does not accept the certificate of this side"},
};

static void explain_alert(int alert, char *buf, size_t size)
{
	const char *hint = "";

	for (size_t i = 0; i < sizeof(alert_hints) / sizeof(alert_hints[0]); i++)
		if (alert_hints[i].alert == alert)
			hint = alert_hints[i].hint;
	snprintf(buf, size, "the other side refused: %s%s", SSL_alert_desc_string_long(alert), hint);
}

/* Errors of our own TLS layer whose text in OpenSSL ("wrong version number") leads an operator astray: the peer is a
 * web server without TLS, an ssh server, a captive portal. */
static const struct {
	int reason;
	const char *words;
} reason_words[] = {
	{SSL_R_WRONG_VERSION_NUMBER, "the other side does not speak TLS"},
	{SSL_R_PACKET_LENGTH_TOO_LONG, "the other side does not speak TLS"},
	{SSL_R_BAD_RECORD_TYPE, "the other side does not speak TLS"},
	{SSL_R_RECORD_LENGTH_MISMATCH, "the other side does not speak TLS"},
	{SSL_R_BAD_PROTOCOL_VERSION_NUMBER, "the other side does not speak TLS"},
	{SSL_R_HTTP_REQUEST, "the other side does not speak TLS but plain HTTP"},
	{SSL_R_HTTPS_PROXY_REQUEST, "the other side does not speak TLS but plain HTTP"},
	{SSL_R_UNSUPPORTED_PROTOCOL, "the other side speaks neither TLS 1.2 nor TLS 1.3"},
	{SSL_R_NO_SHARED_CIPHER, "no cipher in common with the other side"},
	{SSL_R_UNEXPECTED_EOF_WHILE_READING, "closed by the other side during the TLS handshake"},
};

/* Any other error of the queue: our words where we have some, else OpenSSL's. */
static void explain_reason(unsigned long code, char *buf, size_t size)
{
	const char *words = ERR_reason_error_string(code);

	for (size_t i = 0; i < sizeof(reason_words) / sizeof(reason_words[0]); i++)
		if (ERR_GET_LIB(code) == ERR_LIB_SSL && reason_words[i].reason == ERR_GET_REASON(code))
			words = reason_words[i].words;
	snprintf(buf, size, "%s", words ? words : "unknown reason");
}

/* The first error of OpenSSL's own TLS layer, else the first one; leaves the queue empty. */
static unsigned long take_error(void)
{
	unsigned long first = 0, code;

	while ((code = ERR_get_error()))
		if (!first || (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_LIB(first) != ERR_LIB_SSL))
			first = code;
	return first;
}

const char *tls_explain_failure(SSL *ssl, char *buf, size_t size)
{
	unsigned long code = take_error();
	int reason = ERR_GET_REASON(code);

	if (code == 0)
		snprintf(buf, size, "closed by the other side during the TLS handshake");
	else if (ERR_GET_LIB(code) != ERR_LIB_SSL)
		explain_reason(code, buf, size);
	else if (reason == SSL_R_CERTIFICATE_VERIFY_FAILED)
		explain_verification(ssl, buf, size);
	else if (reason >= SSL_AD_REASON_OFFSET)
		explain_alert(reason - SSL_AD_REASON_OFFSET, buf, size);
	else
		explain_reason(code, buf, size);
	return buf;
}
