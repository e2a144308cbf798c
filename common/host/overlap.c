/* Networks that this host is in itself and that the tunnel's routes want, too: a hotel with the addresses of the LAN at home.
 *
 * Two routes that would be the same are refused (check.h). Where the other's metric or length differs, or the host comes into
 * such a network later, both stand, and one of them wins: which is told, once for each network. Nothing is changed.
 */
#include "common/host/host_internal.h"

#include "common/base/log.h"
#include "common/net/address.h"
#include "common/net/link.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

static bool is_link_local(const struct addr *addr)
{
	return addr->sa.sa_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&addr->in6.sin6_addr);
}

/* An address that is all of its network is of this host alone. */
static bool is_of_a_network(const struct host *host, const struct net_address *address)
{
	const struct addr *addr = &address->prefix.addr;

	return address->index != host->index && address->prefix.bits < (addr->sa.sa_family == AF_INET6 ? 128 : 32) &&
	       !addr_is_loopback(addr) && !is_link_local(addr);
}

/* Return: false: @change sends nothing into the tunnel by the main table. */
static bool get_destination(const struct change *change, struct prefix *ret)
{
	if (change->kind == CHANGE_ADDRESS)
		*ret = prefix_network(&change->address);
	else if (change->kind == CHANGE_ROUTE && change->route.table == NET_ROUTE_TABLE_MAIN)
		*ret = prefix_network(&change->route.to);
	else
		return false;
	return change->is_made && ret->bits > 0;
}

static bool find_overlap(const struct host *host, const struct prefix *network, struct prefix *ret)
{
	for (size_t i = 0; i < host->plan.count; i++)
		if (get_destination(&host->plan.changes[i], ret) &&
			(prefix_contains(ret, network) || prefix_contains(network, ret)))
			return true;
	return false;
}

static void tell(struct host *host, const struct net_address *address, const struct prefix *to)
{
	struct prefix network = prefix_network(&address->prefix);
	char network_text[PREFIX_TEXT_MAX], to_text[PREFIX_TEXT_MAX];
	struct net_link link;
	struct err ignored;

	if (net_link_get(&host->netlink, address->index, &link, &ignored) < 0)
		return;
	prefix_format(network_text, sizeof(network_text), &network);
	prefix_format(to_text, sizeof(to_text), to);
	if (prefix_contains(&network, to))
		log_warning("route",
			"%s goes into the tunnel, also where a host of %s's own network %s is meant; single hosts in "
			"AllowedIPs take less, other addresses on one of the two sides help",
			to_text, link.name, network_text);
	else
		log_warning("route",
			"%s is %s's own network and does not go into the tunnel with the rest of %s; other addresses "
			"on one "
			"of the two sides help",
			network_text, link.name, to_text);
}

static bool is_among(const struct net_address *list, size_t count, const struct net_address *address)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].index == address->index && prefix_equal(&list[i].prefix, &address->prefix))
			return true;
	return false;
}

void overlap_look(struct host *host)
{
	struct net_address *addresses;
	size_t count, kept = 0;

	if (net_address_list(&host->netlink, &addresses, &count, NULL) < 0)
		return;
	for (size_t i = 0; i < count; i++) {
		struct prefix network = prefix_network(&addresses[i].prefix), to;

		if (!is_of_a_network(host, &addresses[i]) || is_among(addresses, kept, &addresses[i]) ||
			!find_overlap(host, &network, &to))
			continue;
		if (!is_among(host->overlaps, host->overlap_count, &addresses[i]))
			tell(host, &addresses[i], &to);
		addresses[kept++] = addresses[i];
	}
	free(host->overlaps);
	host->overlaps = addresses;
	host->overlap_count = kept;
}
