/* The client's way to the server, and back to it after each failure. One link for each flow.
 *
 *     SEEKING → CHOSEN → UP;  any failure → WAITING → SEEKING;  any → CLOSED
 *
 * A failure anywhere is one log line that names phase, peer, reason and what comes next.
 */
#pragma once

#include "client/second.h"
#include "client/seek.h"
#include "common/base/addr.h"
#include "common/tunnel/backoff.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct attempt;
struct client;
struct flow;
struct profile;

enum link_state {
	LINK_SEEKING, /* seek.h searches */
	LINK_CHOSEN,  /* a server has proved who it is; the upgrade runs */
	LINK_UP,
	LINK_WAITING, /* for the next try */
	LINK_CLOSED,
	LINK_STATE_COUNT,
};

enum link_event {
	LINK_EVENT_CHOSEN,
	LINK_EVENT_UP,
	LINK_EVENT_FAILED,
	LINK_EVENT_TIMER,
	LINK_EVENT_RESTART,
	LINK_EVENT_CLOSE,
	LINK_EVENT_COUNT,
};

struct link_handlers {
	void (*on_closed)(void *owner); /* after link_close(): the memory is the owner's again */
	/* True if datagrams now come for another link, which then gets a head start. */
	bool (*is_superseded)(void *owner);
	/* False while another link has to come up first. */
	bool (*may_dial)(void *owner);
};

struct link_setup {
	struct client *client;
	struct flow *flow;	 /* whose datagrams go through the link */
	const uint8_t *instance; /* JWT_INSTANCE_LEN bytes, borrowed until on_closed */
	bool is_first;		 /* its state is the tunnel's, told to the supervisor */
	const struct link_handlers *handlers;
	void *owner;
};

struct link {
	struct link_setup setup;
	struct client *client;
	struct profile *profile; /* kept; taken from the client when SEEKING begins */
	enum link_state state;
	uv_timer_t timer;	 /* WAITING: until the next try */
	struct seek seek;	 /* SEEKING */
	struct attempt *attempt; /* CHOSEN, UP */
	struct second second;	 /* UP: beside it, on a line that loses segments */
	struct addr addr;	 /* CHOSEN, UP: the server's */
	unsigned pending; /* what has to close before on_closed: timer, seek, second, each attempt that was chosen */
	struct backoff backoff;
	uint32_t wait_ms; /* before the next try */
	size_t server;	  /* index into the settings' servers */
	uint64_t up_us;	  /* when it came up */
	uint64_t lost_us; /* when the last try or connection failed; 0: none has */
};

/* Begin with the first server, from the loop. */
void link_open(struct link *link, const struct link_setup *setup);

/* Pings and deadlines. About twice a second. */
void link_tick(struct link *link, uint64_t now_us);

/* The host's network or clock has changed: a link that waits tries now, one that is up checks the server. */
void link_wake(struct link *link);

/* The client has another profile. A link that is up takes it at its next connect, any other at once. */
void link_on_reload(struct link *link);

void link_close(struct link *link);

bool link_is_up(const struct link *link);

uint64_t link_rtt_us(const struct link *link); /* 0: it is not up */

/* Set the status keys "server" and "link" of @object. */
void link_report(const struct link *link, json_t *object);
