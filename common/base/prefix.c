/* See prefix.h. An address is treated as its bytes in network order, 4 or 16 of them, so that both families are one
 * case: byte 0 has the first eight bits of the prefix. IPv4-mapped IPv6 addresses are IPv6 here, as in the kernel's
 * routes.
 */
#include "common/base/prefix.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t *bytes_of(const struct addr *addr)
{
	return addr->sa.sa_family == AF_INET6 ? addr->in6.sin6_addr.s6_addr : (const uint8_t *)&addr->in4.sin_addr;
}

/* The bits of byte @i that a prefix of @bits counts: ff … ff, e0, 00 … 00. */
static uint8_t mask_of_byte(uint8_t bits, size_t i)
{
	if (bits >= 8 * (i + 1))
		return 0xff;
	return bits <= 8 * i ? 0 : (uint8_t)(0xff00u >> (bits - 8 * i));
}

static size_t byte_count(const struct addr *addr)
{
	return addr->sa.sa_family == AF_INET6 ? sizeof(struct in6_addr) : sizeof(struct in_addr);
}

static int parse_address(const char *text, size_t len, struct addr *ret)
{
	struct addr addr = {0};
	char host[INET6_ADDRSTRLEN];

	if (len >= sizeof(host))
		return -EINVAL;
	memcpy(host, text, len);
	host[len] = '\0';
	if (inet_pton(AF_INET, host, &addr.in4.sin_addr) == 1)
		addr.sa.sa_family = AF_INET;
	else if (inet_pton(AF_INET6, host, &addr.in6.sin6_addr) == 1)
		addr.sa.sa_family = AF_INET6;
	else
		return -EINVAL;
	*ret = addr;
	return 0;
}

/* Bits behind the length are kept: an Address = 10.0.0.2/24 is the host and its network in one. */
int prefix_parse(const char *text, struct prefix *ret)
{
	size_t len = strcspn(text, "/");
	const char *bits = text[len] == '/' ? text + len + 1 : NULL;
	unsigned long number, max;

	if (parse_address(text, len, &ret->addr) < 0)
		return -EINVAL;
	max = 8 * byte_count(&ret->addr); /* 32 or 128 */
	ret->bits = (uint8_t)max;
	if (!bits)
		return 0;
	number = strtoul(bits, NULL, 10);
	if (*bits == '\0' || bits[strspn(bits, "0123456789")] != '\0' || number > max)
		return -ERANGE;
	ret->bits = (uint8_t)number;
	return 0;
}

const char *prefix_format(char *buf, size_t size, const struct prefix *prefix)
{
	char host[ADDR_TEXT_MAX];

	snprintf(buf, size, "%s/%u", addr_format_host(host, sizeof(host), &prefix->addr), prefix->bits);
	return buf;
}

bool prefix_equal(const struct prefix *a, const struct prefix *b)
{
	return a->bits == b->bits && prefix_contains(a, b);
}

/* Bits behind the length count here: the order must tell 10.0.0.1/8 and 10.0.0.2/8 apart, which are two addresses. */
int prefix_compare(const void *a, const void *b)
{
	const struct prefix *x = a, *y = b;

	if (x->addr.sa.sa_family != y->addr.sa.sa_family)
		return x->addr.sa.sa_family < y->addr.sa.sa_family ? -1 : 1;
	if (x->bits != y->bits)
		return x->bits < y->bits ? -1 : 1;
	return memcmp(bytes_of(&x->addr), bytes_of(&y->addr), byte_count(&x->addr));
}

/* The shorter prefix decides how many bits are compared. 0.0.0.0/0 holds every IPv4 prefix and no IPv6 one. */
bool prefix_contains(const struct prefix *outer, const struct prefix *inner)
{
	const uint8_t *a = bytes_of(&outer->addr), *b = bytes_of(&inner->addr);

	if (outer->addr.sa.sa_family != inner->addr.sa.sa_family || outer->bits > inner->bits)
		return false;
	for (size_t i = 0; i < byte_count(&outer->addr); i++)
		if ((a[i] ^ b[i]) & mask_of_byte(outer->bits, i))
			return false;
	return true;
}

struct prefix prefix_of_host(const struct addr *addr)
{
	return (struct prefix){.addr = *addr, .bits = (uint8_t)(8 * byte_count(addr))};
}

bool prefix_is_private(const struct prefix *prefix)
{
	static const char *const networks[] = {"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10",
		"169.254.0.0/16", "fc00::/7", "fe80::/10"};
	struct prefix network;

	for (size_t i = 0; i < sizeof(networks) / sizeof(*networks); i++)
		if (prefix_parse(networks[i], &network) == 0 && prefix_contains(&network, prefix))
			return true;
	return false;
}

/* The network of a prefix, without its host bits: the form in which the kernel keeps 10.10.0.3/24 as a route or as
 * an allowed IP. */
struct prefix prefix_network(const struct prefix *prefix)
{
	struct prefix network = *prefix;
	uint8_t bytes[sizeof(struct in6_addr)];
	size_t count = byte_count(&prefix->addr);

	for (size_t i = 0; i < count; i++)
		bytes[i] = bytes_of(&prefix->addr)[i] & mask_of_byte(prefix->bits, i);
	if (prefix->addr.sa.sa_family == AF_INET6)
		memcpy(&network.addr.in6.sin6_addr, bytes, count);
	else
		memcpy(&network.addr.in4.sin_addr, bytes, count);
	return network;
}
