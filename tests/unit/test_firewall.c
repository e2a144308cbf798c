/* Our nftables table: its text, and in the test kernel its effect on packets.
 *
 * The second half needs root and a kernel with nftables and WireGuard; tests/kernel runs it, elsewhere it is skipped.
 * The host under test is this process's own network namespace:
 *
 *     far, far2  tunnel peers 10.10.0.3, 10.10.0.4 ── wg0 10.10.0.1 [here] eth0 192.168.1.130 ── lan  192.168.1.20
 *                                                            eth1 172.16.0.1 ── other  172.16.0.2, 203.0.113.10
 */
#include "common/net/firewall.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MARK 51820

static struct prefix prefix_of(const char *address, uint8_t bits)
{
	struct prefix prefix = {.bits = bits};

	assert_int_equal(addr_parse(address, 1, &prefix.addr), 0);
	addr_set_port(&prefix.addr, 0);
	return prefix;
}

static struct firewall_setup plan_of(const char *name)
{
	struct firewall_setup plan = {.device = "wg0"};

	firewall_format_table(plan.table, name);
	return plan;
}

/* The text of the plan; the test that asks frees nothing. */
static const char *text_of(const struct firewall_setup *plan)
{
	static char text[16384];
	char *fresh = firewall_format(plan);

	assert_non_null(fresh);
	snprintf(text, sizeof(text), "%s", fresh);
	free(fresh);
	return text;
}

static void assert_has(const char *text, const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is missing in:\n%s", part, text);
}

static void assert_lacks(const char *text, const char *part)
{
	if (strstr(text, part))
		fail_msg("'%s' should not be in:\n%s", part, text);
}

/* --- the text --- */

static void names_that_nft_does_not_take_are_mapped(void **state)
{
	char table[FIREWALL_TABLE_MAX];

	(void)state;
	assert_string_equal(firewall_format_table(table, "home"), "towpath-home");
	assert_string_equal(firewall_format_table(table, "a_b.c-9"), "towpath-a_b.c-9");
	assert_string_equal(firewall_format_table(table, "a=b+c@d"), "towpath-a/3db/2bc/40d");
}

static void the_longest_name_fits(void **state)
{
	char name[64], table[FIREWALL_TABLE_MAX];

	(void)state;
	memset(name, '=', 63);
	name[63] = '\0';
	assert_int_equal(strlen(firewall_format_table(table, name)), strlen("towpath-") + 63 * 3);
}

static struct service service_of(uint8_t protocol, struct service_ports ports, const char *to, unsigned to_port)
{
	unsigned last = to_port + ports.last - ports.first;

	return (struct service){.protocol = protocol,
		.ports = ports,
		.to = prefix_of(to, 32).addr,
		.to_ports = {(uint16_t)to_port, (uint16_t)last}};
}

/* Each form of a service; the second is at one address and keeps its source. */
static struct firewall_setup plan_of_services(void)
{
	static struct service all[4];
	static struct firewall_service services[4];
	struct firewall_setup plan = plan_of("hub");

	all[0] = service_of(IPPROTO_TCP, (struct service_ports){80, 80}, "192.168.1.30", 8080);
	all[1] = service_of(IPPROTO_TCP, (struct service_ports){8000, 8002}, "192.168.1.30", 9000);
	all[1].address = prefix_of("203.0.113.10", 32).addr;
	all[1].keeps_source = true;
	all[2] = service_of(IPPROTO_UDP, (struct service_ports){500, 600}, "[fd10::2]", 500);
	all[3] = service_of(IPPROTO_UDP, (struct service_ports){53, 54}, "[fd10::2]", 153);
	for (unsigned i = 0; i < 4; i++)
		services[i] = (struct firewall_service){&all[i], i + 5, {.connections = 9, .sent_bytes = 7}};
	plan.services = services;
	plan.service_count = 4;
	return plan;
}

