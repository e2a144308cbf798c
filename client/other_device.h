/* The WireGuard device of another program (wg-quick) that has our local port as a peer's endpoint: its mark, which our
 * sockets need under its full tunnel, and its MTU, which wg-quick sets too large. */
#pragma once

#include <net/if.h>
#include <stdbool.h>
#include <stdint.h>

/* Zeroed at the start. */
struct other_device {
	char device[IFNAMSIZ]; /* "": there is none */
	uint32_t mark;	       /* 0: none */
	uint32_t mtu;	       /* 0: not known */
	bool is_hidden;	       /* there are devices, and we may not read them */
	bool is_large_told;    /* the warning about the MTU was given for this device */
};

/* Find the device, and log what has changed: the mark, or an MTU that only loopback can carry. Call it whenever the
 * network has changed. Devices of the kernel are seen with CAP_NET_ADMIN only; without it none is found. */
void other_device_check(struct other_device *known, uint16_t listen_port);
