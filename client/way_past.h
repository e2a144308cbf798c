/* A way past a tunnel that has routes and no mark: wg-quick's device with AllowedIPs = 0.0.0.0/1, 128.0.0.0/1, or our
 * own where the server has moved into a network of the tunnel, or the operator routes by Table = off. A socket that is
 * bound to the device of the next best route stays out of such a tunnel, without a change to the host.
 *
 * Asks the kernel for its routes each time, which takes well under a millisecond; keeps nothing.
 */
#pragma once

#include "common/base/addr.h"

#include <stdbool.h>
#include <stdint.h>

/* Return: the index of the device to bind a socket to, if a packet to @to with @mark would go into the device @tunnel;
 * 0: it does not, or there is no other way. */
int way_past_find(const char *tunnel, uint32_t mark, const struct addr *to);

/* True if unmarked packets to the Internet go into @tunnel, and there is another way. */
bool way_past_is_needed(const char *tunnel);

/* Warn if the way to @to leads into some WireGuard device: without CAP_NET_ADMIN it is not known whether that is the
 * tunnel. Return: true if it was said. */
bool way_past_warn(const struct addr *to);

/* Bind @fd, on its way to @to or connected to it, past @tunnel (""; there is none), or let it go. A change is told.
 * Without CAP_NET_RAW a socket can be bound once. */
void way_past_bind(int fd, const char *tunnel, uint32_t mark, const struct addr *to);
