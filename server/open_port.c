/* Warns of a device that answers to the whole network (open_port.h).
 *
 * Happy path: list the links, read those of kind wireguard, compare their ports. A step that fails is skipped silently,
 * because this is only advice. Only one device can have the port at a time.
 */
#include "server/open_port.h"

#include "common/base/log.h"
#include "common/net/link.h"
#include "common/wireguard/wg_device.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

void open_port_warn(uint16_t port, char told[IFNAMSIZ])
{
	struct net_link *links = NULL;
	struct netlink netlink;
	size_t count = 0;

	if (netlink_open(&netlink, -1, NULL) < 0)
		return;
	if (net_link_list(&netlink, &links, &count, NULL) < 0)
		count = 0;
	for (size_t i = 0; i < count; i++) {
		struct wg_state state;
		bool has_port;

		if (strcmp(links[i].kind, "wireguard") != 0 || wg_device_read(links[i].name, &state, NULL) < 0)
			continue;
		has_port = state.listen_port == port;
		wg_state_done(&state);
		if (!has_port || strcmp(told, links[i].name) == 0)
			continue;
		memcpy(told, links[i].name, IFNAMSIZ);
		log_warning("wireguard",
			"%s: UDP port %u is open to everybody unless a firewall closes it, as this line in an input "
			"chain of nftables does: iifname != \"lo\" udp dport %u drop",
			links[i].name, port, port);
	}
	free(links);
	netlink_close(&netlink);
}
