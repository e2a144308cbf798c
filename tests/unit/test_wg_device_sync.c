/* A running WireGuard device is brought to another configuration, and peers that stay notice nothing.
 *
 * wg_sync_differential compares the results with those of wg; here are the claims that take traffic, time or
 * another program that interferes.
 */
#include "tests/unit/wg_device_bed.h"

#include <errno.h>
#include <net/if.h>
#include <sys/syscall.h>

#define X "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
#define Y "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
#define PSK "/UwcSPg38hW/D9Y3tcS1FOV0K1wuURMbS0sesJEP5ak="
#define PRIVATE "aBcDefghijklmnopqrstuvwxyz0123456789ABCDEFA="
#define INTERFACE "[Interface]\nPrivateKey = " PRIVATE "\nListenPort = 51820\n"
#define SYNCS 40

/* --- what leaves for the kernel --- */

static int act_before; /* that one of the messages; 0: none */
static const char *action; /* NULL: the message fails */
static int messages;

/* Return: true if the message is to be sent. */
static bool on_message(void)
{
	if (++messages != act_before)
		return true;
	errno = ENOBUFS;
	if (action)
		assert_run(action);
	return action != NULL;
}

ssize_t sendto(int fd, const void *buf, size_t len, int flags, __CONST_SOCKADDR_ARG to, socklen_t to_len)
{
	if (to.__sockaddr__ && to.__sockaddr__->sa_family == AF_NETLINK && !on_message())
		return -1;
	return syscall(SYS_sendto, fd, buf, len, flags, to.__sockaddr__, to_len);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	const struct sockaddr *to = message->msg_name;

	if (to && to->sa_family == AF_NETLINK && !on_message())
		return -1;
	return syscall(SYS_sendmsg, fd, message, flags);
}

/* --- the bed --- */

static void assert_shows(const char *what, const char *expected)
{
	char command[128], text[4096];
	FILE *file;

	snprintf(command, sizeof(command), "wg show wgt0 %s", what);
	file = popen(command, "r");
	assert_non_null(file);
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	assert_int_equal(pclose(file), 0);
	assert_string_equal(text, expected);
}

static void make_device(void)
{
	need_devices();
	assert_run("ip link add wgt0 type wireguard && ip link set wgt0 up");
	act_before = messages = 0;
}

static int configure(const char *text, struct err *err)
{
	struct wg_config config;
	struct wg_device_setup plan;
	int rc;

	make_plan(text, &config, &plan);
	rc = wg_device_configure("wgt0", &plan, err);
	plan_done(&config, &plan);
	return rc;
}

/* @before: NULL: what was is not known. */
static int sync_to(const char *text, const char *before)
{
	struct wg_config config, old = {0};
	struct wg_device_setup plan, old_plan = {0};
	struct err err = {""};
	int rc;

	make_plan(text, &config, &plan);
	if (before)
		make_plan(before, &old, &old_plan);
	messages = 0;
	rc = wg_device_sync("wgt0", &plan, before ? &old : NULL, &err);
	plan_done(&config, &plan);
	plan_done(&old, &old_plan);
	if (rc < 0)
		print_error("%s\n", err.text);
	return rc;
}

/* --- configure and read --- */

/* A device is read back as its configuration says, keys apart. */
static void configuration_is_read_back(void **state)
{
	struct wg_state device;
	char text[PREFIX_TEXT_MAX];
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(configure(INTERFACE "FwMark = 7\n[Peer]\nPublicKey = " X "\nPresharedKey = " PSK
					     "\nEndpoint = [2001:db8::1]:7\nPersistentKeepalive = 25\n"
					     "AllowedIPs = 10.0.0.2/32, fd10::/64\n",
				 &err),
		0);
	assert_int_equal(wg_device_read("wgt0", &device, &err), 0);
	assert_int_equal(device.index, if_nametoindex("wgt0"));
	assert_int_equal(device.listen_port, 51820);
	assert_int_equal(device.fwmark, 7);
	assert_true(device.has_key);
	assert_int_equal(device.peer_count, 1);
	assert_true(device.peers[0].has_preshared_key);
	assert_string_equal(addr_format(text, sizeof(text), &device.peers[0].endpoint), "[2001:db8::1]:7");
	assert_int_equal(device.peers[0].persistent_keepalive_s, 25);
	assert_int_equal(device.peers[0].latest_handshake_s, 0);
	assert_int_equal(device.peers[0].allowed_ip_count, 2);
	wg_state_done(&device);
}

