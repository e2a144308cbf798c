/* A lock on a number that tunnels of this host share out among themselves: of a routing table, of a pair of rules.
 *
 * The kernel shows that a number is in use only after the tunnel has made its rules, and two tunnels that come up at
 * the same moment would choose the same one. So a tunnel locks the number that it has chosen. The lock is the name of
 * an abstract socket: it belongs to the network namespace, as tables and rules do, and a crash releases it.
 */
#pragma once

#include <stdint.h>

/* @what: "table", "rules". Return: a descriptor that holds the lock until it is closed; -EADDRINUSE: another tunnel has
 * it; or another negative errno, where nothing can be locked on this host. */
int table_lock_take(const char *what, uint32_t number);
