/* The search: from a server's name to one connection whose server has proved who it is. One search at a time, for one
 * server; the link starts it again after each failure.
 *
 * Two address tries may race: ANSWERED, to what the look-up of the name answers, and REMEMBERED, to the addresses by
 * which the name was last reached, for the case that the look-up takes long, fails or lies. Because only a proof wins
 * (TLS done, pin compared), an old address can neither delay a new one nor lead to another program's server.
 */
#pragma once

#include "client/address_list.h"
#include "common/base/addr.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#define SEEK_HEAD_START_MS 250u /* of the look-up, before the remembered addresses are tried */
#define SEEK_FALLBACK_DELAY_MS                                                                                         \
	2000u /* the same, where the look-up has given other addresses than the remembered ones */

struct attempt;
struct dial;
struct flow;
struct profile;
struct pump;
struct resolver;
struct socket_source;

/* All are called from the loop or from seek_start() and seek_wake(); the search may be stopped and started inside. */
struct seek_handlers {
	/* The search is over. @attempt is the owner's: attempt_set_owner(), and attempt_close() in the end. */
	void (*on_chosen)(void *owner, struct attempt *attempt, const struct addr *addr);
	/* The search is over: the last part of it has failed, at @phase ("resolve", "connect", "TLS" …). @addr: NULL
	 * where it was about none. Both texts are borrowed. */
	void (*on_failed)(void *owner, const char *phase, const struct addr *addr, const char *reason);
	void (*on_closed)(void *owner); /* after seek_close(): the memory is the owner's again */
};

struct seek_setup {
	uv_loop_t *loop;
	struct socket_source *sockets;
	const char *nameservers; /* as resolver_setup's; borrowed, read at each look-up */
	struct pump *pump;
	struct flow *flow;	 /* as attempt_setup's */
	const uint8_t *instance; /* as attempt_setup's */
	const struct seek_handlers *handlers;
	void *owner;
};

enum address_try_state {
	TRY_IDLE,    /* not begun; may begin */
	TRY_DIALING, /* ->dial is set */
	TRY_PROVING, /* ->attempt is set: a connection, whose server has yet to prove who it is */
	TRY_OVER,    /* has failed, is not needed, or was chosen */
};

enum address_try_kind { TRY_ANSWERED, TRY_REMEMBERED, TRY_COUNT };

struct address_try {
	struct seek *seek;
	enum address_try_state state;
	struct dial *dial;
	struct attempt *attempt;
	struct addr addr; /* of the attempt */
};

struct seek {
	struct seek_setup setup;
	struct profile *profile; /* borrowed from seek_start() until the search is over */
	size_t server;
	uv_timer_t timer; /* until the remembered addresses are tried */
	struct resolver *resolver;
	struct address_try tries[TRY_COUNT];
	/* The answer of the look-up; it stays after the search until the next one. */
	struct addr answer[ADDRESS_LIST_MAX];
	size_t answer_count;
	unsigned pending; /* what has to close before on_closed: the timer and each attempt that was not handed over */
	bool is_running;
};

void seek_init(struct seek *seek, const struct seek_setup *setup);

/* Search for the server at @server of @profile. A handler may be called from inside. */
void seek_start(struct seek *seek, struct profile *profile, size_t server);

/* Deadlines of the attempts. About twice a second; does nothing while no search runs. */
void seek_tick(struct seek *seek, uint64_t now_us);

/* The network has changed. Tries and look-up go on (a network that never rests must not end every search); beside them
 * new connections and, if its question was probably lost, a new look-up begin. */
void seek_wake(struct seek *seek, uint64_t now_us);

/* End the search without a handler. The attempts close while the next search may run. */
void seek_stop(struct seek *seek);

/* Stop for good. on_closed follows, from the loop. */
void seek_close(struct seek *seek);
