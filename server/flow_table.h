/* The hub's flows: one UDP socket towards Target for each client's instance, which outlives its carriers.
 *
 * The key is the client and the instance id of its JWT: a carrier with the same key takes the flow over, nothing else
 * does. Stock sessions have no instance: each has a flow of its own, which ends with it. The socket is made by the
 * supervisor (fixed source address and port for each key), so a claim is answered later, by a callback.
 */
#ifndef TOWPATH_SERVER_FLOW_TABLE_H
#define TOWPATH_SERVER_FLOW_TABLE_H

#include "common/tunnel/flow.h"
#include "common/tunnel/jwt.h"
#include "server/admit.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define FLOW_TABLE_BUCKETS 1024u
/* Without a carrier; WireGuard's own sessions end after as long (REJECT_AFTER_TIME). */
#define FLOW_LINGER_US 180000000u

struct hub;
struct session;

struct hub_flow {
	struct flow flow;
	struct hub *hub;
	struct hub_flow *next; /* in its bucket */
	struct dgram_socket socket;
	uv_poll_t poll;
	uint64_t ticket; /* of the request to the supervisor */
	uint32_t client;
	bool has_instance;
	uint8_t instance[JWT_INSTANCE_LEN];
	bool has_socket;
	bool is_closing;
	struct session *waiter;	 /* asked for the flow and has not got it yet */
	struct session *session; /* the newest that carries it */
	uint32_t session_count;
	uint64_t lonely_since_us; /* since when it has no session */
};

struct flow_table {
	struct hub *hub;
	struct hub_flow *buckets[FLOW_TABLE_BUCKETS];
	uint32_t flow_count;
	uint64_t last_ticket;
};

void flow_table_init(struct flow_table *table, struct hub *hub);

/**
 * flow_table_claim() - Get the flow of a granted session
 *
 * session_on_flow(session, flow) is called when the flow can be used, maybe before this returns; with NULL where no socket
 * could be had or a newer session of the same instance came first.
 *
 * Return: 0; -EUSERS: the client has as many sessions as MaxSessionsPerClient allows; -ENOSPC: all clients together as
 * many as MaxClients. Replacing a session needs no place.
 */
int flow_table_claim(struct flow_table *table, const struct admit_grant *grant, struct session *session);

/* The supervisor's answer. Owns @fd (-1 with @error). */
void flow_table_on_socket(struct flow_table *table, uint64_t ticket, int error, int fd);

/* A session that claimed or carried the flow is gone. */
void flow_table_release(struct hub_flow *flow, struct session *session);

/* End flows that have been without a session for long, and datagrams that have waited for too long. */
void flow_table_step(struct flow_table *table, uint64_t now_us);

/* End the flows of a client that have no session. */
void flow_table_end(struct flow_table *table, uint32_t client);

/* Sum of the counters of all flows that are there. @depth, @sojourn_us: added up, and the longest. */
void flow_table_sum(const struct flow_table *table, struct flow_counters *total, uint32_t *depth, uint64_t *sojourn_us);

/* End all flows; sessions are gone already. */
void flow_table_done(struct flow_table *table);

#endif
