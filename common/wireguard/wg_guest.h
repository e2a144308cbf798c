/* The guests of a hub: clients that have just come in.
 *
 * Two things keep a client that has a connection from having a tunnel, and both are the hub's to mend:
 *
 * - It still has a session with a device that was there before this one (the server was restarted). Its WireGuard would
 *   need 15 s of silence before it tries a new handshake. So a guest that has not shaken hands with this device shortly
 *   after it came in is *greeted*: the hub takes the address of its datagrams as the peer's endpoint, and begins a
 *   handshake itself.
 * - Its clock went back (a Raspberry Pi without a battery). WireGuard refuses an initiation whose timestamp is not
 *   newer than the newest it has seen. So a peer whose clock is behind its last handshake is *revived*: removed and
 *   added again as it was (wg_device_revive_peer()), and greeted. A peer that another program has removed stays
 *   removed.
 *
 * A reading of the device takes time: it may have thousands of peers. So all calls since the last reading share the
 * next one, and two readings are at least 100 ms apart. However many clients come in or say their time, the loop is
 * free in between.
 *
 * Owned by the host part of the supervisor (common/host), embedded there. wg_guests_close() ends in on_closed; until
 * then the memory must stay. Failures are logged and end the case of that guest: WireGuard then recovers by itself,
 * only later.
 */
#pragma once

#include "common/base/addr.h"
#include "common/wireguard/wg_config.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct wg_guests_setup {
	uv_loop_t *loop;
	const char *device; /* borrowed until on_closed */
	void (*on_closed)(void *owner);
	void *owner;
};

struct wg_guest {
	uint8_t public_key[WG_CONFIG_KEY_LEN];
	struct addr from; /* where its datagrams come from; family 0: not known */
	uint32_t rtt_ms;  /* round trip of its connection */
	uint64_t due_ms;  /* uv_now() at which it is greeted */
	int64_t wall_s;	  /* the time it says, since 1970; only among those with a clock */
};

struct wg_guest_list {
	struct wg_guest *guests;
	size_t count;
	uint64_t read_ms; /* uv_now() at the end of the last reading of the device */
	uv_timer_t timer; /* for the next one */
};

struct wg_guests {
	struct wg_guests_setup setup;
	bool is_started;
	struct wg_guest_list greetings; /* came in and are not greeted yet */
	struct wg_guest_list clocks;	/* said a time that was not compared yet; each peer once */
	unsigned pending;		/* timers that are not closed */
};

/* Opens the timers; cannot fail. */
void wg_guests_open(struct wg_guests *guests, const struct wg_guests_setup *setup);
void wg_guests_close(struct wg_guests *guests);

/* The device is up: guests that came in before are greeted from now on. stop() forgets all. */
void wg_guests_start(struct wg_guests *guests);
void wg_guests_stop(struct wg_guests *guests);

/**
 * wg_guests_greet() - A client has come in
 * @from: where its datagrams come from
 * @rtt_ms: round trip of its connection, as the worker measured it
 *
 * A handshake that the client has begun by itself takes a round trip. So the device is read a round trip later, at
 * least 400 ms, and the guest is greeted unless it has shaken hands by then. Without memory it is not greeted.
 */
void wg_guests_greet(struct wg_guests *guests, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from,
	uint32_t rtt_ms);

/**
 * wg_guests_take_clock() - A client has said its time
 * @from: where its datagrams come from; family 0: not known, and it is not greeted
 * @wall_s: its time in seconds since 1970
 *
 * The first one is compared in the next turn of the loop. A later word of the same client replaces the earlier one.
 * Does nothing before wg_guests_start(): a device that was not up has seen no handshake.
 */
void wg_guests_take_clock(struct wg_guests *guests, const uint8_t public_key[WG_CONFIG_KEY_LEN],
	const struct addr *from, uint32_t rtt_ms, int64_t wall_s);
