/* What the servers' names stood for when they last worked, on disk: STATE_DIR/NAME/addresses, one "NAME ADDRESS,ADDRESS" a
 * line, the newest first, 0600. For a start where no name server can be asked. The supervisor's; never waits for the network.
 */
#ifndef TOWPATH_CLIENT_ADDRESS_CACHE_H
#define TOWPATH_CLIENT_ADDRESS_CACHE_H

#include <stdint.h>

#define ADDRESS_CACHE_WRITE_PAUSE_MS 1000u /* between two writes: the worker says what it likes, as often as it likes */

struct address_cache;

/* Read what is there; lines that are none are passed over, a missing file is none at all. Return: NULL without memory. */
struct address_cache *address_cache_open(const char *state_dir, const char *name);
/* What is not written yet is. NULL is fine. */
void address_cache_close(struct address_cache *names);

/* Return: the addresses of @host (address_list.h), borrowed until the next address_cache_keep(), or NULL. */
const char *address_cache_find(const struct address_cache *names, const char *host);

/* Keep @addresses for @host. News are written at once, or later where the last ones were written just now. Return: milliseconds
 * until address_cache_write() is due, 0: nothing is left to write. */
unsigned address_cache_keep(struct address_cache *names, const char *host, const char *addresses, uint64_t now_us);

/* Write what is not written yet. What cannot be written is told once, as a debug line. */
void address_cache_write(struct address_cache *names, uint64_t now_us);

#endif
