/* Handshakes of a client's own device: made to happen when the way to the server opens, and seen when they happen.
 *
 * WireGuard begins a handshake when it has something to send, and after a lost attempt waits 5 s. A client whose link
 * has just come up must not wait for either, so this module makes every peer that is reached through the tunnel begin
 * now. The kernel does not announce a completed handshake, so the device is read: every 20 ms for the first 2 s, every
 * 200 ms up to 30 s, then every 2 s.
 *
 * Owned by the host part of the supervisor (common/host), embedded there. wg_handshake_close() ends in on_closed; until
 * then the memory must stay. Handlers are called from the loop, never from inside a call, and may call any function
 * below.
 */
#pragma once

#include "common/wireguard/wg_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct wg_handshake_setup {
	uv_loop_t *loop;
	const char *device;		/* borrowed until on_closed */
	const struct wg_config *config; /* borrowed until wg_handshake_close(), or until set_config() gave another */
	const struct addr *own;		/* the tunnel's local port, for wg_config_is_through(); borrowed like device */
	/* The first handshake through the tunnel since wg_handshake_start(). Also where there is none to wait for: no
	 * peer is reached through the tunnel, or one has a handshake that still holds. Once for each start. */
	void (*on_handshake)(void *owner);
	void (*on_closed)(void *owner);
	void *owner;
};

struct wg_handshake {
	struct wg_handshake_setup setup;
	uv_timer_t timer;
	int64_t *seen_s; /* latest handshake of each configured peer when the link came up; NULL: not waiting for one */
	size_t seen_count;
	uint64_t since_ms, poked_ms; /* uv_now(): start, and the last wg_handshake_poke_all() */
};

/* Opens the timer; cannot fail. */
void wg_handshake_open(struct wg_handshake *handshake, const struct wg_handshake_setup *setup);
void wg_handshake_close(struct wg_handshake *handshake);

/* The link is up and so is the device: poke the peers unless a handshake still holds, and wait for the first new one.
 * Begins anew where it was waiting already. A device that cannot be read is logged, and on_handshake does not come. */
void wg_handshake_start(struct wg_handshake *handshake);
void wg_handshake_stop(struct wg_handshake *handshake);

/* Another configuration, with other peers in another order. A wait under way begins anew. */
void wg_handshake_set_config(struct wg_handshake *handshake, const struct wg_config *config);

/* Begin a handshake with every peer now. Also needed when the device was down: WireGuard forgets its sessions then, and
 * the peers do not learn of it. Failures are logged at debug level: the peer was removed, or the device is gone. */
void wg_handshake_poke_all(struct wg_handshake *handshake);
