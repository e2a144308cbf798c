/* A JSON object on its way from one process of ours to another, in a sealed memory file. Used by record.h.
 *
 * sealed_write() puts an object into a memfd and seals it, so that neither side can change it any more. sealed_read()
 * accepts only a file with these seals. jansson's memory is wiped when it is freed, because some values are secrets.
 */
#pragma once

#include "common/base/err.h"

#include <jansson.h>

#define SEALED_FILE_MAX (64u << 20) /* 100,000 clients of a hub are 20 MB */

/* A new object whose memory is wiped when freed, NULL without memory. */
json_t *sealed_new_object(void);

/* Write @object (its reference is taken, NULL is -ENOMEM) into a new sealed memfd.
 * Return: descriptor or a negative errno. */
int sealed_write(const char *name, json_t *object, struct err *err);

/* Read what sealed_write() wrote; a file without seals, too large, or no strict JSON object is refused. Closes @fd. */
int sealed_read(int fd, json_t **ret_object, struct err *err);
