/* Find and read WireGuard devices, and configure a new one.
 *
 * Happy path of finding: list the names, read one device after the other, compare endpoints. A device that goes away
 * meanwhile is skipped; a kernel without WireGuard has none.
 */
#include "common/wireguard/wg_device.h"

#include "common/base/addr.h"
#include "common/wireguard/wg_library.h"

#include <errno.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

bool wg_device_kernel_has(void)
{
	struct wg_state state;
	int rc = wg_library_read("lo", &state, NULL);

	/* "lo" is never a WireGuard device: where the family is there, the refusal is about the device or about us. */
	if (rc == 0)
		wg_state_done(&state);
	return rc == 0 || rc == -EOPNOTSUPP || rc == -ENODEV || rc == -EPERM;
}

int wg_device_read(const char *name, struct wg_state *ret, struct err *err)
{
	int rc = wg_library_read(name, ret, NULL);

	if (rc == -EPROTONOSUPPORT || rc == -EOPNOTSUPP || rc == -EAFNOSUPPORT)
		rc = -ENODEV; /* no WireGuard in this kernel */
	return rc < 0 ? err_system(err, rc, "WireGuard device %s", name) : 0;
}

/* --- whose endpoint is ours --- */

static bool has_loopback_endpoint(const struct wg_state *state, uint16_t port)
{
	for (size_t i = 0; i < state->peer_count; i++) {
		const struct addr *endpoint = &state->peers[i].endpoint;

		if (addr_is_loopback(endpoint) && addr_port(endpoint) == port)
			return true;
	}
	return false;
}

/* Return: 1 it is the one, 0 it is not or it is gone, or a negative errno. */
static int try_device(const char *name, uint16_t port, char *ret_name, uint32_t *ret_fwmark, struct err *err)
{
	struct wg_state state;
	int rc = wg_device_read(name, &state, err);

	if (rc < 0)
		return rc == -ENODEV ? 0 : rc;
	if (has_loopback_endpoint(&state, port)) {
		memset(ret_name, 0, IFNAMSIZ);
		strncat(ret_name, name, IFNAMSIZ - 1);
		*ret_fwmark = state.fwmark;
		rc = 1;
	}
	wg_state_done(&state);
	return rc;
}

int wg_device_find_mark(uint16_t listen_port, char *ret_name, uint32_t *ret_fwmark, struct err *err)
{
	char *names = wg_library_list_names();
	bool is_found = false;
	int rc = 0;

	if (!names)
		return err_system(err, -errno, "list of WireGuard devices");
	for (const char *name = names; *name && rc >= 0 && !(is_found && *ret_fwmark != 0); name += strlen(name) + 1) {
		rc = try_device(name, listen_port, ret_name, ret_fwmark, err);
		is_found |= rc == 1;
	}
	free(names);
	return is_found ? 1 : rc;
}

/* --- a new device --- */

static void entries_free(struct wg_entry *entries, size_t count)
{
	for (size_t i = 0; i < count; i++)
		wg_entry_done(&entries[i]);
	free(entries);
}

/* Return: 0 (entries_free()) or -ENOMEM. */
static int entries_from_plan(const struct wg_device_setup *setup, struct wg_entry **ret, size_t *ret_count)
{
	const struct wg_config *config = setup->config;
	struct wg_entry *entries = calloc(config->peer_count + 1, sizeof(*entries));
	size_t count = 0;
	int rc = entries ? 0 : -ENOMEM;

	for (size_t i = 0; i < config->peer_count && rc == 0; i++) {
		if (!config->peers[i].has_public_key)
			continue;
		rc = wg_entry_from_config(&config->peers[i], &setup->endpoints[i], &entries[count]);
		count += rc == 0;
	}
	if (rc < 0) {
		entries_free(entries, count);
		return rc;
	}
	*ret = entries;
	*ret_count = count;
	return 0;
}

int wg_device_configure(const char *name, const struct wg_device_setup *setup, struct err *err)
{
	const struct wg_config_interface *interface = &setup->config->interface;
	const struct wg_library_settings settings = {
		.private_key = interface->has_private_key ? interface->private_key : wg_entry_no_key,
		.listen_port = &interface->listen_port,
		.fwmark = &setup->fwmark,
		.replaces_peers = true,
	};
	struct wg_entry *entries;
	size_t count;
	int rc = entries_from_plan(setup, &entries, &count);

	if (rc == 0) {
		rc = wg_library_set(name, &settings, entries, count);
		entries_free(entries, count);
	}
	if (rc == -EADDRINUSE)
		return err_system(err, rc, "WireGuard device %s: ListenPort %u", name, interface->listen_port);
	return rc < 0 ? err_system(err, rc, "WireGuard device %s", name) : 0;
}
