/* Happy path: the kernel's devices are asked for one with our port as endpoint, then those that programs run; the MTU
 * is read; what has changed is logged. Fails by finding no device: then our sockets carry no mark, as without
 * WireGuard. */
#include "client/other_device.h"

#include "common/base/log.h"
#include "common/net/link.h"
#include "common/wireguard/wg_device.h"
#include "common/wireguard/wg_userspace.h"

#include <errno.h>
#include <string.h>

#define MTU_FITS 1420u /* 1500 − 40 (IPv6) − 8 (UDP) − 32 (WireGuard): fits every path and any carrier */

/* Return: 0 if it cannot be read; 0 counts as an MTU that fits. */
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

/* wg-quick takes the MTU from the route to the endpoint, which is loopback: 65536 − 80. A packet of that size is cut
 * into many pieces on its way, and one lost piece loses the packet. */
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
		"/etc/wireguard/%s.conf, or now: ip link set mtu %u dev %s",
		now->device, now->mtu, MTU_FITS, now->device, MTU_FITS, now->device);
}

void other_device_check(struct other_device *known, uint16_t listen_port)
{
	struct other_device now = {.is_large_told = known->is_large_told};
	struct err err = {""};
	int rc = wg_device_find_mark(listen_port, now.device, &now.mark, &err);

	now.is_hidden = rc == -EPERM;
	if (rc < 0)
		log_debug("link", "looking for the mark of a WireGuard device: %s", err.text);
	if (rc != 1 && !wg_userspace_find_mark(WG_USERSPACE_FOLDER, listen_port, now.device, &now.mark)) {
		now.device[0] = '\0';
		now.mark = 0;
	}
	if (now.device[0])
		now.mtu = read_mtu(now.device);
	if (strcmp(now.device, known->device) != 0)
		now.is_large_told = false;
	if (now.mark != 0 && (strcmp(now.device, known->device) != 0 || now.mark != known->mark))
		log_info("link", "connections to the server carry the mark of %s, 0x%x", now.device, now.mark);
	else if (now.mark == 0 && known->mark != 0)
		log_info("link", "connections to the server carry no mark any more");
	tell_mtu(&now);
	*known = now;
}
