/* Networks that this host is in itself and that the tunnel's routes want as well: a hotel with the addresses of the LAN
 * at home.
 *
 * Two routes that would be the same are refused (check.h). Where the metric or the length differs, or where the host
 * comes into such a network later, both stand and one of them wins. Only a warning follows, once for each network;
 * nothing is changed.
 */
#pragma once

#include "common/host/applied.h"
#include "common/net/address.h"

/* Embedded in the repair; zero-initialised. */
struct overlap {
	struct net_address *told;
	size_t count;
};

/* Warn of the networks that overlap now and were not told of by the last check. Where netlink fails it does nothing. */
void overlap_check(struct overlap *overlap, struct applied *applied);
void overlap_done(struct overlap *overlap);
