/* socket, bind, and ask which port it became. Fails with one line: where, why, what helps. */
#include "client/local_port.h"

#include "common/base/log.h"
#include "common/process/socket_tune.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char *listen_remedy(char *buf, size_t size, int code, uint16_t port)
{
	switch (code) {
	case -EADDRINUSE:
		snprintf(buf, size, "stop the other program (ss -lunp 'sport = :%u') or choose another port", port);
		break;
	case -EADDRNOTAVAIL:
		snprintf(buf, size, "give an address of this host (ip address), or 127.0.0.1:%u", port);
		break;
	case -EACCES:
	case -EPERM:
		snprintf(buf, size,
			"a port under 1024 needs root or CAP_NET_BIND_SERVICE; choose a higher one otherwise");
		break;
	default:
		snprintf(buf, size, "choose another address");
	}
	return buf;
}

static int bind_listen(int fd, const struct addr *addr)
{
	const int on = 1;

	if (addr->sa.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	socket_tune_udp(fd);
	return socket_bind(fd, addr);
}

static int bind_and_ask(int fd, const struct addr *addr, struct addr *ret)
{
	struct sockaddr_storage bound;
	socklen_t len = sizeof(bound);
	int rc = bind_listen(fd, addr);

	if (rc < 0)
		return rc;
	if (getsockname(fd, (struct sockaddr *)&bound, &len) < 0)
		return -errno;
	addr_from_sockaddr((const struct sockaddr *)&bound, ret);
	return 0;
}

int local_port_open(struct local_port *ret, const struct client_config *config, struct err *err)
{
	int fd = socket(config->listen.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = fd < 0 ? -errno : bind_and_ask(fd, &config->listen, &ret->addr);
	char place[ERR_TEXT_MAX / 2], remedy[160];

	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		return err_set(err, rc, "%s: '%s': %s; %s", client_config_listen_place(config, place, sizeof(place)),
			config->listen_text, strerror(-rc),
			listen_remedy(remedy, sizeof(remedy), rc, addr_port(&config->listen)));
	}
	ret->fd = fd;
	addr_format(ret->text, sizeof(ret->text), &ret->addr);
	if (!addr_is_loopback(&ret->addr))
		log_warning("config",
			"Listen: %s is no loopback address: whoever reaches it can send through this tunnel",
			ret->text);
	return 0;
}

void local_port_close(struct local_port *port)
{
	if (port->fd >= 0)
		close(port->fd);
	port->fd = -1;
}
