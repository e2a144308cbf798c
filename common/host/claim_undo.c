/* See claim_undo.h. Happy path: enter the namespace, compare its id and the device's number, send one message.
 *
 * Between adding and undoing anything may have happened, by others or in a crash of ours: the container has another
 * process, the path leads to another namespace, the device was made anew. A namespace has an id that no other one gets
 * as long as the host runs, and a device a number within it; only where both are the same is anything taken away. All
 * else means that our addition has gone with its device, which is success.
 *
 * The manager may have written the prefix into its own file since. Then it is the manager's, and stays.
 */
#include "common/host/claim_undo.h"

#include "common/host/claim_file.h"
#include "common/net/link.h"
#include "common/net/netns.h"
#include "common/net/route.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *claim_undo_text(char *buf, size_t size, const struct undo_entry *entry)
{
	char prefix[PREFIX_TEXT_MAX];

	prefix_format(prefix, sizeof(prefix), &entry->prefix);
	if (entry->kind == UNDO_CLAIM_ROUTE)
		snprintf(buf, size, "route %s by %s", prefix, entry->device);
	else
		snprintf(buf, size, "%s of a peer of %s", prefix, entry->device);
	return buf;
}

/* The manager may have made it its own since we have added it. */
static bool is_managers(const struct undo_entry *entry)
{
	struct claim_file file = {0};
	bool gives;

	claim_file_look(&file, entry->text, entry->device);
	gives = claim_file_gives(&file, entry->public_key, &entry->prefix);
	claim_file_done(&file);
	return gives;
}

/* In the right namespace. The device may have been renamed. */
static int undo_here(const struct undo_entry *entry, struct netlink *netlink, struct err *err)
{
	const struct net_route route = {.to = entry->prefix, .index = entry->index, .table = NET_ROUTE_TABLE_MAIN};
	struct prefix prefix = entry->prefix;
	struct net_link link;
	int rc = net_link_get(netlink, entry->index, &link, err);

	if (rc == -ENODEV || (rc == 0 && strcmp(link.kind, "wireguard") != 0))
		return 0;
	if (rc < 0)
		return rc;
	if (entry->kind == UNDO_CLAIM_ROUTE)
		return net_route_delete(netlink, &route, err);
	if (is_managers(entry))
		return 0;
	return wg_device_take_allowed_ips(link.name, entry->public_key, &prefix, 1, err);
}

int claim_undo(const struct undo_entry *entry, struct err *err)
{
	int fd = entry->text[0] ? open(entry->text, O_RDONLY | O_CLOEXEC) : -1, home, rc;
	struct netlink netlink;

	if (entry->text[0] && fd < 0)
		return errno == ENOENT ? 0 : err_system(err, -errno, "%s", entry->text);
	home = netns_enter(fd, err);
	if (fd >= 0)
		close(fd);
	if (home < 0)
		return home == -EINVAL ? 0 : err_wrap(err, home, "%s", entry->text); /* -EINVAL: it was deleted */
	rc = netns_id() == entry->netns ? netlink_open(&netlink, -1, err) : -ENOENT;
	if (rc == 0) {
		rc = undo_here(entry, &netlink, err);
		netlink_close(&netlink);
	}
	netns_leave(home);
	return rc == -ENOENT ? 0 : rc;
}
