/* RFC 6455 framing: headers out, frames in, in place. Pure: touches no socket, allocates only for foreign fragments.
 *
 *    0        1          2..3 (len 126) / 2..9 (len 127)     +4 if masked
 *    | 0x82 | M | len7 |  extended length, big endian      | masking key | payload …
 * Source: RFC 6455 §5.2. One binary message is one UDP datagram.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_MAX 14	  /* 2 + 8 + 4 */
#define FRAME_PAYLOAD_MAX 65507u  /* largest UDP payload over IPv4: 65535 - 20 - 8 */
#define FRAME_CONTROL_MAX 125u	  /* RFC 6455 §5.5 */
#define FRAME_FRAGMENTS_MAX 1024u /* per message, from other implementations */

#define FRAME_CLOSE_NORMAL 1000
#define FRAME_CLOSE_GOING_AWAY 1001
#define FRAME_CLOSE_PROTOCOL_ERROR 1002
#define FRAME_CLOSE_POLICY 1008
#define FRAME_CLOSE_TOO_BIG 1009

enum frame_opcode {
	FRAME_CONTINUATION = 0x0,
	FRAME_TEXT = 0x1,
	FRAME_BINARY = 0x2,
	FRAME_CLOSE = 0x8,
	FRAME_PING = 0x9,
	FRAME_PONG = 0xa,
};

struct frame_header {
	uint8_t opcode;
	bool fin;
	bool masked;
	uint8_t header_len; /* bytes before the payload */
	uint8_t mask[4];
	uint32_t payload_len; /* ≤ FRAME_PAYLOAD_MAX */
};

enum frame_result {
	FRAME_OK,
	FRAME_MORE,	      /* not all there yet */
	FRAME_PROTOCOL_ERROR, /* close with 1002 */
	FRAME_TOO_BIG,	      /* close with 1009 */
};

/* Write a final frame's header. @mask: 4 bytes, or NULL. @out: FRAME_HEADER_MAX bytes. Return: bytes written. */
size_t frame_encode_header(uint8_t *out, enum frame_opcode opcode, size_t payload_len, const uint8_t *mask);

/* A whole control frame: CLOSE, PING or PONG with at most FRAME_CONTROL_MAX bytes. Return: bytes written to @out
 * (FRAME_HEADER_MAX + @len). */
size_t frame_encode_control(
	uint8_t *out, enum frame_opcode opcode, const uint8_t *payload, size_t len, const uint8_t *mask);

/* Which masking key a sender puts on its next frame. */
struct frame_masker {
	bool is_masked; /* false: no mask bit, no key */
	bool is_random; /* false: a key of zeros, which changes no byte */
	uint64_t state; /* of the random keys; any start will do */
};

/* Return: @key with the next frame's masking key, or NULL for an unmasked frame: the @mask of frame_encode_…(). */
const uint8_t *frame_masker_next(struct frame_masker *masker, uint8_t key[4]);

/* XOR @len bytes with the key, word by word; a zero key costs nothing. */
void frame_mask(uint8_t *data, size_t len, const uint8_t mask[4]);

/* Read one header. Refuses RSV bits, reserved opcodes, control frames that are long or fragmented (PROTOCOL_ERROR), a
 * payload over FRAME_PAYLOAD_MAX (TOO_BIG) as soon as the header shows it. Non-minimal lengths are taken.
 * With FRAME_MORE, *ret_need is the number of bytes, counted from @buf, that must be there to go on. */
enum frame_result frame_decode_header(const uint8_t *buf, size_t len, struct frame_header *ret, size_t *ret_need);

/* A message or frame as a reader hands it up. Payload pointers point into the buffer given, or, for fragmented
 * messages, into the reader's own; borrowed until the next call. */
struct frame_event {
	enum frame_opcode opcode; /* FRAME_BINARY (also for TEXT) for a whole message, or CLOSE, PING, PONG */
	uint8_t *payload;
	uint32_t len;
};

/* Puts fragmented messages together (foreign peers only). Whole frames pass straight through. */
struct frame_reader {
	uint8_t *message; /* allocated for the first fragment, freed with the last */
	uint32_t message_len;
	uint16_t fragments; /* 0: no message is open */
};

/**
 * frame_reader_next() - Take one whole frame from the front of a buffer, unmasked in place
 * @buf, @len: bytes as they came; the frame's payload is unmasked inside
 * @ret_used: FRAME_OK: bytes consumed. FRAME_MORE: bytes needed from @buf on, at most FRAME_HEADER_MAX +
 * FRAME_PAYLOAD_MAX
 * @ret_event: set with FRAME_OK; an inner fragment gives FRAME_OK with opcode FRAME_CONTINUATION and no payload: go on
 */
enum frame_result frame_reader_next(
	struct frame_reader *reader, uint8_t *buf, size_t len, size_t *ret_used, struct frame_event *ret_event);

void frame_reader_done(struct frame_reader *reader);
