/* Looks up the name in Endpoint = NAME:PORT by getent(1) beside the loop: the supervisor itself talks to no name
 * server.
 *
 * A name that does not resolve yet is tried again for a while, as wg(8) does. Embedded in its owner: bringup.c, later
 * endpoint_watch.c.
 */
#pragma once

#include "common/base/addr.h"
#include "common/net/command.h"
#include "common/wireguard/wg_config.h"

#include <stddef.h>
#include <uv.h>

struct endpoints {
	uv_loop_t *loop;
	uv_timer_t *timer;    /* the owner's; its data is ours; NULL without patience */
	uint64_t patience_ms; /* with all names together; 0: each is tried once */
	const struct wg_config *config;
	const char *path;   /* for complaints */
	struct addr *addrs; /* the owner's: one for each peer; family 0: not known */
	size_t next;
	uint64_t since_ms, pause_ms;
	struct command *command;
	char failure[512];
	void (*on_found)(void *owner, size_t peer);	   /* a name was resolved; NULL: not wanted */
	void (*on_done)(void *owner, const char *failure); /* of the first name that was not found; NULL: none */
	void *owner;
};

/* Fill in the addresses that need no look-up: literal ones, and @through (family 0: none) for the peers that are
 * reached through the tunnel. Addresses that are known already stay. */
void endpoints_take_literals(const struct wg_config *config, const struct addr *through, struct addr *addrs);

/* Look up the other addresses. on_done may come before this returns. */
void endpoints_start(struct endpoints *endpoints);
void endpoints_stop(struct endpoints *endpoints);
