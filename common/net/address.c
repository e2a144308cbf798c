/* Addresses of devices by netlink: list and add (address.h). The kernel removes them with their device.
 *
 * One dump of AF_UNSPEC has the addresses of both families, and of some others, which are passed over. */
#include "common/net/address.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>

static int read_address(struct nlmsghdr *answer, void *ret_item, const void *wanted)
{
	struct net_address *address = ret_item;
	struct ifaddrmsg *header = nlmsg_data(answer);
	struct nlattr *attrs[IFA_MAX + 1], *own;

	(void)wanted;
	if (nlmsg_parse(answer, sizeof(*header), attrs, IFA_MAX, NULL) < 0)
		return -EPROTO;
	if (header->ifa_family != AF_INET && header->ifa_family != AF_INET6)
		return 0;
	/* On a point-to-point device IFA_ADDRESS is the other end. */
	own = attrs[IFA_LOCAL] ? attrs[IFA_LOCAL] : attrs[IFA_ADDRESS];
	if (!own)
		return 0;
	address->index = (int)header->ifa_index;
	address->prefix.bits = header->ifa_prefixlen;
	return netlink_get_addr(own, header->ifa_family, &address->prefix.addr) < 0 ? -EPROTO : 1;
}

int net_address_list(struct netlink *netlink, struct net_address **ret, size_t *ret_count, struct err *err)
{
	static const struct netlink_query query = {.item_size = sizeof(struct net_address), .read = read_address};
	struct ifaddrmsg header = {.ifa_family = AF_UNSPEC};
	void *addresses;
	int rc = netlink_collect(netlink, netlink_message(RTM_GETADDR, NLM_F_DUMP, &header, sizeof(header)), &query,
		&addresses, ret_count);

	if (rc < 0)
		return netlink_fail(netlink, err, rc, "list of addresses");
	*ret = addresses;
	return 0;
}

/* IFA_LOCAL is our own address. IFA_ADDRESS is the same one, because no other end is named: the kernel then adds the
 * route to the network of the prefix. NLM_F_EXCL: an address that is there stays as it is. Return: NULL, out of
 * memory. */
static struct nl_msg *address_message(const struct net_address *address)
{
	const struct addr *addr = &address->prefix.addr;
	struct ifaddrmsg header = {
		.ifa_family = (uint8_t)addr->sa.sa_family,
		.ifa_prefixlen = address->prefix.bits,
		.ifa_index = (uint32_t)address->index,
	};
	struct nl_msg *message = netlink_message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, &header, sizeof(header));

	if (message && netlink_put_addr(message, IFA_LOCAL, addr) == 0 &&
		netlink_put_addr(message, IFA_ADDRESS, addr) == 0)
		return message;
	nlmsg_free(message);
	return NULL;
}

int net_address_add(struct netlink *netlink, const struct net_address *address, struct err *err)
{
	char text[PREFIX_TEXT_MAX];
	int rc = netlink_request(netlink, address_message(address));

	if (rc == 0 || rc == -EEXIST)
		return 0;
	return netlink_fail(netlink, err, rc, "address %s", prefix_format(text, sizeof(text), &address->prefix));
}
