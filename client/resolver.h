/* Names to addresses, by c-ares on the loop, which is never blocked. /etc/hosts and /etc/resolv.conf are read anew for
 * each question, so a change of network needs no restart.
 *
 * Under a full tunnel the system's resolver would send its questions into the tunnel, which waits for the answer. Then
 * the physical links' own name servers are asked (@nameservers), through sockets that carry the link's mark. The
 * supervisor makes them before the question starts.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define RESOLVER_ADDRESSES_MAX 16u
#define RESOLVER_STALE_MS 1000u	   /* no answer for so long: where the network has changed, the question was lost */
#define RESOLVER_TIMEOUT_MS 10000u /* for all servers, tries and search domains together */

struct resolver; /* one question */
struct socket_source;

/* @addresses: @count of them with @port, IPv6 and IPv4 in turn (RFC 8305 §4); borrowed. @count 0: @reason says why. */
typedef void (*resolver_on_answer)(void *owner, const struct addr *addresses, size_t count, const char *reason);

struct resolver_setup {
	uv_loop_t *loop;
	struct socket_source *sockets; /* of marked sockets; used with @nameservers only */
	const char *nameservers;       /* address_list.h, copied; "": the system's resolver */
	const char *host;	       /* a name or an address; copied */
	uint16_t port;
	resolver_on_answer on_answer; /* called once, from the loop, unless the question is closed before */
	void *owner;
};

/* Return: 0 or a negative errno; then no answer comes. */
int resolver_open(struct resolver **ret, const struct resolver_setup *setup, struct err *err);

/* True if the question has waited for RESOLVER_STALE_MS. */
bool resolver_is_stale(const struct resolver *resolver);

/* Give the question up; also needed after the answer. NULL is allowed. The memory is freed when the loop has run on. */
void resolver_close(struct resolver *resolver);
