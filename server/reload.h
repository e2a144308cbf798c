/* New settings take the place of the old ones while the hub serves: clients that may still come in notice nothing. */
#pragma once

#include "server/hub.h"

/* Take @settings, whose listeners must be the same; owned where 0 is returned. Sessions and flows of clients that may
 * not come in any more are closed. Return: 0, or a negative errno with nothing changed. */
int hub_reload(struct hub *hub, struct server_settings *settings, struct err *err);
