/* The WireGuard device that somebody else (wg-quick) brought up with our local port as a peer's endpoint: its mark, and the
 * trap it falls into. */
#ifndef TOWPATH_CLIENT_OTHER_DEVICE_H
#define TOWPATH_CLIENT_OTHER_DEVICE_H

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

struct other_device {
	char device[IFNAMSIZ]; /* "": there is none */
	uint32_t mark;	       /* 0: none */
	uint32_t mtu;	       /* 0: not known */
	bool is_large_told;
};

/* Look again, and say what is new: another device or mark, and an MTU that only loopback can carry. Kernel devices need
 * CAP_NET_ADMIN; without it there is none. */
void other_device_look(struct other_device *foreign, uint16_t listen_port);

#endif
