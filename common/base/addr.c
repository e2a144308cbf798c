/* Socket addresses as text and as the kernel wants them.
 *
 * Parsing takes "host", "host:port", "[v6]", "[v6]:port" and a bare IPv6 address apart, then asks inet_pton().
 * Nothing here resolves a name. A zone is a device's name or number; it is printed as number, so that
 * formatting asks the kernel nothing.
 */
#include "common/base/addr.h"

#include "common/base/text.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOST_LEN_MAX 255 /* a name of DNS has 253 bytes as text */

/* 1..65535 in up to five digits. */
static int parse_port(const char *text, uint16_t *ret)
{
	uint64_t port;

	if (strlen(text) > 5 || text_parse_number(text, 10, UINT16_MAX, &port) < 0 || port == 0)
		return -EINVAL;
	*ret = (uint16_t)port;
	return 0;
}

/* Only printable ASCII: the host goes into logs and into HTTP, where "@", "/" and brackets have a meaning. */
static int copy_host(char *host, size_t size, const char *text, size_t len)
{
	if (len == 0 || len >= size)
		return -EINVAL;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] >= 0x7f || strchr("[]/@", text[i]))
			return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	return 0;
}

/* "[v6]" and "[v6]:port" */
static int split_bracketed(const char *text, char *host, size_t host_size, uint16_t *ret_port)
{
	const char *end = strchr(text, ']');
	uint16_t port = 0;

	if (!end || !memchr(text, ':', (size_t)(end - text)))
		return -EINVAL;
	if (end[1] == ':') {
		if (parse_port(end + 2, &port) < 0)
			return -EINVAL;
	} else if (end[1] != '\0') {
		return -EINVAL;
	}
	if (copy_host(host, host_size, text + 1, (size_t)(end - text - 1)) < 0)
		return -EINVAL;
	*ret_port = port;
	return 0;
}

/* Without brackets only an address with at least two colons can be meant; "::1:443" is an address too, and has no
 * port. */
static bool is_bare_ipv6(const char *text)
{
	struct in6_addr in6;
	char host[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "%");

	if (len >= sizeof(host))
		return false;
	memcpy(host, text, len);
	host[len] = '\0';
	return inet_pton(AF_INET6, host, &in6) == 1;
}

/* Only the form is checked, since the host may be a name: one colon parts host and port, two or more are IPv6. */
int addr_split(const char *text, char *host, size_t host_size, uint16_t *ret_port)
{
	const char *colon = strchr(text, ':');
	uint16_t port = 0;

	if (text[0] == '[')
		return split_bracketed(text, host, host_size, ret_port);
	if (colon && strchr(colon + 1, ':')) {
		if (!is_bare_ipv6(text))
			return -EINVAL;
		colon = NULL;
	}
	if (colon && parse_port(colon + 1, &port) < 0)
		return -EINVAL;
	if (copy_host(host, host_size, text, colon ? (size_t)(colon - text) : strlen(text)) < 0)
		return -EINVAL;
	*ret_port = port;
	return 0;
}

/* A device's name or number. Return: 0 where it is neither. */
static unsigned zone_index(const char *zone)
{
	unsigned long number;
	char *end;

	if (zone[0] >= '0' && zone[0] <= '9') {
		number = strtoul(zone, &end, 10);
		return *end == '\0' && number <= INT32_MAX ? (unsigned)number : 0;
	}
	return strlen(zone) < IF_NAMESIZE ? if_nametoindex(zone) : 0;
}

/* "fe80::1%eth0": cuts @host at the zone. */
static int parse_ipv6(char *host, struct sockaddr_in6 *in6)
{
	char *zone = strchr(host, '%');

	if (zone) {
		*zone++ = '\0';
		in6->sin6_scope_id = zone_index(zone);
		if (in6->sin6_scope_id == 0)
			return -EINVAL;
	}
	in6->sin6_family = AF_INET6;
	return inet_pton(AF_INET6, host, &in6->sin6_addr) == 1 ? 0 : -EINVAL;
}

int addr_parse(const char *text, uint16_t default_port, struct addr *ret)
{
	char host[ADDR_TEXT_MAX];
	struct addr addr = {0};
	uint16_t port;

	if (addr_split(text, host, sizeof(host), &port) < 0)
		return -EINVAL;
	if (port == 0)
		port = default_port;
	if (port == 0)
		return -EINVAL;
	/* inet_pton() takes four decimal numbers only: "127.1" and "0x7f.1", which inet_aton() knows, are names. */
	if (inet_pton(AF_INET, host, &addr.in4.sin_addr) == 1 && text[0] != '[')
		addr.in4.sin_family = AF_INET;
	else if (parse_ipv6(host, &addr.in6) < 0)
		return -EINVAL;
	addr_set_port(&addr, port);
	*ret = addr;
	return 0;
}

