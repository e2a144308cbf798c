/* Frames: a stream read at once and the same stream read in pieces give the same events and the same end.
 *
 * The first byte of the input says how long the pieces are; the rest is the stream.
 */
#include "common/tunnel/frame.h"
#include "tests/fuzz/fuzz.h"

struct stream {
	struct frame_reader reader;
	uint8_t *data;
	size_t len;
	size_t at;
	struct frame_event event;
};

/* Offer the bytes that have arrived, as a connection does; offer more each time the parser asks for more. */
static enum frame_result step(struct stream *stream, size_t piece)
{
	size_t rest = stream->len - stream->at;
	size_t offered = piece < rest ? piece : rest;

	for (;;) {
		uint8_t *exact = fuzz_copy(stream->data + stream->at, offered);
		size_t used = 0;
		enum frame_result result = frame_reader_next(&stream->reader, exact, offered, &used, &stream->event);

		if (result == FRAME_OK) {
			CLAIM(used >= 2 && used <= offered);
			stream->at += used;
			if (stream->event.payload >= exact && stream->event.payload < exact + offered) {
				memcpy(stream->data + stream->at - used, exact, used);
				stream->event.payload =
					stream->data + stream->at - used + (stream->event.payload - exact);
			}
		}
		if (result == FRAME_MORE)
			CLAIM(used > offered && used <= FRAME_HEADER_MAX + FRAME_PAYLOAD_MAX);
		free(exact);
		if (result != FRAME_MORE || offered == rest)
			return result;
		offered = offered + piece < rest ? offered + piece : rest;
	}
}

static void check_event(const struct frame_event *event)
{
	CLAIM(event->len <= FRAME_PAYLOAD_MAX);
	switch (event->opcode) {
	case FRAME_CONTINUATION:
		CLAIM(event->len == 0);
		break;
	case FRAME_BINARY:
		break;
	case FRAME_CLOSE:
	case FRAME_PING:
	case FRAME_PONG:
		CLAIM(event->len <= FRAME_CONTROL_MAX);
		break;
	case FRAME_TEXT:
		CLAIM(!"a text message is handed up as binary");
		break;
	}
}

/* Reads both streams to their end, or to where more would be needed. */
static void compare(struct stream *whole, struct stream *pieces, size_t piece)
{
	enum frame_result result;

	do {
		result = step(whole, whole->len + 1);
		CLAIM(step(pieces, piece) == result);
		CLAIM(whole->at == pieces->at);
		if (result != FRAME_OK)
			return;
		check_event(&whole->event);
		CLAIM(whole->event.opcode == pieces->event.opcode && whole->event.len == pieces->event.len);
		CLAIM(whole->event.len == 0 ||
			memcmp(whole->event.payload, pieces->event.payload, whole->event.len) == 0);
	} while (true);
}

/* A header that was read and is written anew reads the same. */
static void check_header(const uint8_t *data, size_t size)
{
	struct frame_header header;
	struct frame_header again;
	uint8_t out[FRAME_HEADER_MAX];
	size_t need;
	size_t len;

	if (frame_decode_header(data, size, &header, &need) != FRAME_OK)
		return;
	CLAIM(header.header_len <= size && header.payload_len <= FRAME_PAYLOAD_MAX);
	len = frame_encode_header(
		out, (enum frame_opcode)header.opcode, header.payload_len, header.masked ? header.mask : NULL);
	CLAIM(len <= header.header_len);
	CLAIM(frame_decode_header(out, len, &again, &need) == FRAME_OK);
	CLAIM(again.opcode == header.opcode && again.payload_len == header.payload_len &&
		again.masked == header.masked);
	CLAIM(memcmp(again.mask, header.mask, 4) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct stream whole = {0};
	struct stream pieces = {0};

	if (size < 1)
		return 0;
	whole.len = pieces.len = size - 1;
	whole.data = fuzz_copy(data + 1, size - 1);
	pieces.data = fuzz_copy(data + 1, size - 1);
	check_header(data + 1, size - 1);
	compare(&whole, &pieces, size > 4096 ? 4000u + 64u * data[0] : 1u + data[0] % 16);
	frame_reader_done(&whole.reader);
	frame_reader_done(&pieces.reader);
	free(whole.data);
	free(pieces.data);
	return 0;
}
