/* Flows by client and instance (flow_table.h).
 *
 * Theory of operation. A flow is one UDP socket connected to Target, a queue of datagrams for the client, and counters.
 * It exists because WireGuard behind Target knows a client by the source address and port of its datagrams: when the
 * client's TCP connection breaks and it comes again, the same socket must serve it, or WireGuard would answer to the
 * old address. So a flow outlives the sessions that carry it. flow_table.h lists its states, and what may be called in
 * each.
 *
 *    A new client     attach → no flow → ask the supervisor (ASKED) → on_socket → on_flow (CARRIED)
 *    It comes again   attach → the flow is LONELY or CARRIED → usable at once; a session that carries it retires
 *    It stays away    the last session detaches (LONELY) → after FLOW_LINGER_US the tick closes it (CLOSING) → freed
 *
 * While a flow is CARRIED by several sessions, all deliver what the client sends, but only the newest, and a second one
 * that stands beside it, get what Target sends: flow.carrier and flow.second are their carriers. While a flow is
 * LONELY, Target's datagrams go into the queue as ever. They soon get too old there and are dropped, except the newest
 * WireGuard handshake initiation: WireGuard behind Target would wait seconds before it sends another one to the client
 * that has come back.
 *
 * Two tables stand side by side. `buckets` finds a flow by its key; a flow's ticket is a counter above its bucket's
 * number, so that the supervisor's answer finds the flow in the same bucket. `client_counts` counts the flows of each
 * client that has one, for MaxSessionsPerClient. All work for a new session is thus independent of how many flows there
 * are, except for a client at its limit: then all flows are searched for the one of its own that has been lonely
 * longest.
 *
 * Calls come from sessions (attach, detach), from the worker (on_socket, tick, sum) and from the loop (a readable
 * socket). Into sessions go on_flow and on_retire, and carrier_send_flow() for datagrams. Any of these may end a session,
 * which detaches; so a function here calls out last, or looks at ->state afterwards.
 *
 * Failure: no memory or a limit is returned from attach. A socket that cannot be had closes the flow and tells the
 * waiter NULL. A flow that is closed counts datagrams that are never read: datagrams in the queue, and those in the
 * socket's buffer.
 */
#include "server/flow_table.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/require.h"
#include "common/tunnel/carrier.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Datagrams that are counted in a socket's buffer when it closes: more than any buffer holds, and an end to the
 * loop. */
#define UNREAD_MAX 65536u

struct client_count {
	uint32_t client, flows;
	struct client_count *next;
};

void flow_table_init(struct flow_table *table, const struct flow_table_setup *setup)
{
	*table = (struct flow_table){.setup = *setup};
}

/* --- finding --- */

/* An instance id is random, and comes from an admitted client: nobody gains by choosing a bucket. */
static uint64_t bucket_of(uint32_t client, const uint8_t *instance)
{
	uint32_t word;

	memcpy(&word, instance, sizeof(word));
	return (word + client * 2654435761u) %
	       FLOW_TABLE_BUCKETS; /* Knuth's multiplicative hash: 2^32 / golden ratio */
}

static struct hub_flow *find_flow(struct flow_table *table, const struct admit_grant *grant)
{
	struct hub_flow *flow;

	if (!grant->has_instance)
		return NULL;
	flow = table->buckets[bucket_of(grant->client, grant->instance)];
	for (; flow; flow = flow->next)
		if (flow->has_instance && flow->client == grant->client &&
			memcmp(flow->instance, grant->instance, sizeof(flow->instance)) == 0)
			return flow;
	return NULL;
}

/* All flows one after the other; NULL gives the first. Fetch the next one before a flow is closed. */
static struct hub_flow *next_flow(const struct flow_table *table, const struct hub_flow *flow)
{
	uint64_t bucket = flow ? flow->ticket % FLOW_TABLE_BUCKETS + 1 : 0;

	if (flow && flow->next)
		return flow->next;
	while (bucket < FLOW_TABLE_BUCKETS && !table->buckets[bucket])
		bucket++;
	return bucket < FLOW_TABLE_BUCKETS ? table->buckets[bucket] : NULL;
}

