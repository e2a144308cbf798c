/* Repairs of one peer that never create it.
 *
 * An endpoint and a keepalive are set by messages with UPDATE_ONLY. Reviving a peer means to remove it and to create it
 * again, and the kernel has no "create only if it was there". Whether it was there can be seen only by what its removal
 * leaves behind. Hence three steps:
 *
 * 1. Read the peer. Then one message, which is atomic: a second, auxiliary peer, the witness, gets a marker as allowed
 *    IP. The peer, if it is there, takes the marker over. The peer is removed, and the marker with it. The peer is
 *    created bare and locked: without allowed IPs, and with a random preshared key that is not kept.
 * 2. Read again. If the witness still has the marker, the peer was not there: remove the peer that was just created.
 * 3. Otherwise give the peer its settings back, with UPDATE_ONLY: if another program removes it meanwhile, it stays
 *    removed. Allowed IPs that another peer has got since then stay with that peer.
 *
 * So at no moment, not even after a crash in between, can a removed peer do anything. The witness is removed in any
 * case. One that a crash left behind is used by the next revival, and removed by the next sync. It has no private key.
 */
#include "common/base/secret.h"
#include "common/wireguard/wg_device.h"
#include "common/wireguard/wg_library.h"
#include "common/wireguard/wg_update.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

struct revival {
	const uint8_t *public_key;
	struct wg_update update;
	struct prefix marker;
};

static int send_entries(const char *name, const struct wg_entry *entries, size_t count, struct err *err)
{
	struct wg_update update;
	int rc = wg_update_open(&update, name, err);

	if (rc < 0)
		return err_wrap(err, rc, "WireGuard device %s", name);
	rc = wg_update_send(&update, entries, count);
	wg_update_close(&update);
	return rc < 0 ? err_system(err, rc, "WireGuard device %s", name) : 0;
}

int wg_device_set_endpoint(
	const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *endpoint, struct err *err)
{
	const struct wg_entry entry = {.public_key = public_key, .flags = WG_ENTRY_UPDATE_ONLY, .endpoint = endpoint};

	return send_entries(name, &entry, 1, err);
}

int wg_device_poke(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], uint16_t keepalive_s, struct err *err)
{
	/* The kernel sends at once when a peer without a keepalive gets one. */
	const uint16_t off = 0, on = keepalive_s ? keepalive_s : 1;
	const struct wg_entry entries[] = {
		{.public_key = public_key, .flags = WG_ENTRY_UPDATE_ONLY, .keepalive_s = &off},
		{.public_key = public_key, .flags = WG_ENTRY_UPDATE_ONLY, .keepalive_s = &on},
		{.public_key = public_key, .flags = WG_ENTRY_UPDATE_ONLY, .keepalive_s = &keepalive_s},
	};

	return send_entries(name, entries, sizeof(entries) / sizeof(entries[0]), err);
}

/* --- revive --- */

static bool has_prefix(const struct wg_state_peer *peer, const struct prefix *prefix)
{
	for (size_t i = 0; i < peer->allowed_ip_count; i++)
		if (prefix_compare(&peer->allowed_ips[i], prefix) == 0)
			return true;
	return false;
}

/* The marker: a random unique local address (RFC 4193) that no peer has. */
static int make_marker(struct prefix *ret)
{
	*ret = (struct prefix){.bits = 128};
	ret->addr.in6.sin6_family = AF_INET6;
	if (getrandom(&ret->addr.in6.sin6_addr, 16, 0) != 16)
		return -EIO;
	ret->addr.in6.sin6_addr.s6_addr[0] = 0xfd;
	return 0;
}

/* Step 1. */
static int replace_by_locked(struct revival *revival)
{
	uint8_t lock[WG_CONFIG_KEY_LEN];
	const struct wg_entry entries[] = {
		{
			.public_key = wg_entry_witness_key,
			.flags = WG_ENTRY_REPLACE_ALLOWED_IPS,
			.allowed_ips = &revival->marker,
			.allowed_ip_count = 1,
		},
		{
			.public_key = revival->public_key,
			.flags = WG_ENTRY_UPDATE_ONLY,
			.allowed_ips = &revival->marker,
			.allowed_ip_count = 1,
		},
		{.public_key = revival->public_key, .flags = WG_ENTRY_REMOVE},
		{.public_key = revival->public_key, .preshared_key = lock},
	};
	int rc;

	if (getrandom(lock, sizeof(lock), 0) != (ssize_t)sizeof(lock))
		return -EIO;
	rc = wg_update_send(&revival->update, entries, sizeof(entries) / sizeof(entries[0]));
	secret_wipe(lock, sizeof(lock));
	return rc;
}

