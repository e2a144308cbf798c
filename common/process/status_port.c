/* See status_port.h.
 *
 * Happy path: bind() while nothing is changed on the host yet, listen() when the device is up. A socket that is bound
 * to a device hears what comes in by it: whoever sends to the tunnel's address by another interface, which Linux would
 * accept, finds no port. Fails with the key's place and a remedy; a port in use is told with its owner.
 */
#include "common/process/status_port.h"

#include "common/base/place.h"
#include "common/net/port_owner.h"
#include "common/process/socket_tune.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_PORT 9586
#define BACKLOG 16

int status_key_parse(void *owner, const char *text, const struct key_place *place)
{
	struct status_key *key = (struct status_key *)((char *)owner + place->row->offset);

	if (addr_parse(text, DEFAULT_PORT, &key->addr) < 0)
		return key_complain(place, "not an address with its port; expected for example 127.0.0.1:9586");
	addr_format(key->text, sizeof(key->text), &key->addr);
	snprintf(key->place, sizeof(key->place), "%.400s%s%s", PLACE(place->path, place->line), place->key ? ": " : "",
		place->key ? place->key : "");
	return 0;
}

int status_key_check(struct status_key *key, const struct wg_config *config, const struct key_place *place)
{
	char example[ADDR_TEXT_MAX];
	struct addr host = key->addr;

	if (key->addr.sa.sa_family == AF_UNSPEC || addr_is_loopback(&key->addr))
		return 0;
	addr_set_port(&host, 0);
	for (size_t i = 0; config && i < config->interface.address_count && !key->is_of_device; i++)
		key->is_of_device = addr_equal(&config->interface.addresses[i].prefix.addr, &host);
	if (key->is_of_device)
		return 0;
	if (!config || config->interface.address_count == 0)
		return key_complain(place,
			"everybody could read it there; expected an address of the loopback, as in "
			"127.0.0.1:%u",
			addr_port(&key->addr));
	host = config->interface.addresses[0].prefix.addr;
	addr_set_port(&host, addr_port(&key->addr));
	return key_complain(place,
		"neither an address of the loopback nor an Address of our device; expected 127.0.0.1:%u, or %s for the "
		"tunnel alone",
		addr_port(&key->addr), addr_format(example, sizeof(example), &host));
}

/* The program that has the port, as far as it can be known, and what helps. */
static int refuse(const struct status_key *key, int code, struct err *err)
{
	struct service service = {.protocol = IPPROTO_TCP,
		.address = key->addr,
		.ports = {addr_port(&key->addr), addr_port(&key->addr)},
		.to = key->addr};
	char remedy[160], name[PORT_OWNER_NAME_MAX + 64] = "";
	struct port_owner owner;

	addr_set_port(&service.address, 0);
	if (code == -EADDRINUSE && port_owner_find(&service, &owner) && owner.pid > 0)
		snprintf(name, sizeof(name), " by %s, process %d", owner.name, owner.pid);
	socket_bind_remedy(remedy, sizeof(remedy), code, "-ltnp", "127.0.0.1", addr_port(&key->addr));
	return err_set(err, code, "%s: '%s': %s%s; %s", key->place, key->text, strerror(-code), name, remedy);
}

/* Free of the device's fate: an address that is not there yet (IP_FREEBIND), or is still being probed (IPv6). */
static int bind_port(int fd, const struct status_key *key)
{
	bool is_ipv4 = key->addr.sa.sa_family == AF_INET;
	const int on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		return -errno;
	if (key->is_of_device && setsockopt(fd, is_ipv4 ? IPPROTO_IP : IPPROTO_IPV6,
					 is_ipv4 ? IP_FREEBIND : IPV6_FREEBIND, &on, sizeof(on)) < 0)
		return -errno;
	return socket_bind(fd, &key->addr);
}

static bool is_same(const struct status_port *before, const struct status_key *key)
{
	return before && before->fd >= 0 && addr_equal(&before->key.addr, &key->addr) &&
	       before->key.is_of_device == key->is_of_device;
}

int status_port_open(
	struct status_port *ret, const struct status_key *key, const struct status_port *before, struct err *err)
{
	int rc = 0;

	*ret = (struct status_port){.key = *key, .fd = -1};
	if (key->addr.sa.sa_family == AF_UNSPEC)
		return 0;
	if (is_same(before, key))
		ret->fd = fcntl(before->fd, F_DUPFD_CLOEXEC, 0);
	else
		ret->fd = socket(key->addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (ret->fd < 0)
		return refuse(key, -errno, err);
	if (!is_same(before, key))
		rc = bind_port(ret->fd, key);
	if (rc == 0)
		return 0;
	status_port_close(ret);
	return refuse(key, rc, err);
}

int status_port_listen(const struct status_port *port, const char *device, struct err *err)
{
	if (port->fd < 0)
		return 0;
	if (port->key.is_of_device &&
		setsockopt(port->fd, SOL_SOCKET, SO_BINDTODEVICE, device, (socklen_t)strlen(device)) < 0)
		return err_system(err, -errno, "%s: '%s': device %s", port->key.place, port->key.text, device);
	return listen(port->fd, BACKLOG) < 0 ? refuse(&port->key, -errno, err) : 0;
}

void status_port_close(struct status_port *port)
{
	if (port->fd >= 0)
		close(port->fd);
	port->fd = -1;
}
