/* The check for overlaps (overlap.h): each address of this host against each network that goes into the tunnel by the
 * main table. A full tunnel has a table of its own, and the main table's networks go first there: nothing overlaps.
 */
#include "common/host/overlap.h"

#include "common/base/log.h"
#include "common/net/address.h"
#include "common/net/link.h"

#include <netinet/in.h>
#include <stdlib.h>

/* True for an address that shares its network with other hosts. One that is all of its network, and one that every
 * link has, overlap with nothing. */
static bool is_of_a_network(const struct net_address *address, int device)
{
	const struct addr *addr = &address->prefix.addr;
	bool is_ipv6 = addr->sa.sa_family == AF_INET6;

	return address->index != device && address->prefix.bits < (is_ipv6 ? 128 : 32) && !addr_is_loopback(addr) &&
	       !(is_ipv6 && IN6_IS_ADDR_LINKLOCAL(&addr->in6.sin6_addr));
}

/* Return: false if @change sends nothing into the tunnel by the main table. */
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

/* @ret: the first network of the plan that holds @network or lies in it. One warning a network is enough. */
static bool find_overlap(const struct plan *plan, const struct prefix *network, struct prefix *ret)
{
	for (size_t i = 0; i < plan->count; i++)
		if (get_destination(&plan->changes[i], ret) &&
			(prefix_contains(ret, network) || prefix_contains(network, ret)))
			return true;
	return false;
}

/* The longer prefix wins in the kernel, so the two cases lose different hosts. A device that is gone by now needs no
 * word. */
static void tell_overlap(struct applied *applied, const struct net_address *address, const struct prefix *to)
{
	struct prefix network = prefix_network(&address->prefix);
	char network_text[PREFIX_TEXT_MAX], to_text[PREFIX_TEXT_MAX];
	struct net_link link;
	struct err ignored;

	if (net_link_get(&applied->netlink, address->index, &link, &ignored) < 0)
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
			"on one of the two sides help",
			network_text, link.name, to_text);
}

/* By device and network, since the same network on two devices is two mistakes. */
static bool is_among(const struct net_address *list, size_t count, const struct net_address *address)
{
	for (size_t i = 0; i < count; i++)
		if (list[i].index == address->index && prefix_equal(&list[i].prefix, &address->prefix))
			return true;
	return false;
}

void overlap_check(struct overlap *overlap, struct applied *applied)
{
	struct net_address *addresses;
	size_t count, kept = 0;

	if (net_address_list(&applied->netlink, &addresses, &count, NULL) < 0)
		return;
	/* Those that overlap move to the front and are kept: a network that goes and comes is told again. */
	for (size_t i = 0; i < count; i++) {
		struct prefix network = prefix_network(&addresses[i].prefix), to;

		if (!is_of_a_network(&addresses[i], applied->index) || is_among(addresses, kept, &addresses[i]) ||
			!find_overlap(&applied->plan, &network, &to))
			continue;
		if (!is_among(overlap->told, overlap->count, &addresses[i]))
			tell_overlap(applied, &addresses[i], &to);
		addresses[kept++] = addresses[i];
	}
	overlap_done(overlap);
	*overlap = (struct overlap){addresses, kept};
}

void overlap_done(struct overlap *overlap)
{
	free(overlap->told);
	*overlap = (struct overlap){NULL, 0};
}
