/* See netfilter.h.
 *
 * Theory of operation. The kernel keeps two tuples of each connection: the packet that opened it, and the answer
 * that it expects. After a DNAT they differ, and by that a connection of a service is known:
 *
 *    asked     198.51.100.7:51000 ──▶ 203.0.113.10:80        at a port of the service
 *    answer    192.168.1.30:8080 ──▶ 198.51.100.7:51000      from the host behind the tunnel; it goes to our own
 *                                                            address where we masquerade
 *
 * One that leads astray has no DNAT, because it was opened while our table was not there: its answer comes from the
 * very address that was asked for. The kernel asks the rules of nat for the first packet only, so as long as a
 * sender of UDP goes on nothing changes, and the connection has to be deleted.
 *
 * No mark or label is needed for any of this, which another program could use as well.
 *
 * nfnetlink has one message header for all of its subsystems; the attributes of conntrack are nested: CTA_TUPLE_ORIG
 * → CTA_TUPLE_IP → CTA_IP_V4_SRC. A connection is deleted by its first tuple and its zone. Ports, zones and the
 * values of counters are in network order.
 */
#include "common/net/netfilter.h"

#include <endian.h>
#include <errno.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_conntrack_common.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netlink/msg.h>
#include <stdlib.h>
#include <string.h>

struct tuple {
	struct addr from, to; /* with their ports */
};

struct connection {
	struct tuple asked, answer;
	uint8_t protocol;
	uint16_t zone;
	uint32_t id;
	bool is_over;	/* TCP's end, which the kernel remembers for two minutes */
	size_t service; /* the number of its service */
};

struct wanted {
	const struct firewall_service *services;
	size_t count;
	const struct net_address *own; /* only those that lead astray to these; NULL: only those of the services */
	size_t own_count;
};

/* Return: NULL without memory, which netlink_request() and netlink_collect() report. */
static struct nl_msg *message_of(int subsystem, int type, int flags, int family)
{
	const struct nfgenmsg header = {.nfgen_family = (uint8_t)family, .version = NFNETLINK_V0};

	return netlink_message(subsystem << 8 | type, flags, &header, sizeof(header));
}

/* --- connections --- */

/* Return: the protocol, or 0 for a tuple that has no ports. */
static uint8_t read_tuple(struct nlattr *attr, int family, struct tuple *ret)
{
	struct nlattr *parts[CTA_TUPLE_MAX + 1], *ip[CTA_IP_MAX + 1], *proto[CTA_PROTO_MAX + 1];
	bool is_ipv6 = family == AF_INET6;
	struct nlattr *from, *to;

	if (!attr || nla_parse_nested(parts, CTA_TUPLE_MAX, attr, NULL) < 0 || !parts[CTA_TUPLE_IP] ||
		!parts[CTA_TUPLE_PROTO] || nla_parse_nested(ip, CTA_IP_MAX, parts[CTA_TUPLE_IP], NULL) < 0 ||
		nla_parse_nested(proto, CTA_PROTO_MAX, parts[CTA_TUPLE_PROTO], NULL) < 0)
		return 0;
	from = ip[is_ipv6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC];
	to = ip[is_ipv6 ? CTA_IP_V6_DST : CTA_IP_V4_DST];
	if (!from || !to || !proto[CTA_PROTO_NUM] || !proto[CTA_PROTO_SRC_PORT] || !proto[CTA_PROTO_DST_PORT] ||
		netlink_get_addr(from, family, &ret->from) < 0 || netlink_get_addr(to, family, &ret->to) < 0)
		return 0;
	addr_set_port(&ret->from, ntohs(nla_get_u16(proto[CTA_PROTO_SRC_PORT])));
	addr_set_port(&ret->to, ntohs(nla_get_u16(proto[CTA_PROTO_DST_PORT])));
	return nla_get_u8(proto[CTA_PROTO_NUM]);
}

/* Compares addresses without their ports. */
static bool is_same_host(const struct addr *a, const struct addr *b)
{
	struct addr host = *a, other = *b;

	addr_set_port(&host, 0);
	addr_set_port(&other, 0);
	return addr_equal(&host, &other);
}

