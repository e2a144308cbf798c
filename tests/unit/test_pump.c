/* The datagram path without TLS: a stand-in for tls_stream holds the records written and the bytes to be read; the
 * flow's UDP side is a pair of sockets on the loopback interface. */
#include "common/tunnel/pump.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define NOW 1000000000u

static struct bed {
	struct pump pump;
	struct dgram_socket socket;
	struct flow flow;
	struct tls_stream stream;
	struct liveness liveness;
	struct pump_pipe pipe;
	int target; /* the other end of the flow's UDP socket */
	/* the stand-in's */
	size_t records[64]; /* plaintext lengths */
	size_t record_count;
	uint8_t out[1 << 18];
	size_t out_len;
	unsigned flushes;
	int flush_result; /* 1: the socket takes nothing */
	int write_result;
	const uint8_t *in;
	size_t in_len;
	size_t in_piece; /* bytes that one read returns at most */
	ssize_t in_end;	 /* what a read returns at the end */
	unsigned batches;
	unsigned sends; /* on_batch was told that it is the last */
	bool stops;	/* on_batch returns false */
} bed;

size_t tls_stream_room(const struct tls_stream *stream)
{
	(void)stream;
	return bed.write_result == -ENOBUFS ? 0 : TLS_STREAM_BURST;
}

int tls_stream_write(struct tls_stream *stream, const void *buf, size_t len)
{
	(void)stream;
	if (bed.write_result < 0)
		return bed.write_result;
	assert_in_range(bed.out_len + len, 0, sizeof(bed.out));
	memcpy(bed.out + bed.out_len, buf, len);
	bed.out_len += len;
	bed.records[bed.record_count++] = len;
	return 0;
}

int tls_stream_flush(struct tls_stream *stream)
{
	bed.flushes++;
	stream->is_blocked = bed.flush_result == 1;
	return bed.flush_result;
}

ssize_t tls_stream_read(struct tls_stream *stream, void *buf, size_t len)
{
	size_t n = bed.in_len < bed.in_piece ? bed.in_len : bed.in_piece;

	(void)stream;
	if (n > len)
		n = len;
	if (n == 0)
		return bed.in_end;
	memcpy(buf, bed.in, n);
	bed.in += n;
	bed.in_len -= n;
	return (ssize_t)n;
}

void tls_buffers_done(struct tls_buffers *buffers)
{
	(void)buffers;
}

static int open_udp(struct sockaddr_in *ret)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(*ret);

	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	assert_int_equal(bind(fd, (struct sockaddr *)ret, sizeof(*ret)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)ret, &len), 0);
	return fd;
}

static int set_up(void **state)
{
	struct sockaddr_in ours, target;
	int fd;

	(void)state;
	memset(&bed, 0, sizeof(bed));
	assert_int_equal(pump_init(&bed.pump, 512, NULL), 0);
	fd = open_udp(&ours);
	bed.target = open_udp(&target);
	assert_int_equal(connect(fd, (struct sockaddr *)&target, sizeof(target)), 0);
	assert_int_equal(connect(bed.target, (struct sockaddr *)&ours, sizeof(ours)), 0);
	dgram_socket_init(&bed.socket, fd, true);
	flow_init(&bed.flow, &bed.pump.pool, &bed.socket);
	bed.flow.has_peer = true;
	dgram_queue_set_carrier(&bed.flow.queue, true, NOW);
	liveness_init(&bed.liveness, 1000000, NOW);
	bed.pipe = (struct pump_pipe){.pump = &bed.pump,
		.stream = &bed.stream,
		.flow = &bed.flow,
		.liveness = &bed.liveness,
		.lanes = DGRAM_LANES_ALL,
		.record_len = 4096,
		.rest_need = 1};
	bed.in_piece = SIZE_MAX;
	return 0;
}

/* Whatever a test did: every cell comes back, and the sender borrows nothing. */
static int tear_down(void **state)
{
	(void)state;
	assert_int_equal(bed.pump.sender.count, 0);
	pump_forget(&bed.pipe);
	flow_done(&bed.flow);
	close(bed.socket.fd);
	close(bed.target);
	dgram_receiver_done(&bed.pump.receiver);
	assert_int_equal(bed.pump.pool.in_use, 0);
	bed.pump.receiver.pool = &bed.pump.pool;
	pump_done(&bed.pump);
	return 0;
}

