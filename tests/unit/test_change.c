/* Changes to a host, many of them: a hub has a route for each of its clients, and is not to ask for all routes with
 * each.
 *
 * In a network namespace of its own; without root all is skipped.
 */
#include "common/host/change.h"

#include "common/net/link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#define ROUTES 200
#define LISTS 2 /* of IPv4 and of IPv6 */

static unsigned messages;

/* Requests leave by it. */
ssize_t send(int fd, const void *buf, size_t len, int flags)
{
	messages++;
	return syscall(SYS_sendto, fd, buf, len, flags, NULL, 0);
}

static struct bed {
	struct netlink netlink;
	struct net_routes routes;
	struct change_target target;
	struct change changes[ROUTES];
} bed;

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("failed: %s", command);
}

/* 10.20.0.0/32, 10.20.0.1/32, … */
static void make_changes(int index)
{
	for (uint32_t i = 0; i < ROUTES; i++) {
		struct change *change = &bed.changes[i];

		*change = (struct change){.kind = CHANGE_ROUTE};
		change->route = (struct net_route){.to.bits = 32, .index = index, .table = NET_ROUTE_TABLE_MAIN};
		change->route.to.addr.in4.sin_family = AF_INET;
		change->route.to.addr.in4.sin_addr.s_addr = htonl(0x0a140000 + i);
	}
}

static void make_bed(void)
{
	struct net_link link;

	if (geteuid() != 0 || unshare(CLONE_NEWNET) < 0)
		skip();
	run("ip link add left type veth peer name right && ip link set left up && ip link set right up && "
	    "ip address add 10.20.0.129/25 dev left");
	assert_int_equal(netlink_open(&bed.netlink, -1, NULL), 0);
	assert_int_equal(net_link_find(&bed.netlink, "left", &link, NULL), 0);
	bed.target = (struct change_target){
		.netlink = &bed.netlink, .routes = &bed.routes, .device = "left", .index = link.index};
	make_changes(link.index);
}

static void clear_bed(void)
{
	net_routes_done(&bed.routes);
	netlink_close(&bed.netlink);
}

/* Making many asks once for the routes that are there, and leaves out what the device's own network holds. */
static void many_are_made_by_one_look(void **state)
{
	(void)state;
	make_bed();
	messages = 0;
	for (size_t i = 0; i < ROUTES; i++) {
		assert_int_equal(change_make(&bed.target, &bed.changes[i], NULL), 0);
		assert_int_equal(bed.changes[i].is_covered, i >= 128);
	}
	assert_int_equal(messages, LISTS + 128);
	clear_bed();
}

/* So does looking for many; what is gone is seen. */
static void many_are_looked_for_by_one_look(void **state)
{
	(void)state;
	make_bed();
	for (size_t i = 0; i < ROUTES; i++)
		assert_int_equal(change_make(&bed.target, &bed.changes[i], NULL), 0);
	run("ip route del 10.20.0.7/32");
	net_routes_done(&bed.routes);
	messages = 0;
	for (size_t i = 0; i < ROUTES; i++)
		assert_int_equal(change_is_there(&bed.target, &bed.changes[i], NULL), i != 7);
	assert_int_equal(messages, LISTS);
	clear_bed();
}

static struct change address_of(const char *text)
{
	struct change change = {.kind = CHANGE_ADDRESS};

	assert_int_equal(prefix_parse(text, &change.address), 0);
	return change;
}

/* As in a look of the repair: the routes are read anew. */
static int is_there(const struct change *change)
{
	net_routes_done(&bed.routes);
	return change_is_there(&bed.target, change, NULL);
}

/* The routes of the device, as ip(8) shows them. */
static void read_routes_of_device(char *ret, size_t size)
{
	FILE *ip = popen("ip route show table all dev left; ip -6 route show table all dev left", "r");
	size_t len;

	assert_non_null(ip);
	len = fread(ret, 1, size - 1, ip);
	ret[len] = '\0';
	assert_int_equal(pclose(ip), 0);
}

/* @takes_away leaves the address. Afterwards the routes look the same, and a second time nothing is
 * added. */
static void assert_brought_back(const struct change *change, const char *takes_away)
{
	char before[2000], after[2000];

	read_routes_of_device(before, sizeof(before));
	run(takes_away);
	assert_int_equal(is_there(change), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(change_repeat(&bed.target, change, NULL), 0);
		assert_int_equal(is_there(change), 1);
	}
	read_routes_of_device(after, sizeof(after));
	assert_string_equal(after, before);
}

static void address_has_its_own_routes(void **state)
{
	struct change ipv4 = address_of("10.20.0.129/25"), ipv6 = address_of("fd10::3/64");

	(void)state;
	make_bed();
	run("ip address add fd10::3/64 dev left nodad");
	assert_int_equal(is_there(&ipv4), 1);
	assert_int_equal(is_there(&ipv6), 1);
	assert_brought_back(&ipv4, "ip route flush dev left");
	assert_brought_back(&ipv4, "ip route del table local local 10.20.0.129 dev left");
	assert_brought_back(&ipv6, "ip -6 route del fd10::/64 dev left");
	clear_bed();
}

/* The network may be another device's as well. */
static void network_that_another_device_has_comes_back(void **state)
{
	struct change ipv4 = address_of("10.20.0.129/25");

	(void)state;
	make_bed();
	run("ip address add 10.20.0.130/25 dev right");
	assert_brought_back(&ipv4, "ip route flush dev left");
	clear_bed();
}

/* While a device is down it has none of them, and an address that is all of its network has no such network. */
static void routes_that_cannot_be_are_not_missed(void **state)
{
	struct change down = address_of("10.20.0.129/25"), single = address_of("10.21.0.1/32"),
		      single6 = address_of("fd11::1/128");

	(void)state;
	make_bed();
	run("ip address add 10.21.0.1/32 dev left && ip address add fd11::1/128 dev left nodad");
	run("ip -6 route flush dev left");
	assert_int_equal(is_there(&single), 1);
	assert_int_equal(is_there(&single6), 1);
	run("ip link set left down");
	assert_int_equal(is_there(&down), 1);
	assert_int_equal(change_repeat(&bed.target, &down, NULL), 0);
	clear_bed();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_are_made_by_one_look),
		cmocka_unit_test(many_are_looked_for_by_one_look),
		cmocka_unit_test(address_has_its_own_routes),
		cmocka_unit_test(network_that_another_device_has_comes_back),
		cmocka_unit_test(routes_that_cannot_be_are_not_missed),
	};

	return cmocka_run_group_tests_name("change", tests, NULL, NULL);
}
