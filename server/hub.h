/* The parts of the hub's worker in one place: what sessions and flows share. Made by worker.c, borrowed by the rest.
 *
 * New settings take the place of the old ones while it serves: who may still come in notices nothing, the others' sessions end.
 */
#ifndef TOWPATH_SERVER_HUB_H
#define TOWPATH_SERVER_HUB_H

#include "common/process/channel.h"
#include "common/tunnel/flow.h"
#include "common/tunnel/pump.h"
#include "server/admit.h"
#include "server/flow_table.h"
#include "server/settings.h"
#include "server/throttle.h"
#include "server/website.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

struct session;

struct hub {
	uv_loop_t loop;
	struct channel *channel;
	struct server_settings settings;
	SSL_CTX *tls;
	struct pump pump;
	struct website *website;
	struct admit_table *admit;
	struct flow_table flows;
	struct throttle throttle;
	struct session *sessions; /* all connections, tunnels or not, newest first */
	uint32_t connection_count;
	uint32_t tunnel_count;
	struct flow_counters gone; /* of flows that have ended */
};

/* What logs and status call a client that came in. */
const char *hub_client_name(const struct hub *hub, uint32_t client);

/* Make what admission and TLS need of ->settings. Return: 0 or a negative errno. */
int hub_open(struct hub *hub, struct err *err);

/* Take @settings (owned where 0 is returned): the listeners are the same. Return: 0, or a negative errno with nothing changed. */
int hub_reload(struct hub *hub, struct server_settings *settings, struct err *err);

#endif
