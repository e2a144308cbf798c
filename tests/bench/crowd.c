/* Many clients of a hub in one process: TLS, upgrade, pongs and waits between tries as a client of ours has them, but
 * no datagram.
 *
 *     bench-crowd PORT COUNT TARGET TOKENS [AT_ONCE]
 *
 * The hub's port on 127.0.0.1; TARGET as in its file; TOKENS: a file with one on each line, which are given to the
 * clients in turn; so many tries are under way at the same time, by default all: as after a restart of the hub.
 *
 * A line on stdout each time that all COUNT sessions are up: seconds since the first try, or since the first one was
 * lost; tries since then; how many of the sessions were resumed by TLS. Each client has an address of its own in
 * 127.0.0.0/8, so that the hub does not take them for one that comes too often. Ends with SIGTERM.
 */
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/tunnel/backoff.h"
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

#define EVENTS 64
#define PHASE_US (10 * CLOCK_US_PER_S) /* for TCP, for TLS, for the answer: client/attempt.c */
#define STABLE_US (5 * CLOCK_US_PER_S) /* client/link.c */
#define SWEEP_US (20 * CLOCK_US_PER_MS)

enum state { DOWN, DIALLING, SHAKING, ASKING, UP };

struct client {
	enum state state;
	int fd;
	SSL *ssl;
	SSL_SESSION *resume; /* the newest, or NULL */
	const char *token;
	uint64_t since_us; /* of the state */
	uint32_t wait_ms;  /* DOWN: before the next try */
	struct backoff backoff;
	uint8_t instance[JWT_INSTANCE_LEN];
	struct in_addr from;
};

static struct client *clients;
static unsigned count, up, tries, resumed;
static unsigned under_way, at_once;
static struct sockaddr_in hub;
static const char *target;
static SSL_CTX *context;
static int epoll_fd;
static uint64_t counted_since_us;
static uint8_t buf[16384];

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "bench-crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void enter(struct client *client, enum state state, uint64_t now_us)
{
	client->state = state;
	client->since_us = now_us;
}

static void lose(struct client *client, uint64_t now_us)
{
	uint32_t random = 0;

	if (client->state == UP && up-- == count) {
		counted_since_us = now_us;
		tries = resumed = 0;
	}
	under_way -= client->state != UP;
	if (client->state == UP && now_us - client->since_us > STABLE_US)
		backoff_reset(&client->backoff);
	RAND_bytes((uint8_t *)&random, sizeof(random));
	client->wait_ms = backoff_next_ms(&client->backoff, random);
	SSL_free(client->ssl);
	close(client->fd);
	enter(client, DOWN, now_us);
}

/* As attempt_keep_session() does. */
static int keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct client *client = SSL_get_app_data(ssl);

	SSL_SESSION_free(client->resume);
	client->resume = SSL_SESSION_dup(session);
	return 0;
}

static void start(struct client *client, uint64_t now_us)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr = client->from};
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};

	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (client->fd < 0 || bind(client->fd, (struct sockaddr *)&from, sizeof(from)) < 0)
		fail("socket");
	client->ssl = SSL_new(context);
	if (!client->ssl || !SSL_set_fd(client->ssl, client->fd) || !SSL_set_app_data(client->ssl, client) ||
		(client->resume && !SSL_set_session(client->ssl, client->resume)))
		fail("SSL_new");
	SSL_set_connect_state(client->ssl);
	enter(client, DIALLING, now_us);
	under_way++;
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
	jwt_make_kid(claims.kid, client->token);
	upgrade_make_key(key);
	if (jwt_encode(jwt, sizeof(jwt), &claims, client->token, strlen(client->token)) < 0)
		return false;
	len = upgrade_write_request(request, sizeof(request), &ask);
	return len > 0 && SSL_write(client->ssl, request, len) == len;
}

