/* One change to the host: recorded in the undo list, made, looked for, taken back.
 *
 * A plan (plan.h) is an ordered list of changes; applied.c makes them one after the other and looks for them again. A
 * kind of change is one row of the table in change.c, which calls one module of common/net/. This file keeps no state.
 */
#pragma once

#include "common/base/err.h"
#include "common/base/prefix.h"
#include "common/host/undo.h"
#include "common/net/forward.h"
#include "common/net/netlink.h"
#include "common/net/route.h"
#include "common/net/rule.h"
#include "common/net/sysctl.h"

#include <stdbool.h>
#include <stdint.h>

#define CHANGE_TEXT_MAX FORWARD_COMMAND_MAX /* the longest text is the command line of a FORWARD rule */

enum change_kind {
	CHANGE_SYSCTL,
	CHANGE_DEVICE,
	CHANGE_CONFIGURE, /* key, port, mark, peers */
	CHANGE_ADDRESS,
	CHANGE_RAISE, /* the device is set up, with its MTU */
	CHANGE_DNS,
	CHANGE_ROUTE,
	CHANGE_SERVICE,	 /* only recorded: the table makes it */
	CHANGE_FIREWALL, /* our table of nftables */
	CHANGE_RULE,
	CHANGE_FORWARD, /* a rule in another table's FORWARD chain */
};

struct change {
	enum change_kind kind;
	unsigned line; /* in the file with [Interface], for complaints; 0: the line of [Interface] itself */
	union {
		struct {
			char path[SYSCTL_PATH_MAX];
			char value[SYSCTL_VALUE_MAX];
			bool is_side_effect;   /* the kernel sets it along with another change: only recorded */
			bool goes_with_device; /* not recorded */
		} sysctl;
		struct prefix address;
		uint32_t mtu; /* RAISE */
		struct {
			char *set, *unset; /* lines for sh */
		} dns;
		struct net_route route;
		struct net_rule rule;
		struct service service;
		char *firewall; /* the script for nft */
		struct forward_rule forward;
	};
	/* Where it stands: */
	bool is_made;	 /* and the repair keeps it so */
	bool is_covered; /* ROUTE: a network of the device's own holds it already, so it was not added */
	unsigned failures; /* FIREWALL: how often nft has refused it since it was made last */
	/* How often it was put back lately (repair.c): */
	unsigned repairs;
	uint64_t repairs_since_us, paused_until_us; /* clock_now_us() */
};

/* The objects on which a change is made. */
struct change_target {
	struct netlink *netlink;
	struct netlink *birth;	   /* the namespace in which the device is made */
	int netns_fd;		   /* the namespace in which it appears: ours; -1: @birth is ours */
	struct net_routes *routes; /* the device's; read when first asked for; net_routes_done() it before a new pass */
	struct undo *undo;
	const char *device;
	const char *table; /* of nftables */
	int index;
};

/* True for a kind that netlink or /proc makes at once. DNS, FIREWALL and FORWARD are made by programs, CONFIGURE by
 * wg_device_configure(): applied.c does both. */
bool change_is_sync(const struct change *change);

/* Record it and make it; a sync kind. Return: 0 or a negative errno. */
int change_make(const struct change_target *target, struct change *change, struct err *err);

/* Record it only: before a program makes it. Return: 0 or a negative errno; then it must not be made. */
int change_record(const struct change_target *target, const struct change *change, struct err *err);

/* Return: 1 it is there, also for kinds that cannot be looked for this way; 0 it is not; or a negative errno. */
int change_is_there(const struct change_target *target, const struct change *change, struct err *err);

/* Make it once more, without recording it; a sync kind. Return: 0 or a negative errno. */
int change_repeat(const struct change_target *target, const struct change *change, struct err *err);

/* Take away a route that is not wanted any more. Return: 0 or a negative errno. */
int change_take_back(const struct change_target *target, const struct change *change, struct err *err);

/* "192.168.1.0/24", "rule 51820, lookup 51820". Return: @buf. */
const char *change_text(char buf[CHANGE_TEXT_MAX], const struct change *change);
/* The area of its log lines. */
const char *change_area(const struct change *change);

void change_done(struct change *change);
