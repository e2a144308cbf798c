/* The next free address of a hub's network, for one more client. Pure. */
#pragma once

#include "common/base/prefix.h"

#include <stddef.h>

/* @networks: of the hub, with its own address in them, one of each family at most. @taken: what other peers have.
 * @ret: for each network an address (all of its bits) with the same number in all; from 2 on. Return: 0, or -ENOSPC. */
int free_address_find(const struct prefix *networks, size_t network_count, const struct prefix *taken,
	size_t taken_count, struct prefix *ret);
