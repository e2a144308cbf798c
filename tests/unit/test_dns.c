/* The host's resolver: command lines word for word, and name servers out of files and from a stand-in of
 * systemd-resolved. */
#include "common/net/dns.h"

#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifdef HAVE_SYSTEMD
#include <systemd/sd-bus.h>
#endif

#define WORDS_MAX 100

static const struct dns_tools none, resolved = {.has_resolved = true},
				    resolvconf = {.has_resolvconf = true, .has_resolved = true},
				    with_prefix = {.has_resolvconf = true, .interface_prefix = "tun."};

static char root[256], line[DNS_COMMAND_MAX];

/* --- command lines --- */

/* @words: separated by commas. The result is in line. */
static int set(const struct dns_tools *tools, const char *device, const char *words, struct err *err)
{
	char text[4096], *list[WORDS_MAX], *rest = text;
	size_t count = 0;

	snprintf(text, sizeof(text), "%s", words);
	while (rest && count < WORDS_MAX)
		list[count++] = strsep(&rest, ",");
	return dns_format_set(tools, device, list, count, line, err);
}

static void resolvconf_is_asked_as_wg_quick_does(void **state)
{
	(void)state;
	assert_int_equal(set(&with_prefix, "wg0", "10.10.0.1,home.lan,fd10::1,a.lan", NULL), 0);
	assert_string_equal(line, "{ printf 'nameserver %s\\n' 10.10.0.1 fd10::1; echo search home.lan a.lan; } | "
				  "resolvconf -a tun.wg0 -m 0 -x");
	assert_int_equal(dns_format_unset(&with_prefix, "wg0", line, NULL), 0);
	assert_string_equal(line, "resolvconf -d tun.wg0 -f");
}

static void resolvconf_comes_before_resolved(void **state)
{
	(void)state;
	assert_int_equal(set(&resolvconf, "wg0", "10.10.0.1", NULL), 0);
	assert_string_equal(line, "{ printf 'nameserver %s\\n' 10.10.0.1; } | resolvconf -a wg0 -m 0 -x");
}

static void resolved_gets_every_question(void **state)
{
	(void)state;
	assert_int_equal(set(&resolved, "wg0", "10.10.0.1,home.lan", NULL), 0);
	assert_string_equal(line, "resolvectl dns wg0 10.10.0.1 && resolvectl domain wg0 '~.' home.lan && "
				  "resolvectl default-route wg0 true");
	assert_int_equal(dns_format_unset(&resolved, "wg0", line, NULL), 0);
	assert_string_equal(line, "resolvectl revert wg0 || test ! -e /sys/class/net/wg0");
}

/* "~" is quoted from sh, and refused where only resolvconf is asked. */
static void routing_domain_is_for_resolved(void **state)
{
	struct err err = {""};

	(void)state;
	assert_int_equal(set(&resolved, "wg0", "10.10.0.1,~example.org,home.lan", NULL), 0);
	assert_string_equal(line,
		"resolvectl dns wg0 10.10.0.1 && resolvectl domain wg0 '~.' '~example.org' home.lan && "
		"resolvectl default-route wg0 true");
	assert_int_equal(set(&resolvconf, "wg0", "10.10.0.1,~example.org", &err), -EINVAL);
	assert_non_null(
		strstr(err.text, "'~example.org': resolvconf knows no routing domains; expected 'example.org'"));
	assert_int_equal(set(&resolved, "wg0", "10.10.0.1,~", &err), -EINVAL);
	assert_int_equal(set(&resolved, "wg0", "10.10.0.1,~-x", &err), -EINVAL);
	assert_int_equal(set(&resolved, "wg0", "10.10.0.1,a~b", &err), -EINVAL);
}

/* The lines that resolvconf(8) would read, printed by a shell that runs the command. */
static void resolvconf_reads_one_server_a_line(void **state)
{
	static const char stub[] = "resolvconf() { echo \"$@\" >>%s/said; cat >>%s/said; }; %s; "
				   "printf '%%b' '%s' | cmp -s - %s/said";
	char script[4096];

	(void)state;
	assert_int_equal(set(&resolvconf, "wg0", "1.1.1.1,b.lan,::2", NULL), 0);
	snprintf(script, sizeof(script), stub, root, root, line,
		"-a wg0 -m 0 -x\\nnameserver 1.1.1.1\\nnameserver ::2\\nsearch b.lan\\n", root);
	assert_int_equal(system(script), 0);
}

