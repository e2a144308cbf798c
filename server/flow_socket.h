/* The UDP sockets of the hub's flows: connected to Target, each client from an address of its own (client_number.h).
 *
 * An instance's port follows from its id, so that a client that comes again, also after a restart of the hub, is the
 * same endpoint to WireGuard. This holds only where Target is IPv4. IPv6 has a single loopback address; there every
 * flow gets any port.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/process/channel.h"

/* Where the sockets are made and what they are connected to. */
struct flow_address {
	struct addr target;
	int netns_fd; /* the namespace with Target, borrowed; -1: ours */
	int home_fd;  /* ours, to come back to; -1 where it is never left */
};

/* @netns_fd: -1, or a namespace that our user may enter. Return: 0 or a negative errno. */
int flow_address_open(struct flow_address *address, const struct addr *target, int netns_fd, struct err *err);
void flow_address_close(struct flow_address *address);

/* Make the socket that @wanted asks for, non-blocking and connected. Where the instance's own port is taken it gets any
 * port. Not beside other threads: the process may be in another namespace for a moment. Return: descriptor, or a
 * negative errno (-EINVAL: no client's number). */
int flow_socket_open(const struct flow_address *address, const struct channel_flow *wanted);