/* What comes in an idle tunnel is the 101, pings, and the end. @data begins with a whole frame or the 101. */
static bool take(struct client *client, uint8_t *data, size_t len, uint64_t now_us)
{
	static const uint8_t no_mask[4];
	struct frame_reader reader = {0};
	uint8_t pong[FRAME_HEADER_MAX + FRAME_CONTROL_MAX];

	if (client->state == ASKING) {
		uint8_t *end = memmem(data, len, "\r\n\r\n", 4);

		if (len < 12 || memcmp(data + 9, "101", 3) != 0 || !end)
			return false;
		enter(client, UP, now_us);
		under_way--;
		resumed += (unsigned)SSL_session_reused(client->ssl);
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

static bool serve(struct client *client, uint64_t now_us)
{
	if (client->state == DIALLING)
		enter(client, SHAKING, now_us);
	if (client->state == SHAKING) {
		int rc = SSL_do_handshake(client->ssl);

		if (rc != 1)
			return SSL_get_error(client->ssl, rc) == SSL_ERROR_WANT_READ ||
			       SSL_get_error(client->ssl, rc) == SSL_ERROR_WANT_WRITE;
		if (!ask(client))
			return false;
		enter(client, ASKING, now_us);
	}
	for (;;) {
		int n = SSL_read(client->ssl, buf, sizeof(buf));

		if (n <= 0)
			return SSL_get_error(client->ssl, n) == SSL_ERROR_WANT_READ;
		if (!take(client, buf, (size_t)n, now_us))
			return false;
	}
}

/* Start what is down, give up what takes too long. */
static void sweep(uint64_t now_us)
{
	for (struct client *client = clients; client < clients + count; client++) {
		uint64_t age_us = now_us - client->since_us;

		if (client->state != DOWN && client->state != UP && age_us > PHASE_US)
			lose(client, now_us);
		else if (client->state == DOWN && under_way < at_once && age_us > client->wait_ms * CLOCK_US_PER_MS)
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
			if (client->state != DOWN && !serve(client, now_us))
				lose(client, now_us);
		}
		if (up == count && !is_told) {
			printf("%.2f s, %u tries, %u resumed\n", (double)(now_us - counted_since_us) / CLOCK_US_PER_S,
				tries, resumed);
			fflush(stdout);
		}
		is_told = up == count;
		/* As long as answers wait for us, it is not the hub that is late. */
		if (n < EVENTS && up < count && now_us - swept_us > SWEEP_US) {
			swept_us = now_us;
			sweep(now_us);
		}
	}
}

/* Ends the program where there is none. */
static char **read_tokens(const char *path, size_t *ret_count)
{
	FILE *file = fopen(path, "re");
	char **tokens = NULL, *line = NULL;
	size_t size = 0;

	*ret_count = 0;
	while (file && getline(&line, &size, file) > 0) {
		tokens = realloc(tokens, (*ret_count + 1) * sizeof(*tokens));
		line[strcspn(line, "\n")] = '\0';
		if (!tokens || !(tokens[(*ret_count)++] = strdup(line)))
			fail("tokens");
	}
	if (*ret_count == 0)
		fail(path);
	free(line);
	fclose(file);
	return tokens;
}

int main(int argc, char **argv)
{
	size_t token_count;
	char **tokens;
	struct rlimit files;
	const struct tls_client_setup setup = {.has_pins = true};
	struct err err = {""};

	if (argc < 5 || argc > 6 || !strrchr(argv[3], ':')) {
		fputs("usage: bench-crowd PORT COUNT TARGET TOKENS [AT_ONCE]\n", stderr);
		return 2;
	}
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	signal(SIGPIPE, SIG_IGN);
	hub = (struct sockaddr_in){.sin_family = AF_INET,
		.sin_port = htons((uint16_t)atoi(argv[1])),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	count = (unsigned)atoi(argv[2]);
	at_once = argc > 5 ? (unsigned)atoi(argv[5]) : count;
	target = argv[3];
	tokens = read_tokens(argv[4], &token_count);
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	clients = calloc(count, sizeof(*clients));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!clients || epoll_fd < 0 || tls_client_context(&context, &setup, &err) < 0)
		fail("start");
	SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
	tls_client_on_session(context, keep_session);
	for (unsigned i = 0; i < count; i++) {
		RAND_bytes(clients[i].instance, sizeof(clients[i].instance));
		clients[i].token = tokens[i % token_count];
		clients[i].from.s_addr = htonl((127u << 24) + (1u << 16) + i);
	}
	counted_since_us = clock_now_us();
	run();
}
