/* The bare cost of the job: UDP → TLS records of 16 KiB → UDP, without framing, queues, sessions or checks.
 *
 * The tunnel's cost is given as a ratio to this. All datagrams have one size, given to both ends, so that the
 * receiver needs nothing to cut the stream apart. One direction a run:
 *
 *    packer    recvmmsg (64) side by side into one buffer → SSL_write of up to 16 KiB, no more than four a turn
 *    unpacker  SSL_read of all that has arrived → one send with UDP_SEGMENT for up to 64 datagrams
 *
 *    bench-limit server --connect-udp 127.0.0.1:5001 --listen-tcp 127.0.0.1:5443 --certificate F --key F
 *                       --size N --direction up|down
 *    bench-limit client --listen-udp 127.0.0.1:5000 --connect-tcp 127.0.0.1:5443 --size N --direction up|down
 *
 * Up: the client packs, the server unpacks; down: the other way. A failing call is exit 1 with its name; the end of the
 * other side, or SIGTERM, is the end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define RECORD_BYTES 16384u /* the largest, RFC 8446 §5.1 */
#define RECORDS_A_TURN 4u
#define TURN_BYTES (RECORD_BYTES * RECORDS_A_TURN)
#define BATCH 64u
#define GSO_BYTES_MAX 65507u
#define GSO_SEGMENTS_MAX 64u
#define UDP_BUFFER_BYTES (4 << 20)
#define READ_BUFFER_BYTES (RECORDS_A_TURN * (RECORD_BYTES + 256u))

struct limit {
	struct sockaddr_in udp; /* server: connect to; client: listen on */
	struct sockaddr_in tcp;
	const char *certificate;
	const char *key;
	size_t size;
	bool is_server;
	bool is_up;
	int udp_fd;
	int tcp_fd;
	SSL *ssl;
	uint8_t buf[TURN_BYTES + GSO_BYTES_MAX];
	size_t len;
};

static _Noreturn void fail(const char *what)
{
	fprintf(stderr, "bench-limit: %s: %s\n", what, strerror(errno));
	ERR_print_errors_fp(stderr);
	exit(1);
}

static void open_udp(struct limit *limit)
{
	int bytes = UDP_BUFFER_BYTES;
	const struct sockaddr *address = (const struct sockaddr *)&limit->udp;

	limit->udp_fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (limit->udp_fd < 0)
		fail("socket");
	setsockopt(limit->udp_fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof(bytes));
	setsockopt(limit->udp_fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof(bytes));
	if (limit->is_server ? connect(limit->udp_fd, address, sizeof(limit->udp)) < 0
			     : bind(limit->udp_fd, address, sizeof(limit->udp)) < 0)
		fail("UDP address");
}

static void accept_tcp(struct limit *limit)
{
	int one = 1;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listener, (const struct sockaddr *)&limit->tcp, sizeof(limit->tcp)) < 0 || listen(listener, 1) < 0)
		fail("TCP address");
	limit->tcp_fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	close(listener);
	if (limit->tcp_fd < 0)
		fail("accept");
}

static void connect_tcp(struct limit *limit)
{
	limit->tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (limit->tcp_fd < 0 || connect(limit->tcp_fd, (const struct sockaddr *)&limit->tcp, sizeof(limit->tcp)) < 0)
		fail("connect");
}

static void open_tls(struct limit *limit)
{
	SSL_CTX *context = SSL_CTX_new(TLS_method());

	if (!context || SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION) != 1 ||
		SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256") != 1)
		fail("TLS context");
	if (limit->is_server && (SSL_CTX_use_certificate_chain_file(context, limit->certificate) != 1 ||
					SSL_CTX_use_PrivateKey_file(context, limit->key, SSL_FILETYPE_PEM) != 1))
		fail("certificate");
	SSL_CTX_set_read_ahead(context, 1);
	SSL_CTX_set_default_read_buffer_len(context, READ_BUFFER_BYTES);
	limit->ssl = SSL_new(context);
	SSL_CTX_free(context);
	if (!limit->ssl || SSL_set_fd(limit->ssl, limit->tcp_fd) != 1)
		fail("TLS");
	if ((limit->is_server ? SSL_accept(limit->ssl) : SSL_connect(limit->ssl)) != 1)
		fail("TLS handshake");
}