static void a_service_gets_its_rules(void **state)
{
	struct firewall_setup plan = plan_of_services();
	char opened[1][IFNAMSIZ] = {"eth0"};
	const char *text = text_of(&plan);

	(void)state;
	assert_true(firewall_is_needed(&plan));
	assert_has(text, "\tcounter connections-5 { packets 9 bytes 0; }\n\tcounter sent-5 { packets 0 bytes 7; }\n");
	assert_has(text, "\t\ttcp dport 80 ip daddr != 127.0.0.0/8 fib daddr type local counter name connections-5 dnat ip "
			 "to 192.168.1.30:8080\n");
	assert_has(text, "\t\ttcp dport 8000-8002 ip daddr 203.0.113.10 counter name connections-6 dnat ip to "
			 "192.168.1.30:tcp dport map { 8000 : 9000, 8001 : 9001, 8002 : 9002 }\n");
	assert_has(text, "\t\tudp dport 500-600 ip6 daddr != ::1 fib daddr type local counter name connections-7 dnat ip6 "
			 "to [fd10::2]\n");
	assert_has(text, "dnat ip6 to [fd10::2]:udp dport map { 53 : 153, 54 : 154 }\n");
	assert_has(text, "\t\toifname \"wg0\" ct status dnat meta nfproto ipv4 meta l4proto tcp ct original proto-dst 80 "
			 "masquerade\n");
	assert_has(text, "proto-dst 8000-8002 ct original ip daddr 203.0.113.10 fib saddr type local masquerade\n");
	assert_has(text, "proto-dst 8000-8002 ct original ip daddr 203.0.113.10 iifname \"wg0\" masquerade\n");
	assert_has(text, "\t\tmeta nfproto ipv4 meta l4proto tcp counter name ct original proto-dst map { 80 : \"sent-5\" } "
			 "accept\n");
	assert_has(text, "\t\tmeta nfproto ipv4 meta l4proto tcp counter name ct original ip daddr . ct original proto-dst "
			 "map { 203.0.113.10 . 8000-8002 : \"received-6\" } accept\n");
	assert_has(text, "proto-dst map { 500-600 : \"sent-7\", 53-54 : \"sent-8\" } accept\n");
	assert_lacks(text, "drop");
	plan.confines = true;
	plan.opened = opened;
	plan.opened_count = 1;
	text = text_of(&plan);
	assert_has(text, "\t\tiifname \"wg0\" ct state established,related accept\n");
	assert_has(text, "oifname \"wg0\" ct status dnat ct direction original jump sent\n");
	assert_has(text, "\t\toifname \"wg0\" drop\n\t\tmeta nfproto ipv4 iifname \"eth0\" oifname != \"wg0\" drop\n");
}

/* Another program's device leads to two of them. */
static struct firewall_setup plan_of_claimed_services(void)
{
	struct firewall_setup plan = plan_of_services();

	for (size_t i = 0; i < 2; i++)
		strcpy(((struct service *)(uintptr_t)plan.services[i].service)->device, "wg7");
	return plan;
}

static void a_service_behind_another_device_gets_its_rules(void **state)
{
	struct firewall_setup plan = plan_of_claimed_services();
	char opened[1][IFNAMSIZ] = {"wg7"};
	const char *text;

	(void)state;
	plan.confines = true;
	plan.opened = opened;
	plan.opened_count = 1;
	text = text_of(&plan);
	assert_has(text, "\t\toifname \"wg7\" ct status dnat meta nfproto ipv4 meta l4proto tcp ct original proto-dst 80 "
			 "masquerade\n");
	assert_has(text, "\t\toifname \"wg0\" ct status dnat meta nfproto ipv6");
	assert_has(text, "203.0.113.10 iifname \"wg7\" masquerade\n");
	assert_has(text, "\t\toifname { \"wg0\", \"wg7\", \"wg7\" } tcp flags syn tcp option maxseg size set rt mtu\n");
	assert_has(text, "\t\toifname { \"wg0\", \"wg7\", \"wg7\" } ct status dnat ct direction original jump sent\n");
	assert_has(text, "\t\tiifname { \"wg0\", \"wg7\", \"wg7\" } ct status dnat ct direction reply jump received\n");
	assert_has(text, "iifname \"wg7\" oifname != { \"wg0\", \"wg7\", \"wg7\" } drop\n");
}

static void nothing_to_do_needs_no_table(void **state)
{
	struct firewall_setup plan = plan_of("home");

	(void)state;
	assert_false(firewall_is_needed(&plan));
	assert_lacks(text_of(&plan), "chain");
	plan.mark = MARK;
	assert_true(firewall_is_needed(&plan));
}

