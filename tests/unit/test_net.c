/* Links, addresses, routes, rules, kernel parameters and the monitor against a kernel; ip, wg, ss and sysctl are the
 * witnesses.
 *
 * Each test has a network namespace of its own, with lo up, and must leave no descriptor open. Without root all are
 * skipped; those with WireGuard where the kernel has none, tests/kernel runs them.
 */
#include "common/net/address.h"
#include "common/net/link.h"
#include "common/net/netmon.h"
#include "common/net/route.h"
#include "common/net/rule.h"
#include "common/net/sysctl.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* --- the bed --- */

static struct bed {
	bool is_there;
	size_t open_before;
	struct netlink netlink;
} bed;

static struct err err;

static size_t count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	size_t count = 0;

	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static int set_up(void **state)
{
	(void)state;
	err.text[0] = '\0';
	bed.open_before = count_descriptors();
	bed.is_there = geteuid() == 0 && unshare(CLONE_NEWNET) == 0 && system("ip link set lo up") == 0;
	return bed.is_there ? netlink_open(&bed.netlink, -1, &err) : 0;
}

static int tear_down(void **state)
{
	(void)state;
	if (!bed.is_there)
		return 0;
	netlink_close(&bed.netlink);
	assert_int_equal(count_descriptors(), bed.open_before);
	return 0;
}

static void need_namespace(void)
{
	if (!bed.is_there)
		skip();
}

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int run(const char *format, ...)
{
	char command[512];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	status = system(command);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define MUST(...) assert_int_equal(run(__VA_ARGS__), 0)

static void need_wireguard(void)
{
	need_namespace();
	if (run("ip link add probe type wireguard 2>/dev/null") != 0)
		skip();
	MUST("ip link delete probe");
}

/* The output of @command, without the last newline. */
static const char *said(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *said(const char *format, ...)
{
	static char text[8192];
	char command[512];
	va_list args;
	size_t len;
	FILE *pipe;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	len = fread(text, 1, sizeof(text) - 1, pipe);
	text[len] = '\0';
	pclose(pipe);
	if (len > 0 && text[len - 1] == '\n')
		text[len - 1] = '\0';
	return text;
}

static int this_namespace(void)
{
	int fd = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* The namespace of the test stays the one of birth; another is made. Return: its descriptor. */
static int new_namespace(void)
{
	int birth = this_namespace(), target;

	assert_int_equal(unshare(CLONE_NEWNET), 0);
	target = this_namespace();
	assert_int_equal(setns(birth, CLONE_NEWNET), 0);
	close(birth);
	return target;
}

/* --- links --- */

/* A device made through one namespace's socket appears, with its index, in the other; its UDP socket stays. */
static void wireguard_is_born_here_and_works_there(void **state)
{
	struct net_link link;
	int target;

	(void)state;
	need_wireguard();
	target = new_namespace();
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4711, target, &err), 0);
	assert_int_equal(net_link_find(&bed.netlink, "wgt0", &link, &err), -ENODEV);
#define THERE "nsenter --net=/proc/%d/fd/%d "
	assert_non_null(
		strstr(said(THERE "ip -d link show wgt0", getpid(), target), "4711: wgt0: <POINTOPOINT,NOARP>"));
	assert_non_null(strstr(said(THERE "ip -d link show wgt0", getpid(), target), "wireguard"));
	MUST(THERE "wg set wgt0 listen-port 51820", getpid(), target);
	MUST(THERE "ip link set wgt0 up", getpid(), target);
	assert_non_null(strstr(said("ss -Hlun"), "0.0.0.0:51820"));
	assert_string_equal(said(THERE "ss -Hlun", getpid(), target), "");
	close(target);
}

/* Without a namespace to go to the device stays, with index and socket. */
static void wireguard_stays_where_it_is_born(void **state)
{
	struct net_link link;

	(void)state;
	need_wireguard();
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4711, -1, &err), 0);
	assert_int_equal(net_link_find(&bed.netlink, "wgt0", &link, &err), 0);
	assert_int_equal(link.index, 4711);
	assert_string_equal(link.kind, "wireguard");
	assert_int_equal(link.mtu, 1420);
	assert_false(link.is_up);
	MUST("wg set wgt0 listen-port 51820 && ip link set wgt0 up");
	assert_non_null(strstr(said("ss -Hlun"), "0.0.0.0:51820"));
}

/* The own namespace by its descriptor is the same as none. */
static void namespace_of_birth_may_be_named(void **state)
{
	int here;

	(void)state;
	need_wireguard();
	here = this_namespace();
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4711, here, &err), 0);
	assert_non_null(strstr(said("ip link show wgt0"), "4711: wgt0: "));
	close(here);
}

/* A name and an index that are taken are told apart, in one namespace as in two. */
static void what_is_taken_is_named(void **state)
{
	int target;

	(void)state;
	need_wireguard();
	target = new_namespace();
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4711, -1, &err), 0);
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4712, -1, &err), -EEXIST);
	assert_string_equal(err.text, "device wgt0, index 4712: File exists");
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt1", 4711, -1, &err), -EBUSY);
	assert_string_equal(err.text, "device wgt1, index 4711: Device or resource busy");
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4711, -1, &err), -EEXIST);
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4712, target, &err), 0);
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4713, target, &err), -EEXIST);
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt1", 4712, target, &err), -EBUSY);
	close(target);
}

/* A name of 16 characters is refused, not cut. */
static void long_name_is_refused(void **state)
{
	struct net_link link;

	(void)state;
	need_namespace();
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "sixteen-letters-", 4711, -1, &err), -EINVAL);
	assert_string_equal(err.text, "device sixteen-letters-: a name has at most 15 characters");
	assert_int_equal(net_link_find(&bed.netlink, "sixteen-letters-", &link, &err), -ENODEV);
	assert_int_equal(net_link_find(&bed.netlink, "sixteen-letters", &link, &err), -ENODEV);
}

/* A kernel without WireGuard says so. */
static void kernel_without_wireguard_says_so(void **state)
{
	(void)state;
	need_namespace();
	if (run("ip link add probe type wireguard 2>/dev/null") == 0)
		skip();
	assert_int_equal(net_link_add_wireguard(&bed.netlink, "wgt0", 4711, -1, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "device wgt0, index 4711: Operation not supported (Unknown device type"));
}

