/* A carrier's life: takes over an upgraded stream, serves its events with the pump, follows the line's rate, pings, and
 * tells its owner the end with a reason. */
#include "common/tunnel/carrier.h"

#include "common/base/clock.h"
#include "common/tunnel/tcp_rate.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RECORD_TIME_MS 4u /* a record is of no use until it is complete: it may take so long on the line */
#define RECORD_LEN_MIN 1500u
#define RECORD_LEN_FIRST 4096u /* until the line's rate is known */
#define LOW_WATER_MIN 3072u
#define LOW_WATER_FIRST 32768u
#define LOW_WATER_MAX (256u * 1024)
#define RATE_CHECK_US 10000u
#define RATE_CHECK_BYTES 4096u /* less tells nothing of the line, and asking delays whoever shares the core */
#define IDLE_US (5 * CLOCK_US_PER_S)

static uint32_t clamp(uint64_t value, uint32_t low, uint32_t high)
{
	if (value < low)
		return low;
	return value > high ? high : (uint32_t)value;
}

static void set_low_water(struct carrier *carrier, uint32_t bytes)
{
	uint32_t old = carrier->low_water_bytes;

	if (bytes < old + old / 8 && bytes > old - old / 8)
		return;
	/* Refused on an old kernel or a socket that is no TCP: the queue alone bounds the delay then. */
	tcp_rate_set_low_water(carrier->stream->fd, bytes);
	carrier->low_water_bytes = bytes;
}

static void set_limit(struct carrier *carrier, uint32_t bytes_per_s)
{
	if (bytes_per_s == carrier->limit_bytes_per_s)
		return;
	tcp_rate_set_limit(carrier->stream->fd, bytes_per_s);
	carrier->limit_bytes_per_s = bytes_per_s;
}

/* Record and low water follow the delivery rate. A rate measured while we had little to send says nothing of the line
 * unless it is higher than the last. */
static void follow_rate(struct carrier *carrier, uint64_t now_us)
{
	struct tcp_rate rate;
	uint64_t record_len;

	if (now_us - carrier->rate_checked_us < RATE_CHECK_US ||
		carrier->flow->counters.sent_bytes - carrier->rate_checked_bytes < RATE_CHECK_BYTES)
		return;
	carrier->rate_checked_us = now_us;
	carrier->rate_checked_bytes = carrier->flow->counters.sent_bytes;
	if (tcp_rate_read(carrier->stream->fd, &rate) < 0 || rate.delivery_bytes_per_s == 0)
		return;
	set_limit(carrier, tcp_rate_limit(&rate));
	record_len = rate.delivery_bytes_per_s * RECORD_TIME_MS / 1000;
	if (rate.is_app_limited && record_len < carrier->record_len)
		return;
	carrier->record_len = clamp(record_len, RECORD_LEN_MIN, TLS_RECORD_MAX);
	set_low_water(carrier, clamp(2 * record_len, LOW_WATER_MIN, LOW_WATER_MAX));
}

const uint8_t *carrier_next_mask(struct carrier *carrier, uint8_t key[4])
{
	switch (carrier->mask) {
	case CARRIER_MASK_NONE:
		return NULL;
	case CARRIER_MASK_ZERO:
		memset(key, 0, 4);
		return key;
	case CARRIER_MASK_RANDOM:
		/* Inside TLS the mask hides nothing; it must only vary (an LCG, Knuth's MMIX constants). */
		carrier->mask_state = carrier->mask_state * 6364136223846793005u + 1442695040888963407u;
		memcpy(key, (const uint8_t *)&carrier->mask_state + 4, 4);
		return key;
	}
	return NULL;
}

int carrier_flush(struct carrier *carrier)
{
	int rc = tls_stream_flush(carrier->stream);

	if (rc == 0) {
		carrier->unsent_datagrams = carrier->unsent_bytes = 0;
		carrier->pongs = 0;
	}
	return rc;
}

int carrier_write_control(struct carrier *carrier, enum frame_opcode opcode, const uint8_t *payload, size_t len)
{
	uint8_t frame[FRAME_HEADER_MAX + FRAME_CONTROL_MAX], key[4];
	const uint8_t *mask = carrier_next_mask(carrier, key);
	size_t header_len;

	if (len > FRAME_CONTROL_MAX)
		return -EMSGSIZE;
	header_len = frame_encode_header(frame, opcode, len, mask);
	if (len > 0)
		memcpy(frame + header_len, payload, len);
	if (carrier->mask == CARRIER_MASK_RANDOM)
		frame_mask(frame + header_len, len, mask);
	return tls_stream_write(carrier->stream, frame, header_len + len);
}

