/* As many datagrams as the tunnel takes: the sender and the sink.
 *
 * Without a limit the sender drowns the tunnel, and most datagrams are lost in front of it. With --window it sends no
 * more than the sink has room to be behind, as inner TCP does: the tunnel is busy all the time and loses nothing.
 * Datagrams carry numbers: a loss is seen when the next one arrives, or after STALL_NS of silence.
 */
#include "load.h"

#include <errno.h>
#include <netinet/udp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define NS_PER_S 1000000000ull
#define WINDOW_NAP_NS 20000ull /* how often a sender with a full window looks */
#define STALL_NS 20000000ull   /* the longest a datagram is on its way through a loaded machine, generously */
#define PACE_NAP_NS 500000ull  /* a paced sender wakes this often and sends all datagrams that are due */
#define HELLO_NS 100000000ull  /* the sink says where it is until something comes */
#define SINK_BATCH 256
#define GSO_BYTES_MAX 65507u
#define GSO_SEGMENTS_MAX 64u

struct sender {
	const struct load_options *options;
	int fd;
	uint8_t headers[LOAD_BATCH][LOAD_HEADER_BYTES];
	uint8_t rest[LOAD_DATAGRAM_MAX]; /* the same behind every header */
	struct iovec iovs[LOAD_BATCH][2];
	struct mmsghdr messages[LOAD_BATCH];
	uint64_t started_ns;
	uint64_t given_up; /* numbers below this one are not waited for */
	uint64_t last_seen;
	uint64_t last_seen_ns;
};

static void learn_peer(int fd, struct sockaddr_in *ret)
{
	socklen_t len = sizeof(*ret);
	uint8_t byte;

	while (recvfrom(fd, &byte, sizeof(byte), 0, (struct sockaddr *)ret, &len) < 0)
		if (load_is_stopped())
			return;
}

static void sender_open(struct sender *sender, const struct load_options *options)
{
	struct sockaddr_in peer = options->to;

	sender->options = options;
	sender->fd = load_open_socket(&options->listen);
	if (peer.sin_port == 0)
		learn_peer(sender->fd, &peer);
	if (connect(sender->fd, (const struct sockaddr *)&peer, sizeof(peer)) < 0 && !load_is_stopped())
		load_fail("connect");
	load_fill_datagram(sender->rest, sizeof(sender->rest));
	for (unsigned i = 0; i < LOAD_BATCH; i++) {
		memcpy(sender->headers[i], sender->rest, LOAD_HEADER_BYTES);
		sender->iovs[i][0] = (struct iovec){.iov_base = sender->headers[i], .iov_len = LOAD_HEADER_BYTES};
		sender->iovs[i][1] = (struct iovec){
			.iov_base = sender->rest + LOAD_HEADER_BYTES, .iov_len = options->size - LOAD_HEADER_BYTES};
		sender->messages[i].msg_hdr = (struct msghdr){.msg_iov = sender->iovs[i], .msg_iovlen = 2};
	}
	sender->started_ns = sender->last_seen_ns = load_now_ns();
}

/* How many may go now, by rate. */
static uint64_t sender_due(struct sender *sender, uint64_t now_ns)
{
	uint64_t sent = atomic_load_explicit(&sender->options->shared->sent, memory_order_relaxed);
	uint64_t due = (uint64_t)((double)(now_ns - sender->started_ns) / NS_PER_S * (double)sender->options->rate);

	return due > sent ? due - sent : 0;
}

/* How many may go now, by window. Datagrams overtake one another nowhere: all below the highest number seen have
 * arrived or are lost. */
static uint64_t sender_room(struct sender *sender, uint64_t now_ns)
{
	struct load_shared *shared = sender->options->shared;
	uint64_t sent = atomic_load_explicit(&shared->sent, memory_order_relaxed);
	uint64_t seen = atomic_load_explicit(&shared->seen, memory_order_relaxed);
	uint64_t under_way;

	if (seen != sender->last_seen) {
		sender->last_seen = seen;
		sender->last_seen_ns = now_ns;
	} else if (now_ns - sender->last_seen_ns > STALL_NS) {
		sender->given_up = sent;
		sender->last_seen_ns = now_ns;
	}
	under_way = sent - (seen > sender->given_up ? seen : sender->given_up);
	return under_way < sender->options->window ? sender->options->window - under_way : 0;
}

static void sender_number(struct sender *sender, unsigned count)
{
	uint64_t number = atomic_load_explicit(&sender->options->shared->sent, memory_order_relaxed);

	for (unsigned i = 0; i < count; i++, number++)
		memcpy(sender->headers[i] + LOAD_NUMBER_OFFSET, &number, sizeof(number));
}

static int send_batch(struct sender *sender, unsigned count)
{
	return sendmmsg(sender->fd, sender->messages, count, 0);
}

static int send_gso(struct sender *sender, unsigned count)
{
	uint16_t size = (uint16_t)sender->options->size;
	unsigned most = GSO_BYTES_MAX / size < GSO_SEGMENTS_MAX ? GSO_BYTES_MAX / size : GSO_SEGMENTS_MAX;
	unsigned segments = count < most ? count : most;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(size))] = {0};
	struct msghdr message = {.msg_iov = sender->iovs[0],
		.msg_iovlen = 2ul * segments,
		.msg_control = control,
		.msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_UDP;
	header->cmsg_type = UDP_SEGMENT;
	header->cmsg_len = CMSG_LEN(sizeof(size));
	memcpy(CMSG_DATA(header), &size, sizeof(size));
	return sendmsg(sender->fd, &message, 0) < 0 ? -1 : (int)segments;
}

