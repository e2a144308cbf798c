/* Flows by client and instance, in a hash table. Claim → socket wanted of the supervisor → session_on_flow. */
#include "server/flow_table.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/tunnel/carrier.h"
#include "server/hub.h"
#include "server/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define UNREAD_MAX 65536u

void flow_table_init(struct flow_table *table, struct hub *hub)
{
	*table = (struct flow_table){.hub = hub};
}

/* The instance id is random and comes from an admitted client; the ticket spreads stock sessions. */
static uint32_t bucket_of(uint32_t client, bool has_instance, const uint8_t *instance, uint64_t ticket)
{
	uint32_t word = (uint32_t)ticket;

	if (has_instance)
		memcpy(&word, instance, sizeof(word));
	return (word + client * 2654435761u) % FLOW_TABLE_BUCKETS;
}

static struct hub_flow **bucket_of_flow(struct flow_table *table, const struct hub_flow *flow)
{
	return &table->buckets[bucket_of(flow->client, flow->has_instance, flow->instance, flow->ticket)];
}

static struct hub_flow *find_flow(struct flow_table *table, const struct admit_grant *grant)
{
	struct hub_flow *flow;

	if (!grant->has_instance)
		return NULL;
	flow = table->buckets[bucket_of(grant->client, true, grant->instance, 0)];
	for (; flow; flow = flow->next)
		if (flow->has_instance && flow->client == grant->client &&
			memcmp(flow->instance, grant->instance, sizeof(flow->instance)) == 0)
			return flow;
	return NULL;
}

static void table_remove(struct flow_table *table, struct hub_flow *flow)
{
	struct hub_flow **link = bucket_of_flow(table, flow);

	while (*link && *link != flow)
		link = &(*link)->next;
	if (*link)
		*link = flow->next;
	table->flow_count--;
}

static void flow_free(struct hub_flow *flow)
{
	flow_done(&flow->flow); /* counts what still waits */
	flow_counters_add(&flow->hub->gone, &flow->flow.counters);
	free(flow);
}

/* What Target sent and nobody reads any more; the buffer holds a few thousand at most. */
static void count_unread(struct hub_flow *flow)
{
	unsigned left = UNREAD_MAX;
	char byte;

	while (left-- > 0 && recv(flow->socket.fd, &byte, sizeof(byte), MSG_DONTWAIT | MSG_TRUNC) >= 0)
		flow->flow.counters.dropped.count[DROP_CARRIER_LOST]++;
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct hub_flow *flow = handle->data;

	count_unread(flow);
	close(flow->socket.fd);
	flow_free(flow);
}

static void flow_close(struct hub_flow *flow)
{
	if (flow->is_closing)
		return;
	flow->is_closing = true;
	table_remove(&flow->hub->flows, flow);
	if (flow->has_socket) {
		flow->flow.counters.dropped.count[DROP_UDP_OVERFLOW] += flow_socket_overflow(flow->socket.fd);
		uv_close((uv_handle_t *)&flow->poll, on_poll_closed);
	} else {
		flow_free(flow);
	}
}

static bool on_target_batch(void *owner, unsigned count, uint64_t now_us)
{
	struct hub_flow *flow = owner;

	for (unsigned i = 0; i < count; i++)
		pump_take(&flow->hub->pump, i, &flow->flow, now_us);
	if (flow->flow.carrier)
		carrier_send(flow->flow.carrier, now_us);
	return !flow->is_closing;
}

/* Datagrams from Target: take what waits, then let the carrier send. */
static void on_udp_readable(uv_poll_t *poll, int status, int events)
{
	struct hub_flow *flow = poll->data;

	(void)events;
	if (status < 0) /* libuv stops the handle at an error, here an ICMP message; receiving clears it */
		uv_poll_start(poll, UV_READABLE, on_udp_readable);
	pump_receive(&flow->hub->pump, &flow->socket, &flow->flow.counters.dropped, on_target_batch, flow);
}

