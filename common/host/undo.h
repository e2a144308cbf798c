/* The undo list: what we changed on this host, on disk before it is done, undone in reverse.
 *
 * STATE_DIR/NAME/undo, one JSON object a line, the first says boot and network namespace. Only appended to while the tunnel is
 * up; whoever holds its lock (flock) runs the tunnel or cleans up after it. A line that was cut short by a crash is no
 * change: it is written before the change. After a reboot only what outlives one is undone (the resolver's entry).
 *
 * Changes that go with the device (its addresses, its routes) are not in it.
 */
#ifndef TOWPATH_HOST_UNDO_H
#define TOWPATH_HOST_UNDO_H

#include "common/base/err.h"
#include "common/net/rule.h"
#include "common/net/sysctl.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

#define UNDO_TEXT_MAX 1024

enum undo_kind {
	UNDO_SYSCTL,   /* path, old value, the value that was to be set: put back only where that still stands */
	UNDO_DEVICE,   /* name and index: deleted only where both fit and it is WireGuard's */
	UNDO_RULE,     /* deleted only where all of it fits */
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
	struct net_rule rule;	   /* RULE */
	char text[UNDO_TEXT_MAX]; /* FIREWALL, COMMAND */
};

struct undo;

/* Take the list of @name, locked; made where there is none. What it holds already was left behind by a crash.
 * Return: 0, -EBUSY (this tunnel runs already, or somebody cleans up after it just now), or another negative errno. */
int undo_open(struct undo **ret, const char *state_dir, const char *name, struct err *err);
/* Close and unlock; an empty list's file is removed. */
void undo_close(struct undo *undo);

/* Write one entry, before the change is made. Return: 0 or a negative errno. */
int undo_add(struct undo *undo, const struct undo_entry *entry, struct err *err);

/* The entries from the newest to the oldest. @at: 0 is the newest. Return: NULL past the oldest. */
const struct undo_entry *undo_newest(const struct undo *undo, size_t at);
size_t undo_count(const struct undo *undo);

/* The newest entry has been undone. Return: 0 or a negative errno. */
int undo_drop_newest(struct undo *undo, struct err *err);

#endif