/* Leave the flow: datagrams wait in its queue for the next carrier. */
static void carrier_leave(struct carrier *carrier)
{
	struct flow *flow = carrier->flow;

	if (!flow)
		return;
	flow->counters.dropped.count[DROP_CARRIER_LOST] += carrier->unsent_datagrams;
	flow->counters.sent_datagrams -= carrier->unsent_datagrams;
	flow->counters.sent_bytes -= carrier->unsent_bytes;
	carrier->unsent_datagrams = carrier->unsent_bytes = 0;
	if (flow->carrier == carrier) {
		flow->carrier = NULL;
		dgram_queue_set_carrier(&flow->queue, false, clock_now_us());
	}
	carrier->flow = NULL;
}

static void carrier_forget(struct carrier *carrier)
{
	frame_reader_done(&carrier->reader);
	free(carrier->rest);
	carrier->rest = NULL;
	carrier->rest_len = 0;
}

static void carrier_end(struct carrier *carrier, const char *reason)
{
	if (carrier->is_ended)
		return;
	carrier->is_ended = true;
	carrier_leave(carrier);
	carrier_forget(carrier);
	carrier->handlers->on_end(carrier->owner, reason);
}

static void carrier_end_errno(struct carrier *carrier, int rc)
{
	char reason[256];

	carrier_end(carrier, tls_stream_reason(carrier->stream, rc, reason, sizeof(reason)));
}

static void carrier_say_close(struct carrier *carrier, uint16_t code)
{
	uint8_t frame[FRAME_HEADER_MAX + 2], key[4];
	size_t len = frame_encode_close(frame, code, carrier_next_mask(carrier, key));

	if (!carrier->stream->is_failed && tls_stream_write(carrier->stream, frame, len) == 0)
		tls_stream_flush(carrier->stream);
}

static void end_with_close(struct carrier *carrier, uint16_t code, const char *reason)
{
	carrier_say_close(carrier, code);
	carrier_end(carrier, reason);
}

static void on_pump_end(struct carrier *carrier, enum pump_end end, long code)
{
	char reason[96];

	switch (end) {
	case PUMP_GOES_ON:
		return;
	case PUMP_STREAM_ENDED:
		carrier_end_errno(carrier, (int)code);
		return;
	case PUMP_CLOSED:
		snprintf(reason, sizeof(reason), "closed by the other side (%ld)", code);
		end_with_close(carrier, FRAME_CLOSE_NORMAL, reason);
		return;
	case PUMP_PROTOCOL_ERROR:
		end_with_close(carrier, FRAME_CLOSE_PROTOCOL_ERROR, "the other side broke the WebSocket protocol");
		return;
	case PUMP_TOO_BIG:
		end_with_close(
			carrier, FRAME_CLOSE_TOO_BIG, "the other side sent a message that is no datagram: too big");
		return;
	case PUMP_NO_MEMORY:
		end_with_close(carrier, FRAME_CLOSE_GOING_AWAY, "out of memory");
		return;
	}
}

static void carrier_wake(struct carrier *carrier, uint64_t now_us)
{
	carrier->idle_since_us = now_us;
	carrier->is_idle = false;
	carrier->pump->turns++;
}

static void carrier_on_readable(void *owner)
{
	struct carrier *carrier = owner;
	uint64_t now_us = clock_now_us();
	long code = 0;
	enum pump_end end;
	int rc;

	carrier_wake(carrier, now_us);
	liveness_on_received(&carrier->liveness, now_us);
	end = pump_in(carrier, now_us, &code);
	if (end != PUMP_GOES_ON) {
		on_pump_end(carrier, end, code);
		return;
	}
	rc = carrier->stream->is_blocked ? 1 : carrier_flush(carrier); /* pongs */
	if (rc < 0)
		carrier_end_errno(carrier, rc);
	else if (carrier->pongs >= CARRIER_PONGS_MAX)
		tls_stream_pause(carrier->stream, true);
}

static void carrier_on_writable(void *owner)
{
	struct carrier *carrier = owner;
	bool was_paused = carrier->stream->is_paused;

	carrier->unsent_datagrams = carrier->unsent_bytes = 0;
	carrier->pongs = 0;
	if (was_paused) {
		tls_stream_pause(carrier->stream, false);
		carrier_on_readable(carrier); /* what was read before waits in our own buffers */
	}
	if (!carrier->is_ended)
		carrier_send(carrier, clock_now_us());
}

static void carrier_on_failed(void *owner, const char *reason)
{
	carrier_end(owner, reason);
}

static void carrier_on_closed(void *owner)
{
	struct carrier *carrier = owner;

	carrier->handlers->on_closed(carrier->owner);
}

static const struct tls_stream_handlers carrier_stream_handlers = {
	.on_readable = carrier_on_readable,
	.on_writable = carrier_on_writable,
	.on_failed = carrier_on_failed,
	.on_closed = carrier_on_closed,
};

