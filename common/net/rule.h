/* Policy routing rules. */
#pragma once

#include "common/net/netlink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct net_rule {
	int family;
	uint32_t priority; /* ours always have one, so that they can be told from the rules of other programs */
	uint32_t table;
	uint32_t mark;		 /* 0: any */
	bool is_not;		 /* packets that do not carry @mark */
	bool suppresses_default; /* suppress_prefixlength 0 */
};

/* The rules of @family, in the order in which the kernel asks them. Rules with conditions that struct net_rule cannot
 * express are listed with priority and table only. Return: 0 (the caller frees it) or a negative errno. */
int net_rule_list(struct netlink *netlink, int family, struct net_rule **ret, size_t *ret_count, struct err *err);

/* The priority right before all existing ones but 0, as the kernel itself would pick it. Return: 0: none is left. */
uint32_t net_rule_free_priority(const struct net_rule *rules, size_t count);

/* Return: 0, -EEXIST, or another negative errno. */
int net_rule_add(struct netlink *netlink, const struct net_rule *rule, struct err *err);
/* Delete exactly this rule. It is no failure if it is gone already. */
int net_rule_delete(struct netlink *netlink, const struct net_rule *rule, struct err *err);
/* Return: 1 if exactly this rule is there, 0, or a negative errno. */
int net_rule_has(struct netlink *netlink, const struct net_rule *rule, struct err *err);
