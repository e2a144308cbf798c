/* See server_name.h. Names are compared as bytes, their letters in any case (RFC 4343).
 *
 * Two kinds of text meet here. A pattern is from a configuration, has been checked, and may begin with "*."; a name is
 * from a ClientHello, so it may hold any bytes, a zero among them, and is given with its length. A name with a dot at
 * its end is no name of TLS (RFC 6066 §3) and fits nothing.
 */
#include "common/base/server_name.h"

#include "common/base/text.h"

#include <arpa/inet.h>
#include <string.h>
#include <strings.h>

#define LABEL_MAX 63 /* RFC 1035 §2.3.4 */

/* A star is one label that is not empty: "*.example.org" fits "a.example.org", but neither "example.org" nor
 * "a.b.example.org". */
bool server_name_fits(const char *pattern, const char *name, size_t len)
{
	const char *dot = *pattern == '*' ? memchr(name, '.', len) : NULL;
	size_t label = dot ? (size_t)(dot - name) : 0;

	if (*pattern == '*') {
		if (label == 0)
			return false;
		pattern++; /* ".REST" */
	}
	return strlen(pattern) == len - label && strncasecmp(pattern, name + label, len - label) == 0;
}

/* Labels of letters, digits, '-' and '_' with single dots between them, and no dot at the end. */
static bool is_host_name(const char *text)
{
	for (size_t len;; text += len + 1) {
		len = strcspn(text, ".");
		if (len == 0 || len > LABEL_MAX || *text == '-' || text[len - 1] == '-' ||
			!text_is_made_of(text, len, "_-"))
			return false;
		if (text[len] == '\0')
			return true;
	}
}

const char *server_name_find_fault(const char *text)
{
	const char *rest = strncmp(text, "*.", 2) == 0 ? text + 2 : text;
	struct in6_addr ignored;

	if (strchr(rest, '*'))
		return "a star in the wrong place; expected it as the whole left label, as in *.home.example.org";
	if (inet_pton(AF_INET, text, &ignored) == 1 || strchr(text, ':'))
		return "an address, or with a port, which no TLS server name is; expected a name, as in "
		       "home.example.org";
	if (strlen(text) > SERVER_NAME_MAX)
		return "too long; expected at most 253 characters";
	return is_host_name(rest) ? NULL
				  : "not the name of a host; expected one such as home.example.org (with other letters "
				    "than a to z in its xn-- form)";
}
