/* One entry of the undo list, and its line of JSON. Pure. */
#pragma once

#include "common/net/rule.h"
#include "common/net/sysctl.h"

#include <jansson.h>
#include <net/if.h>
#include <stdbool.h>

#define UNDO_TEXT_MAX 1024

enum undo_kind {
	UNDO_SYSCTL, /* path, old value, the value that was to be set: put back only where that still stands */
	UNDO_DEVICE, /* name and index: deleted where the index fits and it is WireGuard's; it may have been renamed */
	UNDO_RULE,   /* deleted only where all of it fits */
	UNDO_FIREWALL, /* text: our nftables table's name */
	UNDO_COMMAND,  /* text: a line for sh -c: resolvconf, a rule in FORWARD */
};

struct undo_entry {
	enum undo_kind kind;
	bool outlives_boot;
	char path[SYSCTL_PATH_MAX]; /* SYSCTL */
	char old_value[SYSCTL_VALUE_MAX], new_value[SYSCTL_VALUE_MAX];
	char device[IFNAMSIZ]; /* DEVICE */
	int index;
	struct net_rule rule;	  /* RULE */
	char text[UNDO_TEXT_MAX]; /* FIREWALL, COMMAND */
};

/* Return: json_decref() it; NULL: out of memory. */
json_t *undo_entry_encode(const struct undo_entry *entry);

/* Return: 0, or -EINVAL: not an entry. */
int undo_entry_decode(const json_t *object, struct undo_entry *ret);

/* Are two parameters one matter, so that what one tunnel relies on cannot be put back by another? The same path; and
 * every interface's IPv6 forwarding and accept_ra, which all/forwarding changes and needs. */
bool undo_entry_is_tied(const struct undo_entry *a, const struct undo_entry *b);
