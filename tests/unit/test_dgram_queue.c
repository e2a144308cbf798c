/* The timed queue: lanes, ages, the kept initiation, and that nothing vanishes. */
#include "common/tunnel/dgram_queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define BULK_LEN 1000u
#define NOW 1000000000u

struct bed {
	struct dgram_pool pool;
	struct dgram_queue queue;
	struct drop_counters dropped;
};

static int setup(void **state)
{
	static struct bed bed;

	memset(&bed, 0, sizeof(bed));
	assert_int_equal(dgram_pool_init(&bed.pool, 2 * DGRAM_QUEUE_CELLS_MAX, NULL), 0);
	dgram_queue_init(&bed.queue, &bed.pool, &bed.dropped);
	dgram_queue_set_carrier(&bed.queue, true, NOW);
	*state = &bed;
	return 0;
}

/* Every cell must have come back, whatever a test did. */
static int teardown(void **state)
{
	struct bed *bed = *state;

	dgram_queue_done(&bed->queue);
	assert_int_equal(bed->pool.in_use, 0);
	dgram_pool_done(&bed->pool);
	return 0;
}

/* A datagram of @len bytes, WireGuard type @type, tagged in its last byte. */
static void push(struct bed *bed, uint8_t type, size_t len, uint8_t tag, uint64_t now_us)
{
	struct dgram *dgram = dgram_take(&bed->pool);
	uint8_t data[70000] = {type};

	assert_non_null(dgram);
	if (len > 0)
		data[len - 1] = tag;
	assert_int_equal(dgram_append(&bed->pool, dgram, data, len), 0);
	dgram->received_us = now_us;
	dgram_queue_push(&bed->queue, dgram);
}

static void push_initiation(struct bed *bed, uint8_t sender, uint8_t tag, uint64_t now_us)
{
	struct dgram *dgram = dgram_take(&bed->pool);
	uint8_t data[148] = {1, 0, 0, 0, sender, [147] = tag};

	assert_non_null(dgram);
	assert_int_equal(dgram_append(&bed->pool, dgram, data, sizeof(data)), 0);
	dgram->received_us = now_us;
	dgram_queue_push(&bed->queue, dgram);
}

/* Tag of the next one of @lanes; -1 where there is none. */
static int pop_of(struct bed *bed, unsigned lanes, uint64_t now_us)
{
	struct dgram *dgram = dgram_queue_pop(&bed->queue, lanes, now_us);
	uint8_t data[70000];
	int tag;

	if (!dgram)
		return -1;
	dgram_copy(dgram, data);
	tag = data[dgram->len - 1];
	dgram_give(&bed->pool, dgram);
	return tag;
}

static int pop(struct bed *bed, uint64_t now_us)
{
	return pop_of(bed, DGRAM_LANES_ALL, now_us);
}

static void order_is_kept_in_a_lane(void **state)
{
	struct bed *bed = *state;

	push(bed, 4, BULK_LEN, 1, NOW);
	push(bed, 4, BULK_LEN, 2, NOW);
	assert_int_equal(pop(bed, NOW), 1);
	assert_int_equal(pop(bed, NOW), 2);
	assert_int_equal(pop(bed, NOW), -1);
}

static void handshake_goes_before_short_goes_before_bulk(void **state)
{
	struct bed *bed = *state;

	push(bed, 4, BULK_LEN, 1, NOW);
	push(bed, 4, DGRAM_QUEUE_SHORT_MAX, 2, NOW);
	push(bed, 2, 92, 3, NOW);
	assert_int_equal(pop(bed, NOW), 3);
	assert_int_equal(pop(bed, NOW), 2);
	assert_int_equal(pop(bed, NOW), 1);
}

static void lanes_are_popped_apart(void **state)
{
	struct bed *bed = *state;

	push(bed, 4, BULK_LEN, 1, NOW);
	push(bed, 4, DGRAM_QUEUE_SHORT_MAX, 2, NOW);
	push(bed, 2, 92, 3, NOW);
	assert_int_equal(pop_of(bed, DGRAM_LANES_BULK, NOW), 1);
	assert_int_equal(pop_of(bed, DGRAM_LANES_BULK, NOW), -1);
	push(bed, 4, BULK_LEN, 4, NOW);
	assert_int_equal(pop_of(bed, DGRAM_LANES_QUICK, NOW), 3);
	assert_int_equal(pop_of(bed, DGRAM_LANES_QUICK, NOW), 2);
	assert_int_equal(pop_of(bed, DGRAM_LANES_QUICK, NOW), -1);
	assert_int_equal(pop(bed, NOW), 4);
}