/* All devices are listed, with kind, MTU and state. */
static void links_are_listed(void **state)
{
	struct net_link *links;
	size_t count;

	(void)state;
	need_namespace();
	MUST("ip link add left index 11 mtu 1300 type veth peer name right index 12 && ip link set left up");
	assert_int_equal(net_link_list(&bed.netlink, &links, &count, &err), 0);
	for (size_t i = 0; i < count; i++) {
		if (links[i].index == 11) {
			assert_string_equal(links[i].name, "left");
			assert_string_equal(links[i].kind, "veth");
			assert_int_equal(links[i].mtu, 1300);
			assert_true(links[i].is_up);
		}
		if (links[i].index == 1)
			assert_string_equal(links[i].kind, "");
	}
	assert_int_equal(count, atoi(said("ip -o link | wc -l")));
	free(links);
}

/* A hundred devices do not fit into one message; all come, each once. */
static void long_list_is_whole(void **state)
{
	struct net_link *links;
	size_t count;

	(void)state;
	need_namespace();
	MUST("for i in $(seq 100); do echo link add d$i type veth peer name e$i; done | ip -batch -");
	assert_int_equal(net_link_list(&bed.netlink, &links, &count, &err), 0);
	assert_int_equal(count, atoi(said("ip -o link | wc -l")));
	free(links);
}

/* A device is raised with an MTU, or with the one it has; taken away; and taking it away again is done. */
static void link_is_raised_and_deleted(void **state)
{
	(void)state;
	need_namespace();
	MUST("ip link add left index 11 type veth peer name right index 12");
	assert_int_equal(net_link_raise(&bed.netlink, 11, 1280, &err), 0);
	assert_non_null(strstr(said("ip link show left"), ",UP,M-DOWN> mtu 1280 "));
	assert_int_equal(net_link_raise(&bed.netlink, 12, 0, &err), 0);
	assert_non_null(strstr(said("ip link show right"), "UP,LOWER_UP> mtu 1500 "));
	assert_int_equal(net_link_raise(&bed.netlink, 11, 10, &err), -EINVAL);
	assert_string_equal(err.text, "device 11, up with MTU 10: Invalid argument (mtu less than device minimum)");
	assert_int_equal(net_link_delete(&bed.netlink, 11, &err), 0);
	assert_int_not_equal(run("ip link show left 2>/dev/null"), 0);
	assert_int_equal(net_link_delete(&bed.netlink, 11, &err), 0);
	assert_int_equal(net_link_raise(&bed.netlink, 11, 0, &err), -ENODEV);
}

/* --- the socket --- */

/* Lists that are to look as if they changed while they are read, and lists read to their end. */
static struct {
	int changing, read;
} lists;

/* libnl's. */
ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t got = syscall(SYS_recvmsg, fd, message, flags);
	int len = (int)got;

	if (got <= 0 || (flags & MSG_PEEK) || !bed.netlink.socket || fd != nl_socket_get_fd(bed.netlink.socket))
		return got;
	for (struct nlmsghdr *part = message->msg_iov->iov_base; nlmsg_ok(part, len); part = nlmsg_next(part, &len)) {
		if (lists.changing > 0)
			part->nlmsg_flags |= NLM_F_DUMP_INTR;
		if (part->nlmsg_type != NLMSG_DONE)
			continue;
		lists.read++;
		lists.changing -= lists.changing > 0;
	}
	return got;
}

static void assert_lists_read(int changing, int expected)
{
	struct net_link *links;
	size_t count;

	lists.changing = changing;
	lists.read = 0;
	assert_int_equal(net_link_list(&bed.netlink, &links, &count, &err), 0);
	assert_int_equal(lists.read, expected);
	assert_int_equal(count, atoi(said("ip -o link | wc -l")));
	free(links);
	lists.changing = 0;
}

/* A list that changed while it was read is read again, and taken as it is at last where it never keeps still. */
static void list_that_changes_is_read_again(void **state)
{
	(void)state;
	need_namespace();
	assert_lists_read(2, 3);
	assert_lists_read(4, 5);
	assert_lists_read(100, 5);
}

/* A socket to another namespace sees that one, and we are back in ours. */
static void socket_is_opened_elsewhere(void **state)
{
	struct netlink there;
	struct net_link link;
	int target;

	(void)state;
	need_namespace();
	target = new_namespace();
	MUST("ip link add here type veth peer name here2");
	assert_int_equal(netlink_open(&there, target, &err), 0);
	assert_int_equal(net_link_find(&there, "here", &link, &err), -ENODEV);
	MUST("ip link show here >/dev/null");
	netlink_close(&there);
	close(target);
}

/* A path that is no namespace is refused, and nothing stays open. */
static void no_namespace_is_refused(void **state)
{
	struct netlink there;
	int fd;

	(void)state;
	need_namespace();
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(netlink_open(&there, fd, &err), -EINVAL);
	assert_string_equal(err.text, "network namespace: Invalid argument");
	close(fd);
}

/* --- addresses --- */

static struct addr addr_of(const char *text)
{
	struct addr addr = {0};

	if (inet_pton(AF_INET6, text, &addr.in6.sin6_addr) == 1) {
		addr.in6.sin6_family = AF_INET6;
		return addr;
	}
	memset(&addr, 0, sizeof(addr));
	addr.in4.sin_family = AF_INET;
	assert_int_equal(inet_pton(AF_INET, text, &addr.in4.sin_addr), 1);
	return addr;
}

static struct prefix prefix_of(const char *text, uint8_t bits)
{
	return (struct prefix){.addr = addr_of(text), .bits = bits};
}

/* left (11) and right (12), up. */
static void make_pair(void)
{
	MUST("ip link add left index 11 type veth peer name right index 12 && ip link set left up && ip link set right "
	     "up");
}

static int add_address(const char *text, uint8_t bits)
{
	struct net_address address = {.index = 11, .prefix = prefix_of(text, bits)};

	return net_address_add(&bed.netlink, &address, &err);
}

