/* Batched UDP: receive into pool cells, send in runs.
 *
 * Theory of operation. One system call serves many datagrams in each direction:
 *
 *    receiving   slot i:   parts[i][0] = cell, DGRAM_CELL_DATA bytes    parts[i][1] = overflow, the rest up to 65536
 *    sending     payloads: 1400 1400 600 | 1400 1400 1400 96 | 200      a run ends behind the first that is shorter, or
 *                          run 1           run 2               run 3    in front of one that is longer
 *
 * A datagram that fits its cell is never copied here. A slot whose datagram was taken has given its cell away, and
 * gets a fresh one before the next call; the others keep theirs, and are not touched.
 *
 * A run that the kernel refuses as a run is sent one by one (connected) or lost (addressed), and the socket
 * remembers. On a connected socket an ICMP error that is reported by a send is about an earlier datagram, and is
 * cleared by trying once more. All else that does not go is dropped and counted: WireGuard expects that of UDP, and
 * waiting would hold up the stream.
 */
#include "common/tunnel/dgram_batch.h"

#include <errno.h>
#include <netinet/udp.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103 /* linux/udp.h */
#endif

/* Room behind a cell for the largest datagram. A stride off the powers of two keeps the slots out of one cache set. */
#define OVERFLOW_LEN (65536u - DGRAM_CELL_DATA)
#define OVERFLOW_STRIDE (65536u + 4096u)

