/* tunnel/carrier: which of a flow's two carriers takes what. The streams are real, over socket pairs in the clear; the
 * kernel's figures of TCP are stand-ins, and so is the time. */
#include "common/tunnel/carrier.h"

#include "common/tunnel/tcp_rate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
/* After those: */
#include <cmocka.h>

enum { FIRST, SECOND, COUNT, SHORT_LEN = 100, BULK_LEN = 1300, STEP_US = 50000 };

static struct {
	uv_loop_t loop;
	struct pump pump;
	struct dgram_socket socket;
	struct flow flow;
	int near[COUNT], far[COUNT], udp[2];
	struct tls_stream streams[COUNT];
	struct carrier carriers[COUNT];
	bool stands_still[COUNT];
	uint64_t now_us, delivered;
	unsigned ends;
} bed;

/* --- stand-ins --- */

/* Something is on the line, always; of one that stands still nothing is acknowledged. */
int tcp_rate_read(int fd, struct tcp_rate *ret)
{
	bool stands_still = bed.stands_still[fd == bed.near[SECOND]];

	*ret = (struct tcp_rate){
		.rtt_us = 20000, .unacked_segments = 1, .delivered_bytes = stands_still ? 5000 : ++bed.delivered};
	return 0;
}

int tcp_rate_set_low_water(int fd, uint32_t bytes)
{
	(void)fd;
	(void)bytes;
	return 0;
}

int tcp_rate_set_limit(int fd, uint32_t bytes_per_s)
{
	(void)fd;
	(void)bytes_per_s;
	return 0;
}

int tcp_rate_retry_soon(int fd)
{
	(void)fd;
	return 0;
}

int tcp_rate_restart_bbr(int fd)
{
	(void)fd;
	return 0;
}

/* --- the owner --- */

static void on_end(void *owner, const char *reason)
{
	(void)owner;
	(void)reason;
	bed.ends++;
}

static void on_closed(void *owner)
{
	(void)owner;
}

static const struct carrier_handlers handlers = {.on_end = on_end, .on_closed = on_closed};
static void on_open(void *owner)
{
	(void)owner;
}

static const struct tls_stream_handlers until_then = {.on_open = on_open};

static void start(unsigned which)
{
	struct carrier_setup setup = {.pump = &bed.pump,
		.stream = &bed.streams[which],
		.flow = &bed.flow,
		.is_second = which == SECOND,
		.mask = CARRIER_MASK_NONE,
		.ping_interval_ms = 3600 * 1000,
		.handlers = &handlers};
	struct err err = {""};
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	bed.near[which] = ends[0];
	bed.far[which] = ends[1];
	assert_int_equal(tls_stream_open(&bed.streams[which], &bed.loop, ends[0], NULL, false, &bed.pump.buffers,
				 &until_then, NULL, &err),
		0);
	uv_run(&bed.loop, UV_RUN_NOWAIT); /* the first turn opens it */
	carrier_start(&bed.carriers[which], &setup, bed.now_us);
}

static int set_up(void **state)
{
	struct err err = {""};

	(void)state;
	memset(&bed, 0, sizeof(bed));
	bed.now_us = 1000 * STEP_US;
	assert_int_equal(uv_loop_init(&bed.loop), 0);
	assert_int_equal(pump_init(&bed.pump, 256, &err), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, bed.udp), 0);
	dgram_socket_init(&bed.socket, bed.udp[0], true);
	flow_init(&bed.flow, &bed.pump.pool, &bed.socket);
	bed.flow.has_peer = true;
	start(FIRST);
	start(SECOND);
	assert_ptr_equal(bed.flow.carrier, &bed.carriers[FIRST]);
	assert_ptr_equal(bed.flow.second, &bed.carriers[SECOND]);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	for (unsigned which = 0; which < COUNT; which++) {
		carrier_close(&bed.carriers[which], FRAME_CLOSE_NORMAL);
		close(bed.far[which]);
	}
	uv_run(&bed.loop, UV_RUN_DEFAULT);
	flow_done(&bed.flow);
	pump_done(&bed.pump);
	close(bed.udp[0]);
	close(bed.udp[1]);
	return uv_loop_close(&bed.loop);
}

