/* An IP prefix: 10.10.0.0/24, fd10::/64. */
#pragma once

#include "common/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PREFIX_TEXT_MAX (ADDR_TEXT_MAX + 4)

struct prefix {
	struct addr addr; /* port 0 */
	uint8_t bits;
};

/* "10.10.0.3/24", "fd10::3/64", and an address alone, which is all of itself; bits behind the length are kept.
 * Return: 0, -EINVAL (not an address), or -ERANGE (no length of a prefix; the address is in *ret). */
int prefix_parse(const char *text, struct prefix *ret);

/* "10.10.0.3/24"; bits behind the prefix are shown as they are. @size: at least PREFIX_TEXT_MAX. Return: @buf. */
const char *prefix_format(char *buf, size_t size, const struct prefix *prefix);

/* Same family, same length, same bits up to it. */
bool prefix_equal(const struct prefix *a, const struct prefix *b);

/* For qsort() and bsearch(): by family, length, address; also of bits behind the length. */
int prefix_compare(const void *a, const void *b);

/* Does @outer hold every address of @inner? */
bool prefix_contains(const struct prefix *outer, const struct prefix *inner);

/* @addr alone: all bits of it. */
struct prefix prefix_of_host(const struct addr *addr);

/* Addresses of which no host of the Internet has one: private (RFC 1918, RFC 4193), shared (RFC 6598), link-local. */
bool prefix_is_private(const struct prefix *prefix);

/* @prefix with the bits behind its length cleared. */
struct prefix prefix_network(const struct prefix *prefix);
