/* What a claim has added to another program's device, taken away again: an allowed IP or a route. */
#pragma once

#include "common/base/err.h"
#include "common/host/undo_entry.h"

#include <stddef.h>

/* @entry: of UNDO_CLAIM_IP or UNDO_CLAIM_ROUTE. Nothing is done where the namespace or the device is another one by
 * now: then all of it has gone with them. An allowed IP stays with the peer if the manager's own file gives it to that
 * by now, or where another peer has it. Return: 0, or a negative errno with @err set. */
int claim_undo(const struct undo_entry *entry, struct err *err);

/* "192.168.1.0/24 of a peer of wg0", "route 192.168.1.0/24 by wg0". Return: @buf. */
const char *claim_undo_text(char *buf, size_t size, const struct undo_entry *entry);
