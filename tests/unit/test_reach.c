/* Rules that keep packets from our port, as ufw, Docker, firewalld and a person write them: what is told, and what helps. */
#include "common/net/reach.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static char text[REACH_TEXT_MAX];

static const char *own_table; /* NULL: we listen */

/* Return: true if something is told about TCP 443 at 203.0.113.10 on eth0; @nft and @iptables are what is printed. */
static bool finds_for(const char *nft, const char *iptables, const char *device, const char *protocol, unsigned number)
{
	const struct ruleset_texts texts = {.nft = nft, .nft4 = iptables, .nft6 = "", .legacy4 = "", .legacy6 = ""};
	struct addr to;
	const struct reach_port port = {.family = AF_INET,
		.protocol = protocol,
		.port = number,
		.device = device,
		.is_on_device = strcmp(device, "eth0") != 0,
		.to = &to,
		.other = own_table ? "another Port" : "another port in Listen",
		.own_table = own_table};
	struct err err = {""};
	json_t *objects;
	bool found;

	assert_int_equal(addr_parse("203.0.113.10", 443, &to), 0);
	assert_int_equal(ruleset_read(&texts, &objects, &err), 0);
	text[0] = '\0';
	found = reach_find(objects, &port, text);
	json_decref(objects);
	return found;
}

static bool finds(const char *nft, const char *iptables)
{
	return finds_for(nft, iptables, "eth0", "tcp", 443);
}

static void assert_told(const char *part)
{
	if (!strstr(text, part))
		fail_msg("'%s' is missing in '%s'", part, text);
}

/* ufw as it is after `ufw enable`, with ssh open; shortened to the chains that a packet meets. */
#define UFW(allowed)                                                                                                   \
	"*filter\n:INPUT DROP [0:0]\n:ufw-before-input - [0:0]\n:ufw-user-input - [0:0]\n:ufw-not-local - [0:0]\n"         \
	"-A INPUT -j ufw-before-logging-input\n-A INPUT -j ufw-before-input\n-A INPUT -j ufw-after-input\n"                 \
	"-A INPUT -j ufw-reject-input\n-A ufw-before-input -i lo -j ACCEPT\n"                                              \
	"-A ufw-before-input -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n"                                       \
	"-A ufw-before-input -m conntrack --ctstate INVALID -j DROP\n"                                                     \
	"-A ufw-before-input -p icmp -m icmp --icmp-type 8 -j ACCEPT\n"                                                    \
	"-A ufw-before-input -p udp -m udp --sport 67 --dport 68 -j ACCEPT\n-A ufw-before-input -j ufw-not-local\n"         \
	"-A ufw-before-input -j ufw-user-input\n-A ufw-not-local -m addrtype --dst-type LOCAL -j RETURN\n"                 \
	"-A ufw-not-local -m limit --limit 3/min -j ufw-logging-deny\n-A ufw-not-local -j DROP\n"                          \
	"-A ufw-user-input -p tcp -m tcp --dport 22 -j ACCEPT\n" allowed "COMMIT\n"

static void ufw_drops_what_is_not_allowed(void **state)
{
	(void)state;
	assert_true(finds("", UFW("")));
	assert_told("chain INPUT of table ip filter drops tcp port 443 on device eth0 (policy); `ufw allow 443/tcp` helps");
	assert_false(finds("", UFW("-A ufw-user-input -p tcp -m tcp --dport 443 -j ACCEPT\n")));
	assert_false(finds("", UFW("-A ufw-user-input -p tcp -m multiport --dports 80,443 -j ACCEPT\n")));
	assert_true(finds_for("", UFW(""), "wg0", "udp", 53));
	assert_told("`ufw allow in on wg0 to any port 53 proto udp` helps");
	/* from some addresses only: that may be meant so */
	assert_false(finds("", UFW("-A ufw-user-input -s 198.51.100.0/24 -p tcp -m tcp --dport 443 -j ACCEPT\n")));
}

