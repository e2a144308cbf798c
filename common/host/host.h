/* What we change on the host for a tunnel with a device of ours: the WireGuard device, addresses, routes, rules, sysctls, the
 * nftables table, the resolver, hooks; all that wg-quick(8) does, and [Gateway].
 *
 *     CLEANING → up: STARTING → UP → DOWN;  any failure while STARTING: everything is undone → FAILED
 *
 * Each change is written to the undo list before it is made. Programs and hooks run beside the loop. While UP, what others
 * took away is put back within a second of the kernel's telling (host_on_network()); peers are never created by that.
 * One owner, the supervisor; handlers are called from the loop, never from inside a call of ours.
 */
#ifndef TOWPATH_HOST_HOST_H
#define TOWPATH_HOST_HOST_H

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/host/host_setup.h"
#include "common/wireguard/wg_config.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct host_handlers {
	void (*on_up)(void *owner);
	/* Everything is undone. @text: one line, with what helps. */
	void (*on_failed)(void *owner, const char *text);
	/* A peer that is reached through the tunnel has shaken hands, for the first time since host_link_is_up(). */
	void (*on_handshake)(void *owner);
	void (*on_down)(void *owner);
};

struct host;

/* Make ready; changes nothing but what a crash left behind, which is undone in host_up(). The undo list is locked from here on.
 * Return: 0, -EBUSY, or another negative errno. */
int host_open(struct host **ret, uv_loop_t *loop, const struct host_setup *setup, const struct host_handlers *handlers,
	void *owner, struct err *err);

/* Clean up what a crash left, check what only the host can tell (check.h), bring everything up. on_up or on_failed follows. */
void host_up(struct host *host);

/* The link came up: make WireGuard shake hands now where its last handshake is not fresh. on_handshake follows. */
void host_link_is_up(struct host *host);

/* Something changed in the kernel (enum netmon_kind). */
void host_on_network(struct host *host, unsigned kinds);

/* Take another wireguard configuration: peers, allowed IPs, keepalives, preshared keys and routes change without a packet
 * lost for the others. What cannot change that way is named in @ret_restart ("Address, MTU"; "" for none) and left.
 * Return: 0 (borrows @wireguard from now on), or a negative errno with nothing changed. */
int host_reload(
	struct host *host, const struct wg_config *wireguard, char *ret_restart, size_t restart_size, struct err *err);

/**
 * host_on_peer_clock() - The hub: a client says its time
 * @from: where its datagrams come from; family 0: nobody knows
 * @rtt_ms: round trip of its connection
 * @wall_s: seconds since 1970
 *
 * Where that is before its peer's last handshake, the peer is removed and added once, unless it is gone already, and greeted.
 * The first at once; others wait for a look at the device that is theirs together, so that no number of calls is too many.
 */
void host_on_peer_clock(struct host *host, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from,
	uint32_t rtt_ms, int64_t wall_s);

/**
 * host_greet_peer() - The hub: a client has come in
 * @from: where its datagrams come from
 * @rtt_ms: round trip of its connection; what it sends by itself takes that long from now on
 *
 * It may still have a session with a device that was there before this one; its WireGuard would take 15 s of silence to try
 * anew. So where it has not shaken hands with this device a little later, the hub begins: it takes @from as the peer's endpoint.
 */
void host_greet_peer(
	struct host *host, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from, uint32_t rtt_ms);

uint32_t host_mark(const struct host *host); /* of the device; 0: none. Known from host_open() on */

/* "wireguard": interface, key, port, peers; also table, rules and mark where there are any. NULL while it is not up. */
json_t *host_report(struct host *host);

/* PreDown hooks, then everything undone, then PostDown. At any time after host_open(); a bring-up under way is stopped.
 * on_down follows, once. A second call kills the hook that runs. */
void host_down(struct host *host);

/* After on_down or on_failed, or where host_up() was never called. Memory goes when the loop has let go. */
void host_close(struct host *host);

/* Undo what a crashed tunnel left, without hooks; for `down` and ExecStopPost=. Runs a loop of its own.
 * Return: how many changes were undone, 0 where nothing was left, -EBUSY while the tunnel runs, or another negative errno. */
int host_clean(const char *state_dir, const char *name, struct err *err);

#endif
