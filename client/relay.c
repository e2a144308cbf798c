/* The local UDP port. Happy path of a datagram: pump_receive() reads a batch, each datagram goes into the queue of its
 * source's flow, and then each flow's carrier sends. The way back does not touch this file: a carrier writes to the
 * socket itself.
 *
 * Fails by counting. Where no flow is free a datagram is dropped as DROP_FLOWS_FULL; without a carrier it waits in the
 * queue.
 */
#include "client/relay.h"

#include "client/client.h"
#include "common/base/log.h"
#include "common/base/require.h"
#include "common/tunnel/carrier.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <unistd.h>

struct local_flow *relay_first(const struct relay *relay)
{
	struct local_flow *local = relay->flows;

	while (local && !local->is_first)
		local = local->next;
	return local;
}

/* --- flows and their links --- */

static void on_local_link_closed(void *owner)
{
	struct local_flow *local = owner;

	flow_done(&local->flow); /* counts what still waits */
	flow_counters_add(&local->relay->gone, &local->flow.counters);
	free(local);
}

static bool is_local_superseded(void *owner)
{
	const struct local_flow *local = owner;

	return local->relay->recent && local->relay->recent != local;
}

/* The hub starts a handshake with the first client to come in. That has to be the flow in use. */
static bool may_local_dial(void *owner)
{
	const struct local_flow *local = owner;

	return !is_local_superseded(owner) || link_is_up(&local->relay->recent->link);
}

static const struct link_handlers local_link_handlers = {
	.on_closed = on_local_link_closed, .is_superseded = is_local_superseded, .may_dial = may_local_dial};

/* Out of the list at once, so that no datagram finds it; freed when its link has closed. */
static void local_flow_close(struct local_flow *local)
{
	struct relay *relay = local->relay;
	struct local_flow **link = &relay->flows;

	if (local->is_closing)
		return;
	local->is_closing = true;
	while (*link && *link != local)
		link = &(*link)->next;
	require(*link == local);
	*link = local->next;
	relay->flow_count--;
	if (relay->recent == local)
		relay->recent = NULL;
	link_close(&local->link);
}

/* Its random instance is how the server knows the flow again when the link comes back. Return: NULL without memory. */
static struct local_flow *local_flow_open(struct relay *relay, bool is_first)
{
	struct local_flow *local = calloc(1, sizeof(*local));
	struct link_setup setup = {
		.client = relay->client, .is_first = is_first, .handlers = &local_link_handlers, .owner = local};

	if (!local || RAND_bytes(local->instance, sizeof(local->instance)) != 1) {
		free(local);
		return NULL;
	}
	local->relay = relay;
	local->is_first = is_first;
	flow_init(&local->flow, &relay->client->pump.pool, &relay->socket);
	setup.flow = &local->flow;
	setup.instance = local->instance;
	link_open(&local->link, &setup);
	local->next = relay->flows;
	relay->flows = local;
	relay->flow_count++;
	return local;
}

/* A source that was not seen before gets the first flow, if that is unused or silent, or else a new one. Return: NULL
 * where RELAY_FLOWS_MAX are in use. */
static struct local_flow *flow_for_new_source(struct relay *relay, const struct addr *from, uint64_t now_us)
{
	struct local_flow *local = relay_first(relay);
	char text[ADDR_TEXT_MAX];

	if (!local || (local->flow.has_peer && now_us - local->flow.active_us < RELAY_SILENCE_US))
		local = relay->flow_count < RELAY_FLOWS_MAX ? local_flow_open(relay, false) : NULL;
	if (!local)
		return NULL;
	local->flow.peer = *from;
	local->flow.has_peer = true;
	local->flow.active_us = now_us;
	log_debug("link", "local source %s", addr_format(text, sizeof(text), from));
	return local;
}

/* Usually the source is the same as before; only a different one costs a walk through the list. */
static struct local_flow *find_flow(struct relay *relay, const struct addr *from, uint64_t now_us)
{
	struct local_flow *local = relay->recent;

