/* The UDP sockets of the hub's flows: connected to Target, each client from an address of its own.
 *
 * A client's address in 127.64.0.0/10 follows from its name, an instance's port from its id, so that a client that
 * comes again, also after a restart of the hub, is the same endpoint to WireGuard. Only where Target is IPv4: IPv6 has
 * a single loopback address, there every flow gets any port.
 */
#ifndef TOWPATH_SERVER_FLOW_SOCKET_H
#define TOWPATH_SERVER_FLOW_SOCKET_H

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/process/channel.h"

#include <stddef.h>
#include <stdint.h>

struct flow_sources; /* the clients' addresses */

/* @names: in the order of channel_flow.client; borrowed during the call. */
int flow_sources_open(
	struct flow_sources **ret, const char *const *names, size_t count, const struct addr *target, struct err *err);
void flow_sources_close(struct flow_sources *sources);

/* The address of client @client, port 0. Where Target is IPv6: ::1. */
void flow_sources_get(const struct flow_sources *sources, uint32_t client, struct addr *ret);

/* Make the socket that @wanted asks for, non-blocking and connected. Its port is any where the instance's own is taken.
 * Return: descriptor, or a negative errno (-EINVAL: no such client). */
int flow_socket_open(const struct flow_sources *sources, const struct channel_flow *wanted);

#endif
