/* See networks.h. Clients that have not joined yet are no peers of the device, but their networks count already. */
#include "server/networks.h"

#include <stdio.h>

size_t networks_list_own(const struct server_config *config, struct prefix ret[NETWORKS_OWN_MAX])
{
	size_t count = 0;

	for (size_t i = 0; i < config->wireguard.interface.address_count && count < NETWORKS_OWN_MAX; i++) {
		const struct prefix *prefix = &config->wireguard.interface.addresses[i].prefix;

		if (count == 0 || ret[0].addr.sa.sa_family != prefix->addr.sa.sa_family)
			ret[count++] = *prefix;
	}
	return count;
}

bool networks_hold(const struct prefix *networks, size_t count, const struct prefix *prefix)
{
	for (size_t i = 0; i < count; i++) {
		struct prefix network = prefix_network(&networks[i]);

		if (prefix_contains(&network, prefix))
			return true;
	}
	return false;
}

/* Return: the new count. @own_count: of the hub's own, which are the first. */
static size_t add_outer(struct prefix *ret, size_t count, size_t own_count, const struct prefix *prefix)
{
	if (count == NETWORKS_BEHIND_MAX || prefix->bits == 0 || networks_hold(ret, own_count, prefix))
		return count;
	for (size_t i = 0; i < count; i++)
		if (prefix_equal(&ret[i], prefix))
			return count;
	ret[count] = prefix_network(prefix);
	return count + 1;
}

size_t networks_list_behind(const struct server_config *config, struct prefix ret[NETWORKS_BEHIND_MAX])
{
	size_t own_count = networks_list_own(config, ret), count = own_count;

	for (size_t i = 0; i < own_count; i++)
		ret[i] = prefix_network(&ret[i]);
	for (size_t i = 0; i < config->wireguard.peer_count; i++)
		for (size_t j = 0; j < config->wireguard.peers[i].allowed_ip_count; j++)
			count = add_outer(ret, count, own_count, &config->wireguard.peers[i].allowed_ips[j].prefix);
	for (size_t i = 0; i < config->client_count; i++)
		for (size_t j = 0; j < config->clients[i].prefix_count; j++)
			count = add_outer(ret, count, own_count, &config->clients[i].prefixes[j]);
	return count;
}

void networks_format_behind(const struct server_config *config, char ret[NETWORKS_TEXT_MAX])
{
	struct prefix prefixes[NETWORKS_BEHIND_MAX];
	size_t count = networks_list_behind(config, prefixes), len = 0;
	char text[PREFIX_TEXT_MAX];

	ret[0] = '\0';
	for (size_t i = 0; i < count && len < NETWORKS_TEXT_MAX; i++)
		len += (size_t)snprintf(ret + len, NETWORKS_TEXT_MAX - len, "%s%s", i > 0 ? "," : "",
			prefix_format(text, sizeof(text), &prefixes[i]));
}