/* Addresses of both families are added as they are, and adding them again is done. */
static void addresses_are_added(void **state)
{
	(void)state;
	need_namespace();
	make_pair();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(add_address("10.10.0.3", 24), 0);
		assert_int_equal(add_address("10.10.0.3", 32), 0);
		assert_int_equal(add_address("fd10::3", 64), 0);
	}
	assert_int_equal(atoi(said("ip -4 -o address show left | wc -l")), 2);
	assert_non_null(strstr(said("ip -4 address show left"), "inet 10.10.0.3/24 scope global left"));
	assert_non_null(strstr(said("ip -4 address show left"), "inet 10.10.0.3/32 scope global left"));
	assert_non_null(strstr(said("ip -6 address show left"), "inet6 fd10::3/64 scope global"));
}

/* A device that is not there, and IPv6 switched off on it, are told, the latter in the kernel's own words. */
static void address_refusals_are_told(void **state)
{
	(void)state;
	need_namespace();
	assert_int_equal(add_address("10.10.0.3", 24), -ENODEV);
	assert_non_null(strstr(err.text, "address 10.10.0.3/24: No such device"));
	make_pair();
	MUST("sysctl -qw net.ipv6.conf.left.disable_ipv6=1");
	assert_int_equal(add_address("fd10::3", 64), -EACCES);
	assert_non_null(strstr(err.text, "address fd10::3/64: Permission denied"));
}

/* All addresses are listed; at the end of a wire it is ours that is, not the other end's. */
static void addresses_are_listed(void **state)
{
	struct net_address *addresses;
	struct prefix ours = prefix_of("10.10.0.3", 32), wide = prefix_of("fd10::3", 64);
	size_t count, found = 0;

	(void)state;
	need_namespace();
	make_pair();
	MUST("ip address add 10.10.0.3 peer 10.10.0.4 dev left && ip address add fd10::3/64 dev right nodad");
	assert_int_equal(net_address_list(&bed.netlink, &addresses, &count, &err), 0);
	for (size_t i = 0; i < count; i++) {
		found += addresses[i].index == 11 && prefix_equal(&addresses[i].prefix, &ours);
		found += addresses[i].index == 12 && prefix_equal(&addresses[i].prefix, &wide);
	}
	assert_int_equal(found, 2);
	assert_int_equal(count, atoi(said("ip -o address | wc -l")));
	free(addresses);
}

/* --- routes --- */

static struct net_route route_of(const char *text, uint8_t bits, uint32_t table)
{
	return (struct net_route){.to = prefix_of(text, bits), .index = 11, .table = table};
}

static int add_route(const char *text, uint8_t bits, uint32_t table)
{
	struct net_route route = route_of(text, bits, table);

	return net_route_add(&bed.netlink, &route, &err);
}

static int delete_route(const char *text, uint8_t bits, uint32_t table)
{
	struct net_route route = route_of(text, bits, table);

	return net_route_delete(&bed.netlink, &route, &err);
}

static int has_route(const char *text, uint8_t bits, uint32_t table)
{
	struct net_route route = route_of(text, bits, table);

	return net_route_has(&bed.netlink, &route, &err);
}

static int covers(const char *text, uint8_t bits)
{
	struct net_route route = route_of(text, bits, 51820);
	struct net_routes routes;
	bool is_covered;

	assert_int_equal(net_routes_read(&bed.netlink, 0, 0, &routes, &err), 0);
	is_covered = net_routes_cover(&routes, &route);
	net_routes_done(&routes);
	return is_covered;
}

/* The routes we make are those that ip makes, word for word. */
static void routes_are_as_ip_makes_them(void **state)
{
	char ours[1024];

	(void)state;
	need_namespace();
	make_pair();
	assert_int_equal(add_route("10.20.0.7", 16, NET_ROUTE_TABLE_MAIN), 0);
	assert_int_equal(add_route("0.0.0.0", 0, 51820), 0);
	assert_int_equal(add_route("fd20::7", 64, NET_ROUTE_TABLE_MAIN), 0);
	assert_int_equal(add_route("::", 0, 51820), 0);
#define ROUTES                                                                                                         \
	"(ip -d route show table all; ip -d -6 route show table all) | grep -e ' 10.20.0.0/16 ' -e ' fd20::/64 ' -e ' default '"
	strcpy(ours, said(ROUTES));
	assert_non_null(strstr(ours, "10.20.0.0/16"));
	assert_non_null(strstr(ours, "default dev left table 51820"));
	MUST("ip route delete 10.20.0.0/16 && ip route delete default table 51820");
	MUST("ip -6 route delete fd20::/64 && ip -6 route delete default table 51820");
	MUST("ip route add 10.20.0.0/16 dev left && ip route add 0.0.0.0/0 dev left table 51820");
	MUST("ip -6 route add fd20::/64 dev left && ip -6 route add ::/0 dev left table 51820");
	assert_string_equal(said(ROUTES), ours);
	assert_int_equal(delete_route("10.20.0.7", 16, NET_ROUTE_TABLE_MAIN), 0);
	assert_int_equal(delete_route("0.0.0.0", 0, 51820), 0);
	assert_int_equal(delete_route("fd20::7", 64, NET_ROUTE_TABLE_MAIN), 0);
	assert_int_equal(delete_route("::", 0, 51820), 0);
	assert_string_equal(said(ROUTES), "");
}

/* A route to the same network is in the way; one that is gone is gone, with its device too. */
static void route_that_is_there_or_gone(void **state)
{
	(void)state;
	need_namespace();
	make_pair();
	MUST("ip route add 10.20.0.0/16 dev right");
	assert_int_equal(add_route("10.20.0.0", 16, NET_ROUTE_TABLE_MAIN), -EEXIST);
	assert_string_equal(err.text, "route 10.20.0.0/16: File exists");
	assert_int_equal(delete_route("10.20.0.0", 16, NET_ROUTE_TABLE_MAIN), 0);
	assert_string_equal(said("ip route show 10.20.0.0/16"), "10.20.0.0/16 dev right scope link ");
	assert_int_equal(delete_route("10.30.0.0", 16, 51820), 0);
	assert_int_equal(delete_route("fd20::", 64, 51820), 0);
	MUST("ip link delete left");
	assert_int_equal(delete_route("10.20.0.0", 16, NET_ROUTE_TABLE_MAIN), 0);
	assert_int_equal(delete_route("fd20::", 64, NET_ROUTE_TABLE_MAIN), 0);
}

