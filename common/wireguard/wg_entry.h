/* The settings that are to be sent for one peer: the unit of every change, by wireguard.c or by libnl-genl-3. */
#pragma once

#include "common/base/addr.h"
#include "common/base/prefix.h"
#include "common/wireguard/wg_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum wg_entry_flag {
	WG_ENTRY_REMOVE = 1,
	WG_ENTRY_REPLACE_ALLOWED_IPS = 2,
	WG_ENTRY_UPDATE_ONLY = 4, /* a peer that is not there is not created */
};

struct wg_entry {
	const uint8_t *public_key;
	unsigned flags;		      /* of enum wg_entry_flag */
	const uint8_t *preshared_key; /* NULL: stays; zeros: none from now on */
	const struct addr *endpoint;  /* NULL: stays */
	const uint16_t *keepalive_s;  /* NULL: stays */
	struct prefix *allowed_ips;   /* these are added; the one thing that an entry owns */
	size_t allowed_ip_count;
	bool takes_away;	      /* the allowed IPs instead of adding them; -EINVAL before Linux 6.16 */
};

/* All of a peer's configuration, its allowed IPs sorted, each once. The rest is borrowed from @peer and @endpoint
 * (family 0: none). Return: 0 (free with wg_entry_done()) or -ENOMEM. */
int wg_entry_from_config(const struct wg_config_peer *peer, const struct addr *endpoint, struct wg_entry *ret);
void wg_entry_done(struct wg_entry *entry);

/* Sort by prefix_compare(), as wg_entry_from_config() does, and drop repetitions. Return: how many are left. */
size_t wg_entry_sort_prefixes(struct prefix *prefixes, size_t count);

extern const uint8_t wg_entry_no_key[WG_CONFIG_KEY_LEN]; /* zeros: the kernel takes them for no key */
/* The key of the auxiliary peer that a revival needs for a moment (wg_device_repair.c). No private key fits it. */
extern const uint8_t wg_entry_witness_key[WG_CONFIG_KEY_LEN];
