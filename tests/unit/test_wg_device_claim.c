/* Allowed IPs that are added to a peer of another program's device and taken away again: just these, and no peer is
 * ever made. A kernel that takes no single allowed IP away is played by the test's own sendmsg().
 */
#include "tests/unit/wg_device_bed.h"

#include "common/base/base64.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#define X "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define Y "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="

static uint8_t key_x[WG_CONFIG_KEY_LEN];
static bool is_old_kernel;
static int refused;

/* An old kernel knows no attribute 4 of an allowed IP: it refuses the message with that errno. Here the message leaves
 * with another attribute in its place that no kernel knows. */
ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	static const uint8_t remove_me[] = {8, 0, 4, 0, 1, 0, 0, 0};
	uint8_t *data = message->msg_iov[0].iov_base;
	size_t len = message->msg_iov[0].iov_len;

	for (size_t i = 0; is_old_kernel && i + sizeof(remove_me) <= len; i += 4)
		if (memcmp(data + i, remove_me, sizeof(remove_me)) == 0) {
			data[i + 2] = 77;
			refused++;
		}
	return syscall(SYS_sendmsg, fd, message, flags);
}

static void make_device(void)
{
	need_devices();
	assert_run("ip link add wgt0 type wireguard && wg set wgt0 peer " X " allowed-ips 10.9.0.2/32,fd10::2/128 peer "
		   "" Y " allowed-ips 10.9.0.3/32,192.168.40.0/24");
	assert_int_equal(base64_decode(key_x, sizeof(key_x), X, strlen(X), BASE64_STANDARD), WG_CONFIG_KEY_LEN);
	is_old_kernel = false;
	refused = 0;
}

/* The allowed IPs of both peers in any order; @x "": that peer is not there. */
static void assert_device(const char *x, const char *y)
{
	char command[768];

	snprintf(command, sizeof(command),
		"lines() { while read -r key list; do for one in $list; do echo $key $one; done; done | sort; }\n"
		"[ \"$(wg show wgt0 allowed-ips | lines)\" = \"$(printf '%%s\n' '%s%s' '" Y " %s' | lines)\" ] || "
		"! wg show wgt0 allowed-ips",
		*x ? X " " : "", x, y);
	assert_run(command);
}

static struct prefix prefix(const char *text)
{
	struct prefix ret;

	assert_int_equal(prefix_parse(text, &ret), 0);
	return ret;
}

/* They are added to what the peer has, and another peer loses what it had. */
static void adds_to_what_is_there(void **state)
{
	struct prefix more[] = {prefix("192.168.1.0/24"), prefix("192.168.40.0/24"), prefix("fd77::/64")};

	(void)state;
	make_device();
	assert_int_equal(wg_device_add_allowed_ips("wgt0", key_x, more, 3, NULL), 0);
	assert_device("fd77::/64 fd10::2/128 192.168.40.0/24 192.168.1.0/24 10.9.0.2/32", "10.9.0.3/32");
}

/* A peer that is gone stays gone: neither message makes it. */
static void makes_no_peer(void **state)
{
	struct prefix more = prefix("192.168.1.0/24");

	(void)state;
	make_device();
	assert_run("wg set wgt0 peer " X " remove");
	assert_int_equal(wg_device_add_allowed_ips("wgt0", key_x, &more, 1, NULL), 0);
	assert_int_equal(wg_device_take_allowed_ips("wgt0", key_x, &more, 1, NULL), 0);
	is_old_kernel = true;
	assert_int_equal(wg_device_take_allowed_ips("wgt0", key_x, &more, 1, NULL), 0);
	assert_int_equal(refused, 1);
	assert_device("", "192.168.40.0/24 10.9.0.3/32");
}

static void take(bool by_an_old_kernel)
{
	struct prefix some[] = {prefix("10.9.0.2/32"), prefix("192.168.40.0/24")};

	make_device();
	is_old_kernel = by_an_old_kernel;
	assert_int_equal(wg_device_take_allowed_ips("wgt0", key_x, some, 2, NULL), 0);
	assert_device("fd10::2/128", "192.168.40.0/24 10.9.0.3/32");
	assert_int_equal(refused, by_an_old_kernel ? 2 : 0);
}

/* Those that the peer has go; what another peer has stays there. */
static void takes_only_from_the_peer(void **state)
{
	(void)state;
	take(false);
}

static void takes_also_with_an_old_kernel(void **state)
{
	(void)state;
	take(true);
}

static void fails_without_the_device(void **state)
{
	struct prefix some = prefix("192.168.1.0/24");
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(wg_device_add_allowed_ips("wgt1", key_x, &some, 1, &err), -ENODEV);
	assert_non_null(strstr(err.text, "wgt1"));
	assert_int_equal(wg_device_take_allowed_ips("wgt1", key_x, &some, 1, NULL), -ENODEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(adds_to_what_is_there),
		cmocka_unit_test(makes_no_peer),
		cmocka_unit_test(takes_only_from_the_peer),
		cmocka_unit_test(takes_also_with_an_old_kernel),
		cmocka_unit_test(fails_without_the_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
