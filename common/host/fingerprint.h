/* Settings of the device that only a restart can change, as they were at bring-up.
 *
 * A reload compares the new configuration with these prints and names the keys that differ. The configuration itself
 * cannot be kept for that: the caller of host_reload() frees it. Plain data, no descriptor, no call to the kernel;
 * embedded.
 */
#pragma once

#include "common/wireguard/wg_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fingerprint_key {
	FINGERPRINT_PRIVATE_KEY,
	FINGERPRINT_LISTEN_PORT,
	FINGERPRINT_FWMARK,
	FINGERPRINT_ADDRESS,
	FINGERPRINT_MTU,
	FINGERPRINT_TABLE,
	FINGERPRINT_DNS,
	FINGERPRINT_UP_HOOKS, /* PreDown and PostDown need no restart: the newest run when the device goes down */
	FINGERPRINT_COUNT,
};

struct fingerprint {
	uint64_t prints[FINGERPRINT_COUNT];
	struct wg_config_interface routing; /* only Table, in numbers; its pointers are NULL */
	bool is_full[2];		    /* a full tunnel, IPv4 and IPv6 */
};

/* @is_full: of full_tunnel.h. */
void fingerprint_take(struct fingerprint *ret, const struct wg_config *config, const bool is_full[2]);

/* True if @config says the same for @key. */
bool fingerprint_is_same(
	const struct fingerprint *then, enum fingerprint_key key, const struct wg_config_interface *interface);

/* @config's peers with the Table of then. Routes follow the old Table until the restart. Borrows @config's peers. */
struct wg_config fingerprint_route(const struct fingerprint *then, const struct wg_config *config);

/* Name the keys that need a restart: "Address, MTU"; "" for none. @is_full: with the Table of then, so that a new Table
 * alone is one change and not three. @ret: @size bytes. */
void fingerprint_name_changes(const struct fingerprint *then, const struct wg_config *config, const bool is_full[2],
	char *ret, size_t size);