static void push(uint32_t len)
{
	uint8_t data[BULK_LEN] = {4}; /* WireGuard's transport data */
	struct dgram *dgram = dgram_take(&bed.pump.pool);

	assert_non_null(dgram);
	assert_int_equal(dgram_append(&bed.pump.pool, dgram, data, len), 0);
	dgram->received_us = bed.now_us;
	flow_push(&bed.flow, dgram);
}

/* Bytes that have come since. */
static size_t came(unsigned which)
{
	char bytes[65536];
	ssize_t n = recv(bed.far[which], bytes, sizeof(bytes), MSG_DONTWAIT);

	return n > 0 ? (size_t)n : 0;
}

/* Time passes, and a datagram of that length is sent. Return: by which it went. */
static unsigned send_one(uint32_t len)
{
	size_t by_first, by_second;

	came(FIRST);
	came(SECOND);
	bed.now_us += STEP_US;
	push(len);
	carrier_send_flow(&bed.flow, bed.now_us);
	by_first = came(FIRST);
	by_second = came(SECOND);
	assert_true((by_first > len) != (by_second > len));
	return by_second > len ? SECOND : FIRST;
}

/* Nothing else is said: it is told by the datagrams that go. Until it shows, some have gone. */
static void stand_still(unsigned which, uint32_t len)
{
	bed.stands_still[which] = true;
	for (unsigned i = 0; i < 4; i++)
		send_one(len);
}

/* --- claims --- */

static void short_ones_take_the_second_and_bulk_the_first(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 10; i++) {
		assert_int_equal(send_one(SHORT_LEN), SECOND);
		assert_int_equal(send_one(BULK_LEN), FIRST);
	}
}

static void all_take_the_second_while_the_first_stands_still(void **state)
{
	(void)state;
	stand_still(FIRST, BULK_LEN);
	assert_int_equal(send_one(BULK_LEN), SECOND);
	assert_int_equal(send_one(SHORT_LEN), SECOND);
	bed.stands_still[FIRST] = false;
	send_one(SHORT_LEN);
	assert_int_equal(send_one(BULK_LEN), FIRST);
}

static void all_take_the_first_while_the_second_stands_still(void **state)
{
	(void)state;
	stand_still(SECOND, SHORT_LEN); /* only short ones */
	assert_int_equal(send_one(SHORT_LEN), FIRST);
	assert_int_equal(send_one(BULK_LEN), FIRST);
	bed.stands_still[SECOND] = false;
	send_one(BULK_LEN);
	assert_int_equal(send_one(SHORT_LEN), SECOND);
}

static void one_that_steps_down_leaves_all_to_the_other(void **state)
{
	(void)state;
	carrier_step_down(&bed.carriers[FIRST]);
	assert_ptr_equal(bed.flow.carrier, &bed.carriers[SECOND]);
	assert_null(bed.flow.second);
	assert_int_equal(send_one(BULK_LEN), SECOND);
	assert_int_equal(send_one(SHORT_LEN), SECOND);
}

static void the_end_of_one_leaves_all_to_the_other(void **state)
{
	(void)state;
	carrier_close(&bed.carriers[SECOND], FRAME_CLOSE_NORMAL);
	assert_null(bed.flow.second);
	assert_int_equal(send_one(SHORT_LEN), FIRST);
	assert_int_equal(send_one(BULK_LEN), FIRST);
	assert_int_equal(bed.ends, 0);
}

static void what_waits_for_one_that_stands_still_is_sent_at_the_next_tick(void **state)
{
	(void)state;
	stand_still(FIRST, BULK_LEN);
	bed.now_us += STEP_US;
	push(BULK_LEN); /* and nothing comes from UDP that would send it */
	came(SECOND);
	carrier_tick(&bed.carriers[SECOND], bed.now_us);
	assert_true(came(SECOND) > BULK_LEN);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(short_ones_take_the_second_and_bulk_the_first),
		CLAIM(all_take_the_second_while_the_first_stands_still),
		CLAIM(all_take_the_first_while_the_second_stands_still),
		CLAIM(one_that_steps_down_leaves_all_to_the_other),
		CLAIM(the_end_of_one_leaves_all_to_the_other),
		CLAIM(what_waits_for_one_that_stands_still_is_sent_at_the_next_tick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
