/* The cost of sending batches of datagrams over loopback in the two ways dgram_batch.c has: writev() on a connected
 * socket whose segment size is set when it changes, and sendmmsg() with an address. Prints µs of processor time a
 * datagram.
 *
 *     build/tests/bench/bench-send
 */
#include "common/tunnel/dgram_batch.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define BATCHES 8000
#define SIZE_MAX_HERE 1452u

enum mix { MIX_EQUAL, MIX_ACKS, MIX_RANDOM, MIX_ALTERNATING, MIX_COUNT };

static const char *const mix_names[MIX_COUNT] = {
	"all 1452 bytes", "nine of ten 1452, one 96", "random, 1 to 1452", "1452 and 100 in turn"};

static size_t size_of(enum mix mix, unsigned i)
{
	switch (mix) {
	case MIX_ACKS:
		return rand() % 10 ? SIZE_MAX_HERE : 96;
	case MIX_RANDOM:
		return 1 + (size_t)rand() % SIZE_MAX_HERE;
	case MIX_ALTERNATING:
		return i & 1 ? 100 : SIZE_MAX_HERE;
	case MIX_EQUAL:
	case MIX_COUNT:
		break;
	}
	return SIZE_MAX_HERE;
}

static double cpu_us(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
}

/* The sink reads nothing: its small buffer drops the datagrams, for both ways alike. */
static double measure(enum mix mix, bool is_connected, const struct addr *to)
{
	static uint8_t data[DGRAM_BATCH_MAX][SIZE_MAX_HERE];
	struct dgram_sender sender = {.count = 0};
	struct drop_counters dropped = {{0}};
	struct dgram_socket sock;
	double before_us;
	unsigned batch, i;

	dgram_socket_init(&sock, socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), is_connected);
	if (sock.fd < 0 || (is_connected && connect(sock.fd, &to->sa, addr_len(to)) < 0))
		exit(1);
	srand(1);
	before_us = cpu_us();
	for (batch = 0; batch < BATCHES; batch++) {
		for (i = 0; i < DGRAM_BATCH_MAX; i++)
			dgram_sender_add(&sender, data[i], size_of(mix, i));
		dgram_sender_flush(&sender, &sock, is_connected ? NULL : to, &dropped);
	}
	close(sock.fd);
	return (cpu_us() - before_us) / ((double)BATCHES * DGRAM_BATCH_MAX);
}

int main(void)
{
	int sink = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), small = 4096;
	socklen_t len = sizeof(struct addr);
	struct addr to;
	enum mix mix;

	if (addr_parse("127.0.0.1:1", 0, &to) < 0)
		return 1;
	addr_set_port(&to, 0);
	if (sink < 0 || setsockopt(sink, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) < 0 ||
		bind(sink, &to.sa, addr_len(&to)) < 0 || getsockname(sink, &to.sa, &len) < 0)
		return 1;
	measure(MIX_EQUAL, true, &to); /* warm up */
	printf("%-26s  %10s  %10s   µs of processor time a datagram\n", "sizes", "writev", "sendmmsg");
	for (mix = 0; mix < MIX_COUNT; mix++)
		printf("%-26s  %10.3f  %10.3f\n", mix_names[mix], measure(mix, true, &to), measure(mix, false, &to));
	close(sink);
	return 0;
}