int dgram_receiver_init(struct dgram_receiver *receiver, struct dgram_pool *pool, struct err *err)
{
	void *overflow = mmap(NULL, (size_t)OVERFLOW_STRIDE * DGRAM_BATCH_MAX, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (overflow == MAP_FAILED)
		return err_system(err, -errno, "memory for long datagrams");
	memset(receiver, 0, sizeof(*receiver));
	receiver->pool = pool;
	receiver->overflow = overflow;
	receiver->used = DGRAM_BATCH_MAX;
	for (unsigned i = 0; i < DGRAM_BATCH_MAX; i++) {
		receiver->parts[i][1] = (struct iovec){receiver->overflow + (size_t)i * OVERFLOW_STRIDE, OVERFLOW_LEN};
		receiver->messages[i].msg_hdr.msg_iov = receiver->parts[i];
		receiver->messages[i].msg_hdr.msg_iovlen = 2;
	}
	return 0;
}

void dgram_receiver_give_back(struct dgram_receiver *receiver)
{
	for (unsigned i = 0; i < DGRAM_BATCH_MAX; i++) {
		dgram_give(receiver->pool, receiver->cells[i]);
		receiver->cells[i] = NULL;
	}
	receiver->used = DGRAM_BATCH_MAX;
}

void dgram_receiver_done(struct dgram_receiver *receiver)
{
	dgram_receiver_give_back(receiver);
	if (receiver->overflow)
		munmap(receiver->overflow, (size_t)OVERFLOW_STRIDE * DGRAM_BATCH_MAX);
	memset(receiver, 0, sizeof(*receiver));
}

/* Errors of sendmmsg(), writev() and recvmmsg() on a UDP socket (udp(7), ip(7)). */
static enum drop_reason reason_of_errno(int error)
{
	switch (error) {
	case ECONNREFUSED:
		return DROP_UDP_REFUSED;
	case EAGAIN:
	case ENOBUFS:
	case ENOMEM:
		return DROP_UDP_FULL;
	case EMSGSIZE:
		return DROP_TOO_LARGE;
	default:
		return DROP_UDP_FAILED;
	}
}

/* Put a fresh cell into every slot that gave its own away, and room for a source where the last call wrote one. Slots
 * that were not used since are ready: a datagram that comes alone costs one slot's work. Return: slots ready, from the
 * first. */
static unsigned receiver_refill(struct dgram_receiver *receiver, bool with_source)
{
	if (receiver->with_source != with_source)
		receiver->used = DGRAM_BATCH_MAX;
	receiver->with_source = with_source;
	for (unsigned i = 0; i < receiver->used; i++) {
		struct msghdr *header = &receiver->messages[i].msg_hdr;

		if (!receiver->cells[i]) {
			receiver->cells[i] = dgram_take(receiver->pool);
			if (!receiver->cells[i])
				return i;
			receiver->parts[i][0] = (struct iovec){receiver->cells[i]->data, DGRAM_CELL_DATA};
		}
		header->msg_name = with_source ? &receiver->from[i] : NULL;
		header->msg_namelen = with_source ? sizeof(receiver->from[i]) : 0;
	}
	receiver->used = 0;
	return DGRAM_BATCH_MAX;
}

unsigned dgram_receive(
	struct dgram_receiver *receiver, const struct dgram_socket *socket, struct drop_counters *dropped)
{
	unsigned ready = receiver_refill(receiver, !socket->is_connected);
	int n;

	if (ready == 0) {
		/* No cell to receive into. A batch is read and counted all the same: left in the socket, it would
		 * wake the loop for ever. */
		for (unsigned i = 0; i < DGRAM_BATCH_MAX; i++) {
			if (recv(socket->fd, receiver->overflow, OVERFLOW_LEN, MSG_DONTWAIT) < 0)
				break;
			dropped->count[DROP_QUEUE_FULL]++;
		}
		return 0;
	}
	n = recvmmsg(socket->fd, receiver->messages, ready, MSG_DONTWAIT, NULL);
	if (n < 0 && errno != EAGAIN && errno != EINTR) {
		dropped->count[reason_of_errno(errno)]++; /* reading the error has cleared it */
		n = recvmmsg(socket->fd, receiver->messages, ready, MSG_DONTWAIT, NULL);
	}
	if (n <= 0)
		return 0;
	if (receiver->used < (unsigned)n)
		receiver->used = (unsigned)n;
	return (unsigned)n;
}

/* A datagram that is longer than its cell continues in the slot's overflow, and is copied from there into further
 * cells. */
struct dgram *dgram_receiver_take(struct dgram_receiver *receiver, unsigned i, uint64_t now_us)
{
	struct dgram *dgram = receiver->cells[i];
	size_t len = receiver->messages[i].msg_len;
	size_t in_cell = len < DGRAM_CELL_DATA ? len : DGRAM_CELL_DATA;

	dgram->len = (uint32_t)in_cell;
	dgram->received_us = now_us;
	if (len > in_cell && dgram_append(receiver->pool, dgram, receiver->parts[i][1].iov_base, len - in_cell) < 0)
		return NULL; /* the cell stays for the next one */
	receiver->cells[i] = NULL;
	return dgram;
}

void dgram_socket_init(struct dgram_socket *socket, int fd, bool is_connected)
{
	*socket = (struct dgram_socket){.fd = fd, .is_connected = is_connected};
}

/* UDP_SEGMENT cuts every L bytes: all datagrams of a run have the length L, but for a shorter last one. */
unsigned dgram_run_len(const struct iovec *payloads, unsigned count)
{
	size_t size = payloads[0].iov_len;
	size_t bytes = size;
	unsigned n = 1;

	while (n < count && n < DGRAM_BATCH_MAX && payloads[n].iov_len <= size &&
		bytes + payloads[n].iov_len <= DGRAM_BATCH_BYTES) {
		bytes += payloads[n].iov_len;
		if (payloads[n++].iov_len < size)
			break; /* a shorter one ends the run */
	}
	return n;
}

/* Errors by which a kernel or a network driver says that it cannot cut a run: too old, no checksum offload, IPsec on
 * the way. The datagrams are sent one by one from then on. */
static bool refuses_segments(int error)
{
	return error == EINVAL || error == EIO || error == EOPNOTSUPP;
}

/* Connected: make the socket cut @run payloads of @size, or leave a single one whole. */
static bool set_segment_size(struct dgram_socket *socket, size_t size, unsigned run)
{
	int wanted = run > 1 ? (int)size : 0;

	/* A single datagram that is no longer than the segment is left whole in any case: no system call for it. */
	if (socket->segment_size == wanted || (run == 1 && size <= socket->segment_size))
		return true;
	if (setsockopt(socket->fd, IPPROTO_UDP, UDP_SEGMENT, &wanted, sizeof(wanted)) < 0)
		return wanted == 0; /* a kernel without the option cuts nothing either */
	socket->segment_size = (uint16_t)wanted;
	return true;
}

/* One piece of memory, @whole, where the payloads lie side by side. Return: pieces at *@payloads. */
static unsigned join_run(struct iovec **payloads, unsigned run, struct iovec *whole)
{
	*whole = **payloads;
	for (unsigned i = 1; i < run; i++) {
		if ((*payloads)[i].iov_base != (uint8_t *)whole->iov_base + whole->iov_len)
			return run;
		whole->iov_len += (*payloads)[i].iov_len;
	}
	*payloads = whole;
	return 1;
}

/* Return: bytes taken, or a negative errno. */
static ssize_t write_run(int fd, struct iovec *payloads, unsigned run, struct drop_counters *dropped)
{
	struct iovec whole;
	unsigned pieces = join_run(&payloads, run, &whole);
	ssize_t n = writev(fd, payloads, (int)pieces);

	if (n < 0 && errno == ECONNREFUSED) {
		/* An earlier datagram; reported once, instead of sending this one. */
		dropped->count[DROP_UDP_REFUSED]++;
		n = writev(fd, payloads, (int)pieces);
	}
	return n < 0 ? -errno : n;
}

/* Run after run, each with one writev(). A run that is refused as a run is tried again as single datagrams; any other
 * failure drops it: waiting would hold up the stream, and WireGuard expects UDP to lose datagrams. */
static struct dgram_sent send_connected(
	struct dgram_sender *sender, struct dgram_socket *socket, struct drop_counters *dropped)
{
	struct dgram_sent sent = {0};
	unsigned i = 0;

	while (i < sender->count) {
		struct iovec *payloads = &sender->payloads[i];
		unsigned run = socket->without_segments ? 1 : dgram_run_len(payloads, sender->count - i);
		ssize_t n;

		if (!set_segment_size(socket, payloads->iov_len, run)) {
			socket->without_segments = true;
			continue;
		}
		n = write_run(socket->fd, payloads, run, dropped);
		if (n < 0 && run > 1 && refuses_segments((int)-n)) {
			socket->without_segments = true;
			continue;
		}
		if (n < 0) {
			dropped->count[reason_of_errno((int)-n)] += run;
		} else {
			sent.datagrams += run;
			sent.bytes += (size_t)n;
		}
		i += run;
	}
	return sent;
}

/* Beside a message: its segment size, and its payloads in one piece. */
struct message_part {
	_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(uint16_t))];
	struct iovec whole;
};