/* Where the client's count is, or belongs. Numbers are spread already: they follow from hashes of names. */
static struct client_count **find_count(struct flow_table *table, uint32_t client)
{
	struct client_count **link = &table->client_counts[client % FLOW_TABLE_BUCKETS];

	while (*link && (*link)->client != client)
		link = &(*link)->next;
	return link;
}

/* --- closing --- */

static void flow_free(struct hub_flow *flow)
{
	flow_done(&flow->flow); /* counts what still waits */
	flow_counters_add(&flow->table->ended, &flow->flow.counters);
	free(flow);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct hub_flow *flow = handle->data;
	char byte;

	for (unsigned left = UNREAD_MAX; left > 0; left--) {
		if (recv(flow->socket.fd, &byte, sizeof(byte), MSG_DONTWAIT | MSG_TRUNC) < 0)
			break;
		flow->flow.counters.dropped.count[DROP_CARRIER_LOST]++;
	}
	close(flow->socket.fd);
	flow->table->socket_count--;
	flow_free(flow);
}

static void flow_close(struct hub_flow *flow)
{
	struct hub_flow **link = &flow->table->buckets[flow->ticket % FLOW_TABLE_BUCKETS];
	struct client_count **count_link = find_count(flow->table, flow->client), *count = *count_link;
	bool has_socket = flow->state != FLOW_ASKED;

	require(flow->state != FLOW_CLOSING && flow->session_count == 0);
	while (*link && *link != flow)
		link = &(*link)->next;
	require(*link == flow && count && count->flows > 0);
	*link = flow->next;
	if (--count->flows == 0) {
		*count_link = count->next;
		free(count);
	}
	flow->state = FLOW_CLOSING;
	if (has_socket) {
		flow->flow.counters.dropped.count[DROP_UDP_OVERFLOW] += flow_socket_overflow(flow->socket.fd);
		uv_close((uv_handle_t *)&flow->poll, on_poll_closed);
	} else {
		flow_free(flow);
	}
}

/* --- datagrams from Target --- */

static bool on_target_batch(void *owner, unsigned count, bool is_last, uint64_t now_us)
{
	struct hub_flow *flow = owner;
	struct pump *pump = flow->table->setup.pump;

	for (unsigned i = 0; i < count; i++)
		pump_take(pump, i, &flow->flow, now_us);
	if (is_last)
		carrier_send_flow(&flow->flow, now_us); /* may end the session, and with it a stock client's flow */
	return flow->state != FLOW_CLOSING;
}

static void on_target_readable(uv_poll_t *poll, int status, int events)
{
	struct hub_flow *flow = poll->data;

	(void)events;
	if (status < 0) /* libuv stops the handle at an error, here an ICMP message; receiving clears it */
		uv_poll_start(poll, UV_READABLE, on_target_readable);
	pump_receive(flow->table->setup.pump, &flow->socket, &flow->flow.counters.dropped, on_target_batch, flow);
}

/* --- attaching --- */

/* Return: true if the client may have one flow more. At its limit the flow that has been lonely longest gives way. */
static bool make_room(struct flow_table *table, uint32_t client)
{
	const struct client_count *count = *find_count(table, client);
	struct hub_flow *oldest = NULL;

	if (!count || count->flows < table->setup.settings->max_sessions_per_client)
		return true;
	for (struct hub_flow *flow = next_flow(table, NULL); flow; flow = next_flow(table, flow))
		if (flow->client == client && flow->state == FLOW_LONELY &&
			(!oldest || flow->lonely_since_us < oldest->lonely_since_us))
			oldest = flow;
	if (oldest)
		flow_close(oldest);
	return oldest != NULL;
}

/* Make a flow that waits for its socket. Return: NULL without memory. */
static struct hub_flow *flow_open(struct flow_table *table, const struct admit_grant *grant)
{
	struct client_count **count = find_count(table, grant->client);
	struct hub_flow *flow = calloc(1, sizeof(*flow)), **bucket;
	uint64_t number = ++table->last_ticket;

