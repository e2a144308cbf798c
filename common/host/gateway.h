/* [Gateway] as plain data: what the tunnel's peers are let into. */
#ifndef TOWPATH_HOST_GATEWAY_H
#define TOWPATH_HOST_GATEWAY_H

#include "common/base/prefix.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

struct gateway {
	struct prefix *lans; /* networks: bits behind the length are cleared */
	size_t lan_count;
	char interface[IFNAMSIZ]; /* "": whichever device has the Lan; on the hub with 0.0.0.0/0 that of the default route */
	bool masquerade;
	unsigned line; /* of the section's header */
	unsigned lan_line, interface_line; /* 0: not given */
};

#endif