/* Just this one: another device, table, length or a gateway makes another route. */
static void has_means_just_this_one(void **state)
{
	(void)state;
	need_namespace();
	make_pair();
	assert_int_equal(has_route("10.20.0.0", 16, 51820), 0);
	MUST("ip route add 10.20.0.0/16 dev left table 51820 && ip route add 10.21.0.0/16 dev right table 51820");
	MUST("ip address add 10.10.0.1/24 dev left && ip route add 10.22.0.0/16 via 10.10.0.2 table 51820");
	MUST("ip route add blackhole 10.23.0.0/16 table 51820");
	assert_int_equal(has_route("10.20.0.9", 16, 51820), 1);
	assert_int_equal(has_route("10.20.0.0", 17, 51820), 0);
	assert_int_equal(has_route("10.20.0.0", 16, 51821), 0);
	assert_int_equal(has_route("10.20.0.0", 16, NET_ROUTE_TABLE_MAIN), 0);
	assert_int_equal(has_route("10.21.0.0", 16, 51820), 0);
	assert_int_equal(has_route("10.22.0.0", 16, 51820), 0);
	assert_int_equal(has_route("10.23.0.0", 16, 51820), 0);
	MUST("ip -6 route add fd20::/64 dev left table 51820");
	assert_int_equal(has_route("fd20::", 64, 51820), 1);
	assert_int_equal(has_route("fd20::", 65, 51820), 0);
}

/* A route counts as covering where `ip route show dev … match …` lists it. */
static void covers_is_what_ip_says(void **state)
{
	static const struct {
		const char *text;
		uint8_t bits;
	} asked[] = {{"10.10.0.0", 24}, {"10.10.0.0", 23}, {"10.10.0.7", 32}, {"10.11.0.0", 32}, {"10.20.0.0", 16},
		{"10.21.0.0", 16}, {"0.0.0.0", 0}, {"fd10::", 64}, {"fd10::5", 128}, {"fd10:0:0:1::", 64},
		{"fd20::", 48}, {"::", 0}};

	(void)state;
	need_namespace();
	make_pair();
	MUST("ip address add 10.10.0.1/24 dev left && ip address add fd10::1/64 dev left nodad");
	MUST("ip route add 10.20.0.0/16 via 10.10.0.2 && ip route add 10.21.0.0/16 dev left table 51820");
	for (int turn = 0; turn < 2; turn++) {
		for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++) {
			const char *by_ip = said("ip %s route show dev left match %s/%d",
				strchr(asked[i].text, ':') ? "-6" : "-4", asked[i].text, asked[i].bits);

			assert_int_equal(covers(asked[i].text, asked[i].bits), *by_ip != '\0');
		}
		MUST("ip route replace default dev left && ip -6 route replace default dev left");
	}
}

/* A table is empty until a route of either family is in it; a table that never was is empty. */
static void table_is_empty_until_it_is_used(void **state)
{
	(void)state;
	need_namespace();
	make_pair();
	assert_int_equal(net_route_table_is_empty(&bed.netlink, 51820, &err), 1);
	MUST("ip -6 route add fd20::/64 dev left table 51820");
	assert_int_equal(net_route_table_is_empty(&bed.netlink, 51820, &err), 0);
	assert_int_equal(net_route_table_is_empty(&bed.netlink, 51821, &err), 1);
	MUST("ip route add blackhole default table 51821");
	assert_int_equal(net_route_table_is_empty(&bed.netlink, 51821, &err), 0);
	MUST("ip route flush table 51821");
	assert_int_equal(net_route_table_is_empty(&bed.netlink, 51821, &err), 1);
}

/* Kernels before 4.20 list every table, whatever was asked for: the answers are the same. */
static void kernel_that_does_not_filter_is_asked(void **state)
{
	int off = 0;

	(void)state;
	need_namespace();
	assert_int_equal(setsockopt(nl_socket_get_fd(bed.netlink.socket), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &off,
				 sizeof(off)),
		0);
	make_pair();
	MUST("ip route add 10.20.0.0/16 dev left table 51820 && ip -6 route add fd20::/64 dev left table 51820");
	assert_int_equal(net_route_table_is_empty(&bed.netlink, 51820, &err), 0);
	assert_int_equal(net_route_table_is_empty(&bed.netlink, 51821, &err), 1);
	assert_int_equal(has_route("10.20.0.0", 16, 51820), 1);
	assert_int_equal(has_route("10.20.0.0", 16, 51821), 0);
	assert_int_equal(has_route("fd20::", 64, 51820), 1);
	assert_int_equal(has_route("fd20::", 64, 51821), 0);
	assert_int_equal(covers("10.20.0.0", 16), 0);
}

static void assert_way(const char *to, uint32_t mark, int index, uint32_t mtu)
{
	struct addr addr = addr_of(to);
	struct net_way way;

	assert_int_equal(net_route_way(&bed.netlink, &addr, mark, &way, &err), 0);
	assert_int_equal(way.index, index);
	assert_int_equal(way.mtu, mtu);
}

static void assert_no_way(const char *to, int code)
{
	struct addr addr = addr_of(to);
	struct net_way way;

	assert_int_equal(net_route_way(&bed.netlink, &addr, 0, &way, &err), code);
}

/* The way is the kernel's own choice: by mark, with its route's MTU or else its device's. */
static void way_follows_mark_and_mtu(void **state)
{
	(void)state;
	need_namespace();
	make_pair();
	assert_no_way("203.0.113.10", -ENETUNREACH);
	assert_string_equal(err.text, "way to 203.0.113.10: Network is unreachable");
	assert_no_way("2001:db8::10", -ENETUNREACH);
	MUST("ip link set right mtu 1400 && ip route add default dev left mtu 1300 && ip -6 route add default dev "
	     "left");
	MUST("ip route add default dev right table 7 && ip rule add fwmark 0xca6c table 7");
	MUST("ip -6 route add default dev right table 7 mtu 1290 && ip -6 rule add fwmark 0xca6c table 7");
	assert_way("203.0.113.10", 0, 11, 1300);
	assert_way("203.0.113.10", 0xca6c, 12, 1400);
	assert_way("2001:db8::10", 0, 11, 1500);
	assert_way("2001:db8::10", 0xca6c, 12, 1290);
	assert_way("127.0.0.1", 0, 1, 65536);
	MUST("ip route add unreachable 203.0.113.0/24");
	assert_no_way("203.0.113.10", -EHOSTUNREACH);
}

