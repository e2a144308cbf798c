/* Happy path: the kernel's devices are asked for one with our port, then those that a program runs; its MTU is looked at.
 * Fails by finding nothing. */
#include "client/other_device.h"

#include "common/base/log.h"
#include "common/net/link.h"
#include "common/wireguard/wg_device.h"
#include "common/wireguard/wg_userspace.h"

#include <stdio.h>
#include <string.h>

#define MTU_FITS 1420u /* 1500 − 40 (IPv6) − 8 (UDP) − 32 (WireGuard): what every path carries, and any carrier */

static void find(uint16_t listen_port, struct other_device *ret)
{
	struct err err = {""};
	int rc = wg_device_find_mark(listen_port, ret->device, &ret->mark, &err);

	if (rc < 0)
		log_debug("link", "looking for the mark of a WireGuard device: %s", err.text);
	if (rc == 1 || wg_userspace_find_mark(WG_USERSPACE_FOLDER, listen_port, ret->device, &ret->mark))
		return;
	ret->device[0] = '\0';
	ret->mark = 0;
}

static uint32_t read_mtu(const char *device)
{
	struct netlink netlink;
	struct net_link link;
	struct err err = {""};
	int rc = netlink_open(&netlink, -1, &err);

	if (rc < 0)
		return 0;
	rc = net_link_find(&netlink, device, &link, &err);
	netlink_close(&netlink);
	return rc < 0 ? 0 : link.mtu;
}

static void tell_mark(const struct other_device *before, const struct other_device *now)
{
	if (strcmp(before->device, now->device) == 0 && before->mark == now->mark)
		return;
	if (now->mark != 0)
		log_info("link", "connections to the server carry the mark of %s, 0x%x", now->device, now->mark);
	else if (before->mark != 0)
		log_info("link", "connections to the server carry no mark any more");
}

/* wg-quick takes the MTU from the way to the endpoint, which is loopback: 65536 − 80. Whole packets of that size are cut into
 * pieces that are lost together. */
static void tell_mtu(struct other_device *now)
{
	if (now->mtu <= MTU_FITS) {
		now->is_large_told = false;
		return;
	}
	if (now->is_large_told)
		return;
	now->is_large_told = true;
	log_warning("wireguard",
		"%s has an MTU of %u, which fits loopback only; put MTU = %u into [Interface] of "
		"/etc/wireguard/%s.conf, or "
		"now: ip link set mtu %u dev %s",
		now->device, now->mtu, MTU_FITS, now->device, MTU_FITS, now->device);
}

void other_device_look(struct other_device *foreign, uint16_t listen_port)
{
	struct other_device now = {.is_large_told = foreign->is_large_told};

	find(listen_port, &now);
	if (now.device[0])
		now.mtu = read_mtu(now.device);
	if (strcmp(now.device, foreign->device) != 0)
		now.is_large_told = false;
	tell_mark(foreign, &now);
	tell_mtu(&now);
	*foreign = now;
}
