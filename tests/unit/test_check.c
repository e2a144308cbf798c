/* host/check: what the host refuses, to the word, before anything is changed.
 *
 * Each test has network and mount namespaces of its own. Without root, and where the kernel has no WireGuard, all but
 * one are skipped; tests/kernel runs them.
 */
#include "common/host/check.h"
#include "common/wireguard/tunnel_file.h"
#include "common/wireguard/wg_device.h"

#include "tests/unit/config_cases.h"

#include <errno.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/syscall.h>

#define LAN "ip link add eth0 type dummy && ip address add 192.168.1.130/24 dev eth0 && ip link set eth0 up"
#define NETWORKD "/run/systemd/netif/links"
#define PEER "[Peer]\nPublicKey = " KEY_B "\n" /* two lines, 3 and 4 behind INTERFACE */

static struct bed {
	bool is_there;
	int mounts_fd; /* namespace to come back to */
	struct netlink netlink;
	struct wg_config wireguard;
	struct host_setup setup;
	struct err err;
} bed;

/* Nothing of the host's is seen or touched: /run is empty. */
static int set_up(void **state)
{
	(void)state;
	memset(&bed, 0, sizeof(bed));
	bed.mounts_fd = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC);
	bed.is_there = geteuid() == 0 && unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
		       mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		       mount("none", "/run", "tmpfs", 0, NULL) == 0 && system("ip link set lo up") == 0;
	return bed.is_there ? netlink_open(&bed.netlink, -1, &bed.err) : 0;
}

static int tear_down(void **state)
{
	int rc = 0;

	(void)state;
	wg_config_done(&bed.wireguard);
	if (bed.is_there) {
		netlink_close(&bed.netlink);
		rc = setns(bed.mounts_fd, CLONE_NEWNS) < 0 || chdir(case_folder) < 0;
	}
	close(bed.mounts_fd);
	return rc;
}

static void need_wireguard(void)
{
	if (!bed.is_there || !wg_device_kernel_has())
		skip();
}

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("%s", command);
}

/* The tunnel "home" with @config as its file. */
static void read_config(const char *config)
{
	struct ini_report report = {0};
	struct key_place place = {"home.conf", 1, "WireGuard", NULL, &report};

	write_file("home.conf", config, 0600);
	wg_config_done(&bed.wireguard);
	assert_true(
		tunnel_file_take_device("home.conf", "home.conf", "home", &bed.wireguard, bed.setup.device, &place));
	assert_only_line(&report, config, "");
	bed.setup.name = "home";
	bed.setup.config_path = bed.setup.wireguard_path = "home.conf";
	bed.setup.wireguard = &bed.wireguard;
	bed.setup.birth_netns_fd = -1;
}

/* All that could be changed, as one text. Return: good until the next call but one. */
static const char *look_at_host(void)
{
	static char texts[2][16384];
	static unsigned turn;
	char *text = texts[turn++ % 2];
	FILE *pipe = popen("printf 'address\nroute list table all\nrule\n' >/run/all; ip -d -4 -batch /run/all; "
			   "ip -6 -batch /run/all; ip link; ss -Hlun; nft list tables 2>/dev/null; cd /proc/sys/net; "
			   "cat ipv?/conf/*/forwarding ipv4/conf/all/src_valid_mark ipv4/conf/all/send_redirects",
		"r");
	size_t len;

	assert_non_null(pipe);
	len = fread(text, 1, sizeof(*texts) - 1, pipe);
	text[len] = '\0';
	pclose(pipe);
	return text;
}

/* Ask; the host must be as before. */
static int check(void)
{
	const char *before = look_at_host();
	int rc;

	bed.err.text[0] = '\0';
	rc = check_host(&bed.netlink, &bed.setup, &bed.err);
	assert_string_equal(before, look_at_host());
	return rc;
}

static void assert_refused(const char *config, int code, const char *complaint)
{
	read_config(config);
	assert_int_equal(check(), code);
	assert_string_equal(bed.err.text, complaint);
}

static void assert_allowed(const char *config)
{
	read_config(config);
	if (check() != 0)
		fail_msg("%s", bed.err.text);
}

/* --- what nothing works without --- */

