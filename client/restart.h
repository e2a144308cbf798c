/* The keys of a changed file that a reload cannot take. Pure. */
#pragma once

#include "client/config.h"

#include <stdbool.h>
#include <stddef.h>

/* True if both bring up the device from the same file and name, so that [Interface] and [Peer] are comparable. */
bool restart_is_same_device(const struct client_config *before, const struct client_config *now);

/* Append to "Address, MTU", or "", the keys in which @now and @before differ. Names that do not fit are left out. */
void restart_append(char *text, size_t size, const struct client_config *before, const struct client_config *now);
