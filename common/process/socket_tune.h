/* What the supervisor does to the sockets it makes, some of it with privilege. Options are not worth failing for. */
#ifndef TOWPATH_PROCESS_SOCKET_TUNE_H
#define TOWPATH_PROCESS_SOCKET_TUNE_H

#include "common/base/addr.h"

#define SOCKET_TUNE_UDP_BUFFER (4 << 20) /* bytes each way; the default holds 92 full packets */

/* Buffers of a UDP socket: beyond the host's limit where we may, up to it otherwise. */
void socket_tune_udp(int fd);

/* TCP, connected or listening (then what it accepts inherits it all): Nagle off, dead peers noticed after
 * @user_timeout_ms, keep-alive, and the congestion control @congestion where the host allows it. */
void socket_tune_tcp(int fd, const char *congestion, unsigned int user_timeout_ms);

/* bind(), where the address is taken tried again for up to a second: a worker whose supervisor was killed notices it, and
 * lets go of what it was given, a moment later. Return: 0 or a negative errno. */
int socket_bind(int fd, const struct addr *addr);

/* Of a socket that another process uses: not connected yet, connecting or connected, or closed from this side at least. */
enum socket_tcp_life { SOCKET_TCP_NEW, SOCKET_TCP_ALIVE, SOCKET_TCP_OVER };

enum socket_tcp_life socket_tcp_life(int fd);

#endif
