/* One connection to the hub: TLS, then a visitor of the web site, until an admitted upgrade makes it a tunnel.
 *
 *     (PROXIED →) TLS → REQUEST → WAITING (for the flow's socket) → TUNNEL;  any → LEAVING (last bytes flushed) → closed
 *
 * A session frees itself when its stream has closed. All of them are in hub->sessions.
 */
#ifndef TOWPATH_SERVER_SESSION_H
#define TOWPATH_SERVER_SESSION_H

#include "common/base/addr.h"
#include "server/flow_table.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct hub;
struct session;

/* A connection was accepted on a listener. Owns @fd. */
void session_open(struct hub *hub, int fd, bool is_cleartext, const struct addr *from);

/* From the flow table: the flow to wait for; then the flow itself, or NULL where it can't be had. */
void session_set_claim(struct session *session, struct hub_flow *flow);
void session_on_flow(struct session *session, struct hub_flow *flow);

/* A newer carrier has the flow: what is under way is still taken, then the session ends. */
void session_retire(struct session *session);

/* Deadlines, pings. About twice a second. */
void session_step(struct session *session, uint64_t now_us);
struct session *session_next(const struct session *session);

/* Close in an orderly way: WebSocket close 1001. */
void session_close(struct session *session);

/* What let it in; NULL while it is no client's. */
const struct admit_grant *session_grant(const struct session *session);

/* Its client may not come in any more: WebSocket close 1008, now. */
void session_revoke(struct session *session);

/* Round trip of its TCP connection, from the first packet on; 0 where nobody knows. */
uint32_t session_rtt_ms(const struct session *session);

/* The session's object in status; NULL where it is no tunnel. */
json_t *session_report(const struct session *session);

#endif
