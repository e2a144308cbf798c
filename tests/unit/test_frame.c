/* RFC 6455 framing: published frames, what is refused and when, fragments, masking. */
#include "common/tunnel/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WHOLE_MAX (FRAME_HEADER_MAX + FRAME_PAYLOAD_MAX + 1)

struct fixture {
	struct frame_reader reader;
	struct frame_event event;
	size_t used;
};

static int set_up(void **state)
{
	*state = calloc(1, sizeof(struct fixture));
	return *state ? 0 : -1;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	frame_reader_done(&f->reader);
	free(f);
	return 0;
}

/* The bytes lie in memory of exactly their size, so that the sanitizer sees every step too far. */
static enum frame_result take(struct fixture *f, const void *bytes, size_t len)
{
	static uint8_t *copy;

	free(copy);
	copy = malloc(len ? len : 1);
	assert_non_null(copy);
	memcpy(copy, bytes, len);
	return frame_reader_next(&f->reader, copy, len, &f->used, &f->event);
}

#define TAKE(f, ...) take(f, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void assert_event(struct fixture *f, enum frame_opcode opcode, const char *payload)
{
	assert_int_equal(f->event.opcode, opcode);
	assert_int_equal(f->event.len, strlen(payload));
	assert_memory_equal(f->event.payload, payload, strlen(payload));
}

/* RFC 6455 §5.7: a single unmasked text frame reads "Hello". */
static void rfc_unmasked_hello(void **state)
{
	assert_int_equal(TAKE(*state, 0x81, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f), FRAME_OK);
	assert_event(*state, FRAME_BINARY, "Hello");
}

/* RFC 6455 §5.7: a single masked text frame reads "Hello". */
static void rfc_masked_hello(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(TAKE(f, 0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58), FRAME_OK);
	assert_event(f, FRAME_BINARY, "Hello");
	assert_int_equal(f->used, 11);
}

/* RFC 6455 §5.7: a fragmented unmasked message, "Hel" and "lo", reads "Hello" once. */
static void rfc_fragmented_hello(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(TAKE(f, 0x01, 0x03, 0x48, 0x65, 0x6c), FRAME_OK);
	assert_int_equal(f->event.opcode, FRAME_CONTINUATION);
	assert_int_equal(f->event.len, 0);
	assert_int_equal(TAKE(f, 0x80, 0x02, 0x6c, 0x6f), FRAME_OK);
	assert_event(f, FRAME_BINARY, "Hello");
}

/* RFC 6455 §5.7: the ping and the masked pong with "Hello". */
static void rfc_ping_and_pong(void **state)
{
	assert_int_equal(TAKE(*state, 0x89, 0x05, 0x48, 0x65, 0x6c, 0x6c, 0x6f), FRAME_OK);
	assert_event(*state, FRAME_PING, "Hello");
	assert_int_equal(TAKE(*state, 0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58), FRAME_OK);
	assert_event(*state, FRAME_PONG, "Hello");
}

/* RFC 6455 §5.7: 256 bytes are announced in 16 bits, 65,536 in 64 bits. */
static void rfc_long_lengths_are_written(void **state)
{
	uint8_t out[FRAME_HEADER_MAX];

	(void)state;
	assert_int_equal(frame_encode_header(out, FRAME_BINARY, 256, NULL), 4);
	assert_memory_equal(out, ((uint8_t[]){0x82, 0x7e, 0x01, 0x00}), 4);
	assert_int_equal(frame_encode_header(out, FRAME_BINARY, 65536, NULL), 10);
	assert_memory_equal(out, ((uint8_t[]){0x82, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0}), 10);
}

/* The length that needs the next longer form is the first one that gets it. */
static void lengths_switch_at_126(void **state)
{
	uint8_t out[FRAME_HEADER_MAX];

	(void)state;
	assert_int_equal(frame_encode_header(out, FRAME_BINARY, 125, NULL), 2);
	assert_int_equal(frame_encode_header(out, FRAME_BINARY, 126, NULL), 4);
	assert_int_equal(frame_encode_header(out, FRAME_BINARY, 65535, NULL), 4);
}

/* A mask is announced and follows the length. */
static void mask_follows_length(void **state)
{
	uint8_t out[FRAME_HEADER_MAX];

	(void)state;
	assert_int_equal(frame_encode_header(out, FRAME_BINARY, 1452, (const uint8_t[]){1, 2, 3, 4}), 8);
	assert_memory_equal(out, ((uint8_t[]){0x82, 0xfe, 0x05, 0xac, 1, 2, 3, 4}), 8);
}