/* A name without a device, and a device of another kind, are no WireGuard device. */
static void no_device_is_told(void **state)
{
	static const char *const names[] = {"wgt0", "lo", "a-name-longer-than-any-device"};
	struct wg_state device;
	struct err err;

	(void)state;
	need_devices();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		assert_int_equal(wg_device_read(names[i], &device, &err), -ENODEV);
		assert_non_null(strstr(err.text, names[i]));
	}
	assert_int_equal(sync_to(INTERFACE, NULL), -ENODEV);
}

/* A port that is taken is told as such, also where the message is larger than wireguard.c's buffer. */
static void taken_port_is_told(void **state)
{
	static char text[200000] = INTERFACE;
	size_t len = strlen(text);
	struct err err = {""};

	(void)state;
	for (int i = 0; i < 200; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
			"[Peer]\nPublicKey = AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA%c%cA=\n", 'A' + i / 20,
			'a' + i % 20);
	make_device();
	assert_run("ip link add wgt1 type wireguard && wg set wgt1 listen-port 51820 && ip link set wgt1 up");
	assert_int_equal(configure(text, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "ListenPort 51820"));
}

/* --- sync --- */

/* Settings that the file has no more are taken from the peer: preshared key and keepalive. */
static void what_is_left_out_goes(void **state)
{
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(
		configure(INTERFACE "[Peer]\nPublicKey = " X "\nPresharedKey = " PSK "\nPersistentKeepalive = 25\n",
			&err),
		0);
	assert_int_equal(sync_to(INTERFACE "[Peer]\nPublicKey = " X "\n", NULL), 0);
	assert_shows("preshared-keys", X "\t(none)\n");
	assert_shows("persistent-keepalive", X "\toff\n");
}

/* Any port is the one it has. */
static void port_stays_without_listen_port(void **state)
{
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(configure(INTERFACE, &err), 0);
	assert_int_equal(sync_to("[Interface]\nPrivateKey = " PRIVATE "\n", NULL), 0);
	assert_shows("listen-port", "51820\n");
}

/* Key and port that are to wait for a restart stay, while the peers change; those that are not are set. */
static void what_is_kept_stays(void **state)
{
	struct wg_device_setup plan;
	struct wg_config config;
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(configure(INTERFACE, &err), 0);
	make_plan("[Interface]\nPrivateKey = " Y "\nListenPort = 51999\n[Peer]\nPublicKey = " X "\n", &config, &plan);
	plan.keeps_private_key = plan.keeps_listen_port = true;
	assert_int_equal(wg_device_sync("wgt0", &plan, NULL, &err), 0);
	assert_shows("private-key", PRIVATE "\n");
	assert_shows("listen-port", "51820\n");
	assert_shows("peers", X "\n");
	plan.keeps_listen_port = false;
	assert_int_equal(wg_device_sync("wgt0", &plan, NULL, &err), 0);
	assert_shows("private-key", PRIVATE "\n");
	assert_shows("listen-port", "51999\n");
	plan_done(&config, &plan);
}

/* An allowed IP ends with the peer that is to have it, in whichever order they stand. */
static void allowed_ip_moves(void **state)
{
	static const char x_has[] =
		INTERFACE "[Peer]\nPublicKey = " X "\nAllowedIPs = 10.0.0.9/32\n[Peer]\nPublicKey = " Y
			  "\nAllowedIPs = fd10::9/128\n";
	static const char y_has[] =
		INTERFACE "[Peer]\nPublicKey = " X "\nAllowedIPs = fd10::9/128\n[Peer]\nPublicKey = " Y
			  "\nAllowedIPs = 10.0.0.9/32\n";
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(configure(x_has, &err), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sync_to(y_has, x_has), 0);
		assert_run("wg show wgt0 allowed-ips | grep -q '^" X ".fd10::9/128$'");
		assert_run("wg show wgt0 allowed-ips | grep -q '^" Y ".10.0.0.9/32$'");
		assert_int_equal(sync_to(x_has, y_has), 0);
		assert_run("wg show wgt0 allowed-ips | grep -q '^" Y ".fd10::9/128$'");
		assert_run("wg show wgt0 allowed-ips | grep -q '^" X ".10.0.0.9/32$'");
	}
}

