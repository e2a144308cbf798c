/* Socket options, best effort: a host that refuses one carries datagrams all the same, a little worse. */
#include "common/process/socket_tune.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BIND_ATTEMPTS 20 /* with the pause: a second */
#define BIND_PAUSE_US 50000

/* tcpi_state: include/net/tcp_states.h of the kernel. */
enum { STATE_ESTABLISHED = 1, STATE_SYN_SENT = 2, STATE_CLOSE = 7, STATE_CLOSE_WAIT = 8 };

static void tune_number(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

/* The _FORCE variants need CAP_NET_ADMIN and ignore net.core.rmem_max; the plain ones are cut to it by the kernel. */
void socket_tune_udp(int fd)
{
	const int bytes = SOCKET_TUNE_UDP_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		tune_number(fd, SOL_SOCKET, SO_RCVBUF, bytes);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		tune_number(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}

/* No delay: what is to be sent comes as whole records, and Nagle would hold back the last of a burst for a round
 * trip. */
void socket_tune_tcp(int fd, const char *congestion, unsigned int user_timeout_ms)
{
	tune_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	tune_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)user_timeout_ms);
	tune_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (congestion[0] != '\0')
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion));
}

/* Sleeps, at set-up only: no loop runs yet. */
int socket_bind(int fd, const struct addr *addr)
{
	for (int attempt = 1; bind(fd, &addr->sa, addr_len(addr)) < 0; attempt++) {
		if (errno != EADDRINUSE || attempt == BIND_ATTEMPTS)
			return -errno;
		usleep(BIND_PAUSE_US);
	}
	return 0;
}

const char *socket_bind_remedy(
	char *buf, size_t size, int code, const char *ss_flags, const char *address, uint16_t port)
{
	switch (code) {
	case -EADDRINUSE:
		snprintf(buf, size, "stop the other program (ss %s 'sport = :%u') or choose another port", ss_flags,
			port);
		break;
	case -EADDRNOTAVAIL:
		snprintf(buf, size, "give an address of this host (ip address), or %s:%u", address, port);
		break;
	case -EACCES:
	case -EPERM:
		snprintf(buf, size,
			"a port under 1024 needs root or CAP_NET_BIND_SERVICE (docker run --cap-add NET_BIND_SERVICE); "
			"choose a higher one otherwise");
		break;
	default:
		snprintf(buf, size, "choose another address");
	}
	return buf;
}

/* The kernel says CLOSE of a socket that was never connected, too: one that has sent nothing is new. */
enum socket_tcp_life socket_tcp_life(int fd)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len) < 0)
		return SOCKET_TCP_OVER;
	if (info.tcpi_state == STATE_CLOSE)
		return info.tcpi_segs_out > 0 ? SOCKET_TCP_OVER : SOCKET_TCP_NEW;
	return info.tcpi_state == STATE_ESTABLISHED || info.tcpi_state == STATE_SYN_SENT ||
			       info.tcpi_state == STATE_CLOSE_WAIT
		       ? SOCKET_TCP_ALIVE
		       : SOCKET_TCP_OVER;
}