/* A close 1000 is 88 02 03 e8, masked the code is masked too. */
static void close_is_written_whole(void **state)
{
	const uint8_t code[2] = {0x03, 0xe8};
	uint8_t out[FRAME_HEADER_MAX + 2];

	(void)state;
	assert_int_equal(frame_encode_control(out, FRAME_CLOSE, code, 2, NULL), 4);
	assert_memory_equal(out, ((uint8_t[]){0x88, 0x02, 0x03, 0xe8}), 4);
	assert_int_equal(frame_encode_control(out, FRAME_CLOSE, code, 2, (const uint8_t[]){1, 2, 3, 4}), 8);
	assert_memory_equal(out, ((uint8_t[]){0x88, 0x82, 1, 2, 3, 4, 0x03 ^ 1, 0xe8 ^ 2}), 8);
}

/* A sender that does not mask has no key, one with a zero key has four zeros. */
static void masker_without_random_keys(void **state)
{
	struct frame_masker none = {.is_random = true}, zero = {.is_masked = true, .state = 1};
	uint8_t key[4] = {1, 2, 3, 4};

	(void)state;
	assert_null(frame_masker_next(&none, key));
	assert_ptr_equal(frame_masker_next(&zero, key), key);
	assert_memory_equal(key, "\0\0\0\0", 4);
}

/* Random keys differ from frame to frame. */
static void random_keys_vary(void **state)
{
	struct frame_masker masker = {.is_masked = true, .is_random = true};
	uint8_t first[4], second[4];

	(void)state;
	frame_masker_next(&masker, first);
	frame_masker_next(&masker, second);
	assert_memory_not_equal(first, second, 4);
	assert_memory_not_equal(second, "\0\0\0\0", 4);
}

/* Masking is the byte-wise XOR of RFC 6455 §5.3 at every length and alignment, and its own inverse. */
static void mask_is_bytewise_xor(void **state)
{
	const uint8_t key[4] = {0x37, 0xfa, 0x21, 0x3d};
	uint8_t data[160];

	(void)state;
	for (size_t start = 0; start < 9; start++) {
		for (size_t len = 0; len <= 150 - start; len++) {
			memset(data, 0x5a, sizeof(data));
			frame_mask(data + start, len, key);
			for (size_t i = 0; i < sizeof(data); i++) {
				uint8_t touched = i >= start && i < start + len ? key[(i - start) % 4] : 0;

				assert_int_equal(data[i], 0x5a ^ touched);
			}
		}
	}
}

/* A zero key leaves the bytes as they are: what our client sends by default. */
static void zero_key_changes_nothing(void **state)
{
	assert_int_equal(TAKE(*state, 0x82, 0x83, 0, 0, 0, 0, 'a', 'b', 'c'), FRAME_OK);
	assert_event(*state, FRAME_BINARY, "abc");
}

/* A key with zeros in it is still a key. */
static void half_zero_key_counts(void **state)
{
	assert_int_equal(TAKE(*state, 0x82, 0x83, 0, 0, 1, 0, 'a', 'b', 'c' ^ 1), FRAME_OK);
	assert_event(*state, FRAME_BINARY, "abc");
}

/* A whole frame's payload points into the buffer given: nothing is copied. */
static void whole_frame_is_not_copied(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[] = {0x82, 0x02, 'h', 'i', 0x89, 0x00};

	assert_int_equal(frame_reader_next(&f->reader, buf, sizeof(buf), &f->used, &f->event), FRAME_OK);
	assert_ptr_equal(f->event.payload, buf + 2);
	assert_null(f->reader.message);
	assert_int_equal(f->used, 4);
}

/* The first of two frames in one buffer is taken, and the bytes of the second are left alone. */
static void second_frame_is_untouched(void **state)
{
	struct fixture *f = *state;
	uint8_t buf[] = {0x82, 0x81, 9, 9, 9, 9, 'x', 0x82, 0x81, 9, 9, 9, 9, 'y'};
	const uint8_t rest[] = {0x82, 0x81, 9, 9, 9, 9, 'y'};

	assert_int_equal(frame_reader_next(&f->reader, buf, sizeof(buf), &f->used, &f->event), FRAME_OK);
	assert_int_equal(f->used, 7);
	assert_memory_equal(buf + 7, rest, sizeof(rest));
}

/* A frame that comes byte by byte is asked for until it is there, and unmasked only then. */
static void bytes_one_by_one(void **state)
{
	const uint8_t frame[] = {0x82, 0xfe, 0x00, 0x03, 1, 2, 3, 4, 'a' ^ 1, 'b' ^ 2, 'c' ^ 3};
	const size_t need[] = {2, 2, 8, 8, 8, 8, 8, 8, 11, 11, 11};
	struct fixture *f = *state;

	for (size_t len = 0; len < sizeof(frame); len++) {
		assert_int_equal(take(f, frame, len), FRAME_MORE);
		assert_int_equal(f->used, need[len]);
	}
	assert_int_equal(take(f, frame, sizeof(frame)), FRAME_OK);
	assert_event(f, FRAME_BINARY, "abc");
}

