/* What the servers' names stood for when they last worked, on disk: STATE_DIR/NAME/addresses, one "NAME ADDRESS,ADDRESS" a
 * line, the newest first, 0600. For a start where no name server can be asked. The supervisor's; never waits for the network.
 */
#ifndef TOWPATH_CLIENT_NAMES_H
#define TOWPATH_CLIENT_NAMES_H

struct names;

/* Read what is there; lines that are none are passed over, a missing file is none at all. Return: NULL without memory. */
struct names *names_open(const char *state_dir, const char *name);
void names_close(struct names *names); /* NULL is fine */

/* Return: the addresses of @host (address_list.h), borrowed until the next names_keep(), or NULL. */
const char *names_find(const struct names *names, const char *host);

/* Keep @addresses for @host, and write where that is news. What cannot be written is told once, as a debug line. */
void names_keep(struct names *names, const char *host, const char *addresses);

#endif