static void bulk_gets_a_turn_under_a_flood_of_short_ones(void **state)
{
	struct bed *bed = *state;
	unsigned i;

	push(bed, 4, BULK_LEN, 1, NOW);
	for (i = 0; i < DGRAM_QUEUE_SHORT_RUN_MAX + 1; i++)
		push(bed, 4, 100, 2, NOW);
	for (i = 0; i < DGRAM_QUEUE_SHORT_RUN_MAX; i++)
		assert_int_equal(pop(bed, NOW), 2);
	assert_int_equal(pop(bed, NOW), 1);
	assert_int_equal(pop(bed, NOW), 2);
}

static void stale_head_is_dropped_and_counted(void **state)
{
	struct bed *bed = *state;
	uint64_t later = NOW + DGRAM_QUEUE_BULK_US + 1;

	push(bed, 4, BULK_LEN, 1, NOW);
	push(bed, 4, BULK_LEN, 2, later);
	assert_int_equal(pop(bed, later), 2);
	assert_int_equal(bed->dropped.count[DROP_QUEUE_LATE], 1);
}

static void a_datagram_at_the_limit_still_goes(void **state)
{
	struct bed *bed = *state;

	push(bed, 4, BULK_LEN, 1, NOW);
	assert_int_equal(pop(bed, NOW + DGRAM_QUEUE_BULK_US), 1);
}

static void an_empty_datagram_is_counted_not_queued(void **state)
{
	struct bed *bed = *state;

	push(bed, 0, 0, 0, NOW);
	assert_true(dgram_queue_is_empty(&bed->queue));
	assert_int_equal(bed->dropped.count[DROP_EMPTY], 1);
}

static void a_full_queue_drops_the_oldest_bulk(void **state)
{
	struct bed *bed = *state;
	unsigned i;

	push(bed, 4, BULK_LEN, 1, NOW);
	push(bed, 4, 100, 2, NOW);
	for (i = 2; i < DGRAM_QUEUE_CELLS_MAX; i++)
		push(bed, 4, BULK_LEN, 3, NOW);
	push(bed, 4, BULK_LEN, 4, NOW);
	assert_int_equal(bed->dropped.count[DROP_QUEUE_FULL], 1);
	assert_int_equal(pop(bed, NOW), 2);
	assert_int_equal(pop(bed, NOW), 3);
}

static void the_largest_datagram_is_one_chain(void **state)
{
	struct bed *bed = *state;

	push(bed, 4, 65507, 9, NOW);
	assert_int_equal(bed->queue.depth, 1);
	assert_int_equal(bed->queue.cells, (65507 + DGRAM_CELL_DATA - 1) / DGRAM_CELL_DATA);
	assert_int_equal(pop(bed, NOW), 9);
}

static void without_carrier_the_newest_initiation_is_kept(void **state)
{
	struct bed *bed = *state;

	dgram_queue_set_carrier(&bed->queue, false, NOW);
	push(bed, 1, 148, 1, NOW);
	push(bed, 1, 148, 2, NOW + 5000000);
	assert_int_equal(pop(bed, NOW + 5000000), -1);
	assert_int_equal(bed->dropped.count[DROP_HANDSHAKE_REPLACED], 1);
	dgram_queue_set_carrier(&bed->queue, true, NOW + 60000000);
	assert_int_equal(pop(bed, NOW + 60000000), 2);
	assert_int_equal(pop(bed, NOW + 60000000), -1);
}

/* A peer sends the next one 5 to 5.4 s later, with another sender index. */
static void a_try_again_takes_the_place_of_the_one_before(void **state)
{
	struct bed *bed = *state;

	dgram_queue_set_carrier(&bed->queue, false, NOW);
	push_initiation(bed, 1, 1, NOW);
	push_initiation(bed, 2, 2, NOW + 5200000);
	push_initiation(bed, 3, 3, NOW + 10400000);
	assert_int_equal(bed->dropped.count[DROP_HANDSHAKE_REPLACED], 2);
	dgram_queue_set_carrier(&bed->queue, true, NOW + 11000000);
	assert_int_equal(pop(bed, NOW + 11000000), 3);
	assert_int_equal(pop(bed, NOW + 11000000), -1);
}