static void only_what_is_needed_gets_a_chain(void **state)
{
	struct firewall_setup plan = plan_of("home");

	(void)state;
	plan.mark = MARK;
	assert_has(text_of(&plan), "chain save");
	assert_has(text_of(&plan), "chain restore");
	assert_lacks(text_of(&plan), "chain guard");
	assert_lacks(text_of(&plan), "chain forward");
	assert_lacks(text_of(&plan), "chain out");
}

static void guard_is_for_each_address_of_its_family(void **state)
{
	struct prefix guarded[] = {prefix_of("10.10.0.3", 24), prefix_of("[fd10::3]", 64)};
	struct firewall_setup plan = plan_of("home");

	(void)state;
	plan.guarded = guarded;
	plan.guarded_count = 2;
	assert_has(text_of(&plan), "iifname != \"wg0\" ip daddr 10.10.0.3 fib saddr type != local drop\n");
	assert_has(text_of(&plan), "iifname != \"wg0\" ip6 daddr fd10::3 fib saddr type != local drop\n");
}

/* Another device may rightly have the same one. */
static void guard_leaves_link_local_addresses_alone(void **state)
{
	struct prefix guarded = prefix_of("[fe80::1]", 64);
	struct firewall_setup plan = plan_of("home");

	(void)state;
	plan.guarded = &guarded;
	plan.guarded_count = 1;
	assert_lacks(text_of(&plan), "fe80");
}

/* The last rule drops in the families that have a full tunnel; rules before it accept the networks within reach. */
static void barrier_stops_a_family_but_for_what_is_named(void **state)
{
	struct prefix reachable[] = {prefix_of("192.168.1.0", 24), prefix_of("[fd77::]", 64)};
	struct firewall_setup plan = plan_of("home");

	(void)state;
	plan.mark = MARK;
	assert_lacks(text_of(&plan), "chain barrier");
	plan.stops_ipv4 = true;
	plan.reachable = reachable;
	plan.reachable_count = 2;
	assert_has(text_of(&plan), "\t\tip daddr 192.168.1.0/24 accept\n\t\tip6 daddr fd77::/64 accept\n"
				   "\t\tmeta nfproto ipv4 drop\n\t}\n");
	plan.stops_ipv6 = true;
	assert_has(text_of(&plan), "\t\tmeta nfproto ipv4 drop\n\t\tmeta nfproto ipv6 drop\n\t}\n");
}

static void without_masquerade_nothing_is_translated(void **state)
{
	struct prefix lan = prefix_of("192.168.1.0", 24);
	struct firewall_gateway gateway = {.lans = &lan, .lan_count = 1, .device = "eth0"};
	struct firewall_setup plan = plan_of("home");

	(void)state;
	plan.gateways = &gateway;
	plan.gateway_count = 1;
	assert_lacks(text_of(&plan), "chain out");
	assert_has(text_of(&plan), "maxseg");
}

static void the_table_replaces_itself_in_one_go(void **state)
{
	struct firewall_setup plan = plan_of("home");
	const char *text;

	(void)state;
	plan.mark = MARK;
	text = text_of(&plan);
	assert_ptr_equal(
		strstr(text, "add table inet towpath-home\ndelete table inet towpath-home\ntable inet "), text);
}

/* Text that would be more than a name for nft. */
static void a_device_that_nft_cannot_quote_is_refused(void **state)
{
	struct prefix lan = prefix_of("192.168.1.0", 24);
	struct firewall_gateway gateway = {.lans = &lan, .lan_count = 1, .device = "e\" drop #"};
	struct firewall_setup plan = plan_of("home");

	(void)state;
	plan.gateways = &gateway;
	plan.gateway_count = 1;
	assert_null(firewall_format(&plan));
	strcpy(gateway.device, "eth*");
	assert_null(firewall_format(&plan));
}

/* A hub without [Gateway] works on kernels without nft_ct and nft_fib_inet. */
static void a_hub_alone_asks_for_no_module(void **state)
{
	struct firewall_setup plan = plan_of("hub");

	(void)state;
	plan.confines = plan.among_peers = true;
	assert_has(text_of(&plan), "oifname \"wg0\" accept");
	assert_lacks(text_of(&plan), " ct ");
	assert_lacks(text_of(&plan), " fib ");
}

