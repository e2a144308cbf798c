/* One TLS connection that carries a flow's datagrams as WebSocket messages, from the 101 to its end. Both programs.
 *
 * Embedded in a session (server) or link (client), which own the stream and its set-up. From carrier_start() on the
 * stream's events come here; the owner hears only of the end. Holds no handle: the owner's timer calls carrier_step().
 */
#ifndef TOWPATH_TUNNEL_CARRIER_H
#define TOWPATH_TUNNEL_CARRIER_H

#include "common/tunnel/flow.h"
#include "common/tunnel/frame.h"
#include "common/tunnel/liveness.h"
#include "common/tunnel/pump.h"
#include "common/tunnel/tls_stream.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum carrier_mask { CARRIER_MASK_NONE, CARRIER_MASK_ZERO, CARRIER_MASK_RANDOM };

struct carrier_handlers {
	/* The carrier is of no use any more and has left its flow; the owner closes the stream. Called once. */
	void (*on_end)(void *owner, const char *reason);
	void (*on_closed)(void *owner); /* the stream's last call, passed on */
};

struct carrier {
	struct pump *pump;
	struct tls_stream *stream;
	struct flow *flow; /* NULL after the end */
	const struct carrier_handlers *handlers;
	void *owner;
	enum carrier_mask mask;
	struct liveness liveness;
	struct frame_reader reader;
	uint8_t *rest; /* bytes read but not parsed: the beginning of a frame, or what waits for pongs to leave */
	uint32_t rest_len;
	uint32_t rest_need;	    /* parse again when so many are there */
	uint32_t record_len;	    /* plaintext bytes of a record: 4 ms of the delivery rate */
	uint32_t low_water_bytes;   /* TCP_NOTSENT_LOWAT, twice that */
	uint32_t limit_bytes_per_s; /* of sending; TCP_RATE_UNLIMITED as a rule */
	uint64_t rate_checked_us;
	uint64_t rate_checked_bytes; /* of the flow's sent_bytes then */
	uint64_t idle_since_us;
	uint32_t unsent_datagrams; /* in the send buffer */
	uint32_t unsent_bytes;	   /* theirs */
	uint32_t pongs;		   /* in the send buffer */
	uint64_t mask_state;	   /* for CARRIER_MASK_RANDOM */
	bool is_ended;
	bool is_idle; /* buffers given back */
};

#define CARRIER_PONGS_MAX 64u /* WIRE.md §4: while so many wait to be sent, nothing more is read */

/* The next frame's masking key, or NULL for none. */
const uint8_t *carrier_next_mask(struct carrier *carrier, uint8_t key[4]);

/* Take over @stream (open, upgraded) for @flow. @rest: bytes that came right behind the HTTP head. The flow's newest
 * carrier is this one from now on. */
void carrier_start(struct carrier *carrier, struct pump *pump, struct tls_stream *stream, struct flow *flow,
	enum carrier_mask mask, uint64_t ping_interval_ms, const struct carrier_handlers *handlers, void *owner,
	const uint8_t *rest, size_t rest_len, uint64_t now_us);

/* Datagrams wait in the flow's queue: send them. Call after each received batch. */
void carrier_send(struct carrier *carrier, uint64_t now_us);

/* Send what is in the stream's buffer and settle the counts. For pump.c. Return: as tls_stream_flush(). */
int carrier_flush(struct carrier *carrier);

/* Write one control frame into the send buffer. For pump.c. Return: 0 or a negative errno. */
int carrier_write_control(struct carrier *carrier, enum frame_opcode opcode, const uint8_t *payload, size_t len);

/* Pings, deadlines, idle memory. Call about twice a second. */
void carrier_step(struct carrier *carrier, uint64_t now_us);

/* The host's network has changed: ask for life now, and give up after a short time. */
void carrier_check(struct carrier *carrier, uint64_t now_us);

/* Leave the flow, say goodbye with a close frame, close the stream. No on_end; on_closed follows. */
void carrier_close(struct carrier *carrier, uint16_t code);

#endif
