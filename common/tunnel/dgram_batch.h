/* Many datagrams per system call: recvmmsg() in, runs of equal size by UDP_SEGMENT out.
 *
 * One receiver and one sender serve all sockets of a worker. A run is up to 64 datagrams of one size (the last may be
 * shorter), at most 65,507 bytes in all. How a run leaves depends on the socket:
 *   connected  writev(), the segment size set by setsockopt() whenever it changes: needs no sendmsg(), which the
 *              server's sandbox denies because it can name any address
 *   addressed  sendmmsg(), one message a run, with its own UDP_SEGMENT: the client's local port answers many sources
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/tunnel/dgram.h"
#include "common/tunnel/drop_reason.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define DGRAM_BATCH_MAX 64u /* UDP_MAX_SEGMENTS of the older kernels; also what one recvmmsg() takes */
#define DGRAM_BATCH_BYTES 65507u
#define DGRAM_SHORT_MAX 256u /* to copy more takes longer than what the kernel saves */
#define DGRAM_GAP_MAX 14     /* = FRAME_HEADER_MAX */

/* One UDP socket; embedded in its owner. */
struct dgram_socket {
	int fd;
	bool is_connected;
	bool without_segments; /* UDP_SEGMENT was refused once */
	uint16_t segment_size; /* connected: what the socket is set to */
};

struct dgram_receiver {
	struct dgram_pool *pool;
	struct dgram *cells[DGRAM_BATCH_MAX]; /* NULL: to be taken before the next call */
	struct mmsghdr messages[DGRAM_BATCH_MAX];
	struct iovec parts[DGRAM_BATCH_MAX][2]; /* the cell, and room for what is longer */
	struct addr from[DGRAM_BATCH_MAX];
	unsigned used;	   /* slots from the first that have to be made ready before the next call */
	bool with_source;  /* the others are ready for a socket that is not connected */
	uint8_t *overflow; /* DGRAM_BATCH_MAX slots, mapped, touched by long datagrams only */
};

int dgram_receiver_init(struct dgram_receiver *receiver, struct dgram_pool *pool, struct err *err);
void dgram_receiver_done(struct dgram_receiver *receiver);
/* Give the cells back that wait for datagrams; the next dgram_receive() takes new ones. */
void dgram_receiver_give_back(struct dgram_receiver *receiver);

/* One recvmmsg(). An ICMP error that waits on the socket is about a datagram sent earlier: that one is counted in
 * @dropped. Where the pool is used up, what waits is thrown away and counted: left there it would wake the loop for
 * ever. receiver->from is set where the socket is not connected. Return: datagrams received, 0 where none waits. */
unsigned dgram_receive(
	struct dgram_receiver *receiver, const struct dgram_socket *socket, struct drop_counters *dropped);

/* Take the i-th of the datagrams just received over, stamped with @now_us. NULL where a long one found no cells. */
struct dgram *dgram_receiver_take(struct dgram_receiver *receiver, unsigned i, uint64_t now_us);

void dgram_socket_init(struct dgram_socket *socket, int fd, bool is_connected);

/* Collects payloads, borrowed until the flush. Short ones that lie apart by no more than a frame's header are moved
 * together, over the bytes in between: the kernel takes one piece of memory quicker than many. */
struct dgram_sender {
	struct iovec payloads[DGRAM_BATCH_MAX];
	unsigned count;
};

/* True where one more fits before a flush. */
static inline bool dgram_sender_has_room(const struct dgram_sender *sender)
{
	return sender->count < DGRAM_BATCH_MAX;
}

static inline void dgram_sender_add(struct dgram_sender *sender, uint8_t *payload, size_t len)
{
	if (sender->count > 0 && len <= DGRAM_SHORT_MAX) {
		const struct iovec *last = &sender->payloads[sender->count - 1];
		uint8_t *end = (uint8_t *)last->iov_base + last->iov_len;

		if (payload > end && payload - end <= DGRAM_GAP_MAX)
			payload = memmove(end, payload, len);
	}
	sender->payloads[sender->count++] = (struct iovec){.iov_base = payload, .iov_len = len};
}

struct dgram_sent {
	unsigned datagrams;
	size_t bytes;
};

/* Send what was collected to the connected peer, or to @to. A datagram that does not go is counted, also the earlier
 * datagram that an ICMP error on a connected socket is about. Return: what the kernel took. */
struct dgram_sent dgram_sender_flush(
	struct dgram_sender *sender, struct dgram_socket *socket, const struct addr *to, struct drop_counters *dropped);

/* How many of @count payloads form the run that starts at the first. Pure. */
unsigned dgram_run_len(const struct iovec *payloads, unsigned count);
