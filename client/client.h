/* The parts of the client's worker in one place: what links and local flows share. Made by worker.c, borrowed by the rest. */
#ifndef TOWPATH_CLIENT_CLIENT_H
#define TOWPATH_CLIENT_CLIENT_H

#include "client/relay.h"
#include "client/settings.h"
#include "common/process/channel.h"
#include "common/tunnel/flow.h"
#include "common/tunnel/pump.h"

#include <openssl/ssl.h>
#include <stdint.h>
#include <uv.h>

struct dial_try;

struct client {
	uv_loop_t loop;
	struct channel *channel;
	struct client_settings settings;
	SSL_CTX *tls;
	SSL_SESSION **resume; /* for each of the settings' servers the newest session, or NULL */
	struct pump pump;
	struct relay relay;
	struct dial_try *waiting; /* for sockets of the supervisor */
	uint64_t last_ticket;
	uint64_t connects;
	char last_error[640];
	int64_t last_error_s; /* 0: none yet */
	struct flow_counters gone; /* of flows that have ended */
};

#endif