static void push(size_t len, unsigned count)
{
	static uint8_t zeros[4096];

	while (count-- > 0) {
		struct dgram *dgram = dgram_take(&bed.pump.pool);

		assert_non_null(dgram);
		assert_int_equal(dgram_append(&bed.pump.pool, dgram, zeros, len), 0);
		dgram->received_us = NOW;
		flow_push(&bed.flow, dgram);
	}
}

static enum pump_end feed(const void *bytes, size_t len, long *ret_code)
{
	bed.in = bytes;
	bed.in_len = len;
	*ret_code = 0;
	return pump_in(&bed.pipe, NOW, ret_code);
}

static void assert_target_got(const char *text)
{
	char buf[256];
	ssize_t n = recv(bed.target, buf, sizeof(buf), MSG_DONTWAIT);

	if (!text) {
		assert_int_equal(n, -1);
		return;
	}
	assert_int_equal(n, strlen(text));
	assert_memory_equal(buf, text, strlen(text));
}

/* --- out --- */

/* Whole frames share a record as far as record_len goes; none is cut. */
static void frames_share_records(void **state)
{
	(void)state;
	push(1000, 5);
	assert_int_equal(pump_out(&bed.pipe, NOW), 0);
	assert_int_equal(bed.record_count, 2);
	assert_int_equal(bed.records[0], 4 * 1004);
	assert_int_equal(bed.records[1], 1004);
	assert_memory_equal(bed.out, ((uint8_t[]){0x82, 126, 1000 >> 8, 1000 & 255}), 4);
}

/* Four records leave with one send. */
static void four_records_are_one_send(void **state)
{
	(void)state;
	push(1000, 16);
	assert_int_equal(pump_out(&bed.pipe, NOW), 0);
	assert_int_equal(bed.record_count, 4);
	assert_int_equal(bed.flushes, 2); /* the second finds the queue empty */
}

/* A blocked socket leaves the rest in the queue, and what is in the send buffer counts as unsent until it has left. */
static void blocked_stream_leaves_the_rest(void **state)
{
	(void)state;
	bed.flush_result = 1;
	push(1000, 20);
	assert_int_equal(pump_out(&bed.pipe, NOW), 0);
	assert_int_equal(bed.flow.queue.depth, 4);
	assert_int_equal(bed.pipe.unsent_datagrams, 16);
	assert_int_equal(bed.pipe.unsent_bytes, 16000);
	pump_on_flushed(&bed.pipe);
	assert_int_equal(bed.pipe.unsent_datagrams, 0);
}

/* A failed stream ends pump_out() with its errno. */
static void failed_stream_is_reported(void **state)
{
	(void)state;
	bed.write_result = -EIO;
	push(1000, 1);
	assert_int_equal(pump_out(&bed.pipe, NOW), -EIO);
	assert_int_equal(bed.pipe.unsent_datagrams, 1);
}

/* --- in --- */

/* Binary and text messages are datagrams; an empty one is counted and not forwarded. */
static void messages_become_datagrams(void **state)
{
	long code;

	(void)state;
	assert_int_equal(feed("\x82\x03one\x82\x00\x81\x03two", 12, &code), PUMP_GOES_ON);
	assert_target_got("one");
	assert_target_got("two");
	assert_int_equal(bed.flow.counters.received_datagrams, 2);
	assert_int_equal(bed.flow.counters.received_bytes, 6);
	assert_int_equal(bed.flow.counters.dropped.count[DROP_EMPTY], 1);
}

/* Before a local program has sent there is no address to deliver to. */
static void message_without_a_peer_is_counted(void **state)
{
	long code;

	(void)state;
	bed.flow.has_peer = false;
	assert_int_equal(feed("\x82\x03one", 5, &code), PUMP_GOES_ON);
	assert_target_got(NULL);
	assert_int_equal(bed.flow.counters.dropped.count[DROP_NO_LOCAL_PEER], 1);
}

