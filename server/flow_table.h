/* The hub's flows: one UDP socket towards Target for each client's instance, which outlives its carriers.
 *
 * The key is the client and the instance id of its JWT. A session with the same key takes the flow over, no other
 * session does. Sessions of stock clients have no instance: each gets a flow of its own, which ends with it. The
 * supervisor makes the socket (each key has a fixed source address and port), so a session may have to wait for its
 * flow.
 *
 * The table knows nothing of sessions but their pointers. It calls them through struct flow_handlers.
 */
#pragma once

#include "common/process/channel.h"
#include "common/tunnel/flow.h"
#include "common/tunnel/jwt.h"
#include "common/tunnel/pump.h"
#include "server/admit.h"
#include "server/settings.h"

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#define FLOW_TABLE_BUCKETS 1024u
/* How long a flow waits for the next session. WireGuard's own sessions end after as long (REJECT_AFTER_TIME). */
#define FLOW_LINGER_US 180000000u

struct session;

/**
 * enum flow_state - What a flow is waiting for
 *
 * A flow moves downwards through these states; between CARRIED and LONELY it may go back and forth. ->state, ->client,
 * ->instance and ->flow.counters may be read at any time. Outside flow_table.c only ->flow is written, by the carrier.
 *
 *    FLOW_ASKED - The supervisor has been asked for the socket
 *        ->waiter is the session that gets the flow; it is never NULL. There is no socket: ->socket and ->poll must not
 *        be touched, and no datagram may be queued.
 *            - flow_table_attach() of the same key: the newer session waits instead, the older one is told NULL
 *            - flow_table_on_socket(): to CARRIED, or with an error to CLOSING
 *            - flow_table_detach() by the waiter: to CLOSING. The supervisor's answer then finds no flow.
 *    FLOW_CARRIED - One session or more carry the flow
 *        ->session_count counts them; ->session is the newest, or NULL when the newest left before a retired one.
 *        ->second stands beside it and takes its place when it leaves; NULL: none does. ->retired was replaced last and
 *        is still there, or NULL.
 *            - flow_table_attach() of the same key: the newer session carries, the older ones are told to retire. One that
 *              is to stand beside ->session replaces ->second only; one that is to stand beside ->second says that the
 *              client has given ->session up
 *            - flow_table_detach() by the last session: to LONELY, or to CLOSING where there is no instance
 *    FLOW_LONELY - The socket is open and no session is there
 *        Datagrams from Target still go into the queue, for the next session. ->lonely_since_us says since when.
 *            - flow_table_attach() of the same key: to CARRIED, at once
 *            - flow_table_tick() after FLOW_LINGER_US, flow_table_end_lonely(), or another instance of a client that is
 *              at its limit: to CLOSING
 *    FLOW_CLOSING - Out of the table; the memory goes once the loop has closed the socket's handle
 *        Nothing may be called with the flow.
 */
enum flow_state { FLOW_ASKED, FLOW_CARRIED, FLOW_LONELY, FLOW_CLOSING };

struct hub_flow {
	struct flow flow;
	enum flow_state state;
	struct flow_table *table;
	struct hub_flow *next;	    /* in its bucket */
	struct dgram_socket socket; /* connected to Target */
	uv_poll_t poll;
	uint64_t ticket; /* names the flow to the supervisor; ticket % FLOW_TABLE_BUCKETS is its bucket */
	uint32_t client; /* its number */
	bool has_instance;
	uint8_t instance[JWT_INSTANCE_LEN];
	struct session *waiter;
	struct session *session;
	struct session *second;
	struct session *retired;
	uint32_t session_count;
	uint64_t lonely_since_us;
};

/* Calls from the table to sessions. Inside both, any function of this header may be called for another session. */
struct flow_handlers {
	/* The session that waited carries @flow now. NULL: there is no socket, or a newer session of the same instance
	 * came first; the session is detached already. */
	void (*on_flow)(struct session *session, struct hub_flow *flow);

	/* A newer session carries the flow. This one takes what is under way, then ends and detaches. */
	void (*on_retire)(struct session *session);

	/* The next one has retired: this one ends now, and detaches. */
	void (*on_outlived)(struct session *session);

	/* The id of its request. */
	const char *(*get_id)(const struct session *session);
};

/* All borrowed for as long as the table lives. */
struct flow_table_setup {
	uv_loop_t *loop;
	struct pump *pump;
	struct channel *channel; /* to the supervisor, which makes the sockets */
	/* The limits and the clients' names. A reload may change what is in it, but a flow's client must stay in it
	 * until the flow is out of the table. */
	const struct server_settings *settings;
	const struct flow_handlers *handlers;
};

struct flow_table {
	struct flow_table_setup setup;
	struct hub_flow *buckets[FLOW_TABLE_BUCKETS];
	struct client_count *client_counts[FLOW_TABLE_BUCKETS]; /* flows of each client that has one */
	uint32_t carried_count;					/* flows that are CARRIED, of all clients */
	uint32_t socket_count;					/* that are open */
	uint64_t last_ticket;
	struct flow_counters ended; /* of flows that are gone */
};

void flow_table_init(struct flow_table *table, const struct flow_table_setup *setup);

/**
 * flow_table_attach() - Get the flow of an admitted session
 * @rtt_ms: round trip of the session's connection; goes to the supervisor with the question for a socket
 * @ret: the flow, to be given back with flow_table_detach(). Where its state is FLOW_CARRIED it can be used now. Where
 *       it is FLOW_ASKED, on_flow(@session) comes later.
 *
 * No handler is called for @session itself from inside.
 *
 * Return: 0; -EUSERS: the client has as many flows as MaxSessionsPerClient allows; -ENOSPC: as many flows as MaxClients
 * are carried; -ENOMEM. Replacing a session needs no free place, nor does a second one beside the first.
 */
int flow_table_attach(struct flow_table *table, const struct admit_grant *grant, uint32_t rtt_ms,
	struct session *session, struct hub_flow **ret);

/* @session, which waited for @flow or carried it, is gone. Its carrier must have left the flow. */
void flow_table_detach(struct hub_flow *flow, struct session *session);

/* The supervisor's answer to the question with this ticket. Owns @fd (-1 with @error). */
void flow_table_on_socket(struct flow_table *table, uint64_t ticket, int error, int fd);

/* Close flows that have been lonely, drop datagrams that have waited, for too long. About twice a second. */
void flow_table_tick(struct flow_table *table, uint64_t now_us);

/* Close a client's flows that are lonely. */
void flow_table_end_lonely(struct flow_table *table, uint32_t client);

/* Add the counters of all flows, also of ended ones. @depth: datagrams that wait; @sojourn_us: the longest wait. */
void flow_table_sum(const struct flow_table *table, struct flow_counters *total, uint32_t *depth, uint64_t *sojourn_us);

/* Close all flows. All sessions have detached. */
void flow_table_done(struct flow_table *table);