/* It is answered by the very address that it asked for, and that is ours: others may be asked for at that port as well. */
static bool leads_astray(const struct connection *connection, const struct wanted *wanted)
{
	for (size_t i = 0; i < wanted->own_count; i++)
		if (is_same_host(&wanted->own[i].prefix.addr, &connection->asked.to))
			return addr_equal(&connection->answer.from, &connection->asked.to);
	return false;
}

/* Is the connection one of @service? Loopback connections are not ours to forward, so the rules leave them out, too. */
static bool is_wanted(const struct connection *connection, const struct service *service, const struct wanted *wanted)
{
	unsigned port = addr_port(&connection->asked.to), at = port - service->ports.first;

	if (connection->protocol != service->protocol || port < service->ports.first || port > service->ports.last ||
		connection->asked.to.sa.sa_family != service->to.sa.sa_family ||
		addr_is_loopback(&connection->asked.to) ||
		(service->address.sa.sa_family && !is_same_host(&service->address, &connection->asked.to)))
		return false;
	if (wanted->own)
		return leads_astray(connection, wanted);
	return is_same_host(&connection->answer.from, &service->to) &&
	       addr_port(&connection->answer.from) == service->to_ports.first + at;
}

/* @attr: CTA_PROTOINFO; NULL: a protocol without states, such as UDP, is never over. */
static bool is_over(struct nlattr *attr)
{
	struct nlattr *kinds[CTA_PROTOINFO_MAX + 1], *tcp[CTA_PROTOINFO_TCP_MAX + 1];

	return attr && nla_parse_nested(kinds, CTA_PROTOINFO_MAX, attr, NULL) == 0 && kinds[CTA_PROTOINFO_TCP] &&
	       nla_parse_nested(tcp, CTA_PROTOINFO_TCP_MAX, kinds[CTA_PROTOINFO_TCP], NULL) == 0 &&
	       tcp[CTA_PROTOINFO_TCP_STATE] && nla_get_u8(tcp[CTA_PROTOINFO_TCP_STATE]) >= TCP_CONNTRACK_TIME_WAIT;
}

/* One answer of a dump. Return: 1: it is wanted, 0: it is passed over. */
static int read_connection(struct nlmsghdr *answer, void *ret_item, const void *what)
{
	const struct wanted *wanted = what;
	const struct nfgenmsg *header = nlmsg_data(answer);
	struct connection *connection = ret_item;
	struct nlattr *attrs[CTA_MAX + 1];
	int family = header->nfgen_family;

	if ((family != AF_INET && family != AF_INET6) || nlmsg_parse(answer, sizeof(*header), attrs, CTA_MAX, NULL) < 0)
		return 0;
	connection->protocol = read_tuple(attrs[CTA_TUPLE_ORIG], family, &connection->asked);
	if (connection->protocol == 0 ||
		read_tuple(attrs[CTA_TUPLE_REPLY], family, &connection->answer) != connection->protocol)
		return 0;
	connection->zone = attrs[CTA_ZONE] ? ntohs(nla_get_u16(attrs[CTA_ZONE])) : 0;
	connection->is_over = is_over(attrs[CTA_PROTOINFO]);
	connection->id = attrs[CTA_ID] ? nla_get_u32(attrs[CTA_ID]) : 0;
	for (size_t i = 0; i < wanted->count; i++)
		if (is_wanted(connection, wanted->services[i].service, wanted)) {
			connection->service = i;
			return 1;
		}
	return 0;
}

