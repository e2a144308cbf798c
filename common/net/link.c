/* Network devices by netlink: find, list, make, delete, raise (link.h).
 *
 * Each function is one request, or two where an error needs a second look. A failure is the kernel's errno, with the
 * kernel's own sentence where it gives one (netlink_fail()). Nothing here writes an undo entry; that is done before,
 * in common/host.
 *
 * A device of ours is made under an index that the caller has chosen. The undo list names it by that index before it
 * is there, so a crash between the two leaves either no device or one that is recognised; a name could by then
 * belong to a device of another program.
 */
#include "common/net/link.h"

#include <errno.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <netlink/route/link.h>
#include <stdlib.h>
#include <string.h>

/* One answer to RTM_GETLINK. A message without a name or an MTU is not about a device. Return: 1: taken, 0: passed
 * over. */
static int read_link(struct nlmsghdr *answer, void *ret_item, const void *wanted)
{
	static struct nla_policy policy[IFLA_MAX + 1] = {
		[IFLA_IFNAME] = {.type = NLA_STRING, .maxlen = IFNAMSIZ},
		[IFLA_MTU] = {.type = NLA_U32},
		[IFLA_LINKINFO] = {.type = NLA_NESTED},
	};
	struct nlattr *attrs[IFLA_MAX + 1], *info[IFLA_INFO_MAX + 1];
	struct net_link *link = ret_item;
	struct ifinfomsg *header = nlmsg_data(answer);

	(void)wanted;
	if (nlmsg_parse(answer, sizeof(*header), attrs, IFLA_MAX, policy) < 0)
		return -EPROTO;
	if (!attrs[IFLA_IFNAME] || !attrs[IFLA_MTU])
		return 0;
	link->index = header->ifi_index;
	link->is_up = header->ifi_flags & IFF_UP;
	link->is_port = attrs[IFLA_MASTER];
	link->mtu = nla_get_u32(attrs[IFLA_MTU]);
	nla_strlcpy(link->name, attrs[IFLA_IFNAME], sizeof(link->name));
	if (attrs[IFLA_LINKINFO] && nla_parse_nested(info, IFLA_INFO_MAX, attrs[IFLA_LINKINFO], NULL) == 0 &&
		info[IFLA_INFO_KIND])
		nla_strlcpy(link->kind, info[IFLA_INFO_KIND], sizeof(link->kind));
	return 1;
}

static const struct netlink_query every_link = {.item_size = sizeof(struct net_link), .read = read_link};

/* Ask for one device. @message is owned; NULL where memory ran out. Return: 0, -ENODEV or another negative errno. */
static int ask_for_link(struct netlink *netlink, struct nl_msg *message, struct net_link *ret)
{
	void *found = NULL;
	size_t count = 0;
	int rc = netlink_collect(netlink, message, &every_link, &found, &count);

	if (rc == 0 && count == 0)
		rc = -ENODEV;
	if (rc == 0)
		memcpy(ret, found, sizeof(*ret));
	free(found);
	return rc;
}

int net_link_find(struct netlink *netlink, const char *name, struct net_link *ret, struct err *err)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	struct nl_msg *message;
	int rc;

	if (strlen(name) >= IFNAMSIZ)
		return err_system(err, -ENODEV, "device %s", name);
	message = netlink_message(RTM_GETLINK, 0, &header, sizeof(header));
	if (message && nla_put_string(message, IFLA_IFNAME, name) < 0) {
		nlmsg_free(message);
		message = NULL;
	}
	rc = ask_for_link(netlink, message, ret);
	return rc < 0 ? netlink_fail(netlink, err, rc, "device %s", name) : 0;
}

int net_link_get(struct netlink *netlink, int index, struct net_link *ret, struct err *err)
{
	struct ifinfomsg header = {.ifi_index = index};
	int rc = ask_for_link(netlink, netlink_message(RTM_GETLINK, 0, &header, sizeof(header)), ret);

	return rc < 0 ? netlink_fail(netlink, err, rc, "device %d", index) : 0;
}

