/* A tunnel's status as text, in the manner of `wg show`. Pure: no clock, no socket. Called by status.c only. */
#pragma once

#include <jansson.h>
#include <stdint.h>
#include <stdio.h>

/* Write one tunnel's JSON object as the control socket answers it. @now_s: wall clock, for "2 minutes ago". */
void status_text_write(FILE *out, const json_t *object, int64_t now_s);
