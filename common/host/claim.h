/* A number that tunnels share out among themselves: of a full tunnel's routing table, of its rules.
 *
 * Whether one is free shows in the kernel only once it is used, and two tunnels that come up at the same moment would choose the
 * same. So whoever has chosen holds a claim until his are gone. It is an abstract socket's name: it belongs to the network
 * namespace, as tables and rules do, and a crash lets it go.
 */
#ifndef TOWPATH_HOST_CLAIM_H
#define TOWPATH_HOST_CLAIM_H

#include <stdint.h>

/* @what: "table", "rules". Return: a descriptor that holds the claim until it is closed; -EADDRINUSE: another has it; or
 * another negative errno, where nothing can be claimed on this host. */
int claim_take(const char *what, uint32_t number);

#endif
