/* What the kernel knows of a TCP connection's speed, and how much unsent data it may hold for us.
 * A file of its own because linux/tcp.h, which has these fields, and netinet/tcp.h exclude each other. */
#ifndef TOWPATH_TUNNEL_TCP_RATE_H
#define TOWPATH_TUNNEL_TCP_RATE_H

#include <stdbool.h>
#include <stdint.h>

struct tcp_rate {
	uint64_t delivery_bytes_per_s; /* 0: not measured yet */
	bool is_app_limited;	       /* measured while we had too little to send: a lower bound */
	uint32_t rtt_us;
};

/* Return: 0 or a negative errno (not a TCP socket). */
int tcp_rate_read(int fd, struct tcp_rate *ret);

/* TCP_NOTSENT_LOWAT: writable only while less than this waits unsent. Return: 0 or a negative errno. */
int tcp_rate_set_low_water(int fd, uint32_t bytes);

#endif
