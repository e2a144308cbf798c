/* Theory of operation
 *
 * A worker is one thread with one loop. All its flows and carriers share one struct pump: the pool of cells, one
 * receiver, one sender, one buffer for plaintext each way. That works because nothing stays in the sender or in the
 * plaintext buffers when a call returns: what cannot be finished goes into the queue of its flow, into the send buffer
 * of its stream, or into the `rest` of its pipe.
 *
 * Towards the stream. A batch of up to 64 datagrams is received straight into cells, and each cell is linked into the
 * queue of its flow; small datagrams of two batches are gathered. Then the carrier of the flow is told once and calls
 * pump_out(). That pops datagrams, which drops
 * the late ones, and writes frame header and payload side by side into pump->record. When the next frame would make the
 * record longer than record_len, the record is encrypted into the send buffer. Up to four records leave with one
 * send(). If the socket does not take all of it, the stream is blocked: later datagrams wait in the queue, where they
 * can still be dropped for their age, and the stream's on_writable leads back to pump_out(). No timer delays a
 * datagram: a batch is what is waiting already.
 *
 * From the stream. pump_in() reads plaintext into pump->in, unmasks each whole frame where it lies, and lets the sender
 * borrow the payload. The sender is flushed when it is full, before the bytes it borrows are moved or overwritten, and
 * at the end. An incomplete frame at the end is copied to pipe->rest; the next call completes it there first, so that a
 * frame that arrives byte by byte is not parsed and copied for each byte.
 *
 * Each ping is answered with exactly one pong, because a stock peer counts pongs and ends the tunnel when it gets one
 * too many. A peer that pings and never reads could fill memory with pongs: after PUMP_PONGS_MAX unsent ones pump_in()
 * stops in the middle of the bytes it has, keeps them in pipe->rest, and the carrier pauses the stream.
 *
 * Calls go down only: pump → flow, dgram_queue, dgram_batch, frame, tls_stream. Only tls_stream has handlers,
 * and none of its functions used here calls one. So no flow, pipe or stream goes away while one of these functions
 * runs. The exception is pump_receive(), whose on_batch may do anything, including to close the socket's owner; it says
 * so by its return value.
 *
 * Failures. A datagram that does not get through is counted in its flow under a drop_reason. A stream that fails is a
 * negative errno (pump_out) or an enum pump_end (pump_in); the carrier turns both into words and the end. Datagrams
 * that had been written but not sent then are in unsent_datagrams, and the carrier counts them as lost.
 */
#include "common/tunnel/pump.h"

#include "common/base/clock.h"
#include "common/base/require.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define POOL_CELLS_KEPT 256u /* 512 KiB: four batches */

int pump_init(struct pump *pump, size_t cells, struct err *err)
{
	int rc;

	memset(pump, 0, sizeof(*pump));
	rc = dgram_pool_init(&pump->pool, cells, err);
	if (rc < 0)
		return rc;
	rc = dgram_receiver_init(&pump->receiver, &pump->pool, err);
	if (rc < 0)
		goto done_pool;
	pump->in = malloc(PUMP_IN_LEN);
	pump->record = malloc(PUMP_RECORD_LEN);
	if (pump->in && pump->record)
		return 0;
	rc = err_system(err, -ENOMEM, "record buffers");
	free(pump->in); /* one of the two may be there */
	free(pump->record);
	dgram_receiver_done(&pump->receiver);
done_pool:
	dgram_pool_done(&pump->pool);
	return rc;
}

void pump_done(struct pump *pump)
{
	free(pump->in);
	free(pump->record);
	tls_buffers_done(&pump->buffers);
	dgram_receiver_done(&pump->receiver);
	dgram_pool_done(&pump->pool);
}

void pump_give_back(struct pump *pump)
{
	tls_buffers_done(&pump->buffers);
	if (pump->pool.touched <= POOL_CELLS_KEPT)
		return;
	dgram_receiver_give_back(&pump->receiver);
	dgram_pool_give_back(&pump->pool);
}

