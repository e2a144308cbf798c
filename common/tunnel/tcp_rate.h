/* The speed of a TCP connection as the kernel knows it, and how much and how fast it may send for us.
 * A file of its own because linux/tcp.h, which has these fields, and netinet/tcp.h exclude each other. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct tcp_rate {
	uint64_t delivery_bytes_per_s; /* 0: not measured yet */
	bool is_app_limited;	       /* measured while we had too little to send: a lower bound */
	uint32_t rtt_us;	       /* smoothed */
	uint32_t min_rtt_us;	       /* of the last five minutes (net.ipv4.tcp_min_rtt_wlen) */
	uint64_t sent_bytes;	       /* since the connection began, without what was sent again */
	uint64_t delivered_bytes;      /* since the connection began, selective acknowledgements included */
	uint32_t segment_bytes;	       /* of payload in a full segment */
	uint32_t unsent_bytes;	       /* in the socket, not yet on the line */
	uint32_t unacked_segments;     /* on the line */
	uint32_t retransmits;	       /* segments, since the connection began */
	uint32_t gaps; /* segments that came in behind one that is missing, since then; 0 before Linux 5.4 */
	bool is_bbr;
};

#define TCP_RATE_UNLIMITED UINT32_MAX

/* Return: 0 or a negative errno (not a TCP socket). */
int tcp_rate_read(int fd, struct tcp_rate *ret);

/* TCP_NOTSENT_LOWAT: writable only while less than this waits unsent. Return: 0 or a negative errno. */
int tcp_rate_set_low_water(int fd, uint32_t bytes);

/* SO_MAX_PACING_RATE. Return: 0 or a negative errno. */
int tcp_rate_set_limit(int fd, uint32_t bytes_per_s);

/* A lost retransmission is tried again after a second at most (TCP_RTO_MAX_MS): each doubling of that time is a longer
 * stall, and nothing else would end it. Only for a connection that stands: the kernel counts the tries of one that is being
 * made. Return: 0 or a negative errno (before Linux 6.15). */
int tcp_rate_retry_soon(int fd);

/* Let BBR begin anew. Every ten seconds it stops for 200 ms to measure the line without a queue (BBRv1, "ProbeRTT"), and
 * all that waits is late by so much; a BBR that is younger does not. Return: 0 or a negative errno. */
int tcp_rate_restart_bbr(int fd);
