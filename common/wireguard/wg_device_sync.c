/* Bring a running device to another configuration, touching nothing that stays.
 *
 * Happy path: read the device with its keys, and find each peer's counterpart by its public key. One call removes the
 * peers that go, creates those that come and sets the device's own values. Then each peer that stays gets its changes,
 * if any.
 *
 * A peer that no configuration had was made by another program, a hook for example, and stays: only what the one before
 * had goes. So a failed sync must leave no peer of its own behind, because the next one would take it for such a peer.
 *
 * Messages to a peer that stays are UPDATE_ONLY: a peer that another program removed after the read is not created
 * again with half of its settings (for example without its preshared key). An allowed IP ends with the peer that the
 * configuration gives it to, whatever the order of the messages: adding it takes it from the peer that has it, and
 * removing it touches only the peer's own.
 */
#include "common/base/secret.h"
#include "common/wireguard/wg_device.h"
#include "common/wireguard/wg_library.h"
#include "common/wireguard/wg_update.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The index of a public key in an array of peers. */
struct place {
	const uint8_t *public_key;
	size_t at;
};

struct index {
	struct place *places; /* sorted */
	size_t count;
};

struct sync {
	const struct wg_device_setup *setup;
	const struct wg_config *before;
	struct wg_state state;
	struct wg_library_keys keys;
	struct index in_state, in_plan, in_before;
};

/* --- the index of peers by key --- */

static int compare_places(const void *a, const void *b)
{
	return memcmp(((const struct place *)a)->public_key, ((const struct place *)b)->public_key, WG_CONFIG_KEY_LEN);
}

static const size_t *find(const struct index *index, const uint8_t *public_key)
{
	const struct place wanted = {.public_key = public_key}, *found = NULL;

	if (index->count > 0)
		found = bsearch(&wanted, index->places, index->count, sizeof(wanted), compare_places);
	return found ? &found->at : NULL;
}

static int index_config(struct index *ret, const struct wg_config *config)
{
	size_t peer_count = config ? config->peer_count : 0;

	ret->places = calloc(peer_count + 1, sizeof(*ret->places));
	if (!ret->places)
		return -ENOMEM;
	for (size_t i = 0; i < peer_count; i++)
		if (config->peers[i].has_public_key)
			ret->places[ret->count++] = (struct place){config->peers[i].public_key, i};
	qsort(ret->places, ret->count, sizeof(*ret->places), compare_places);
	return 0;
}

static int index_state(struct index *ret, const struct wg_state *state)
{
	ret->places = calloc(state->peer_count + 1, sizeof(*ret->places));
	if (!ret->places)
		return -ENOMEM;
	for (size_t i = 0; i < state->peer_count; i++)
		ret->places[ret->count++] = (struct place){state->peers[i].public_key, i};
	qsort(ret->places, ret->count, sizeof(*ret->places), compare_places);
	return 0;
}

/* --- the device itself, and peers that come and go --- */

static bool is_private_key(const struct sync *sync, const struct wg_config_interface *interface)
{
	uint8_t wanted[WG_CONFIG_KEY_LEN];
	bool same;

	if (!interface->has_private_key)
		return !sync->state.has_key;
	memcpy(wanted, interface->private_key, sizeof(wanted));
	/* the kernel keeps it clamped, RFC 7748, 5 */
	wanted[0] &= 248;
	wanted[31] = (wanted[31] & 127) | 64;
	same = sync->state.has_key && secret_equal(wanted, sync->keys.private_key, sizeof(wanted));
	secret_wipe(wanted, sizeof(wanted));
	return same;
}

static struct wg_library_settings changed_settings(const struct sync *sync)
{
	const struct wg_config_interface *interface = &sync->setup->config->interface;
	struct wg_library_settings settings = {0};

	if (!sync->setup->keeps_private_key && !is_private_key(sync, interface))
		settings.private_key = interface->has_private_key ? interface->private_key : wg_entry_no_key;
	/* Any port: the one it has. */
	if (!sync->setup->keeps_listen_port && interface->listen_port != 0 &&
		interface->listen_port != sync->state.listen_port)
		settings.listen_port = &interface->listen_port;
	if (sync->setup->fwmark != sync->state.fwmark)
		settings.fwmark = &sync->setup->fwmark;
	return settings;
}

static size_t collect_leaving(const struct sync *sync, struct wg_entry *entries)
{
	size_t count = 0;

	for (size_t i = 0; i < sync->state.peer_count; i++) {
		const uint8_t *key = sync->state.peers[i].public_key;

		if (!find(&sync->in_plan, key) &&
			(find(&sync->in_before, key) || memcmp(key, wg_entry_witness_key, WG_CONFIG_KEY_LEN) == 0))
			entries[count++] = (struct wg_entry){.public_key = key, .flags = WG_ENTRY_REMOVE};
	}
	return count;
}

static int collect_coming(const struct sync *sync, struct wg_entry *entries, size_t *count)
{
	const struct wg_config *config = sync->setup->config;
	int rc = 0;

	for (size_t i = 0; i < config->peer_count && rc == 0; i++) {
		const struct wg_config_peer *peer = &config->peers[i];

		if (!peer->has_public_key || find(&sync->in_state, peer->public_key))
			continue;
		rc = wg_entry_from_config(peer, &sync->setup->endpoints[i], &entries[*count]);
		*count += rc == 0;
	}
	return rc;
}