/* A link-local address is looked for on its own device. */
static void way_to_a_link_local_address(void **state)
{
	struct addr addr = addr_of("fe80::7");
	struct net_way way;

	(void)state;
	need_namespace();
	make_pair();
	MUST("ip address add fe80::11/64 dev left nodad && ip address add fe80::12/64 dev right nodad");
	for (int index = 11; index <= 12; index++) {
		addr.in6.sin6_scope_id = (uint32_t)index;
		assert_int_equal(net_route_way(&bed.netlink, &addr, 0, &way, &err), 0);
		assert_int_equal(way.index, index);
	}
}

static void assert_default(int family, int index, uint32_t mtu)
{
	struct net_way way;

	assert_int_equal(net_route_default(&bed.netlink, family, &way, &err), 0);
	assert_int_equal(way.index, index);
	assert_int_equal(way.mtu, mtu);
}

/* The default route with the lowest metric counts; those of other tables do not. */
static void default_route_has_the_lowest_metric(void **state)
{
	struct net_way way;

	(void)state;
	need_namespace();
	make_pair();
	MUST("ip route add default dev left table 7 && ip route add 0.0.0.0/1 dev left && ip route add blackhole "
	     "default metric 1");
	assert_int_equal(net_route_default(&bed.netlink, AF_INET, &way, &err), -ENETUNREACH);
	assert_string_equal(err.text, "default route: Network is unreachable");
	MUST("ip -6 route add default dev right metric 5 mtu 1444");
	assert_default(AF_INET6, 12, 1444);
	MUST("ip route add default dev right metric 600 && ip route add default dev left metric 100");
	assert_default(AF_INET, 11, 1500);
	assert_default(AF_INET6, 12, 1444);
	MUST("ip address add 10.10.0.1/24 dev right");
	/* The first of several next hops counts; the test kernel has no such routes. */
	if (run("ip route add default metric 50 nexthop via 10.10.0.2 nexthop dev left 2>/dev/null") == 0)
		assert_default(AF_INET, 12, 1500);
}

static int find_lan(const char *text, uint8_t bits)
{
	struct prefix lan = prefix_of(text, bits);

	return net_route_find_lan(&bed.netlink, &lan, &err);
}

/* A LAN is where its network, or one around it, is connected; the nearest, then the lowest metric. */
static void lan_is_found_where_it_is_connected(void **state)
{
	(void)state;
	need_namespace();
	make_pair();
	MUST("ip address add 192.168.1.2/24 dev left && ip route add default via 192.168.1.1 && ip address add "
	     "192.168.9.9/16 dev right");
	MUST("ip route add 172.16.0.0/12 via 192.168.1.1");
	assert_int_equal(find_lan("192.168.1.0", 24), 11);
	assert_int_equal(find_lan("192.168.1.128", 25), 11);
	assert_int_equal(find_lan("192.168.2.0", 24), 12);
	assert_int_equal(find_lan("172.16.1.0", 24), -ENODEV);
	assert_string_equal(err.text, "172.16.1.0/24: no device is connected to it");
	assert_int_equal(find_lan("192.0.0.0", 8), -ENODEV);
	assert_int_equal(find_lan("0.0.0.0", 0), -ENODEV);
	assert_int_equal(find_lan("fd10::", 64), -ENODEV);
	MUST("ip address add fd10::2/64 dev right nodad");
	assert_int_equal(find_lan("fd10::", 64), 12);
	MUST("ip route add 10.7.0.0/24 dev left metric 600 && ip route add 10.7.0.0/24 dev right metric 100");
	assert_int_equal(find_lan("10.7.0.0", 24), 12);
}

/* --- rules --- */

#define RULES "ip rule; ip -6 rule"

/* The rules we make are those that ip makes, word for word, and go again. */
static void rules_are_as_ip_makes_them(void **state)
{
	static const int families[] = {AF_INET, AF_INET6};
	char ours[1024], before[1024];

	(void)state;
	need_namespace();
	strcpy(before, said(RULES));
	for (int i = 0; i < 2; i++) {
		struct net_rule full = {families[i], 32765, 51820, 0xca6c, true, false};
		struct net_rule suppress = {families[i], 32764, NET_ROUTE_TABLE_MAIN, 0, false, true};

		assert_int_equal(net_rule_add(&bed.netlink, &full, &err), 0);
		assert_int_equal(net_rule_add(&bed.netlink, &suppress, &err), 0);
		assert_int_equal(net_rule_add(&bed.netlink, &suppress, &err), -EEXIST);
		assert_string_equal(err.text, "rule 32764 for table 254: File exists");
		assert_int_equal(net_rule_has(&bed.netlink, &full, &err), 1);
		assert_int_equal(net_rule_has(&bed.netlink, &suppress, &err), 1);
	}
	strcpy(ours, said(RULES));
	for (int i = 0; i < 2; i++) {
		struct net_rule full = {families[i], 32765, 51820, 0xca6c, true, false};
		struct net_rule suppress = {families[i], 32764, NET_ROUTE_TABLE_MAIN, 0, false, true};

		for (int turn = 0; turn < 2; turn++) {
			assert_int_equal(net_rule_delete(&bed.netlink, &full, &err), 0);
			assert_int_equal(net_rule_delete(&bed.netlink, &suppress, &err), 0);
		}
		assert_int_equal(net_rule_has(&bed.netlink, &full, &err), 0);
	}
	assert_string_equal(said(RULES), before);
	MUST("ip rule add not fwmark 0xca6c table 51820 && ip rule add table main suppress_prefixlength 0");
	MUST("ip -6 rule add not fwmark 0xca6c table 51820 && ip -6 rule add table main suppress_prefixlength 0");
	assert_string_equal(said(RULES), ours);
}

