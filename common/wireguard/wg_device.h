/* WireGuard devices of this network namespace: read, configured and repaired, through wireguard.c (wg_library.h).
 *
 * Called by the supervisor at set-up, reload and repair; every call opens netlink sockets of its own and waits for the
 * kernel's answer, which takes less than a millisecond. Not for the worker. Makes and deletes no device (net/link.h).
 *
 * A repair never creates a peer: its messages carry WGPEER_F_UPDATE_ONLY, which wireguard.c cannot express, so they go
 * through libnl-genl-3. Keys are wiped from all memory that they passed through.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/wireguard/wg_config.h"
#include "common/wireguard/wg_state.h"

#include <stdbool.h>
#include <stdint.h>

/* True if the kernel has WireGuard. Asking loads its module, if there is one. Needs no privilege. */
bool wg_device_kernel_has(void);

/**
 * wg_device_find_mark() - Find the device whose peer has a local port of ours as endpoint
 * @listen_port: our port, host order
 * @ret_name: room for IFNAMSIZ characters: the device
 * @ret_fwmark: its mark, 0: none
 *
 * A peer matches if its endpoint is a loopback address with that port. If several devices match, one with a mark is
 * taken, because without the mark its full tunnel would loop. Reading a device needs CAP_NET_ADMIN: without it the
 * result is -EPERM as soon as there is a device. Return: 1: found, 0: none, or a kernel without WireGuard, or a
 * negative errno.
 */
int wg_device_find_mark(uint16_t listen_port, char *ret_name, uint32_t *ret_fwmark, struct err *err);

/* --- configure --- */

struct wg_device_setup {
	const struct wg_config *config;
	uint32_t fwmark; /* 0: none; instead of the configuration's */
	/* For each of the configuration's peers its endpoint; family 0: none, or it stays as it is. */
	const struct addr *endpoints;
	/* For wg_device_sync(): these stay as they are, whatever the configuration says. */
	bool keeps_private_key, keeps_listen_port;
};

/* A new device: key, port, mark, and just these peers, as `wg setconf`. A peer without a PublicKey is passed over.
 * Return: 0, -EADDRINUSE (ListenPort), or another negative errno. */
int wg_device_configure(const char *name, const struct wg_device_setup *setup, struct err *err);

/* Does the same as `wg syncconf`, except that peers of other programs stay: a peer that @before had (NULL: none is
 * known) and the configuration has no longer is removed, new ones are created, and changed allowed IPs, keepalives and
 * preshared keys of the configuration's other peers are set. An endpoint is set only where it is given and differs from
 * @before (NULL: never). Peers that need no change are not touched. Return: 0, or a negative errno; then no peer is
 * new, but some may be removed or changed. */
int wg_device_sync(
	const char *name, const struct wg_device_setup *setup, const struct wg_config *before, struct err *err);

/* --- repair: never creates a peer --- */

/* Return: 0, also where there is no such peer; or a negative errno. */
int wg_device_set_endpoint(
	const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *endpoint, struct err *err);

/* Make WireGuard begin a handshake now, unless one is under way: the keepalive is set to a second and then to
 * @keepalive_s again, which makes it send. Return: as above. */
int wg_device_poke(
	const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], uint16_t keepalive_s, struct err *err);

/**
 * wg_device_revive_peer() - Remove a peer and add it again as it was, so that it takes initiations of any time
 *
 * If another program removes the peer between the read and the message, it stays removed; wg_device_repair.c explains
 * how that is known. The peer's session is lost, nothing else. Return: 1: done, 0: there is no such peer, or a negative
 * errno.
 */
int wg_device_revive_peer(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], struct err *err);

/* Add allowed IPs to what a peer has; another peer of the device that has one of them loses it. @prefixes: bits behind
 * the length are 0. Return: 0, also where there is no such peer; or a negative errno. */
int wg_device_add_allowed_ips(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], struct prefix *prefixes,
	size_t count, struct err *err);

/* Take allowed IPs from a peer, those that it has. Before Linux 6.16 the rest is set anew for that, so what another
 * program adds in this very moment may be lost. Return: as above. */
int wg_device_take_allowed_ips(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], struct prefix *prefixes,
	size_t count, struct err *err);

/* --- read --- */

/* Without private and preshared keys. Return: 0 (wg_state_done() it), -ENODEV (no such device, or not
 * WireGuard's), or another negative errno. */
int wg_device_read(const char *name, struct wg_state *ret, struct err *err);
