/* Another table's FORWARD that drops: where it is seen, and in the test kernel that packets pass and that nothing is
 * left.
 *
 * The second half needs root and a kernel with nftables and both kinds of iptables; tests/kernel runs it, elsewhere it
 * is skipped. The host under test is this process's own network namespace:
 *
 *     far 10.10.0.3 ── wg0 10.10.0.1 [here] eth0 192.168.1.130 ── lan 192.168.1.20, and fd10::, fd20:: likewise
 */
#include "common/net/forward.h"
#include "common/net/ruleset_scan.h"

#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define CHAIN(family, table, name, policy)                                                                             \
	"{\"chain\":{\"family\":\"" family "\",\"table\":\"" table "\",\"name\":\"" name                               \
	"\",\"type\":\"filter\",\"hook\":\"forward\",\"prio\":0,\"policy\":\"" policy "\"}}"
#define PLAIN_CHAIN(family, table, name)                                                                               \
	"{\"chain\":{\"family\":\"" family "\",\"table\":\"" table "\",\"name\":\"" name "\"}}"
#define RULE(family, table, chain, expressions)                                                                        \
	"{\"rule\":{\"family\":\"" family "\",\"table\":\"" table "\",\"chain\":\"" chain "\",\"expr\":[" expressions  \
	"]}}"
#define RULESET(objects) "{\"nftables\":[{\"metainfo\":{\"version\":\"1.0.6\"}}," objects "]}"
#define COUNTER "{\"counter\":{\"packets\":7,\"bytes\":9}}"

static struct forward_rules rules;

/* iptables-legacy-save, or iptables-nft-save where nft knows the table as well. */
static struct ruleset_texts texts_of(const char *nft_json, const char *iptables)
{
	struct ruleset_texts texts = {.nft = nft_json, .nft4 = "", .nft6 = "", .legacy4 = "", .legacy6 = ""};

	if (nft_json[0])
		texts.nft4 = iptables;
	else
		texts.legacy4 = iptables;
	return texts;
}

/* A hub: its peers reach each other. */
static int find(const char *nft_json, const char *iptables)
{
	const struct ruleset_texts texts = texts_of(nft_json, iptables);
	const struct forward_setup setup = {.device = "wg0", .comment = "towpath-home", .among_peers = true};
	struct err err = {""};

	memset(&rules, 0, sizeof(rules));
	return forward_find(&texts, &setup, &rules, &err);
}

/* A gateway, not a hub: @lans behind eth0. */
static int find_for_gateway(const char *nft_json, const char *iptables, const char *const *lans, size_t count)
{
	const struct ruleset_texts texts = texts_of(nft_json, iptables);
	struct prefix list[4];
	const struct firewall_gateway gateway = {.lans = list, .lan_count = count, .device = "eth0"};
	const struct forward_setup setup = {
		.device = "wg0", .comment = "towpath-home", .gateways = &gateway, .gateway_count = 1};
	struct err err = {""};

	for (size_t i = 0; i < count; i++)
		assert_int_equal(prefix_parse(lans[i], &list[i]), 0);
	memset(&rules, 0, sizeof(rules));
	return forward_find(&texts, &setup, &rules, &err);
}

static void assert_found(size_t count)
{
	if (rules.count != count)
		fail_msg("%zu rules instead of %zu; the first: %s", rules.count, count, rules.rules[0].insert);
}

static void assert_first(const char *part)
{
	if (rules.count == 0 || !strstr(rules.rules[0].insert, part))
		fail_msg("'%s' is missing in '%s'", part, rules.rules[0].insert);
}

/* A hub that publishes @count services, all of one host, and lets no peer reach another. */
static int find_for_service(const char *nft_json, const char *iptables, const char *to, size_t count)
{
	const struct ruleset_texts texts = texts_of(nft_json, iptables);
	struct service service = {.protocol = IPPROTO_TCP, .ports = {80, 80}, .to_ports = {8080, 8080}};
	const struct firewall_service services[] = {{.service = &service}, {.service = &service, .id = 1}};
	const struct forward_setup setup = {
		.device = "wg0", .comment = "towpath-home", .services = services, .service_count = count};
	struct err err = {""};

	assert_int_equal(addr_parse(to, 1, &service.to), 0);
	addr_set_port(&service.to, 0);
	memset(&rules, 0, sizeof(rules));
	return forward_find(&texts, &setup, &rules, &err);
}

