/* The addresses by which the servers were last reached. They are kept on disk for the next start, when perhaps no name
 * server answers. STATE_DIR/NAME/addresses, mode 0600: one "NAME ADDRESS,ADDRESS" a line, the newest first. Used by the
 * supervisor; never waits for the network. */
#pragma once

#include <stdint.h>

#define ADDRESS_CACHE_WRITE_PAUSE_MS 1000u /* between two writes: the worker is not trusted to send rarely */

struct address_cache;

/* Read the file. Lines that cannot be read are passed over; a missing file means an empty cache. NULL: no memory. */
struct address_cache *address_cache_open(const char *state_dir, const char *name);

/* Write pending entries, then free the cache. NULL is allowed. */
void address_cache_close(struct address_cache *cache);

/* Return: the addresses of @host (address_list.h), borrowed until the next address_cache_keep(), or NULL. */
const char *address_cache_find(const struct address_cache *cache, const char *host);

/* Keep @addresses for @host; a text that is no list of addresses is ignored. A change is written at once, or after the
 * pause since the last write. Return: milliseconds until address_cache_write() is due; 0: nothing is left to write. */
unsigned address_cache_keep(struct address_cache *cache, const char *host, const char *addresses, uint64_t now_us);

/* Write pending entries. A failure is one debug line, the first time. */
void address_cache_write(struct address_cache *cache, uint64_t now_us);
