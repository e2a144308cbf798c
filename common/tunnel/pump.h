/* The datagram path of both programs: between a flow's UDP socket and the stream of its carrier, both ways.
 *
 *     pump_receive  UDP socket → cells of the pool → the queues of their flows, by pump_take()
 *     pump_out      queue → frames in one plaintext record → TLS records in the send buffer → one send()
 *     pump_in       TLS records → frames, unmasked in place → runs → writev() or sendmmsg() on the flow's UDP socket
 *
 * struct pump is what all carriers of a worker share, made once. struct pump_pipe is what the path keeps of one
 * carrier, which embeds it. Nothing is allocated, logged or timed for a single datagram; a batch reads the clock once.
 */
#pragma once

#include "common/base/err.h"
#include "common/tunnel/dgram.h"
#include "common/tunnel/dgram_batch.h"
#include "common/tunnel/flow.h"
#include "common/tunnel/frame.h"
#include "common/tunnel/liveness.h"
#include "common/tunnel/tls_stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PUMP_ROUNDS_MAX 4u		  /* recvmmsg() calls on one socket before the others get their turn */
#define PUMP_PONGS_MAX 64u		  /* while so many wait to be sent, nothing more is read */
#define PUMP_IN_LEN (8u * TLS_RECORD_MAX) /* plaintext parsed in one go: 64 full packets and a record to spare */
#define PUMP_RECORD_LEN (TLS_RECORD_MAX + FRAME_HEADER_MAX + FRAME_PAYLOAD_MAX)

struct pump {
	struct dgram_pool pool;
	struct dgram_receiver receiver;
	struct dgram_sender sender; /* empty between two calls */
	struct tls_buffers buffers;
	uint8_t *in;	 /* PUMP_IN_LEN bytes */
	uint8_t *record; /* PUMP_RECORD_LEN bytes */
	uint64_t turns;	 /* how often a carrier was served; tells a quiet worker from a busy one */
};

/* A flow joined to a stream. The carrier sets the first block; the rest starts as zero. */
struct pump_pipe {
	struct pump *pump;
	struct tls_stream *stream;
	struct flow *flow;
	struct liveness *liveness; /* is told of each pong */
	struct frame_masker masker;
	uint32_t record_len; /* plaintext bytes of a record */
	unsigned lanes;	     /* of the flow's queue that pump_out() sends from: DGRAM_LANES_… */

	struct frame_reader reader;
	uint8_t *rest; /* bytes read but not parsed: the beginning of a frame, or what waits for pongs to leave */
	uint32_t rest_len;
	uint32_t rest_need;	   /* parse again when so many are there */
	uint32_t unsent_datagrams; /* in the send buffer */
	uint32_t unsent_bytes;	   /* of these datagrams */
	uint32_t pongs;		   /* in the send buffer */
};

/* @cells: capacity of the pool. Return: 0 or a negative errno; then nothing is left. */
int pump_init(struct pump *pump, size_t cells, struct err *err);
/* Only when every flow and stream has given its cells and buffers back. */
void pump_done(struct pump *pump);

/* Give the memory back that a burst has left behind. Not on the datagram path: what comes next costs page faults. */
void pump_give_back(struct pump *pump);

/* Receive from one UDP socket, up to PUMP_ROUNDS_MAX batches, until it holds nothing more. @on_batch is called once for
 * each batch of @count datagrams, not for each datagram: it puts them into flows with pump_take(), and where @is_last it
 * lets their carriers send. @count may be 0 then: no more came behind a full batch. It returns false where the socket is
 * being closed; nothing more is read then. Errors are counted in @dropped. */
void pump_receive(struct pump *pump, const struct dgram_socket *socket, struct drop_counters *dropped,
	bool (*on_batch)(void *owner, unsigned count, bool is_last, uint64_t now_us), void *owner);

/* Within on_batch: queue the @i-th datagram of the batch in @flow, or count it there where the pool is used up. */
void pump_take(struct pump *pump, unsigned i, struct flow *flow, uint64_t now_us);

/* Send from the flow's queue as long as the stream takes it. Return: 0, or a negative errno: the stream has failed. */
int pump_out(struct pump_pipe *pipe, uint64_t now_us);

/* Write one control frame of up to FRAME_CONTROL_MAX bytes into the send buffer. Return: 0 or a negative errno. */
int pump_write_control(struct pump_pipe *pipe, enum frame_opcode opcode, const uint8_t *payload, size_t len);

/* Send what is in the send buffer. Return: as tls_stream_flush(). */
int pump_flush(struct pump_pipe *pipe);

/* The send buffer has left: what was counted as unsent is sent. Called by pump_flush() and the owner's on_writable. */
void pump_on_flushed(struct pump_pipe *pipe);

enum pump_end {
	PUMP_GOES_ON,
	PUMP_STREAM_ENDED,   /* *ret_code of tls_stream_read() */
	PUMP_CLOSED,	     /* a close frame came; *ret_code is its code, 1005 where it had none */
	PUMP_PROTOCOL_ERROR, /* to be closed with 1002 */
	PUMP_TOO_BIG,	     /* to be closed with 1009 */
	PUMP_NO_MEMORY,
};

/* Read and deliver what is there. Control frames are answered into the send buffer; the caller flushes. With
 * PUMP_GOES_ON and PUMP_PONGS_MAX pongs the caller pauses the stream and calls again when they have left. */
enum pump_end pump_in(struct pump_pipe *pipe, uint64_t now_us, long *ret_code);

/* Keep bytes that are to be parsed before what the stream reads next, PUMP_IN_LEN at most. Return: 0 or -ENOMEM. */
int pump_keep(struct pump_pipe *pipe, const uint8_t *bytes, size_t len);

/* Free what the pipe holds of the stream's bytes. The pipe is not read any more. */
void pump_forget(struct pump_pipe *pipe);