/* nft quotes the rule that the kernel refused. */
static void a_missing_module_is_named(void **state)
{
#define REFUSED(rule) "/dev/stdin:5:3-40: Error: Could not process rule: No such file or directory; " rule
	(void)state;
	assert_string_equal(
		firewall_missing_module(REFUSED("iifname != \"home\" ip daddr 10.10.0.3 fib saddr type != local drop")),
		"nft_fib_inet");
	assert_string_equal(firewall_missing_module(REFUSED("iifname \"home\" ct state established,related accept")),
		"nft_ct");
	assert_string_equal(firewall_missing_module(REFUSED("ct mark 0xca6c meta mark set ct mark")), "nft_ct");
	assert_string_equal(firewall_missing_module(REFUSED("tcp option maxseg size set rt mtu")), "nft_exthdr");
	assert_string_equal(firewall_missing_module(REFUSED("type nat hook postrouting priority srcnat")), "nft_chain_nat");
	assert_string_equal(firewall_missing_module("netlink: Error: cache initialization failed: Protocol not supported"),
		"nf_tables");
	assert_null(firewall_missing_module("/dev/stdin:3:1-9: Error: syntax error, unexpected string"));
}

static void counters_and_handles_are_no_change(void **state)
{
	char listing[] =
		"table inet x { # handle 7\n\t\tip daddr 1.2.3.4 counter packets 12 bytes 3456 drop # handle 12\n"
		"\tcounter sent-0 {\n\t\tpackets 12 bytes 3456\n\t}\n\t\tcomment \"9 packets \"\n}\n";

	(void)state;
	firewall_normalise(listing);
	assert_string_equal(
		listing, "table inet x {\n\t\tip daddr 1.2.3.4 counter drop\n\tcounter sent-0 {\n\t\n\t}\n"
			 "\t\tcomment \"9 packets \"\n}\n");
}

/* --- the kernel --- */

static bool run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static bool run(const char *format, ...)
{
	char command[8192];
	va_list args;
	int status;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	status = system(command);
	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void assert_run(const char *command)
{
	if (!run("%s", command))
		fail_msg("failed: %s", command);
}

#define PEER(name, underlay, address)                                                                                  \
	"ip netns add " name "; ip link add u-" name " type veth peer name u netns " name ";"                          \
	"ip addr add 10.99." underlay ".1/24 dev u-" name "; ip link set u-" name " up;"                               \
	"ip -n " name " addr add 10.99." underlay ".2/24 dev u; ip -n " name " link set u up;"                         \
	"ip -n " name " link set lo up; ip -n " name " link add wg0 type wireguard;"                                   \
	"key=$(wg genkey);"                                                                                            \
	"echo $key | ip netns exec " name " wg set wg0 private-key /dev/stdin"                                         \
	"	peer $hub allowed-ips 0.0.0.0/0,::/0 endpoint 10.99." underlay ".1:51820;"                             \
	"wg set wg0 peer $(echo $key | wg pubkey) allowed-ips 10.10.0." address "/32,fd10::" address "/128;"           \
	"ip -n " name " addr add 10.10.0." address "/24 dev wg0;"                                                      \
	"ip -n " name " addr add fd10::" address "/64 dev wg0 nodad; ip -n " name " link set wg0 mtu 1500 up;"         \
	"ip -n " name " route add default dev wg0; ip -n " name " -6 route add default dev wg0;"

#define NEIGHBOUR(name, device, own, its, own6, its6)                                                                  \
	"ip netns add " name "; ip link add " device " type veth peer name e netns " name ";"                          \
	"ip addr add " own "/24 dev " device "; ip addr add " own6 "/64 dev " device " nodad;"                         \
	"ip link set " device " up; ip -n " name " link set lo up; ip -n " name " addr add " its "/24 dev e;"          \
	"ip -n " name " addr add " its6 "/64 dev e nodad; ip -n " name " link set e up;"

static const char world[] =
	"set -e; ip link set lo up; ip link add wg0 type wireguard; hubkey=$(wg genkey); hub=$(echo $hubkey | wg "
	"pubkey);"
	"echo $hubkey | wg set wg0 listen-port 51820 private-key /dev/stdin;"
	"ip addr add 10.10.0.1/24 dev wg0; ip addr add fd10::1/64 dev wg0 nodad; ip link set wg0 mtu 1280 up;" PEER(
		"far", "1", "3") PEER("far2", "2", "4") NEIGHBOUR("lan", "eth0", "192.168.1.130", "192.168.1.20",
		"fd20::130", "fd20::20") NEIGHBOUR("other", "eth1", "172.16.0.1", "172.16.0.2", "fd30::1",
		"fd30::2") "ip -n other addr add 203.0.113.10/32 dev lo; ip -n other route add default via 172.16.0.1;"
			   "ip route add default via 172.16.0.2;"
			   "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding;"
			   "for i in far far2; do ip netns exec $i ping -c1 -W3 10.10.0.1 >/dev/null; done;"
			   /* The neighbours' link-local addresses are not usable at once. */
			   "n=0; until ip netns exec lan ping -c1 -W1 fd20::130 >/dev/null; do n=$((n + 1)); test $n "
			   "-lt 10; done";

static bool has_world;

static int make_world(void **state)
{
	(void)state;
	/* Names of namespaces of our own: another test may have the same. */
	if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0)
		return 0;
	if (!run("nft list ruleset >/dev/null 2>&1 && ip link add wg0 type wireguard 2>/dev/null && ip link del wg0 && "
		 "mount --make-rprivate / && mkdir -p /run/netns && mount -t tmpfs netns /run/netns"))
		return 0;
	assert_run(world);
	has_world = true;
	return 0;
}

