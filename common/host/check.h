/* What only the host can tell before anything is changed: names, addresses, tables and ports that are taken, no privilege, no
 * WireGuard. Each refusal is one line: FILE:LINE, what is taken and by whom, what helps. Exit code 1.
 */
#ifndef TOWPATH_HOST_CHECK_H
#define TOWPATH_HOST_CHECK_H

#include "common/host/host_setup.h"
#include "common/host/plan.h"
#include "common/net/netlink.h"

/* The first of all: may we make a device, and does the kernel have WireGuard? Also for a caller who does other things that need
 * privilege before: the complaint is about the device then. @path: of the file with [Interface]. Return: 0, -EPERM or
 * -EOPNOTSUPP with @err set. */
int check_capable(const char *path, const struct wg_config *wireguard, struct err *err);

/* After the clean-up of what a crash left. Return: 0 or a negative errno with @err set; the first refusal only. */
int check_host(struct netlink *netlink, const struct host_setup *setup, struct err *err);

/* Before a reload: may the routes be made that are not among @had? @index: of our device. Return: as above. */
int check_new_routes(struct netlink *netlink, const struct host_setup *setup, int index, const struct plan_index *had,
	struct err *err);

#endif
