/* Many clients of a hub in one process: TLS, upgrade and pongs as a client of ours has them, and no datagram.
 *
 *     bench-crowd PORT COUNT TARGET TOKEN      the hub's port on 127.0.0.1; TARGET as in its file
 *
 * A line on stdout each time that all COUNT sessions are up: seconds since the first try, or since the first one was
 * lost. A session that ends, or cannot be had, is tried again after a pause. Each client has an address of its own in
 * 127.0.0.0/8, so that the hub does not take them for one that comes too often. Ends with SIGTERM.
 */
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/tunnel/frame.h"
#include "common/tunnel/jwt.h"
#include "common/tunnel/tls.h"
#include "common/tunnel/upgrade.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define TRIES_MAX 64u /* under way at a time */
#define EVENTS 256
#define PAUSE_US (250 * CLOCK_US_PER_MS) /* before a try again */
#define TRY_US (30 * CLOCK_US_PER_S)
#define SWEEP_US (50 * CLOCK_US_PER_MS)

enum state { DOWN, SHAKING, ASKING, UP };

struct client {
	enum state state;
	int fd;
	SSL *ssl;
	uint64_t since_us; /* DOWN, SHAKING, ASKING */
	uint8_t instance[JWT_INSTANCE_LEN];
	struct in_addr from;
};

static struct client *clients;
static unsigned count, up, tries;
static struct sockaddr_in hub;
static const char *target, *token;
static SSL_CTX *context;
static int epoll_fd;
static uint64_t counted_since_us;
static uint8_t buf[16384];

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "bench-crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void lose(struct client *client, uint64_t now_us)
{
	if (client->state == UP && up-- == count)
		counted_since_us = now_us;
	if (client->state == SHAKING || client->state == ASKING)
		tries--;
	SSL_free(client->ssl);
	close(client->fd);
	client->state = DOWN;
	client->since_us = now_us;
}

static void start(struct client *client, uint64_t now_us)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = client->from};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};

	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0 || bind(client->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		fail("socket");
	client->ssl = SSL_new(context);
	if (!client->ssl || !SSL_set_fd(client->ssl, client->fd))
		fail("SSL_new");
	SSL_set_connect_state(client->ssl);
	client->state = SHAKING;
	client->since_us = now_us;
	tries++;
	if (connect(client->fd, (struct sockaddr *)&hub, sizeof(hub)) < 0 && errno != EINPROGRESS)
		lose(client, now_us);
	else if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, client->fd, &event) < 0)
		fail("epoll_ctl");
}

static bool ask(struct client *client)
{
	char jwt[JWT_TEXT_MAX], request[UPGRADE_REQUEST_MAX], key[UPGRADE_KEY_TEXT_LEN + 1];
	const char *colon = strrchr(target, ':');
	struct jwt_claims claims = {.is_udp = true,
		.port = atoi(colon + 1),
		.has_kid = true,
		.has_instance = true,
		.has_iat = true,
		.iat_s = clock_wall_s()};
	const struct upgrade_ask ask = {
		.prefix = "v1", .host = "127.0.0.1", .port = ntohs(hub.sin_port), .key = key, .jwt = jwt};
	int len;

	memcpy(claims.host, target, (size_t)(colon - target));
	memcpy(claims.instance, client->instance, sizeof(claims.instance));
	claims.has_binding = tls_channel_binding(client->ssl, claims.binding) == 0;
	jwt_make_id(claims.id, claims.iat_s * 1000);
	jwt_make_kid(claims.kid, token);
	upgrade_make_key(key);
	if (jwt_encode(jwt, sizeof(jwt), &claims, token, strlen(token)) < 0)
		return false;
	len = upgrade_write_request(request, sizeof(request), &ask);
	return len > 0 && SSL_write(client->ssl, request, len) == len;
}