static void nothing_there_needs_nothing(void **state)
{
	(void)state;
	assert_int_equal(find("", ""), 0);
	assert_found(0);
}

static void a_policy_that_drops_is_seen(void **state)
{
	(void)state;
	assert_int_equal(find(RULESET(CHAIN("inet", "mine", "f", "drop")), ""), 0);
	assert_found(1);
	assert_first("nft 'insert rule inet mine f iifname \"wg0\" oifname \"wg0\" accept comment \"towpath-home\"'");
}

static void a_policy_that_accepts_is_left_alone(void **state)
{
	(void)state;
	assert_int_equal(find(RULESET(CHAIN("inet", "mine", "f", "accept")), ""), 0);
	assert_found(0);
}

static void other_families_and_our_own_table_do_not_count(void **state)
{
	(void)state;
	assert_int_equal(find(RULESET(CHAIN("inet", "towpath-home", "forward", "drop")), ""), 0);
	assert_found(0);
	assert_int_equal(find(RULESET(CHAIN("bridge", "filter", "FORWARD", "drop")), ""), 0);
	assert_found(0);
}

static void iptables_own_table_is_changed_by_iptables(void **state)
{
	(void)state;
	assert_int_equal(
		find(RULESET(CHAIN("ip", "filter", "FORWARD", "drop")), "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n"), 0);
	assert_found(1);
	assert_string_equal(rules.rules[0].check,
		"iptables-nft -w -C FORWARD -i wg0 -o wg0 -m comment --comment towpath-home -j ACCEPT 2>/dev/null");
	assert_int_equal(find(RULESET("{}"), "*mangle\n:FORWARD DROP [0:0]\nCOMMIT\n"), 0);
	assert_first("iptables-nft -t mangle -w -I FORWARD -i wg0 ");
	/* where iptables-nft is not installed, or cannot read the table */
	assert_int_equal(find(RULESET(CHAIN("ip", "filter", "FORWARD", "drop")), ""), 0);
	assert_first("nft 'insert rule ip filter FORWARD iifname");
}

static void dockers_chain_is_used_where_packets_come_by(void **state)
{
	(void)state;
	assert_int_equal(find(RULESET(CHAIN("ip", "filter", "FORWARD", "drop") "," PLAIN_CHAIN(
				      "ip", "filter", "DOCKER-USER") "," RULE("ip", "filter", "FORWARD",
				      COUNTER ",{\"jump\":{\"target\":\"DOCKER-USER\"}}")),
				 ""),
		0);
	assert_first("insert rule ip filter DOCKER-USER ");
	assert_int_equal(
		find(RULESET(CHAIN("ip", "filter", "FORWARD", "drop") "," PLAIN_CHAIN("ip", "filter", "DOCKER-USER")),
			""),
		0);
	assert_first("insert rule ip filter FORWARD ");
}

/* firewalld accepts by policy and rejects by its last rule. */
static void a_rule_for_every_packet_is_seen(void **state)
{
	(void)state;
	assert_int_equal(
		find(RULESET(CHAIN("inet", "firewalld", "filter_FORWARD", "accept") "," RULE(
			     "inet", "firewalld", "filter_FORWARD", "{\"match\":{}},{\"accept\":null}") "," RULE("inet",
			     "firewalld", "filter_FORWARD", "{\"reject\":{\"type\":\"icmpx\"}}")),
			""),
		0);
	assert_found(1);
	assert_first("insert rule inet firewalld filter_FORWARD ");
}

static void a_rule_for_some_packets_is_left_alone(void **state)
{
	(void)state;
	assert_int_equal(find(RULESET(CHAIN("inet", "mine", "f", "accept") "," RULE(
				      "inet", "mine", "f", "{\"match\":{}},{\"drop\":null}")),
				 ""),
		0);
	assert_found(0);
}

static void an_accept_ahead_of_the_drop_spares_us(void **state)
{
	(void)state;
	assert_int_equal(find(RULESET(CHAIN("inet", "mine", "f", "accept") "," RULE("inet", "mine", "f",
				      "{\"accept\":null}") "," RULE("inet", "mine", "f", "{\"drop\":null}")),
				 ""),
		0);
	assert_found(0);
}

