/* Batched UDP over loopback: datagrams of any sizes come out as they went in, one by one. */
#include "common/tunnel/dgram_batch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct bed {
	struct dgram_pool pool;
	struct dgram_receiver receiver;
	struct dgram_sender sender;
	struct dgram_socket connected, addressed;
	struct drop_counters dropped;
	struct addr to;
	int sink;
};

static int udp_socket(struct addr *ret)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), size = 8 << 20;
	socklen_t len = sizeof(*ret);

	assert_true(fd >= 0);
	assert_int_equal(addr_parse("127.0.0.1:1", 0, ret), 0);
	addr_set_port(ret, 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	assert_int_equal(bind(fd, &ret->sa, addr_len(ret)), 0);
	assert_int_equal(getsockname(fd, &ret->sa, &len), 0);
	return fd;
}

static int setup(void **state)
{
	static struct bed bed;
	struct addr own;
	int fd;

	memset(&bed, 0, sizeof(bed));
	assert_int_equal(dgram_pool_init(&bed.pool, 4096, NULL), 0);
	assert_int_equal(dgram_receiver_init(&bed.receiver, &bed.pool, NULL), 0);
	bed.sink = udp_socket(&bed.to);
	fd = udp_socket(&own);
	assert_int_equal(connect(fd, &bed.to.sa, addr_len(&bed.to)), 0);
	dgram_socket_init(&bed.connected, fd, true);
	dgram_socket_init(&bed.addressed, udp_socket(&own), false);
	*state = &bed;
	return 0;
}

static int teardown(void **state)
{
	struct bed *bed = *state;

	close(bed->sink);
	close(bed->connected.fd);
	close(bed->addressed.fd);
	dgram_receiver_done(&bed->receiver);
	assert_int_equal(bed->pool.in_use, 0);
	dgram_pool_done(&bed->pool);
	return 0;
}

/* Send datagrams of these sizes, each filled with its number, and check that the sink gets exactly these, in order. */
static void round_trip(struct bed *bed, struct dgram_socket *socket, const size_t *sizes, unsigned count)
{
	static uint8_t data[DGRAM_BATCH_MAX][65507];
	static uint8_t out[65507];
	struct dgram_socket sink;
	struct dgram_sent sent;
	unsigned i, n = 0;
	size_t bytes = 0;

	dgram_socket_init(&sink, bed->sink, false);
	for (i = 0; i < count; i++) {
		memset(data[i], (int)i + 1, sizes[i]);
		dgram_sender_add(&bed->sender, data[i], sizes[i]);
		bytes += sizes[i];
	}
	sent = dgram_sender_flush(&bed->sender, socket, socket->is_connected ? NULL : &bed->to, &bed->dropped);
	assert_int_equal(sent.datagrams, count);
	assert_int_equal(sent.bytes, bytes);
	while (n < count) {
		unsigned got = dgram_receive(&bed->receiver, &sink, &bed->dropped);

		assert_true(got > 0);
		for (i = 0; i < got; i++, n++) {
			struct dgram *dgram = dgram_receiver_take(&bed->receiver, i, 7);

			assert_non_null(dgram);
			assert_int_equal(dgram->len, sizes[n]);
			assert_int_equal(dgram->received_us, 7);
			dgram_copy(dgram, out);
			assert_memory_equal(out, data[n], sizes[n]);
			dgram_give(&bed->pool, dgram);
		}
	}
	assert_int_equal(dgram_receive(&bed->receiver, &sink, &bed->dropped), 0);
}

static void both(struct bed *bed, const size_t *sizes, unsigned count)
{
	round_trip(bed, &bed->connected, sizes, count);
	round_trip(bed, &bed->addressed, sizes, count);
}

static void equal_sizes_arrive(void **state)
{
	size_t sizes[DGRAM_BATCH_MAX];
	unsigned i;

	for (i = 0; i < DGRAM_BATCH_MAX; i++)
		sizes[i] = 1452;
	both(*state, sizes, DGRAM_BATCH_MAX);
}

