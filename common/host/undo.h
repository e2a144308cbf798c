/* The undo list: what we changed on this host, on disk before it is done, undone in reverse.
 *
 * STATE_DIR/NAME/undo has one JSON object a line, and is only ever appended to:
 *
 *     {"boot":"0b9c…","netns":4026531840}                        the boot and the namespace of what follows
 *     {"kind":"sysctl","path":"net/ipv4/…","old":"0","new":"1"}   an entry (undo_entry.h); they are numbered from 0
 *     {"undone":0}  {"failed":0}                                  the end of one entry
 *
 * A tunnel that runs holds the list's lock (flock), and so does a program that cleans up after it. An entry is written
 * before its change is made, so a line that a crash cut short stands for no change. After a reboot only entries that
 * outlive it are undone (the resolver's). Only these are worth an fsync(): a crash of ours leaves what was written, and
 * a loss of power ends the boot.
 *
 * Changes that go with the device (its addresses, its routes) are not in the list. A list that another user owns or may
 * write to is refused, because what it says is done with our privileges.
 *
 * Tunnels share parameters: what one has set, another may rely on. So every tunnel also records parameters that already
 * had the right value, and a tunnel that would put one back adds its entry to the list of a running tunnel that has the
 * same parameter instead. Reading, writing and putting back parameters happens under undo_lock().
 */
#pragma once

#include "common/base/err.h"
#include "common/host/undo_entry.h"

#include <stdbool.h>
#include <stddef.h>

#define UNDO_TRIES_MAX 3 /* clean-ups that try an entry; then it is given up */

struct undo;

/* Take the list of @name, locked; made where there is none. Entries that it holds already are left from a crash.
 * Return: 0, -EBUSY (this tunnel runs already, or is being cleaned up), or another negative errno. */
int undo_open(struct undo **ret, const char *state_dir, const char *name, struct err *err);
/* The same for the list of its claims, STATE_DIR/NAME/claims: these come and go by themselves. */
int undo_open_claims(struct undo **ret, const char *state_dir, const char *name, struct err *err);
/* Close and unlock; an empty list's file is removed. */
void undo_close(struct undo *undo);

/* Is there one of both lists of @name? Changes nothing. */
bool undo_exists(const char *state_dir, const char *name);

/* Write one entry, before the change is made. Return: 0 or a negative errno. */
int undo_add(struct undo *undo, const struct undo_entry *entry, struct err *err);

/* The entries that are left, from the newest to the oldest. @at: 0 is the newest. Return: NULL past the oldest. */
const struct undo_entry *undo_newest(const struct undo *undo, size_t at);

/* The entry at @at has been undone. Return: 0 or a negative errno. */
int undo_drop(struct undo *undo, size_t at, struct err *err);

/* No entry is left: begin the file anew, so that it stays short however long the tunnel runs. For a list that no other
 * tunnel writes to. */
void undo_begin_anew(struct undo *undo);

/* The entry at @at could not be undone: it is left out until the list is opened again, at most UNDO_TRIES_MAX times.
 * Return: is it given up now? */
bool undo_set_aside(struct undo *undo, size_t at);

/* --- with other tunnels of this STATE_DIR --- */

/* One at a time on this host; held for as long as it takes to read and write a few parameters. */
void undo_lock(struct undo *undo);
void undo_unlock(struct undo *undo);

/* Under the lock: read what others added to our list. Return: 0 or a negative errno. */
int undo_refresh(struct undo *undo, struct err *err);

/* Under the lock: give every parameter that a running tunnel relies on to that tunnel's list, in the order they were
 * set. Return: how many, or a negative errno. */
int undo_hand_over(struct undo *undo, struct err *err);
