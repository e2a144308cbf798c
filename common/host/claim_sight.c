/* See claim_sight.h.
 *
 * Theory of operation. Netlink answers about the namespace in which its socket was made. So a look enters the
 * device's namespace, makes its socket there, and asks for the link, for the device with its peers, and for the
 * routes of both families. The caller may change things by the same socket until it closes the sight, which goes
 * back.
 *
 *    enter() ──▶ netns_id() ──▶ netlink ──▶ link ──▶ wg device ──▶ routes ──▶ 0, inside
 *       │                          │        │           │            │
 *       ▼                          ▼        ▼           ▼            ▼
 *    outside: the errno        -ENODEV: inside all the same; any other errno: outside
 *
 * With -ENODEV the sight stays open, because the caller still wants the namespace's id: a namespace without the
 * device is another case than a namespace that is gone. claim_sight_open_peers() takes only the step "wg device".
 */
#include "common/host/claim_sight.h"

#include "common/net/netns.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* In the right namespace. */
static int read_all(struct claim_sight *sight, const char *interface, struct err *err)
{
	int rc = net_link_find(&sight->netlink, interface, &sight->link, err);

	if (rc == -ENODEV)
		return err_set(err, rc, "there is no device %s", interface);
	if (rc == 0 && strcmp(sight->link.kind, "wireguard") != 0)
		return err_set(err, -ENODEV, "%s is no device of the kernel's WireGuard", interface);
	if (rc == 0)
		rc = wg_device_read(interface, &sight->state, err);
	if (rc == 0)
		rc = net_routes_read(&sight->netlink, NET_ROUTE_TABLE_MAIN, sight->link.index, &sight->routes, err);
	return rc;
}

/* Return: 0, or a negative errno with the path in @err. */
static int enter(struct claim_sight *sight, const char *namespace_path, struct err *err)
{
	int fd = -1;

	*sight = (struct claim_sight){.home = -1};
	if (*namespace_path) {
		fd = open(namespace_path, O_RDONLY | O_CLOEXEC);
		if (fd < 0)
			return err_system(err, -errno, "%s", namespace_path);
	}
	sight->home = netns_enter(fd, err);
	if (fd >= 0)
		close(fd);
	if (sight->home < 0)
		return err_wrap(err, sight->home, "%s", namespace_path);
	sight->netns = netns_id();
	return 0;
}

int claim_sight_open_peers(struct claim_sight *sight, const char *namespace_path, const char *interface, struct err *err)
{
	int rc = enter(sight, namespace_path, err);

	if (rc < 0)
		return rc;
	rc = wg_device_read(interface, &sight->state, err);
	if (rc < 0)
		claim_sight_close(sight);
	return rc;
}

int claim_sight_open(struct claim_sight *sight, const char *namespace_path, const char *interface, struct err *err)
{
	int rc = enter(sight, namespace_path, err);

	if (rc < 0)
		return rc;
	rc = netlink_open(&sight->netlink, -1, err);
	if (rc == 0)
		rc = read_all(sight, interface, err);
	if (rc < 0 && rc != -ENODEV)
		claim_sight_close(sight);
	return rc;
}

void claim_sight_close(struct claim_sight *sight)
{
	net_routes_done(&sight->routes);
	wg_state_done(&sight->state);
	netlink_close(&sight->netlink);
	netns_leave(sight->home);
}
