/* The hub's TCP listeners (listener.h).
 *
 * Happy path: make a socket, set options that accepted connections inherit, bind, listen. It fails with the line of the
 * file and a remedy for what users meet: a port in use, an address of another host, a port under 1024 without
 * privilege.
 */
#include "server/listener.h"

#include "common/base/place.h"
#include "common/process/socket_tune.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LISTENER_BACKLOG 4096 /* the kernel cuts it to net.core.somaxconn */
/* It does not take a lost segment for a full line: with 1 % lost, 17 Mbit/s of 20 instead of 2 with cubic. How fast it
 * sends is the governor's affair (common/tunnel/governor.h). */
#define LISTENER_CONGESTION "bbr"
#define LISTENER_USER_TIMEOUT_MS 20000 /* unacknowledged bytes: longer than a roaming client needs to come again */

/* The default listener has no line in the file, so [Server]'s line is named. */
static int fail_with_line(
	const struct server_config *config, const struct server_listen *listen, int code, struct err *err)
{
	bool is_ipv4 = listen->addr.sa.sa_family == AF_INET;
	const char *any = is_ipv4 ? "0.0.0.0" : "[::]", *own = is_ipv4 ? "127.0.0.1" : "[::1]";
	char remedy[160];

	if (code == -EAFNOSUPPORT)
		snprintf(remedy, sizeof(remedy), "this host has no %s; leave the address out", is_ipv4 ? "IPv4" : "IPv6");
	else
		socket_bind_remedy(remedy, sizeof(remedy), code, "-ltnp", listen->cleartext ? own : any,
			addr_port(&listen->addr));
	return err_set(err, code, "%s: Listen: '%s': %s; %s",
		PLACE(config->path, listen->line ? listen->line : config->main_line), listen->text, strerror(-code),
		remedy);
}

/* SO_REUSEADDR: a restart must not wait for connections of before in TIME_WAIT. IPV6_V6ONLY: [::] beside 0.0.0.0, as
 * the configuration has them, whatever the host's default is. */
static int bind_and_listen(int fd, const struct addr *addr)
{
	const int on = 1;
	int rc;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (addr->sa.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	socket_tune_tcp(fd, LISTENER_CONGESTION, LISTENER_USER_TIMEOUT_MS);
	rc = socket_bind(fd, addr);
	if (rc == 0 && listen(fd, LISTENER_BACKLOG) < 0)
		rc = -errno;
	return rc;
}

int listener_open(const struct server_config *config, const struct server_listen *listen, struct err *err)
{
	int fd = socket(listen->addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int rc;

	if (fd < 0)
		return fail_with_line(config, listen, -errno, err);
	rc = bind_and_listen(fd, &listen->addr);
	if (rc == 0)
		return fd;
	close(fd);
	return fail_with_line(config, listen, rc, err);
}
