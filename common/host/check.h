/* Asks the host, before anything is changed, whether the configuration can work on it: privilege and WireGuard, and
 * names, addresses, tables and ports that are taken. A refusal is one line: FILE:LINE, what is taken and by which
 * program, what helps. Exit code 1.
 */
#pragma once

#include "common/host/host_setup.h"
#include "common/host/plan.h"
#include "common/net/netlink.h"

#include <stdbool.h>

/* CAP_NET_ADMIN … Asked of the kernel and not of the user id: a container's root may lack it, and a unit's user may
 * have it. */
bool check_has_capability(unsigned capability);

/* The first question: may we make a device, and does the kernel have WireGuard? A caller that needs privilege for other
 * things first asks this before, so that the complaint is about the device. @path: the file with [Interface].
 * @is_hidden: its UDP port shall be in a network namespace of its own. Return: 0, -EPERM or -EOPNOTSUPP with @err
 * set. */
int check_capable(const char *path, const struct wg_config *wireguard, bool is_hidden, struct err *err);

/* Called after the clean-up of a crash. Return: 0, or a negative errno with the first refusal in @err. */
int check_host(struct netlink *netlink, const struct host_setup *setup, struct err *err);

/* Called before a reload: may the routes be made that are not among @had? @index: of our device. Return: as above. */
int check_new_routes(struct netlink *netlink, const struct host_setup *setup, int index, const struct plan_index *had,
	struct err *err);
