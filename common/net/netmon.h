/* Changes in this network namespace, as the kernel announces them: devices, addresses, routes, rules, nftables, and the
 * parameters forwarding and rp_filter. Changes of other parameters are not announced.
 *
 * Only the kind of a change is passed on: the listener then looks for itself. Events are gathered for NETMON_GATHER_MS
 * after the first. A socket that overflowed counts as a change of everything. Without privilege all but nftables is
 * heard. IPv4 routes that go because their device went down or away are not announced as routes: NETMON_LINK stands for
 * them too.
 */
#pragma once

#include "common/base/err.h"

#include <uv.h>

#define NETMON_GATHER_MS 20

enum netmon_kind {
	NETMON_LINK = 1,
	NETMON_ADDRESS = 2,
	NETMON_ROUTE = 4,
	NETMON_RULE = 8,
	NETMON_FIREWALL = 16,
	NETMON_PARAMETER = 32,
	NETMON_ALL = 63,
};

struct netmon;

/* @on_change: @kinds is a set of enum netmon_kind. Return: 0 or a negative errno. */
int netmon_open(struct netmon **ret, uv_loop_t *loop, void (*on_change)(void *owner, unsigned kinds), void *owner,
	struct err *err);
/* No call back any more; memory goes when the loop has let go of the handles. */
void netmon_close(struct netmon *netmon);