int net_link_list(struct netlink *netlink, struct net_link **ret, size_t *ret_count, struct err *err)
{
	struct ifinfomsg header = {.ifi_family = AF_UNSPEC};
	void *links;
	int rc = netlink_collect(netlink, netlink_message(RTM_GETLINK, NLM_F_DUMP, &header, sizeof(header)),
		&every_link, &links, ret_count);

	if (rc < 0)
		return netlink_fail(netlink, err, rc, "list of devices");
	*ret = links;
	return 0;
}

/* A device is born in the namespace of the socket and moved by the same request, so its UDP socket stays where it was
 * born. Return: NULL where memory ran out. */
static struct nl_msg *wireguard_message(const char *name, int index, int netns_fd)
{
	struct rtnl_link *link = rtnl_link_alloc();
	struct nl_msg *message = NULL;

	if (!link)
		return NULL;
	rtnl_link_set_name(link, name);
	rtnl_link_set_ifindex(link, index);
	if (netns_fd >= 0)
		rtnl_link_set_ns_fd(link, netns_fd);
	if (rtnl_link_set_type(link, "wireguard") < 0 ||
		rtnl_link_build_add_request(link, NLM_F_CREATE | NLM_F_EXCL, &message) < 0)
		message = NULL;
	rtnl_link_put(link);
	return message;
}

/* True if the name is taken in the namespace where the device was to appear. If that cannot be looked up, true: it is
 * the usual reason. */
static bool is_name_taken(struct netlink *birth, const char *name, int netns_fd)
{
	struct netlink target;
	struct net_link link;
	bool is_taken;

	if (netns_fd < 0) {
		is_taken = net_link_find(birth, name, &link, NULL) == 0;
		birth->reason[0] = '\0'; /* it was about this question, not about the device */
		return is_taken;
	}
	if (netlink_open(&target, netns_fd, NULL) < 0)
		return true;
	is_taken = net_link_find(&target, name, &link, NULL) == 0;
	netlink_close(&target);
	return is_taken;
}

int net_link_add_wireguard(struct netlink *birth, const char *name, int index, int netns_fd, struct err *err)
{
	int rc;

	if (strlen(name) >= IFNAMSIZ)
		return err_set(err, -EINVAL, "device %s: a name has at most %d characters", name, IFNAMSIZ - 1);
	rc = netlink_request(birth, wireguard_message(name, index, netns_fd));
	/* The kernel says EEXIST of the index too: of one in the namespace of birth, since 6.14 of one in the other. */
	if (rc == -EEXIST && !is_name_taken(birth, name, netns_fd))
		rc = -EBUSY;
	return rc < 0 ? netlink_fail(birth, err, rc, "device %s, index %d", name, index) : 0;
}

int net_link_delete(struct netlink *netlink, int index, struct err *err)
{
	struct ifinfomsg header = {.ifi_index = index};
	int rc = netlink_request(netlink, netlink_message(RTM_DELLINK, 0, &header, sizeof(header)));

	if (rc == 0 || rc == -ENODEV)
		return 0;
	return netlink_fail(netlink, err, rc, "delete device %d", index);
}

int net_link_raise(struct netlink *netlink, int index, uint32_t mtu, struct err *err)
{
	struct ifinfomsg header = {.ifi_index = index, .ifi_flags = IFF_UP, .ifi_change = IFF_UP};
	struct nl_msg *message = netlink_message(RTM_NEWLINK, 0, &header, sizeof(header));
	int rc;

	if (message && mtu > 0 && nla_put_u32(message, IFLA_MTU, mtu) < 0) {
		nlmsg_free(message);
		message = NULL;
	}
	rc = netlink_request(netlink, message);
	return rc < 0 ? netlink_fail(netlink, err, rc, "device %d, up with MTU %u", index, mtu) : 0;
}
