/* UDP load for the benchmarks: reads the command line, then becomes one of the parts of load.h.
 *
 *    bench-load send --to 127.0.0.1:5000 --size 1452 --shared FILE [--window N | --rate N] [--gso] [--seconds S]
 *    bench-load send --listen 127.0.0.1:5001 …      waits for a first datagram and sends to where that came from
 *    bench-load sink --listen 127.0.0.1:5001 --shared FILE
 *    bench-load sink --to 127.0.0.1:5000 --shared FILE
 *    bench-load echo --listen 127.0.0.1:5001
 *    bench-load ping --to 127.0.0.1:5000 --size 120 --rate 100 --seconds 5
 *    bench-load fan --to 127.0.0.1:5000 --count 100
 * A wrong command line is exit 2, a failing system call exit 1 with its name.
 */
#include "load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000ull
#define SOCKET_BUFFER_BYTES (16 << 20) /* a busy receiver may lag by this much without losing a datagram itself */
#define LOOK_UP_US 50000	       /* how long a blocked receive may miss a signal */
#define WG_TYPE_DATA 4		       /* WireGuard paper §5.4.6 */

static volatile sig_atomic_t stopped;

static void on_signal(int number)
{
	(void)number;
	stopped = 1;
}

bool load_is_stopped(void)
{
	return stopped;
}

uint64_t load_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void load_sleep_until_ns(uint64_t deadline_ns)
{
	struct timespec until = {.tv_sec = (time_t)(deadline_ns / NS_PER_S), .tv_nsec = (long)(deadline_ns % NS_PER_S)};

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

_Noreturn void load_fail(const char *what)
{
	fprintf(stderr, "bench-load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void grow_buffer(int fd, int forced, int polite)
{
	int bytes = SOCKET_BUFFER_BYTES;

	if (setsockopt(fd, SOL_SOCKET, forced, &bytes, sizeof(bytes)) < 0)
		setsockopt(fd, SOL_SOCKET, polite, &bytes, sizeof(bytes));
}

int load_open_socket(const struct sockaddr_in *local)
{
	struct timeval look_up = {.tv_usec = LOOK_UP_US};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		load_fail("socket");
	grow_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
	grow_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &look_up, sizeof(look_up)) < 0)
		load_fail("setsockopt");
	if (local->sin_port != 0 && bind(fd, (const struct sockaddr *)local, sizeof(*local)) < 0)
		load_fail("bind");
	return fd;
}

void load_fill_datagram(uint8_t *buf, size_t size)
{
	for (size_t i = 0; i < size; i++)
		buf[i] = (uint8_t)(i * 31 + 7);
	memset(buf, 0, LOAD_HEADER_BYTES);
	buf[0] = WG_TYPE_DATA;
}

static _Noreturn void usage(void)
{
	fputs("usage: bench-load send|sink|echo|ping|fan [--to ADDRESS:PORT] [--listen ADDRESS:PORT] [--shared FILE]\n"
	      "       [--size BYTES] [--seconds S] [--rate N] [--window N] [--count N] [--gso]\n",
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
	if (address.sin_port == 0 || inet_pton(AF_INET, host, &address.sin_addr) != 1)
		usage();
	return address;
}

static struct load_shared *map_shared(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	void *memory;

	if (fd < 0 || ftruncate(fd, sizeof(struct load_shared)) < 0)
		load_fail(path);
	memory = mmap(NULL, sizeof(struct load_shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory == MAP_FAILED)
		load_fail("mmap");
	close(fd);
	return memory;
}

static void parse_option(struct load_options *options, int option)
{
	switch (option) {
	case 't':
		options->to = parse_address(optarg);
		break;
	case 'l':
		options->listen = parse_address(optarg);
		break;
	case 'm':
		options->shared = map_shared(optarg);
		break;
	case 's':
		options->size = strtoul(optarg, NULL, 10);
		break;
	case 'd':
		options->seconds = strtod(optarg, NULL);
		break;
	case 'r':
		options->rate = strtoull(optarg, NULL, 10);
		break;
	case 'w':
		options->window = strtoull(optarg, NULL, 10);
		break;
	case 'c':
		options->count = (unsigned)strtoul(optarg, NULL, 10);
		break;
	case 'g':
		options->gso = true;
		break;
	default:
		usage();
	}
}

static void parse_options(struct load_options *options, int argc, char **argv)
{
	static const struct option known[] = {{"to", required_argument, NULL, 't'},
		{"listen", required_argument, NULL, 'l'}, {"shared", required_argument, NULL, 'm'},
		{"size", required_argument, NULL, 's'}, {"seconds", required_argument, NULL, 'd'},
		{"rate", required_argument, NULL, 'r'}, {"window", required_argument, NULL, 'w'},
		{"count", required_argument, NULL, 'c'}, {"gso", no_argument, NULL, 'g'}, {NULL, 0, NULL, 0}};
	static struct load_shared unshared;
	int option;

	options->shared = &unshared;
	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
		parse_option(options, option);
	if (optind != argc || options->size < LOAD_HEADER_BYTES || options->size > LOAD_DATAGRAM_MAX)
		usage();
}

static void catch_signals(void)
{
	struct sigaction action = {.sa_handler = on_signal}; /* without SA_RESTART: a blocked receive returns */

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	prctl(PR_SET_TIMERSLACK, 1000ul); /* ns; the default of 50 µs would be most of what ping measures */
}

static bool has(const struct sockaddr_in *address)
{
	return address->sin_port != 0;
}

int main(int argc, char **argv)
{
	struct load_options options = {.size = 1452, .rate = 0, .count = 1};
	const char *part = argc > 1 ? argv[1] : "";

	optind = 2;
	parse_options(&options, argc, argv);
	catch_signals();
	if (strcmp(part, "send") == 0 && has(&options.to) != has(&options.listen))
		load_send(&options);
	else if (strcmp(part, "sink") == 0 && has(&options.to) != has(&options.listen))
		load_sink(&options);
	else if (strcmp(part, "echo") == 0 && has(&options.listen))
		load_echo(&options);
	else if (strcmp(part, "ping") == 0 && has(&options.to) && options.rate > 0)
		load_ping(&options);
	else if (strcmp(part, "fan") == 0 && has(&options.to) && options.count > 0)
		load_fan(&options);
	else
		usage();
	return 0;
}
