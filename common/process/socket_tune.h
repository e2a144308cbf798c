/* Options that the supervisor sets on its sockets, some with privilege. An option that is refused is no failure. */
#pragma once

#include "common/base/addr.h"

#define SOCKET_TUNE_UDP_BUFFER (4 << 20) /* bytes each way; the default holds 92 full packets */

/* Set the buffers of a UDP socket: above the host's limit with CAP_NET_ADMIN, up to it otherwise. */
void socket_tune_udp(int fd);

/* TCP, connected or listening (then what it accepts inherits it all): Nagle off, dead peers noticed after
 * @user_timeout_ms, keep-alive, and the congestion control @congestion where the host allows it. */
void socket_tune_tcp(int fd, const char *congestion, unsigned int user_timeout_ms);

/* bind(), tried again for up to a second while the address is taken: a worker whose supervisor was killed holds its
 * sockets for a moment longer. Return: 0 or a negative errno. */
int socket_bind(int fd, const struct addr *addr);

/* The remedy where that fails with @code. @ss_flags: of ss(8), that shows such sockets; @address: one that every host
 * has. Return: @buf. */
const char *socket_bind_remedy(
	char *buf, size_t size, int code, const char *ss_flags, const char *address, uint16_t port);

/* The state of a socket that another process uses. NEW: not connected yet. ALIVE: connecting or connected. OVER:
 * closed, at least by this host. */
enum socket_tcp_life { SOCKET_TCP_NEW, SOCKET_TCP_ALIVE, SOCKET_TCP_OVER };

enum socket_tcp_life socket_tcp_life(int fd);
