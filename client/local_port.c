/* socket(), bind(), and getsockname() for the port that the kernel chose. Fails with one line that names the key, the
 * cause and the remedy. */
#include "client/local_port.h"

#include "common/base/log.h"
#include "common/process/socket_tune.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* IPv6 without IPv4, so that "[::]:51820" and "0.0.0.0:51820" can belong to two programs. */
static int bind_port(int fd, const struct addr *addr, struct addr *ret)
{
	struct sockaddr_storage bound;
	socklen_t len = sizeof(bound);
	const int on = 1;
	int rc;

	if (addr->sa.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	socket_tune_udp(fd); /* before bind(): datagrams may come at once */
	rc = socket_bind(fd, addr);
	if (rc < 0)
		return rc;
	if (getsockname(fd, (struct sockaddr *)&bound, &len) < 0)
		return -errno;
	addr_from_sockaddr((const struct sockaddr *)&bound, ret);
	return 0;
}

/* Non-blocking, and not inherited by programs that the supervisor starts; the worker gets it over the channel. */
int local_port_open(struct local_port *ret, const struct client_config *config, struct err *err)
{
	int fd = socket(config->listen.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc = fd < 0 ? -errno : bind_port(fd, &config->listen, &ret->addr);
	char key[ERR_TEXT_MAX / 2], remedy[160];

	if (rc < 0) {
		if (fd >= 0)
			close(fd);
		return err_set(err, rc, "%s: '%s': %s; %s", client_config_listen_place(config, key, sizeof(key)),
			config->listen_text, strerror(-rc),
			socket_bind_remedy(
				remedy, sizeof(remedy), rc, "-lunp", "127.0.0.1", addr_port(&config->listen)));
	}
	ret->fd = fd;
	addr_format(ret->text, sizeof(ret->text), &ret->addr);
	/* The port has no password: WireGuard on this host is trusted, the network is not. */
	if (!addr_is_loopback(&ret->addr))
		log_warning("config",
			"Listen: %s is no loopback address: every host that reaches it can send through this tunnel",
			ret->text);
	return 0;
}

void local_port_close(struct local_port *port)
{
	if (port->fd >= 0)
		close(port->fd);
	port->fd = -1;
}
