/* WireGuard devices through wireguard.c: the workarounds anywhere, the devices where the kernel has WireGuard.
 *
 * Devices are made with ip and wg in a network namespace of the test's own; without root or without kernel WireGuard
 * those tests are skipped, tests/kernel runs them.
 */
#include "common/wireguard/wg_device.h"
#include "common/wireguard/wg_library.h"
#include "common/wireguard/wg_update.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define READS 50
/* Without the workaround a read never ends; the signal then ends the test. */
#define ENDLESS_S 30

static int signal_pipe[2];

/* The first signals bring nothing, the fourth brings a byte. */
static void on_signal(int number)
{
	static int count;

	(void)number;
	if (++count == 4 && write(signal_pipe[1], "x", 1) != 1)
		abort();
}

/* Signals interrupt every call from here on, each @interval_us. */
static void start_signals(suseconds_t interval_us)
{
	struct sigaction action = {.sa_handler = on_signal}; /* no SA_RESTART */
	struct itimerval timer = {{0, interval_us}, {0, interval_us}};

	assert_int_equal(sigaction(SIGALRM, &action, NULL), 0);
	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
}

static void stop_signals(void)
{
	struct itimerval timer = {{0, 0}, {0, 0}};

	assert_int_equal(setitimer(ITIMER_REAL, &timer, NULL), 0);
	signal(SIGALRM, SIG_DFL);
}

static ssize_t receive(int fd, void *buf, size_t size)
{
	struct iovec iov = {buf, size};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

	return wg_library_recvmsg(fd, &message, 0);
}

/* A signal does not end the wait for the kernel's answer. */
static void signal_does_not_interrupt(void **state)
{
	char byte = 0;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, signal_pipe), 0);
	start_signals(2000);
	assert_int_equal(receive(signal_pipe[0], &byte, 1), 1);
	stop_signals();
	assert_int_equal(byte, 'x');
	close(signal_pipe[0]);
	close(signal_pipe[1]);
}

/* The mark of an inconsistent dump goes from every message, everything else stays. */
static void mark_of_interruption_goes(void **state)
{
	struct nlmsghdr sent[3], got[3];
	int pair[2];

	(void)state;
	memset(sent, 0x55, sizeof(sent));
	for (int i = 0; i < 3; i++) {
		sent[i].nlmsg_len = sizeof(sent[i]);
		sent[i].nlmsg_flags = i == 1 ? NLM_F_MULTI : NLM_F_MULTI | NLM_F_DUMP_INTR;
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	assert_int_equal(send(pair[0], sent, sizeof(sent), 0), sizeof(sent));
	assert_int_equal(receive(pair[1], got, sizeof(got)), sizeof(sent));
	for (int i = 0; i < 3; i++)
		sent[i].nlmsg_flags = NLM_F_MULTI;
	assert_memory_equal(got, sent, sizeof(sent));
	close(pair[0]);
	close(pair[1]);
}

/* Messages whose lengths lie are left alone and never read past their end. */
static void lying_lengths_are_left_alone(void **state)
{
	static const uint32_t lengths[] = {0, 1, 15, 17, 4096, UINT32_MAX};
	struct nlmsghdr sent, *got = malloc(sizeof(sent));
	int pair[2];

	(void)state;
	assert_non_null(got);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair), 0);
	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		memset(&sent, 0xff, sizeof(sent));
		sent.nlmsg_len = lengths[i];
		assert_int_equal(send(pair[0], &sent, sizeof(sent), 0), sizeof(sent));
		assert_int_equal(receive(pair[1], got, sizeof(*got)), sizeof(sent));
		assert_memory_equal(got, &sent, sizeof(sent));
	}
	free(got);
	close(pair[0]);
	close(pair[1]);
}

/* Freeing keeps errno, which wireguard.c reads afterwards. */
static void free_keeps_errno(void **state)
{
	(void)state;
	errno = EPROTONOSUPPORT;
	wg_library_free(malloc(100));
	wg_library_free(NULL);
	assert_int_equal(errno, EPROTONOSUPPORT);
}

/* A kernel without WireGuard has no device, and that is no error. */
static void kernel_without_wireguard_has_none(void **state)
{
	char name[IFNAMSIZ] = "unchanged";
	uint32_t fwmark = 7;
	struct err err = {""};

	(void)state;
	if (wg_device_kernel_has())
		skip();
	assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 0);
	assert_string_equal(name, "unchanged");
	assert_int_equal(fwmark, 7);
}

static bool run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* In a network namespace of our own from here on. */
static void need_devices(void)
{
	static bool entered;

	if (!wg_device_kernel_has() || geteuid() != 0)
		skip();
	if (!entered && unshare(CLONE_NEWNET) < 0)
		skip();
	entered = true;
	run("ip link del wgt0 2>/dev/null; ip link del wgt1 2>/dev/null");
}

static void assert_run(const char *command)
{
	if (!run(command))
		fail_msg("failed: %s", command);
}

