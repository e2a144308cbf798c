/* Links, addresses, routes, rules, kernel parameters and the monitor against a kernel; ip, wg, ss and sysctl are the witnesses.
 *
 * Each test has a network namespace of its own, with lo up, and must leave no descriptor open. Without root all are
 * skipped; those with WireGuard where the kernel has none, tests/kernel runs them.
 */
#include "common/net/link.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* What @command prints, without the last newline. */
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

/* What is no namespace is refused, and nothing stays open. */
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
		NET_TEST(socket_is_opened_elsewhere),
		NET_TEST(no_namespace_is_refused),
	};

	return cmocka_run_group_tests_name("net", tests, NULL, NULL);
}
