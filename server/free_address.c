/* See free_address.h. A bit for each number of the smallest network says whether it is taken in any: 10,000 clients are
 * gone through once. */
#include "server/free_address.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_BITS_MAX 24 /* more clients than a hub ever has */

static uint32_t host_of(const struct addr *addr)
{
	uint32_t host;

	if (addr->sa.sa_family == AF_INET)
		return ntohl(addr->in4.sin_addr.s_addr);
	memcpy(&host, &addr->in6.sin6_addr.s6_addr[12], sizeof(host));
	return ntohl(host);
}

static struct prefix with_number(const struct prefix *network, uint32_t number)
{
	struct prefix first = prefix_network(network);
	struct prefix ret = prefix_of_host(&first.addr);
	uint32_t host = htonl(host_of(&first.addr) | number);

	if (ret.addr.sa.sa_family == AF_INET)
		ret.addr.in4.sin_addr.s_addr = host;
	else
		memcpy(&ret.addr.in6.sin6_addr.s6_addr[12], &host, sizeof(host));
	return ret;
}

/* Bits of an address that number the hosts of the network. */
static unsigned number_bits(const struct prefix *network)
{
	unsigned bits = (network->addr.sa.sa_family == AF_INET ? 32u : 128u) - network->bits;

	return bits < NUMBER_BITS_MAX ? bits : NUMBER_BITS_MAX;
}

/* Mark the numbers that @prefix takes of @network, up to @count. */
static void mark(uint8_t *bitmap, uint32_t count, const struct prefix *network, const struct prefix *prefix)
{
	struct prefix whole = prefix_network(network);
	uint32_t first, base = host_of(&whole.addr);
	unsigned width;
	uint64_t last;

	if (!prefix_contains(&whole, prefix)) /* one that holds the whole network is a route to elsewhere */
		return;
	if (prefix->addr.sa.sa_family == AF_INET6 &&
		memcmp(&whole.addr.in6.sin6_addr, &prefix->addr.in6.sin6_addr, 12) != 0)
		return; /* beyond the numbers that are given */
	first = host_of(&prefix->addr) - base;
	width = (prefix->addr.sa.sa_family == AF_INET ? 32u : 128u) - prefix->bits;
	last = (uint64_t)first + (width < NUMBER_BITS_MAX ? 1u << width : 1u << NUMBER_BITS_MAX) - 1;
	for (uint64_t number = first; number <= last && number < count; number++)
		bitmap[number / 8] |= (uint8_t)(1u << (number % 8));
}

int free_address_find(const struct prefix *networks, size_t network_count, const struct prefix *taken,
	size_t taken_count, struct prefix *ret)
{
	unsigned bits = NUMBER_BITS_MAX;
	uint32_t count, number = 2;
	uint8_t *bitmap;

	for (size_t i = 0; i < network_count; i++)
		if (number_bits(&networks[i]) < bits)
			bits = number_bits(&networks[i]);
	count = (1u << bits) - 1; /* the last one is the broadcast address */
	bitmap = network_count > 0 ? calloc(count / 8 + 1, 1) : NULL;
	if (!bitmap)
		return -ENOSPC;
	for (size_t i = 0; i < network_count; i++) {
		struct prefix own = prefix_of_host(&networks[i].addr);

		mark(bitmap, count, &networks[i], &own);
		for (size_t j = 0; j < taken_count; j++)
			mark(bitmap, count, &networks[i], &taken[j]);
	}
	while (number < count && bitmap[number / 8] & (1u << (number % 8)))
		number++;
	free(bitmap);
	if (number >= count)
		return -ENOSPC;
	for (size_t i = 0; i < network_count; i++)
		ret[i] = with_number(&networks[i], number);
	return 0;
}
