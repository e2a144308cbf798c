/* The local UDP port: one flow, with a link of its own, for each local source address (WireGuard uses one).
 *
 * The first flow is there from the start, so that its link is up before the first datagram comes. It belongs to the
 * first source that sends. After three minutes of silence another source may take it over. Other flows end after the
 * same silence.
 */
#pragma once

#include "client/link.h"
#include "common/tunnel/dgram_batch.h"
#include "common/tunnel/flow.h"
#include "common/tunnel/jwt.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define RELAY_FLOWS_MAX 64u
#define RELAY_SILENCE_US 180000000u /* WireGuard's REJECT_AFTER_TIME: its session is over by then */

struct client;

struct local_flow {
	struct flow flow;
	struct link link;
	struct relay *relay;
	struct local_flow *next;
	uint8_t instance[JWT_INSTANCE_LEN];
	bool is_first; /* is never closed for its silence */
	bool is_closing;
};

struct relay {
	struct client *client;
	uv_poll_t poll;
	struct dgram_socket socket;
	struct local_flow *flows;  /* the first one is the last of the list */
	struct local_flow *recent; /* the flow whose datagram came last, or NULL */
	uint32_t flow_count;
	struct flow_counters counters; /* of no flow: drops of the local port itself */
	struct flow_counters gone;     /* of flows that have ended */
	bool is_open;
};

/* Serve the local port @fd. Return: 0 or a negative errno. */
int relay_open(struct relay *relay, struct client *client, int fd, struct err *err);

/* Pings, silence, datagrams that have waited for too long. Twice a second. */
void relay_tick(struct relay *relay, uint64_t now_us);

/* link_wake() and link_on_reload() for all links. */
void relay_wake(struct relay *relay);
void relay_on_reload(struct relay *relay);

/* The flow that is there from the start; NULL once it is closed. */
struct local_flow *relay_first(const struct relay *relay);
/* Add up the counters and the queues of all flows, also of those that have ended. */
void relay_sum(const struct relay *relay, struct flow_counters *total, uint32_t *depth, uint64_t *sojourn_us);

/* Close the port and all links. The memory is free when the loop has run on. */
void relay_close(struct relay *relay);