/* The client's flow that has been without a session longest. */
static struct hub_flow *find_lonely(struct flow_table *table, uint32_t client)
{
	struct hub_flow *oldest = NULL;
	unsigned i;

	for (i = 0; i < FLOW_TABLE_BUCKETS; i++) {
		struct hub_flow *flow = table->buckets[i];

		for (; flow; flow = flow->next)
			if (flow->client == client && flow->session_count == 0 && !flow->waiter &&
				(!oldest || flow->lonely_since_us < oldest->lonely_since_us))
				oldest = flow;
	}
	return oldest;
}

static uint32_t count_of_client(const struct flow_table *table, uint32_t client)
{
	uint32_t count = 0;
	unsigned i;

	for (i = 0; i < FLOW_TABLE_BUCKETS; i++) {
		const struct hub_flow *flow = table->buckets[i];

		for (; flow; flow = flow->next)
			count += flow->client == client;
	}
	return count;
}

static bool make_place(struct flow_table *table, uint32_t client)
{
	struct hub_flow *lonely;

	if (count_of_client(table, client) < table->hub->settings.max_sessions_per_client)
		return true;
	lonely = find_lonely(table, client);
	if (lonely)
		flow_close(lonely);
	return lonely != NULL;
}

static void want_socket(struct hub_flow *flow)
{
	struct channel_flow wanted = {.ticket = flow->ticket,
		.client = flow->client,
		.has_instance = flow->has_instance,
		.rtt_ms = session_rtt_ms(flow->waiter)};

	memcpy(wanted.instance, flow->instance, sizeof(wanted.instance));
	if (channel_send(flow->hub->channel, CHANNEL_FLOW_WANTED, &wanted, sizeof(wanted), -1) < 0)
		log_warning("session", "%s: the supervisor takes no request", hub_client_name(flow->hub, flow->client));
}

static struct hub_flow *flow_open(struct flow_table *table, const struct admit_grant *grant)
{
	struct hub_flow *flow = calloc(1, sizeof(*flow));
	struct hub_flow **bucket;

	if (!flow)
		return NULL;
	flow_init(&flow->flow, &table->hub->pump.pool, &flow->socket);
	flow->hub = table->hub;
	flow->ticket = ++table->last_ticket;
	flow->client = grant->client;
	flow->has_instance = grant->has_instance;
	memcpy(flow->instance, grant->instance, sizeof(flow->instance));
	bucket = bucket_of_flow(table, flow);
	flow->next = *bucket;
	*bucket = flow;
	table->flow_count++;
	return flow;
}

/* The flow is there: the session carries it, the one before it is left to end. */
static void flow_hand_over(struct hub_flow *flow, struct session *session)
{
	struct session *before = flow->session;

	flow->session = session;
	flow->session_count++;
	session_on_flow(session, flow);
	if (before)
		session_retire(before);
}

int flow_table_claim(struct flow_table *table, const struct admit_grant *grant, struct session *session)
{
	struct hub_flow *flow = find_flow(table, grant);
	bool replaces = flow && flow->session_count > 0;

	if (!replaces && table->hub->tunnel_count >= table->hub->settings.max_clients)
		return -ENOSPC;
	if (flow && flow->has_socket) {
		flow_hand_over(flow, session);
		return 0;
	}
	if (flow) { /* the same instance twice in a moment: the newer one waits instead */
		struct session *before = flow->waiter;

		flow->waiter = session;
		session_set_claim(session, flow);
		if (before)
			session_on_flow(before, NULL);
		return 0;
	}
	if (!make_place(table, grant->client))
		return -EUSERS;
	flow = flow_open(table, grant);
	if (!flow)
		return -ENOMEM;
	flow->waiter = session;
	session_set_claim(session, flow);
	want_socket(flow);
	return 0;
}

static struct hub_flow *find_ticket(struct flow_table *table, uint64_t ticket)
{
	unsigned i;

	for (i = 0; i < FLOW_TABLE_BUCKETS; i++) {
		struct hub_flow *flow = table->buckets[i];

		for (; flow; flow = flow->next)
			if (flow->ticket == ticket && !flow->has_socket)
				return flow;
	}
	return NULL;
}