/* The number of bytes needed never exceeds the largest header and payload. */
static void need_is_bounded(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(TAKE(f, 0x82, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xe3, 1, 2, 3, 4), FRAME_MORE);
	assert_int_equal(f->used, FRAME_HEADER_MAX + FRAME_PAYLOAD_MAX);
}

/* A length in a longer form than it needs is taken. */
static void non_minimal_length_is_taken(void **state)
{
	assert_int_equal(TAKE(*state, 0x82, 0x7e, 0, 1, 'a'), FRAME_OK);
	assert_event(*state, FRAME_BINARY, "a");
	assert_int_equal(TAKE(*state, 0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0, 1, 'b'), FRAME_OK);
	assert_event(*state, FRAME_BINARY, "b");
}

/* An empty message is handed up with no bytes; the caller decides not to forward it. */
static void empty_message_has_no_bytes(void **state)
{
	assert_int_equal(TAKE(*state, 0x82, 0x00), FRAME_OK);
	assert_event(*state, FRAME_BINARY, "");
}

/* The largest datagram passes: 65,507 bytes. */
static void largest_payload_passes(void **state)
{
	struct fixture *f = *state;
	uint8_t *frame = calloc(1, WHOLE_MAX);
	size_t header_len = frame_encode_header(frame, FRAME_BINARY, FRAME_PAYLOAD_MAX, NULL);

	assert_int_equal(take(f, frame, header_len + FRAME_PAYLOAD_MAX), FRAME_OK);
	assert_int_equal(f->event.len, FRAME_PAYLOAD_MAX);
	free(frame);
}

/* One byte more is too big as soon as the length shows it, before key and payload. */
static void larger_payload_is_too_big_at_once(void **state)
{
	assert_int_equal(TAKE(*state, 0x82, 0xfe, 0xff, 0xe4), FRAME_TOO_BIG);
	assert_int_equal(TAKE(*state, 0x82, 0x7f, 0, 0, 0, 0, 0, 0, 0xff, 0xe4), FRAME_TOO_BIG);
	assert_int_equal(TAKE(*state, 0x82, 0x7f, 0, 0, 0, 1, 0, 0, 0, 0), FRAME_TOO_BIG);
	assert_int_equal(TAKE(*state, 0x82, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), FRAME_TOO_BIG);
}

/* Each RSV bit is a protocol error: no extension was negotiated. */
static void rsv_bits_are_refused(void **state)
{
	assert_int_equal(TAKE(*state, 0xc2, 0x00), FRAME_PROTOCOL_ERROR);
	assert_int_equal(TAKE(*state, 0xa2, 0x00), FRAME_PROTOCOL_ERROR);
	assert_int_equal(TAKE(*state, 0x92, 0x00), FRAME_PROTOCOL_ERROR);
}

/* Every opcode that RFC 6455 reserves is a protocol error. */
static void reserved_opcodes_are_refused(void **state)
{
	for (unsigned opcode = 0; opcode < 16; opcode++) {
		bool known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
		bool good = known && opcode != 0; /* a continuation of nothing */

		assert_int_equal(TAKE(*state, (uint8_t)(0x80 | opcode), 0x00), good ? FRAME_OK : FRAME_PROTOCOL_ERROR);
	}
}

/* A control frame holds at most 125 bytes; more shows in the second byte. */
static void long_control_frame_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(TAKE(f, 0x89, 0x7d), FRAME_MORE);
	assert_int_equal(f->used, 127);
	assert_int_equal(TAKE(f, 0x89, 0x7e), FRAME_PROTOCOL_ERROR);
	assert_int_equal(TAKE(f, 0x88, 0xff), FRAME_PROTOCOL_ERROR);
}

/* A control frame is never fragmented. */
static void fragmented_control_frame_is_refused(void **state)
{
	assert_int_equal(TAKE(*state, 0x09, 0x00), FRAME_PROTOCOL_ERROR);
	assert_int_equal(TAKE(*state, 0x08, 0x00), FRAME_PROTOCOL_ERROR);
}

/* Control frames between fragments go up at once and do not disturb the message. */
static void control_between_fragments(void **state)
{
	assert_int_equal(TAKE(*state, 0x02, 0x01, 'a'), FRAME_OK);
	assert_int_equal(TAKE(*state, 0x89, 0x01, 'p'), FRAME_OK);
	assert_event(*state, FRAME_PING, "p");
	assert_int_equal(TAKE(*state, 0x00, 0x81, 1, 1, 1, 1, 'b' ^ 1), FRAME_OK);
	assert_int_equal(TAKE(*state, 0x80, 0x00), FRAME_OK);
	assert_event(*state, FRAME_BINARY, "ab");
}