/* Bytes that came in one go with the HTTP head. Return: false where there is no memory for them (and the carrier ended). */
static bool keep_first_bytes(struct carrier *carrier, const uint8_t *bytes, size_t len)
{
	carrier->rest = len <= PUMP_IN_LEN ? malloc(PUMP_IN_LEN) : NULL;
	if (!carrier->rest) {
		carrier_end(carrier, "out of memory");
		return false;
	}
	memcpy(carrier->rest, bytes, len);
	carrier->rest_len = (uint32_t)len;
	return true;
}

static void carrier_join(struct carrier *carrier, struct flow *flow, uint64_t now_us)
{
	carrier->flow = flow;
	flow->carrier = carrier;
	dgram_queue_set_carrier(&flow->queue, true, now_us);
}

void carrier_start(struct carrier *carrier, struct pump *pump, struct tls_stream *stream, struct flow *flow,
	enum carrier_mask mask, uint64_t ping_interval_ms, const struct carrier_handlers *handlers, void *owner,
	const uint8_t *rest, size_t rest_len, uint64_t now_us)
{
	*carrier = (struct carrier){
		.pump = pump,
		.stream = stream,
		.handlers = handlers,
		.owner = owner,
		.mask = mask,
		.record_len = RECORD_LEN_FIRST,
		.limit_bytes_per_s = TCP_RATE_UNLIMITED,
		.idle_since_us = now_us,
		.rest_need = 1,
	};
	RAND_bytes((uint8_t *)&carrier->mask_state, sizeof(carrier->mask_state));
	liveness_init(&carrier->liveness, ping_interval_ms * CLOCK_US_PER_MS, now_us);
	liveness_ask_now(&carrier->liveness);
	tls_stream_set_handlers(stream, &carrier_stream_handlers, carrier);
	set_low_water(carrier, LOW_WATER_FIRST);
	carrier_join(carrier, flow, now_us);
	/* Also without a rest: the next record may be in OpenSSL's buffer already, where no poll shows it. */
	if (rest_len == 0 || keep_first_bytes(carrier, rest, rest_len))
		carrier_on_readable(carrier);
	if (!carrier->is_ended)
		carrier_send(carrier, now_us);
}

void carrier_send(struct carrier *carrier, uint64_t now_us)
{
	uint64_t sent_before;
	int rc;

	if (carrier->is_ended || carrier->stream->is_blocked || dgram_queue_is_empty(&carrier->flow->queue))
		return;
	sent_before = carrier->flow->counters.sent_datagrams;
	rc = pump_out(carrier, now_us);
	if (rc < 0) {
		carrier_end_errno(carrier, rc);
		return;
	}
	if (carrier->flow->counters.sent_datagrams == sent_before)
		return;
	carrier_wake(carrier, now_us);
	liveness_on_sent(&carrier->liveness, now_us);
	follow_rate(carrier, now_us);
}

/* OpenSSL's buffers and our own go back while nothing is said: most of a session's memory. */
static void carrier_go_idle(struct carrier *carrier)
{
	carrier->is_idle = true;
	tls_stream_idle(carrier->stream);
	if (carrier->rest_len == 0) {
		free(carrier->rest);
		carrier->rest = NULL;
	}
}

static void carrier_ping(struct carrier *carrier)
{
	uint8_t payload[LIVENESS_PING_LEN];
	int rc;

	liveness_ping_payload(&carrier->liveness, payload);
	rc = carrier_write_control(carrier, FRAME_PING, payload, sizeof(payload));
	if (rc == 0 && !carrier->stream->is_blocked)
		rc = carrier_flush(carrier);
	if (rc < 0 && rc != -ENOBUFS)
		carrier_end_errno(carrier, rc);
}

void carrier_step(struct carrier *carrier, uint64_t now_us)
{
	if (carrier->is_ended)
		return;
	switch (liveness_step(&carrier->liveness, now_us)) {
	case LIVENESS_WAIT:
		break;
	case LIVENESS_PING:
		carrier_ping(carrier);
		break;
	case LIVENESS_DEAD:
		carrier_end(carrier, "no answer to a ping: the path is dead");
		break;
	}
	if (!carrier->is_ended && !carrier->is_idle && now_us - carrier->idle_since_us > IDLE_US)
		carrier_go_idle(carrier);
}

void carrier_check(struct carrier *carrier, uint64_t now_us)
{
	liveness_check(&carrier->liveness, now_us);
	carrier_step(carrier, now_us);
}

void carrier_close(struct carrier *carrier, uint16_t code)
{
	if (!carrier->is_ended) {
		carrier->is_ended = true;
		carrier_leave(carrier);
		carrier_say_close(carrier, code);
		carrier_forget(carrier);
	}
	tls_stream_close(carrier->stream);
}