static int attach_socket(struct hub_flow *flow, int fd)
{
	int rc = uv_poll_init(&flow->hub->loop, &flow->poll, fd);

	if (rc < 0)
		return rc;
	flow->poll.data = flow;
	flow->has_socket = true;
	flow->flow.has_peer = true;
	dgram_socket_init(&flow->socket, fd, true);
	return uv_poll_start(&flow->poll, UV_READABLE, on_udp_readable);
}

void flow_table_on_socket(struct flow_table *table, uint64_t ticket, int error, int fd)
{
	struct hub_flow *flow = find_ticket(table, ticket);
	struct session *waiter;

	if (!flow) { /* who asked is gone */
		if (fd >= 0)
			close(fd);
		return;
	}
	waiter = flow->waiter;
	flow->waiter = NULL;
	if (error == 0)
		error = attach_socket(flow, fd);
	if (error < 0) {
		log_warning("session", "%s: UDP socket towards the target: %s",
			hub_client_name(table->hub, flow->client), strerror(-error));
		if (fd >= 0 && !flow->has_socket)
			close(fd);
		flow_close(flow);
		if (waiter)
			session_on_flow(waiter, NULL);
		return;
	}
	if (waiter)
		flow_hand_over(flow, waiter);
	else
		flow->lonely_since_us = clock_now_us();
}

void flow_table_release(struct hub_flow *flow, struct session *session)
{
	if (flow->waiter == session) {
		flow->waiter = NULL;
		if (!flow->has_socket)
			flow_close(flow);
		return;
	}
	if (flow->session == session)
		flow->session = NULL;
	if (--flow->session_count > 0)
		return;
	flow->lonely_since_us = clock_now_us();
	if (!flow->has_instance)
		flow_close(flow);
}

/* A session that ended in the same tick has set a time a little later than the tick's. */
static bool is_lonely_for_long(const struct hub_flow *flow, uint64_t now_us)
{
	return flow->session_count == 0 && !flow->waiter && now_us > flow->lonely_since_us &&
	       now_us - flow->lonely_since_us > FLOW_LINGER_US;
}

void flow_table_step(struct flow_table *table, uint64_t now_us)
{
	unsigned i;

	for (i = 0; i < FLOW_TABLE_BUCKETS; i++) {
		struct hub_flow *flow = table->buckets[i];

		while (flow) {
			struct hub_flow *next = flow->next;

			dgram_queue_expire(&flow->flow.queue, now_us);
			if (is_lonely_for_long(flow, now_us))
				flow_close(flow);
			flow = next;
		}
	}
}

void flow_table_end(struct flow_table *table, uint32_t client)
{
	unsigned i;

	for (i = 0; i < FLOW_TABLE_BUCKETS; i++) {
		struct hub_flow *flow = table->buckets[i];

		while (flow) {
			struct hub_flow *next = flow->next;

			if (flow->client == client && flow->session_count == 0 && !flow->waiter)
				flow_close(flow);
			flow = next;
		}
	}
}

void flow_table_sum(const struct flow_table *table, struct flow_counters *total, uint32_t *depth, uint64_t *sojourn_us)
{
	unsigned i;

	for (i = 0; i < FLOW_TABLE_BUCKETS; i++) {
		const struct hub_flow *flow = table->buckets[i];

		for (; flow; flow = flow->next) {
			flow_counters_add(total, &flow->flow.counters);
			if (flow->has_socket)
				total->dropped.count[DROP_UDP_OVERFLOW] += flow_socket_overflow(flow->socket.fd);
			*depth += flow->flow.queue.depth;
			if (flow->flow.queue.sojourn_us > *sojourn_us)
				*sojourn_us = flow->flow.queue.sojourn_us;
		}
	}
}

void flow_table_done(struct flow_table *table)
{
	unsigned i;

	for (i = 0; i < FLOW_TABLE_BUCKETS; i++)
		while (table->buckets[i])
			flow_close(table->buckets[i]);
}