static void any_mix_of_sizes_arrives_whole_and_in_order(void **state)
{
	size_t sizes[DGRAM_BATCH_MAX];
	uint32_t random = 12345;
	unsigned round, i;

	for (round = 0; round < 50; round++) {
		for (i = 0; i < DGRAM_BATCH_MAX; i++) {
			random = random * 1103515245u + 12345u;
			sizes[i] = (random >> 16) % 4 == 0 ? 1 + (random >> 8) % 3000 : 1452;
		}
		both(*state, sizes, DGRAM_BATCH_MAX);
	}
}

/* The segment size left by a run must not cut a longer single datagram behind it. */
static void a_long_one_behind_a_run_is_not_cut(void **state)
{
	const size_t sizes[] = {100, 100, 100, 4000, 65507, 1, 65507};

	both(*state, sizes, 7);
}

static void runs_end_where_they_must(void **state)
{
	struct iovec parts[DGRAM_BATCH_MAX];
	unsigned i;

	(void)state;
	for (i = 0; i < DGRAM_BATCH_MAX; i++)
		parts[i] = (struct iovec){NULL, 1452};
	assert_int_equal(dgram_run_len(parts, DGRAM_BATCH_MAX), 45); /* 45 * 1452 <= 65507 < 46 * 1452 */
	parts[3].iov_len = 100;
	assert_int_equal(dgram_run_len(parts, DGRAM_BATCH_MAX), 4); /* a shorter one is the last */
	parts[3].iov_len = 1453;
	assert_int_equal(dgram_run_len(parts, DGRAM_BATCH_MAX), 3); /* a longer one begins the next */
	assert_int_equal(dgram_run_len(parts, 1), 1);
}

static void each_datagram_to_a_closed_target_is_counted(void **state)
{
	struct bed *bed = *state;
	uint8_t data[100] = {0};
	unsigned i;

	close(bed->sink);
	for (i = 0; i < 3; i++) {
		dgram_sender_add(&bed->sender, data, sizeof(data));
		dgram_sender_flush(&bed->sender, &bed->connected, NULL, &bed->dropped);
	}
	assert_int_equal(dgram_receive(&bed->receiver, &bed->connected, &bed->dropped), 0);
	assert_int_equal(bed->dropped.count[DROP_UDP_REFUSED], 3);
	bed->sink = udp_socket(&bed->to); /* for the teardown */
}

static void receiving_survives_an_icmp_error(void **state)
{
	struct bed *bed = *state;
	uint8_t data[100] = {0};
	struct addr own;
	socklen_t len = sizeof(own);
	int stranger;

	close(bed->sink);
	dgram_sender_add(&bed->sender, data, sizeof(data));
	dgram_sender_flush(&bed->sender, &bed->connected, NULL, &bed->dropped); /* the ICMP error is pending now */
	bed->sink = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(bed->sink, &bed->to.sa, addr_len(&bed->to)), 0);
	assert_int_equal(getsockname(bed->connected.fd, &own.sa, &len), 0);
	stranger = bed->sink; /* the target is back and speaks */
	assert_int_equal(sendto(stranger, "x", 1, 0, &own.sa, addr_len(&own)), 1);
	assert_int_equal(dgram_receive(&bed->receiver, &bed->connected, &bed->dropped), 1);
}

static void an_oversized_datagram_is_counted(void **state)
{
	struct bed *bed = *state;
	static uint8_t data[65536];

	dgram_sender_add(&bed->sender, data, 65535);
	assert_int_equal(dgram_sender_flush(&bed->sender, &bed->connected, NULL, &bed->dropped).datagrams, 0);
	dgram_sender_add(&bed->sender, data, 65535);
	assert_int_equal(dgram_sender_flush(&bed->sender, &bed->addressed, &bed->to, &bed->dropped).datagrams, 0);
	assert_int_equal(bed->dropped.count[DROP_TOO_LARGE], 2);
}

static void without_cells_the_socket_is_emptied_and_counted(void **state)
{
	struct bed *bed = *state;
	struct dgram *held[4097];
	struct dgram_socket sink;
	unsigned i, count = 0;
	char byte;

	dgram_socket_init(&sink, bed->sink, false);
	while ((held[count] = dgram_take(&bed->pool)))
		count++;
	for (i = 0; i < 3; i++)
		assert_int_equal(send(bed->connected.fd, "x", 1, 0), 1);
	assert_int_equal(dgram_receive(&bed->receiver, &sink, &bed->dropped), 0);
	assert_int_equal(bed->dropped.count[DROP_QUEUE_FULL], 3);
	assert_int_equal(recv(bed->sink, &byte, 1, MSG_DONTWAIT), -1);
	while (count > 0)
		dgram_give(&bed->pool, held[--count]);
}