/* Newer kernels list only those whose destination was changed, where that is asked; older ones list all. */
static int list_connections(struct netlink *netlink, const struct wanted *wanted, struct connection **ret,
	size_t *ret_count, struct err *err)
{
	const struct netlink_query query = {sizeof(**ret), read_connection, wanted};
	struct nl_msg *message =
		message_of(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET, NLM_F_REQUEST | NLM_F_DUMP, AF_UNSPEC);
	void *items;
	int rc;

	if (message && !wanted->own &&
		(nla_put_u32(message, CTA_STATUS, htonl(IPS_DST_NAT)) < 0 ||
			nla_put_u32(message, CTA_STATUS_MASK, htonl(IPS_DST_NAT)) < 0)) {
		nlmsg_free(message);
		message = NULL;
	}
	rc = netlink_collect(netlink, message, &query, &items, ret_count);
	if (rc < 0)
		return netlink_fail(netlink, err, rc, "the kernel's table of connections");
	*ret = items;
	return 0;
}

/* The counterpart of read_tuple(), as CTA_TUPLE_ORIG. Return: 0 or -ENOMEM; the caller frees the message. */
static int put_tuple(struct nl_msg *message, const struct tuple *tuple, uint8_t protocol)
{
	bool is_ipv6 = tuple->from.sa.sa_family == AF_INET6;
	struct nlattr *whole = nla_nest_start(message, CTA_TUPLE_ORIG), *part;
	int rc;

	part = whole ? nla_nest_start(message, CTA_TUPLE_IP) : NULL;
	if (!part || netlink_put_addr(message, is_ipv6 ? CTA_IP_V6_SRC : CTA_IP_V4_SRC, &tuple->from) < 0 ||
		netlink_put_addr(message, is_ipv6 ? CTA_IP_V6_DST : CTA_IP_V4_DST, &tuple->to) < 0)
		return -ENOMEM;
	nla_nest_end(message, part);
	part = nla_nest_start(message, CTA_TUPLE_PROTO);
	if (!part)
		return -ENOMEM;
	rc = nla_put_u8(message, CTA_PROTO_NUM, protocol);
	rc |= nla_put_u16(message, CTA_PROTO_SRC_PORT, htons(addr_port(&tuple->from)));
	rc |= nla_put_u16(message, CTA_PROTO_DST_PORT, htons(addr_port(&tuple->to)));
	nla_nest_end(message, part);
	nla_nest_end(message, whole);
	return rc < 0 ? -ENOMEM : 0;
}

/* One that has ended by itself meanwhile is no failure; the id spares a new one of the same ports. */
static int delete_connection(struct netlink *netlink, const struct connection *connection)
{
	struct nl_msg *message = message_of(NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_DELETE, NLM_F_REQUEST | NLM_F_ACK,
		connection->asked.from.sa.sa_family);
	int rc;

	if (message && (put_tuple(message, &connection->asked, connection->protocol) < 0 ||
			       (connection->zone && nla_put_u16(message, CTA_ZONE, htons(connection->zone)) < 0) ||
			       nla_put_u32(message, CTA_ID, connection->id) < 0)) {
		nlmsg_free(message);
		return -ENOMEM;
	}
	rc = netlink_request(netlink, message);
	return rc == -ENOENT ? 0 : rc;
}

/* @ret_open: counted there; NULL: ended. */
static int go_through(const struct wanted *wanted, size_t *ret_open, struct err *err)
{
	struct connection *connections = NULL;
	struct netlink netlink;
	size_t count = 0;
	int rc = netlink_open_netfilter(&netlink, err);

	if (rc < 0)
		return rc;
	rc = list_connections(&netlink, wanted, &connections, &count, err);
	for (size_t i = 0; i < count && rc == 0; i++) {
		if (ret_open)
			ret_open[connections[i].service] += !connections[i].is_over;
		else if ((rc = delete_connection(&netlink, &connections[i])) < 0)
			netlink_fail(&netlink, err, rc, "ending a connection");
	}
	free(connections);
	netlink_close(&netlink);
	return rc;
}

int netfilter_count_open(const struct firewall_service *services, size_t count, size_t *ret, struct err *err)
{
	const struct wanted wanted = {.services = services, .count = count};

	memset(ret, 0, count * sizeof(*ret));
	return go_through(&wanted, ret, err);
}

