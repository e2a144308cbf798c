/* A service of a host behind the tunnel that is reached at this host: what [Publish] asks for, as nftables and the
 * kernel's table of connections see it. Plain data. */
#pragma once

#include "common/base/addr.h"

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/* Ports in a row; first 0: none. */
struct service_ports {
	uint16_t first, last;
};

struct service {
	uint8_t protocol;    /* IPPROTO_TCP, IPPROTO_UDP; 0: no Port */
	struct addr address; /* only there; family 0: at every local address but the loopback, of to's family */
	struct service_ports ports;
	struct addr to; /* without a port; family 0: none */
	struct service_ports to_ports; /* as many */
	bool keeps_source; /* the host behind the tunnel sees the stranger's address */
	char device[IFNAMSIZ]; /* that leads to it: another program's, of a [Claim]; "": our own */
};

/* Since the service was first published by this run. As `wg show` counts for a peer, sent is towards the host behind
 * the tunnel, and received is what came from there: bytes of IP packets. */
struct service_counts {
	uint64_t connections, sent_bytes, received_bytes;
};