#define X_AT(endpoint) INTERFACE "[Peer]\nPublicKey = " X "\nEndpoint = " endpoint "\n"

/* A peer that roamed stays where it is, until the file gives it another endpoint than it did. */
static void endpoint_is_set_where_the_file_changed(void **state)
{
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(configure(X_AT("192.0.2.1:1"), &err), 0);
	assert_run("wg set wgt0 peer " X " endpoint 192.0.2.9:9");
	assert_int_equal(sync_to(X_AT("192.0.2.1:1"), X_AT("192.0.2.1:1")), 0);
	assert_shows("endpoints", X "\t192.0.2.9:9\n");
	assert_int_equal(sync_to(X_AT("192.0.2.2:2"), NULL), 0);
	assert_shows("endpoints", X "\t192.0.2.9:9\n");
	assert_int_equal(sync_to(X_AT("192.0.2.2:2"), X_AT("192.0.2.1:1")), 0);
	assert_shows("endpoints", X "\t192.0.2.2:2\n");
}

/* A device that is as it should be is read and not written. */
static void nothing_is_written_without_a_change(void **state)
{
	static const char text[] =
		INTERFACE "FwMark = 7\n[Peer]\nPublicKey = " X "\nPresharedKey = " PSK
			  "\nEndpoint = 192.0.2.1:1\nPersistentKeepalive = 25\nAllowedIPs = 10.0.0.0/8\n"
			  "[Peer]\nPublicKey = " Y "\n";
	struct err err = {""};
	int reading;

	(void)state;
	make_device();
	assert_int_equal(configure(text, &err), 0);
	assert_int_equal(sync_to(text, text), 0);
	reading = messages;
	assert_int_equal(
		sync_to(INTERFACE "FwMark = 8\n[Peer]\nPublicKey = " X "\nPresharedKey = " PSK
				  "\nEndpoint = 192.0.2.1:1\nPersistentKeepalive = 25\nAllowedIPs = 10.0.0.0/8\n"
				  "[Peer]\nPublicKey = " Y "\n",
			text),
		0);
	assert_true(messages > reading);
}

/* --- peers of other programs --- */

#define Z "QEFCQ0RFRkdISUpLTE1OT1BRUlNUVVZXWFlaW1xdXl8="

/* It stays as it is, with its allowed IPs, whatever comes and goes; one that the file had before goes. */
static void only_what_the_file_had_goes(void **state)
{
	static const char with_x[] = INTERFACE "[Peer]\nPublicKey = " X "\nAllowedIPs = 10.0.0.2/32\n";
	static const char with_y[] = INTERFACE "[Peer]\nPublicKey = " Y "\nAllowedIPs = 10.0.0.3/32\n";
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(configure(with_x, &err), 0);
	assert_run("wg set wgt0 peer " Z " allowed-ips 10.0.0.9/32 persistent-keepalive 7");
	assert_int_equal(sync_to(with_y, with_x), 0);
	assert_run("wg show wgt0 peers | grep -q " Y " && ! wg show wgt0 peers | grep -q " X);
	assert_run("wg show wgt0 allowed-ips | grep -q '^" Z ".10.0.0.9/32$'");
	assert_int_equal(sync_to(INTERFACE, with_y), 0);
	assert_shows("persistent-keepalive", Z "\t7\n");
}

