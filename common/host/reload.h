/* Another WireGuard configuration for a device that is up. Embedded in its owner, host.c.
 *
 * Peers, allowed IPs, keepalives, preshared keys and routes change at once. Settings that only a restart can change are
 * left as it was and named (fingerprint.h).
 */
#pragma once

#include "common/host/applied.h"
#include "common/host/fingerprint.h"

struct reload {
	struct host_setup *setup; /* ->wireguard and ->publishes become the new configuration */
	struct applied *applied;  /* no pass under way */
	struct fingerprint fingerprint;
};

/* The device is up. @reload: setup and applied are set. */
void reload_start(struct reload *reload);

/* Contract: host_reload(). The names of new peers are not known yet: endpoint_watch_start() after this. */
int reload_take(struct reload *reload, const struct wg_config *wireguard, const struct publish *publishes,
	size_t publish_count, char *ret_restart, size_t restart_size, struct err *err);

/* Our table is made anew, after another [Publish]: switch forwarding on where it needs more than before. */
void reload_open_forwarding(struct applied *applied);