/* Looser than DNS: names with "_" exist in private networks, and the resolver has the last word. */
bool addr_is_host(const char *text)
{
	struct addr addr;
	size_t len = strlen(text);

	if (strchr(text, ':'))
		return addr_parse(text, 1, &addr) == 0;
	return len > 0 && len <= HOST_LEN_MAX && text_is_made_of(text, len, "-_.") && text[0] != '.' &&
	       text[0] != '-' && !strstr(text, "..");
}

const char *addr_format_host(char *buf, size_t size, const struct addr *addr)
{
	char host[INET6_ADDRSTRLEN] = "-";

	if (addr->sa.sa_family == AF_INET)
		inet_ntop(AF_INET, &addr->in4.sin_addr, host, sizeof(host));
	else if (addr->sa.sa_family == AF_INET6)
		inet_ntop(AF_INET6, &addr->in6.sin6_addr, host, sizeof(host));
	if (addr->sa.sa_family == AF_INET6 && addr->in6.sin6_scope_id != 0)
		snprintf(buf, size, "%s%%%u", host, addr->in6.sin6_scope_id);
	else
		snprintf(buf, size, "%s", host);
	return buf;
}

const char *addr_format(char *buf, size_t size, const struct addr *addr)
{
	char host[ADDR_TEXT_MAX];

	addr_format_host(host, sizeof(host), addr);
	if (addr->sa.sa_family == AF_INET6)
		snprintf(buf, size, "[%s]:%u", host, addr_port(addr));
	else if (addr->sa.sa_family == AF_INET)
		snprintf(buf, size, "%s:%u", host, addr_port(addr));
	else
		snprintf(buf, size, "%s", host);
	return buf;
}

socklen_t addr_len(const struct addr *addr)
{
	return addr->sa.sa_family == AF_INET6 ? sizeof(addr->in6) : sizeof(addr->in4);
}

uint16_t addr_port(const struct addr *addr)
{
	return ntohs(addr->sa.sa_family == AF_INET6 ? addr->in6.sin6_port : addr->in4.sin_port);
}

void addr_set_port(struct addr *addr, uint16_t port)
{
	if (addr->sa.sa_family == AF_INET6)
		addr->in6.sin6_port = htons(port);
	else
		addr->in4.sin_port = htons(port);
}

bool addr_is_loopback(const struct addr *addr)
{
	if (addr->sa.sa_family == AF_INET)
		return ntohl(addr->in4.sin_addr.s_addr) >> 24 == 127;
	return addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&addr->in6.sin6_addr);
}

bool addr_is_any(const struct addr *addr)
{
	if (addr->sa.sa_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(&addr->in6.sin6_addr);
	return addr->sa.sa_family != AF_INET || addr->in4.sin_addr.s_addr == INADDR_ANY;
}

bool addr_can_listen(const struct addr *addr)
{
	const struct in6_addr *in6 = &addr->in6.sin6_addr;
	uint32_t in4 = ntohl(addr->in4.sin_addr.s_addr);

	if (addr->sa.sa_family == AF_INET)
		return !IN_MULTICAST(in4) && in4 != INADDR_BROADCAST;
	return !IN6_IS_ADDR_MULTICAST(in6) && !IN6_IS_ADDR_V4MAPPED(in6) &&
	       (!IN6_IS_ADDR_LINKLOCAL(in6) || addr->in6.sin6_scope_id != 0);
}

bool addr_equal(const struct addr *a, const struct addr *b)
{
	if (a->sa.sa_family != b->sa.sa_family)
		return false;
	if (a->sa.sa_family == AF_INET)
		return a->in4.sin_port == b->in4.sin_port && a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
	if (a->sa.sa_family == AF_INET6)
		return a->in6.sin6_port == b->in6.sin6_port && a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
		       memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof(a->in6.sin6_addr)) == 0;
	return true;
}

/* A dual-stack socket tells IPv4 peers as ::ffff:a.b.c.d; one host must have one text, for logs and comparisons. */
static void from_ipv6(const struct sockaddr_in6 *in6, struct addr *ret)
{
	ret->in6 = *in6;
	ret->in6.sin6_flowinfo = 0;
	if (!IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
		return;
	memset(ret, 0, sizeof(*ret));
	ret->in4.sin_family = AF_INET;
	ret->in4.sin_port = in6->sin6_port;
	memcpy(&ret->in4.sin_addr, in6->sin6_addr.s6_addr + 12, sizeof(ret->in4.sin_addr));
}

void addr_from_sockaddr(const struct sockaddr *sa, struct addr *ret)
{
	struct sockaddr_in6 in6;
	struct addr addr = {0};

	/* memcpy: @sa need not be aligned for its own type. */
	if (sa->sa_family == AF_INET) {
		memcpy(&addr.in4, sa, sizeof(addr.in4));
		memset(addr.in4.sin_zero, 0, sizeof(addr.in4.sin_zero));
	} else if (sa->sa_family == AF_INET6) {
		memcpy(&in6, sa, sizeof(in6));
		from_ipv6(&in6, &addr);
	}
	*ret = addr;
}
