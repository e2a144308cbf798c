/* Names to addresses, by c-ares on the loop: never blocks it. Reads /etc/hosts and /etc/resolv.conf anew for each question, so a
 * change of network needs no restart.
 *
 * Under a full tunnel the system's resolver lies inside the tunnel, which waits for our answer. Then (the client's
 * `nameservers` says so) the physical links' own name servers are asked, through sockets that carry the link's mark: the
 * supervisor makes them, before the question starts.
 */
#ifndef TOWPATH_CLIENT_RESOLVER_H
#define TOWPATH_CLIENT_RESOLVER_H

#include "common/base/addr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RESOLVER_ADDRESSES_MAX 16u
#define RESOLVER_STALE_MS 1000u
#define RESOLVER_TIMEOUT_MS 10000u /* for all servers, tries and search domains together */

struct client;
struct resolver; /* one question */

/* @addresses: @count of them with @port set, IPv6 and IPv4 in turn (RFC 8305 §4); borrowed. @count 0: @reason says why. */
typedef void (*resolver_on_answer)(void *owner, const struct addr *addresses, size_t count, const char *reason);

/* Ask for @host, a name or an address. @on_answer comes from the loop, once, unless the question is cancelled.
 * Return: 0 or a negative errno. */
int resolver_open(struct resolver **ret, struct client *client, const char *host, uint16_t port,
	resolver_on_answer on_answer, void *owner, struct err *err);

/* The network has changed: a question that has waited for RESOLVER_STALE_MS was probably lost. Is it such a one? */
bool resolver_is_stale(const struct resolver *resolver);

/* Forget the question; NULL is fine. Also to be called after the answer. The memory goes when the loop has run on. */
void resolver_close(struct resolver *resolver);

#endif