/* Not root but the capability decides. */
static void privilege_is_needed(void **state)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct had[2], data[2];
	struct err hidden_err = {""};

	(void)state;
	if (!bed.is_there)
		skip();
	read_config(INTERFACE);
	assert_int_equal(syscall(SYS_capget, &header, had), 0);
	memcpy(data, had, sizeof(data));
	data[0].effective &= ~(1u << CAP_NET_ADMIN);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
	assert_int_equal(check_host(&bed.netlink, &bed.setup, &bed.err), -EPERM);
	data[0].effective = had[0].effective & ~(1u << CAP_SYS_ADMIN);
	assert_int_equal(syscall(SYS_capset, &header, data), 0);
	assert_int_equal(check_capable("hub.conf", &bed.wireguard, true, &hidden_err), -EPERM);
	assert_int_equal(syscall(SYS_capset, &header, had), 0);
	assert_string_equal(hidden_err.text,
		"hub.conf:1: [Interface]: a device's UDP port is hidden with CAP_SYS_ADMIN only; start this program as "
		"root, a container with docker run --cap-add SYS_ADMIN; Hidden = no works without, and this host then "
		"answers at that port");
	assert_string_equal(bed.err.text,
		"home.conf:1: [Interface]: a device is made with CAP_NET_ADMIN only; start this "
		"program as root, or by its systemd unit, a container with docker run --cap-add NET_ADMIN");
}

static void kernel_without_wireguard_is_told(void **state)
{
	(void)state;
	if (!bed.is_there || wg_device_kernel_has())
		skip();
	assert_refused(INTERFACE, -EOPNOTSUPP,
		"home.conf:1: [Interface]: this kernel has no WireGuard; Linux has it since 5.6 (reboot where a newer "
		"kernel is "
		"installed), older ones with apt install wireguard-dkms; else leave the device to wg-quick with "
		"wireguard-go, "
		"and take [Interface] out");
}

/* A host that has nothing against it. */
static void nothing_in_the_way(void **state)
{
	(void)state;
	need_wireguard();
	run(LAN);
	run("ip route add 10.11.0.0/16 dev eth0 metric 600 && ip route add 192.0.2.0/24 dev eth0 table 7");
	assert_allowed(INTERFACE "ListenPort = 51820\nAddress = 10.10.0.3/24, fd10::3/64\nPostUp = true\n" PEER
				 "AllowedIPs = 0.0.0.0/0, ::/0, 10.10.0.0/24, 10.11.0.0/16, 192.168.1.0/25\n");
	assert_allowed(INTERFACE "Table = off\n" PEER "AllowedIPs = 192.168.1.0/24\n");
	assert_allowed(INTERFACE "Table = 8\n" PEER "AllowedIPs = 192.168.1.0/24, 0.0.0.0/0\n");
	assert_allowed(INTERFACE "FwMark = 8\n" PEER "AllowedIPs = 0.0.0.0/0\n");
}

/* --- the device --- */

/* The owner's name, as far as it is known, and the command that takes the route away. */
static void device_of_that_name_is_refused(void **state)
{
	static const char *const texts[] = {
		"(wireguard), and not made by us; ip link del home helps, or another name for this tunnel",
		"(wireguard), wg-quick's, as it seems; wg-quick down home helps, or another name for this tunnel",
		"(wireguard), NetworkManager's; nmcli device disconnect home helps, or another name for this tunnel",
		("(wireguard), systemd-networkd's; networkctl delete home, and its .netdev file elsewhere, helps, or "
		 "another name for this tunnel"),
	};
	static const char *const commands[] = {
		"ip link add home index 77 type wireguard",
		"mount -t tmpfs none /etc/wireguard && touch /etc/wireguard/home.conf",
		"mkdir -p /run/NetworkManager/devices && echo connection-uuid=1 >/run/NetworkManager/devices/77",
		("cd /; rm -r /run/NetworkManager; mkdir -p " NETWORKD "; echo NETWORK_FILE=/x >" NETWORKD "/77"),
	};
	char line[512];

	(void)state;
	need_wireguard();
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		run(commands[i]);
		snprintf(line, sizeof(line),
			"home.conf:1: [Interface]: 'home': a device of that name is there already %s", texts[i]);
		assert_refused(INTERFACE, -EEXIST, line);
	}
}

static void device_of_another_kind_is_refused(void **state)
{
	(void)state;
	need_wireguard();
	run("ip link add home type dummy");
	assert_refused(INTERFACE, -EEXIST,
		"home.conf:1: [Interface]: 'home': a device of that name is there already (dummy), and not made by us; "
		"ip link "
		"del home helps, or another name for this tunnel");
}

/* --- its port --- */

static void port_of_a_device_is_refused(void **state)
{
	(void)state;
	need_wireguard();
	run("ip link add wg9 type wireguard && wg set wg9 listen-port 51871 && ip link set wg9 up");
	assert_refused(INTERFACE "ListenPort = 51871\n", -EADDRINUSE,
		"home.conf:3: ListenPort: '51871': the WireGuard device wg9 has this UDP port; another port helps, or "
		"ip link "
		"set wg9 down");
	run("ip link set wg9 down");
	assert_int_equal(check(), 0);
}

