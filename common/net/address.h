/* Addresses of network devices. */
#pragma once

#include "common/base/prefix.h"
#include "common/net/netlink.h"

struct net_address {
	int index; /* of the device */
	struct prefix prefix;
};

/* All of this namespace. Return: 0 (free() it) or a negative errno. */
int net_address_list(struct netlink *netlink, struct net_address **ret, size_t *ret_count, struct err *err);

/* As `ip address add` does. There already is done. Return: 0 or a negative errno. */
int net_address_add(struct netlink *netlink, const struct net_address *address, struct err *err);
