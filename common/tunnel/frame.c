/* RFC 6455 framing, without a socket.
 *
 *    byte 0   FIN | RSV1..3 | opcode (4 bits)
 *    byte 1   MASK | length (7 bits): 0..125, or 126: 16 bits follow, or 127: 64 bits follow (big endian)
 *    then     the mask key, 4 bytes, where MASK is set; then the payload, XORed with the key
 *
 * The happy path is a whole binary frame at the front of the buffer: take_usual() reads the header, unmasks the payload
 * where it lies, and hands a pointer up. All else goes the long way. Fragments, which neither we nor a stock peer send, are put together in a buffer of the
 * reader. Every refusal is one of two codes and final: the caller closes with 1002 or 1009 and reads no more.
 */
#include "common/tunnel/frame.h"

#include <stdlib.h>
#include <string.h>

#define BIT_FIN 0x80u
#define BITS_RSV 0x70u
#define BITS_OPCODE 0x0fu
#define BIT_CONTROL 0x08u
#define BIT_MASKED 0x80u
#define BITS_LEN 0x7fu
#define LEN_IS_16_BIT 126u
#define LEN_IS_64_BIT 127u

size_t frame_encode_header(uint8_t *out, enum frame_opcode opcode, size_t payload_len, const uint8_t *mask)
{
	uint8_t masked = mask ? BIT_MASKED : 0;
	size_t len = 2;

	out[0] = (uint8_t)(BIT_FIN | (unsigned)opcode);
	if (payload_len < LEN_IS_16_BIT) {
		out[1] = (uint8_t)(masked | payload_len);
	} else if (payload_len <= UINT16_MAX) {
		out[1] = (uint8_t)(masked | LEN_IS_16_BIT);
		out[2] = (uint8_t)(payload_len >> 8);
		out[3] = (uint8_t)payload_len;
		len = 4;
	} else {
		out[1] = (uint8_t)(masked | LEN_IS_64_BIT);
		for (size_t i = 0; i < 8; i++)
			out[2 + i] = (uint8_t)((uint64_t)payload_len >> (56 - 8 * i));
		len = 10;
	}
	if (mask) {
		memcpy(out + len, mask, 4);
		len += 4;
	}
	return len;
}

size_t frame_encode_control(
	uint8_t *out, enum frame_opcode opcode, const uint8_t *payload, size_t len, const uint8_t *mask)
{
	size_t header_len = frame_encode_header(out, opcode, len, mask);

	if (len > 0)
		memcpy(out + header_len, payload, len);
	if (mask)
		frame_mask(out + header_len, len, mask);
	return header_len + len;
}

const uint8_t *frame_masker_next(struct frame_masker *masker, uint8_t key[4])
{
	if (!masker->is_masked)
		return NULL;
	if (masker->is_random) {
		/* Inside TLS the mask hides nothing; it must only vary (an LCG, Knuth's MMIX constants). */
		masker->state = masker->state * 6364136223846793005u + 1442695040888963407u;
		memcpy(key, (const uint8_t *)&masker->state + 4, 4);
	} else {
		memset(key, 0, 4);
	}
	return key;
}

/* memcpy() instead of a pointer to uint64_t: payloads lie at any address. */
static inline void xor_word(uint8_t *data, uint64_t key)
{
	uint64_t word;

	memcpy(&word, data, sizeof(word));
	word ^= key;
	memcpy(data, &word, sizeof(word));
}

void frame_mask(uint8_t *data, size_t len, const uint8_t mask[4])
{
	uint32_t half;
	uint64_t key;
	size_t i = 0;

	memcpy(&half, mask, sizeof(half));
	if (half == 0)
		return;
	key = (uint64_t)half << 32 | half; /* the same bytes twice, in either byte order */
	for (; len - i >= 32; i += 32) {
		xor_word(data + i, key);
		xor_word(data + i + 8, key);
		xor_word(data + i + 16, key);
		xor_word(data + i + 24, key);
	}
	for (; len - i >= 8; i += 8)
		xor_word(data + i, key);
	for (; i < len; i++)
		data[i] ^= mask[i % 4];
}

/* The first two bytes show reserved bits and opcodes, and control frames that are long or fragmented (RFC 6455 §5.2,
 * §5.5). */
static enum frame_result check_start(const uint8_t *buf)
{
	unsigned opcode = buf[0] & BITS_OPCODE;
	unsigned len7 = buf[1] & BITS_LEN;

	if (buf[0] & BITS_RSV)
		return FRAME_PROTOCOL_ERROR;
	if (opcode & BIT_CONTROL) {
		if (opcode > FRAME_PONG || !(buf[0] & BIT_FIN) || len7 > FRAME_CONTROL_MAX)
			return FRAME_PROTOCOL_ERROR;
	} else if (opcode > FRAME_BINARY) {
		return FRAME_PROTOCOL_ERROR;
	}
	return FRAME_OK;
}

enum frame_result frame_decode_header(const uint8_t *buf, size_t len, struct frame_header *ret, size_t *ret_need)
{
	size_t extended;
	size_t mask_at;
	uint64_t payload_len;
	bool masked;

