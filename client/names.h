/* What the servers' names stood for when they last worked, on disk: STATE_DIR/NAME/addresses, one "NAME ADDRESS,ADDRESS" a
 * line, the newest first, 0600. For a start where no name server can be asked. The supervisor's; never waits for the network.
 */
#ifndef TOWPATH_CLIENT_NAMES_H
#define TOWPATH_CLIENT_NAMES_H

#include <stdint.h>

#define NAMES_WRITE_PAUSE_MS 1000u /* between two writes: the worker says what it likes, as often as it likes */

struct names;

/* Read what is there; lines that are none are passed over, a missing file is none at all. Return: NULL without memory. */
struct names *names_open(const char *state_dir, const char *name);
/* What is not written yet is. NULL is fine. */
void names_close(struct names *names);

/* Return: the addresses of @host (address_list.h), borrowed until the next names_keep(), or NULL. */
const char *names_find(const struct names *names, const char *host);

/* Keep @addresses for @host. News are written at once, or later where the last ones were written just now. Return: milliseconds
 * until names_write() is due, 0: nothing is left to write. */
unsigned names_keep(struct names *names, const char *host, const char *addresses, uint64_t now_us);

/* Write what is not written yet. What cannot be written is told once, as a debug line. */
void names_write(struct names *names, uint64_t now_us);

#endif