/* The device whose peer has our port on loopback is found among others, with its mark. */
static void mark_is_found(void **state)
{
	char name[IFNAMSIZ] = "";
	uint32_t fwmark = 0;
	struct err err = {""};

	(void)state;
	need_devices();
	assert_run("ip link add wgt0 type wireguard && wg set wgt0 fwmark 7 peer " KEY " endpoint 127.0.0.1:51821");
	assert_run(
		"ip link add wgt1 type wireguard && wg set wgt1 fwmark 0xca6c peer " KEY " endpoint 127.0.0.1:51820");
	assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 1);
	assert_string_equal(name, "wgt1");
	assert_int_equal(fwmark, 0xca6c);
	assert_int_equal(wg_device_find_mark(51821, name, &fwmark, &err), 1);
	assert_string_equal(name, "wgt0");
	assert_int_equal(fwmark, 7);
}

/* Where two lead to us the one with a mark counts, in either order. */
static void the_one_with_a_mark_counts(void **state)
{
	static const char *const names[] = {"wgt0", "wgt1"};
	char command[256], name[IFNAMSIZ] = "";
	uint32_t fwmark = 0;
	struct err err = {""};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		need_devices();
		assert_run("ip link add wgt0 type wireguard && wg set wgt0 peer " KEY " endpoint 127.0.0.1:51820");
		assert_run("ip link add wgt1 type wireguard && wg set wgt1 peer " KEY " endpoint 127.0.0.1:51820");
		snprintf(command, sizeof(command), "wg set %s fwmark 7", names[i]);
		assert_run(command);
		assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 1);
		assert_string_equal(name, names[i]);
		assert_int_equal(fwmark, 7);
	}
}

/* IPv6's loopback counts as well; a device without a mark is found with 0. */
static void ipv6_loopback_counts(void **state)
{
	char name[IFNAMSIZ] = "";
	uint32_t fwmark = 7;
	struct err err = {""};

	(void)state;
	need_devices();
	assert_run("ip link add wgt0 type wireguard && wg set wgt0 peer " KEY " endpoint [::1]:51820");
	assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 1);
	assert_int_equal(fwmark, 0);
}

/* Another port, another address, no endpoint, no peer: none of them is ours. */
static void other_devices_are_not_ours(void **state)
{
	char name[IFNAMSIZ] = "unchanged";
	uint32_t fwmark = 7;
	struct err err = {""};

	(void)state;
	need_devices();
	assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 0);
	assert_run("ip link add wgt0 type wireguard");
	assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 0);
	assert_run("wg set wgt0 fwmark 9 listen-port 51820 peer " KEY " endpoint 203.0.113.7:51820");
	assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 0);
	assert_run("wg set wgt0 peer " KEY " endpoint 127.0.0.1:51819");
	assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 0);
	assert_string_equal(name, "unchanged");
	assert_int_equal(fwmark, 7);
}

/* A device whose dump takes many messages. */
static void make_large_device(void)
{
	FILE *file;

	assert_run("ip link add wgt0 type wireguard");
	file = popen("wg setconf wgt0 /dev/stdin", "w");
	assert_non_null(file);
	for (int i = 0; i < 400; i++)
		fprintf(file,
			"[Peer]\nPublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%c%c%c%cA=\nAllowedIPs = "
			"10.0.%d.%d/32\n",
			'A' + i / 20 % 20, 'A' + i % 20, 'A' + i % 7, 'A' + i % 13, i >> 8, i & 255);
	assert_int_equal(pclose(file), 0);
	assert_run("wg set wgt0 fwmark 5 peer " KEY " endpoint 127.0.0.1:51820");
}

static void read_often(void)
{
	char name[IFNAMSIZ];
	uint32_t fwmark;
	struct err err;

	for (int i = 0; i < READS; i++) {
		fwmark = 0;
		assert_int_equal(wg_device_find_mark(51820, name, &fwmark, &err), 1);
		assert_int_equal(fwmark, 5);
	}
}

/* Every message counts as a change, also one about a peer that is not there. */
static void change_for_ever(void)
{
	static const uint8_t nobody[WG_CONFIG_KEY_LEN] = {1};
	const struct wg_entry entry = {.public_key = nobody, .flags = WG_ENTRY_UPDATE_ONLY};
	struct wg_update update;

	if (wg_update_open(&update, "wgt0", NULL) < 0)
		_exit(1);
	while (wg_update_send(&update, &entry, 1) == 0)
		;
	_exit(1);
}

/* A program that changes the device all the time does not make the read endless, as it would without our recvmsg(). */
static void read_ends_while_device_changes(void **state)
{
	pid_t child;

	(void)state;
	need_devices();
	make_large_device();
	child = fork();
	assert_true(child >= 0);
	if (child == 0)
		change_for_ever();
	alarm(ENDLESS_S);
	read_often();
	alarm(0);
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(signal_does_not_interrupt),
		cmocka_unit_test(mark_of_interruption_goes),
		cmocka_unit_test(lying_lengths_are_left_alone),
		cmocka_unit_test(free_keeps_errno),
		cmocka_unit_test(kernel_without_wireguard_has_none),
		cmocka_unit_test(mark_is_found),
		cmocka_unit_test(the_one_with_a_mark_counts),
		cmocka_unit_test(ipv6_loopback_counts),
		cmocka_unit_test(other_devices_are_not_ours),
		cmocka_unit_test(read_ends_while_device_changes),
	};

	return cmocka_run_group_tests_name("wg_device", tests, NULL, NULL);
}
