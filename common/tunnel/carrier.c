/* The life of a carrier: it takes over an upgraded stream, serves its events with the pump, follows the rate of the
 * line, pings, and tells its owner the end with a reason.
 *
 * Happy path: carrier_start() → the stream's on_readable and on_writable, carrier_send_flow() after each batch from UDP,
 * carrier_tick() twice a second → carrier_close(). Every failure (the stream's, a close frame, a protocol error, a ping
 * without an answer) goes through end_carrier(): the carrier leaves its flow, then calls on_end once. The owner may
 * free its own things in there but not the carrier: that stays until on_closed.
 */
#include "common/tunnel/carrier.h"

#include "common/base/clock.h"
#include "common/base/require.h"
#include "common/tunnel/tcp_rate.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>

#define RECORD_TIME_MS 4u /* a record is of no use until it is complete: it may take so long on the line */
#define RECORD_LEN_MIN 1500u
#define RECORD_LEN_FIRST 4096u /* until the line's rate is known */
/* TCP_NOTSENT_LOWAT: the socket takes more while fewer bytes than this wait in it unsent. With two records the line
 * stays busy while the next record is made. All else waits in the flow's queue, where a datagram that has become too
 * old can still be dropped; a byte in the socket cannot. */
#define LOW_WATER_MIN 3072u
#define LOW_WATER_FIRST 32768u
#define LOW_WATER_MAX (256u * 1024)
#define RATE_CHECK_US 10000u
#define RATE_CHECK_BYTES 4096u /* less tells nothing of the line, and the system call takes time from other carriers */
#define BBR_RESTART_US (8 * CLOCK_US_PER_S) /* sooner than its ten seconds */
#define IDLE_US (5 * CLOCK_US_PER_S)
#define FEW_DATAGRAMS 4u /* between two ticks: a keepalive, a handshake of WireGuard's */

static uint32_t clamp(uint64_t value, uint32_t low, uint32_t high)
{
	if (value < low)
		return low;
	return value > high ? high : (uint32_t)value;
}

/* Changes of less than an eighth are not worth a system call. */
static void set_low_water(struct carrier *carrier, uint32_t bytes)
{
	uint32_t old = carrier->pipe.stream->low_water;

	if (bytes < old + old / 8 && bytes > old - old / 8)
		return;
	/* Refused on an old kernel or a socket that is no TCP: the queue alone bounds the delay then. */
	tcp_rate_set_low_water(carrier->pipe.stream->fd, bytes);
	carrier->pipe.stream->low_water = bytes;
}

/* Changes of less than a 64th are not worth a system call. */
static void set_limit(struct carrier *carrier, uint32_t bytes_per_s)
{
	uint32_t old = carrier->limit_bytes_per_s;

	if (bytes_per_s <= old ? old - bytes_per_s <= old / 64 : bytes_per_s - old <= old / 64)
		return;
	tcp_rate_set_limit(carrier->pipe.stream->fd, bytes_per_s);
	carrier->limit_bytes_per_s = bytes_per_s;
}

/* Record and low water follow the delivery rate. The kernel's figure counts only what we gave it: a rate measured while
 * we had little to send says nothing of the line unless it is higher than the last. */
static void set_record(struct carrier *carrier, const struct tcp_rate *rate)
{
	uint64_t record_len = rate->delivery_bytes_per_s * RECORD_TIME_MS / 1000;

	if (rate->is_app_limited && record_len < carrier->pipe.record_len)
		return;
	carrier->pipe.record_len = clamp(record_len, RECORD_LEN_MIN, TLS_RECORD_MAX);
	set_low_water(carrier, clamp(2 * record_len, LOW_WATER_MIN, LOW_WATER_MAX));
}

static void note_losses(struct carrier *carrier, const struct tcp_rate *rate)
{
	carrier->losses += rate->retransmits + rate->gaps != carrier->segments_lost;
	carrier->segments_lost = rate->retransmits + rate->gaps;
}

static void follow_rate(struct carrier *carrier, uint64_t now_us)
{
	const struct flow_counters *counters = &carrier->pipe.flow->counters;
	const struct tls_stream *stream = carrier->pipe.stream;
	struct tcp_rate rate;

	if (now_us - carrier->rate_checked_us < RATE_CHECK_US ||
		counters->sent_bytes - carrier->rate_checked_bytes < RATE_CHECK_BYTES)
		return;
	carrier->rate_checked_us = now_us;
	carrier->rate_checked_bytes = counters->sent_bytes;
	if (tcp_rate_read(stream->fd, &rate) < 0)
		return;
	note_losses(carrier, &rate);
	if (rate.delivery_bytes_per_s == 0)
		return;
	if (rate.is_bbr && now_us - carrier->bbr_restarted_us > BBR_RESTART_US) {
		carrier->bbr_restarted_us = now_us;
		tcp_rate_restart_bbr(stream->fd);
	}
	set_limit(carrier, governor_update(&carrier->governor, &rate, stream->is_blocked, now_us));
	set_record(carrier, &rate);
}

