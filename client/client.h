/* The state that all links of a worker share. worker.c makes it and changes it; links and local flows borrow it. The
 * parts that lie below a link (seek, attempt, dial, resolver) are handed what they need and do not see this. */
#pragma once

#include "client/address_list.h"
#include "client/profile.h"
#include "client/socket_request.h"
#include "common/process/channel.h"
#include "common/tunnel/pump.h"

#include <stdint.h>
#include <uv.h>

struct client {
	uv_loop_t loop;
	struct channel *channel;
	struct profile *profile; /* the newest settings; the next attempt of each link takes them */
	/* "192.168.1.1,2001:db8::53": under a full tunnel, asked through marked sockets; "": the system's resolver */
	char nameservers[ADDRESS_LIST_TEXT_MAX];
	struct pump pump;
	struct socket_source sockets;
	/* For status, of all links together: */
	uint64_t connects;
	char last_error[1024];
	int64_t last_error_s; /* seconds since 1970; 0: no error yet */
};
