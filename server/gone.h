/* Clients that were revoked, remembered for 30 days in STATE_DIR/NAME/revoked, so that a late guest is told. */
#pragma once

#include "common/base/err.h"

#include <jansson.h>
#include <stdint.h>

/* Read the list: {"TOKEN": seconds since 1970, …}, without what is older. Return: it (json_decref() it); an empty one where
 * there is none, or it cannot be read. */
json_t *gone_read(const char *folder, int64_t now_s);

/* Add a token. @folder: is there. Return: 0 or a negative errno. */
int gone_add(const char *folder, const char *token, int64_t now_s, struct err *err);