	if (len < 2) {
		*ret_need = 2;
		return FRAME_MORE;
	}
	if (check_start(buf) != FRAME_OK)
		return FRAME_PROTOCOL_ERROR;
	masked = buf[1] & BIT_MASKED;
	payload_len = buf[1] & BITS_LEN; /* of the payload, or how it is written */
	extended = payload_len == LEN_IS_64_BIT ? 8 : payload_len == LEN_IS_16_BIT ? 2 : 0;
	mask_at = 2 + extended;
	if (extended > 0 && len >= mask_at) {
		payload_len = 0;
		for (size_t i = 0; i < extended; i++)
			payload_len = payload_len << 8 | buf[2 + i];
		/* Judged before the mask key is there: no byte more is awaited of a frame that is refused anyway. */
		if (payload_len > FRAME_PAYLOAD_MAX)
			return FRAME_TOO_BIG;
	}
	if (len < mask_at + (masked ? 4 : 0)) {
		*ret_need = mask_at + (masked ? 4 : 0);
		return FRAME_MORE;
	}
	ret->opcode = buf[0] & BITS_OPCODE;
	ret->fin = buf[0] & BIT_FIN;
	ret->masked = masked;
	ret->header_len = (uint8_t)(mask_at + (masked ? 4 : 0));
	ret->payload_len = (uint32_t)payload_len;
	memset(ret->mask, 0, sizeof(ret->mask));
	if (masked)
		memcpy(ret->mask, buf + mask_at, sizeof(ret->mask));
	return FRAME_OK;
}

/* Does the frame fit into the message that is open, by its place and its length? Checked as soon as the header is
 * there, so that a peer cannot make us wait for a payload that will be refused. */
static enum frame_result check_fragment(const struct frame_reader *reader, const struct frame_header *header)
{
	bool is_open = reader->fragments > 0;

	if (header->opcode & BIT_CONTROL)
		return FRAME_OK;
	if (is_open != (header->opcode == FRAME_CONTINUATION))
		return FRAME_PROTOCOL_ERROR;
	if (!is_open)
		return FRAME_OK;
	if (reader->fragments >= FRAME_FRAGMENTS_MAX || header->payload_len > FRAME_PAYLOAD_MAX - reader->message_len)
		return FRAME_TOO_BIG;
	return FRAME_OK;
}

/* Keep a fragment. With the last one the whole message is handed up, and its buffer stays until the next call. The
 * buffer is allocated whole at the first fragment: pages that are not written cost nothing. */
static enum frame_result take_fragment(struct frame_reader *reader, const struct frame_header *header,
	const uint8_t *payload, struct frame_event *ret_event)
{
	if (!reader->message)
		reader->message = malloc(FRAME_PAYLOAD_MAX);
	if (!reader->message)
		return FRAME_TOO_BIG; /* without memory any message is too big */
	memcpy(reader->message + reader->message_len, payload, header->payload_len); /* check_fragment(): it fits */
	reader->message_len += header->payload_len;
	reader->fragments++;
	if (!header->fin) {
		*ret_event = (struct frame_event){.opcode = FRAME_CONTINUATION};
		return FRAME_OK;
	}
	*ret_event =
		(struct frame_event){.opcode = FRAME_BINARY, .payload = reader->message, .len = reader->message_len};
	reader->fragments = 0;
	return FRAME_OK;
}

/* The frame that carries nearly everything: a whole binary message whose length has at most 16 bits. Return: bytes of
 * the frame, or 0 where it is anything else, not all there, or refused. */
static size_t take_usual(uint8_t *buf, size_t len, struct frame_event *ret_event)
{
	size_t at = 2, payload_len;

	if (len < FRAME_HEADER_MAX || buf[0] != (BIT_FIN | FRAME_BINARY))
		return 0;
	payload_len = buf[1] & BITS_LEN;
	if (payload_len == LEN_IS_16_BIT) {
		payload_len = (size_t)buf[2] << 8 | buf[3];
		at = 4;
	}
	if (payload_len > FRAME_PAYLOAD_MAX || (buf[1] & BITS_LEN) == LEN_IS_64_BIT)
		return 0;
	if (buf[1] & BIT_MASKED)
		at += 4;
	if (len - at < payload_len)
		return 0;
	if (buf[1] & BIT_MASKED)
		frame_mask(buf + at, payload_len, buf + at - 4);
	*ret_event = (struct frame_event){.opcode = FRAME_BINARY, .payload = buf + at, .len = (uint32_t)payload_len};
	return at + payload_len;
}

enum frame_result frame_reader_next(
	struct frame_reader *reader, uint8_t *buf, size_t len, size_t *ret_used, struct frame_event *ret_event)
{
	struct frame_header header;
	enum frame_result result;
	uint8_t *payload;

	if (reader->message && reader->fragments == 0)
		frame_reader_done(reader);
	*ret_used = reader->fragments == 0 ? take_usual(buf, len, ret_event) : 0;
	if (*ret_used > 0)
		return FRAME_OK;
	result = frame_decode_header(buf, len, &header, ret_used);
	if (result != FRAME_OK)
		return result;
	result = check_fragment(reader, &header);
	if (result != FRAME_OK)
		return result;
	if (len - header.header_len < header.payload_len) {
		*ret_used = (size_t)header.header_len + header.payload_len;
		return FRAME_MORE;
	}
	payload = buf + header.header_len;
	frame_mask(payload, header.payload_len, header.mask);
	*ret_used = (size_t)header.header_len + header.payload_len;
	if (!(header.opcode & BIT_CONTROL) && (!header.fin || header.opcode == FRAME_CONTINUATION))
		return take_fragment(reader, &header, payload, ret_event);
	ret_event->opcode = header.opcode == FRAME_TEXT ? FRAME_BINARY : (enum frame_opcode)header.opcode;
	ret_event->payload = payload;
	ret_event->len = header.payload_len;
	return FRAME_OK;
}

void frame_reader_done(struct frame_reader *reader)
{
	free(reader->message);
	*reader = (struct frame_reader){0};
}
