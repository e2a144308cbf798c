/* See status_http.h. Refusals are plain text of one line that says what helps. No header allows another origin to read
 * anything, and each answer forbids other sites to embed it. */
#include "common/status/status_http.h"

#include "page_html.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const types[STATUS_TEXT_COUNT] = {
	[STATUS_PAGE] = "text/html; charset=utf-8",
	[STATUS_JSON] = "application/json",
	[STATUS_METRICS] = "text/plain; version=0.0.4; charset=utf-8",
	[STATUS_OPENMETRICS] = "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

bool status_http_is_own_host(struct http_span host, const struct addr *own)
{
	char text[ADDR_TEXT_MAX];
	struct addr addr, bound = *own;

	if (host.len == 0 || host.len >= sizeof(text))
		return false;
	memcpy(text, host.text, host.len);
	text[host.len] = '\0';
	if (strncasecmp(text, "localhost", 9) == 0 && (text[9] == '\0' || text[9] == ':'))
		memcpy(text, "127.0.0.1", 9); /* as long */
	if (strchr(text, '%') || addr_parse(text, 1, &addr) < 0)
		return false;
	addr_set_port(&addr, 0);
	addr_set_port(&bound, 0);
	return addr_is_loopback(&addr) || addr_equal(&addr, &bound);
}

/* The quality that the list @accept gives to @type, in thousandths; -1: it is not named (RFC 9110 §12.5.1). */
static int quality_of(struct http_span accept, const char *type)
{
	bool has_more = true;

	while (has_more) {
		struct http_span item = http_span_cut(&accept, ',', &has_more);
		bool has_parameter = false;
		struct http_span name = http_span_trim(http_span_cut(&item, ';', &has_parameter));
		double quality = 1;

		if (!http_span_is_word(name, type))
			continue;
		while (has_parameter) {
			struct http_span parameter = http_span_trim(http_span_cut(&item, ';', &has_parameter));
			char number[8] = "";

			if (parameter.len < 3 || strncasecmp(parameter.text, "q=", 2) != 0)
				continue;
			snprintf(number, sizeof(number), "%.*s", (int)parameter.len - 2, parameter.text + 2);
			quality = strtod(number, NULL);
		}
		return quality >= 0 && quality <= 1 ? (int)(quality * 1000) : 0;
	}
	return -1;
}

/* Only where it is named, and text is not liked better: a browser's or curl's star means the plain format. */
static bool wants_openmetrics(const struct http_head *head)
{
	const struct http_field *accept = http_head_find(head, "Accept", 0);
	int openmetrics = accept ? quality_of(accept->value, "application/openmetrics-text") : 0;

	return openmetrics > 0 && openmetrics >= quality_of(accept->value, "text/plain");
}

unsigned status_http_find(const struct http_head *head, const struct addr *own, enum status_text *ret)
{
	const struct http_field *host = http_head_find(head, "Host", 0);
	struct http_span target = head->target, path;
	bool has_query;

	if ((!host && head->minor_version > 0) || http_head_find(head, "Host", 1))
		return 400;
	if (host && !status_http_is_own_host(host->value, own))
		return 403;
	if (!http_span_is(head->method, "GET") && !http_span_is(head->method, "HEAD"))
		return 405;
	path = http_span_cut(&target, '?', &has_query);
	if (http_span_is(path, "/"))
		*ret = STATUS_PAGE;
	else if (http_span_is(path, "/status.json"))
		*ret = STATUS_JSON;
	else if (http_span_is(path, "/metrics"))
		*ret = wants_openmetrics(head) ? STATUS_OPENMETRICS : STATUS_METRICS;
	else
		return 404;
	return 200;
}

/* RFC 9110 §15 and the sentence that helps. */
static const char *words_of(unsigned code, const char **ret_help)
{
	*ret_help = "";
	switch (code) {
	case 200:
		return "OK";
	case 403:
		*ret_help = ": ask by localhost, 127.0.0.1, [::1] or the address in Status";
		return "Forbidden";
	case 404:
		*ret_help = ": here are / and /metrics and /status.json";
		return "Not Found";
	case 405:
		*ret_help = ": this page can only be read";
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 503:
		*ret_help = ": the status cannot be had at the moment; try again";
		return "Service Unavailable";
	}
	return "Bad Request";
}

size_t status_http_format(
	char buf[STATUS_HTTP_ANSWER_MAX], unsigned code, enum status_text text, size_t body_len, bool with_body)
{
	const char *help, *words = words_of(code, &help);
	char body[256] = "";
	int len;

	if (code != 200)
		body_len = (size_t)snprintf(body, sizeof(body), "%u %s%s\n", code, words, help);
	len = snprintf(buf, STATUS_HTTP_ANSWER_MAX,
		"HTTP/1.1 %u %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n%sCache-Control: no-store\r\n"
		"Content-Security-Policy: %s\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n"
		"Cross-Origin-Resource-Policy: same-origin\r\nCross-Origin-Opener-Policy: same-origin\r\n"
		"Referrer-Policy: no-referrer\r\n%sConnection: close\r\n\r\n%s",
		code, words, code == 200 ? types[text] : "text/plain; charset=utf-8", body_len,
		code == 405 ? "Allow: GET, HEAD\r\n" : "", STATUS_PAGE_POLICY,
		text == STATUS_METRICS || text == STATUS_OPENMETRICS ? "Vary: Accept\r\n" : "", with_body ? body : "");
	return (size_t)len;
}
