/* One peer of a configuration, in the form in which it is sent to the kernel (wg_entry.h).
 *
 * The kernel treats allowed IPs as a set, so they are sorted here, and each stands once. That also makes two lists easy
 * to compare. Fails only without memory.
 */
#include "common/wireguard/wg_entry.h"

#include <errno.h>
#include <stdlib.h>

const uint8_t wg_entry_no_key[WG_CONFIG_KEY_LEN];
const uint8_t wg_entry_witness_key[WG_CONFIG_KEY_LEN] = {"Towpath: witness of one revival."};

size_t wg_entry_sort_prefixes(struct prefix *prefixes, size_t count)
{
	size_t kept = 0;

	if (count == 0)
		return 0;
	qsort(prefixes, count, sizeof(*prefixes), prefix_compare);
	for (size_t i = 0; i < count; i++)
		if (kept == 0 || prefix_compare(&prefixes[kept - 1], &prefixes[i]) != 0)
			prefixes[kept++] = prefixes[i];
	return kept;
}

int wg_entry_from_config(const struct wg_config_peer *peer, const struct addr *endpoint, struct wg_entry *ret)
{
	struct prefix *prefixes = calloc(peer->allowed_ip_count + 1, sizeof(*prefixes));

	if (!prefixes)
		return -ENOMEM;
	for (size_t i = 0; i < peer->allowed_ip_count; i++)
		prefixes[i] = peer->allowed_ips[i].prefix;
	*ret = (struct wg_entry){
		.public_key = peer->public_key,
		.preshared_key = peer->has_preshared_key ? peer->preshared_key : wg_entry_no_key,
		.endpoint = endpoint && endpoint->sa.sa_family != AF_UNSPEC ? endpoint : NULL,
		.keepalive_s = &peer->persistent_keepalive_s,
		.allowed_ips = prefixes,
		.allowed_ip_count = wg_entry_sort_prefixes(prefixes, peer->allowed_ip_count),
	};
	return 0;
}

void wg_entry_done(struct wg_entry *entry)
{
	free(entry->allowed_ips);
	*entry = (struct wg_entry){0};
}
