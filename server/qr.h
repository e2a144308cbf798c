/* A text as a QR picture, by libqrencode: for a terminal, or as a PNG file. */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stdio.h>

struct qr;

/* Return: 0 (qr_free() it), or a negative errno: -ERANGE where the text is too long for a picture. */
int qr_make(struct qr **ret, const char *text, struct err *err);
void qr_free(struct qr *qr); /* wipes it */

/* Two rows of the picture a line, by half blocks. @has_colour: white and black are set, so that a terminal with a light
 * background shows the same; else the light squares are in the terminal's own foreground. */
void qr_print(const struct qr *qr, FILE *out, bool has_colour);

/* Write a file (0600), whole or not at all. Return: 0 or a negative errno. */
int qr_write_png(const struct qr *qr, const char *path, struct err *err);