/* --- UDP → queue --- */

/* Small datagrams of two batches share a record: it costs as much for few bytes as for many. Only what waits in the
 * socket already is gathered. */
void pump_receive(struct pump *pump, const struct dgram_socket *socket, struct drop_counters *dropped,
	bool (*on_batch)(void *owner, unsigned count, bool is_last, uint64_t now_us), void *owner)
{
	size_t gathered = 0; /* bytes, if all of a batch are as long as its first */

	for (unsigned round = 1; round <= PUMP_ROUNDS_MAX; round++) {
		uint64_t now_us = clock_now_us();
		unsigned count = dgram_receive(&pump->receiver, socket, dropped);
		size_t batch = count * (size_t)pump->receiver.messages[0].msg_len;
		bool is_full = count == DGRAM_BATCH_MAX;
		bool is_last = !is_full || round == PUMP_ROUNDS_MAX || gathered + 2 * batch > TLS_RECORD_MAX;

		if ((count > 0 || gathered > 0) && !on_batch(owner, count, is_last, now_us))
			return;
		if (!is_full)
			return;
		gathered = is_last ? 0 : gathered + batch;
	}
}

void pump_take(struct pump *pump, unsigned i, struct flow *flow, uint64_t now_us)
{
	struct dgram *dgram = dgram_receiver_take(&pump->receiver, i, now_us);

	if (dgram)
		flow_push(flow, dgram);
	else
		flow->counters.dropped.count[DROP_QUEUE_FULL]++;
}

/* --- queue → stream --- */

/* One datagram as a frame, at @out. The payload is written once, by the copy out of its cells. Return: bytes
 * written. */
static size_t write_frame(struct pump_pipe *pipe, uint8_t *out, const struct dgram *dgram)
{
	uint8_t key[4];
	const uint8_t *mask = frame_masker_next(&pipe->masker, key);
	size_t header_len = frame_encode_header(out, FRAME_BINARY, dgram->len, mask);

	dgram_copy(dgram, out + header_len);
	if (pipe->masker.is_random) /* a key of zeros changes nothing */
		frame_mask(out + header_len, dgram->len, mask);
	return header_len + dgram->len;
}

/* Put frames into one record until the next one of the same length would not fit; a run of full packets has one length.
 * At least one frame goes in, whatever its length: PUMP_RECORD_LEN has room. Return: plaintext bytes; 0: none left. */
static size_t fill_record(struct pump_pipe *pipe, uint64_t now_us)
{
	struct pump *pump = pipe->pump;
	struct flow *flow = pipe->flow;
	size_t used = 0, frame_len = 0;

	while (used == 0 || used + frame_len <= pipe->record_len) {
		struct dgram *dgram = dgram_queue_pop(&flow->queue, pipe->lanes, now_us);

		if (!dgram)
			break;
		frame_len = write_frame(pipe, pump->record + used, dgram);
		used += frame_len;
		pipe->unsent_datagrams++;
		pipe->unsent_bytes += dgram->len;
		flow->counters.sent_datagrams++;
		flow->counters.sent_bytes += dgram->len;
		dgram_give(&pump->pool, dgram);
	}
	return used;
}

/* Up to four records into the send buffer. Return: 1 there may be more, 0 the queue is empty, negative errno. */
static int fill_burst(struct pump_pipe *pipe, uint64_t now_us)
{
	for (unsigned record = 0; record < 4 && tls_stream_room(pipe->stream) > 0; record++) {
		size_t len = fill_record(pipe, now_us);
		int rc = len ? tls_stream_write(pipe->stream, pipe->pump->record, len) : 0;

		if (rc < 0)
			return rc;
		if (len == 0)
			return 0;
	}
	return 1;
}

int pump_out(struct pump_pipe *pipe, uint64_t now_us)
{
	int more = 1;

	while (more && !pipe->stream->is_blocked) {
		int rc;

		more = fill_burst(pipe, now_us);
		rc = more < 0 ? more : pump_flush(pipe);
		if (rc < 0)
			return rc;
	}
	return 0;
}

