/* What the datagram path of a worker shares: memory and batches, made once. And the path itself, both ways.
 *
 *     pump_out   queue → frames in one plaintext record → TLS records in the send buffer → one send()
 *     pump_in    TLS records → frames, unmasked in place → runs → writev() or sendmmsg() on the flow's UDP socket
 *
 * The same code in both programs. Nothing is allocated, logged or timed for a single datagram; a batch reads the clock once.
 */
#ifndef TOWPATH_TUNNEL_PUMP_H
#define TOWPATH_TUNNEL_PUMP_H

#include "common/base/err.h"
#include "common/tunnel/dgram.h"
#include "common/tunnel/dgram_batch.h"
#include "common/tunnel/frame.h"
#include "common/tunnel/tls_stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PUMP_ROUNDS_MAX 4u		  /* recvmmsg() calls on one socket before the others get their turn */
#define PUMP_IN_LEN (8u * TLS_RECORD_MAX) /* plaintext parsed in one go: 64 full packets and a record to spare */
#define PUMP_RECORD_LEN (TLS_RECORD_MAX + FRAME_HEADER_MAX + FRAME_PAYLOAD_MAX)

struct carrier;
struct flow;

struct pump {
	struct dgram_pool pool;
	struct dgram_receiver receiver;
	struct dgram_sender sender;
	struct tls_buffers buffers;
	uint8_t *in;	 /* PUMP_IN_LEN bytes */
	uint8_t *record; /* PUMP_RECORD_LEN bytes */
	uint64_t turns;	 /* how often a carrier was served; tells a quiet worker from a busy one */
};

/* @cells: capacity of the pool. */
int pump_init(struct pump *pump, size_t cells, struct err *err);
void pump_done(struct pump *pump);

/* Receive from one UDP socket, up to PUMP_ROUNDS_MAX batches, until it holds nothing more. @on_batch is called once for each
 * batch of @count datagrams, not for each datagram: it puts them into flows with pump_take() and lets their carriers send.
 * It returns false where the socket is being closed; nothing more is read then. Errors are counted in @dropped. */
void pump_receive(struct pump *pump, const struct dgram_socket *socket, struct drop_counters *dropped,
	bool (*on_batch)(void *owner, unsigned count, uint64_t now_us), void *owner);

/* Within on_batch: queue the @i-th datagram of the batch in @flow, or count it there where the pool is used up. */
void pump_take(struct pump *pump, unsigned i, struct flow *flow, uint64_t now_us);

/* Send from the flow's queue as long as the carrier takes it. Return: 0, or a negative errno: the stream has failed. */
int pump_out(struct carrier *carrier, uint64_t now_us);

enum pump_end {
	PUMP_GOES_ON,
	PUMP_STREAM_ENDED,   /* *ret_code of tls_stream_read() */
	PUMP_CLOSED,	     /* a close frame came; *ret_code is its code, 1005 where it had none */
	PUMP_PROTOCOL_ERROR, /* to be closed with 1002 */
	PUMP_TOO_BIG,	     /* to be closed with 1009 */
	PUMP_NO_MEMORY,
};

/* Read and deliver what is there. Control frames are answered into the send buffer; the caller flushes. */
enum pump_end pump_in(struct carrier *carrier, uint64_t now_us, long *ret_code);

#endif