/* Nothing filters, and routes are those of the world. */
static void need_world(void)
{
	if (!has_world)
		skip();
	assert_run("nft flush ruleset");
}

static bool load_text(const char *text)
{
	FILE *nft = popen("nft -f -", "we");

	assert_non_null(nft);
	fputs(text, nft);
	return pclose(nft) == 0;
}

static void load(const struct firewall_setup *plan)
{
	if (!load_text(text_of(plan)))
		fail_msg("nft refuses:\n%s", text_of(plan));
}

static bool pings(const char *from, const char *to)
{
	return run("ip netns exec %s ping -c1 -W1 %s >/dev/null", from, to);
}

/* [Gateway] of the Pi, both families. */
static struct firewall_setup plan_of_gateway(void)
{
	static struct prefix lans[2];
	static struct firewall_gateway gateway = {.lans = lans, .lan_count = 2, .device = "eth0", .masquerades = true};
	struct firewall_setup plan = plan_of("home");

	lans[0] = prefix_of("192.168.1.0", 24);
	lans[1] = prefix_of("[fd20::]", 64);
	plan.gateways = &gateway;
	plan.gateway_count = 1;
	plan.confines = true;
	return plan;
}

/* [Gateway] of the hub: Lan = 0.0.0.0/0. */
static struct firewall_setup plan_of_way_out(void)
{
	static struct prefix lan;
	static struct firewall_gateway gateway = {.lans = &lan, .lan_count = 1, .device = "eth1", .masquerades = true};
	struct firewall_setup plan = plan_of("hub");

	lan = prefix_of("0.0.0.0", 0);
	plan.gateways = &gateway;
	plan.gateway_count = 1;
	plan.confines = plan.among_peers = true;
	return plan;
}

static void nft_takes_every_text(void **state)
{
	struct prefix guarded[] = {prefix_of("10.10.0.3", 24), prefix_of("[fd10::3]", 64)};
	struct prefix everything[] = {prefix_of("0.0.0.0", 0), prefix_of("[::]", 0)};
	struct firewall_gateway ways[] = {{.lans = everything, .lan_count = 2, .device = "eth1", .masquerades = true},
		{.lans = guarded, .lan_count = 2, .device = "eth0"}};
	struct firewall_setup plan = plan_of("a=b+c@d.e_f-g");

	(void)state;
	need_world();
	strcpy(plan.device, "a=b+c@d.e_f-g");
	load(&plan);
	plan.mark = UINT32_MAX;
	plan.guarded = guarded;
	plan.guarded_count = 2;
	plan.gateways = ways;
	plan.gateway_count = 2;
	plan.confines = plan.among_peers = true;
	load(&plan);
	load(&plan);
	assert_run("nft list table inet towpath-a/3db/2bc/40d.e_f-g | grep -q masquerade");
	plan = plan_of_claimed_services();
	load(&plan);
	assert_run("nft list table inet towpath-hub | grep -q 'packets 9 bytes 0'");
}

