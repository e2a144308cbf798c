/* The path of a datagram between a flow's UDP side and its carrier, both ways (DESIGN: as many whole frames as are ready
 * in one TLS record, up to four records in one send; runs of equal size out). Fails only with the stream. */
#include "common/tunnel/pump.h"

#include "common/base/clock.h"
#include "common/tunnel/carrier.h"
#include "common/tunnel/flow.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	free(pump->in);
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

/* --- UDP → queue --- */

void pump_receive(struct pump *pump, const struct dgram_socket *socket, struct drop_counters *dropped,
	bool (*on_batch)(void *owner, unsigned count, uint64_t now_us), void *owner)
{
	for (unsigned round = 0; round < PUMP_ROUNDS_MAX; round++) {
		uint64_t now_us = clock_now_us();
		unsigned count = dgram_receive(&pump->receiver, socket, dropped);

		if (count > 0 && !on_batch(owner, count, now_us))
			return;
		if (count < DGRAM_BATCH_MAX)
			return;
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

/* One datagram as a frame, at @out. Return: bytes written. */
static size_t write_frame(struct carrier *carrier, uint8_t *out, const struct dgram *dgram)
{
	uint8_t key[4];
	const uint8_t *mask = carrier_next_mask(carrier, key);
	size_t header_len = frame_encode_header(out, FRAME_BINARY, dgram->len, mask);

	dgram_copy(dgram, out + header_len);
	if (carrier->mask == CARRIER_MASK_RANDOM)
		frame_mask(out + header_len, dgram->len, mask);
	return header_len + dgram->len;
}

/* Put frames into one record until the next one of the same length would not fit. Return: plaintext bytes; 0: none left. */
static size_t fill_record(struct carrier *carrier, uint64_t now_us)
{
	struct pump *pump = carrier->pump;
	struct flow *flow = carrier->flow;
	size_t used = 0, frame_len = 0;

	while (used == 0 || used + frame_len <= carrier->record_len) {
		struct dgram *dgram = dgram_queue_pop(&flow->queue, now_us);

		if (!dgram)
			break;
		frame_len = write_frame(carrier, pump->record + used, dgram);
		used += frame_len;
		carrier->unsent_datagrams++;
		carrier->unsent_bytes += dgram->len;
		flow->counters.sent_datagrams++;
		flow->counters.sent_bytes += dgram->len;
		dgram_give(&pump->pool, dgram);
	}
	return used;
}

/* Up to four records into the send buffer. Return: 1 there may be more, 0 the queue is empty, negative errno. */
static int fill_burst(struct carrier *carrier, uint64_t now_us)
{
	unsigned record;

	for (record = 0; record < 4 && tls_stream_room(carrier->stream) > 0; record++) {
		size_t len = fill_record(carrier, now_us);
		int rc = len ? tls_stream_write(carrier->stream, carrier->pump->record, len) : 0;

		if (rc < 0)
			return rc;
		if (len == 0)
			return 0;
	}
	return 1;
}

int pump_out(struct carrier *carrier, uint64_t now_us)
{
	int more = 1;

	if (carrier->flow->carrier != carrier)
		return 0; /* it is being replaced: new datagrams take the new one */
	while (more && !carrier->stream->is_blocked) {
		int rc;

		more = fill_burst(carrier, now_us);
		rc = more < 0 ? more : carrier_flush(carrier);
		if (rc < 0)
			return rc;
	}
	return 0;
}

/* --- stream → UDP --- */

static void deliver(struct carrier *carrier)
{
	struct flow *flow = carrier->flow;
	const struct addr *to = flow->socket->is_connected ? NULL : &flow->peer;
	struct dgram_sent sent = dgram_sender_flush(&carrier->pump->sender, flow->socket, to, &flow->counters.dropped);

	flow->counters.received_datagrams += sent.datagrams;
	flow->counters.received_bytes += sent.bytes;
}

static void take_datagram(struct carrier *carrier, uint8_t *payload, uint32_t len)
{
	struct flow *flow = carrier->flow;
	struct dgram_sender *sender = &carrier->pump->sender;

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
		deliver(carrier);
}

/* Answer with exactly one pong. Return: PUMP_GOES_ON also where the carrier now waits for pongs to leave. */
static enum pump_end answer_ping(struct carrier *carrier, const struct frame_event *event)
{
	int rc = carrier_write_control(carrier, FRAME_PONG, event->payload, event->len);

	carrier->pongs++;
	if (rc == 0 && carrier->pongs >= CARRIER_PONGS_MAX)
		rc = carrier_flush(carrier);
	return rc < 0 ? PUMP_STREAM_ENDED : PUMP_GOES_ON;
}

static enum pump_end take_event(
	struct carrier *carrier, const struct frame_event *event, uint64_t now_us, long *ret_code)
{
	switch (event->opcode) {
	case FRAME_BINARY:
	case FRAME_TEXT:
		take_datagram(carrier, event->payload, event->len);
		return PUMP_GOES_ON;
	case FRAME_PING:
		*ret_code = -EIO;
		return answer_ping(carrier, event);
	case FRAME_PONG:
		liveness_on_pong(&carrier->liveness, event->payload, event->len, now_us);
		return PUMP_GOES_ON;
	case FRAME_CLOSE:
		*ret_code = event->len >= 2 ? event->payload[0] << 8 | event->payload[1] : 1005; /* RFC 6455 §7.1.5 */
		return PUMP_CLOSED;
	case FRAME_CONTINUATION:
		return PUMP_GOES_ON; /* a fragment: the reader keeps it */
	}
	return PUMP_PROTOCOL_ERROR;
}

/* Take all whole frames of @in from *pos to @filled. */
static enum pump_end parse(struct carrier *carrier, size_t *pos, size_t filled, uint64_t now_us, long *ret_code)
{
	uint8_t *in = carrier->pump->in;
	enum pump_end end = PUMP_GOES_ON;

	carrier->rest_need = 1;
	while (end == PUMP_GOES_ON && *pos < filled && carrier->pongs < CARRIER_PONGS_MAX) {
		struct frame_event event;
		size_t used;

		switch (frame_reader_next(&carrier->reader, in + *pos, filled - *pos, &used, &event)) {
		case FRAME_OK:
			*pos += used;
			end = take_event(carrier, &event, now_us, ret_code);
			if (carrier->reader.message)
				deliver(carrier); /* a put-together message is borrowed until the next call */
			break;
		case FRAME_MORE:
			carrier->rest_need = (uint32_t)used;
			return PUMP_GOES_ON;
		case FRAME_PROTOCOL_ERROR:
			return PUMP_PROTOCOL_ERROR;
		case FRAME_TOO_BIG:
			return PUMP_TOO_BIG;
		}
	}
	return end;
}

/* While a frame's beginning waits, its remainder is read right behind it, so that a frame that comes byte by byte is not
 * copied for each byte. Return: bytes now in pump->in, or 0 with *ret_end set. */
static size_t complete_rest(struct carrier *carrier, enum pump_end *ret_end, long *ret_code)
{
	size_t len;

	while (carrier->rest_len < carrier->rest_need) {
		ssize_t n = tls_stream_read(
			carrier->stream, carrier->rest + carrier->rest_len, carrier->rest_need - carrier->rest_len);

		if (n <= 0) {
			*ret_code = n;
			*ret_end = n < 0 ? PUMP_STREAM_ENDED : PUMP_GOES_ON;
			return 0;
		}
		carrier->rest_len += (uint32_t)n;
	}
	len = carrier->rest_len;
	memcpy(carrier->pump->in, carrier->rest, len);
	carrier->rest_len = 0;
	return len;
}

static enum pump_end keep_rest(struct carrier *carrier, const uint8_t *bytes, size_t len, enum pump_end end)
{
	if (len == 0 || end != PUMP_GOES_ON)
		return end;
	if (!carrier->rest)
		carrier->rest = malloc(PUMP_IN_LEN);
	if (!carrier->rest)
		return PUMP_NO_MEMORY;
	memcpy(carrier->rest, bytes, len);
	carrier->rest_len = (uint32_t)len;
	return PUMP_GOES_ON;
}

/* Deliver what borrows from the buffer, then move the unparsed end to its front. */
static size_t make_room(struct carrier *carrier, size_t pos, size_t filled)
{
	deliver(carrier);
	memmove(carrier->pump->in, carrier->pump->in + pos, filled - pos);
	return filled - pos;
}

enum pump_end pump_in(struct carrier *carrier, uint64_t now_us, long *ret_code)
{
	uint8_t *in = carrier->pump->in;
	enum pump_end end = PUMP_GOES_ON;
	size_t filled = 0, pos = 0;

	if (carrier->rest_len > 0) {
		filled = complete_rest(carrier, &end, ret_code);
		if (filled == 0)
			return end;
	}
	for (;;) {
		ssize_t n;

		end = parse(carrier, &pos, filled, now_us, ret_code);
		if (end != PUMP_GOES_ON || carrier->pongs >= CARRIER_PONGS_MAX)
			break;
		if (PUMP_IN_LEN - filled < TLS_RECORD_MAX) {
			filled = make_room(carrier, pos, filled);
			pos = 0;
		}
		n = tls_stream_read(carrier->stream, in + filled, PUMP_IN_LEN - filled);
		if (n <= 0) {
			*ret_code = n;
			end = n < 0 ? PUMP_STREAM_ENDED : PUMP_GOES_ON;
			break;
		}
		filled += (size_t)n;
	}
	deliver(carrier);
	return keep_rest(carrier, in + pos, filled - pos, end);
}
