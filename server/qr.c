/* See qr.h. Happy path: libqrencode chooses the size, the lowest error correction keeps it small; around it stand four
 * light squares, as ISO/IEC 18004 wants.
 *
 * A PNG file is a signature and chunks: length, type, data, CRC. Ours has one bit a pixel, 0 is black:
 *
 *     IHDR: width, height, bit depth 1, greyscale | IDAT: each row as a filter byte 0 and its bits, by zlib | IEND
 */
#include "server/qr.h"

#include "common/base/file.h"
#include "common/base/secret.h"

#include <errno.h>
#include <qrencode.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define QUIET 4	 /* squares */
#define SCALE 8u /* pixels a square */

struct qr {
	QRcode *code;
};

int qr_make(struct qr **ret, const char *text, struct err *err)
{
	struct qr *qr = calloc(1, sizeof(*qr));

	if (qr)
		qr->code = QRcode_encodeString8bit(text, 0, QR_ECLEVEL_L);
	if (qr && qr->code) {
		*ret = qr;
		return 0;
	}
	free(qr);
	return errno == ERANGE ? err_set(err, -ERANGE, "too long for a picture; expected the line without --qr")
			       : err_system(err, -ENOMEM, "picture");
}

void qr_free(struct qr *qr)
{
	if (!qr)
		return;
	secret_wipe(qr->code->data, (size_t)qr->code->width * (size_t)qr->code->width);
	QRcode_free(qr->code);
	free(qr);
}

/* Around the picture everything is light. */
static bool is_dark(const struct qr *qr, int x, int y)
{
	int width = qr->code->width;

	x -= QUIET;
	y -= QUIET;
	return x >= 0 && y >= 0 && x < width && y < width && qr->code->data[y * width + x] & 1;
}

void qr_print(const struct qr *qr, FILE *out, bool has_colour)
{
	static const char *const blocks[2][2] = {{"\u2588", "\u2580"}, {"\u2584", " "}}; /* upper dark, lower dark */
	int size = qr->code->width + 2 * QUIET;

	for (int y = 0; y < size; y += 2) {
		fputs(has_colour ? "\033[38;5;231;48;5;16m" : "", out);
		for (int x = 0; x < size; x++)
			fputs(blocks[is_dark(qr, x, y)][y + 1 < size && is_dark(qr, x, y + 1)], out);
		fputs(has_colour ? "\033[0m\n" : "\n", out);
	}
}

/* --- PNG --- */

static uint8_t *put_be32(uint8_t *at, uint32_t value)
{
	for (int shift = 24; shift >= 0; shift -= 8)
		*at++ = (uint8_t)(value >> shift);
	return at;
}

static uint8_t *put_chunk(uint8_t *at, const char *type, const void *data, size_t len)
{
	uint8_t *body = put_be32(at, (uint32_t)len);

	memcpy(body, type, 4);
	if (len > 0)
		memcpy(body + 4, data, len);
	return put_be32(body + 4 + len, (uint32_t)crc32(0, body, (uInt)len + 4));
}

/* Return: the rows with their filter bytes, which the caller frees; NULL: out of memory. */
static uint8_t *draw_rows(const struct qr *qr, uint32_t size, size_t row_len)
{
	uint8_t *rows = calloc(size, row_len);

	for (uint32_t y = 0; rows && y < size; y++)
		for (uint32_t x = 0; x < size; x++)
			if (!is_dark(qr, (int)(x / SCALE), (int)(y / SCALE)))
				rows[y * row_len + 1 + x / 8] |= (uint8_t)(0x80 >> x % 8);
	return rows;
}

/* Return: the bytes of the file, which the caller frees; NULL: out of memory. */
static uint8_t *format_png(const struct qr *qr, size_t *ret_len)
{
	uint32_t size = (uint32_t)(qr->code->width + 2 * QUIET) * SCALE;
	size_t row_len = 1 + (size + 7) / 8;
	uLongf packed_len = compressBound(size * row_len);
	uint8_t *rows = draw_rows(qr, size, row_len), *packed = malloc(packed_len), *png = malloc(packed_len + 128);
	uint8_t header[13] = {[8] = 1}, *at = png;

	if (rows && packed && png && compress2(packed, &packed_len, rows, size * row_len, 9) == Z_OK) {
		put_be32(put_be32(header, size), size);
		memcpy(at, "\x89PNG\r\n\x1a\n", 8);
		at = put_chunk(at + 8, "IHDR", header, sizeof(header));
		at = put_chunk(at, "IDAT", packed, packed_len);
		at = put_chunk(at, "IEND", NULL, 0);
		*ret_len = (size_t)(at - png);
	} else {
		free(png);
		png = NULL;
	}
	free(packed);
	free(rows);
	return png;
}

int qr_write_png(const struct qr *qr, const char *path, struct err *err)
{
	size_t len = 0;
	uint8_t *png = format_png(qr, &len);
	int rc = png ? file_write(path, png, len, err) : err_system(err, -ENOMEM, "%s", path);

	free(png);
	return rc;
}
