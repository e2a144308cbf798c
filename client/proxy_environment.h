/* https_proxy and no_proxy of the environment, as curl reads them. Pure: the variables are handed in. */
#ifndef TOWPATH_CLIENT_PROXY_ENVIRONMENT_H
#define TOWPATH_CLIENT_PROXY_ENVIRONMENT_H

#include <stdbool.h>

/* Does @no_proxy (NULL: nothing) exempt @host, a name or an address without brackets? A list separated by commas or
 * blanks; "*" is everybody, "example.net" and ".example.net" are that name and all below it, an address is itself.
 * Loopback and "localhost" are always exempt: a proxy could only reach its own. */
bool proxy_is_exempt(const char *no_proxy, const char *host);

#endif