/* --- end --- */

void carrier_step_down(struct carrier *carrier)
{
	struct flow *flow = carrier->pipe.flow;

	if (!flow)
		return;
	if (flow->carrier == carrier) {
		flow->carrier = flow->second;
		flow->second = NULL;
	} else if (flow->second == carrier) {
		flow->second = NULL;
	}
	dgram_queue_set_carrier(&flow->queue, flow->carrier, clock_now_us());
}

/* Leave the flow: its datagrams wait in the queue for the next carrier. Datagrams in the send buffer that have
 * not left count as lost, not as sent; TCP does not tell how much of the rest the peer has got. */
static void leave_flow(struct carrier *carrier)
{
	struct pump_pipe *pipe = &carrier->pipe;
	struct flow *flow = pipe->flow;

	if (!flow)
		return;
	require(flow->counters.sent_datagrams >= pipe->unsent_datagrams);
	flow->counters.dropped.count[DROP_CARRIER_LOST] += pipe->unsent_datagrams;
	flow->counters.sent_datagrams -= pipe->unsent_datagrams;
	flow->counters.sent_bytes -= pipe->unsent_bytes;
	pipe->unsent_datagrams = pipe->unsent_bytes = 0;
	carrier_step_down(carrier);
	pipe->flow = NULL;
}

static void end_carrier(struct carrier *carrier, const char *reason)
{
	if (carrier->is_ended)
		return;
	carrier->is_ended = true;
	leave_flow(carrier);
	pump_forget(&carrier->pipe);
	carrier->handlers->on_end(carrier->owner, reason);
}

/* @code: what tls_stream_read() or a flush returned. */
static void end_by_errno(struct carrier *carrier, ssize_t code)
{
	char reason[256];

	end_carrier(carrier, tls_stream_reason(carrier->pipe.stream, code, reason, sizeof(reason)));
}

/* Best effort: where the send buffer is blocked or full the peer sees the TCP connection end without a close frame. */
static void send_close(struct carrier *carrier, uint16_t code)
{
	uint8_t payload[2] = {(uint8_t)(code >> 8), (uint8_t)code}; /* RFC 6455 §5.5.1 */
	struct tls_stream *stream = carrier->pipe.stream;

	if (!stream->is_failed && pump_write_control(&carrier->pipe, FRAME_CLOSE, payload, sizeof(payload)) == 0)
		tls_stream_flush(stream);
}

static void end_with_close(struct carrier *carrier, uint16_t code, const char *reason)
{
	send_close(carrier, code);
	end_carrier(carrier, reason);
}

/* The codes are those of RFC 6455 §7.4.1. Memory that is missing here is no fault of the peer: it is told that we go
 * away, so that a client comes again. */
