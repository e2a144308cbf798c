/* One change to the host: written down, made, looked for.
 *
 * A plan (plan.h) is a list of them; bringing up makes one after the other, the repair looks for each and makes it again.
 */
#ifndef TOWPATH_HOST_CHANGE_H
#define TOWPATH_HOST_CHANGE_H

#include "common/base/err.h"
#include "common/base/prefix.h"
#include "common/host/undo.h"
#include "common/net/forward.h"
#include "common/net/netlink.h"
#include "common/net/route.h"
#include "common/net/rule.h"
#include "common/net/sysctl.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum change_kind {
	CHANGE_SYSCTL,
	CHANGE_DEVICE,
	CHANGE_CONFIGURE, /* key, port, mark, peers */
	CHANGE_ADDRESS,
	CHANGE_RAISE,
	CHANGE_DNS,
	CHANGE_ROUTE,
	CHANGE_FIREWALL,
	CHANGE_RULE,
	CHANGE_FORWARD, /* a rule in another table's FORWARD */
};

struct change {
	enum change_kind kind;
	unsigned line; /* of the file with [Interface], for complaints; 0: its header's */
	union {
		struct {
			char path[SYSCTL_PATH_MAX];
			char value[SYSCTL_VALUE_MAX];
			bool is_side_effect;   /* another change, or undoing one, sets it: only written down */
			bool goes_with_device; /* not written down */
		} sysctl;
		struct prefix address;
		uint32_t mtu; /* RAISE */
		struct {
			char *set, *unset;
		} dns;
		struct net_route route;
		struct net_rule rule;
		char *firewall; /* the script */
		struct forward_rule forward;
	};
	/* Where it stands: */
	bool is_made;
	bool is_covered; /* a route that the device's own network holds already: not made */
	/* How often it was put back lately, see repair.c: */
	unsigned repairs;
	uint64_t repairs_since_us, paused_until_us;
};

/* What a change is made on. */
struct change_place {
	struct netlink *netlink;
	struct netlink *birth;	   /* where the device is made */
	int netns_fd;		   /* where it appears: ours; -1: @birth is ours */
	struct net_routes *routes; /* the device's: read when first asked for, forgotten by who looks again */
	struct undo *undo;
	const char *device;
	int index;
};

/* Kinds made by netlink and /proc. CONFIGURE is the caller's; DNS, FIREWALL and FORWARD are programs, which he runs. */
bool change_is_sync(const struct change *change);

/* Write it down and make it. Return: 0 or a negative errno. */
int change_make(const struct change_place *place, struct change *change, struct err *err);

/* Write it down only: before a program makes it. @table: of nftables. */
int change_record(const struct change_place *place, const struct change *change, const char *table, struct err *err);

/* Is it there? Of the kinds above, CONFIGURE and DEVICE excepted. Return: 1, 0 or a negative errno. */
int change_is_there(const struct change_place *place, const struct change *change, struct err *err);

/* Make it once more, without writing it down. */
int change_repeat(const struct change_place *place, const struct change *change, struct err *err);

/* Take away a route that is not wanted any more. */
int change_take_back(const struct change_place *place, const struct change *change, struct err *err);

/* "route 192.168.1.0/24". Return: @buf. */
const char *change_text(char *buf, size_t size, const struct change *change);
/* The log's area. */
const char *change_area(const struct change *change);

void change_done(struct change *change);

#endif