/* A frame that arrives byte by byte, over many calls, is delivered once and whole. */
static void frame_in_pieces_is_whole(void **state)
{
	const uint8_t frame[] = {0x82, 0x83, 1, 2, 3, 4, 'o' ^ 1, 'n' ^ 2, 'e' ^ 3};
	long code;

	(void)state;
	for (size_t i = 0; i < sizeof(frame); i++) {
		assert_target_got(NULL);
		assert_int_equal(feed(frame + i, 1, &code), PUMP_GOES_ON);
	}
	assert_target_got("one");
	assert_target_got(NULL);
	assert_int_equal(bed.pipe.rest_len, 0);
}

/* Bytes kept from behind the HTTP head come first. */
static void kept_bytes_come_first(void **state)
{
	long code;

	(void)state;
	assert_int_equal(pump_keep(&bed.pipe, (const uint8_t *)"\x82\x03on", 4), 0);
	assert_int_equal(feed("e\x82\x03two", 6, &code), PUMP_GOES_ON);
	assert_target_got("one");
	assert_target_got("two");
}

/* A ping is answered with exactly one pong of the same payload, in the send buffer until the caller flushes. */
static void ping_is_answered_once(void **state)
{
	long code;

	(void)state;
	assert_int_equal(feed("\x89\x02hi", 4, &code), PUMP_GOES_ON);
	assert_int_equal(bed.out_len, 4);
	assert_memory_equal(bed.out, "\x8a\x02hi", 4);
	assert_int_equal(bed.flushes, 0);
	assert_int_equal(bed.pipe.pongs, 1);
}

/* Behind PUMP_PONGS_MAX unsent pongs nothing is parsed any more; nothing is lost either. */
static void unsent_pongs_stop_the_parser(void **state)
{
	uint8_t pings[2 * PUMP_PONGS_MAX + 5];
	long code;

	(void)state;
	for (size_t i = 0; i < PUMP_PONGS_MAX; i++)
		memcpy(pings + 2 * i, "\x89\x00", 2);
	memcpy(pings + 2 * PUMP_PONGS_MAX, "\x82\x03one", 5);
	bed.flush_result = 1;
	assert_int_equal(feed(pings, sizeof(pings), &code), PUMP_GOES_ON);
	assert_int_equal(bed.record_count, PUMP_PONGS_MAX);
	assert_target_got(NULL);
	pump_on_flushed(&bed.pipe);
	assert_int_equal(feed("", 0, &code), PUMP_GOES_ON);
	assert_target_got("one");
}

/* A pong that cannot be written ends the stream with that error. */
static void lost_pong_ends_the_stream(void **state)
{
	long code;

	(void)state;
	bed.write_result = -EIO;
	assert_int_equal(feed("\x89\x00", 2, &code), PUMP_STREAM_ENDED);
	assert_int_equal(code, -EIO);
}

