/* The state of a WireGuard device as the kernel tells it, plain data without secrets; wg_device_read() returns it. */
#pragma once

#include "common/base/addr.h"
#include "common/base/prefix.h"
#include "common/wireguard/wg_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wg_state_peer {
	uint8_t public_key[WG_CONFIG_KEY_LEN];
	bool has_preshared_key;
	struct addr endpoint;	    /* family 0: none */
	int64_t latest_handshake_s; /* since 1970; 0: none yet */
	uint64_t received_bytes, sent_bytes;
	uint16_t persistent_keepalive_s; /* 0: off */
	struct prefix *allowed_ips;
	size_t allowed_ip_count;
};

struct wg_state {
	int index;
	uint16_t listen_port;
	uint32_t fwmark; /* 0: none */
	uint8_t public_key[WG_CONFIG_KEY_LEN];
	bool has_key;
	struct wg_state_peer *peers;
	size_t peer_count;
};

/* Return: the peer with this key, or NULL. */
struct wg_state_peer *wg_state_find(const struct wg_state *state, const uint8_t public_key[WG_CONFIG_KEY_LEN]);

void wg_state_done(struct wg_state *state);
