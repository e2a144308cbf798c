/* The keys of a changed file that a reload cannot take. Pure. */
#ifndef TOWPATH_CLIENT_RESTART_H
#define TOWPATH_CLIENT_RESTART_H

#include "client/config.h"

#include <stdbool.h>
#include <stddef.h>

/* Do both bring up the device from the same file, under the same name? Only then can [Interface] and [Peer] of the two be
 * compared. */
bool restart_is_same_device(const struct client_config *before, const struct client_config *now);

/* Append to "Address, MTU", or "", the keys in which @now differs from @before. A name that does not fit is left out. */
void restart_append(char *text, size_t size, const struct client_config *before, const struct client_config *now);

#endif