static void what_is_loaded_twice_stands_once(void **state)
{
	struct firewall_setup plan = plan_of_gateway();

	(void)state;
	need_world();
	load(&plan);
	assert_run("nft list ruleset >${TMPDIR:-/tmp}/once");
	load(&plan);
	assert_run("nft list ruleset | cmp - ${TMPDIR:-/tmp}/once");
}

static void removal_leaves_nothing_and_may_come_twice(void **state)
{
	struct firewall_setup plan = plan_of_gateway();
	char *removal;

	(void)state;
	need_world();
	removal = firewall_format_removal(plan.table);
	assert_run("nft 'table inet foreign { chain c { type filter hook input priority 0; }; }'");
	assert_run("nft list ruleset >${TMPDIR:-/tmp}/before");
	load(&plan);
	assert_true(load_text(removal));
	assert_true(load_text(removal));
	assert_run("nft list ruleset | cmp - ${TMPDIR:-/tmp}/before");
	free(removal);
}

static void a_neighbour_does_not_reach_a_guarded_address(void **state)
{
	struct prefix guarded[] = {prefix_of("10.10.0.1", 24), prefix_of("[fd10::1]", 64)};
	struct firewall_setup plan = plan_of("home");

	(void)state;
	need_world();
	plan.guarded = guarded;
	plan.guarded_count = 2;
	assert_run("ip -n lan route replace 10.10.0.0/24 via 192.168.1.130; ip -n lan route replace fd10::/64 via "
		   "fd20::130");
	assert_true(pings("lan", "10.10.0.1") && pings("lan", "fd10::1"));
	load(&plan);
	assert_false(pings("lan", "10.10.0.1") || pings("lan", "fd10::1"));
	assert_true(pings("far", "10.10.0.1") && pings("far", "fd10::1"));
	assert_run("ping -c1 -W1 10.10.0.1 >/dev/null && ping -c1 -W1 fd10::1 >/dev/null");
	assert_run("ip -n lan route del 10.10.0.0/24; ip -n lan route del fd10::/64");
}

static void enter(const char *namespace)
{
	char path[64];
	int fd;

	if (!namespace)
		return;
	snprintf(path, sizeof(path), "/run/netns/%s", namespace);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		_exit(1);
	close(fd);
}

/* Listen in @namespace, accept once. Return: the child, whose @ret_fd tells when it listens and then the MSS it may
 * send. */
static pid_t serve(const char *namespace, const struct addr *at, int *ret_fd)
{
	int pipes[2], fd, mss = 0, one = 1;
	socklen_t len = sizeof(mss);
	pid_t child;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (child == 0) {
		enter(namespace);
		fd = socket(at->sa.sa_family, SOCK_STREAM, 0);
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(fd, &at->sa, addr_len(at)) < 0 || listen(fd, 1) < 0 || write(pipes[1], "!", 1) < 0)
			_exit(1);
		if (poll(&(struct pollfd){fd, POLLIN, 0}, 1, 5000) == 1)
			getsockopt(accept(fd, NULL, NULL), IPPROTO_TCP, TCP_MAXSEG, &mss, &len);
		_exit(write(pipes[1], &mss, sizeof(mss)) < 0);
	}
	close(pipes[1]);
	*ret_fd = pipes[0];
	return child;
}

/* Connect from @namespace. Return: the MSS it may send, 0 where it gets no connection within a second. */
static int dial(const char *namespace, const struct addr *to, uint32_t mark)
{
	int pipes[2], mss = 0, fd, status;
	socklen_t len = sizeof(mss);
	pid_t child;

	assert_int_equal(pipe(pipes), 0);
	child = fork();
	if (child == 0) {
		enter(namespace);
		fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
		setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark));
		(void)!connect(fd, &to->sa, addr_len(to));
		if (poll(&(struct pollfd){fd, POLLOUT, 0}, 1, 1000) == 1 && send(fd, "", 0, MSG_NOSIGNAL) == 0)
			getsockopt(fd, IPPROTO_TCP, TCP_MAXSEG, &mss, &len);
		_exit(write(pipes[1], &mss, sizeof(mss)) < 0);
	}
	assert_int_equal(read(pipes[0], &mss, sizeof(mss)), sizeof(mss));
	assert_int_equal(waitpid(child, &status, 0), child);
	close(pipes[0]);
	close(pipes[1]);
	return mss;
}

