/* A struct described by a table, so that it can be handed from one process of ours to another.
 *
 * The table names each field once: its key, where it lies, of which kind it is, and its bounds. Writing, reading and
 * freeing follow from that. On the way the struct is a JSON object in a sealed memory file (sealed.h). The reader
 * trusts nothing: a field that is missing, of another type, out of bounds or unknown is refused with its name.
 */
#pragma once

#include "common/base/err.h"

#include <stddef.h>
#include <stdint.h>

enum record_kind {
	RECORD_TEXT,	     /* char *, its own memory; @min to @max bytes of UTF-8 */
	RECORD_TEXT_OR_NULL, /* the same; NULL goes as JSON's null */
	RECORD_CHARS,	     /* char[], at least one byte and the terminator */
	RECORD_NUMBER,	     /* an unsigned integer of any size, or an enum; @min to @max */
	RECORD_BOOL,
	RECORD_ADDR,	  /* struct addr with its port */
	RECORD_ADDR_ONLY, /* struct addr whose port is 0 */
	RECORD_BYTES,	  /* uint8_t[], goes as base64 */
	RECORD_ARRAY, /* a pointer to @min to @max elements; NULL where there are none, else zeroed memory follows the last */
};

struct record_field {
	const char *key; /* NULL in the table of an array's elements: each element is this value, not an object */
	enum record_kind kind;
	size_t offset, size; /* in bytes, of the field in its struct */
	uint64_t min, max;
	const char *(*find_fault)(const char *text); /* for texts: what else is wrong with it; NULL: nothing */
	const struct record *element;		     /* of RECORD_ARRAY */
	size_t count_offset;			     /* likewise: where the size_t lies that counts the elements */
};

struct record {
	const char *noun; /* "settings", "server": begins a complaint */
	const struct record_field *fields;
	size_t field_count;
	size_t size; /* of the struct, in bytes */
};

#define RECORD_FIELD(owner, name, kind, min, max)                                                                      \
#name, kind, offsetof(owner, name), sizeof(((owner *)0)->name), min, max
#define RECORD_LIST(owner, name, count, element, min, max)                                                             \
#name, RECORD_ARRAY, offsetof(owner, name), sizeof(void *), min, max, NULL, element, offsetof(owner, count)

/* Write @owner into a new sealed memfd. Return: descriptor or a negative errno. */
int record_write(const struct record *record, const void *owner, struct err *err);

/* Read what record_write() wrote; closes @fd. Return: 0 (record_done() *ret) or a negative errno with *ret zeroed. */
int record_read(const struct record *record, int fd, void *ret, struct err *err);

/* Free every text and array of @owner, and wipe all of it: some fields are secrets. */
void record_done(const struct record *record, void *owner);