/* A new message while one is open, and a continuation of none, are protocol errors. */
static void fragments_out_of_order_are_refused(void **state)
{
	assert_int_equal(TAKE(*state, 0x80, 0x00), FRAME_PROTOCOL_ERROR);
	assert_int_equal(TAKE(*state, 0x00, 0x00), FRAME_PROTOCOL_ERROR);
	assert_int_equal(TAKE(*state, 0x02, 0x00), FRAME_OK);
	assert_int_equal(TAKE(*state, 0x82, 0x00), FRAME_PROTOCOL_ERROR);
}

/* After a fragmented message the reader is as new: nothing of it is left in the next one. */
static void message_after_fragments_is_clean(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 2; round++) {
		assert_int_equal(TAKE(f, 0x02, 0x01, 'a'), FRAME_OK);
		assert_int_equal(TAKE(f, 0x80, 0x01, 'b'), FRAME_OK);
		assert_event(f, FRAME_BINARY, "ab");
	}
	assert_int_equal(TAKE(f, 0x82, 0x01, 'c'), FRAME_OK);
	assert_event(f, FRAME_BINARY, "c");
	assert_null(f->reader.message);
}

/* The whole message counts, not each fragment: over 65,507 bytes is too big at the header that shows it. */
static void fragments_too_big_together(void **state)
{
	struct fixture *f = *state;
	uint8_t *frame = calloc(1, WHOLE_MAX);
	size_t header_len = frame_encode_header(frame, FRAME_BINARY, FRAME_PAYLOAD_MAX, NULL);

	frame[0] = 0x02;
	assert_int_equal(take(f, frame, header_len + FRAME_PAYLOAD_MAX), FRAME_OK);
	assert_int_equal(TAKE(f, 0x00, 0x00), FRAME_OK);
	assert_int_equal(TAKE(f, 0x00, 0x01), FRAME_TOO_BIG);
	free(frame);
}

/* A message has at most 1,024 fragments. */
static void too_many_fragments(void **state)
{
	assert_int_equal(TAKE(*state, 0x02, 0x00), FRAME_OK);
	for (unsigned i = 1; i < FRAME_FRAGMENTS_MAX; i++)
		assert_int_equal(TAKE(*state, 0x00, 0x00), FRAME_OK);
	assert_int_equal(TAKE(*state, 0x80, 0x00), FRAME_TOO_BIG);
}

/* A header reads as it was written, for every opcode, with and without a key. */
static void header_round_trip(void **state)
{
	const size_t lens[] = {0, 1, 125, 126, 65507};
	const uint8_t key[4] = {9, 8, 7, 6};
	uint8_t out[FRAME_HEADER_MAX];
	struct frame_header header;
	size_t need;

	(void)state;
	for (size_t i = 0; i < sizeof(lens) / sizeof(lens[0]); i++) {
		for (unsigned masked = 0; masked < 2; masked++) {
			size_t len = frame_encode_header(out, FRAME_BINARY, lens[i], masked ? key : NULL);

			assert_int_equal(frame_decode_header(out, len, &header, &need), FRAME_OK);
			assert_int_equal(header.header_len, len);
			assert_int_equal(header.payload_len, lens[i]);
			assert_int_equal(header.masked, masked);
			assert_true(header.fin);
			assert_memory_equal(header.mask, masked ? key : (const uint8_t[4]){0}, 4);
		}
	}
}

#define CLAIM(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CLAIM(rfc_unmasked_hello),
		CLAIM(rfc_masked_hello),
		CLAIM(rfc_fragmented_hello),
		CLAIM(rfc_ping_and_pong),
		CLAIM(rfc_long_lengths_are_written),
		CLAIM(lengths_switch_at_126),
		CLAIM(mask_follows_length),
		CLAIM(close_is_written_whole),
		CLAIM(masker_without_random_keys),
		CLAIM(random_keys_vary),
		CLAIM(mask_is_bytewise_xor),
		CLAIM(zero_key_changes_nothing),
		CLAIM(half_zero_key_counts),
		CLAIM(whole_frame_is_not_copied),
		CLAIM(second_frame_is_untouched),
		CLAIM(bytes_one_by_one),
		CLAIM(need_is_bounded),
		CLAIM(non_minimal_length_is_taken),
		CLAIM(empty_message_has_no_bytes),
		CLAIM(largest_payload_passes),
		CLAIM(larger_payload_is_too_big_at_once),
		CLAIM(rsv_bits_are_refused),
		CLAIM(reserved_opcodes_are_refused),
		CLAIM(long_control_frame_is_refused),
		CLAIM(fragmented_control_frame_is_refused),
		CLAIM(control_between_fragments),
		CLAIM(fragments_out_of_order_are_refused),
		CLAIM(message_after_fragments_is_clean),
		CLAIM(fragments_too_big_together),
		CLAIM(too_many_fragments),
		CLAIM(header_round_trip),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