/* The ends: a close frame with and without a code, the stream's end, a violation, a length beyond UDP. */
static void ends_are_told_apart(void **state)
{
	long code;

	(void)state;
	assert_int_equal(feed("\x88\x02\x03\xe9", 4, &code), PUMP_CLOSED);
	assert_int_equal(code, 1001);
	assert_int_equal(feed("\x88\x00", 2, &code), PUMP_CLOSED);
	assert_int_equal(code, 1005);
	assert_int_equal(feed("\xc2\x00", 2, &code), PUMP_PROTOCOL_ERROR);
	assert_int_equal(feed("\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10, &code), PUMP_TOO_BIG);
	bed.in_end = -EPIPE;
	assert_int_equal(feed("\x82\x03one", 5, &code), PUMP_STREAM_ENDED);
	assert_int_equal(code, -EPIPE);
	assert_target_got("one"); /* what came before the end is delivered */
}

/* --- UDP --- */

static bool on_batch(void *owner, unsigned count, bool is_last, uint64_t now_us)
{
	(void)owner;
	bed.batches++;
	bed.sends += is_last;
	for (unsigned i = 0; i < count; i++)
		pump_take(&bed.pump, i, &bed.flow, now_us);
	return !bed.stops;
}

static void send_sized_from_target(unsigned count, size_t len)
{
	static const uint8_t data[2000];

	while (count-- > 0)
		assert_int_equal(send(bed.target, data, len, 0), len);
}

static void send_from_target(unsigned count)
{
	send_sized_from_target(count, 3);
}

/* The callback comes once a batch, and every datagram is in the queue. */
static void callback_comes_once_a_batch(void **state)
{
	(void)state;
	send_from_target(DGRAM_BATCH_MAX + 6);
	pump_receive(&bed.pump, &bed.socket, &bed.flow.counters.dropped, on_batch, NULL);
	assert_int_equal(bed.batches, 2);
	assert_int_equal(bed.flow.queue.depth, DGRAM_BATCH_MAX + 6);
}

/* The carrier is told once where two batches fit into a record, also if nothing follows the first; @len: of each. */
static unsigned sends_of(unsigned count, size_t len)
{
	bed.sends = 0;
	send_sized_from_target(count, len);
	pump_receive(&bed.pump, &bed.socket, &bed.flow.counters.dropped, on_batch, NULL);
	return bed.sends;
}

static void small_batches_share_a_record(void **state)
{
	(void)state;
	assert_int_equal(sends_of(0, 0), 0);
	assert_int_equal(sends_of(1, 120), 1);
	assert_int_equal(sends_of(DGRAM_BATCH_MAX, 120), 1);
	assert_int_equal(sends_of(2 * DGRAM_BATCH_MAX, 120), 1);
	assert_int_equal(sends_of(2 * DGRAM_BATCH_MAX + 1, 120), 2);
	assert_int_equal(sends_of(DGRAM_BATCH_MAX, 1000), 1);
	assert_int_equal(sends_of(DGRAM_BATCH_MAX + 1, 1000), 2);
}

/* A socket that is being closed by the callback is not read again. */
static void closed_socket_is_left_alone(void **state)
{
	(void)state;
	bed.stops = true;
	send_from_target(DGRAM_BATCH_MAX + 6);
	pump_receive(&bed.pump, &bed.socket, &bed.flow.counters.dropped, on_batch, NULL);
	assert_int_equal(bed.batches, 1);
}

/* A socket that never runs dry does not keep the others waiting. */
static void rounds_are_bounded(void **state)
{
	(void)state;
	send_from_target(DGRAM_BATCH_MAX * PUMP_ROUNDS_MAX + 1);
	pump_receive(&bed.pump, &bed.socket, &bed.flow.counters.dropped, on_batch, NULL);
	assert_int_equal(bed.batches, PUMP_ROUNDS_MAX);
}

static size_t resident_pages(void)
{
	static unsigned char pages[512 * DGRAM_CELL / 4096];
	size_t count = 0;

	assert_int_equal(mincore(bed.pump.pool.memory, 512 * DGRAM_CELL, pages), 0);
	for (size_t i = 0; i < sizeof(pages); i++)
		count += pages[i] & 1;
	return count;
}

/* --- at rest --- */

/* Cells that a burst has touched go to the kernel when none is in use, and can be had again. */
static void burst_is_given_back(void **state)
{
	(void)state;
	send_from_target(1); /* the receiver has cells of its own from now on */
	pump_receive(&bed.pump, &bed.socket, &bed.flow.counters.dropped, on_batch, NULL);
	push(100, 300);
	pump_give_back(&bed.pump);
	assert_in_range(resident_pages(), 150, 256);
	assert_int_equal(bed.flow.queue.depth, 301);
	assert_int_equal(pump_out(&bed.pipe, NOW), 0);
	pump_give_back(&bed.pump);
	assert_int_equal(resident_pages(), 0);
	push(100, 300);
	assert_int_equal(pump_out(&bed.pipe, NOW), 0);
	assert_int_equal(bed.pump.pool.in_use, 0);
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(frames_share_records),
		CLAIM(four_records_are_one_send),
		CLAIM(blocked_stream_leaves_the_rest),
		CLAIM(failed_stream_is_reported),
		CLAIM(messages_become_datagrams),
		CLAIM(message_without_a_peer_is_counted),
		CLAIM(frame_in_pieces_is_whole),
		CLAIM(kept_bytes_come_first),
		CLAIM(ping_is_answered_once),
		CLAIM(unsent_pongs_stop_the_parser),
		CLAIM(lost_pong_ends_the_stream),
		CLAIM(ends_are_told_apart),
		CLAIM(callback_comes_once_a_batch),
		CLAIM(small_batches_share_a_record),
		CLAIM(closed_socket_is_left_alone),
		CLAIM(rounds_are_bounded),
		CLAIM(burst_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
