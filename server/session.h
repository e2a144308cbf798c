/* One connection to the hub: TLS, then a visitor of the web site, until an admitted upgrade makes it a tunnel.
 *
 * A session frees itself when its stream has closed, some turns of the loop after session_close(). All sessions that
 * are not closed are in hub->sessions. session.c has the states.
 */
#pragma once

#include "common/base/addr.h"
#include "server/flow_table.h"
#include "server/settings.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct hub;
struct session;

/* How the flow table calls sessions. */
extern const struct flow_handlers session_flow_handlers;

/* A connection was accepted on @listener. Owns @fd. It is closed where there is no memory, and where the listener is for
 * proxies and @from is none of them. */
void session_open(
	struct hub *hub, int fd, const struct server_settings_listener *listener, const struct addr *from);

/* Deadlines, pings, answers to a throttled source. Call about twice a second. */
void session_tick(struct session *session, uint64_t now_us);

/* Close in an orderly way, a tunnel with WebSocket close 1001 (going away). */
void session_close(struct session *session);

/* The client of the session and its grant; NULL if it is no client's. Borrowed. */
const struct admit_grant *session_grant(const struct session *session);

/* True if a reverse proxy has brought it that is none of @settings' TrustedProxies. */
bool session_lost_proxy(const struct session *session, const struct server_settings *settings);

/* After a reload: it would not be let in any more. Close now, a tunnel with WebSocket close 1008 (policy). @why: for
 * the log, which has a line for each client. */
void session_revoke(struct session *session, const char *why);

/* The public key that its client has shown was not written down. It hears @words (find_invitation_fault()) now, or, where
 * it has its 101 already, when it comes again. */
void session_refuse_key(struct session *session, const char *words);

/* The session's object in status, owned by the caller; NULL where it is no tunnel. */
json_t *session_report(const struct session *session);
