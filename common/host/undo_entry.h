/* One line of the undo list as JSON. Pure. */
#ifndef TOWPATH_HOST_UNDO_ENTRY_H
#define TOWPATH_HOST_UNDO_ENTRY_H

#include "common/host/undo.h"

#include <jansson.h>

/* Return: json_decref() it; NULL: out of memory. */
json_t *undo_entry_encode(const struct undo_entry *entry);

/* Return: 0, or -EINVAL: not an entry. */
int undo_entry_decode(const json_t *object, struct undo_entry *ret);

/* Are two parameters one matter, so that what one tunnel relies on cannot be put back by another? The same path; and every
 * interface's IPv6 forwarding and accept_ra, which all/forwarding changes and needs. */
bool undo_entry_is_tied(const struct undo_entry *a, const struct undo_entry *b);

#endif