static void port_of_a_program_is_refused(void **state)
{
	static const char *const hosts[] = {"127.0.0.1:51871", "[::1]:51871"};

	(void)state;
	need_wireguard();
	for (size_t i = 0; i < 2; i++) {
		struct addr addr;
		int fd;

		assert_int_equal(addr_parse(hosts[i], 0, &addr), 0);
		fd = socket(addr.sa.sa_family, SOCK_DGRAM, 0);
		assert_int_equal(bind(fd, &addr.sa, addr_len(&addr)), 0);
		assert_refused(INTERFACE "ListenPort = 51871\n", -EADDRINUSE,
			"home.conf:3: ListenPort: '51871': another program has this UDP port, ss -lunp 'sport = "
			":51871' says "
			"which; another port helps, or to stop it");
		close(fd);
		assert_int_equal(check(), 0);
	}
}

/* The hub's default stands nowhere; in a namespace of its own a hidden device has all ports. */
static void port_by_default_has_the_section_for_a_line(void **state)
{
	struct addr addr;
	int fd;

	(void)state;
	need_wireguard();
	assert_int_equal(addr_parse("0.0.0.0:51820", 0, &addr), 0);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(bind(fd, &addr.sa, addr_len(&addr)), 0);
	read_config(INTERFACE);
	bed.wireguard.interface.listen_port = 51820;
	assert_int_equal(check(), -EADDRINUSE);
	assert_memory_equal(bed.err.text, "home.conf:1: ListenPort: '51820': another", 41);
	bed.setup.birth_netns_fd = fd;
	assert_int_equal(check(), 0);
	close(fd);
}

/* --- its addresses and routes --- */

static void address_of_another_device_is_refused(void **state)
{
	(void)state;
	need_wireguard();
	run(LAN " && ip address add fd10::3/64 dev eth0 nodad");
	assert_refused(INTERFACE "Address = 10.10.0.3/24\nAddress = 192.168.1.130/32\n", -EADDRINUSE,
		"home.conf:4: Address: '192.168.1.130/32': device eth0 has this address already; another one helps, or "
		"ip "
		"address del 192.168.1.130/24 dev eth0");
	assert_refused(INTERFACE "Address = fd10::3/128\n", -EADDRINUSE,
		"home.conf:3: Address: 'fd10::3/128': device eth0 has this address already; another one helps, or ip "
		"address "
		"del fd10::3/64 dev eth0");
	run("mount -t tmpfs none /etc/wireguard && touch /etc/wireguard/wg0.conf && ip link add wg0 type wireguard");
	run("ip address add 10.10.0.3/24 dev wg0");
	assert_refused(INTERFACE "Address = 10.10.0.3/24\n", -EADDRINUSE,
		"home.conf:3: Address: '10.10.0.3/24': device wg0, wg-quick's, as it seems, has this address already; "
		"wg-quick down wg0 helps, or another address");
}

static void address_of_ipv6_needs_ipv6(void **state)
{
	(void)state;
	need_wireguard();
	run("echo 1 >/proc/sys/net/ipv6/conf/default/disable_ipv6");
	assert_refused(INTERFACE "Address = 10.10.0.3/24, fd10::3/64\n", -EAFNOSUPPORT,
		"home.conf:3: Address: 'fd10::3/64': IPv6 is switched off on this host; sysctl -w "
		"net.ipv6.conf.default.disable_ipv6=0 helps (a container: docker run --sysctl "
		"net.ipv6.conf.all.disable_ipv6=0), or no IPv6 address");
	assert_refused(INTERFACE "Address = 10.10.0.3/24\n" PEER "AllowedIPs = 0.0.0.0/0, ::/0\n", -EAFNOSUPPORT,
		"home.conf:6: AllowedIPs: '::/0': IPv6 is switched off on this host; sysctl -w "
		"net.ipv6.conf.default.disable_ipv6=0 helps (a container: docker run --sysctl "
		"net.ipv6.conf.all.disable_ipv6=0), or no IPv6 network, or Table = off");
	assert_allowed(INTERFACE "Address = 10.10.0.3/24\n");
}

