/* The changes of a tunnel with its own device on this host: the WireGuard device, addresses, routes, rules, sysctls,
 * the nftables table, the resolver, hooks; all that wg-quick(8) does, and [Gateway]. README.md in this folder is the
 * way in.
 *
 *     CLEANING → up: STARTING → UP → DOWN;  any failure while STARTING: everything is undone → FAILED
 *
 * Each change is recorded in the undo list before it is made. Programs and hooks run beside the loop. While UP, what
 * other programs take away is put back within a second of the kernel's event (host_on_network()); peers are never
 * created by that. One owner, the supervisor. Handlers are called from the loop, never from inside a call, and may call
 * host_close().
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/host/hook.h"
#include "common/host/host_setup.h"
#include "common/wireguard/wg_config.h"

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct host_handlers {
	void (*on_up)(void *owner);
	/* Everything is undone. @text: one line with the remedy. */
	void (*on_failed)(void *owner, const char *text);
	/* The first handshake since host_link_is_up() of a peer that is reached through the tunnel. */
	void (*on_handshake)(void *owner);
	void (*on_down)(void *owner);
	/* After host_read_rules(): the same reload may be tried again. */
	void (*on_rules)(void *owner);
	/* host_is_publishing() has ended. @why: the services are not in place, because nft has refused our table; "": they
	 * are. */
	void (*on_published)(void *owner, const char *why);
};

struct host;

/* Lock the undo list and choose the mark. Changes nothing; what a crash left is undone in host_up(). @setup is copied,
 * what it points to is borrowed until host_close(). Return: 0, -EBUSY (it runs already) or another negative errno. */
int host_open(struct host **ret, uv_loop_t *loop, const struct host_setup *setup, const struct host_handlers *handlers,
	void *owner, struct err *err);

/* Clean up what a crash left, check the host (check.h), bring everything up. on_up or on_failed follows. */
void host_up(struct host *host);

/* The link to the server is up: let WireGuard shake hands now unless its last one still holds. on_handshake follows. */
void host_link_is_up(struct host *host);

/* Something has changed in the kernel: @kinds is a set of enum netmon_kind. */
void host_on_network(struct host *host, unsigned kinds);

#define HOST_RULES_WANTED 1

/**
 * host_reload() - Take another WireGuard configuration, and other services
 * @wireguard, @publishes: borrowed from now on where 0 is returned, instead of the former ones
 * @ret_restart: what only a restart can change and is left as it was: "Address, MTU"; "" for none
 *
 * Peers, allowed IPs, keepalives, preshared keys and routes change, without a packet lost for the peers that stay. New
 * services may be refused for the rules of other programs: HOST_RULES_WANTED, with nothing changed, asks the caller for
 * host_read_rules() and to come again. host_is_publishing() is true after this until the services are in place.
 * Return: 0, HOST_RULES_WANTED, -EAGAIN while it is not up, -ENODEV where the device was deleted, or another negative errno. After an
 * error nothing has changed.
 */
int host_reload(struct host *host, const struct wg_config *wireguard, const struct publish *publishes,
	size_t publish_count, char *ret_restart, size_t restart_size, struct err *err);
/* Read the rules of other programs beside the loop; on_rules follows. Return: 0 or a negative errno. */
int host_read_rules(struct host *host, struct err *err);
bool host_is_publishing(const struct host *host);

/* The hub: a client says its time (wg_guests_take_clock()). @from: where its datagrams come from; family 0: not known.
 * @rtt_ms: round trip of its connection. @wall_s: seconds since 1970. */
void host_on_peer_clock(struct host *host, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from,
	uint32_t rtt_ms, int64_t wall_s);

/* The hub: a client has come in (wg_guests_greet()). Parameters as above. */
void host_greet_peer(
	struct host *host, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from, uint32_t rtt_ms);

/* The mark of the device, known from host_open() on; 0: none. */
uint32_t host_mark(const struct host *host);

/* "publish" of the status: a list. NULL while not up. */
json_t *host_report_services(struct host *host);

/* "wireguard" of the status: interface, key, port, peers; table, rules and mark if there are any. NULL while not up.
 * What an operator should know is appended to @warnings, texts. */
json_t *host_report(struct host *host, json_t *warnings);

/* PreDown hooks, then everything is undone, then PostDown. At any time after host_open(); ends a bring-up under way.
 * on_down follows, once. A second call kills the hook that runs. */
void host_down(struct host *host);

/* After on_down or on_failed, or if host_up() was never called. Its memory goes when the loop has let go of it. */
void host_close(struct host *host);

/* Undo what a crashed tunnel left, without hooks; for `down` and ExecStopPost=. Runs a loop of its own. Return: how
 * many changes were undone, 0 where nothing was left, -EBUSY while the tunnel runs, or another negative errno. */
int host_clean(const char *state_dir, const char *name, struct err *err);

/* After a crash: run the PreDown or PostDown of @interface, on a loop of its own. One that fails is logged. */
void host_run_hooks(const struct wg_config_interface *interface, const char *device, enum hook_kind kind);

/* After a crash was cleaned up: name each PreDown and PostDown in @path, none of which has run, and then @remedy. */
void host_tell_missed_hooks(const struct wg_config_interface *interface, const char *path, const char *remedy);
