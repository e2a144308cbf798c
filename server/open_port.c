/* See open_port.h. Whatever cannot be asked is passed over: this is advice. */
#include "server/open_port.h"

#include "common/base/log.h"
#include "common/net/link.h"
#include "common/wireguard/wg_device.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static bool has_port(const struct net_link *link, uint16_t port)
{
	struct wg_state state;
	bool has;

	if (strcmp(link->kind, "wireguard") != 0 || wg_device_read(link->name, &state, NULL) < 0)
		return false;
	has = state.listen_port == port;
	wg_state_done(&state);
	return has;
}

static void warn(const char *device, uint16_t port, char told[IFNAMSIZ])
{
	if (strcmp(told, device) == 0)
		return;
	memcpy(told, device, IFNAMSIZ);
	log_warning("wireguard",
		"%s: UDP port %u is open to everybody unless a firewall closes it, as this line in an input chain of "
		"nftables "
		"does: iifname != \"lo\" udp dport %u drop",
		device, port, port);
}

void open_port_warn(uint16_t port, char told[IFNAMSIZ])
{
	struct net_link *links = NULL;
	struct netlink netlink;
	size_t count = 0;

	if (netlink_open(&netlink, -1, NULL) < 0)
		return;
	if (net_link_list(&netlink, &links, &count, NULL) < 0)
		count = 0;
	for (size_t i = 0; i < count; i++)
		if (has_port(&links[i], port))
			warn(links[i].name, port, told);
	free(links);
	netlink_close(&netlink);
}
