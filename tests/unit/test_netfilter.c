/* Published services in a kernel: that they are reached, counted and ended. Needs root and nftables; tests/kernel runs
 * it, elsewhere it may be skipped. The host under test is this process's own network namespace:
 *
 *     stranger 203.0.113.50 ── eth0 203.0.113.10 [here] home 10.10.0.1 ── server 10.10.0.2, and fd10::, 2001:db8:1:: likewise
 */
#include "common/net/netfilter.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TABLE "towpath-hub"
#define SOCKETS_MAX 16

#define NEIGHBOUR(name, device, own, its, own6, its6)                                                                  \
	"ip netns add " name "; ip link add name " device " type veth peer name e netns " name ";"                     \
	"ip addr add " own "/24 dev " device "; ip addr add " own6 "/64 dev " device " nodad; ip link set " device     \
	" up; ip -n " name " link set lo up; ip -n " name " addr add " its "/24 dev e;"                                \
	"ip -n " name " addr add " its6 "/64 dev e nodad; ip -n " name " link set e up;"

static const char world[] =
	"set -e; mount --make-rprivate /; mkdir -p /run/netns; mount -t tmpfs netns /run/netns; ip link set lo up;" NEIGHBOUR(
		"stranger", "eth0", "203.0.113.10", "203.0.113.50", "2001:db8:1::10", "2001:db8:1::50")
		NEIGHBOUR("server", "home", "10.10.0.1", "10.10.0.2", "fd10::1",
			"fd10::2") "ip -n server route add default via 10.10.0.1;"
				   "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding;"
				   "n=0; until ip netns exec stranger ping -c1 -W1 2001:db8:1::10 && ip netns exec server ping "
				   "-c1 -W1 fd10::1; do n=$((n + 1)); test $n -lt 10; done >/dev/null";

static bool has_world;
static int sockets[SOCKETS_MAX]; /* those of one test */
static size_t socket_count;
static struct service service;
static struct firewall_service services[] = {{.service = &service, .id = 7}};
static struct err err;

static int make_world(void **state)
{
	(void)state;
	if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 || system("nft list ruleset >/dev/null 2>&1") != 0)
		return 0;
	has_world = system(world) == 0;
	return has_world ? 0 : -1;
}

static int close_sockets(void **state)
{
	(void)state;
	while (socket_count > 0)
		close(sockets[--socket_count]);
	return 0;
}

static struct addr addr_of(const char *text)
{
	struct addr addr;

	assert_int_equal(addr_parse(text, 1, &addr), 0);
	return addr;
}

/* A socket that lives on that host; NULL: here. */
static int socket_at(const char *host, int family, int type)
{
	int home = open("/proc/self/ns/net", O_RDONLY), there, fd;
	char path[64];

	snprintf(path, sizeof(path), host ? "/run/netns/%s" : "/proc/self/ns/net", host);
	there = open(path, O_RDONLY);
	assert_int_equal(setns(there, CLONE_NEWNET), 0);
	fd = socket(family, type, 0);
	assert_int_equal(setns(home, CLONE_NEWNET), 0);
	close(there);
	close(home);
	assert_true(fd >= 0 && socket_count < SOCKETS_MAX);
	sockets[socket_count++] = fd;
	return fd;
}

static int serve(const char *address, int type)
{
	struct addr addr = addr_of(address);
	int fd = socket_at("server", addr.sa.sa_family, type);

	assert_int_equal(bind(fd, &addr.sa, addr_len(&addr)), 0);
	assert_true(type == SOCK_DGRAM || listen(fd, 9) == 0);
	return fd;
}

/* Return: the socket, connected, or -1. */
static int reach(const char *host, const char *address, int type)
{
	struct addr addr = addr_of(address);
	const struct timeval limit = {.tv_sec = 10};
	int fd = socket_at(host, addr.sa.sa_family, type);

	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	return connect(fd, &addr.sa, addr_len(&addr)) == 0 ? fd : -1;
}