/* One run as one message with its own UDP_SEGMENT. The kernel cuts @payloads at the length of the first. */
static void fill_message(
	struct mmsghdr *message, struct message_part *part, struct iovec *payloads, unsigned run, const struct addr *to)
{
	struct msghdr *header = &message->msg_hdr;
	uint16_t size = (uint16_t)payloads->iov_len;
	unsigned pieces = join_run(&payloads, run, &part->whole);
	struct cmsghdr *segment;

	*header = (struct msghdr){.msg_name = (void *)(uintptr_t)to,
		.msg_namelen = addr_len(to),
		.msg_iov = payloads,
		.msg_iovlen = pieces};
	if (run == 1)
		return;
	memset(part->control, 0, sizeof(part->control));
	header->msg_control = part->control;
	header->msg_controllen = sizeof(part->control);
	segment = CMSG_FIRSTHDR(header);
	segment->cmsg_level = IPPROTO_UDP;
	segment->cmsg_type = UDP_SEGMENT;
	segment->cmsg_len = CMSG_LEN(sizeof(size));
	memcpy(CMSG_DATA(segment), &size, sizeof(size));
}

/* sendmmsg() until all messages are gone; one that fails is counted and skipped. */
static struct dgram_sent send_messages(struct dgram_socket *socket, struct mmsghdr *messages, const unsigned *runs,
	unsigned count, struct drop_counters *dropped)
{
	struct dgram_sent sent = {0};
	unsigned i = 0;

	while (i < count) {
		int n = sendmmsg(socket->fd, &messages[i], count - i, MSG_DONTWAIT | MSG_NOSIGNAL);
		unsigned end = i + (n > 0 ? (unsigned)n : 0);

		for (; i < end; i++) {
			sent.datagrams += runs[i];
			sent.bytes += messages[i].msg_len;
		}
		if (n > 0)
			continue;
		if (runs[i] > 1 && refuses_segments(errno))
			socket->without_segments = true; /* this run is lost, the next ones are not made */
		dropped->count[reason_of_errno(errno)] += runs[i++];
	}
	return sent;
}

/* All runs with one sendmmsg(), where the kernel takes them. The arrays are 7 KiB of stack. */
static struct dgram_sent send_addressed(
	struct dgram_sender *sender, struct dgram_socket *socket, const struct addr *to, struct drop_counters *dropped)
{
	struct mmsghdr messages[DGRAM_BATCH_MAX];
	struct message_part parts[DGRAM_BATCH_MAX];
	unsigned runs[DGRAM_BATCH_MAX];
	unsigned i, count = 0;

	for (i = 0; i < sender->count; i += runs[count++]) {
		struct iovec *payloads = &sender->payloads[i];

		runs[count] = socket->without_segments ? 1 : dgram_run_len(payloads, sender->count - i);
		fill_message(&messages[count], &parts[count], payloads, runs[count], to);
	}
	return send_messages(socket, messages, runs, count, dropped);
}

struct dgram_sent dgram_sender_flush(
	struct dgram_sender *sender, struct dgram_socket *socket, const struct addr *to, struct drop_counters *dropped)
{
	struct dgram_sent sent = {0};

	if (sender->count == 0)
		return sent;
	sent = socket->is_connected ? send_connected(sender, socket, dropped)
				    : send_addressed(sender, socket, to, dropped);
	sender->count = 0;
	return sent;
}
