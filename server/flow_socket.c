/* The UDP sockets of the hub's flows (flow_socket.h).
 *
 * Happy path: make a socket, bind it to the client's fixed address and the instance's port, connect it to Target. Where
 * Target is hidden in a namespace, that is entered for the one call that makes the socket; a socket stays in the
 * namespace where it was made. A port that is taken (two instances with one hash, a socket not yet closed) becomes any
 * port. It fails with the errno of the step, and the supervisor answers the worker with it.
 */
#include "server/flow_socket.h"

#include "common/base/log.h"
#include "common/process/socket_tune.h"
#include "server/client_number.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLOW_PORT_FIRST                                                                                                \
	20000u /* above the ports of services; on an address of 127.64.0.0/10 hardly any program listens */
#define FLOW_PORT_COUNT 40000u

int flow_address_open(struct flow_address *address, const struct addr *target, int netns_fd, struct err *err)
{
	*address = (struct flow_address){.target = *target, .netns_fd = netns_fd, .home_fd = -1};
	if (netns_fd < 0)
		return 0;
	address->home_fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
	return address->home_fd < 0 ? err_system(err, -errno, "/proc/thread-self/ns/net") : 0;
}

void flow_address_close(struct flow_address *address)
{
	if (address->home_fd >= 0)
		close(address->home_fd);
	address->home_fd = -1;
}

static int make_socket(const struct flow_address *address)
{
	int fd;

	if (address->netns_fd >= 0 && setns(address->netns_fd, CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(address->target.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		fd = -errno;
	if (address->netns_fd >= 0 && setns(address->home_fd, CLONE_NEWNET) < 0) {
		/* Whatever the supervisor does next would be done in the wrong namespace. */
		log_error("session", "coming back from the worker's network namespace: %s", strerror(errno));
		abort();
	}
	return fd;
}

/* Bind to the client's address and a port in 20000..59999 that follows from the instance id, which is random. */
static int bind_source(int fd, const struct channel_flow *wanted)
{
	struct addr source;
	uint64_t word;

	client_number_address(wanted->client, &source);
	memcpy(&word, wanted->instance, sizeof(word));
	if (wanted->has_instance)
		addr_set_port(&source, (uint16_t)(FLOW_PORT_FIRST + word % FLOW_PORT_COUNT));
	if (bind(fd, &source.sa, addr_len(&source)) == 0)
		return 0;
	if (errno != EADDRINUSE || !wanted->has_instance)
		return -errno;
	addr_set_port(&source, 0);
	return bind(fd, &source.sa, addr_len(&source)) < 0 ? -errno : 0;
}

int flow_socket_open(const struct flow_address *address, const struct channel_flow *wanted)
{
	const struct addr *target = &address->target;
	int fd, rc = 0;

	if (wanted->client == 0 || wanted->client > CLIENT_NUMBER_MAX)
		return -EINVAL;
	fd = make_socket(address);
	if (fd < 0)
		return fd;
	socket_tune_udp(fd);
	if (target->sa.sa_family == AF_INET)
		rc = bind_source(fd, wanted);
	if (rc == 0 && connect(fd, &target->sa, addr_len(target)) < 0)
		rc = -errno;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}