struct connection {
	int dialer_mss, server_mss;
};

static struct connection connection_of(const char *from, const char *to_namespace, const char *to, uint32_t mark)
{
	struct connection connection;
	struct addr at;
	char byte;
	int fd;
	pid_t server;

	assert_int_equal(addr_parse(to, 0, &at), 0);
	server = serve(to_namespace, &at, &fd);
	assert_int_equal(read(fd, &byte, 1), 1);
	connection.dialer_mss = dial(from, &at, mark);
	if (connection.dialer_mss == 0)
		kill(server, SIGKILL);
	else
		assert_int_equal(read(fd, &connection.server_mss, sizeof(int)), sizeof(int));
	assert_int_equal(waitpid(server, NULL, 0), server);
	close(fd);
	return connection;
}

/* The link under a full tunnel: its answers carry no mark by themselves, and rp_filter would ask the tunnel's table. */
static void answers_to_the_marked_link_get_the_mark_back(void **state)
{
	struct firewall_setup plan = plan_of("home");

	(void)state;
	need_world();
	plan.mark = MARK;
	assert_run("echo 1 >/proc/sys/net/ipv4/conf/all/rp_filter; echo 1 >/proc/sys/net/ipv4/conf/all/src_valid_mark;"
		   "ip route add default dev wg0 table 51820; ip rule add not fwmark 51820 table 51820;"
		   "ip rule add table main suppress_prefixlength 0");
	assert_int_equal(connection_of(NULL, "other", "203.0.113.10:443", MARK).dialer_mss, 0);
	load(&plan);
	assert_true(connection_of(NULL, "other", "203.0.113.10:443", MARK).dialer_mss > 0);
	assert_run("ip rule del not fwmark 51820 table 51820; ip rule del table main suppress_prefixlength 0;"
		   "ip route flush table 51820; echo 0 >/proc/sys/net/ipv4/conf/all/rp_filter");
}

/* Another program balances the uplinks by connection marks of its own. */
static void marks_of_others_are_left_alone(void **state)
{
	struct firewall_setup plan = plan_of("home");

	(void)state;
	need_world();
	plan.mark = MARK;
	load(&plan);
	assert_run(
		"nft 'table inet foreign { chain o { type filter hook output priority 0; ct mark set 7; };"
		"chain i { type filter hook input priority 0; ct mark 7 meta mark 0 counter; meta mark 7 drop; }; }'");
	assert_true(connection_of(NULL, "other", "203.0.113.10:443", 9).dialer_mss > 0);
	assert_run("nft list chain inet foreign i | grep -q 'packets [1-9]'");
}

static void the_lan_sees_the_gateway_only(void **state)
{
	struct firewall_setup plan = plan_of_gateway();

	(void)state;
	need_world();
	assert_false(pings("far", "192.168.1.20") || pings("far", "fd20::20"));
	load(&plan);
	assert_true(pings("far", "192.168.1.20") && pings("far", "fd20::20"));
}

static void an_ipv4_gateway_lets_no_ipv6_through(void **state)
{
	struct prefix lan = prefix_of("192.168.1.0", 24);
	struct firewall_gateway gateway = {.lans = &lan, .lan_count = 1, .device = "eth0", .masquerades = true};
	struct firewall_setup plan = plan_of("home");

	(void)state;
	need_world();
	plan.gateways = &gateway;
	plan.gateway_count = 1;
	plan.confines = true;
	assert_run("ip -n lan route replace fd10::/64 via fd20::130");
	assert_true(pings("far", "fd20::20"));
	load(&plan);
	assert_true(pings("far", "192.168.1.20"));
	assert_false(pings("far", "fd20::20"));
	assert_run("ip -n lan route del fd10::/64");
}

static void nothing_else_is_forwarded_where_we_switched_it_on(void **state)
{
	struct firewall_setup plan = plan_of_gateway();

	(void)state;
	need_world();
	assert_true(pings("far", "172.16.0.2") && pings("other", "10.10.0.3"));
	load(&plan);
	assert_false(pings("far", "172.16.0.2") || pings("other", "10.10.0.3"));
	assert_false(pings("far", "10.10.0.4"));
	plan.confines = false;
	load(&plan);
	assert_true(pings("far", "172.16.0.2") && pings("other", "10.10.0.3"));
}

