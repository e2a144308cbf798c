/* See rule.h. libnl's rule object knows neither "not" nor suppress_prefixlength, so the messages are made here.
 *
 * The kernel does not mark a list of rules that changed while it was read, as it does for devices and addresses. Up to
 * some fifty rules come in one piece and cannot change meanwhile; of more than that one might be passed over.
 */
#include "common/net/rule.h"

#include <errno.h>
#include <linux/fib_rules.h>
#include <linux/rtnetlink.h>
#include <netlink/msg.h>
#include <stdlib.h>

/* The kernel's own rule that looks up the main table. The first rule of ours goes before it. */
#define PRIORITY_MAIN 32766u

/* Which rules are wanted. */
struct wanted {
	int family;
	const struct net_rule *rule; /* NULL: all */
};

/* --- reading --- */

/* Attributes for conditions that struct net_rule cannot express: such a rule belongs to another program. */
static bool has_more(struct nlmsghdr *answer, const struct fib_rule_hdr *header)
{
	struct nlattr *attr;
	int rest;

	if (header->src_len || header->dst_len || header->tos || header->action != FR_ACT_TO_TBL ||
		(header->flags & ~(uint32_t)FIB_RULE_INVERT))
		return true;
	nlmsg_for_each_attr(attr, answer, sizeof(*header), rest)
	{
		switch (nla_type(attr)) {
		case FRA_TABLE:
		case FRA_PRIORITY:
		case FRA_FWMARK:
		case FRA_PROTOCOL:
		case FRA_PAD:
			break;
		case FRA_FWMASK:
			if (nla_get_u32(attr) != UINT32_MAX)
				return true;
			break;
		case FRA_SUPPRESS_PREFIXLEN: /* UINT32_MAX: none */
			if (nla_get_u32(attr) != UINT32_MAX && nla_get_u32(attr) != 0)
				return true;
			break;
		default:
			return true;
		}
	}
	return false;
}

static uint32_t value_of(const struct nlattr *attr, uint32_t otherwise)
{
	return attr ? nla_get_u32(attr) : otherwise;
}

static int read_rule(struct nlmsghdr *answer, void *ret_item, const void *what)
{
	static struct nla_policy policy[FRA_MAX + 1] = {
		[FRA_PRIORITY] = {.type = NLA_U32},
		[FRA_FWMARK] = {.type = NLA_U32},
		[FRA_FWMASK] = {.type = NLA_U32},
		[FRA_SUPPRESS_PREFIXLEN] = {.type = NLA_U32},
		[FRA_TABLE] = {.type = NLA_U32},
	};
	const struct wanted *wanted = what;
	struct fib_rule_hdr *header = nlmsg_data(answer);
	struct nlattr *attrs[FRA_MAX + 1];
	struct net_rule *rule = ret_item;
	const struct net_rule *wish;

	if (nlmsg_parse(answer, sizeof(*header), attrs, FRA_MAX, policy) < 0)
		return -EPROTO;
	/* A kernel without IPv6 answers a question about it with its IPv4 rules. */
	if (header->family != wanted->family)
		return 0;
	rule->family = header->family;
	rule->priority = value_of(attrs[FRA_PRIORITY], 0);
	rule->table = value_of(attrs[FRA_TABLE], header->table);
	if (has_more(answer, header))
		return !wanted->rule;
	rule->mark = value_of(attrs[FRA_FWMARK], 0);
	rule->is_not = header->flags & FIB_RULE_INVERT;
	rule->suppresses_default = value_of(attrs[FRA_SUPPRESS_PREFIXLEN], UINT32_MAX) == 0;
	wish = wanted->rule;
	return !wish || (rule->family == wish->family && rule->priority == wish->priority &&
				rule->table == wish->table && rule->mark == wish->mark &&
				rule->is_not == wish->is_not && rule->suppresses_default == wish->suppresses_default);
}

static int list_rules(
	struct netlink *netlink, const struct wanted *wanted, struct net_rule **ret, size_t *ret_count, struct err *err)
{
	struct netlink_query query = {.item_size = sizeof(struct net_rule), .read = read_rule, .wanted = wanted};
	struct fib_rule_hdr header = {.family = (uint8_t)wanted->family};
	void *rules;
	int rc = netlink_collect(
		netlink, netlink_message(RTM_GETRULE, NLM_F_DUMP, &header, sizeof(header)), &query, &rules, ret_count);

	if (rc < 0)
		return netlink_fail(netlink, err, rc, "list of routing rules");
	*ret = rules;
	return 0;
}

int net_rule_list(struct netlink *netlink, int family, struct net_rule **ret, size_t *ret_count, struct err *err)
{
	struct wanted wanted = {.family = family};

	return list_rules(netlink, &wanted, ret, ret_count, err);
}

int net_rule_has(struct netlink *netlink, const struct net_rule *rule, struct err *err)
{
	struct wanted wanted = {.family = rule->family, .rule = rule};
	struct net_rule *found = NULL;
	size_t count = 0;
	int rc = list_rules(netlink, &wanted, &found, &count, err);

	if (rc < 0)
		return rc;
	free(found);
	return count > 0;
}

/* --- adding and deleting --- */

uint32_t net_rule_free_priority(const struct net_rule *rules, size_t count)
{
	uint32_t lowest = PRIORITY_MAIN;

	for (size_t i = 0; i < count; i++)
		if (rules[i].priority > 0 && rules[i].priority < lowest)
			lowest = rules[i].priority;
	return lowest - 1;
}

/* The same attributes as `ip rule` sends. Return: NULL: out of memory. */
static struct nl_msg *rule_message(int type, int flags, const struct net_rule *rule)
{
	struct fib_rule_hdr header = {
		.family = (uint8_t)rule->family,
		.table = rule->table <= UINT8_MAX ? (uint8_t)rule->table : RT_TABLE_UNSPEC,
		.action = FR_ACT_TO_TBL,
		.flags = rule->is_not ? FIB_RULE_INVERT : 0,
	};
	struct nl_msg *message = netlink_message(type, flags, &header, sizeof(header));

	if (message && nla_put_u32(message, FRA_PRIORITY, rule->priority) == 0 &&
		nla_put_u32(message, FRA_TABLE, rule->table) == 0 &&
		(rule->mark == 0 || nla_put_u32(message, FRA_FWMARK, rule->mark) == 0) &&
		(!rule->suppresses_default || nla_put_u32(message, FRA_SUPPRESS_PREFIXLEN, 0) == 0))
		return message;
	nlmsg_free(message);
	return NULL;
}

int net_rule_add(struct netlink *netlink, const struct net_rule *rule, struct err *err)
{
	int rc = netlink_request(netlink, rule_message(RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL, rule));

	return rc < 0 ? netlink_fail(netlink, err, rc, "rule %u for table %u", rule->priority, rule->table) : 0;
}

/* The kernel deletes the first rule that has the named attributes, whatever others it has. So make sure that ours is
 * there. It is the first of its priority, because later rules are put behind it. */
int net_rule_delete(struct netlink *netlink, const struct net_rule *rule, struct err *err)
{
	int rc = net_rule_has(netlink, rule, err);

	if (rc <= 0)
		return rc;
	rc = netlink_request(netlink, rule_message(RTM_DELRULE, 0, rule));
	if (rc == 0 || rc == -ENOENT)
		return 0;
	return netlink_fail(netlink, err, rc, "delete rule %u for table %u", rule->priority, rule->table);
}
