/* The client's way to the server: look the name up, dial, TLS, upgrade, up; and again after each failure.
 *
 *     SEEKING → CHOSEN → UP;  any failure → WAITING → SEEKING;  any → CLOSED
 *
 * While SEEKING two roads may race: to the addresses that the look-up answers, and, where that takes long or leads nowhere,
 * to those by which the name was last reached. The first whose server has proved who it is (TLS done, pin compared) is
 * CHOSEN, the other is dropped; so an old address can neither delay a new one nor lead to a stranger.
 *
 * One link a flow. A failure anywhere is one log line that names step, peer, reason and what comes next. The attempt
 * that is under way (its stream, its carrier) is an object of its own, because it closes while the next one begins.
 */
#ifndef TOWPATH_CLIENT_LINK_H
#define TOWPATH_CLIENT_LINK_H

#include "client/address_list.h"
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
struct profile;
struct resolver;

enum link_state {
	LINK_SEEKING,
	LINK_CHOSEN, /* the upgrade: the attempt's business */
	LINK_UP,
	LINK_WAITING,
	LINK_CLOSED,
	LINK_STATE_COUNT,
};

enum link_event {
	LINK_EVENT_CHOSEN,
	LINK_EVENT_UP,
	LINK_EVENT_FAILED,
	LINK_EVENT_TIMER,
	LINK_EVENT_RESTART,
	LINK_EVENT_CLOSE,
	LINK_EVENT_COUNT,
};

#define LINK_HEAD_START_MS 250u	     /* of the look-up before the remembered addresses are dialled */
#define LINK_SECOND_THOUGHT_MS 2000u /* the same, where the look-up has answered otherwise */

enum link_road_kind { LINK_ROAD_ANSWERED, LINK_ROAD_REMEMBERED, LINK_ROAD_COUNT };

/* From some addresses to one connection whose server has proved who it is: a dial, then an attempt. */
struct link_road {
	struct link *link;
	struct dial *dial;
	struct attempt *attempt;
	struct addr addr; /* of the attempt */
	bool is_tried;
};

struct link_failure {
	struct addr addr; /* family 0: none */
	const char *step;
	char reason[480];
};

struct link {
	struct client *client;
	struct profile *profile; /* kept; the client's when SEEKING began */
	struct flow *flow;
	const uint8_t *instance;
	bool is_first; /* its state is the tunnel's */
	void (*on_closed)(void *owner);
	void *owner;
	enum link_state state;
	uv_timer_t timer; /* WAITING: the next try; SEEKING: the remembered addresses' turn */
	struct resolver *resolver;
	struct link_road roads[LINK_ROAD_COUNT]; /* SEEKING */
	struct link_failure failure;		 /* the last one while SEEKING */
	struct addr answer[ADDRESS_LIST_MAX];	 /* of the look-up */
	size_t answer_count;
	struct attempt *attempt; /* CHOSEN, UP */
	struct addr addr;	 /* its */
	unsigned pending;	 /* what must have closed before on_closed: the timer and each attempt */
	struct backoff backoff;
	uint32_t wait_ms; /* before the next try */
	size_t server;	  /* index into the settings' servers */
	uint64_t up_us;	  /* when it came up */
	uint64_t lost_us; /* when the last try or connection failed; 0: none has */
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

/* The host's network or clock has changed: who waits tries now, who is up asks for life. */
void link_wake(struct link *link);

/* The client has another profile: taken at the next connect, by who is not up at once. */
void link_on_reload(struct link *link);

void link_close(struct link *link);

/* The status keys "state", "server" and "link". */
void link_report(const struct link *link, json_t *object);

/* From the attempt: */
void link_on_attempt_secured(struct link *link, struct attempt *attempt);
void link_on_attempt_up(struct link *link);
/* @step: "TLS" …; NULL where the link was up and is lost. */
void link_on_attempt_failed(struct link *link, struct attempt *attempt, const char *step, const char *reason);
void link_on_attempt_closed(struct link *link);

#endif
