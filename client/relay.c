/* The local UDP port. Datagram in → its source's flow → the link's carrier. Fails by counting. */
#include "client/relay.h"

#include "client/client.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/tunnel/carrier.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct local_flow *relay_first(const struct relay *relay)
{
	struct local_flow *local = relay->flows;

	while (local && !local->is_first)
		local = local->next;
	return local;
}

static void local_flow_on_link_closed(void *owner)
{
	struct local_flow *local = owner;

	flow_done(&local->flow); /* counts what still waits */
	flow_counters_add(&local->relay->client->gone, &local->flow.counters);
	free(local);
}

static void relay_remove(struct relay *relay, struct local_flow *local)
{
	struct local_flow **place = &relay->flows;

	while (*place != local)
		place = &(*place)->next;
	*place = local->next;
	relay->flow_count--;
	if (relay->recent == local)
		relay->recent = NULL;
}

static void local_flow_close(struct local_flow *local)
{
	if (local->is_closing)
		return;
	local->is_closing = true;
	relay_remove(local->relay, local);
	link_close(&local->link);
}

static struct local_flow *local_flow_open(struct relay *relay, bool is_first)
{
	struct local_flow *local = calloc(1, sizeof(*local));
	struct link_plan plan = {
		.client = relay->client, .is_first = is_first, .on_closed = local_flow_on_link_closed, .owner = local};

	if (!local || RAND_bytes(local->instance, sizeof(local->instance)) != 1) {
		free(local);
		return NULL;
	}
	local->relay = relay;
	local->is_first = is_first;
	flow_init(&local->flow, &relay->client->pump.pool, &relay->socket);
	plan.flow = &local->flow;
	plan.instance = local->instance;
	link_open(&local->link, &plan);
	local->next = relay->flows;
	relay->flows = local;
	relay->flow_count++;
	return local;
}

static void set_peer(struct local_flow *local, const struct addr *from)
{
	local->flow.peer = *from;
	local->flow.has_peer = true;
	local->flow.active_us = clock_now_us();
}

static struct local_flow *find_flow(const struct relay *relay, const struct addr *from)
{
	struct local_flow *local;

	for (local = relay->flows; local; local = local->next)
		if (local->flow.has_peer && addr_equal(&local->flow.peer, from))
			return local;
	return NULL;
}

/* A source that was not seen before: it gets the first flow where that has nobody, or a new one. */
static struct local_flow *welcome(struct relay *relay, const struct addr *from, uint64_t now_us)
{
	struct local_flow *local = relay_first(relay);
	char text[ADDR_TEXT_MAX];

	if (!local || (local->flow.has_peer && now_us - local->flow.active_us < RELAY_SILENCE_US))
		local = relay->flow_count < RELAY_FLOWS_MAX ? local_flow_open(relay, false) : NULL;
	if (!local)
		return NULL;
	set_peer(local, from);
	log_debug("link", "local source %s", addr_format(text, sizeof(text), from));
	return local;
}

static struct local_flow *flow_of(struct relay *relay, const struct addr *from, uint64_t now_us)
{
	struct local_flow *local = relay->recent;

	if (local && addr_equal(&local->flow.peer, from))
		return local;
	local = find_flow(relay, from);
	if (!local)
		local = welcome(relay, from, now_us);
	relay->recent = local;
	return local;
}

static void send_all(struct relay *relay, uint64_t now_us)
{
	struct local_flow *local = relay->flows;

	while (local) {
		struct local_flow *next = local->next;

		if (local->flow.carrier)
			carrier_send(local->flow.carrier, now_us);
		local = next;
	}
}

static bool on_local_batch(void *owner, unsigned count, uint64_t now_us)
{
	struct relay *relay = owner;
	struct pump *pump = &relay->client->pump;

	for (unsigned i = 0; i < count; i++) {
		struct local_flow *local = flow_of(relay, &pump->receiver.from[i], now_us);

		if (local)
			pump_take(pump, i, &local->flow, now_us);
		else
			relay->counters.dropped.count[DROP_FLOWS_FULL]++;
	}
	send_all(relay, now_us);
	return true;
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
	struct relay *relay = poll->data;

	(void)events;
	if (status < 0) /* libuv stops the handle at an error, here an ICMP message; receiving clears it */
		uv_poll_start(poll, UV_READABLE, on_readable);
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
	return uv_poll_start(&relay->poll, UV_READABLE, on_readable);
}

void relay_step(struct relay *relay, uint64_t now_us)
{
	struct local_flow *local = relay->flows;

	while (local) {
		struct local_flow *next = local->next;

		dgram_queue_expire(&local->flow.queue, now_us);
		link_step_time(&local->link, now_us);
		if (!local->is_first && now_us - local->flow.active_us > RELAY_SILENCE_US)
			local_flow_close(local);
		local = next;
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

void relay_sum(const struct relay *relay, struct flow_counters *total, uint32_t *depth, uint64_t *sojourn_us)
{
	const struct local_flow *local;

	for (local = relay->flows; local; local = local->next) {
		flow_counters_add(total, &local->flow.counters);
		*depth += local->flow.queue.depth;
		if (local->flow.queue.sojourn_us > *sojourn_us)
			*sojourn_us = local->flow.queue.sojourn_us;
	}
	flow_counters_add(total, &relay->counters);
	if (relay->is_open)
		total->dropped.count[DROP_UDP_OVERFLOW] += flow_socket_overflow(relay->socket.fd);
}

static void on_poll_closed(uv_handle_t *handle)
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
	uv_close((uv_handle_t *)&relay->poll, on_poll_closed);
}