/* Two peers behind one socket, each with its tries. */
static void each_peers_newest_initiation_is_kept(void **state)
{
	struct bed *bed = *state;

	dgram_queue_set_carrier(&bed->queue, false, NOW);
	push_initiation(bed, 1, 1, NOW);
	push_initiation(bed, 2, 11, NOW + 2000000);
	push_initiation(bed, 3, 2, NOW + 5100000);
	push_initiation(bed, 4, 12, NOW + 7200000);
	dgram_queue_set_carrier(&bed->queue, true, NOW + 8000000);
	assert_int_equal(pop(bed, NOW + 8000000), 12);
	assert_int_equal(pop(bed, NOW + 8000000), 2);
	assert_int_equal(pop(bed, NOW + 8000000), -1);
}

/* The other way round WireGuard would take the older one, and refuse the newer as one too many. */
static void the_newest_initiation_stays_first_when_the_carrier_goes_again(void **state)
{
	struct bed *bed = *state;

	dgram_queue_set_carrier(&bed->queue, false, NOW);
	push_initiation(bed, 1, 1, NOW);
	push_initiation(bed, 2, 2, NOW);
	push_initiation(bed, 3, 3, NOW + 1000000);
	dgram_queue_set_carrier(&bed->queue, true, NOW + 2000000);
	dgram_queue_set_carrier(&bed->queue, false, NOW + 2000000);
	push_initiation(bed, 4, 4, NOW + 2000000);
	dgram_queue_set_carrier(&bed->queue, true, NOW + 3000000);
	for (int tag = 4; tag > 0; tag--)
		assert_int_equal(pop(bed, NOW + 3000000), tag);
	assert_int_equal(pop(bed, NOW + 3000000), -1);
}

static void only_so_many_initiations_are_kept(void **state)
{
	struct bed *bed = *state;
	uint8_t i;

	dgram_queue_set_carrier(&bed->queue, false, NOW);
	for (i = 0; i <= DGRAM_QUEUE_INITIATIONS_MAX; i++)
		push_initiation(bed, i, i, NOW + i);
	assert_int_equal(bed->pool.in_use, DGRAM_QUEUE_INITIATIONS_MAX);
	assert_int_equal(bed->dropped.count[DROP_HANDSHAKE_REPLACED], 1);
	dgram_queue_expire(&bed->queue, NOW + 1 + DGRAM_QUEUE_INITIATION_US);
	assert_int_equal(bed->pool.in_use, DGRAM_QUEUE_INITIATIONS_MAX);
	dgram_queue_expire(&bed->queue, NOW + 2 + DGRAM_QUEUE_INITIATION_US);
	assert_int_equal(bed->pool.in_use, DGRAM_QUEUE_INITIATIONS_MAX - 1);
	dgram_queue_set_carrier(&bed->queue, true, NOW + 2 + DGRAM_QUEUE_INITIATION_US);
	assert_int_equal(pop(bed, NOW + 2 + DGRAM_QUEUE_INITIATION_US), DGRAM_QUEUE_INITIATIONS_MAX);
	assert_int_equal(bed->dropped.count[DROP_QUEUE_LATE], 1);
}

static void the_kept_initiation_goes_first(void **state)
{
	struct bed *bed = *state;

	dgram_queue_set_carrier(&bed->queue, false, NOW);
	push(bed, 3, 64, 7, NOW);
	push(bed, 1, 148, 1, NOW);
	push(bed, 4, 100, 8, NOW);
	dgram_queue_set_carrier(&bed->queue, true, NOW);
	assert_int_equal(pop(bed, NOW), 1);
	assert_int_equal(pop(bed, NOW), 7);
	assert_int_equal(pop(bed, NOW), 8);
}

static void an_initiation_is_not_kept_longer_than_wireguard_tries(void **state)
{
	struct bed *bed = *state;

	dgram_queue_set_carrier(&bed->queue, false, NOW);
	push(bed, 1, 148, 1, NOW);
	dgram_queue_set_carrier(&bed->queue, true, NOW + DGRAM_QUEUE_INITIATION_US + 1);
	assert_int_equal(pop(bed, NOW + DGRAM_QUEUE_INITIATION_US + 1), -1);
	assert_int_equal(bed->dropped.count[DROP_QUEUE_LATE], 1);
}

