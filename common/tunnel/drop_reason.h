/* Why a datagram was not delivered. Every one that is not is counted under one of these. */
#pragma once

#include <stdint.h>

enum drop_reason {
	DROP_QUEUE_LATE,	 /* waited longer than its lane allows */
	DROP_QUEUE_FULL,	 /* the flow's share or the worker's pool is used up */
	DROP_TOO_LARGE,		 /* the local network did not take a datagram of that size */
	DROP_EMPTY,		 /* zero bytes: never forwarded: a stock tunnel ends at one */
	DROP_HANDSHAKE_REPLACED, /* a newer initiation came while there was no carrier */
	DROP_CARRIER_LOST,	 /* was in our send buffer when the carrier ended, or queued when the flow ended */
	DROP_NO_LOCAL_PEER,	 /* no program has sent to the local port yet, so there is no address to send to */
	DROP_FLOWS_FULL,	 /* more local source addresses than we keep flows for */
	DROP_UDP_REFUSED,	 /* ICMP: no program listens there */
	DROP_UDP_FULL,		 /* the UDP socket did not take more (EAGAIN, ENOBUFS) */
	DROP_UDP_FAILED,	 /* any other error of the UDP socket: EPERM by a firewall, no route */
	DROP_UDP_OVERFLOW,	 /* the kernel's receive buffer of our UDP socket was full */
	DROP_REASON_COUNT,
};

struct drop_counters {
	uint64_t count[DROP_REASON_COUNT];
};

/* "queue-late" …: the key in status. */
const char *drop_reason_name(enum drop_reason reason);