static int remove_peers(struct revival *revival, bool also_revived)
{
	const struct wg_entry entries[] = {
		{.public_key = wg_entry_witness_key, .flags = WG_ENTRY_REMOVE},
		{.public_key = revival->public_key, .flags = WG_ENTRY_REMOVE},
	};

	return wg_update_send(&revival->update, entries, also_revived ? 2 : 1);
}

/* All allowed IPs of a device, sorted. Return: NULL without memory. */
static struct prefix *collect_allowed_ips(const struct wg_state *state, size_t *ret_count)
{
	struct prefix *all;
	size_t count = 0;

	for (size_t i = 0; i < state->peer_count; i++)
		count += state->peers[i].allowed_ip_count;
	all = calloc(count + 1, sizeof(*all));
	if (!all)
		return NULL;
	count = 0;
	for (size_t i = 0; i < state->peer_count; i++)
		for (size_t j = 0; j < state->peers[i].allowed_ip_count; j++)
			all[count++] = state->peers[i].allowed_ips[j];
	*ret_count = wg_entry_sort_prefixes(all, count);
	return all;
}

/* Remove those allowed IPs from @peer that another peer has by now. */
static int leave_to_others(struct wg_state_peer *peer, const struct wg_state *after)
{
	size_t taken_count, kept = 0;
	struct prefix *taken = collect_allowed_ips(after, &taken_count);

	if (!taken)
		return -ENOMEM;
	for (size_t i = 0; i < peer->allowed_ip_count; i++)
		if (!bsearch(&peer->allowed_ips[i], taken, taken_count, sizeof(*taken), prefix_compare))
			peer->allowed_ips[kept++] = peer->allowed_ips[i];
	peer->allowed_ip_count = kept;
	free(taken);
	return 0;
}

/* Step 3. */
static int give_back(struct revival *revival, const struct wg_state_peer *peer, const uint8_t *preshared_key)
{
	const struct wg_entry entry = {
		.public_key = revival->public_key,
		.preshared_key = preshared_key,
		.endpoint = peer->endpoint.sa.sa_family != AF_UNSPEC ? &peer->endpoint : NULL,
		.keepalive_s = &peer->persistent_keepalive_s,
		.allowed_ips = peer->allowed_ips,
		.allowed_ip_count = peer->allowed_ip_count,
	};

	return wg_update_peer(&revival->update, &entry);
}

/* All three steps, for a peer that was there when it was read. Return: 1: done, 0: it was gone after all, or a negative
 * errno. */
static int revive(struct revival *revival, const char *name, struct wg_state_peer *peer, const uint8_t *preshared_key)
{
	const struct wg_state_peer *witness;
	struct wg_state after;
	bool revives;
	int rc = replace_by_locked(revival);

	if (rc == 0)
		rc = wg_library_read(name, &after, NULL);
	if (rc < 0) {
		remove_peers(revival, true);
		return rc;
	}
	/* The question of step 2. If the witness is gone it is not known whether the peer was there, and the peer stays
	 * removed. */
	witness = wg_state_find(&after, wg_entry_witness_key);
	revives = witness && !has_prefix(witness, &revival->marker);
	if (revives)
		rc = leave_to_others(peer, &after);
	if (revives && rc == 0)
		rc = give_back(revival, peer, preshared_key);
	wg_state_done(&after);
	if (rc < 0) {
		remove_peers(revival, true);
		return rc;
	}
	rc = remove_peers(revival, !revives);
	return rc < 0 ? rc : revives;
}

int wg_device_revive_peer(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], struct err *err)
{
	struct revival revival = {.public_key = public_key};
	struct wg_state before;
	struct wg_library_keys keys;
	struct wg_state_peer *peer;
	int rc = wg_update_open(&revival.update, name, err);

	if (rc < 0)
		return err_wrap(err, rc, "WireGuard device %s", name);
	rc = make_marker(&revival.marker);
	if (rc == 0)
		rc = wg_library_read(name, &before, &keys);
	if (rc == 0) {
		peer = wg_state_find(&before, public_key);
		if (peer)
			rc = revive(&revival, name, peer, keys.preshared_keys[peer - before.peers]);
		wg_library_keys_done(&keys);
		wg_state_done(&before);
	}
	wg_update_close(&revival.update);
	return rc < 0 ? err_system(err, rc, "WireGuard device %s", name) : rc;
}
