/* Hooks that forward, and whose packets our own table drops: lines of a file for a host that forwards already, or a
 * hook that switches IPv6's forwarding on too late. Each is told with its line and what helps.
 *
 * Our table confines a family that nobody but us has switched forwarding on for (plan.h), so that nothing leaves which
 * the file does not ask for. A hook asks for it by rules of another program, which we do not follow: only that they are
 * there is told.
 */
#pragma once

#include "common/host/plan.h"

#include <jansson.h>

/* Append a text for each family that has such a hook, about the first one. @facts: as they are after PostUp. */
void confined_find(const struct host_setup *setup, const struct plan_facts *facts, json_t *warnings);

/* The same to the log. */
void confined_tell(const struct host_setup *setup, const struct plan_facts *facts);

/* The same before it is up, for `check`: forwarding is as it is now, and as the hooks are going to set it. */
void confined_check(const struct host_setup *setup);
