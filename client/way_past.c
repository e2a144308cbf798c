/* See way_past.h.
 *
 * Theory of operation. The connection to the server must not go into the tunnel that it carries. With a /0 of ours the
 * mark sees to that. Otherwise the kernel is asked for its way to the server's address, for a packet with our mark. If
 * that is the tunnel's device, the main table has a better route for the tunnel than for the rest of the world, and of
 * the others the best one names the device to which the socket is bound (SO_BINDTOIFINDEX).
 *
 * The binding is looked at again for each attempt and after each change of the network, since the routes of a café are
 * not those of a train. A socket that needs none any more is unbound; that wants CAP_NET_RAW, and binding a first time
 * does not.
 *
 * Fails by leaving the socket as it is: then it goes where the routes say. Answers may still be dropped by rp_filter =
 * 1, which asks the same routes about the source; this is told, as nothing here can change it.
 */
#include "client/way_past.h"

#include "common/base/log.h"
#include "common/net/link.h"
#include "common/net/route.h"
#include "common/net/sysctl.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

/* Two root servers of DNS and the others far from them: a list of allowed IPs about everything holds most of them, one
 * about a few networks none. Nothing is sent there. */
static const char *const internet[] = {"198.41.0.4:53", "8.8.8.8:53", "77.88.8.8:53", "[2001:503:ba3e::2:30]:53",
	"[2a00:1450:4001::1]:53"};

/* Return: the number of the device past the tunnel; 0: the way does not lead into the tunnel, or there is no other. */
static int find(struct netlink *netlink, const char *tunnel, uint32_t mark, const struct addr *to)
{
	struct net_link link;
	struct net_way way;
	int rc;

	if (net_link_find(netlink, tunnel, &link, NULL) < 0 || net_route_way(netlink, to, mark, &way, NULL) < 0 ||
		way.index != link.index)
		return 0;
	rc = net_route_past(netlink, to, link.index, NULL);
	return rc < 0 ? 0 : rc;
}

int way_past_find(const char *tunnel, uint32_t mark, const struct addr *to)
{
	struct netlink netlink;
	struct err err;
	int index;

	if (!tunnel[0] || netlink_open(&netlink, -1, &err) < 0)
		return 0;
	index = find(&netlink, tunnel, mark, to);
	netlink_close(&netlink);
	return index;
}

bool way_past_is_needed(const char *tunnel)
{
	struct addr addr;

	for (size_t i = 0; i < sizeof(internet) / sizeof(*internet); i++)
		if (addr_parse(internet[i], 0, &addr) == 0 && way_past_find(tunnel, 0, &addr) > 0)
			return true;
	return false;
}

bool way_past_warn(const struct addr *to)
{
	struct netlink netlink;
	struct net_link link;
	struct net_way way;
	struct err err;
	char text[ADDR_TEXT_MAX];
	bool is_into;

	if (netlink_open(&netlink, -1, &err) < 0)
		return false;
	is_into = net_route_way(&netlink, to, 0, &way, NULL) == 0 &&
		  net_link_get(&netlink, way.index, &link, NULL) == 0 && strcmp(link.kind, "wireguard") == 0;
	netlink_close(&netlink);
	if (is_into)
		log_warning("link",
			"%s: the way leads into the WireGuard device %s, and without root or CAP_NET_ADMIN nothing "
			"tells whether that is this tunnel; if nothing comes through, start this program as root, or "
			"take the server's address out of the device's AllowedIPs",
			addr_format(text, sizeof(text), to), link.name);
	return is_into;
}

/* With rp_filter = 1 the answers are dropped, because the routes say that the server is in the tunnel. The larger one
 * of the two values counts. */
static bool drops_answers(const char *device)
{
	const char *const names[] = {"all", device};
	char path[SYSCTL_PATH_MAX], value[SYSCTL_VALUE_MAX];
	char largest = '0';

	for (size_t i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "net/ipv4/conf/%s/rp_filter", names[i]);
		if (sysctl_read(path, value, NULL) == 0 && value[0] > largest)
			largest = value[0];
	}
	return largest == '1';
}

static void tell(int index, const char *tunnel, const struct addr *to)
{
	char text[ADDR_TEXT_MAX], device[IF_NAMESIZE];

	if (!if_indextoname((unsigned)index, device))
		return;
	addr_format(text, sizeof(text), to);
	if (to->sa.sa_family == AF_INET && drops_answers(device))
		log_warning("link",
			"%s: the routes lead into %s and rp_filter = 1 drops answers past it; AllowedIPs = 0.0.0.0/0 "
			"in one piece helps, or sysctl -w net.ipv4.conf.all.rp_filter=2",
			text, tunnel);
	else
		log_info("link", "%s: the routes lead into %s; the connection is bound to %s", text, tunnel, device);
}

void way_past_bind(int fd, const char *tunnel, uint32_t mark, const struct addr *to)
{
	int index = way_past_find(tunnel, mark, to), now = 0;
	socklen_t len = sizeof(now);

	if (getsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &now, &len) < 0 || now == index)
		return;
	if (setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, &index, sizeof(index)) < 0)
		log_debug("link", "a socket cannot be bound to a device: %s", strerror(errno));
	else if (index > 0)
		tell(index, tunnel, to);
}