	if (flow && !*count) {
		*count = calloc(1, sizeof(**count));
		if (*count)
			(*count)->client = grant->client;
	}
	if (!flow || !*count) {
		free(flow);
		return NULL;
	}
	(*count)->flows++;
	flow_init(&flow->flow, &table->setup.pump->pool, &flow->socket);
	flow->state = FLOW_ASKED;
	flow->table = table;
	flow->client = grant->client;
	flow->has_instance = grant->has_instance;
	memcpy(flow->instance, grant->instance, sizeof(flow->instance));
	/* Stock sessions are found by their ticket only, which spreads them. */
	flow->ticket = number * FLOW_TABLE_BUCKETS +
		       (grant->has_instance ? bucket_of(grant->client, grant->instance) : number % FLOW_TABLE_BUCKETS);
	bucket = &table->buckets[flow->ticket % FLOW_TABLE_BUCKETS];
	flow->next = *bucket;
	*bucket = flow;
	return flow;
}

static const char *client_name(const struct hub_flow *flow)
{
	return server_settings_find(flow->table->setup.settings, flow->client)->name;
}

/* If the question cannot be sent, no answer comes, and the session's own deadline ends the wait. */
static void ask_for_socket(const struct hub_flow *flow, uint32_t rtt_ms)
{
	struct channel_flow wanted = {
		.ticket = flow->ticket, .client = flow->client, .has_instance = flow->has_instance, .rtt_ms = rtt_ms};

	memcpy(wanted.instance, flow->instance, sizeof(wanted.instance));
	if (channel_send(flow->table->setup.channel, CHANNEL_FLOW_WANTED, &wanted, sizeof(wanted), -1) < 0)
		log_warning("session", "%s: the supervisor takes no request", client_name(flow));
}

/* No more than one stays, or a client could pile them up. */
static void retire(struct hub_flow *flow, struct session *session)
{
	const struct flow_handlers *handlers = flow->table->setup.handlers;
	struct session *before = flow->retired;

	if (!session)
		return;
	flow->retired = session;
	handlers->on_retire(session);
	if (before)
		handlers->on_outlived(before);
}

/* @beside: an id. */
static bool is_beside(const struct hub_flow *flow, const struct session *session, const char *beside)
{
	return session && beside[0] && strcmp(flow->table->setup.handlers->get_id(session), beside) == 0;
}

/* @session carries @flow from now on, alone or beside the one that its client names. The others retire. */
static void carry(struct hub_flow *flow, struct session *session, const char *beside)
{
	struct session *first = flow->session, *second = flow->second;

	flow->table->carried_count += flow->state != FLOW_CARRIED;
	flow->state = FLOW_CARRIED;
	flow->session_count++;
	if (is_beside(flow, second, beside)) {
		flow->session = second;
		flow->second = session;
		retire(flow, first);
	} else if (is_beside(flow, first, beside)) {
		flow->second = session;
		retire(flow, second);
	} else {
		flow->session = session;
		flow->second = NULL;
		retire(flow, second);
		retire(flow, first);
	}
}

int flow_table_attach(struct flow_table *table, const struct admit_grant *grant, uint32_t rtt_ms,
	struct session *session, struct hub_flow **ret)
{
	struct hub_flow *flow = find_flow(table, grant);
	struct session *before;

	if ((!flow || flow->state != FLOW_CARRIED) && table->carried_count >= table->setup.settings->max_clients)
		return -ENOSPC;
	if (!flow) {
		if (!make_room(table, grant->client))
			return -EUSERS;
		flow = flow_open(table, grant);
		if (!flow)
			return -ENOMEM;
		ask_for_socket(flow, rtt_ms);
	}
	*ret = flow;
	if (flow->state != FLOW_ASKED) {
		carry(flow, session, grant->beside);
		return 0;
	}
	before = flow->waiter; /* the same instance asked twice within a moment */
	flow->waiter = session;
	if (before)
		table->setup.handlers->on_flow(before, NULL);
	return 0;
}