static void docker_publishes_our_port(void **state)
{
	static const char docker[] =
		"*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
		"-A DOCKER -i docker0 -j RETURN\n"
		"-A DOCKER ! -i docker0 -p tcp -m tcp --dport 443 -j DNAT --to-destination 172.17.0.2:443\nCOMMIT\n";

	(void)state;
	assert_true(finds("", docker));
	assert_told("chain PREROUTING of table ip nat sends tcp port 443 on device eth0 elsewhere, to a container of Docker's");
	assert_false(finds_for("", docker, "eth0", "tcp", 80));
	assert_false(finds_for("", docker, "eth0", "udp", 443));
}

static void a_dnat_of_ones_own_is_told_with_its_end(void **state)
{
	(void)state;
	assert_true(finds("", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth0 -p tcp -j DNAT --to-destination "
			      "10.10.0.2\nCOMMIT\n"));
	assert_told("which `iptables -t nat -D PREROUTING -i eth0 -p tcp -j DNAT --to-destination 10.10.0.2` ends");
	assert_true(finds("", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 203.0.113.10/32 -p tcp -m tcp --dport 443 -j "
			      "REDIRECT --to-ports 8443\nCOMMIT\n"));
	assert_false(finds("", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -d 203.0.113.11/32 -p tcp -m tcp --dport 443 -j "
			       "DNAT --to-destination 10.10.0.2\nCOMMIT\n"));
	assert_false(finds("", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -i eth1 -p tcp -j DNAT --to-destination "
			       "10.10.0.2\nCOMMIT\n"));
}

static void iptables_that_drops_is_told_with_the_opening(void **state)
{
	(void)state;
	assert_true(finds("", "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m state --state RELATED,ESTABLISHED -j ACCEPT\n"
			      "-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\n"
			      "-A INPUT -j REJECT --reject-with icmp-host-prohibited\nCOMMIT\n"));
	assert_told("(`-A INPUT -j REJECT --reject-with icmp-host-prohibited`); `iptables -I INPUT -p tcp --dport 443 -j ACCEPT` "
		    "helps");
	assert_true(finds("", "*raw\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport 443 -j DROP\nCOMMIT\n"));
	assert_told("`iptables -t raw -I PREROUTING -p tcp --dport 443 -j ACCEPT`");
	assert_true(finds_for("", "*filter\n:INPUT DROP [0:0]\nCOMMIT\n", "wg0", "udp", 53));
	assert_told("`iptables -I INPUT -i wg0 -p udp --dport 53 -j ACCEPT`");
}

#define NFT_CHAIN(table, name, hook, policy)                                                                           \
	"{\"chain\":{\"family\":\"inet\",\"table\":\"" table "\",\"name\":\"" name "\",\"hook\":\"" hook                   \
	"\",\"policy\":\"" policy "\"}}"
#define NFT_RULE(table, chain, expressions)                                                                            \
	",{\"rule\":{\"family\":\"inet\",\"table\":\"" table "\",\"chain\":\"" chain "\",\"expr\":[" expressions "]}}"
#define NFT(objects) "{\"nftables\":[" objects "]}"

static void firewalld_rejects_what_no_zone_lets_in(void **state)
{
	(void)state;
	assert_true(finds(NFT(NFT_CHAIN("firewalld", "filter_INPUT", "input", "accept") NFT_RULE("firewalld", "filter_INPUT",
				"{\"match\":{\"op\":\"in\",\"left\":{\"ct\":{\"key\":\"status\"}},"
				"\"right\":\"dnat\"}},{\"accept\":null}")
				NFT_RULE("firewalld", "filter_INPUT", "{\"jump\":{\"target\":\"filter_INPUT_ZONES\"}}")
				NFT_RULE("firewalld", "filter_INPUT", "{\"reject\":{\"type\":\"icmpx\"}}")),
		""));
	assert_told("`firewall-cmd --permanent --add-port=443/tcp && firewall-cmd --reload`");
}

static void nft_is_told_with_the_opening(void **state)
{
	(void)state;
	assert_true(finds(NFT(NFT_CHAIN("mine", "in", "input", "drop")), ""));
	assert_told("`nft insert rule inet mine in tcp dport 443 accept`");
	assert_true(finds(NFT(NFT_CHAIN("mine", "pre", "prerouting", "accept") NFT_RULE("mine", "pre",
				"{\"dnat\":{\"addr\":\"10.10.0.2\"}}")),
		""));
	assert_told("`nft -a list chain inet mine pre`");
}