	if (local && addr_equal(&local->flow.peer, from))
		return local;
	for (local = relay->flows; local; local = local->next)
		if (local->flow.has_peer && addr_equal(&local->flow.peer, from))
			break;
	relay->recent = local ? local : flow_for_new_source(relay, from, now_us);
	return relay->recent;
}

/* --- datagrams --- */

/* Queue the whole batch first: a carrier then sends it in one record. Sending may end a carrier and close its flow, so
 * fetch the next flow first. */
static bool on_local_batch(void *owner, unsigned count, bool is_last, uint64_t now_us)
{
	struct relay *relay = owner;
	struct pump *pump = &relay->client->pump;

	for (unsigned i = 0; i < count; i++) {
		struct local_flow *local = find_flow(relay, &pump->receiver.from[i], now_us);

		if (local)
			pump_take(pump, i, &local->flow, now_us);
		else
			relay->counters.dropped.count[DROP_FLOWS_FULL]++;
	}
	for (struct local_flow *local = is_last ? relay->flows : NULL, *next; local; local = next) {
		next = local->next;
		carrier_send_flow(&local->flow, now_us);
	}
	return true;
}

/* One callback serves all local sources: WireGuard sends from one socket to ours. */
static void on_local_readable(uv_poll_t *poll, int status, int events)
{
	struct relay *relay = poll->data;

	(void)events;
	if (status < 0) /* an ICMP message waits; libuv stops the handle then, and receiving clears the error */
		uv_poll_start(poll, UV_READABLE, on_local_readable);
	pump_receive(&relay->client->pump, &relay->socket, &relay->counters.dropped, on_local_batch, relay);
}

int relay_open(struct relay *relay, struct client *client, int fd, struct err *err)
{
	int rc = uv_poll_init(&client->loop, &relay->poll, fd);

	if (rc < 0)
		return err_system(err, rc, "local port");
	relay->client = client;
	relay->poll.data = relay;
	relay->is_open = true;
	dgram_socket_init(&relay->socket, fd, false);
	if (!local_flow_open(relay, true))
		return err_system(err, -ENOMEM, "local port");
	return uv_poll_start(&relay->poll, UV_READABLE, on_local_readable);
}

void relay_tick(struct relay *relay, uint64_t now_us)
{
	for (struct local_flow *local = relay->flows, *next; local; local = next) {
		next = local->next;
		dgram_queue_expire(&local->flow.queue, now_us);
		link_tick(&local->link, now_us);
		if (!local->is_first && now_us - local->flow.active_us > RELAY_SILENCE_US)
			local_flow_close(local);
	}
}

void relay_wake(struct relay *relay)
{
	for (struct local_flow *local = relay->flows; local; local = local->next)
		link_wake(&local->link);
}

void relay_on_reload(struct relay *relay)
{
	for (struct local_flow *local = relay->flows; local; local = local->next)
		link_on_reload(&local->link);
}

/* The kernel's own drops are read from the socket, so the sum lacks them once the port is closed. */
void relay_sum(const struct relay *relay, struct flow_counters *total, uint32_t *depth, uint64_t *sojourn_us)
{
	flow_counters_add(total, &relay->gone);
	for (const struct local_flow *local = relay->flows; local; local = local->next) {
		flow_counters_add(total, &local->flow.counters);
		*depth += local->flow.queue.depth;
		if (local->flow.queue.sojourn_us > *sojourn_us)
			*sojourn_us = local->flow.queue.sojourn_us;
	}
	flow_counters_add(total, &relay->counters);
	if (relay->is_open)
		total->dropped.count[DROP_UDP_OVERFLOW] += flow_socket_overflow(relay->socket.fd);
}

static void on_local_poll_closed(uv_handle_t *handle)
{
	struct relay *relay = handle->data;

	close(relay->socket.fd);
}

void relay_close(struct relay *relay)
{
	while (relay->flows)
		local_flow_close(relay->flows);
	if (!relay->is_open)
		return;
	relay->is_open = false;
	uv_close((uv_handle_t *)&relay->poll, on_local_poll_closed);
}
