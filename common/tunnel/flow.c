/* The queue and the counters of a flow. Everything here is bookkeeping; bytes move in pump.c. Both programs embed a
 * struct flow in an object of their own, which opens and closes the socket and decides when the flow ends. */
#include "common/tunnel/flow.h"

#include "common/base/require.h"

#include <linux/sock_diag.h>
#include <sys/socket.h>

void flow_init(struct flow *flow, struct dgram_pool *pool, struct dgram_socket *socket)
{
	*flow = (struct flow){.socket = socket};
	dgram_queue_init(&flow->queue, pool, &flow->counters.dropped);
}

void flow_done(struct flow *flow)
{
	require(!flow->carrier); /* it would go on using this memory */
	dgram_queue_done(&flow->queue);
}

void flow_push(struct flow *flow, struct dgram *dgram)
{
	flow->active_us = dgram->received_us;
	dgram_queue_push(&flow->queue, dgram);
}

void flow_counters_add(struct flow_counters *total, const struct flow_counters *part)
{
	total->sent_datagrams += part->sent_datagrams;
	total->sent_bytes += part->sent_bytes;
	total->received_datagrams += part->received_datagrams;
	total->received_bytes += part->received_bytes;
	for (unsigned reason = 0; reason < DROP_REASON_COUNT; reason++)
		total->dropped.count[reason] += part->dropped.count[reason];
}

/* All failures are lack of memory, so one look at the end is enough. */
int flow_counters_report(const struct flow_counters *counters, json_t *object)
{
	json_t *dropped = json_object();
	int rc = 0;

	for (unsigned reason = 0; reason < DROP_REASON_COUNT; reason++)
		rc |= json_object_set_new(
			dropped, drop_reason_name(reason), json_integer((json_int_t)counters->dropped.count[reason]));
	rc |= json_object_set_new(object, "datagrams",
		json_pack("{s:I,s:I}", "sent", (json_int_t)counters->sent_datagrams, "received",
			(json_int_t)counters->received_datagrams));
	rc |= json_object_set_new(object, "bytes",
		json_pack("{s:I,s:I}", "sent", (json_int_t)counters->sent_bytes, "received",
			(json_int_t)counters->received_bytes));
	rc |= json_object_set_new(object, "dropped", dropped);
	return rc;
}

/* Datagrams that found the socket's receive buffer full. The kernel counts for the life of the socket. SO_MEMINFO
 * needs Linux 4.12; before that nothing is counted. */
uint32_t flow_socket_overflow(int fd)
{
	uint32_t info[SK_MEMINFO_VARS];
	socklen_t len = sizeof(info);

	if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0 || len < sizeof(info))
		return 0;
	return info[SK_MEMINFO_DROPS];
}