static void open_ports_and_unknown_conditions_are_passed_over(void **state)
{
	(void)state;
	assert_false(finds("", ""));
	assert_false(finds("", "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -i eth0 -m set --match-set bad src -j DROP\nCOMMIT\n"));
	assert_false(finds(NFT(NFT_CHAIN("mine", "in", "input", "drop") NFT_RULE("mine", "in",
				"{\"match\":{\"op\":\"==\",\"left\":{\"payload\":{\"protocol\":\"tcp\",\"field\":\"dport\"}},"
				"\"right\":\"@open\"}},{\"accept\":null}")),
		""));
}

#define NAT_CHAIN(table, prio)                                                                                          \
	"{\"chain\":{\"family\":\"ip\",\"table\":\"" table "\",\"name\":\"pre\",\"type\":\"nat\",\"hook\":\"prerouting\","      \
	"\"prio\":" prio ",\"policy\":\"accept\"}}"
#define NAT_RULE(table, chain, expressions)                                                                            \
	",{\"rule\":{\"family\":\"ip\",\"table\":\"" table "\",\"chain\":\"" chain "\",\"handle\":3,\"expr\":[" expressions "]}}"
#define TO_443                                                                                                         \
	"{\"match\":{\"op\":\"==\",\"left\":{\"payload\":{\"protocol\":\"tcp\",\"field\":\"dport\"}},\"right\":443}},"
#define SEND "{\"dnat\":{\"addr\":\"10.9.9.9\"}}"

/* A port that we publish: only what surely comes before our own rule sends its packets elsewhere, also by a jump. What
 * drops them as if we listened there does not matter. */
static void a_published_port_is_taken_by_nat_rules_alone(void **state)
{
	static const char docker[] = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n"
				     "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
				     "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 443 -j DNAT --to-destination "
				     "172.17.0.2:443\nCOMMIT\n";

	(void)state;
	own_table = "towpath-hub";
	assert_true(finds("{\"nftables\":[" NAT_CHAIN("mine", "-100") NAT_RULE("mine", "pre", TO_443 SEND) "]}", ""));
	assert_string_equal(text, "chain pre of table ip mine sends tcp port 443 on device eth0 elsewhere, see `nft -a list "
				  "chain ip mine pre`; `nft delete rule …` helps, or another Port");
	assert_true(finds("{\"nftables\":[" NAT_CHAIN("mine", "-101")
				  NAT_RULE("mine", "pre", "{\"jump\":{\"target\":\"far\"}}") NAT_RULE("mine", "far", TO_443 SEND) "]}",
		""));
	assert_told("nft -a list chain ip mine far");
	assert_true(finds("", docker));
	assert_told("chain PREROUTING of table ip nat sends tcp port 443 on device eth0 elsewhere, to a container");
	assert_false(finds("{\"nftables\":[" NAT_CHAIN("mine", "-99") NAT_RULE("mine", "pre", TO_443 SEND) "]}", ""));
	assert_false(finds(
		"{\"nftables\":[" NAT_CHAIN("towpath-hub", "-100") NAT_RULE("towpath-hub", "pre", TO_443 SEND) "]}", ""));
	assert_false(finds("", "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"));
	assert_false(finds_for("", docker, "docker0", "tcp", 443));
	own_table = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_published_port_is_taken_by_nat_rules_alone),
		cmocka_unit_test(ufw_drops_what_is_not_allowed),
		cmocka_unit_test(docker_publishes_our_port),
		cmocka_unit_test(a_dnat_of_ones_own_is_told_with_its_end),
		cmocka_unit_test(iptables_that_drops_is_told_with_the_opening),
		cmocka_unit_test(firewalld_rejects_what_no_zone_lets_in),
		cmocka_unit_test(nft_is_told_with_the_opening),
		cmocka_unit_test(open_ports_and_unknown_conditions_are_passed_over),
	};

	return cmocka_run_group_tests_name("reach", tests, NULL, NULL);
}
