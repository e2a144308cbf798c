/* wireguard.c, the embeddable library of WireGuard's authors, behind plain data. wg_library.c is its only user.
 *
 * Used by wg_device only. Messages that wireguard.c cannot express (WGPEER_F_UPDATE_ONLY) go through wg_update.h.
 */
#pragma once

#include "common/wireguard/wg_entry.h"
#include "common/wireguard/wg_state.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* The secrets of a device, in the order of its peers. */
struct wg_library_keys {
	uint8_t private_key[WG_CONFIG_KEY_LEN]; /* zeros: none */
	uint8_t (*preshared_keys)[WG_CONFIG_KEY_LEN];
	size_t count;
};

void wg_library_keys_done(struct wg_library_keys *keys); /* wipes them */

/* @ret_keys: NULL: not wanted. Return: 0 (wg_state_done(), wg_library_keys_done()), or wireguard.c's errno. */
int wg_library_read(const char *name, struct wg_state *ret, struct wg_library_keys *ret_keys);

/* Return: the names, each with its terminator, one more terminator at the end (free()); or NULL with errno. */
char *wg_library_list_names(void);

/* Settings of the device itself. */
struct wg_library_settings {
	const uint8_t *private_key;  /* NULL: stays; zeros: none from now on */
	const uint16_t *listen_port; /* NULL: stays */
	const uint32_t *fwmark;	     /* NULL: stays */
	bool replaces_peers;
};

/* Send the settings in as many messages as needed: not atomic, without UPDATE_ONLY entries. Return: 0 or a negative
 * errno. */
int wg_library_set(
	const char *name, const struct wg_library_settings *settings, const struct wg_entry *entries, size_t count);

/* wireguard.c is compiled to call these instead of recvmsg() and free(), see wg_library.c. */
ssize_t wg_library_recvmsg(int fd, struct msghdr *message, int flags);
void wg_library_free(void *memory);
