/* Changes to the peers of a device, message by message through libnl-genl-3, because wireguard.c cannot express them.
 *
 * A message is atomic: no message of another program comes in between. It may forbid that a peer is created
 * (WG_ENTRY_UPDATE_ONLY). Used by wg_device only.
 */
#pragma once

#include "common/base/err.h"
#include "common/wireguard/wg_entry.h"

#include <stddef.h>

/* The kernel answers before send() returns. An answer that takes this long never comes: -ETIMEDOUT. */
#define WG_UPDATE_ANSWER_S 5

struct nl_sock;

struct wg_update {
	struct nl_sock *socket;
	int family;
	const char *device; /* borrowed */
	int refusal;	    /* the kernel's negative errno, while an answer is read */
};

/* Return: 0, -EPROTONOSUPPORT (no WireGuard in the kernel), or another negative errno. */
int wg_update_open(struct wg_update *update, const char *device, struct err *err);
void wg_update_close(struct wg_update *update);

/* All of @entries in one message, taken by the kernel in their order. Return: 0; -E2BIG, nothing sent, where they do
 * not fit a message (64 KiB); or the kernel's negative errno: entries before the refused one stand. */
int wg_update_send(struct wg_update *update, const struct wg_entry *entries, size_t count);

/* One peer that is there, in as many messages as its allowed IPs need; a peer that is not there is no error. */
int wg_update_peer(struct wg_update *update, const struct wg_entry *entry);