static void a_drop_behind_a_jump_is_seen(void **state)
{
	(void)state;
	assert_int_equal(find(RULESET(CHAIN("inet", "mine", "f", "accept") "," RULE(
				      "inet", "mine", "f", "{\"jump\":{\"target\":\"g\"}}") "," RULE("inet", "mine",
				      "g", COUNTER ",{\"drop\":null}")),
				 ""),
		0);
	assert_found(1);
}

static void chains_in_a_circle_end(void **state)
{
	(void)state;
	assert_int_equal(find(RULESET(CHAIN("inet", "mine", "f", "accept") "," RULE(
				      "inet", "mine", "f", "{\"jump\":{\"target\":\"f\"}}")),
				 ""),
		0);
	assert_found(0);
}

static void legacy_iptables_is_seen_by_its_words(void **state)
{
	(void)state;
	assert_int_equal(find("", "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD DROP [0:0]\n"), 0);
	assert_first("iptables-legacy -w -I FORWARD ");
	assert_int_equal(find("", "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -j REJECT --reject-with x\n"), 0);
	assert_found(1);
	assert_int_equal(find("", "*filter\n:FORWARD DROP [0:0]\n:DOCKER-USER - [0:0]\n-A FORWARD -j DOCKER-USER\n"), 0);
	assert_first("-I DOCKER-USER ");
	assert_int_equal(find("", "*filter\n:FORWARD ACCEPT [0:0]\n-A FORWARD -i x -j DROP\n"), 0);
	assert_found(0);
}

static void text_that_is_no_rule_set_is_told(void **state)
{
	(void)state;
	assert_int_equal(find("{\"nftables\":[", ""), -EINVAL);
	assert_int_equal(find("[]", ""), 0);
	assert_int_equal(find(RULESET(CHAIN("inet", "a;reboot", "f", "drop")), ""), -EINVAL);
}

static void a_name_that_iptables_takes_for_many_is_refused(void **state)
{
	static const char *const names[][3] = {
		{"wg+", "eth0", "towpath-home"}, {"wg0'", "eth0", "towpath-home"}, {"wg0", "eth+", "towpath-home"},
		{"wg0", "eth0", "towpath home"}};
	const struct ruleset_texts texts = texts_of("", "");
	struct err err;

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		struct firewall_gateway gateway = {.lan_count = 0};
		const struct forward_setup setup = {
			.device = names[i][0], .comment = names[i][2], .gateways = &gateway, .gateway_count = 1};

		snprintf(gateway.device, sizeof(gateway.device), "%s", names[i][1]);
		assert_int_equal(forward_find(&texts, &setup, &rules, &err), -EINVAL);
	}
}

static void too_many_tables_are_told(void **state)
{
	char text[16384] = "{\"nftables\":[{}";

	(void)state;
	for (int i = 0; i < FORWARD_RULES_MAX + 1; i++)
		strcat(text, "," CHAIN("inet", "mine", "f", "drop"));
	strcat(text, "]}");
	assert_int_equal(find(text, ""), -E2BIG);
}

