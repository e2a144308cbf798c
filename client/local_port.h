/* The local UDP port, which is WireGuard's endpoint. The supervisor binds it before WireGuard is told of it, so that no
 * datagram is lost while the worker starts. */
#pragma once

#include "client/config.h"
#include "common/base/addr.h"
#include "common/base/err.h"

struct local_port {
	int fd;
	struct addr addr; /* with the port that the kernel chose where the configuration gives port 0 */
	char text[ADDR_TEXT_MAX];
};

/* Return: 0, or a negative errno and @err with place, cause and remedy. */
int local_port_open(struct local_port *ret, const struct client_config *config, struct err *err);
void local_port_close(struct local_port *port);