/* The file takes it over, all of it: endpoint, keepalive, allowed IPs. From then on it goes with the file. */
static void peer_that_the_file_gets_is_set_as_it_says(void **state)
{
	static const char text[] = INTERFACE "[Peer]\nPublicKey = " Z "\nEndpoint = 192.0.2.2:2\nAllowedIPs = fd10::/64\n";
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(configure(INTERFACE, &err), 0);
	assert_run("wg set wgt0 peer " Z " allowed-ips 10.0.0.9/32 persistent-keepalive 7 endpoint 192.0.2.1:1");
	assert_int_equal(sync_to(text, INTERFACE), 0);
	assert_shows("endpoints", Z "\t192.0.2.2:2\n");
	assert_shows("allowed-ips", Z "\tfd10::/64\n");
	assert_shows("persistent-keepalive", Z "\toff\n");
	assert_int_equal(sync_to(INTERFACE, text), 0);
	assert_shows("peers", "");
}

/* An allowed IP that the file gives to a peer of its own is taken from the other program's, and stays with ours. */
static void allowed_ip_of_the_file_comes_back(void **state)
{
	static const char text[] = INTERFACE "[Peer]\nPublicKey = " X "\nAllowedIPs = 10.0.0.2/32\n";
	struct err err = {""};

	(void)state;
	make_device();
	assert_int_equal(configure(text, &err), 0);
	assert_run("wg set wgt0 peer " Z " allowed-ips 10.0.0.2/32,10.0.0.9/32");
	assert_int_equal(sync_to(text, text), 0);
	assert_run("wg show wgt0 allowed-ips | grep -q '^" X ".10.0.0.2/32$'");
	assert_run("wg show wgt0 allowed-ips | grep -q '^" Z ".10.0.0.9/32$'");
}

/* The next sync would take such a peer for another program's, and a client could not be revoked. */
static void failed_sync_leaves_no_new_peer(void **state)
{
	static const char before[] = INTERFACE "[Peer]\nPublicKey = " X "\nAllowedIPs = 10.0.0.2/32\n";
	static const char after[] = INTERFACE "[Peer]\nPublicKey = " X "\nAllowedIPs = 10.0.0.3/32\n"
					      "[Peer]\nPublicKey = " Y "\nAllowedIPs = 10.0.0.2/32\n";
	struct err err = {""};
	int rc = -1, failing = 0;

	(void)state;
	make_device();
	action = NULL;
	while (rc < 0) {
		act_before = 0;
		assert_int_equal(configure(before, &err), 0);
		act_before = ++failing;
		rc = sync_to(after, before);
		if (rc < 0)
			assert_shows("peers", X "\n");
	}
	assert_true(failing > 3);
	act_before = 0;
}

/* --- sync beside traffic --- */

/* The peer of wgt0 that is pinged: wgt1, in a namespace of its own. */
static void make_far_end(void)
{
	make_device();
	assert_run(
		"ip netns del wgfar 2>/dev/null; ip netns add wgfar && ip link add wgt1 type wireguard && "
		"wg genkey | wg set wgt1 private-key /dev/stdin listen-port 51821 && "
		"wg set wgt1 peer $(echo " PRIVATE " | wg pubkey) allowed-ips 10.9.0.1/32 endpoint 127.0.0.1:51820 && "
		"wg show wgt1 public-key >/run/wg_far_key && ip link set wgt1 netns wgfar && "
		"ip -n wgfar addr add 10.9.0.2/24 dev wgt1 && ip -n wgfar link set wgt1 up && "
		"ip addr add 10.9.0.1/24 dev wgt0");
}

/* The far end's [Peer], and others that change with @turn. */
static const char *text_of_turn(int turn)
{
	static char text[2][4096];
	char key[64] = "";
	FILE *file = fopen("/run/wg_far_key", "r");

	assert_non_null(file);
	assert_non_null(fgets(key, sizeof(key), file));
	fclose(file);
	snprintf(text[turn & 1], sizeof(text[0]),
		INTERFACE "[Peer]\nPublicKey = %sAllowedIPs = 10.9.0.2/32\n"
			  "[Peer]\nPublicKey = %s\nAllowedIPs = 10.8.%d.0/24\nPersistentKeepalive = %d\n",
		key, turn & 1 ? X : Y, turn, turn);
	return text[turn & 1];
}

