/* The last lines of this process' log, for the status. */
#pragma once

#include <jansson.h>

/* Append them to the list "events" of @object, the oldest first; made where @object has none:
 * {"at":"2026-11-21T02:45:00Z","level":"info","text":"session: laptop: up from …"}. */
void status_events_add(json_t *object);