static void assert_sees(int listener, const char *address)
{
	struct sockaddr_storage storage;
	socklen_t len = sizeof(storage);
	char text[ADDR_TEXT_MAX];
	struct addr peer;

	assert_true(socket_count < SOCKETS_MAX);
	sockets[socket_count] = accept(listener, (struct sockaddr *)&storage, &len);
	assert_true(sockets[socket_count++] >= 0);
	addr_from_sockaddr((const struct sockaddr *)&storage, &peer);
	assert_string_equal(addr_format_host(text, sizeof(text), &peer), address);
}

static void load(void)
{
	static char opened[1][IFNAMSIZ] = {"eth0"};
	const struct firewall_setup setup = {.table = TABLE,
		.device = "home",
		.services = services,
		.service_count = 1,
		.opened = opened,
		.opened_count = 1,
		.confines = true};
	char *text = firewall_format(&setup);
	FILE *nft = popen("nft -f -", "we");

	assert_non_null(text);
	fputs(text, nft);
	assert_int_equal(pclose(nft), 0);
	free(text);
}

/* Publish @port at all addresses and lead it to @to. */
static void publish(uint8_t protocol, uint16_t port, const char *to)
{
	if (!has_world)
		skip();
	assert_int_equal(system("nft flush ruleset"), 0);
	service = (struct service){.protocol = protocol, .ports = {port, port}, .to = addr_of(to)};
	service.to_ports = (struct service_ports){addr_port(&service.to), addr_port(&service.to)};
	addr_set_port(&service.to, 0);
	services[0].counts = (struct service_counts){.connections = 0};
	assert_int_equal(netfilter_end(&service, &err), 0);
	load();
}

static size_t open_connections(void)
{
	size_t count = 99;

	assert_int_equal(netfilter_count_open(services, 1, &count, &err), 0);
	return count;
}

static void all_reach_it_and_are_counted(void **state)
{
	int listener, fd;
	char text[100];

	(void)state;
	publish(IPPROTO_TCP, 80, "10.10.0.2:8080");
	listener = serve("10.10.0.2:8080", SOCK_STREAM);
	fd = reach("stranger", "203.0.113.10:80", SOCK_STREAM);
	assert_true(fd >= 0);
	assert_sees(listener, "10.10.0.1");
	assert_int_equal(open_connections(), 1);
	assert_int_equal(send(sockets[socket_count - 1], "an answer", 9, 0), 9);
	assert_int_equal(recv(fd, text, sizeof(text), 0), 9);
	assert_true(reach(NULL, "203.0.113.10:80", SOCK_STREAM) >= 0);
	assert_sees(listener, "10.10.0.1");
	assert_true(reach("server", "203.0.113.10:80", SOCK_STREAM) >= 0);
	assert_sees(listener, "10.10.0.1");
	assert_true(reach(NULL, "127.0.0.1:80", SOCK_STREAM) < 0);
	assert_true(reach("stranger", "203.0.113.10:81", SOCK_STREAM) < 0);
	assert_int_equal(open_connections(), 3);
	assert_int_equal(netfilter_read_counts(TABLE, services, 1, &err), 0);
	assert_int_equal(services[0].counts.connections, 3);
	assert_true(services[0].counts.sent_bytes > 3 * 100 && services[0].counts.received_bytes > 3 * 60);
	assert_true(services[0].counts.sent_bytes < 2000 && services[0].counts.received_bytes < 2000);
	load(); /* and goes on from there */
	services[0].counts = (struct service_counts){.connections = 0};
	assert_int_equal(netfilter_read_counts(TABLE, services, 1, &err), 0);
	assert_int_equal(services[0].counts.connections, 3);
	assert_true(services[0].counts.sent_bytes > 3 * 100);
	assert_int_equal(system("nft flush ruleset"), 0);
	assert_int_equal(netfilter_read_counts(TABLE, services, 1, &err), 0);
	assert_int_equal(services[0].counts.connections, 3);
}