static void an_initiation_that_waits_when_the_carrier_goes_is_kept(void **state)
{
	struct bed *bed = *state;

	push(bed, 1, 148, 1, NOW);
	push(bed, 2, 92, 2, NOW);
	dgram_queue_set_carrier(&bed->queue, false, NOW);
	dgram_queue_set_carrier(&bed->queue, true, NOW + 30000000);
	assert_int_equal(pop(bed, NOW + 30000000), 1);
	assert_int_equal(pop(bed, NOW + 30000000), -1); /* the response was too old */
}

static void what_nobody_pops_expires(void **state)
{
	struct bed *bed = *state;

	dgram_queue_set_carrier(&bed->queue, false, NOW);
	push(bed, 1, 148, 1, NOW);
	push(bed, 2, 92, 2, NOW);
	push(bed, 4, 100, 3, NOW);
	push(bed, 4, BULK_LEN, 4, NOW);
	dgram_queue_expire(&bed->queue, NOW + DGRAM_QUEUE_BULK_US);
	assert_int_equal(bed->dropped.count[DROP_QUEUE_LATE], 1);
	dgram_queue_expire(&bed->queue, NOW + DGRAM_QUEUE_HANDSHAKE_US + 1);
	assert_int_equal(bed->dropped.count[DROP_QUEUE_LATE], 3);
	assert_int_equal(bed->pool.in_use, 1);
	dgram_queue_expire(&bed->queue, NOW + DGRAM_QUEUE_INITIATION_US + 1);
	assert_int_equal(bed->dropped.count[DROP_QUEUE_LATE], 4);
	assert_int_equal(bed->pool.in_use, 0);
}

static void what_waits_at_the_end_is_counted(void **state)
{
	struct bed *bed = *state;

	push(bed, 4, BULK_LEN, 1, NOW);
	push(bed, 4, 100, 2, NOW);
	dgram_queue_set_carrier(&bed->queue, false, NOW);
	push(bed, 1, 148, 3, NOW);
	dgram_queue_done(&bed->queue);
	assert_int_equal(bed->dropped.count[DROP_CARRIER_LOST], 3);
}

static void what_only_looks_like_an_initiation_is_ordinary(void **state)
{
	struct bed *bed = *state;
	const uint8_t reserved_set[148] = {1, 0, 1};
	const uint8_t short_one[3] = {1};

	(void)bed;
	assert_int_equal(dgram_queue_lane(reserved_set, sizeof(reserved_set)), DGRAM_LANE_BULK);
	assert_int_equal(dgram_queue_lane(short_one, sizeof(short_one)), DGRAM_LANE_SHORT);
}

static void an_exhausted_pool_refuses_and_keeps_what_it_has(void **state)
{
	struct dgram_pool pool;
	struct dgram *dgram;
	uint8_t data[3 * DGRAM_CELL_DATA] = {0};

	(void)state;
	assert_int_equal(dgram_pool_init(&pool, 2, NULL), 0);
	dgram = dgram_take(&pool);
	assert_int_equal(dgram_append(&pool, dgram, data, 10), 0);
	assert_true(dgram_append(&pool, dgram, data, sizeof(data)) < 0);
	assert_int_equal(dgram->len, 10);
	assert_int_equal(pool.in_use, 1);
	assert_non_null(dgram_take(&pool));
	assert_null(dgram_take(&pool));
	dgram_pool_done(&pool);
}

#define BED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED(order_is_kept_in_a_lane),
		BED(handshake_goes_before_short_goes_before_bulk),
		BED(lanes_are_popped_apart),
		BED(bulk_gets_a_turn_under_a_flood_of_short_ones),
		BED(stale_head_is_dropped_and_counted),
		BED(a_datagram_at_the_limit_still_goes),
		BED(an_empty_datagram_is_counted_not_queued),
		BED(a_full_queue_drops_the_oldest_bulk),
		BED(the_largest_datagram_is_one_chain),
		BED(without_carrier_the_newest_initiation_is_kept),
		BED(a_try_again_takes_the_place_of_the_one_before),
		BED(each_peers_newest_initiation_is_kept),
		BED(the_newest_initiation_stays_first_when_the_carrier_goes_again),
		BED(only_so_many_initiations_are_kept),
		BED(the_kept_initiation_goes_first),
		BED(an_initiation_is_not_kept_longer_than_wireguard_tries),
		BED(an_initiation_that_waits_when_the_carrier_goes_is_kept),
		BED(what_nobody_pops_expires),
		BED(what_waits_at_the_end_is_counted),
		BED(what_only_looks_like_an_initiation_is_ordinary),
		cmocka_unit_test(an_exhausted_pool_refuses_and_keeps_what_it_has),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