/* Serve @fd. Return: 0 or a negative errno; @fd is the flow's once the state is no longer FLOW_ASKED. */
static int take_socket(struct hub_flow *flow, int fd)
{
	int rc = uv_poll_init(flow->table->setup.loop, &flow->poll, fd);

	if (rc < 0)
		return rc;
	flow->poll.data = flow;
	flow->flow.has_peer = true;
	dgram_socket_init(&flow->socket, fd, true);
	flow->table->socket_count++;
	flow->state = FLOW_LONELY;
	return uv_poll_start(&flow->poll, UV_READABLE, on_target_readable);
}

void flow_table_on_socket(struct flow_table *table, uint64_t ticket, int error, int fd)
{
	struct hub_flow *flow = table->buckets[ticket % FLOW_TABLE_BUCKETS];
	struct session *waiter;

	while (flow && (flow->ticket != ticket || flow->state != FLOW_ASKED))
		flow = flow->next;
	if (!flow) { /* the session that asked has ended, and the flow with it */
		if (fd >= 0)
			close(fd);
		return;
	}
	waiter = flow->waiter;
	flow->waiter = NULL;
	if (error == 0)
		error = take_socket(flow, fd);
	if (error < 0) {
		log_warning("session", "%s: UDP socket towards the target: %s", client_name(flow), strerror(-error));
		if (fd >= 0 && flow->state == FLOW_ASKED)
			close(fd);
		flow_close(flow);
		table->setup.handlers->on_flow(waiter, NULL);
		return;
	}
	carry(flow, waiter, "");
	table->setup.handlers->on_flow(waiter, flow);
}

void flow_table_detach(struct hub_flow *flow, struct session *session)
{
	if (flow->state == FLOW_ASKED) {
		require(flow->waiter == session);
		flow_close(flow);
		return;
	}
	require(flow->state == FLOW_CARRIED && flow->session_count > 0 && flow->table->carried_count > 0);
	if (flow->session == session) {
		flow->session = flow->second;
		flow->second = NULL;
	} else if (flow->second == session) {
		flow->second = NULL;
	} else if (flow->retired == session) {
		flow->retired = NULL;
	}
	if (--flow->session_count > 0)
		return;
	flow->table->carried_count--;
	flow->state = FLOW_LONELY;
	flow->lonely_since_us = clock_now_us();
	if (!flow->has_instance)
		flow_close(flow); /* no later session could find it */
}

/* --- all flows --- */

void flow_table_tick(struct flow_table *table, uint64_t now_us)
{
	for (struct hub_flow *flow = next_flow(table, NULL), *next; flow; flow = next) {
		next = next_flow(table, flow);
		dgram_queue_expire(&flow->flow.queue, now_us);
		/* A session that ended in this tick has read the clock a little later than the tick did. */
		if (flow->state == FLOW_LONELY && now_us > flow->lonely_since_us &&
			now_us - flow->lonely_since_us > FLOW_LINGER_US)
			flow_close(flow);
	}
}

void flow_table_end_lonely(struct flow_table *table, uint32_t client)
{
	for (struct hub_flow *flow = next_flow(table, NULL), *next; flow; flow = next) {
		next = next_flow(table, flow);
		if (flow->client == client && flow->state == FLOW_LONELY)
			flow_close(flow);
	}
}

void flow_table_sum(const struct flow_table *table, struct flow_counters *total, uint32_t *depth, uint64_t *sojourn_us)
{
	flow_counters_add(total, &table->ended);
	for (const struct hub_flow *flow = next_flow(table, NULL); flow; flow = next_flow(table, flow)) {
		flow_counters_add(total, &flow->flow.counters);
		if (flow->state != FLOW_ASKED)
			total->dropped.count[DROP_UDP_OVERFLOW] += flow_socket_overflow(flow->socket.fd);
		*depth += flow->flow.queue.depth;
		if (flow->flow.queue.sojourn_us > *sojourn_us)
			*sojourn_us = flow->flow.queue.sojourn_us;
	}
}

void flow_table_done(struct flow_table *table)
{
	for (struct hub_flow *flow = next_flow(table, NULL), *next; flow; flow = next) {
		next = next_flow(table, flow);
		flow_close(flow);
	}
}
