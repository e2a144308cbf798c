/* The client's way to the server: resolve, dial, proxy, TLS, upgrade, up; and again after each failure.
 *
 *     RESOLVING → CONNECTING → (PROXYING →) SECURING → UPGRADING → UP;  any failure → WAITING → RESOLVING;  any → CLOSED
 *
 * One link a flow. A failure anywhere is one log line that names step, peer, reason and what comes next. The attempt
 * that is under way (its stream, its carrier) is an object of its own, because it closes while the next one begins.
 */
#ifndef TOWPATH_CLIENT_LINK_H
#define TOWPATH_CLIENT_LINK_H

#include "common/base/addr.h"
#include "common/tunnel/backoff.h"
#include "common/tunnel/flow.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

struct attempt;
struct client;
struct dial;
struct resolver;

enum link_state {
	LINK_RESOLVING,
	LINK_CONNECTING,
	LINK_SECURING, /* proxy, TLS and upgrade: the attempt's business */
	LINK_UP,
	LINK_WAITING,
	LINK_CLOSED,
	LINK_STATE_COUNT,
};

enum link_event {
	LINK_EVENT_RESOLVED,
	LINK_EVENT_CONNECTED,
	LINK_EVENT_UP,
	LINK_EVENT_FAILED,
	LINK_EVENT_TIMER,
	LINK_EVENT_CLOSE,
	LINK_EVENT_COUNT,
};

#define LINK_ADDRESSES_MAX 16u

struct link {
	struct client *client;
	struct flow *flow;
	const uint8_t *instance;
	bool is_first; /* its state is the tunnel's */
	void (*on_closed)(void *owner);
	void *owner;
	enum link_state state;
	uv_timer_t timer; /* WAITING */
	struct resolver *resolver;
	struct dial *dial;
	struct attempt *attempt;
	unsigned pending; /* what must have closed before on_closed: the timer and each attempt */
	struct backoff backoff;
	uint32_t wait_ms; /* before the next try */
	size_t server; /* index into the settings' servers */
	struct addr addresses[LINK_ADDRESSES_MAX]; /* the last good answer for this server */
	size_t address_count;
	size_t addresses_server;
	struct addr addr; /* of the connection */
	int fd;		  /* from CONNECTED to the attempt */
	uint64_t up_us;	  /* when it came up */
};

struct link_plan {
	struct client *client;
	struct flow *flow;
	const uint8_t *instance; /* JWT_INSTANCE_LEN bytes, borrowed for good */
	bool is_first;
	void (*on_closed)(void *owner); /* after link_close(): the memory is the owner's again */
	void *owner;
};

/* Begin with the first server. */
void link_open(struct link *link, const struct link_plan *plan);

/* Pings and the deadlines of set-up. About twice a second. */
void link_step_time(struct link *link, uint64_t now_us);

void link_close(struct link *link);

/* The status keys "state", "server" and "link". */
void link_report(const struct link *link, json_t *object);

/* From the attempt: */
void link_on_attempt_up(struct link *link);
/* @step: "TLS" …; NULL where the link was up and is lost. */
void link_on_attempt_failed(struct link *link, const char *step, const char *reason);
void link_on_attempt_closed(struct link *link);

#endif
