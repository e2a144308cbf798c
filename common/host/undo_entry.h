/* One entry of the undo list, and its line of JSON. Pure. */
#pragma once

#include "common/base/prefix.h"
#include "common/net/rule.h"
#include "common/net/service.h"
#include "common/net/sysctl.h"
#include "common/wireguard/wg_config.h"

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
	UNDO_SERVICE,  /* its connections; after our table, so that no new ones are made */
	/* On another program's device, see claim_undo.h: name, index, prefix, namespace (text: its path, "": ours; id:
	 * netns_id()). An allowed IP is taken from the peer with that key, and only from that. */
	UNDO_CLAIM_IP,
	UNDO_CLAIM_ROUTE,
};

struct undo_entry {
	enum undo_kind kind;
	bool outlives_boot;
	char path[SYSCTL_PATH_MAX]; /* SYSCTL */
	char old_value[SYSCTL_VALUE_MAX], new_value[SYSCTL_VALUE_MAX];
	char device[IFNAMSIZ]; /* DEVICE, CLAIM */
	int index;
	struct net_rule rule;	  /* RULE */
	char text[UNDO_TEXT_MAX]; /* FIREWALL, COMMAND, CLAIM */
	uint64_t netns;		  /* CLAIM, as below */
	struct prefix prefix;
	uint8_t public_key[WG_CONFIG_KEY_LEN];
	struct service service; /* SERVICE */
};

/* Return: json_decref() it; NULL: out of memory. */
json_t *undo_entry_encode(const struct undo_entry *entry);

/* Return: 0, or -EINVAL: not an entry. */
int undo_entry_decode(const json_t *object, struct undo_entry *ret);

/* Are two parameters one matter, so that what one tunnel relies on cannot be put back by another? The same path; and
 * every interface's IPv6 forwarding and accept_ra, which all/forwarding changes and needs. */
bool undo_entry_is_tied(const struct undo_entry *a, const struct undo_entry *b);