/* Another program's rule with our priority and table, but one condition more, is neither seen nor deleted. */
static void others_rules_are_not_ours(void **state)
{
	static const char *const conditions[] = {"from 10.0.0.0/8", "to 10.0.0.0/8", "iif lo", "oif lo", "uidrange 0-0",
		"tos 4", "ipproto udp", "sport 5", "fwmark 7/0xff", "fwmark 8", "suppress_prefixlength 8",
		"suppress_ifgroup 3", "not fwmark 7", "suppress_prefixlength 0"};
	struct net_rule plain = {AF_INET, 1000, 51820, 0, false, false}, marked = plain;

	(void)state;
	need_namespace();
	marked.mark = 7;
	for (size_t i = 0; i < sizeof(conditions) / sizeof(conditions[0]); i++) {
		MUST("ip rule add priority 1000 %s table 51820", conditions[i]);
		assert_int_equal(net_rule_has(&bed.netlink, &plain, &err), 0);
		assert_int_equal(net_rule_has(&bed.netlink, &marked, &err), 0);
		assert_int_equal(net_rule_delete(&bed.netlink, &plain, &err), 0);
		assert_int_equal(net_rule_delete(&bed.netlink, &marked, &err), 0);
		assert_int_equal(atoi(said("ip rule | grep -c ^1000")), 1);
		MUST("ip rule delete priority 1000");
	}
}

/* Ours beside another of the same priority: ours goes, the other stays. */
static void delete_takes_just_this_one(void **state)
{
	struct net_rule rule = {AF_INET, 1000, 51820, 7, false, false};

	(void)state;
	need_namespace();
	assert_int_equal(net_rule_add(&bed.netlink, &rule, &err), 0);
	MUST("ip rule add priority 1000 from 10.0.0.0/8 fwmark 7 table 51820");
	assert_int_equal(net_rule_delete(&bed.netlink, &rule, &err), 0);
	assert_string_equal(said("ip rule show priority 1000"), "1000:\tfrom 10.0.0.0/8 fwmark 0x7 lookup 51820");
	assert_int_equal(net_rule_delete(&bed.netlink, &rule, &err), 0);
	assert_int_equal(atoi(said("ip rule | grep -c ^1000")), 1);
}

/* Rules are listed in the order of their priorities, those with conditions we have no word for by priority and
 * table. */
static void rules_are_listed(void **state)
{
	struct net_rule *rules;
	size_t count;

	(void)state;
	need_namespace();
	MUST("ip rule add priority 5210 from 10.0.0.0/8 fwmark 7 table 52 && ip rule add priority 77 not fwmark 9 "
	     "table 1000");
	assert_int_equal(net_rule_list(&bed.netlink, AF_INET, &rules, &count, &err), 0);
	assert_int_equal(count, 5);
	assert_int_equal(rules[0].priority, 0);
	assert_int_equal(rules[0].table, 255);
	assert_int_equal(rules[1].priority, 77);
	assert_int_equal(rules[1].table, 1000);
	assert_int_equal(rules[1].mark, 9);
	assert_true(rules[1].is_not);
	assert_int_equal(rules[2].priority, 5210);
	assert_int_equal(rules[2].table, 52);
	assert_int_equal(rules[2].mark, 0);
	assert_int_equal(rules[3].priority, 32766);
	assert_int_equal(rules[4].priority, 32767);
	assert_int_equal(net_rule_free_priority(rules, count), 76);
	free(rules);
}

/* A free priority is where ip, too, puts a rule that is given none. */
static void free_priority_is_the_kernels_choice(void **state)
{
	struct net_rule *rules;
	uint32_t priority;
	size_t count;

	(void)state;
	need_namespace();
	for (int i = 0; i < 3; i++) {
		assert_int_equal(net_rule_list(&bed.netlink, AF_INET, &rules, &count, &err), 0);
		priority = net_rule_free_priority(rules, count);
		free(rules);
		MUST("ip rule add fwmark %d table 7", i + 1);
		assert_int_equal(atoi(said("ip rule | sed -n 2p")), priority);
		if (i == 1)
			MUST("ip rule add priority 5000 fwmark 5 table 7");
	}
	assert_int_equal(priority, 4999);
	assert_int_equal(net_rule_free_priority(NULL, 0), 32765);
	assert_int_equal(net_rule_free_priority(&(struct net_rule){.priority = 1}, 1), 0);
}

/* --- kernel parameters --- */

/* A value is read as it was written, and sysctl(8) says the same in this namespace. */
static void parameter_is_written_and_read(void **state)
{
	char value[SYSCTL_VALUE_MAX];

	(void)state;
	need_namespace();
	assert_int_equal(sysctl_set("net/ipv4/conf/all/src_valid_mark", "1", &err), 0);
	assert_string_equal(said("sysctl -n net.ipv4.conf.all.src_valid_mark"), "1");
	MUST("sysctl -qw net.ipv4.conf.all.src_valid_mark=0");
	assert_int_equal(sysctl_read("net/ipv4/conf/all/src_valid_mark", value, &err), 0);
	assert_string_equal(value, "0");
	MUST("ip link add a..b type veth peer name c.d");
	assert_int_equal(sysctl_read("net/ipv4/conf/a..b/rp_filter", value, &err), 0);
	assert_int_equal(sysctl_set("net/ipv4/conf/c.d/rp_filter", "2", &err), 0);
	assert_string_equal(said("cat /proc/sys/net/ipv4/conf/c.d/rp_filter"), "2");
}

/* A container often has the right value and a read-only /proc/sys. */
static void parameter_that_fits_is_not_written(void **state)
{
	(void)state;
	need_namespace();
	assert_int_equal(unshare(CLONE_NEWNS), 0);
	MUST("mount --make-rprivate / && mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys");
	assert_int_equal(sysctl_check("net/ipv4/conf/all/src_valid_mark", "0"), 0);
	assert_int_equal(sysctl_set("net/ipv4/conf/all/src_valid_mark", "0", &err), 0);
	assert_int_equal(sysctl_check("net/ipv4/conf/all/src_valid_mark", "1"), -EROFS);
	assert_int_equal(sysctl_set("net/ipv4/conf/all/src_valid_mark", "1", &err), -EROFS);
	assert_string_equal(err.text, "kernel parameter net/ipv4/conf/all/src_valid_mark: Read-only file system; "
				      "sysctl -w net/ipv4/conf/all/src_valid_mark=1 helps where /proc/sys may be written");
	assert_true(sysctl_is_denied(-EROFS));
	assert_false(sysctl_is_denied(-ENOENT));
	MUST("umount /proc/sys");
	assert_int_equal(sysctl_check("net/ipv4/conf/all/src_valid_mark", "1"), 0);
}