static void domains_alone_set_nothing(void **state)
{
	(void)state;
	assert_int_equal(set(&resolvconf, "wg0", "home.lan", NULL), 0);
	assert_string_equal(line, "");
}

static void no_word_gets_out_of_the_command_line(void **state)
{
	static const char *const words[] = {"1.1.1.1;reboot", "$(reboot)", "a b", "'", "", "-x", "a\nb", "\\"};
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		assert_int_equal(set(&resolvconf, "wg0", words[i], &err), -EINVAL);
	assert_int_equal(set(&resolvconf, "wg0;reboot", "1.1.1.1", &err), -EINVAL);
	assert_int_equal(dns_format_unset(&resolvconf, "$(x)", line, &err), -EINVAL);
}

static void without_a_resolver_the_package_is_named(void **state)
{
	struct err err = {""};

	(void)state;
	assert_int_equal(set(&none, "wg0", "1.1.1.1", &err), -ENOENT);
	assert_non_null(strstr(err.text, "openresolv"));
}

static void too_many_words_are_told(void **state)
{
	char words[4096] = "2001:db8:1234:5678::1";

	(void)state;
	for (size_t i = 1; i < WORDS_MAX; i++)
		strcat(words, ",2001:db8:1234:5678::1");
	assert_int_equal(set(&resolvconf, "wg0", words, NULL), -E2BIG);
}

/* --- files --- */

