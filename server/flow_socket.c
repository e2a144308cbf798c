/* The UDP sockets of the hub's flows (flow_socket.h).
 *
 * Happy path: the client's fixed address and the instance's port, bind, connect to Target, hand down. A port that is
 * taken (two instances with one hash, a socket not yet closed) becomes any port. Fails with the errno of the step.
 */
#include "server/flow_socket.h"

#include "common/process/socket_tune.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOURCE_NET 0x7f400000u	/* 127.64.0.0 */
#define SOURCE_COUNT (1u << 22) /* /10 */
#define FLOW_PORT_FIRST 20000u
#define FLOW_PORT_COUNT 40000u

struct flow_sources {
	struct addr target;
	size_t count;
	uint32_t hosts[]; /* below SOURCE_COUNT, one for each client */
};

/* FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>. Spreads; hides nothing and need not. */
static uint64_t hash_bytes(const void *bytes, size_t len)
{
	uint64_t hash = 0xcbf29ce484222325ull;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ ((const uint8_t *)bytes)[i]) * 0x100000001b3ull;
	return hash ^ hash >> 32;
}

static bool bitmap_take(uint8_t *bitmap, uint32_t at)
{
	bool is_free = !(bitmap[at / 8] & 1u << at % 8);

	bitmap[at / 8] |= (uint8_t)(1u << at % 8);
	return is_free;
}

/* Where two names hash alike, the later one of the file gets the next free address. */
static void sources_fill(struct flow_sources *sources, const char *const *names, uint8_t *bitmap)
{
	bitmap_take(bitmap, 0);
	bitmap_take(bitmap, SOURCE_COUNT - 1);
	for (size_t i = 0; i < sources->count; i++) {
		uint32_t host = (uint32_t)(hash_bytes(names[i], strlen(names[i])) % SOURCE_COUNT);

		while (!bitmap_take(bitmap, host))
			host = (host + 1) % SOURCE_COUNT;
		sources->hosts[i] = host;
	}
}

int flow_sources_open(
	struct flow_sources **ret, const char *const *names, size_t count, const struct addr *target, struct err *err)
{
	struct flow_sources *sources;
	uint8_t *bitmap;

	if (count > SOURCE_COUNT / 2)
		return err_set(err, -E2BIG, "%zu clients are too many for 127.64.0.0/10", count);
	sources = calloc(1, sizeof(*sources) + count * sizeof(sources->hosts[0]));
	bitmap = calloc(1, SOURCE_COUNT / 8);
	if (!sources || !bitmap) {
		free(sources);
		free(bitmap);
		return err_system(err, -ENOMEM, "addresses of the clients");
	}
	sources->target = *target;
	sources->count = count;
	sources_fill(sources, names, bitmap);
	free(bitmap);
	*ret = sources;
	return 0;
}

void flow_sources_close(struct flow_sources *sources)
{
	free(sources);
}

void flow_sources_get(const struct flow_sources *sources, uint32_t client, struct addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	if (sources->target.sa.sa_family == AF_INET6) {
		ret->in6.sin6_family = AF_INET6;
		ret->in6.sin6_addr = in6addr_loopback;
		return;
	}
	ret->in4.sin_family = AF_INET;
	ret->in4.sin_addr.s_addr = htonl(SOURCE_NET + sources->hosts[client]);
}

/* A port in 20000..59999 that follows from the instance id. */
static uint16_t flow_socket_port(const uint8_t instance[16])
{
	return (uint16_t)(FLOW_PORT_FIRST + hash_bytes(instance, 16) % FLOW_PORT_COUNT);
}

static int flow_bind(int fd, const struct flow_sources *sources, const struct channel_flow *wanted)
{
	struct addr source;

	if (sources->target.sa.sa_family != AF_INET)
		return 0;
	flow_sources_get(sources, wanted->client, &source);
	if (wanted->has_instance)
		addr_set_port(&source, flow_socket_port(wanted->instance));
	if (bind(fd, &source.sa, addr_len(&source)) == 0)
		return 0;
	if (errno != EADDRINUSE || !wanted->has_instance)
		return -errno;
	addr_set_port(&source, 0);
	return bind(fd, &source.sa, addr_len(&source)) < 0 ? -errno : 0;
}

int flow_socket_open(const struct flow_sources *sources, const struct channel_flow *wanted)
{
	const struct addr *target = &sources->target;
	int fd, rc;

	if (wanted->client >= sources->count)
		return -EINVAL;
	fd = socket(target->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	socket_tune_udp(fd);
	rc = flow_bind(fd, sources, wanted);
	if (rc == 0 && connect(fd, &target->sa, addr_len(target)) < 0)
		rc = -errno;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}
