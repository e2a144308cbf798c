/* Settings on their way from one process of ours to another: a JSON object in a sealed memory file.
 *
 * The writer builds an object, sealed_write() puts it into a memfd that nobody can change any more. The reader opens
 * it with sealed_read() and takes field after field out of it with the fields_… functions, each with its bounds, as if
 * a stranger had written it. The first thing that is wrong is remembered, later takes return nothing, and
 * fields_close() tells it. jansson's memory is wiped when freed: some fields are secrets.
 */
#ifndef TOWPATH_BASE_SEALED_H
#define TOWPATH_BASE_SEALED_H

#include "common/base/addr.h"
#include "common/base/err.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEALED_FILE_MAX (64u << 20) /* 100,000 clients of a hub are 20 MB */

/* A new object whose memory is wiped when freed, NULL without memory. */
json_t *sealed_new_object(void);
/* A string, or JSON's null for NULL. Text that is not UTF-8 gives NULL, which json_object_set_new() refuses. */
json_t *sealed_text(const char *text);

/* Write @object (its reference is taken, NULL is -ENOMEM) into a new sealed memfd.
 * Return: descriptor or a negative errno. */
int sealed_write(const char *name, json_t *object, struct err *err);

/* Read what sealed_write() wrote; a file without seals, too large, or no strict JSON object is refused. Closes @fd. */
int sealed_read(int fd, json_t **ret_object, struct err *err);

struct fields {
	const json_t *object; /* borrowed */
	const char *noun;     /* "settings", "client 3": begins the complaint */
	size_t taken;	      /* fields asked for; what remains is unknown */
	int code;	      /* 0, or the first negative errno */
	struct err *err;
};

void fields_open(struct fields *fields, const json_t *object, const char *noun, struct err *err);

enum fields_presence { FIELDS_REQUIRED, FIELDS_MAY_BE_NULL };

/* A copy of @min to @max bytes; NULL where the field is null or anything is wrong. */
char *fields_take_text(struct fields *fields, const char *key, size_t min, size_t max, enum fields_presence presence);
/* The same into an array, terminated; "" where anything is wrong. */
void fields_take_text_into(struct fields *fields, const char *key, char *buf, size_t size);
uint64_t fields_take_number(struct fields *fields, const char *key, uint64_t min, uint64_t max);
bool fields_take_bool(struct fields *fields, const char *key);
/* An address with its port. */
void fields_take_addr(struct fields *fields, const char *key, struct addr *ret);
/* The array itself, borrowed, of at most @max elements; NULL where anything is wrong. */
const json_t *fields_take_array(struct fields *fields, const char *key, size_t min, size_t max);

/* Remember a complaint of the caller's own. */
void fields_fail(struct fields *fields, const char *key, const char *what);

/* Return: 0, or the first thing that was wrong; a field that was not asked for is wrong too. */
int fields_close(struct fields *fields);

#endif
