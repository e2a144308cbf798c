/* The state that the parts of the hub's worker share. worker.c owns it; sessions and reload.c borrow it. */
#pragma once

#include "common/process/channel.h"
#include "common/tunnel/pump.h"
#include "server/admit.h"
#include "server/flow_table.h"
#include "server/passage_list.h"
#include "server/session_list.h"
#include "server/settings.h"
#include "server/throttle.h"
#include "server/website.h"

#include <openssl/ssl.h>
#include <uv.h>

struct hub {
	uv_loop_t loop;
	struct channel *channel; /* to the supervisor */
	struct server_settings settings;
	SSL_CTX *tls; /* NULL where all listeners are cleartext */
	struct admit_table *admit;
	struct pump pump;
	struct website *website;
	struct flow_table flows;
	struct throttle throttle;
	uint64_t stranger_count; /* connections that were not let in, see session_open() */
	uint64_t stranger_us;	 /* when that was last told; 0: never */
	struct session_list sessions; /* all connections, tunnels or not */
	struct passages passages;     /* but for these, which went on to other servers */
};

/* Make what TLS needs of @settings. Return: 0 or a negative errno. */
int hub_make_tls(SSL_CTX **ret, const struct server_settings *settings, struct err *err);
