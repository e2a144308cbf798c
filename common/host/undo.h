/* The undo list: what we changed on this host, on disk before it is done, undone in reverse.
 *
 * STATE_DIR/NAME/undo, one JSON object a line; only ever appended to:
 *
 *     {"boot":"0b9c…","netns":4026531840}                        what follows was done in this boot and namespace
 *     {"kind":"sysctl","path":"net/ipv4/…","old":"0","new":"1"}   an entry; they are numbered from 0
 *     {"undone":0}  {"failed":0}                                  what became of one
 *
 * Whoever holds its lock (flock) runs the tunnel or cleans up after it. A line that was cut short by a crash is no change: it
 * is written before the change. After a reboot only what outlives one is undone (the resolver's entry), and only such an entry
 * is worth an fsync(): a crash of ours leaves what was written, and power that fails ends the boot.
 *
 * Changes that go with the device (its addresses, its routes) are not in it. A list that somebody else owns or may write in is
 * refused: what it says is done with our privileges.
 *
 * Parameters are shared: what one tunnel has set, another may rely on. Everyone writes down also what was already as it should
 * be; whoever would put back a parameter that a running tunnel has in its list adds his entry to that list instead.
 * Reading, writing and putting back parameters happens under undo_lock().
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
#define UNDO_TRIES_MAX 3 /* clean-ups that try an entry; then it is given up */

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

struct undo;

/* Take the list of @name, locked; made where there is none. What it holds already was left behind by a crash.
 * Return: 0, -EBUSY (this tunnel runs already, or somebody cleans up after it just now), or another negative errno. */
int undo_open(struct undo **ret, const char *state_dir, const char *name, struct err *err);
/* Close and unlock; an empty list's file is removed. */
void undo_close(struct undo *undo);

/* Is there a list of @name at all? Changes nothing. */
bool undo_exists(const char *state_dir, const char *name);

/* Write one entry, before the change is made. Return: 0 or a negative errno. */
int undo_add(struct undo *undo, const struct undo_entry *entry, struct err *err);

/* The entries that are left, from the newest to the oldest. @at: 0 is the newest. Return: NULL past the oldest. */
const struct undo_entry *undo_newest(const struct undo *undo, size_t at);

/* The entry at @at has been undone. Return: 0 or a negative errno. */
int undo_drop(struct undo *undo, size_t at, struct err *err);

/* The entry at @at could not be undone: it is left out until the list is opened again, at most UNDO_TRIES_MAX times.
 * Return: is it given up now? */
bool undo_set_aside(struct undo *undo, size_t at);

/* --- with other tunnels of this STATE_DIR --- */

/* One at a time on this host; held for as long as it takes to read and write a few parameters. */
void undo_lock(struct undo *undo);
void undo_unlock(struct undo *undo);

/* Under the lock: read what others added to our list. Return: 0 or a negative errno. */
int undo_refresh(struct undo *undo, struct err *err);

/* Under the lock: give every parameter that a running tunnel relies on to that tunnel's list, in the order they were set.
 * Return: how many, or a negative errno. */
int undo_hand_over(struct undo *undo, struct err *err);

#endif
