/* What of a changed file only a restart takes. Pure. */
#ifndef TOWPATH_CLIENT_RESTART_H
#define TOWPATH_CLIENT_RESTART_H

#include "client/config.h"

#include <stdbool.h>
#include <stddef.h>

/* Do both bring up the device from the same place, under the same name? Only then is the one's [Interface] and [Peer] a change
 * of the other's. */
bool restart_is_same_device(const struct client_config *before, const struct client_config *now);

/* Append to "Address, MTU", or "", what of @now differs from @before. What does not fit is left out. */
void restart_append(char *text, size_t size, const struct client_config *before, const struct client_config *now);

#endif
