/* Ping and echo measure the time of a datagram's way at low load; fan makes many quiet sessions.
 *
 * Each ping carries its number, by which its answer is told, so that a late or foreign one is
 * not mistaken. No answer within ANSWER_MS counts as lost. Nothing spins: a machine that sleeps in between is what a
 * lightly loaded tunnel runs on.
 */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define NS_PER_MS 1000000ull
#define ANSWER_MS 1000
#define FIRST_ANSWER_MS 10000 /* the tunnel's set-up comes first */
#define PINGS_MAX 100000u
#define FAN_PAUSE_NS (2 * NS_PER_MS)

void load_echo(const struct load_options *options)
{
	static uint8_t buf[LOAD_DATAGRAM_MAX];
	int fd = load_open_socket(&options->listen);

	while (!load_is_stopped()) {
		struct sockaddr_in from;
		socklen_t from_len = sizeof(from);
		ssize_t len = recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &from_len);

		if (len > 0)
			sendto(fd, buf, (size_t)len, 0, (const struct sockaddr *)&from, from_len);
	}
	close(fd);
}

/* Wait for the answer to @number. Return: its round trip, or 0 where it did not come in time. */
static uint64_t ping_wait(int fd, uint64_t number, uint64_t sent_ns, int wait_ms)
{
	static uint8_t buf[LOAD_DATAGRAM_MAX];
	uint64_t deadline_ns = sent_ns + (uint64_t)wait_ms * NS_PER_MS;
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	for (;;) {
		uint64_t now_ns = load_now_ns();
		uint64_t got;

		if (now_ns >= deadline_ns || load_is_stopped())
			return 0;
		if (poll(&ready, 1, (int)((deadline_ns - now_ns) / NS_PER_MS) + 1) <= 0)
			continue;
		if (recv(fd, buf, sizeof(buf), 0) < (ssize_t)LOAD_HEADER_BYTES)
			continue;
		memcpy(&got, buf + LOAD_NUMBER_OFFSET, sizeof(got));
		if (got == number)
			return load_now_ns() - sent_ns;
	}
}

static uint64_t ping_once(int fd, uint8_t *datagram, size_t size, uint64_t number, int wait_ms)
{
	uint64_t sent_ns;

	memcpy(datagram + LOAD_NUMBER_OFFSET, &number, sizeof(number));
	sent_ns = load_now_ns();
	if (send(fd, datagram, size, 0) < 0 && errno != ECONNREFUSED)
		load_fail("send");
	return ping_wait(fd, number, sent_ns, wait_ms);
}

static int compare_times(const void *a, const void *b)
{
	uint64_t left = *(const uint64_t *)a;
	uint64_t right = *(const uint64_t *)b;

	return (left > right) - (left < right);
}

static void ping_report(uint64_t *times, size_t count, size_t lost)
{
	qsort(times, count, sizeof(*times), compare_times);
	if (count == 0)
		times[0] = 0;
	printf("{\"answers\":%zu,\"lost\":%zu,\"p50_us\":%.1f,\"p90_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
		count, lost, (double)times[count / 2] / 1e3, (double)times[count * 90 / 100] / 1e3,
		(double)times[count * 99 / 100] / 1e3, (double)times[count ? count - 1 : 0] / 1e3);
}

void load_ping(const struct load_options *options)
{
	static uint8_t datagram[LOAD_DATAGRAM_MAX];
	static uint64_t times[PINGS_MAX];
	uint64_t wanted = (uint64_t)(options->seconds * (double)options->rate);
	uint64_t started_ns;
	size_t answers = 0;
	size_t lost = 0;
	int fd = load_open_socket(&options->listen);

	load_fill_datagram(datagram, sizeof(datagram));
	if (connect(fd, (const struct sockaddr *)&options->to, sizeof(options->to)) < 0)
		load_fail("connect");
	ping_once(fd, datagram, options->size, UINT64_MAX, FIRST_ANSWER_MS);
	started_ns = load_now_ns();
	for (uint64_t i = 0; i < wanted && i < PINGS_MAX && !load_is_stopped(); i++) {
		uint64_t took_ns;

		load_sleep_until_ns(started_ns + i * NS_PER_S / options->rate);
		took_ns = ping_once(fd, datagram, options->size, i, ANSWER_MS);
		if (took_ns > 0)
			times[answers++] = took_ns;
		else
			lost++;
	}
	ping_report(times, answers, lost);
	close(fd);
}

/* Each socket is a local source address of its own, hence a flow and a carrier of its own. */
void load_fan(const struct load_options *options)
{
	struct rlimit files = {.rlim_cur = options->count + 64u, .rlim_max = options->count + 64u};
	uint64_t started_ns = load_now_ns();
	uint8_t datagram[32];

	load_fill_datagram(datagram, sizeof(datagram));
	setrlimit(RLIMIT_NOFILE, &files);
	for (unsigned i = 0; i < options->count && !load_is_stopped(); i++) {
		int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0); /* stays open until exit */

		if (fd < 0)
			load_fail("socket");
		if (sendto(fd, datagram, sizeof(datagram), 0, (const struct sockaddr *)&options->to,
			    sizeof(options->to)) < 0)
			load_fail("send");
		load_sleep_until_ns(started_ns + (i + 1) * FAN_PAUSE_NS);
	}
	while (!load_is_stopped())
		load_sleep_until_ns(load_now_ns() + 100 * NS_PER_MS);
}