int netfilter_end(const struct service *service, struct err *err)
{
	const struct firewall_service one = {.service = service};
	const struct wanted wanted = {.services = &one, .count = 1};

	return go_through(&wanted, NULL, err);
}

int netfilter_end_astray(const struct firewall_service *services, size_t count, const struct net_address *own,
	size_t own_count, struct err *err)
{
	const struct wanted wanted = {services, count, own, own_count};

	return go_through(&wanted, NULL, err);
}

/* --- counters --- */

struct counter {
	char name[FIREWALL_COUNTER_MAX];
	uint64_t packets, bytes;
};

/* 64 bits in network order; an attribute that is missing is 0. */
static uint64_t number_of(const struct nlattr *attr)
{
	uint64_t number = 0;

	if (attr && nla_len(attr) == sizeof(number))
		memcpy(&number, nla_data(attr), sizeof(number));
	return be64toh(number);
}

/* Older kernels list the objects of all tables. */
static int read_counter(struct nlmsghdr *answer, void *ret_item, const void *table)
{
	struct nlattr *attrs[NFTA_OBJ_MAX + 1], *data[NFTA_COUNTER_MAX + 1];
	struct counter *counter = ret_item;

	if (nlmsg_parse(answer, sizeof(struct nfgenmsg), attrs, NFTA_OBJ_MAX, NULL) < 0)
		return -EPROTO;
	if (!attrs[NFTA_OBJ_TABLE] || nla_strcmp(attrs[NFTA_OBJ_TABLE], table) != 0 || !attrs[NFTA_OBJ_NAME] ||
		!attrs[NFTA_OBJ_DATA] || nla_parse_nested(data, NFTA_COUNTER_MAX, attrs[NFTA_OBJ_DATA], NULL) < 0)
		return 0;
	nla_strlcpy(counter->name, attrs[NFTA_OBJ_NAME], sizeof(counter->name));
	counter->packets = number_of(data[NFTA_COUNTER_PACKETS]);
	counter->bytes = number_of(data[NFTA_COUNTER_BYTES]);
	return 1;
}

static const struct counter *find_counter(const struct counter *counters, size_t count, const char *what, unsigned id)
{
	char name[FIREWALL_COUNTER_MAX];

	firewall_format_counter(name, what, id);
	for (size_t i = 0; i < count; i++)
		if (strcmp(counters[i].name, name) == 0)
			return &counters[i];
	return NULL;
}

/* A counter that is missing leaves the count as it was. */
static void take_counts(struct firewall_service *service, const struct counter *counters, size_t count)
{
	const struct counter *connections = find_counter(counters, count, "connections", service->id);
	const struct counter *sent = find_counter(counters, count, "sent", service->id);
	const struct counter *received = find_counter(counters, count, "received", service->id);

	if (connections)
		service->counts.connections = connections->packets;
	if (sent)
		service->counts.sent_bytes = sent->bytes;
	if (received)
		service->counts.received_bytes = received->bytes;
}

int netfilter_read_counts(const char *table, struct firewall_service *services, size_t count, struct err *err)
{
	const struct netlink_query query = {sizeof(struct counter), read_counter, table};
	struct nl_msg *message =
		message_of(NFNL_SUBSYS_NFTABLES, NFT_MSG_GETOBJ, NLM_F_REQUEST | NLM_F_DUMP, NFPROTO_INET);
	struct netlink netlink;
	size_t counter_count = 0;
	void *counters = NULL;
	int rc = netlink_open_netfilter(&netlink, err);

	if (rc < 0) {
		nlmsg_free(message);
		return rc;
	}
	if (message && nla_put_string(message, NFTA_OBJ_TABLE, table) < 0) {
		nlmsg_free(message);
		message = NULL;
	}
	rc = netlink_collect(&netlink, message, &query, &counters, &counter_count);
	if (rc < 0)
		netlink_fail(&netlink, err, rc, "counters of table %s", table);
	for (size_t i = 0; i < count && rc == 0; i++)
		take_counts(&services[i], counters, counter_count);
	free(counters);
	netlink_close(&netlink);
	return rc;
}
