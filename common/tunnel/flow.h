/* The datagrams of one mapping between a UDP peer and a carrier, with counters. Outlives its carriers: it has none,
 * one, or two: on a line that loses segments a second one stands beside the first, and while one replaces another both
 * still deliver. Embedded in the server's and the client's own tables; holds no handle. */
#pragma once

#include "common/base/addr.h"
#include "common/tunnel/dgram_batch.h"
#include "common/tunnel/dgram_queue.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct carrier;

struct flow_counters {
	uint64_t sent_datagrams, sent_bytes;	     /* UDP → carrier */
	uint64_t received_datagrams, received_bytes; /* carrier → UDP */
	struct drop_counters dropped;
};

struct flow {
	struct dgram_queue queue;    /* towards the carrier */
	struct carrier *carrier;     /* the newest that is up; NULL: none */
	struct carrier *second;	     /* beside it, for what is urgent; NULL: none */
	struct dgram_socket *socket; /* where the carrier's datagrams go */
	struct addr peer;	     /* client: the local source address; server: unused, the socket is connected */
	bool has_peer;		     /* datagrams from the carrier have an address to go to */
	uint64_t active_us;	     /* last datagram from UDP */
	struct flow_counters counters;
};

/* @socket: where the datagrams of the carrier go; it may be opened later, and outlives the flow. */
void flow_init(struct flow *flow, struct dgram_pool *pool, struct dgram_socket *socket);
/* Counts what still waits. No carrier may be left on it. */
void flow_done(struct flow *flow);

/* Queue one received datagram; the carriers are told once for the whole batch, by carrier_send_flow(). */
void flow_push(struct flow *flow, struct dgram *dgram);

/* @total += @part, for sums over flows. */
void flow_counters_add(struct flow_counters *total, const struct flow_counters *part);

/* The status keys "datagrams", "bytes" and "dropped" (numbers of both directions, every reason). Return: 0, or
 * another value where memory ran out. */
int flow_counters_report(const struct flow_counters *counters, json_t *object);

/* Datagrams the kernel dropped because a UDP socket's receive buffer was full (SO_MEMINFO). */
uint32_t flow_socket_overflow(int fd);
