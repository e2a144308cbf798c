/* See proxy_environment.h. */
#include "client/proxy_environment.h"

#include "common/base/addr.h"

#include <string.h>
#include <strings.h>

static size_t len_without_last_dot(const char *text, size_t len)
{
	return len > 0 && text[len - 1] == '.' ? len - 1 : len;
}

/* One element of the list, which is not terminated. */
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

static bool host_is_address(const char *host, struct addr *ret)
{
	return addr_parse(host, 1, ret) == 0;
}

/* An address is not a name: 10.0.0.1 does not exempt 1.10.0.0.1, nor 0.1 10.0.0.1. */
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
