/* The HTTP proxy on the way to the server: its URL, and https_proxy and no_proxy of the environment, as curl does. */
#pragma once

#include "client/settings.h"
#include "common/base/ini.h"

#include <stdbool.h>

/* Read "http://user:password@proxy:3128" into the proxy_… fields of @settings; the scheme may be absent, and so may the
 * user.
 * Return: NULL, or the complaint, @settings are then unchanged. */
const char *proxy_parse(const char *text, struct client_settings *settings);

/* Take the environment's proxy for the servers of @settings unless no_proxy names them all. Complains to @report. */
void proxy_take_environment(struct client_settings *settings, struct ini_report *report);

/* True if @no_proxy (NULL: nothing) exempts @host, a name or an address without brackets. A list separated by commas or
 * blanks; "*" matches every host, "example.net" and ".example.net" match that name and all below it, an address only
 * itself. Loopback and "localhost" are always exempt: a proxy could only reach its own. Pure. */
bool proxy_is_exempt(const char *no_proxy, const char *host);
