/* Are the hub's ports reached? Rules of other programs may take or drop what comes to a port on which we listen: the
 * listeners', WireGuard's own where it is not hidden, and that of a name server on this host for the tunnel's peers.
 * They are told as warnings, in the log and in the status, each with the rule and what helps; nothing is changed.
 *
 * Embedded in the supervisor, zero-initialised. Without CAP_NET_ADMIN the rules cannot be read, and nothing is told.
 */
#pragma once

#include "common/net/ruleset_scan.h"
#include "server/config.h"

#include <jansson.h>
#include <uv.h>

struct reachable {
	const struct server_config *config;
	uv_loop_t *loop;
	void (*on_checked)(void *owner); /* NULL: not wanted */
	void *owner;
	struct ruleset_scan *scan; /* NULL: none under way */
	json_t *warnings;	   /* of the last check: texts; NULL: none yet */
};

/* Check all ports, beside the loop. A new finding goes to the log. on_checked may come before this returns. */
void reachable_check(struct reachable *reachable);
void reachable_close(struct reachable *reachable);

/* The same for `check`: before this returns, to the log. */
void reachable_check_now(const struct server_config *config);