void pump_on_flushed(struct pump_pipe *pipe)
{
	pipe->unsent_datagrams = pipe->unsent_bytes = 0;
	pipe->pongs = 0;
}

int pump_flush(struct pump_pipe *pipe)
{
	int rc = tls_stream_flush(pipe->stream);

	if (rc == 0)
		pump_on_flushed(pipe);
	return rc;
}

int pump_write_control(struct pump_pipe *pipe, enum frame_opcode opcode, const uint8_t *payload, size_t len)
{
	uint8_t frame[FRAME_HEADER_MAX + FRAME_CONTROL_MAX], key[4];

	if (len > FRAME_CONTROL_MAX)
		return -EMSGSIZE;
	len = frame_encode_control(frame, opcode, payload, len, frame_masker_next(&pipe->masker, key));
	return tls_stream_write(pipe->stream, frame, len);
}

/* --- stream → UDP --- */

/* Send what the sender has collected. After this, the buffers it borrowed from may be moved, freed or overwritten. */
static void deliver(struct pump_pipe *pipe)
{
	struct flow *flow = pipe->flow;
	const struct addr *to = flow->socket->is_connected ? NULL : &flow->peer;
	struct dgram_sent sent = dgram_sender_flush(&pipe->pump->sender, flow->socket, to, &flow->counters.dropped);

	flow->counters.received_datagrams += sent.datagrams;
	flow->counters.received_bytes += sent.bytes;
}

static void take_message(struct pump_pipe *pipe, uint8_t *payload, uint32_t len)
{
	struct flow *flow = pipe->flow;
	struct dgram_sender *sender = &pipe->pump->sender;

	if (len == 0) {
		flow->counters.dropped.count[DROP_EMPTY]++;
		return;
	}
	if (!flow->has_peer) {
		flow->counters.dropped.count[DROP_NO_LOCAL_PEER]++;
		return;
	}
	dgram_sender_add(sender, payload, len);
	if (!dgram_sender_has_room(sender))
		deliver(pipe);
}

/* Return: PUMP_GOES_ON also where PUMP_PONGS_MAX wait now, blocked or not: the parser looks at the count. */
static enum pump_end answer_ping(struct pump_pipe *pipe, const struct frame_event *event, long *ret_code)
{
	int rc = pump_write_control(pipe, FRAME_PONG, event->payload, event->len);

	pipe->pongs++;
	if (rc == 0 && pipe->pongs >= PUMP_PONGS_MAX)
		rc = pump_flush(pipe);
	*ret_code = rc;
	return rc < 0 ? PUMP_STREAM_ENDED : PUMP_GOES_ON;
}

static enum pump_end take_event(
	struct pump_pipe *pipe, const struct frame_event *event, uint64_t now_us, long *ret_code)
{
	switch (event->opcode) {
	case FRAME_BINARY:
	case FRAME_TEXT: /* a stock peer takes a text message as a datagram too */
		take_message(pipe, event->payload, event->len);
		return PUMP_GOES_ON;
	case FRAME_PING:
		return answer_ping(pipe, event, ret_code);
	case FRAME_PONG:
		liveness_on_pong(pipe->liveness, event->payload, event->len, now_us);
		return PUMP_GOES_ON;
	case FRAME_CLOSE:
		*ret_code = event->len >= 2 ? event->payload[0] << 8 | event->payload[1] : 1005; /* RFC 6455 §7.1.5 */
		return PUMP_CLOSED;
	case FRAME_CONTINUATION:
		return PUMP_GOES_ON; /* a fragment: the reader keeps it */
	}
	return PUMP_PROTOCOL_ERROR;
}

/* Take all whole frames of pump->in from *pos to @filled. Where one is incomplete, rest_need says how long it will
 * be. */