/* Routes and addresses that would end in EEXIST after half of the changes. */
static void route_that_is_there_is_refused(void **state)
{
	(void)state;
	need_wireguard();
	run(LAN " && ip -6 route add fd20::/64 dev eth0");
	assert_refused(INTERFACE PEER "AllowedIPs = 10.0.0.0/8\nAllowedIPs = 192.168.1.0/24\n", -EEXIST,
		"home.conf:6: AllowedIPs: '192.168.1.0/24': this host has that route already: 192.168.1.0/24 "
		"by eth0 (table 254); two halves of the prefix would win over it, else take it out, or say Table = "
		"off");
	assert_refused(INTERFACE PEER "AllowedIPs = fd20::/64\n", -EEXIST,
		"home.conf:5: AllowedIPs: 'fd20::/64': this host has that route already: fd20::/64 by eth0 "
		"(table 254); two halves of the prefix would win over it, else take it out, or say Table = off");
	assert_allowed(INTERFACE "Address = 192.168.1.7/24\n" PEER "AllowedIPs = 192.168.1.0/24\n");
}

static void table_in_use_is_refused(void **state)
{
	(void)state;
	need_wireguard();
	run(LAN " && ip route add 192.0.2.0/24 dev eth0 table 7 && ip -6 route add fd20::/64 dev eth0 table 8 && "
		"ip route add blackhole default table 9");
	assert_refused(INTERFACE "Table = 7\n" PEER "AllowedIPs = 10.0.0.0/8\n", -EEXIST,
		"home.conf:3: Table: '7': this routing table is in use: 192.0.2.0/24 by eth0; another number helps, or "
		"Table = "
		"off with the routes in PostUp");
	assert_refused(INTERFACE "Table = 8\n" PEER "AllowedIPs = 10.0.0.0/8\n", -EEXIST,
		"home.conf:3: Table: '8': this routing table is in use: fd20::/64 by eth0; another number helps, or "
		"Table = off "
		"with the routes in PostUp");
	assert_refused(INTERFACE "FwMark = 9\n" PEER "AllowedIPs = 0.0.0.0/0\n", -EEXIST,
		"home.conf:3: FwMark: '0x9': the mark is also the number of the full tunnel's routing table, and table "
		"9 is in "
		"use: 0.0.0.0/0 by nowhere; another mark helps, or none");
	assert_allowed(INTERFACE "Table = main\n" PEER "AllowedIPs = 10.0.0.0/8\n");
}

/* --- [Gateway] --- */

/* Where the networks lie is known before the first hook runs. */
static void gateway_must_have_a_device(void **state)
{
	struct gateway gateway = {.masquerade = true, .line = 11, .lan_line = 12, .lan_count = 1};
	struct prefix lan;
	char named[] = "tunnel.conf:13: Interface: 'eth9': no such device",
	     found[] = "tunnel.conf:12: Lan: '192.168.9.0/24': ",
	     odd[] = "tunnel.conf:11: [Gateway]: nft has no words for a device called 'odd\"one'; ";

	(void)state;
	need_wireguard();
	run(LAN);
	read_config(INTERFACE "PreUp = touch /run/was-here\n");
	bed.setup.config_path = "tunnel.conf";
	bed.setup.gateways = &gateway;
	bed.setup.gateway_count = 1;
	gateway.lans = &lan;
	assert_int_equal(prefix_parse("192.168.1.0/24", &lan), 0);
	assert_int_equal(check(), 0);
	assert_int_equal(prefix_parse("192.168.9.0/24", &lan), 0);
	assert_int_equal(check(), -ENODEV);
	assert_memory_equal(bed.err.text, found, sizeof(found) - 1);
	strcpy(gateway.interface, "eth0");
	gateway.interface_line = 13;
	assert_int_equal(check(), 0);
	strcpy(gateway.interface, "eth9");
	assert_int_equal(check(), -ENODEV);
	assert_memory_equal(bed.err.text, named, sizeof(named) - 1);
	run("ip link add 'odd\"one' type dummy");
	strcpy(gateway.interface, "odd\"one");
	assert_int_equal(check(), -EINVAL);
	assert_memory_equal(bed.err.text, odd, sizeof(odd) - 1);
	assert_int_equal(access("/run/was-here", F_OK), -1);
}

/* --- parameters --- */

