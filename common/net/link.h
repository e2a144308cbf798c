/* Network devices: find, make, raise, delete. */
#pragma once

#include "common/net/netlink.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct net_link {
	int index;
	char name[IFNAMSIZ];
	char kind[16]; /* "wireguard", "bridge", "tun"; "" for hardware */
	uint32_t mtu;
	bool is_up;
	bool is_port; /* of a bridge, a bond or the like, which has the addresses */
};

/* Return: 0, -ENODEV, or another negative errno with @err set. */
int net_link_find(struct netlink *netlink, const char *name, struct net_link *ret, struct err *err);
int net_link_get(struct netlink *netlink, int index, struct net_link *ret, struct err *err);

/* All of them. Return: 0 (free() it) or a negative errno. */
int net_link_list(struct netlink *netlink, struct net_link **ret, size_t *ret_count, struct err *err);

/**
 * net_link_add_wireguard() - Make a WireGuard device, whole, in one request
 * @birth: socket of the namespace where its UDP socket is to live for good
 * @name: up to 15 characters
 * @index: its interface index, by which the undo list can recognise it
 * @netns_fd: the namespace where the device appears; -1: that of @birth
 *
 * The device appears down, without key and peers. Return: 0, -EEXIST (the name), -EBUSY (the index), -EOPNOTSUPP (no
 * WireGuard in this kernel), -EPERM, or another negative errno, each with @err set.
 */
int net_link_add_wireguard(struct netlink *birth, const char *name, int index, int netns_fd, struct err *err);

/* Delete a device. It is no failure if it is gone already. Return: 0 or a negative errno. */
int net_link_delete(struct netlink *netlink, int index, struct err *err);

/* Bring a device up. @mtu: 0: leave it as it is. Return: 0 or a negative errno. */
int net_link_raise(struct netlink *netlink, int index, uint32_t mtu, struct err *err);
