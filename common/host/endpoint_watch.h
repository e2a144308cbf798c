/* Looks the names of endpoints up again while the device is up: of peers that are silent, because their host may have
 * moved, and of those whose name was not found yet. WireGuard itself goes by addresses and would never ask again.
 *
 * Every 30 s the device is read. A peer is silent if its latest handshake is older than a live session can have and it
 * is sent to without an answer. Its name is asked for by getent(1) beside the loop, at growing intervals; the endpoint
 * is set only if the name has another address than the peer, and never creates a peer. A live peer may have roamed, and
 * is left where it is. Embedded in its owner, host.c.
 */
#pragma once

#include "common/host/applied.h"
#include "common/host/endpoints.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct endpoint_watch {
	struct applied *applied;
	uv_timer_t *timer; /* the owner's; its data is ours */
	struct endpoint_watch_peer *peers;
	struct addr *found; /* of the search under way, one for each peer */
	struct endpoints search;
	bool is_searching, is_told;
};

/* The device is up, or has another configuration. @watch: applied and timer are set. Begins with the names that are not
 * known yet. Without memory nothing is watched, and the log says so. */
void endpoint_watch_start(struct endpoint_watch *watch);
/* Also before endpoint_watch_start(). */
void endpoint_watch_stop(struct endpoint_watch *watch);

/* To be called by the timer. @now_ms: of the monotonic clock. @wall_s: of the wall clock. Return: milliseconds to the next. */
uint64_t endpoint_watch_look(struct endpoint_watch *watch, uint64_t now_ms, int64_t wall_s);