/* A parameter that is not there or cannot be written, and a wrong value, are told. */
static void parameter_refusals_are_told(void **state)
{
	char value[SYSCTL_VALUE_MAX] = "as it was";

	(void)state;
	need_namespace();
	assert_int_equal(sysctl_read("net/ipv4/conf/nowhere/rp_filter", value, &err), -ENOENT);
	assert_string_equal(err.text, "kernel parameter net/ipv4/conf/nowhere/rp_filter: No such file or directory");
	assert_int_equal(sysctl_set("net/ipv4/conf/all/rp_filter", "many", &err), -EINVAL);
	assert_string_equal(err.text, "kernel parameter net/ipv4/conf/all/rp_filter = many: Invalid argument");
	assert_int_equal(sysctl_set("net/ipv4/conf/all/rp_filter", "1\n", &err), -EINVAL);
	assert_int_equal(sysctl_set("net/ipv4/conf/nowhere/rp_filter", "1", &err), -ENOENT);
	assert_int_equal(sysctl_read("net/ipv4", value, &err), -EISDIR);
	assert_string_equal(value, "as it was");
}

/* A path that leads elsewhere is not followed. */
static void path_stays_inside(void **state)
{
	static const char *const paths[] = {
		"/etc/hostname", "../../etc/hostname", "net/../../../etc/hostname", "..", "net/..", ""};
	char value[SYSCTL_VALUE_MAX], endless[2 * SYSCTL_PATH_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		assert_int_equal(sysctl_read(paths[i], value, &err), -EINVAL);
		assert_int_equal(sysctl_set(paths[i], "1", &err), -EINVAL);
	}
	memset(endless, 'x', sizeof(endless));
	endless[sizeof(endless) - 1] = '\0';
	assert_int_equal(sysctl_read(endless, value, &err), -EINVAL);
}

/* --- the monitor --- */

#define QUIET_MS 100
#define DEADLINE_MS 5000

static struct heard {
	uv_loop_t loop;
	uv_timer_t deadline;
	struct netmon *netmon;
	unsigned kinds;
	int calls;
	bool closes_inside;
} heard;

static void on_change(void *owner, unsigned kinds)
{
	assert_ptr_equal(owner, &heard);
	assert_int_not_equal(kinds, 0);
	heard.kinds |= kinds;
	heard.calls++;
	if (heard.closes_inside) {
		netmon_close(heard.netmon);
		heard.netmon = NULL;
	}
	uv_stop(&heard.loop);
}

