/* The program of this host that listens at a port. */
#pragma once

#include "common/net/service.h"

#include <stdbool.h>

#define PORT_OWNER_NAME_MAX 32

struct port_owner {
	uint16_t port;
	char name[PORT_OWNER_NAME_MAX]; /* "nginx"; "" where no process has the socket: it is the kernel's own */
	int pid;			/* 0: not known */
};

/* Does one listen where @service is to be reached? A socket on the loopback alone is in the way of a service there
 * only, and one of UDP that is connected in nobody's. Return: true with @ret filled. */
bool port_owner_find(const struct service *service, struct port_owner *ret);