/* Others come, go and change: the far end's session goes on, and of its packets none is lost. */
static void peer_that_stays_notices_nothing(void **state)
{
	struct err err = {""};
	FILE *ping;
	char line[256], last[256] = "";

	(void)state;
	make_far_end();
	assert_int_equal(configure(text_of_turn(0), &err), 0);
	assert_run("ip netns exec wgfar ping -c1 -W2 10.9.0.1 >/dev/null");
	/* On a busy machine an initiation may be sent twice, and the second handshake then follows the first by a
	 * moment. */
	assert_run(
		"handshake() { wg show wgt0 latest-handshakes | grep -f /run/wg_far_key; }; for try in 1 2 3 4 5; do "
		"handshake >/run/wg_far_handshake; sleep 1.1; handshake | cmp -s - /run/wg_far_handshake && break; done");
	ping = popen("ip netns exec wgfar ping -q -i 0.01 -c 200 10.9.0.1", "r");
	assert_non_null(ping);
	for (int i = 1; i <= SYNCS; i++) {
		assert_int_equal(sync_to(text_of_turn(i), text_of_turn(i - 1)), 0);
		usleep(40 * 1000);
	}
	while (fgets(line, sizeof(line), ping))
		if (strstr(line, "packet loss"))
			memcpy(last, line, sizeof(last));
	assert_int_equal(pclose(ping), 0);
	if (!strstr(last, " 0% packet loss"))
		fail_msg("%s", last);
	assert_run("wg show wgt0 latest-handshakes | grep -f /run/wg_far_key | cmp - /run/wg_far_handshake");
	assert_run("test $(wg show wgt0 transfer | grep -f /run/wg_far_key | cut -f3) -gt 20000");
	assert_run("ip netns del wgfar; rm -f /run/wg_far_key /run/wg_far_handshake");
}

/* --- a peer that the operator removes --- */

/* Since it was read: it does not come back, although its keepalive was to change. Before it was read: the configuration
 * has it, so it comes, with all of it. Never half. */
static void removed_peer_comes_back_whole_or_not_at_all(void **state)
{
	static const char before[] =
		INTERFACE "[Peer]\nPublicKey = " X "\nPresharedKey = " PSK "\nAllowedIPs = 10.0.0.2/32\n";
	static const char after[] = INTERFACE "[Peer]\nPublicKey = " X "\nPresharedKey = " PSK
					      "\nAllowedIPs = 10.0.0.3/32\nPersistentKeepalive = 25\n";
	struct err err = {""};
	int whole = 0, gone = 0, count = 100;

	(void)state;
	make_device();
	action = "wg set wgt0 peer " X " remove";
	for (int n = 1; n <= count; n++) {
		act_before = 0;
		assert_int_equal(configure(before, &err), 0);
		act_before = n;
		assert_int_equal(sync_to(after, before), 0);
		count = messages;
		if (run("test -z \"$(wg show wgt0 peers)\""))
			gone++;
		else if (run("wg show wgt0 preshared-keys | grep -q '" X "." PSK "'"))
			whole++;
		else
			fail_msg("half a peer after message %d", n);
	}
	assert_true(gone > 0 && whole > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuration_is_read_back),
		cmocka_unit_test(no_device_is_told),
		cmocka_unit_test(taken_port_is_told),
		cmocka_unit_test(what_is_left_out_goes),
		cmocka_unit_test(port_stays_without_listen_port),
		cmocka_unit_test(what_is_kept_stays),
		cmocka_unit_test(allowed_ip_moves),
		cmocka_unit_test(endpoint_is_set_where_the_file_changed),
		cmocka_unit_test(nothing_is_written_without_a_change),
		cmocka_unit_test(only_what_the_file_had_goes),
		cmocka_unit_test(peer_that_the_file_gets_is_set_as_it_says),
		cmocka_unit_test(allowed_ip_of_the_file_comes_back),
		cmocka_unit_test(failed_sync_leaves_no_new_peer),
		cmocka_unit_test(peer_that_stays_notices_nothing),
		cmocka_unit_test(removed_peer_comes_back_whole_or_not_at_all),
	};

	return cmocka_run_group_tests_name("wg_device_sync", tests, NULL, NULL);
}