static int set_device(const char *name, const struct sync *sync)
{
	const struct wg_library_settings settings = changed_settings(sync);
	struct wg_entry *entries =
		calloc(sync->state.peer_count + sync->setup->config->peer_count + 1, sizeof(*entries));
	size_t count;
	int rc;

	if (!entries)
		return -ENOMEM;
	count = collect_leaving(sync, entries);
	rc = collect_coming(sync, entries, &count);
	if (rc == 0 && (count > 0 || settings.private_key || settings.listen_port || settings.fwmark))
		rc = wg_library_set(name, &settings, entries, count);
	for (size_t i = 0; i < count; i++)
		wg_entry_done(&entries[i]);
	free(entries);
	return rc;
}

/* After a failure. Peers that it had removed stay so: one of them may be a client that was revoked. */
static void remove_come(const char *name, const struct sync *sync)
{
	const struct wg_library_settings settings = {0};
	const struct wg_config *config = sync->setup->config;

	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_entry entry = {.public_key = config->peers[i].public_key, .flags = WG_ENTRY_REMOVE};

		if (config->peers[i].has_public_key && !find(&sync->in_state, entry.public_key))
			wg_library_set(name, &settings, &entry, 1);
	}
}

/* --- peers that stay --- */

/* True if the configuration from before had another endpoint for this peer, or had no such peer. */
static bool is_endpoint_new(const struct sync *sync, const struct wg_config_peer *peer)
{
	const size_t *at = find(&sync->in_before, peer->public_key);
	const char *before = at ? sync->before->peers[*at].endpoint : NULL;

	if (!at || !before || !peer->endpoint)
		return !at || before != peer->endpoint;
	return strcmp(before, peer->endpoint) != 0;
}

/* Reduce @entry's allowed IPs to what must be sent so that the peer has exactly them: nothing, all of them to be added,
 * or all of them in place of the present ones. */
static void compare_allowed_ips(struct wg_entry *entry, struct wg_state_peer *now)
{
	size_t common = 0;

	now->allowed_ip_count = wg_entry_sort_prefixes(now->allowed_ips, now->allowed_ip_count);
	for (size_t i = 0; i < now->allowed_ip_count && entry->allowed_ip_count > 0; i++)
		if (bsearch(&now->allowed_ips[i], entry->allowed_ips, entry->allowed_ip_count,
			    sizeof(*entry->allowed_ips), prefix_compare))
			common++;
	if (common < now->allowed_ip_count)
		entry->flags |= WG_ENTRY_REPLACE_ALLOWED_IPS;
	else if (common == entry->allowed_ip_count)
		entry->allowed_ip_count = 0;
}

static int update_peer(struct sync *sync, struct wg_update *update, size_t in_plan, size_t in_state)
{
	const struct wg_config_peer *peer = &sync->setup->config->peers[in_plan];
	struct wg_state_peer *now = &sync->state.peers[in_state];
	struct wg_entry entry;
	int rc = wg_entry_from_config(peer, &sync->setup->endpoints[in_plan], &entry);

	if (rc < 0)
		return rc;
	if (secret_equal(entry.preshared_key, sync->keys.preshared_keys[in_state], WG_CONFIG_KEY_LEN))
		entry.preshared_key = NULL;
	if (*entry.keepalive_s == now->persistent_keepalive_s)
		entry.keepalive_s = NULL;
	if (entry.endpoint &&
		(!sync->before || !is_endpoint_new(sync, peer) || addr_equal(entry.endpoint, &now->endpoint)))
		entry.endpoint = NULL;
	compare_allowed_ips(&entry, now);
	if (entry.preshared_key || entry.keepalive_s || entry.endpoint || entry.flags || entry.allowed_ip_count > 0)
		rc = wg_update_peer(update, &entry);
	wg_entry_done(&entry);
	return rc;
}

static int update_peers(const char *name, struct sync *sync)
{
	const struct wg_config *config = sync->setup->config;
	struct wg_update update;
	int rc = wg_update_open(&update, name, NULL);

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < config->peer_count && rc == 0; i++) {
		const size_t *at =
			config->peers[i].has_public_key ? find(&sync->in_state, config->peers[i].public_key) : NULL;

		if (at)
			rc = update_peer(sync, &update, i, *at);
	}
	wg_update_close(&update);
	return rc;
}

/* --- the whole --- */

int wg_device_sync(
	const char *name, const struct wg_device_setup *setup, const struct wg_config *before, struct err *err)
{
	struct sync sync = {.setup = setup, .before = before};
	int rc = wg_library_read(name, &sync.state, &sync.keys);

	if (rc < 0)
		return err_system(err, rc, "WireGuard device %s", name);
	rc = index_state(&sync.in_state, &sync.state);
	if (rc == 0)
		rc = index_config(&sync.in_plan, setup->config);
	if (rc == 0)
		rc = index_config(&sync.in_before, before);
	if (rc == 0) {
		rc = set_device(name, &sync);
		if (rc == 0)
			rc = update_peers(name, &sync);
		if (rc < 0)
			remove_come(name, &sync);
	}
	free(sync.in_state.places);
	free(sync.in_plan.places);
	free(sync.in_before.places);
	wg_library_keys_done(&sync.keys);
	wg_state_done(&sync.state);
	return rc < 0 ? err_system(err, rc, "WireGuard device %s", name) : 0;
}