static void put(const char *path, const char *text)
{
	char command[1024];
	FILE *file;

	snprintf(command, sizeof(command), "mkdir -p \"$(dirname '%s%s')\"", root, path);
	assert_int_equal(system(command), 0);
	snprintf(command, sizeof(command), "%s%s", root, path);
	file = fopen(command, "we");
	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static int make_root(void **state)
{
	(void)state;
	snprintf(root, sizeof(root), "%s/test_dns.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	return mkdtemp(root) ? 0 : -1;
}

static int remove_root(void **state)
{
	char command[512];

	(void)state;
	snprintf(command, sizeof(command), "rm -rf '%s'", root);
	return system(command);
}

/* "192.0.2.1 192.0.2.2" */
static const char *text_of(const struct addr *servers, size_t count)
{
	static char text[DNS_SERVERS_MAX * ADDR_TEXT_MAX];
	char server[ADDR_TEXT_MAX];

	text[0] = '\0';
	for (size_t i = 0; i < count; i++) {
		assert_int_equal(addr_port(&servers[i]), 53);
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s%s", i ? " " : "",
			addr_format_host(server, sizeof(server), &servers[i]));
	}
	return text;
}

static const char *read_servers(const char *except)
{
	struct addr servers[DNS_SERVERS_MAX];

	return text_of(servers, dns_read_uplink_servers(root, except, servers));
}

static void the_prefix_is_the_first_open_one(void **state)
{
	char prefix[DNS_PREFIX_MAX];

	(void)state;
	dns_read_interface_prefix(root, prefix);
	assert_string_equal(prefix, "");
	put("/etc/resolvconf/interface-order", "# order\nlo.inet6\nlo.@(dnsmasq|pdnsd)\nlo\ntun*\ntap*\nhso*\n");
	dns_read_interface_prefix(root, prefix);
	assert_string_equal(prefix, "tun.");
}

static void resolv_conf_alone_is_read(void **state)
{
	(void)state;
	put("/etc/resolv.conf", "# by hand\nsearch lan\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # second\n"
				"#nameserver 192.0.2.9\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver x\n");
	assert_string_equal(read_servers("wg0"), "192.0.2.1 2001:db8::1");
}

static void no_files_are_no_servers(void **state)
{
	(void)state;
	assert_string_equal(read_servers("wg0"), "");
}

static void records_of_tunnels_are_passed_over(void **state)
{
	(void)state;
	put("/etc/resolv.conf", "nameserver 10.10.0.1\n");
	put("/sys/class/net/wg1/uevent", "DEVTYPE=wireguard\nINTERFACE=wg1\nIFINDEX=5\n");
	put("/sys/class/net/eth0/uevent", "INTERFACE=eth0\nIFINDEX=2\n");
	put("/run/resolvconf/interface/eth0.dhclient", "nameserver 192.0.2.1\n");
	put("/run/resolvconf/interface/tun.wg0", "nameserver 10.10.0.1\n");
	put("/run/resolvconf/interface/tun.wg1", "nameserver 10.20.0.1\n");
	put("/run/resolvconf/interface/lo.named", "nameserver 192.0.2.7\n");
	put("/run/resolvconf/interface/wg00.dhcp", "nameserver 192.0.2.2\n");
	assert_string_equal(read_servers("wg0"), "192.0.2.1 192.0.2.2");
}

static void openresolvs_records_are_read(void **state)
{
	(void)state;
	put("/run/resolvconf/interfaces/eth0", "# resolv.conf from eth0\nnameserver 192.0.2.1\n");
	put("/run/resolvconf/interfaces/wg0", "nameserver 10.10.0.1\n");
	put("/run/resolvconf/keys/eth1.dhcp", "nameserver 192.0.2.2\n");
	assert_string_equal(read_servers("wg0"), "192.0.2.1 192.0.2.2");
}

/* resolvconf wrote the file: servers of the tunnel must not come back by this way. */
static void resolv_conf_without_what_the_tunnel_brought(void **state)
{
	(void)state;
	put("/etc/resolv.conf", "nameserver 10.10.0.1\nnameserver 192.0.2.1\n");
	put("/run/resolvconf/interface/tun.wg0", "nameserver 10.10.0.1\n");
	assert_string_equal(read_servers("wg0"), "192.0.2.1");
}

static void more_than_fit_are_left(void **state)
{
	char text[1024] = "";

	(void)state;
	for (int i = 1; i <= 20; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "nameserver 192.0.2.%d\n", i);
	put("/etc/resolv.conf", text);
	assert_string_equal(read_servers("wg0"), "192.0.2.1 192.0.2.2 192.0.2.3 192.0.2.4 192.0.2.5 192.0.2.6 "
						 "192.0.2.7 192.0.2.8");
}

/* --- systemd-resolved --- */

#ifdef HAVE_SYSTEMD
static const uint8_t global_server[] = {192, 0, 2, 1}, tunnel_server[] = {10, 10, 0, 1},
		     stub_server[] = {127, 0, 0, 53};
static const uint8_t link_server[] = {0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};

static int put_server(sd_bus_message *reply, int index, int family, const void *bytes, size_t len)
{
	sd_bus_message_open_container(reply, 'r', "iiay");
	sd_bus_message_append(reply, "ii", index, family);
	sd_bus_message_append_array(reply, 'y', bytes, len);
	return sd_bus_message_close_container(reply);
}

/* @data: where it is set, no answer comes. Device 1 is lo, the stand-in for a tunnel that any machine has. */
static int get_servers(sd_bus *bus, const char *path, const char *interface, const char *property,
	sd_bus_message *reply, void *data, sd_bus_error *error)
{
	(void)bus, (void)path, (void)interface, (void)property, (void)error;
	if (*(bool *)data)
		pause();
	sd_bus_message_open_container(reply, 'a', "(iiay)");
	put_server(reply, 1, AF_INET, tunnel_server, sizeof(tunnel_server));
	put_server(reply, 0, AF_INET, stub_server, sizeof(stub_server));
	put_server(reply, 99999, AF_INET6, link_server, sizeof(link_server));
	put_server(reply, 0, AF_INET, global_server, sizeof(global_server));
	return sd_bus_message_close_container(reply);
}

static const sd_bus_vtable manager[] = {
	SD_BUS_VTABLE_START(0), SD_BUS_PROPERTY("DNS", "a(iiay)", get_servers, 0, 0), SD_BUS_VTABLE_END};

static void be_resolved(bool is_dumb, int ready_fd)
{
	sd_bus *bus;

	if (sd_bus_open_system(&bus) < 0 ||
		sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/resolve1", "org.freedesktop.resolve1.Manager",
			manager, &is_dumb) < 0 ||
		sd_bus_request_name(bus, "org.freedesktop.resolve1", 0) < 0 || write(ready_fd, "!", 1) != 1)
		_exit(1);
	while (sd_bus_wait(bus, UINT64_MAX) >= 0)
		while (sd_bus_process(bus, NULL) > 0)
			;
	_exit(1);
}

/* A bus of our own, as the system's. Return: its process; 0: there is no dbus-daemon here. */
static pid_t start_bus(void)
{
	char address[512] = "";
	FILE *said;
	int pid = 0;

	said = popen("dbus-daemon --session --fork --print-address=1 --print-pid=1 2>/dev/null", "re");
	if (!said || !fgets(address, sizeof(address), said) || fscanf(said, "%d", &pid) != 1)
		pid = 0;
	if (said)
		pclose(said);
	address[strcspn(address, "\n")] = '\0';
	setenv("DBUS_SYSTEM_BUS_ADDRESS", address, 1);
	return pid;
}