/* A rule that names the device was made for it: it keeps the peers apart on purpose. */
static void a_chain_that_names_the_device_is_left_alone(void **state)
{
	(void)state;
	assert_int_equal(find("", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i wg0 -o wg0 -j REJECT\n"), 0);
	assert_found(0);
	assert_int_equal(find("", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i wg0 -o wg0 -d 10.10.0.7/32 -j DROP\n"), 0);
	assert_found(0);
	assert_int_equal(find("", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i wg0 -j mine\n-A mine -s 10.10.0.7/32 -j DROP\n"),
		0);
	assert_found(0);
	assert_int_equal(
		find(RULESET(CHAIN("inet", "mine", "f", "drop") "," RULE("inet", "mine", "f",
			     "{\"match\":{\"op\":\"==\",\"left\":{\"meta\":{\"key\":\"iifname\"}},\"right\":\"wg0\"}},"
			     "{\"match\":{}},{\"drop\":null}")),
			""),
		0);
	assert_found(0);
}

/* Those rules are about other packets, and those that accept the device leave nothing to do. */
static void other_rules_that_name_the_device_do_not_count(void **state)
{
	(void)state;
	assert_int_equal(find("",
				 "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i wg0 -o eth0 -j DROP\n"
				 "-A FORWARD -i wg0 -m conntrack --ctstate INVALID -j DROP\n"
				 "-A FORWARD -i wg0 -o eth0 -j ACCEPT\n-A FORWARD -i wg0 -m mark --mark 0x1 -j ACCEPT\n"
				 "-A FORWARD -o wg0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"),
		0);
	assert_found(1);
	assert_int_equal(find("", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i wg0 -j ACCEPT\n"), 0);
	assert_found(0);
	assert_int_equal(find("", "*filter\n:FORWARD DROP [0:0]\n-A FORWARD ! -i eth0 -o wg+ -j ACCEPT\n"), 0);
	assert_found(0);
}

/* Into the LAN, from the LAN, and answers; from the Internet answers only. */
static void a_gateway_opens_its_networks_only(void **state)
{
	static const char *const lans[] = {"192.168.1.0/24", "fd77::/64"}, *const all[] = {"0.0.0.0/0"};

	(void)state;
	assert_int_equal(find_for_gateway("", "*filter\n:FORWARD DROP [0:0]\n", lans, 2), 0);
	assert_found(3);
	assert_first("-I FORWARD -i wg0 -o eth0 -d 192.168.1.0/24 -m comment");
	assert_non_null(strstr(rules.rules[1].insert, "-I FORWARD -i eth0 -o wg0 -s 192.168.1.0/24 -m comment"));
	assert_non_null(strstr(rules.rules[2].insert, "-i eth0 -o wg0 -m conntrack --ctstate RELATED,ESTABLISHED -m c"));
	assert_int_equal(find_for_gateway(RULESET(CHAIN("inet", "mine", "f", "drop")), "", lans, 2), 0);
	assert_found(5);
	assert_int_equal(find_for_gateway(RULESET(CHAIN("inet", "mine", "f", "drop")), "", all, 1), 0);
	assert_found(2);
	assert_first("iifname \"wg0\" oifname \"eth0\" meta nfproto ipv4 accept comment");
	assert_non_null(strstr(
		rules.rules[1].insert, "iifname \"eth0\" oifname \"wg0\" ct state established,related accept comment"));
}

/* ufw's rule set lets answers through by itself. */
static void what_a_chain_accepts_gets_no_rule(void **state)
{
	static const char *const lans[] = {"192.168.1.0/24"};

	(void)state;
	assert_int_equal(find_for_gateway("",
				 "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -j ufw-before-forward\n"
				 "-A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n",
				 lans, 1),
		0);
	assert_found(2);
	assert_int_equal(find_for_gateway("",
				 "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i wg0 -o eth0 -j ACCEPT\n"
				 "-A FORWARD -i eth0 -o wg0 -m state --state RELATED,ESTABLISHED -j ACCEPT\n",
				 lans, 1),
		0);
	assert_found(1);
}

/* --- the kernel --- */

static bool run(const char *command)
{
	int status = system(command);

	return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void assert_run(const char *command)
{
	if (!run(command))
		fail_msg("failed: %s", command);
}

#define NEIGHBOUR(name, device, own, its, own6, its6)                                                                  \
	"ip netns add " name "; ip link add " device " type veth peer name e netns " name ";"                          \
	"ip addr add " own "/24 dev " device "; ip addr add " own6 "/64 dev " device " nodad;"                         \
	"ip link set " device " up; ip -n " name " addr add " its "/24 dev e;"                                         \
	"ip -n " name " addr add " its6 "/64 dev e nodad; ip -n " name " link set e up;"                               \
	"ip -n " name " route add default via " own "; ip -n " name " -6 route add default via " own6 ";"

static const char world[] = "set -e; ip link set lo up;" NEIGHBOUR("far", "wg0", "10.10.0.1", "10.10.0.3", "fd10::1",
	"fd10::3") NEIGHBOUR("lan", "eth0", "192.168.1.130", "192.168.1.20", "fd20::130",
	"fd20::20") "echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding;"
		    /* The neighbours' link-local addresses are not usable at once. */
		    "n=0; until ip netns exec far ping -c1 -W1 fd20::20 >/dev/null && ip netns exec lan ping -c1 -W1 "
		    "fd10::3 >/dev/null;"
		    "do n=$((n + 1)); test $n -lt 10; done";

static bool has_world;

static int make_world(void **state)
{
	(void)state;
	/* Names of namespaces of our own: another test may have the same. Not every chroot allows to mount. */
	if (geteuid() != 0 || unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
		!run("nft list ruleset >/dev/null 2>&1 && iptables-legacy -S >/dev/null 2>&1 && "
		     "(mount --make-rprivate / && mkdir -p /run/netns && mount -t tmpfs netns /run/netns) 2>/dev/null"))
		return 0;
	assert_run(world);
	has_world = true;
	return 0;
}

static bool passes(const char *from, const char *to)
{
	char command[256];

	snprintf(command, sizeof(command), "ip netns exec %s ping -c1 -W1 %s >/dev/null", from, to);
	return run(command);
}

static bool ipv4_passes(void)
{
	return passes("far", "192.168.1.20") && passes("lan", "10.10.0.3");
}

static bool ipv6_passes(void)
{
	return passes("far", "fd20::20") && passes("lan", "fd10::3");
}

/* The rule set of another program, and nothing of the test before. */
static void set_up_foreign(const char *script)
{
	if (!has_world)
		skip();
	assert_run("nft flush ruleset; for i in iptables-legacy ip6tables-legacy; do"
		   " $i -P FORWARD ACCEPT; $i -F; $i -X; done 2>/dev/null");
	assert_true(ipv4_passes() && ipv6_passes());
	assert_run(script);
}

#define SAVE                                                                                                           \
	"{ nft list ruleset; iptables-legacy-save; ip6tables-legacy-save; } 2>/dev/null |"                             \
	" sed 's/packets [0-9]* bytes [0-9]*//; s/\\[[0-9:]*\\]//; /^#/d'"

/* The world's gateway: both networks of `lan`. */
static struct prefix world_lans[2];
static const struct firewall_gateway world_gateway = {.lans = world_lans, .lan_count = 2, .device = "eth0"};
static const struct forward_setup world_setup = {
	.device = "wg0", .comment = "towpath-home/2b", .gateways = &world_gateway, .gateway_count = 1};

static void on_read(void *owner, const struct ruleset_texts *texts)
{
	struct err err = {""};

	*(bool *)owner = true;
	assert_int_equal(forward_find(texts, &world_setup, &rules, &err), 0);
}

static void look(void)
{
	struct ruleset_scan *look;
	bool was_called = false;
	uv_loop_t loop;

	memset(&rules, 0, sizeof(rules));
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(prefix_parse("192.168.1.0/24", &world_lans[0]), 0);
	assert_int_equal(prefix_parse("fd20::/64", &world_lans[1]), 0);
	assert_int_equal(ruleset_scan_start(&look, &loop, on_read, &was_called, NULL), 0);
	assert_false(was_called);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(was_called);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void insert_all(void)
{
	for (size_t i = 0; i < rules.count; i++) {
		assert_false(run(rules.rules[i].check));
		assert_run(rules.rules[i].insert);
		assert_run(rules.rules[i].check);
	}
}

static void remove_all(void)
{
	for (size_t i = 0; i < rules.count; i++) {
		assert_run(rules.rules[i].remove);
		assert_false(run(rules.rules[i].check));
		assert_run(rules.rules[i].remove);
	}
}

/* With the rules that were found packets pass. Made twice they are there once. Afterwards everything is as it was, our
 * neighbours' rules too. */
static void assert_opens_and_closes(const char *script, size_t rule_count)
{
	set_up_foreign(script);
	assert_run(SAVE " >${TMPDIR:-/tmp}/before");
	look();
	assert_found(rule_count);
	insert_all();
	assert_run(SAVE " >${TMPDIR:-/tmp}/once");
	for (size_t i = 0; i < rules.count; i++)
		assert_run(rules.rules[i].insert);
	assert_run(SAVE " | cmp - ${TMPDIR:-/tmp}/once");
	assert_true(ipv4_passes() && ipv6_passes());
	remove_all();
	assert_run(SAVE " | cmp - ${TMPDIR:-/tmp}/before");
	assert_false(ipv4_passes() || ipv6_passes());
}

#define DOCKER(program)                                                                                                \
	program " -P FORWARD DROP; " program " -N DOCKER-USER; " program " -N DOCKER-FORWARD; " program                \
		" -A DOCKER-USER -j RETURN; " program " -A FORWARD -j DOCKER-USER; " program                           \
		" -A FORWARD -j DOCKER-FORWARD; " program " -A DOCKER-FORWARD -i docker0 -j ACCEPT;"
#define UFW(program)                                                                                                   \
	program " -P FORWARD DROP; " program " -N ufw-before-forward; " program                                        \
		" -A FORWARD -j ufw-before-forward; " program                                                          \
		" -A ufw-before-forward -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT;"

static void docker_on_iptables_nft(void **state)
{
	(void)state;
	assert_opens_and_closes("set -e;" DOCKER("iptables-nft") DOCKER("ip6tables-nft"), 6);
	assert_non_null(strstr(rules.rules[0].insert, "DOCKER-USER"));
}

static void docker_on_legacy_iptables(void **state)
{
	(void)state;
	assert_opens_and_closes("set -e;" DOCKER("iptables-legacy") DOCKER("ip6tables-legacy"), 6);
}

static void ufw_on_iptables_nft(void **state)
{
	(void)state;
	assert_opens_and_closes("set -e;" UFW("iptables-nft") UFW("ip6tables-nft"), 4);
}

static void ufw_on_legacy_iptables(void **state)
{
	(void)state;
	assert_opens_and_closes("set -e;" UFW("iptables-legacy") UFW("ip6tables-legacy"), 4);
}

/* As Red Hat's old set of rules ends. */
static void iptables_that_rejects_by_its_last_rule(void **state)
{
	(void)state;
	assert_opens_and_closes("set -e; for i in iptables-nft ip6tables-nft; do $i -A FORWARD -m conntrack --ctstate "
				"ESTABLISHED -j ACCEPT; $i -A FORWARD -j REJECT; done",
		4);
}

static void firewalld(void **state)
{
	(void)state;
	assert_opens_and_closes(
		"nft 'table inet firewalld { chain filter_FORWARD { type filter hook forward priority 10; policy "
		"accept;"
		"ct state established,related accept; ct status dnat accept; iifname \"lo\" accept;"
		"ct state invalid drop; jump filter_FORWARD_ZONES; reject with icmpx admin-prohibited; };"
		"chain filter_FORWARD_ZONES { }; }'",
		4);
}

/* Several, and one that has rules for other tunnels of ours. */
static void several_tables_of_ones_own(void **state)
{
	(void)state;
	assert_opens_and_closes(
		"nft 'table inet filter { chain forward { type filter hook forward priority 0; policy drop;"
		"iifname \"wg0\" accept comment \"towpath-home2\"; iifname \"wg01\" accept comment "
		"\"towpath-home\"; iifname \"wg0\" tcp dport 80 accept; iifname \"wg0\" drop; }; }; "
		"table ip six { chain f-1 { type filter hook forward priority -5; policy drop; }; }'",
		6);
}

/* Asking legacy iptables would make its table. */
static void a_look_changes_nothing(void **state)
{
	(void)state;
	if (!has_world)
		skip();
	assert_run("nft flush ruleset");
	assert_int_equal(unshare(CLONE_NEWNET), 0);
	look();
	assert_found(0);
	assert_run("test -z \"$(nft list ruleset)\" && test -z \"$(cat /proc/net/ip_tables_names)\"");
}

static void a_look_may_be_closed_at_any_time(void **state)
{
	struct ruleset_scan *look;
	bool was_called = false;
	uv_loop_t loop;

	(void)state;
	for (int turns = 0; turns < 3; turns++) {
		assert_int_equal(uv_loop_init(&loop), 0);
		assert_int_equal(ruleset_scan_start(&look, &loop, on_read, &was_called, NULL), 0);
		for (int i = 0; i < turns && !was_called; i++)
			uv_run(&loop, UV_RUN_NOWAIT);
		if (!was_called)
			ruleset_scan_close(look);
		uv_run(&loop, UV_RUN_DEFAULT);
		assert_int_equal(uv_loop_close(&loop), 0);
	}
}

/* By whatever device a stranger comes, and only where the destination was changed. Two services of a host are one. */
static void what_is_published_may_come_from_anywhere(void **state)
{
	(void)state;
	assert_int_equal(find_for_service(RULESET(CHAIN("inet", "mine", "f", "drop")), "", "192.168.1.30", 2), 0);
	assert_found(2);
	assert_first("nft 'insert rule inet mine f oifname \"wg0\" ip daddr 192.168.1.30 ct status dnat accept comment "
		     "\"towpath-home\"'");
	assert_non_null(strstr(rules.rules[1].insert, "iifname \"wg0\" ip saddr 192.168.1.30 ct status dnat accept comment"));
	assert_int_equal(find_for_service("", "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", "192.168.1.30", 1), 0);
	assert_found(2);
	assert_string_equal(rules.rules[0].check,
		"iptables-legacy -w -C FORWARD -o wg0 -d 192.168.1.30/32 -m conntrack --ctstate DNAT -m comment --comment "
		"towpath-home -j ACCEPT 2>/dev/null");
	assert_non_null(strstr(rules.rules[1].check, "-C FORWARD -i wg0 -s 192.168.1.30/32 -m conntrack --ctstate DNAT -m"));
	/* neither another family's chain nor one that lets answers pass gets more than it needs */
	assert_int_equal(find_for_service("", "*filter\n:FORWARD DROP [0:0]\nCOMMIT\n", "[fd10::2]", 1), 0);
	assert_found(0);
	assert_int_equal(find_for_service("",
				 "*filter\n:FORWARD DROP [0:0]\n-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j "
				 "ACCEPT\nCOMMIT\n",
				 "192.168.1.30", 1),
		0);
	assert_found(1);
	assert_int_equal(find_for_service(RULESET(CHAIN("inet", "mine", "f", "accept")), "", "192.168.1.30", 1), 0);
	assert_found(0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_published_may_come_from_anywhere),
		cmocka_unit_test(nothing_there_needs_nothing),
		cmocka_unit_test(a_policy_that_drops_is_seen),
		cmocka_unit_test(a_policy_that_accepts_is_left_alone),
		cmocka_unit_test(other_families_and_our_own_table_do_not_count),
		cmocka_unit_test(iptables_own_table_is_changed_by_iptables),
		cmocka_unit_test(dockers_chain_is_used_where_packets_come_by),
		cmocka_unit_test(a_rule_for_every_packet_is_seen),
		cmocka_unit_test(a_rule_for_some_packets_is_left_alone),
		cmocka_unit_test(an_accept_ahead_of_the_drop_spares_us),
		cmocka_unit_test(a_drop_behind_a_jump_is_seen),
		cmocka_unit_test(chains_in_a_circle_end),
		cmocka_unit_test(legacy_iptables_is_seen_by_its_words),
		cmocka_unit_test(text_that_is_no_rule_set_is_told),
		cmocka_unit_test(a_name_that_iptables_takes_for_many_is_refused),
		cmocka_unit_test(too_many_tables_are_told),
		cmocka_unit_test(a_chain_that_names_the_device_is_left_alone),
		cmocka_unit_test(other_rules_that_name_the_device_do_not_count),
		cmocka_unit_test(a_gateway_opens_its_networks_only),
		cmocka_unit_test(what_a_chain_accepts_gets_no_rule),
		cmocka_unit_test(a_look_may_be_closed_at_any_time),
		cmocka_unit_test(docker_on_iptables_nft),
		cmocka_unit_test(docker_on_legacy_iptables),
		cmocka_unit_test(ufw_on_iptables_nft),
		cmocka_unit_test(ufw_on_legacy_iptables),
		cmocka_unit_test(iptables_that_rejects_by_its_last_rule),
		cmocka_unit_test(firewalld),
		cmocka_unit_test(several_tables_of_ones_own),
		cmocka_unit_test(a_look_changes_nothing),
	};

	return cmocka_run_group_tests_name("forward", tests, make_world, NULL);
}