static void open_tcp(struct limit *limit)
{
	int one = 1;

	if (limit->is_server)
		accept_tcp(limit);
	else
		connect_tcp(limit);
	setsockopt(limit->tcp_fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	open_tls(limit);
}

/* The server opens its socket towards WireGuard with a datagram of its own, the client learns who talks to it. */
static void meet_udp(struct limit *limit)
{
	uint8_t hello[32] = {4};
	struct sockaddr_in from;
	socklen_t len = sizeof(from);

	if (limit->is_server) {
		if (send(limit->udp_fd, hello, sizeof(hello), 0) < 0 && errno != ECONNREFUSED)
			fail("send");
		return;
	}
	if (recvfrom(limit->udp_fd, hello, sizeof(hello), MSG_PEEK, (struct sockaddr *)&from, &len) < 0 ||
		connect(limit->udp_fd, (struct sockaddr *)&from, len) < 0)
		fail("UDP peer");
}

/* Datagrams of another size, like the sink's call, are left out. Return: how many of the right size came. */
static size_t pack_receive(struct limit *limit, int flags)
{
	static struct mmsghdr messages[BATCH];
	static struct iovec iovs[BATCH];
	size_t room = (TURN_BYTES - limit->len) / limit->size;
	unsigned most = room < BATCH ? (unsigned)room : BATCH;
	int count;

	for (unsigned i = 0; i < most; i++) {
		iovs[i] = (struct iovec){.iov_base = limit->buf + limit->len + i * limit->size, .iov_len = limit->size};
		messages[i].msg_hdr = (struct msghdr){.msg_iov = &iovs[i], .msg_iovlen = 1};
	}
	count = most > 0 ? recvmmsg(limit->udp_fd, messages, most, flags, NULL) : 0;
	if (count < 0 && errno != EAGAIN && errno != ECONNREFUSED)
		fail("recvmmsg");
	if (count > 0 && messages[0].msg_len != limit->size)
		return 1; /* the call, alone in front */
	for (int i = 0; i < count; i++)
		limit->len += limit->size;
	return count > 0 ? (size_t)count : 0;
}

static void pack_write(struct limit *limit)
{
	for (size_t done = 0; done < limit->len;) {
		size_t part = limit->len - done < RECORD_BYTES ? limit->len - done : RECORD_BYTES;

		if (SSL_write(limit->ssl, limit->buf + done, (int)part) <= 0)
			exit(0); /* the other side has ended */
		done += part;
	}
	limit->len = 0;
}

static void pack(struct limit *limit)
{
	for (;;) {
		pack_receive(limit, MSG_WAITFORONE);
		while (limit->len < RECORD_BYTES && pack_receive(limit, MSG_DONTWAIT) > 0)
			;
		pack_write(limit);
	}
}

static void unpack_send(struct limit *limit, size_t bytes)
{
	uint16_t size = (uint16_t)limit->size;
	_Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(size))] = {0};
	struct iovec iov = {.iov_base = limit->buf, .iov_len = bytes};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *header = CMSG_FIRSTHDR(&message);

	header->cmsg_level = SOL_UDP;
	header->cmsg_type = UDP_SEGMENT;
	header->cmsg_len = CMSG_LEN(sizeof(size));
	memcpy(CMSG_DATA(header), &size, sizeof(size));
	if (sendmsg(limit->udp_fd, &message, 0) < 0 && errno != ECONNREFUSED && errno != ENOBUFS)
		fail("sendmsg");
	limit->len -= bytes;
	memmove(limit->buf, limit->buf + bytes, limit->len);
}

static void unpack(struct limit *limit)
{
	size_t fit = GSO_BYTES_MAX / limit->size;
	size_t most = (fit < GSO_SEGMENTS_MAX ? fit : GSO_SEGMENTS_MAX) * limit->size;

	for (;;) {
		int got = SSL_read(limit->ssl, limit->buf + limit->len, RECORD_BYTES);

		if (got <= 0)
			exit(0); /* the other side has ended */
		limit->len += (size_t)got;
		while (limit->len >= most)
			unpack_send(limit, most);
		if (limit->len >= limit->size && !SSL_has_pending(limit->ssl))
			unpack_send(limit, limit->len / limit->size * limit->size);
	}
}

static _Noreturn void usage(void)
{
	fputs("usage: bench-limit server --connect-udp A:P --listen-tcp A:P --certificate F --key F --size N "
	      "--direction D\n"
	      "       bench-limit client --listen-udp A:P --connect-tcp A:P --size N --direction up|down\n",
		stderr);
	exit(2);
}

static struct sockaddr_in parse_address(const char *text)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	const char *colon = strrchr(text, ':');
	char host[INET_ADDRSTRLEN] = "";

	if (!colon || (size_t)(colon - text) >= sizeof(host))
		usage();
	memcpy(host, text, (size_t)(colon - text));
	address.sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
		usage();
	return address;
}

static void parse_option(struct limit *limit, int option)
{
	switch (option) {
	case 'u':
		limit->udp = parse_address(optarg);
		break;
	case 't':
		limit->tcp = parse_address(optarg);
		break;
	case 'c':
		limit->certificate = optarg;
		break;
	case 'k':
		limit->key = optarg;
		break;
	case 's':
		limit->size = strtoul(optarg, NULL, 10);
		break;
	case 'd':
		limit->is_up = strcmp(optarg, "up") == 0;
		break;
	default:
		usage();
	}
}

static void parse_options(struct limit *limit, int argc, char **argv)
{
	static const struct option known[] = {{"connect-udp", required_argument, NULL, 'u'},
		{"listen-udp", required_argument, NULL, 'u'}, {"listen-tcp", required_argument, NULL, 't'},
		{"connect-tcp", required_argument, NULL, 't'}, {"certificate", required_argument, NULL, 'c'},
		{"key", required_argument, NULL, 'k'}, {"size", required_argument, NULL, 's'},
		{"direction", required_argument, NULL, 'd'}, {NULL, 0, NULL, 0}};
	int option;

	limit->is_server = argc > 1 && strcmp(argv[1], "server") == 0;
	optind = 2;
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
		parse_option(limit, option);
	if (limit->udp.sin_port == 0 || limit->tcp.sin_port == 0 || limit->size < 4 || limit->size > 9000 ||
		(limit->is_server && (!limit->certificate || !limit->key)))
		usage();
}

int main(int argc, char **argv)
{
	static struct limit limit;

	prctl(PR_SET_PDEATHSIG, SIGTERM);
	parse_options(&limit, argc, argv);
	open_udp(&limit);
	open_tcp(&limit);
	meet_udp(&limit);
	if (limit.is_server != limit.is_up)
		pack(&limit);
	else
		unpack(&limit);
	return 0;
}
