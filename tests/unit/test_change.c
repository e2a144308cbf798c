/* Changes to a host, many of them: a hub has a route for each of its clients, and is not to ask for all routes with each.
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
	bed.target = (struct change_target){.netlink = &bed.netlink, .routes = &bed.routes, .index = link.index};
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(many_are_made_by_one_look),
		cmocka_unit_test(many_are_looked_for_by_one_look),
	};

	return cmocka_run_group_tests_name("change", tests, NULL, NULL);
}
