/* A flow's bookkeeping: the datagrams in its queue, its counters, and the losses at its end. */
#include "common/tunnel/flow.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct bed {
	struct dgram_pool pool;
	struct dgram_socket socket;
	struct flow flow;
};

static int set_up(void **state)
{
	static struct bed bed;

	memset(&bed, 0, sizeof(bed));
	assert_int_equal(dgram_pool_init(&bed.pool, 8, NULL), 0);
	flow_init(&bed.flow, &bed.pool, &bed.socket);
	*state = &bed;
	return 0;
}

static int tear_down(void **state)
{
	struct bed *bed = *state;

	flow_done(&bed->flow);
	assert_int_equal(bed->pool.in_use, 0);
	dgram_pool_done(&bed->pool);
	return 0;
}

static void push(struct bed *bed, const char *text, uint64_t now_us)
{
	struct dgram *dgram = dgram_take(&bed->pool);

	assert_non_null(dgram);
	assert_int_equal(dgram_append(&bed->pool, dgram, (const uint8_t *)text, strlen(text)), 0);
	dgram->received_us = now_us;
	flow_push(&bed->flow, dgram);
}

/* A pushed datagram waits in the queue, and its time is the flow's last activity. */
static void pushed_datagram_waits(void **state)
{
	struct bed *bed = *state;

	push(bed, "one", 1000);
	push(bed, "two", 2000);
	assert_int_equal(bed->flow.active_us, 2000);
	assert_int_equal(bed->flow.queue.depth, 2);
}

/* A datagram that the queue refuses is counted in the flow. */
static void queue_counts_in_the_flow(void **state)
{
	struct bed *bed = *state;

	push(bed, "", 1000);
	assert_int_equal(bed->flow.queue.depth, 0);
	assert_int_equal(bed->flow.counters.dropped.count[DROP_EMPTY], 1);
}

/* Datagrams that wait when the flow ends are counted as lost, and their cells come back. */
static void end_counts_what_waits(void **state)
{
	struct bed *bed = *state;

	push(bed, "one", 1000);
	push(bed, "two", 1000);
	flow_done(&bed->flow);
	assert_int_equal(bed->flow.counters.dropped.count[DROP_CARRIER_LOST], 2);
	assert_int_equal(bed->pool.in_use, 0);
}

/* A sum has every counter of both parts. */
static void counters_are_added(void **state)
{
	struct flow_counters total = {1, 2, 3, 4, {{0}}}, part = {10, 20, 30, 40, {{0}}};

	(void)state;
	for (unsigned i = 0; i < DROP_REASON_COUNT; i++) {
		total.dropped.count[i] = i;
		part.dropped.count[i] = 100;
	}
	flow_counters_add(&total, &part);
	assert_int_equal(total.sent_datagrams, 11);
	assert_int_equal(total.sent_bytes, 22);
	assert_int_equal(total.received_datagrams, 33);
	assert_int_equal(total.received_bytes, 44);
	for (unsigned i = 0; i < DROP_REASON_COUNT; i++)
		assert_int_equal(total.dropped.count[i], 100 + i);
}

/* Status has numbers of both directions and every reason by its name. */
static void report_names_every_reason(void **state)
{
	struct flow_counters counters = {1, 2, 3, 4, {{0}}};
	json_t *object = json_object(), *dropped;

	(void)state;
	counters.dropped.count[DROP_UDP_FULL] = 5;
	assert_int_equal(flow_counters_report(&counters, object), 0);
	dropped = json_object_get(object, "dropped");
	assert_int_equal(json_object_size(dropped), DROP_REASON_COUNT);
	assert_int_equal(json_integer_value(json_object_get(dropped, "udp-full")), 5);
	assert_null(json_object_get(dropped, "unknown"));
	assert_int_equal(json_integer_value(json_object_get(json_object_get(object, "datagrams"), "received")), 3);
	assert_int_equal(json_integer_value(json_object_get(json_object_get(object, "bytes"), "sent")), 2);
	json_decref(object);
}

/* A descriptor that is no socket has dropped nothing. */
static void overflow_of_no_socket_is_zero(void **state)
{
	int ends[2];

	(void)state;
	assert_int_equal(pipe(ends), 0);
	assert_int_equal(flow_socket_overflow(ends[0]), 0);
	close(ends[0]);
	close(ends[1]);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(pushed_datagram_waits),
		CLAIM(queue_counts_in_the_flow),
		CLAIM(end_counts_what_waits),
		CLAIM(counters_are_added),
		CLAIM(report_names_every_reason),
		CLAIM(overflow_of_no_socket_is_zero),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
