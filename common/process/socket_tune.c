/* Socket options, best effort: a host that refuses one carries datagrams all the same, a little worse. */
#include "common/process/socket_tune.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

static void tune_number(int fd, int level, int option, int value)
{
	setsockopt(fd, level, option, &value, sizeof(value));
}

void socket_tune_udp(int fd)
{
	const int bytes = SOCKET_TUNE_UDP_BUFFER;

	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes)) < 0)
		tune_number(fd, SOL_SOCKET, SO_RCVBUF, bytes);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes)) < 0)
		tune_number(fd, SOL_SOCKET, SO_SNDBUF, bytes);
}

void socket_tune_tcp(int fd, const char *congestion, unsigned int user_timeout_ms)
{
	tune_number(fd, IPPROTO_TCP, TCP_NODELAY, 1);
	tune_number(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, (int)user_timeout_ms);
	tune_number(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
	if (congestion[0] != '\0')
		setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, congestion, (socklen_t)strlen(congestion));
}
