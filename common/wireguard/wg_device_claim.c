/* Allowed IPs of one peer on a device that another program rules: more of them, or fewer.
 *
 * Each change is one message with UPDATE_ONLY, so it finds the peer or does nothing. A kernel that cannot take one
 * allowed IP away (before Linux 6.16) refuses the message whole. Then the peer is read, and gets the rest of its
 * allowed IPs instead of all.
 */
#include "common/wireguard/wg_device.h"
#include "common/wireguard/wg_library.h"
#include "common/wireguard/wg_update.h"

#include <errno.h>

int wg_device_add_allowed_ips(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], struct prefix *prefixes,
	size_t count, struct err *err)
{
	const struct wg_entry entry = {.public_key = public_key, .allowed_ips = prefixes, .allowed_ip_count = count};
	struct wg_update update;
	int rc = wg_update_open(&update, name, err);

	if (rc < 0)
		return err_wrap(err, rc, "WireGuard device %s", name);
	rc = wg_update_peer(&update, &entry);
	wg_update_close(&update);
	return rc < 0 ? err_system(err, rc, "WireGuard device %s", name) : 0;
}

static bool is_among(const struct prefix *prefixes, size_t count, const struct prefix *one)
{
	for (size_t i = 0; i < count; i++)
		if (prefix_equal(&prefixes[i], one))
			return true;
	return false;
}

static int set_the_rest(struct wg_update *update, const char *name, const struct wg_entry *entry)
{
	struct wg_entry rest = {.public_key = entry->public_key, .flags = WG_ENTRY_REPLACE_ALLOWED_IPS};
	struct wg_state state;
	struct wg_state_peer *peer;
	int rc = wg_library_read(name, &state, NULL);

	if (rc < 0)
		return rc;
	peer = wg_state_find(&state, entry->public_key);
	if (peer) {
		rest.allowed_ips = peer->allowed_ips;
		for (size_t i = 0; i < peer->allowed_ip_count; i++)
			if (!is_among(entry->allowed_ips, entry->allowed_ip_count, &peer->allowed_ips[i]))
				rest.allowed_ips[rest.allowed_ip_count++] = peer->allowed_ips[i];
		if (rest.allowed_ip_count < peer->allowed_ip_count)
			rc = wg_update_peer(update, &rest);
	}
	wg_state_done(&state);
	return rc;
}

int wg_device_take_allowed_ips(const char *name, const uint8_t public_key[WG_CONFIG_KEY_LEN], struct prefix *prefixes,
	size_t count, struct err *err)
{
	const struct wg_entry entry = {
		.public_key = public_key, .allowed_ips = prefixes, .allowed_ip_count = count, .takes_away = true};
	struct wg_update update;
	int rc = wg_update_open(&update, name, err);

	if (rc < 0)
		return err_wrap(err, rc, "WireGuard device %s", name);
	rc = wg_update_peer(&update, &entry);
	if (rc == -EINVAL)
		rc = set_the_rest(&update, name, &entry);
	wg_update_close(&update);
	return rc < 0 ? err_system(err, rc, "WireGuard device %s", name) : 0;
}