/* As frames leave them: behind one another, with headers in between. Short ones are moved together. */
static void neighbours_arrive_whole(struct bed *bed, struct dgram_socket *socket, const size_t *sizes, unsigned count)
{
	static uint8_t stream[DGRAM_BATCH_MAX * 4000], out[4000];
	uint8_t *at = stream;

	for (unsigned i = 0; i < count; i++) {
		memset(at, 0xff, DGRAM_GAP_MAX);
		at += i % (DGRAM_GAP_MAX + 1);
		memset(at, (int)i + 1, sizes[i]);
		dgram_sender_add(&bed->sender, at, sizes[i]);
		at += sizes[i];
	}
	dgram_sender_flush(&bed->sender, socket, socket->is_connected ? NULL : &bed->to, &bed->dropped);
	for (unsigned i = 0; i < count; i++) {
		assert_int_equal(recv(bed->sink, out, sizeof(out), MSG_DONTWAIT), sizes[i]);
		for (size_t byte = 0; byte < sizes[i]; byte++)
			assert_int_equal(out[byte], i + 1);
	}
	assert_int_equal(recv(bed->sink, out, sizeof(out), MSG_DONTWAIT), -1);
}

static void neighbours_of_any_size_arrive(void **state)
{
	size_t sizes[DGRAM_BATCH_MAX];
	uint32_t random = 54321;

	for (unsigned round = 0; round < 100; round++) {
		for (unsigned i = 0; i < DGRAM_BATCH_MAX; i++) {
			random = random * 1103515245u + 12345u;
			sizes[i] = (random >> 16) % 4 == 0 ? 1 + (random >> 8) % 3000 : round % 2 ? 120 : 256;
		}
		neighbours_arrive_whole(*state, &((struct bed *)*state)->connected, sizes, DGRAM_BATCH_MAX);
		neighbours_arrive_whole(*state, &((struct bed *)*state)->addressed, sizes, DGRAM_BATCH_MAX);
	}
}

/* Slots that an earlier call has used, for another family or without a source, tell the whole source again. */
static void source_is_told_after_any_other_batch(void **state)
{
	static const uint8_t data[3];
	struct bed *bed = *state;
	struct addr to6 = {.in6 = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT}}, own;
	int fd6 = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct dgram_socket sink, sink6;
	socklen_t len = sizeof(to6);

	assert_int_equal(bind(fd6, &to6.sa, addr_len(&to6)), 0);
	assert_int_equal(getsockname(fd6, &to6.sa, &len), 0);
	dgram_socket_init(&sink, bed->sink, false);
	dgram_socket_init(&sink6, fd6, false);
	for (unsigned count = 3; count > 0; count--) {
		for (unsigned i = 0; i < count; i++) {
			assert_int_equal(send(bed->connected.fd, data, 3, 0), 3);
			assert_int_equal(sendto(fd6, data, 3, 0, &to6.sa, addr_len(&to6)), 3);
		}
		assert_int_equal(dgram_receive(&bed->receiver, &sink, &bed->dropped), count);
		len = sizeof(own);
		assert_int_equal(getsockname(bed->connected.fd, &own.sa, &len), 0);
		assert_true(addr_equal(&bed->receiver.from[count - 1], &own));
		assert_int_equal(dgram_receive(&bed->receiver, &bed->connected, &bed->dropped), 0);
		assert_int_equal(dgram_receive(&bed->receiver, &sink6, &bed->dropped), count);
		assert_true(addr_equal(&bed->receiver.from[count - 1], &to6));
	}
	close(fd6);
}

#define BED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BED(equal_sizes_arrive),
		BED(any_mix_of_sizes_arrives_whole_and_in_order),
		BED(a_long_one_behind_a_run_is_not_cut),
		BED(runs_end_where_they_must),
		BED(each_datagram_to_a_closed_target_is_counted),
		BED(receiving_survives_an_icmp_error),
		BED(an_oversized_datagram_is_counted),
		BED(without_cells_the_socket_is_emptied_and_counted),
		BED(neighbours_of_any_size_arrive),
		BED(source_is_told_after_any_other_batch),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
