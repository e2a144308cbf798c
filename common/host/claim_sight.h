/* One look into a network namespace at one WireGuard device: its link, its peers, its routes. */
#pragma once

#include "common/base/err.h"
#include "common/net/link.h"
#include "common/net/netlink.h"
#include "common/net/route.h"
#include "common/wireguard/wg_state.h"

#include <stdint.h>

struct claim_sight {
	int home;	/* of netns_enter() */
	uint64_t netns; /* netns_id() */
	struct netlink netlink;
	struct net_link link;
	struct wg_state state;
	struct net_routes routes; /* of the main table, by the device */
};

/**
 * claim_sight_open() - Enter the namespace and read
 * @namespace_path: "": ours
 *
 * Until claim_sight_close(), which must come before the loop goes on, all that makes sockets works in that namespace.
 * Return: 0; -ENODEV: in there, but without the device (->netns and ->home are set, claim_sight_close() it as well);
 * -ENOENT: there is no such namespace; or another negative errno. @err is set.
 */
int claim_sight_open(struct claim_sight *sight, const char *namespace_path, const char *interface, struct err *err);
/* Only ->home, ->netns and ->state, which are most of what changes unannounced. Return: 0, or a negative errno with the
 * sight closed. */
int claim_sight_open_peers(
	struct claim_sight *sight, const char *namespace_path, const char *interface, struct err *err);
void claim_sight_close(struct claim_sight *sight);