static const char *ask_stand_in(bool is_dumb)
{
	struct addr servers[DNS_SERVERS_MAX];
	pid_t bus = start_bus(), stand_in;
	int ready[2];
	size_t count;
	char byte;

	if (bus == 0)
		skip();
	assert_int_equal(pipe(ready), 0);
	stand_in = fork();
	if (stand_in == 0)
		be_resolved(is_dumb, ready[1]);
	close(ready[1]);
	assert_int_equal(read(ready[0], &byte, 1), 1);
	count = dns_uplink_servers("wg0", servers);
	kill(stand_in, SIGKILL);
	kill(bus, SIGTERM);
	assert_int_equal(waitpid(stand_in, NULL, 0), stand_in);
	close(ready[0]);
	unsetenv("DBUS_SYSTEM_BUS_ADDRESS");
	return text_of(servers, count);
}

static void resolved_tells_its_servers_link_by_link(void **state)
{
	(void)state;
	assert_string_equal(ask_stand_in(false), "2001:db8::1 192.0.2.1");
}

/* It would answer after a second; the time limit of the bus is 25 s. */
static void a_resolved_that_does_not_answer_is_not_waited_for(void **state)
{
	(void)state;
	alarm(20);
	assert_null(strstr(ask_stand_in(true), "2001:db8::1"));
	alarm(0);
}
#endif

#define IN_ROOT(name) cmocka_unit_test_setup_teardown(name, make_root, remove_root)

/* Not asked first: overwritten, put behind another one, commented out, gone. */
static void overwritten_resolv_conf_is_noticed(void **state)
{
	static const struct {
		const char *text;
		bool is_asked;
	} cases[] = {{"nameserver 10.10.0.1\nnameserver fd10::1\n", true}, {"nameserver fd10::1", true},
		{"# by resolvconf\nsearch a.lan\n\tnameserver 10.10.0.1\n", true}, {"nameserver 192.168.1.1\n", false},
		{"nameserver 192.168.1.1\nnameserver 10.10.0.1\n", false}, {"#nameserver 10.10.0.1\n", false},
		{"nameserver 10.10.0.11\n", false}, {"nameserver 0.10.0.1\n", false}, {"nameserver 10.10.0\n", false},
		{"nameserver\n", false}, {"search 10.10.0.1\n", false}, {"\n", false}};
	char command[512];

	(void)state;
	assert_int_equal(set(&resolvconf, "wg0", "10.10.0.1,fd10::1,home.lan", NULL), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		put("/etc/resolv.conf", cases[i].text);
		if (dns_is_asked_first(root, line) != cases[i].is_asked)
			fail_msg("%s", cases[i].text);
	}
	snprintf(command, sizeof(command), "rm %s/etc/resolv.conf", root);
	assert_int_equal(system(command), 0);
	assert_false(dns_is_asked_first(root, line));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(resolvconf_is_asked_as_wg_quick_does),
		cmocka_unit_test(resolvconf_comes_before_resolved),
		cmocka_unit_test(resolved_gets_every_question),
		cmocka_unit_test(routing_domain_is_for_resolved),
		IN_ROOT(resolvconf_reads_one_server_a_line),
		cmocka_unit_test(domains_alone_set_nothing),
		cmocka_unit_test(no_word_gets_out_of_the_command_line),
		cmocka_unit_test(without_a_resolver_the_package_is_named),
		cmocka_unit_test(too_many_words_are_told),
		IN_ROOT(the_prefix_is_the_first_open_one),
		IN_ROOT(resolv_conf_alone_is_read),
		IN_ROOT(no_files_are_no_servers),
		IN_ROOT(records_of_tunnels_are_passed_over),
		IN_ROOT(openresolvs_records_are_read),
		IN_ROOT(resolv_conf_without_what_the_tunnel_brought),
		IN_ROOT(more_than_fit_are_left),
		IN_ROOT(overwritten_resolv_conf_is_noticed),
#ifdef HAVE_SYSTEMD
		cmocka_unit_test(resolved_tells_its_servers_link_by_link),
		cmocka_unit_test(a_resolved_that_does_not_answer_is_not_waited_for),
#endif
	};

	return cmocka_run_group_tests_name("dns", tests, NULL, NULL);
}