static void ipv6_and_the_source_are_kept(void **state)
{
	int listener;

	(void)state;
	publish(IPPROTO_TCP, 80, "[fd10::2]:8080");
	listener = serve("[fd10::2]:8080", SOCK_STREAM);
	assert_true(reach("stranger", "[2001:db8:1::10]:80", SOCK_STREAM) >= 0);
	assert_sees(listener, "fd10::1");
	assert_int_equal(open_connections(), 1);
	publish(IPPROTO_TCP, 82, "10.10.0.2:82");
	service.keeps_source = true;
	load();
	listener = serve("10.10.0.2:82", SOCK_STREAM);
	assert_true(reach("stranger", "203.0.113.10:82", SOCK_STREAM) >= 0);
	assert_sees(listener, "203.0.113.50");
	assert_true(reach(NULL, "203.0.113.10:82", SOCK_STREAM) >= 0);
	assert_sees(listener, "10.10.0.1");
	assert_true(reach("server", "203.0.113.10:82", SOCK_STREAM) >= 0);
	assert_sees(listener, "10.10.0.1");
}

static void what_goes_is_ended(void **state)
{
	int listener, fd;
	char text[100];

	(void)state;
	publish(IPPROTO_TCP, 80, "10.10.0.2:8080");
	listener = serve("10.10.0.2:8080", SOCK_STREAM);
	fd = reach("stranger", "203.0.113.10:80", SOCK_STREAM);
	assert_sees(listener, "10.10.0.1");
	service.ports = service.to_ports = (struct service_ports){81, 81};
	assert_int_equal(netfilter_end(&service, &err), 0); /* another one's are left alone */
	service.ports = (struct service_ports){80, 80};
	service.to_ports = (struct service_ports){8080, 8080};
	assert_int_equal(open_connections(), 1);
	assert_int_equal(system("nft flush table inet " TABLE), 0);
	assert_int_equal(netfilter_end(&service, &err), 0);
	assert_int_equal(open_connections(), 0);
	assert_int_equal(send(fd, "x", 1, MSG_NOSIGNAL), 1);
	assert_int_equal(recv(fd, text, sizeof(text), 0), -1);
	assert_int_equal(errno, ECONNRESET);
}

/* A sender of UDP that never pauses, whose first datagram came when nothing was published yet. */
static void what_led_astray_comes_home(void **state)
{
	struct addr address = addr_of("203.0.113.10");
	struct net_address own = {.prefix = {.bits = 32}};
	int server, fd;
	char text[100];

	(void)state;
	publish(IPPROTO_UDP, 53, "10.10.0.2:53");
	addr_set_port(&address, 0);
	own.prefix.addr = address;
	assert_int_equal(system("nft flush ruleset && nft 'table ip t { chain c { type nat hook prerouting priority 0; }; chain d "
				"{ type filter hook input priority 0; ct state new udp dport 53 accept; }; }'"),
		0);
	server = serve("10.10.0.2:53", SOCK_DGRAM);
	fd = socket_at(NULL, AF_INET, SOCK_DGRAM); /* or the kernel would answer that nobody listens */
	assert_int_equal(bind(fd, &(struct addr){.in4 = {.sin_family = AF_INET, .sin_port = htons(53)}}.sa, 16), 0);
	fd = reach("stranger", "203.0.113.10:53", SOCK_DGRAM);
	assert_int_equal(send(fd, "1", 1, 0), 1);
	load();
	assert_int_equal(send(fd, "2", 1, 0), 1);
	assert_int_equal(poll(&(struct pollfd){.fd = server, .events = POLLIN}, 1, 200), 0);
	assert_int_equal(netfilter_end_astray(services, 1, &own, 1, &err), 0);
	assert_int_equal(send(fd, "3", 1, 0), 1);
	assert_int_equal(poll(&(struct pollfd){.fd = server, .events = POLLIN}, 1, 10000), 1);
	assert_int_equal(recv(server, text, sizeof(text), 0), 1);
	assert_int_equal(text[0], '3');
	assert_int_equal(netfilter_end_astray(services, 1, &own, 1, &err), 0); /* what comes home is not ended */
	assert_int_equal(open_connections(), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(all_reach_it_and_are_counted, close_sockets),
		cmocka_unit_test_teardown(ipv6_and_the_source_are_kept, close_sockets),
		cmocka_unit_test_teardown(what_goes_is_ended, close_sockets),
		cmocka_unit_test_teardown(what_led_astray_comes_home, close_sockets),
	};

	return cmocka_run_group_tests(tests, make_world, NULL);
}
