/* Published services in the kernel: the connections of its table that belong to one, and the counters of our nftables
 * table. Each call is a question or a request on a socket of its own.
 */
#pragma once

#include "common/net/address.h"
#include "common/net/firewall.h"
#include "common/net/netlink.h"

#include <stddef.h>

/* Set the counts of each service to what its counters say. A service without counters keeps what it has: another program
 * has taken the table away. Return: 0 or a negative errno. */
int netfilter_read_counts(const char *table, struct firewall_service *services, size_t count, struct err *err);

/* @ret: for each service, how many connections are open. Return: 0 or a negative errno, -EINVAL where the kernel has no
 * nf_conntrack_netlink. */
int netfilter_count_open(const struct firewall_service *services, size_t count, size_t *ret, struct err *err);

/* The connections of @service end with the next packet of either side. Return: as above. */
int netfilter_end(const struct service *service, struct err *err);

/* The same for those that lead to this host instead, at one of its @own addresses: they were made while our table was not
 * there, and as long as a sender of UDP goes on, the kernel asks no rule again. */
int netfilter_end_astray(const struct firewall_service *services, size_t count, const struct net_address *own,
	size_t own_count, struct err *err);