/* What comes in an idle tunnel is the 101, pings, and the end. @data begins with a whole frame or the 101. */
static bool take(struct client *client, uint8_t *data, size_t len)
{
	static const uint8_t no_mask[4];
	struct frame_reader reader = {0};
	uint8_t pong[FRAME_HEADER_MAX + FRAME_CONTROL_MAX];

	if (client->state == ASKING) {
		uint8_t *end = memmem(data, len, "\r\n\r\n", 4);

		if (len < 12 || memcmp(data + 9, "101", 3) != 0 || !end)
			return false;
		client->state = UP;
		tries--;
		up++;
		len -= (size_t)(end + 4 - data);
		data = end + 4;
	}
	while (len > 0) {
		struct frame_event event;
		size_t used;

		if (frame_reader_next(&reader, data, len, &used, &event) != FRAME_OK || event.opcode == FRAME_CLOSE)
			return false;
		if (event.opcode == FRAME_PING) {
			size_t pong_len = frame_encode_control(pong, FRAME_PONG, event.payload, event.len, no_mask);

			if (SSL_write(client->ssl, pong, (int)pong_len) <= 0)
				return false;
		}
		data += used;
		len -= used;
	}
	return true;
}

static bool serve(struct client *client)
{
	if (client->state == SHAKING) {
		int rc = SSL_do_handshake(client->ssl);

		if (rc != 1)
			return SSL_get_error(client->ssl, rc) == SSL_ERROR_WANT_READ ||
			       SSL_get_error(client->ssl, rc) == SSL_ERROR_WANT_WRITE;
		if (!ask(client))
			return false;
		client->state = ASKING;
	}
	for (;;) {
		int n = SSL_read(client->ssl, buf, sizeof(buf));

		if (n <= 0)
			return SSL_get_error(client->ssl, n) == SSL_ERROR_WANT_READ;
		if (!take(client, buf, (size_t)n))
			return false;
	}
}

/* Start what is down, give up what takes too long. */
static void sweep(uint64_t now_us)
{
	for (struct client *client = clients; client < clients + count; client++) {
		uint64_t age_us = now_us - client->since_us;

		if ((client->state == SHAKING || client->state == ASKING) && age_us > TRY_US)
			lose(client, now_us);
		else if (client->state == DOWN && age_us > PAUSE_US && tries < TRIES_MAX)
			start(client, now_us);
	}
}

static void run(void)
{
	struct epoll_event events[EVENTS];
	uint64_t swept_us = 0;
	bool is_told = false;

	for (;;) {
		int n = epoll_wait(epoll_fd, events, EVENTS, SWEEP_US / CLOCK_US_PER_MS);
		uint64_t now_us = clock_now_us();

		for (int i = 0; i < n; i++) {
			struct client *client = events[i].data.ptr;

			ERR_clear_error();
			if (client->state != DOWN && !serve(client))
				lose(client, now_us);
		}
		if (up == count && !is_told) {
			printf("%.2f\n", (double)(now_us - counted_since_us) / CLOCK_US_PER_S);
			fflush(stdout);
		}
		is_told = up == count;
		if (up < count && (now_us - swept_us > SWEEP_US || tries < TRIES_MAX / 2)) {
			swept_us = now_us;
			sweep(now_us);
		}
	}
}

int main(int argc, char **argv)
{
	struct rlimit files;
	const struct tls_client_setup setup = {.has_pins = true};
	struct err err = {""};

	if (argc != 5 || !strrchr(argv[3], ':')) {
		fputs("usage: bench-crowd PORT COUNT TARGET TOKEN\n", stderr);
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	hub = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(argv[1])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	count = (unsigned)atoi(argv[2]);
	target = argv[3];
	token = argv[4];
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	clients = calloc(count, sizeof(*clients));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!clients || epoll_fd < 0 || tls_client_context(&context, &setup, &err) < 0)
		fail("start");
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	for (unsigned i = 0; i < count; i++) {
		RAND_bytes(clients[i].instance, sizeof(clients[i].instance));
		clients[i].from.s_addr = htonl((127u << 24) + (1u << 16) + i);
	}
	counted_since_us = clock_now_us();
	run();
}