static void a_lan_host_with_a_route_reaches_a_peer(void **state)
{
	struct firewall_setup plan = plan_of_gateway();

	(void)state;
	need_world();
	load(&plan);
	assert_run("ip -n lan route replace 10.10.0.0/24 via 192.168.1.130");
	assert_true(pings("lan", "10.10.0.3"));
	assert_run("ip -n lan addr add 198.51.100.9/32 dev lo; ip route replace 198.51.100.9 via 192.168.1.20");
	assert_false(run("ip netns exec lan ping -c1 -W1 -I 198.51.100.9 10.10.0.3 >/dev/null"));
	assert_run("ip -n lan route del 10.10.0.0/24");
}

static void the_hub_is_the_way_out_but_not_in(void **state)
{
	struct firewall_setup plan = plan_of_way_out();

	(void)state;
	need_world();
	load(&plan);
	assert_true(pings("far", "203.0.113.10"));
	assert_true(pings("far", "10.10.0.4"));
	assert_false(pings("other", "10.10.0.3"));
	assert_false(pings("far", "192.168.1.20"));
}

/* wg0 is of 1280 here and of 1500 there: 1240 and 1220 bytes of TCP fit. */
static void the_mss_fits_the_tunnel_both_ways(void **state)
{
	struct firewall_setup plan = plan_of_gateway();
	struct connection connection;

	(void)state;
	need_world();
	assert_run("ip -n lan route replace 10.10.0.0/24 via 192.168.1.130");
	connection = connection_of("far", "lan", "192.168.1.20:80", 0);
	assert_true(connection.dialer_mss > 1240 && connection.server_mss > 1240);
	load(&plan);
	connection = connection_of("far", "lan", "192.168.1.20:80", 0);
	assert_in_range(connection.dialer_mss, 1200, 1240);
	assert_in_range(connection.server_mss, 1200, 1240);
	connection = connection_of("far", "lan", "[fd20::20]:80", 0);
	assert_in_range(connection.dialer_mss, 1180, 1220);
	assert_in_range(connection.server_mss, 1180, 1220);
	assert_run("ip -n lan route del 10.10.0.0/24");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_that_nft_does_not_take_are_mapped),
		cmocka_unit_test(the_longest_name_fits),
		cmocka_unit_test(a_service_gets_its_rules),
		cmocka_unit_test(a_service_behind_another_device_gets_its_rules),
		cmocka_unit_test(nothing_to_do_needs_no_table),
		cmocka_unit_test(only_what_is_needed_gets_a_chain),
		cmocka_unit_test(guard_is_for_each_address_of_its_family),
		cmocka_unit_test(guard_leaves_link_local_addresses_alone),
		cmocka_unit_test(barrier_stops_a_family_but_for_what_is_named),
		cmocka_unit_test(without_masquerade_nothing_is_translated),
		cmocka_unit_test(the_table_replaces_itself_in_one_go),
		cmocka_unit_test(a_device_that_nft_cannot_quote_is_refused),
		cmocka_unit_test(a_hub_alone_asks_for_no_module),
		cmocka_unit_test(a_missing_module_is_named),
		cmocka_unit_test(counters_and_handles_are_no_change),
		cmocka_unit_test(nft_takes_every_text),
		cmocka_unit_test(what_is_loaded_twice_stands_once),
		cmocka_unit_test(removal_leaves_nothing_and_may_come_twice),
		cmocka_unit_test(a_neighbour_does_not_reach_a_guarded_address),
		cmocka_unit_test(answers_to_the_marked_link_get_the_mark_back),
		cmocka_unit_test(marks_of_others_are_left_alone),
		cmocka_unit_test(the_lan_sees_the_gateway_only),
		cmocka_unit_test(an_ipv4_gateway_lets_no_ipv6_through),
		cmocka_unit_test(nothing_else_is_forwarded_where_we_switched_it_on),
		cmocka_unit_test(a_lan_host_with_a_route_reaches_a_peer),
		cmocka_unit_test(the_hub_is_the_way_out_but_not_in),
		cmocka_unit_test(the_mss_fits_the_tunnel_both_ways),
	};

	return cmocka_run_group_tests_name("firewall", tests, make_world, NULL);
}