static void sender_send(struct sender *sender, uint64_t room)
{
	unsigned count = room < LOAD_BATCH ? (unsigned)room : LOAD_BATCH;
	int sent;

	sender_number(sender, count);
	sent = sender->options->gso ? send_gso(sender, count) : send_batch(sender, count);

	/* ECONNREFUSED: the tunnel is not up yet; ENOBUFS: it is fast. Neither ends a load. */
	if (sent < 0 && errno != ECONNREFUSED && errno != ENOBUFS && errno != EINTR && errno != EAGAIN)
		load_fail("send");
	if (sent > 0)
		atomic_fetch_add_explicit(&sender->options->shared->sent, (uint64_t)sent, memory_order_relaxed);
}

static bool sender_is_done(const struct sender *sender, uint64_t now_ns)
{
	double seconds = sender->options->seconds;

	return load_is_stopped() ||
	       (seconds > 0 && (double)(now_ns - sender->started_ns) >= seconds * (double)NS_PER_S);
}

void load_send(const struct load_options *options)
{
	static struct sender sender;
	uint64_t now_ns;

	sender_open(&sender, options);
	for (now_ns = load_now_ns(); !sender_is_done(&sender, now_ns); now_ns = load_now_ns()) {
		uint64_t room = LOAD_BATCH;

		if (options->rate > 0)
			room = sender_due(&sender, now_ns);
		else if (options->window > 0)
			room = sender_room(&sender, now_ns);
		if (room > 0)
			sender_send(&sender, room);
		else
			load_sleep_until_ns(now_ns + (options->rate > 0 ? PACE_NAP_NS : WINDOW_NAP_NS));
	}
	printf("{\"sent\":%llu,\"seconds\":%.3f}\n", (unsigned long long)atomic_load(&options->shared->sent),
		(double)(now_ns - sender.started_ns) / (double)NS_PER_S);
}

/* Tell the tunnel where we are, again and again, until it sends us something. A port that is not open yet shows as an
 * error of the socket, which is no answer. */
static void sink_call(int fd, const struct sockaddr_in *to)
{
	uint8_t hello[32]; /* the size of WireGuard's keepalive */

	load_fill_datagram(hello, sizeof(hello));
	if (connect(fd, (const struct sockaddr *)to, sizeof(*to)) < 0)
		load_fail("connect");
	while (!load_is_stopped()) {
		send(fd, hello, sizeof(hello), 0);
		load_sleep_until_ns(load_now_ns() + HELLO_NS);
		if (recv(fd, hello, sizeof(hello), MSG_DONTWAIT | MSG_PEEK) > 0)
			return;
		load_fill_datagram(hello, sizeof(hello));
	}
}

struct sink {
	int fd;
	uint8_t headers[SINK_BATCH][LOAD_HEADER_BYTES];
	struct iovec iovs[SINK_BATCH];
	struct mmsghdr messages[SINK_BATCH];
	uint64_t seen;
};

static void sink_open(struct sink *sink, const struct load_options *options)
{
	sink->fd = load_open_socket(&options->listen);
	for (unsigned i = 0; i < SINK_BATCH; i++) {
		sink->iovs[i] = (struct iovec){.iov_base = sink->headers[i], .iov_len = LOAD_HEADER_BYTES};
		sink->messages[i].msg_hdr = (struct msghdr){.msg_iov = &sink->iovs[i], .msg_iovlen = 1};
	}
	if (options->to.sin_port != 0)
		sink_call(sink->fd, &options->to);
}

/* Count datagrams of @size only: a stray datagram is no load. */
static void sink_count(struct sink *sink, const struct load_options *options, unsigned count)
{
	uint64_t delivered = 0;
	uint64_t number;

	for (unsigned i = 0; i < count; i++) {
		if (sink->messages[i].msg_len != options->size)
			continue;
		memcpy(&number, sink->headers[i] + LOAD_NUMBER_OFFSET, sizeof(number));
		if (number >= sink->seen)
			sink->seen = number + 1;
		delivered++;
	}
	atomic_fetch_add_explicit(&options->shared->delivered, delivered, memory_order_relaxed);
	atomic_fetch_add_explicit(&options->shared->delivered_bytes, delivered * options->size, memory_order_relaxed);
	atomic_store_explicit(&options->shared->seen, sink->seen, memory_order_relaxed);
}

/* MSG_TRUNC returns the full length and copies the header only: the cost of WireGuard's own work is not measured. */
void load_sink(const struct load_options *options)
{
	static struct sink sink;

	sink_open(&sink, options);
	while (!load_is_stopped()) {
		int count = recvmmsg(sink.fd, sink.messages, SINK_BATCH, MSG_WAITFORONE | MSG_TRUNC, NULL);

		if (count > 0)
			sink_count(&sink, options, (unsigned)count);
	}
	printf("{\"delivered\":%llu,\"bytes\":%llu}\n", (unsigned long long)atomic_load(&options->shared->delivered),
		(unsigned long long)atomic_load(&options->shared->delivered_bytes));
}