static enum pump_end parse(struct pump_pipe *pipe, size_t *pos, size_t filled, uint64_t now_us, long *ret_code)
{
	uint8_t *in = pipe->pump->in;
	enum pump_end end = PUMP_GOES_ON;

	pipe->rest_need = 1;
	while (end == PUMP_GOES_ON && *pos < filled && pipe->pongs < PUMP_PONGS_MAX) {
		struct frame_event event;
		size_t used;

		switch (frame_reader_next(&pipe->reader, in + *pos, filled - *pos, &used, &event)) {
		case FRAME_OK:
			*pos += used;
			end = take_event(pipe, &event, now_us, ret_code);
			if (pipe->reader.message)
				deliver(pipe); /* a put-together message is borrowed until the next call */
			break;
		case FRAME_MORE:
			pipe->rest_need = (uint32_t)used;
			return PUMP_GOES_ON;
		case FRAME_PROTOCOL_ERROR:
			return PUMP_PROTOCOL_ERROR;
		case FRAME_TOO_BIG:
			return PUMP_TOO_BIG;
		}
	}
	return end;
}

/* While the beginning of a frame waits, its remainder is read right behind it. Nothing is parsed until rest_need bytes
 * are there. Return: bytes now in pump->in, or 0 with *ret_end set. */
static size_t complete_rest(struct pump_pipe *pipe, enum pump_end *ret_end, long *ret_code)
{
	size_t len;

	while (pipe->rest_len < pipe->rest_need) {
		ssize_t n =
			tls_stream_read(pipe->stream, pipe->rest + pipe->rest_len, pipe->rest_need - pipe->rest_len);

		if (n <= 0) {
			*ret_code = n;
			*ret_end = n < 0 ? PUMP_STREAM_ENDED : PUMP_GOES_ON;
			return 0;
		}
		pipe->rest_len += (uint32_t)n;
	}
	len = pipe->rest_len;
	memcpy(pipe->pump->in, pipe->rest, len);
	pipe->rest_len = 0;
	return len;
}

int pump_keep(struct pump_pipe *pipe, const uint8_t *bytes, size_t len)
{
	require(len <= PUMP_IN_LEN);
	if (len == 0)
		return 0;
	if (!pipe->rest)
		pipe->rest = malloc(PUMP_IN_LEN);
	if (!pipe->rest)
		return -ENOMEM;
	memcpy(pipe->rest, bytes, len);
	pipe->rest_len = (uint32_t)len;
	return 0;
}

void pump_forget(struct pump_pipe *pipe)
{
	frame_reader_done(&pipe->reader);
	free(pipe->rest);
	pipe->rest = NULL;
	pipe->rest_len = 0;
}

enum pump_end pump_in(struct pump_pipe *pipe, uint64_t now_us, long *ret_code)
{
	uint8_t *in = pipe->pump->in;
	enum pump_end end = PUMP_GOES_ON;
	size_t filled = 0, pos = 0; /* bytes in @in, of these parsed */

	if (pipe->rest_len > 0) {
		filled = complete_rest(pipe, &end, ret_code);
		if (filled == 0)
			return end;
	}
	for (;;) {
		ssize_t n;

		end = parse(pipe, &pos, filled, now_us, ret_code);
		if (end != PUMP_GOES_ON || pipe->pongs >= PUMP_PONGS_MAX)
			break;
		if (PUMP_IN_LEN - filled < TLS_RECORD_MAX) { /* no room for one more record: begin at the front again */
			deliver(pipe);
			filled -= pos;
			memmove(in, in + pos, filled);
			pos = 0;
		}
		n = tls_stream_read(pipe->stream, in + filled, PUMP_IN_LEN - filled);
		if (n <= 0) {
			*ret_code = n;
			end = n < 0 ? PUMP_STREAM_ENDED : PUMP_GOES_ON;
			break;
		}
		filled += (size_t)n;
	}
	deliver(pipe);
	if (end == PUMP_GOES_ON && pump_keep(pipe, in + pos, filled - pos) < 0)
		return PUMP_NO_MEMORY;
	return end;
}
