/* The speed of a TCP connection as the kernel knows it, and how much unsent data it may hold for us.
 * A file of its own because linux/tcp.h, which has these fields, and netinet/tcp.h exclude each other. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tcp_rate {
	uint64_t delivery_bytes_per_s; /* 0: not measured yet */
	bool is_app_limited;	       /* measured while we had too little to send: a lower bound */
	uint32_t rtt_us;
	uint32_t min_rtt_us;
	uint32_t in_flight; /* segments */
	bool is_starting;   /* BBR is in its start phase: it sends up to three times what the line is known to carry */
	uint64_t bandwidth_bytes_per_s; /* BBR's own estimate; 0 where the connection runs without BBR */
};

#define TCP_RATE_UNLIMITED UINT32_MAX

/* Return: 0 or a negative errno (not a TCP socket). */
int tcp_rate_read(int fd, struct tcp_rate *ret);

/* TCP_NOTSENT_LOWAT: writable only while less than this waits unsent. Return: 0 or a negative errno. */
int tcp_rate_set_low_water(int fd, uint32_t bytes);

/* How fast the connection may send, bytes/s: TCP_RATE_UNLIMITED, or less where BBR floods the line.
 *
 * BBR's start phase ends when the bandwidth stops to grow in three rounds in which it always had something to send. The
 * TCP inside WireGuard sends in rounds of its own, we keep little unsent, and so that phase went on for seconds, at up
 * to three times the line's rate. At 20 Mbit/s with 60 ms of queue in the line it had 1,442 and 2,862 segments sent
 * again in 12 s (65 and 207 with the limit), and each loss held what came behind it back: p99 of a ping 231 ms instead
 * of 97 and 111, at the same throughput. A queue that stands in the line shows that its bandwidth is known. Sending a
 * little less drains it, and as our own queue then always has something to send, BBR ends the phase by itself. Pure. */
uint32_t tcp_rate_limit(const struct tcp_rate *rate);

/* SO_MAX_PACING_RATE. Return: 0 or a negative errno. */
int tcp_rate_set_limit(int fd, uint32_t bytes_per_s);
