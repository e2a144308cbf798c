/* The parts of the client's worker in one place: what links and local flows share. Made by worker.c, borrowed by the rest. */
#ifndef TOWPATH_CLIENT_CLIENT_H
#define TOWPATH_CLIENT_CLIENT_H

#include "client/address_list.h"
#include "client/profile.h"
#include "client/relay.h"
#include "client/wakeup.h"
#include "client/socket_request.h"
#include "common/process/channel.h"
#include "common/tunnel/flow.h"
#include "common/tunnel/pump.h"

#include <stdint.h>
#include <uv.h>

struct client {
	uv_loop_t loop;
	struct channel *channel;
	struct profile *profile; /* what the next connect goes by */
	/* "192.168.1.1,2001:db8::53": under a full tunnel, asked by marked sockets; "": the system's resolver */
	char nameservers[ADDRESS_LIST_TEXT_MAX];
	struct pump pump;
	struct relay relay;
	struct wakeup wakeup;
	struct socket_request *wishes; /* for sockets of the supervisor */
	uint64_t last_ticket;
	uint64_t connects;
	char last_error[640];
	int64_t last_error_s;	   /* 0: none yet */
	struct flow_counters gone; /* of flows that have ended */
};

#endif