static void end_by_pump(struct carrier *carrier, enum pump_end end, long code)
{
	char reason[96];

	switch (end) {
	case PUMP_GOES_ON:
		return;
	case PUMP_STREAM_ENDED:
		end_by_errno(carrier, code);
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

/* --- events of the stream --- */

static void carrier_send(struct carrier *carrier, uint64_t now_us);

static uint64_t datagrams_of(const struct flow *flow)
{
	return flow->counters.sent_datagrams + flow->counters.received_datagrams;
}

static void carrier_on_readable(void *owner)
{
	struct carrier *carrier = owner;
	struct pump_pipe *pipe = &carrier->pipe;
	uint64_t now_us = clock_now_us(), received_before = pipe->flow->counters.received_datagrams;
	long code = 0;
	enum pump_end end;
	int rc;

	liveness_on_received(&carrier->liveness, now_us);
	end = pump_in(pipe, now_us, &code);
	if (pipe->flow->counters.received_datagrams != received_before)
		pipe->pump->turns++;
	if (end != PUMP_GOES_ON) {
		end_by_pump(carrier, end, code);
		return;
	}
	rc = pipe->stream->is_blocked ? 1 : pump_flush(pipe); /* pongs */
	if (rc < 0)
		end_by_errno(carrier, rc);
	else if (pipe->pongs >= PUMP_PONGS_MAX)
		tls_stream_pause(pipe->stream, true); /* until on_writable: the pongs have left then */
}

static void carrier_on_writable(void *owner)
{
	struct carrier *carrier = owner;
	bool was_paused = carrier->pipe.stream->is_paused;

	pump_on_flushed(&carrier->pipe);
	if (was_paused) {
		tls_stream_pause(carrier->pipe.stream, false);
		carrier_on_readable(carrier); /* what was read before waits in our own buffers */
	}
	if (!carrier->is_ended)
		carrier_send(carrier, clock_now_us());
}

static void carrier_on_failed(void *owner, const char *reason)
{
	end_carrier(owner, reason);
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

/* --- what the owner calls --- */

/* The flow gets its carrier before anything is read, because the answer to the first datagram may come within the call.
 * From there on any step may end the carrier, so each one is followed by a look at is_ended. */
void carrier_start(struct carrier *carrier, const struct carrier_setup *setup, uint64_t now_us)
{
	*carrier = (struct carrier){
		.pipe = {.pump = setup->pump,
			.stream = setup->stream,
			.flow = setup->flow,
			.liveness = &carrier->liveness,
			.masker = {.is_masked = setup->mask != CARRIER_MASK_NONE,
				.is_random = setup->mask == CARRIER_MASK_RANDOM},
			.record_len = RECORD_LEN_FIRST,
			.rest_need = 1},
		.handlers = setup->handlers,
		.owner = setup->owner,
		.bbr_restarted_us = now_us,
		.limit_bytes_per_s = TCP_RATE_UNLIMITED,
		.datagrams = datagrams_of(setup->flow),
	};
	governor_init(&carrier->governor);
	RAND_bytes((uint8_t *)&carrier->pipe.masker.state, sizeof(carrier->pipe.masker.state));
	liveness_init(&carrier->liveness, setup->ping_interval_ms * CLOCK_US_PER_MS, now_us);
	liveness_probe(&carrier->liveness); /* the round trip of a new carrier is known at once */
	tls_stream_set_handlers(setup->stream, &carrier_stream_handlers, carrier);
	set_low_water(carrier, LOW_WATER_FIRST);
	tcp_rate_retry_soon(setup->stream->fd);
	if (setup->is_second && setup->flow->carrier) {
		setup->flow->second = carrier;
	} else { /* a second one stands beside the old one, on the same path */
		setup->flow->carrier = carrier;
		setup->flow->second = NULL;
	}
	dgram_queue_set_carrier(&setup->flow->queue, true, now_us);
	/* Also without a rest: the next record may be in OpenSSL's buffer already, where no poll shows it. */
	if (pump_keep(&carrier->pipe, setup->rest, setup->rest_len) < 0)
		end_carrier(carrier, "out of memory");
	else
		carrier_on_readable(carrier);
	if (!carrier->is_ended)
		carrier_send(carrier, now_us);
}

/* Only asked for one of two: a connection alone has nothing to choose. One that stands still is asked at once whether it
 * lives, as nothing else is sent through it. */
static bool is_stalled(struct carrier *carrier, uint64_t now_us)
{
	bool was_stalled = carrier->stall.is_stalled;
	struct tcp_rate rate;

	if (now_us - carrier->watched_us >= RATE_CHECK_US && tcp_rate_read(carrier->pipe.stream->fd, &rate) == 0) {
		carrier->watched_us = now_us;
		note_losses(carrier, &rate);
		stall_update(&carrier->stall, &rate, now_us);
	}
	if (carrier->stall.is_stalled && !was_stalled)
		liveness_probe(&carrier->liveness);
	return carrier->stall.is_stalled;
}

/* Which of the flow's lanes a carrier sends from. A lost segment holds back all that is behind it in its connection, so
 * what is urgent takes the second one, in which little else is; and each takes all while the other one stands still. */
static unsigned choose_lanes(struct carrier *carrier, uint64_t now_us)
{
	const struct flow *flow = carrier->pipe.flow;

	if (carrier != flow->carrier && carrier != flow->second)
		return DGRAM_LANES_NONE; /* it is being replaced: new datagrams take the new one */
	if (!flow->second || is_stalled(carrier == flow->carrier ? flow->second : flow->carrier, now_us))
		return DGRAM_LANES_ALL;
	if (is_stalled(carrier, now_us))
		return DGRAM_LANES_NONE;
	return carrier == flow->carrier ? DGRAM_LANES_BULK : DGRAM_LANES_QUICK;
}

static void carrier_send(struct carrier *carrier, uint64_t now_us)
{
	struct flow *flow = carrier->pipe.flow;
	uint64_t sent_before;
	int rc;

	if (carrier->is_ended || carrier->pipe.stream->is_blocked || dgram_queue_is_empty(&flow->queue))
		return;
	carrier->pipe.lanes = choose_lanes(carrier, now_us);
	if (carrier->pipe.lanes == DGRAM_LANES_NONE)
		return;
	sent_before = flow->counters.sent_datagrams;
	rc = pump_out(&carrier->pipe, now_us);
	if (rc < 0) {
		end_by_errno(carrier, rc);
		return;
	}
	if (flow->counters.sent_datagrams == sent_before)
		return; /* all that waited was too old */
	carrier->pipe.pump->turns++;
	liveness_on_sent(&carrier->liveness, now_us);
	stall_note_sent(&carrier->stall, now_us);
	follow_rate(carrier, now_us);
}

/* The end of the second leaves the flow with the first, and only a flow's last carrier takes it along. */
void carrier_send_flow(struct flow *flow, uint64_t now_us)
{
	if (flow->second)
		carrier_send(flow->second, now_us);
	if (flow->carrier)
		carrier_send(flow->carrier, now_us);
}

uint32_t carrier_losses(const struct carrier *carrier)
{
	return carrier->losses;
}

/* Where the stream is blocked the ping waits in the send buffer behind the datagrams: its round trip is theirs. No room
 * (-ENOBUFS) is no failure: the ping counts as sent, and its deadline judges the line. */
static void send_ping(struct carrier *carrier)
{
	uint8_t payload[LIVENESS_PING_LEN];
	int rc;

	liveness_ping_payload(&carrier->liveness, payload);
	rc = pump_write_control(&carrier->pipe, FRAME_PING, payload, sizeof(payload));
	if (rc == 0 && !carrier->pipe.stream->is_blocked)
		rc = pump_flush(&carrier->pipe);
	if (rc < 0 && rc != -ENOBUFS)
		end_by_errno(carrier, rc);
}

/* OpenSSL's buffers and our own are most of a session's memory. They are kept only while datagrams come and go: with
 * pings and keepalives alone they are there for the length of a call. */
static void follow_traffic(struct carrier *carrier, uint64_t now_us)
{
	struct pump_pipe *pipe = &carrier->pipe;
	uint64_t datagrams = datagrams_of(pipe->flow);
	bool is_busy;

	if (datagrams - carrier->datagrams > FEW_DATAGRAMS)
		carrier->busy_us = now_us;
	carrier->datagrams = datagrams;
	is_busy = carrier->busy_us != 0 && now_us - carrier->busy_us <= IDLE_US; /* the clock begins at the boot */
	if (carrier->is_busy != is_busy) {
		carrier->is_busy = is_busy;
		tls_stream_keep_buffers(pipe->stream, is_busy);
	}
	if (!carrier->is_busy && pipe->rest_len == 0) {
		free(pipe->rest);
		pipe->rest = NULL;
	}
}

void carrier_tick(struct carrier *carrier, uint64_t now_us)
{
	if (carrier->is_ended)
		return;
	switch (liveness_tick(&carrier->liveness, now_us)) {
	case LIVENESS_WAIT:
		break;
	case LIVENESS_PING:
		send_ping(carrier);
		break;
	case LIVENESS_DEAD:
		end_carrier(carrier, "no answer to a ping: the path is dead");
		break;
	}
	if (!carrier->is_ended) /* what waits for one that stands still has no other event */
		carrier_send(carrier, now_us);
	if (!carrier->is_ended)
		follow_traffic(carrier, now_us);
}

void carrier_check(struct carrier *carrier, uint64_t now_us)
{
	liveness_check(&carrier->liveness, now_us);
	carrier_tick(carrier, now_us);
}

void carrier_close(struct carrier *carrier, uint16_t code)
{
	if (!carrier->is_ended) {
		carrier->is_ended = true;
		leave_flow(carrier);
		send_close(carrier, code);
		pump_forget(&carrier->pipe);
	}
	tls_stream_close(carrier->pipe.stream);
}

json_t *carrier_pace(const struct carrier *carrier)
{
	static const char *const words[] = {
		[GOVERNOR_STARTS] = "starts",
		[GOVERNOR_HOLDS] = "holds",
		[GOVERNOR_PROBES] = "probes",
		[GOVERNOR_DRAINS] = "drains",
		[GOVERNOR_COMPETES] = "competes",
	};
	uint32_t limit = carrier->limit_bytes_per_s;

	return json_pack("{s:s,s:o}", "state", words[carrier->governor.state], "mbit_per_s",
		limit == TCP_RATE_UNLIMITED ? json_null() : json_real(limit * 8 / 1e6));
}
