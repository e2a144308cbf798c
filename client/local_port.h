/* The local UDP port, WireGuard's endpoint: bound by the supervisor before anybody can send to it. */
#ifndef TOWPATH_CLIENT_LOCAL_PORT_H
#define TOWPATH_CLIENT_LOCAL_PORT_H

#include "client/config.h"
#include "common/base/addr.h"
#include "common/base/err.h"

struct local_port {
	int fd;
	struct addr addr; /* with the port that was chosen, where the configuration leaves it open */
	char text[ADDR_TEXT_MAX];
};

/* Return: 0, or a negative errno with @err naming the remedy. */
int local_port_open(struct local_port *ret, const struct client_config *config, struct err *err);
void local_port_close(struct local_port *port);

#endif