static void on_deadline(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

static void open_monitor(void)
{
	memset(&heard, 0, sizeof(heard));
	assert_int_equal(uv_loop_init(&heard.loop), 0);
	assert_int_equal(uv_timer_init(&heard.loop, &heard.deadline), 0);
	assert_int_equal(netmon_open(&heard.netmon, &heard.loop, on_change, &heard, &err), 0);
}

static void close_monitor(void)
{
	netmon_close(heard.netmon);
	uv_close((uv_handle_t *)&heard.deadline, NULL);
	assert_int_equal(uv_run(&heard.loop, UV_RUN_DEFAULT), 0);
	assert_int_equal(uv_loop_close(&heard.loop), 0);
}

/* Run the loop until the next call, or so long. Return: the kinds heard. */
static unsigned listen_for(unsigned limit_ms)
{
	heard.kinds = 0;
	heard.calls = 0;
	uv_update_time(&heard.loop);
	uv_timer_start(&heard.deadline, on_deadline, limit_ms, 0);
	uv_run(&heard.loop, UV_RUN_DEFAULT);
	uv_timer_stop(&heard.deadline);
	return heard.kinds;
}

/* Until nothing more comes. */
static void listen_until_quiet(void)
{
	while (listen_for(QUIET_MS) != 0)
		;
}

/* Other kinds may come before: a carrier that is found, an address that no other host has. */
static void assert_heard(unsigned kinds)
{
	unsigned all = 0, last;

	do {
		last = listen_for(DEADLINE_MS);
		all |= last;
	} while (last != 0 && (all & kinds) != kinds);
	assert_int_equal(all & kinds, kinds);
}

#define ASSERT_HEARD(kinds, ...)                                                                                       \
	do {                                                                                                           \
		listen_until_quiet();                                                                                  \
		MUST(__VA_ARGS__);                                                                                     \
		assert_heard(kinds);                                                                                   \
	} while (0)

/* Devices, addresses, routes and rules of both families: whatever comes, changes or goes is heard as its kind. */
static void every_change_is_heard(void **state)
{
	(void)state;
	need_namespace();
	open_monitor();
	ASSERT_HEARD(NETMON_LINK, "ip link add left index 11 type veth peer name right index 12");
	ASSERT_HEARD(NETMON_LINK, "ip link set left up && ip link set right up");
	ASSERT_HEARD(NETMON_LINK, "ip link set left mtu 1400");
	ASSERT_HEARD(NETMON_ADDRESS | NETMON_ROUTE, "ip address add 10.10.0.1/24 dev left");
	ASSERT_HEARD(NETMON_ADDRESS, "ip address add fd10::1/64 dev left nodad");
	ASSERT_HEARD(NETMON_ROUTE, "ip route add default via 10.10.0.2");
	ASSERT_HEARD(NETMON_ROUTE, "ip route change default via 10.10.0.3");
	ASSERT_HEARD(NETMON_ROUTE, "ip -6 route add fd20::/64 dev left table 51820");
	ASSERT_HEARD(NETMON_ROUTE, "ip -6 route delete fd20::/64 dev left table 51820");
	ASSERT_HEARD(NETMON_RULE, "ip rule add not fwmark 7 table 51820");
	ASSERT_HEARD(NETMON_RULE, "ip rule delete not fwmark 7 table 51820");
	ASSERT_HEARD(NETMON_RULE, "ip -6 rule add not fwmark 7 table 51820");
	ASSERT_HEARD(NETMON_ROUTE, "ip route delete default");
	ASSERT_HEARD(NETMON_ADDRESS, "ip address delete 10.10.0.1/24 dev left");
	ASSERT_HEARD(NETMON_LINK, "ip link delete left");
	close_monitor();
}

/* Forwarding that another program switches, of one device or of all, is heard. */
static void forwarding_is_heard(void **state)
{
	(void)state;
	need_namespace();
	MUST("ip link add left type veth peer name right && ip link set left up");
	open_monitor();
	ASSERT_HEARD(NETMON_PARAMETER, "echo 1 >/proc/sys/net/ipv4/conf/left/forwarding");
	ASSERT_HEARD(NETMON_PARAMETER, "echo 1 >/proc/sys/net/ipv4/ip_forward");
	ASSERT_HEARD(NETMON_PARAMETER, "echo 0 >/proc/sys/net/ipv4/ip_forward");
	ASSERT_HEARD(NETMON_PARAMETER, "echo 1 >/proc/sys/net/ipv6/conf/all/forwarding");
	close_monitor();
}

/* A flushed ruleset is heard, and so is every other change of nftables. */
static void flushed_ruleset_is_heard(void **state)
{
	(void)state;
	need_namespace();
	if (run("nft list ruleset >/dev/null 2>&1") != 0)
		skip();
	open_monitor();
	ASSERT_HEARD(NETMON_FIREWALL, "nft add table inet towpath-test");
	ASSERT_HEARD(NETMON_FIREWALL, "nft add chain inet towpath-test guard");
	ASSERT_HEARD(NETMON_FIREWALL, "nft flush ruleset");
	close_monitor();
}

/* Where nothing changes nothing is heard; looking is no change. */
static void looking_is_no_change(void **state)
{
	(void)state;
	need_namespace();
	open_monitor();
	listen_until_quiet();
	MUST("(ip link; ip address; ip route; ip rule; nft list ruleset) >/dev/null 2>&1 || true");
	assert_int_equal(listen_for(QUIET_MS), 0);
	close_monitor();
}

/* Fifty changes at once are one call. */
static void changes_are_gathered(void **state)
{
	(void)state;
	need_namespace();
	open_monitor();
	listen_until_quiet();
	MUST("for i in $(seq 50); do echo route add blackhole 10.20.$i.0/24; done | ip -batch -");
	assert_int_equal(listen_for(DEADLINE_MS), NETMON_ROUTE);
	assert_int_equal(heard.calls, 1);
	assert_int_equal(listen_for(QUIET_MS), 0);
	close_monitor();
}

/* More than the socket holds counts as a change of everything, and afterwards it hears as before. */
static void overrun_is_a_change_of_everything(void **state)
{
	(void)state;
	need_namespace();
	open_monitor();
	listen_until_quiet();
	MUST("for i in $(seq 0 2999); do echo route add blackhole 10.$((i / 250)).$((i %% 250)).0/24; done | ip -batch "
	     "-");
	assert_int_equal(listen_for(DEADLINE_MS), NETMON_ALL);
	ASSERT_HEARD(NETMON_RULE, "ip rule add fwmark 7 table 51820");
	close_monitor();
}

/* Without privilege all but nftables is heard. */
static void unprivileged_hear_all_but_nftables(void **state)
{
	(void)state;
	need_namespace();
	if (seteuid(65534) < 0) /* a user namespace with root only */
		skip();
	open_monitor();
	assert_int_equal(seteuid(0), 0);
	ASSERT_HEARD(NETMON_RULE, "ip rule add fwmark 7 table 51820");
	listen_until_quiet();
	if (run("nft add table inet towpath-test 2>/dev/null") == 0)
		assert_int_equal(listen_for(QUIET_MS), 0);
	close_monitor();
}

/* It may be closed from inside its call, and with a call outstanding. */
static void monitor_may_be_closed_any_time(void **state)
{
	(void)state;
	need_namespace();
	open_monitor();
	heard.closes_inside = true;
	MUST("ip rule add fwmark 7 table 51820");
	assert_int_equal(listen_for(DEADLINE_MS), NETMON_RULE);
	close_monitor();
	open_monitor();
	MUST("ip rule add fwmark 8 table 51820");
	uv_run(&heard.loop, UV_RUN_NOWAIT);
	close_monitor();
	assert_int_equal(heard.calls, 0);
}

#define NET_TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NET_TEST(wireguard_is_born_here_and_works_there),
		NET_TEST(wireguard_stays_where_it_is_born),
		NET_TEST(namespace_of_birth_may_be_named),
		NET_TEST(what_is_taken_is_named),
		NET_TEST(long_name_is_refused),
		NET_TEST(kernel_without_wireguard_says_so),
		NET_TEST(links_are_listed),
		NET_TEST(long_list_is_whole),
		NET_TEST(link_is_raised_and_deleted),
		NET_TEST(list_that_changes_is_read_again),
		NET_TEST(socket_is_opened_elsewhere),
		NET_TEST(no_namespace_is_refused),
		NET_TEST(addresses_are_added),
		NET_TEST(address_refusals_are_told),
		NET_TEST(addresses_are_listed),
		NET_TEST(routes_are_as_ip_makes_them),
		NET_TEST(route_that_is_there_or_gone),
		NET_TEST(has_means_just_this_one),
		NET_TEST(covers_is_what_ip_says),
		NET_TEST(table_is_empty_until_it_is_used),
		NET_TEST(kernel_that_does_not_filter_is_asked),
		NET_TEST(way_follows_mark_and_mtu),
		NET_TEST(way_to_a_link_local_address),
		NET_TEST(default_route_has_the_lowest_metric),
		NET_TEST(lan_is_found_where_it_is_connected),
		NET_TEST(rules_are_as_ip_makes_them),
		NET_TEST(others_rules_are_not_ours),
		NET_TEST(delete_takes_just_this_one),
		NET_TEST(rules_are_listed),
		NET_TEST(free_priority_is_the_kernels_choice),
		NET_TEST(parameter_is_written_and_read),
		NET_TEST(parameter_that_fits_is_not_written),
		NET_TEST(parameter_refusals_are_told),
		NET_TEST(path_stays_inside),
		NET_TEST(every_change_is_heard),
		NET_TEST(forwarding_is_heard),
		NET_TEST(flushed_ruleset_is_heard),
		NET_TEST(looking_is_no_change),
		NET_TEST(changes_are_gathered),
		NET_TEST(overrun_is_a_change_of_everything),
		NET_TEST(unprivileged_hear_all_but_nftables),
		NET_TEST(monitor_may_be_closed_any_time),
	};
	uv_loop_t loop;

	/* The first loop opens what libuv keeps for good. */
	if (uv_loop_init(&loop) < 0 || uv_loop_close(&loop) < 0)
		return 1;
	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