/* A container's /proc/sys: only values that have to be changed are in the way, and the remedy sets just these. */
static void parameter_must_fit_or_be_writable(void **state)
{
	(void)state;
	need_wireguard();
	run("echo 0 >/proc/sys/net/ipv4/ip_forward && echo 0 >/proc/sys/net/ipv6/conf/all/forwarding");
	assert_allowed(INTERFACE PEER "AllowedIPs = 0.0.0.0/0\n");
	run("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys");
	assert_allowed(INTERFACE "Address = fd10::3/64\n" PEER "AllowedIPs = 10.0.0.0/8, ::/0\n");
	assert_refused(INTERFACE PEER "AllowedIPs = 0.0.0.0/0\n", -EROFS,
		"home.conf:1: [Interface]: kernel parameter net/ipv4/conf/all/src_valid_mark must be 1, and cannot be "
		"set: Read-only file system; sysctl -w net.ipv4.conf.all.src_valid_mark=1 helps, for a container "
		"docker run --sysctl net.ipv4.conf.all.src_valid_mark=1");
	run("umount /proc/sys && sysctl -qw net.ipv4.conf.all.src_valid_mark=1");
	run("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys");
	assert_allowed(INTERFACE PEER "AllowedIPs = 0.0.0.0/0\n");
	bed.setup.is_hub = true;
	assert_refused(INTERFACE "Address = 10.10.0.1/24\n", -EROFS,
		"home.conf:1: [Interface]: kernel parameter net/ipv4/conf/default/forwarding must be 1, and cannot be "
		"set: Read-only file system; sysctl -w net.ipv4.ip_forward=1 helps, for a container docker run "
		"--sysctl net.ipv4.ip_forward=1");
	assert_refused(INTERFACE "Address = fd10::1/64\n", -EROFS,
		"home.conf:1: [Interface]: kernel parameter net/ipv4/conf/default/forwarding, "
		"net/ipv6/conf/all/forwarding must be 1, and cannot be set: Read-only file system; sysctl -w "
		"net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 helps, for a container docker run "
		"--sysctl net.ipv4.ip_forward=1 --sysctl net.ipv6.conf.all.forwarding=1");
	run("umount /proc/sys && sysctl -qw net.ipv4.ip_forward=1");
	run("mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys");
	assert_allowed(INTERFACE "Address = 10.10.0.1/24\n");
	assert_refused(INTERFACE "Address = fd10::1/64\n", -EROFS,
		"home.conf:1: [Interface]: kernel parameter net/ipv6/conf/all/forwarding must be 1, and cannot be "
		"set: Read-only file system; sysctl -w net.ipv6.conf.all.forwarding=1 helps, for a container docker "
		"run --sysctl net.ipv6.conf.all.forwarding=1");
}

/* --- programs --- */

static void resolver_must_be_there(void **state)
{
	char start[] = "home.conf:4: DNS: ";

	(void)state;
	need_wireguard();
	run("for p in resolvconf resolvectl; do p=$(command -v $p) && mount --bind /dev/null $p; done; true");
	read_config(INTERFACE "Address = 10.10.0.3/24\nDNS = 192.0.2.53\n");
	assert_int_equal(check(), -ENOENT);
	assert_memory_equal(bed.err.text, start, sizeof(start) - 1);
}

static void nft_is_needed_for_a_full_tunnel(void **state)
{
	(void)state;
	need_wireguard();
	run("mount --bind /dev/null \"$(command -v nft)\"");
	assert_allowed(INTERFACE "[Peer]\nPublicKey = " KEY_B "\nAllowedIPs = 10.0.0.0/8\nEndpoint = 192.0.2.1:1\n");
	assert_refused(INTERFACE PEER "AllowedIPs = 0.0.0.0/0\n", -ENOENT,
		"home.conf:1: [Interface]: a full tunnel, a gateway or a hub needs nft(8), which is not installed; apt "
		"install "
		"nftables helps");
}

static void bash_is_needed_for_hooks(void **state)
{
	(void)state;
	need_wireguard();
	run("mount --bind /dev/null /bin/bash");
	assert_allowed(INTERFACE);
	assert_refused(INTERFACE "PostDown = true\nPostUp = true\n", -ENOENT,
		"home.conf:3: PostDown: hooks are run by bash, which is not installed; apt install bash helps");
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(privilege_is_needed),
		TEST(kernel_without_wireguard_is_told),
		TEST(nothing_in_the_way),
		TEST(device_of_that_name_is_refused),
		TEST(device_of_another_kind_is_refused),
		TEST(port_of_a_device_is_refused),
		TEST(port_of_a_program_is_refused),
		TEST(port_by_default_has_the_section_for_a_line),
		TEST(address_of_another_device_is_refused),
		TEST(address_of_ipv6_needs_ipv6),
		TEST(route_that_is_there_is_refused),
		TEST(table_in_use_is_refused),
		TEST(gateway_must_have_a_device),
		TEST(parameter_must_fit_or_be_writable),
		TEST(resolver_must_be_there),
		TEST(nft_is_needed_for_a_full_tunnel),
		TEST(bash_is_needed_for_hooks),
	};

	unsetenv("JOURNAL_STREAM");
	return cmocka_run_group_tests(tests, case_setup, case_teardown);
}
