/* The load tool's parts: one process each plays WireGuard at one end of a tunnel, or what stands behind it.
 *
 * All of them run until SIGTERM, SIGINT or --seconds, then print one JSON object on stdout. Counters live in a file
 * that several processes map (--shared), so that the measuring program reads them at both edges of its window.
 */
#pragma once

#include <netinet/in.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LOAD_DATAGRAM_MAX 65507u
#define LOAD_BATCH 64	   /* datagrams for each system call, as the tunnel's own */
#define LOAD_LINE_BYTES 64 /* a counter for each cache line: sender and sink do not disturb one another */

/* Read by tests/bench/run as 64-bit little-endian numbers, LOAD_LINE_BYTES apart. */
struct load_shared {
	_Alignas(LOAD_LINE_BYTES) _Atomic uint64_t sent;
	_Alignas(LOAD_LINE_BYTES) _Atomic uint64_t delivered;
	_Alignas(LOAD_LINE_BYTES) _Atomic uint64_t delivered_bytes;
	_Alignas(LOAD_LINE_BYTES) _Atomic uint64_t seen; /* one above the highest number that was delivered */
};

struct load_options {
	struct sockaddr_in to;	   /* port 0: not given */
	struct sockaddr_in listen; /* port 0: not given */
	struct load_shared *shared;
	size_t size;
	double seconds;	 /* 0: until a signal comes */
	uint64_t rate;	 /* datagrams a second; 0: as fast as it goes */
	uint64_t window; /* datagrams on their way, at most; 0: no limit */
	unsigned count;
	bool gso; /* one system call and one buffer for many datagrams; kernel WireGuard never does that */
};

/* Set by a signal: every loop looks at it. */
bool load_is_stopped(void);
uint64_t load_now_ns(void);
void load_sleep_until_ns(uint64_t deadline_ns);
_Noreturn void load_fail(const char *what); /* prints the words of errno, exit 1 */

/* A UDP socket with large buffers, bound to @local where that has a port, which gives up waiting now and then so that
 * load_is_stopped() is seen. */
int load_open_socket(const struct sockaddr_in *local);

#define LOAD_HEADER_BYTES 16
#define LOAD_NUMBER_OFFSET 8 /* where WireGuard has its counter: 64 bits, little endian */

/* A datagram that looks like WireGuard's transport data (type 4), so that no lane for handshakes takes it. */
void load_fill_datagram(uint8_t *buf, size_t size);

void load_send(const struct load_options *options); /* to --to; or to whoever first writes to --listen */
void load_sink(const struct load_options *options); /* on --listen; with --to, writes there until something comes */
void load_echo(const struct load_options *options); /* on --listen */
void load_ping(const struct load_options *options); /* to --to, which echoes */
void load_fan(const struct load_options *options);  /* one datagram to --to from each of --count sockets, kept open */
