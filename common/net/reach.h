/* Rules that keep packets from a port on which we listen: a DNAT that sends them elsewhere, as Docker makes it for a
 * port that a container publishes, or an INPUT chain that drops them, as ufw's does. Only what the rules clearly show
 * is told: whatever depends on more than protocol, port, device and address is passed over in silence. Pure.
 */
#pragma once

#include "common/base/addr.h"
#include "common/net/ruleset.h"

#include <stdbool.h>
#include <stddef.h>

#define REACH_TEXT_MAX 512

struct reach_port {
	int family;
	const char *protocol; /* "tcp", "udp" */
	unsigned port;
	const char *device;    /* by which the packets come */
	bool is_on_device;     /* only those: the remedy names the device */
	const struct addr *to; /* their destination; NULL: not known */
	const char *other;     /* the remedy in our file: "another port in Listen" */
	const char
		*own_table; /* of nftables. We send the packets elsewhere ourselves, at the usual priority: only rules
				  that come before ours or at the same time are in the way. NULL: we listen */
};

/* @objects: of ruleset_read(). Return: true with a sentence in @ret: which rule it is, and what helps. */
bool reach_find(const json_t *objects, const struct reach_port *port, char ret[REACH_TEXT_MAX]);
