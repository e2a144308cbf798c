/* See proxy.h.
 *
 *    http://user:p%40ss@proxy.example.net:3128/
 *    scheme  user:pass  HOST              PORT   one slash may end it
 *
 * The scheme is taken off, the user and password are cut off at the last "@" and decoded, what remains is HOST:PORT.
 * The port is needed, because programs differ in their default (curl has 1080). Fails with a sentence that does not
 * quote the URL, since that may hold a password; each copy of it is wiped.
 *
 * no_proxy has no standard. These are the rules that most programs share: a name also stands for all names below it,
 * with or without a dot in front, an address only for itself, and networks (10.0.0.0/8) are not known.
 */
#include "client/proxy.h"

#include "common/base/addr.h"
#include "common/base/key_table.h"
#include "common/base/log.h"
#include "common/base/secret.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define HOST_LEN_MAX 255

/* --- the URL --- */

/* "%40" → "@", in place. Return: false for a "%" without two hex digits, or if the result is no plain text. */
static bool decode_percent(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		char hex[3] = {0};
		long value = *at;

		if (*at == '%') {
			if (!isxdigit((unsigned char)at[1]) || !isxdigit((unsigned char)at[2]))
				return false;
			memcpy(hex, at + 1, 2);
			value = strtol(hex, NULL, 16);
			at += 2;
		}
		if (value == 0)
			return false;
		*to++ = (char)value;
	}
	while (*to)
		*to++ = '\0';
	return key_is_text(text);
}

/* Fields for the settings, copied there once all of them are valid. */
struct parsed {
	char *host, *user, *password;
	uint16_t port;
};

/* "user:password"; @text is cut up. */
static bool read_user(char *text, struct parsed *parsed)
{
	char *colon = strchr(text, ':');

	if (colon)
		*colon = '\0';
	parsed->user = strdup(text);
	parsed->password = strdup(colon ? colon + 1 : "");
	return parsed->user && parsed->password && decode_percent(parsed->user) && decode_percent(parsed->password) &&
	       !strchr(parsed->user, ':'); /* Basic cannot carry one, RFC 7617 §2 */
}

/* Behind "http://"; @text is cut up. Return: NULL, or the complaint. */
static const char *read_authority(char *text, struct parsed *parsed)
{
	char *at = strrchr(text, '@');
	char host[HOST_LEN_MAX + 1];
	size_t len = strlen(text);

	if (len > 0 && text[len - 1] == '/')
		text[len - 1] = '\0';
	if (at) {
		*at = '\0';
		if (!read_user(text, parsed))
			return "the user or password cannot be read; expected user:password with other characters as "
			       "%40";
		text = at + 1;
	}
	if (addr_split(text, host, sizeof(host), &parsed->port) < 0 || !addr_is_host(host))
		return "not a proxy; expected http://[user:password@]HOST:PORT";
	if (parsed->port == 0)
		return "the port is missing; expected http://[user:password@]HOST:PORT";
	parsed->host = strdup(host);
	return parsed->host ? NULL : "out of memory";
}

const char *proxy_parse(const char *text, struct client_settings *settings)
{
	const char *scheme_end = strstr(text, "://");
	struct parsed parsed = {0};
	const char *complaint;
	size_t len;
	char *copy;

	if (scheme_end && strncasecmp(text, "http://", 7) != 0)
		return "only http:// proxies are known; expected http://[user:password@]HOST:PORT, or none";
	copy = strdup(scheme_end ? text + 7 : text);
	if (!copy)
		return "out of memory";
	len = strlen(copy);
	complaint = read_authority(copy, &parsed);
	secret_wipe(copy, len);
	free(copy);
	if (complaint) {
		free(parsed.host);
		secret_free(parsed.user);
		secret_free(parsed.password);
		return complaint;
	}
	settings->proxy_host = parsed.host;
	settings->proxy_port = parsed.port;
	settings->proxy_user = parsed.user;
	settings->proxy_password = parsed.password;
	return NULL;
}

/* --- the environment --- */

/* The lower-case name wins, as in curl. Return: NULL where neither is set. */
static const char *get_either(const char *lower, const char *upper, const char **ret_name)
{
	const char *value = getenv(lower);

	*ret_name = lower;
	if (!value || !*value) {
		value = getenv(upper);
		*ret_name = upper;
	}
	return value && *value ? value : NULL;
}

/* One proxy serves all servers, so it is left out only if no_proxy names every server. */
void proxy_take_environment(struct client_settings *settings, struct ini_report *report)
{
	const char *proxy_name, *no_proxy_name;
	const char *proxy = get_either("https_proxy", "HTTPS_PROXY", &proxy_name);
	const char *no_proxy = get_either("no_proxy", "NO_PROXY", &no_proxy_name);
	const char *complaint;
	size_t exempt = 0;

	for (size_t i = 0; i < settings->server_count; i++)
		exempt += proxy_is_exempt(no_proxy, settings->servers[i].host);
	if (!proxy || exempt == settings->server_count)
		return;
	if (exempt > 0)
		log_warning("config", "%s names some of the servers only; all are reached through the proxy",
			no_proxy_name);
	complaint = proxy_parse(proxy, settings);
	if (complaint)
		ini_report_add(report, proxy_name, 0, "%s; Proxy = none ignores it", complaint);
}

/* --- no_proxy --- */

/* "example.net." is the same name, written as an absolute one. */
static size_t len_without_last_dot(const char *text, size_t len)
{
	return len > 0 && text[len - 1] == '.' ? len - 1 : len;
}

/* @element: of the list, not terminated. Return: true if @host equals it or ends in "." and it. */
static bool element_is_suffix(const char *element, size_t len, const char *host)
{
	size_t host_len = len_without_last_dot(host, strlen(host));

	if (len > 1 && element[0] == '[' && element[len - 1] == ']') {
		element++;
		len -= 2;
	}
	if (len > 0 && element[0] == '.') {
		element++;
		len--;
	}
	len = len_without_last_dot(element, len);
	if (len == 0 || len > host_len || strncasecmp(host + host_len - len, element, len) != 0)
		return false;
	return len == host_len || host[host_len - len - 1] == '.';
}

/* Without a port: the one that is given here is only there for addr_parse(). */
static bool host_is_address(const char *host, struct addr *ret)
{
	return addr_parse(host, 1, ret) == 0;
}

/* An address is not a name: 10.0.0.1 does not exempt 1.10.0.0.1, nor 0.1 10.0.0.1. "*" matches every host, as in
 * curl. */
static bool element_matches(const char *element, size_t len, const char *host)
{
	struct addr addr;

	if (len == 1 && element[0] == '*')
		return true;
	if (!element_is_suffix(element, len, host))
		return false;
	return !host_is_address(host, &addr) || len >= strlen(host);
}

bool proxy_is_exempt(const char *no_proxy, const char *host)
{
	struct addr addr;

	if (strcasecmp(host, "localhost") == 0 || (host_is_address(host, &addr) && addr_is_loopback(&addr)))
		return true;
	while (no_proxy && *no_proxy) {
		size_t len = strcspn(no_proxy, ", \t");

		if (element_matches(no_proxy, len, host))
			return true;
		no_proxy += len;
		no_proxy += strspn(no_proxy, ", \t");
	}
	return false;
}
