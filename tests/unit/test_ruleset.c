/* The fate of a packet in rules as nft(8) and iptables-save(8) print them: where it is sure, and where it must not
 * be. */
#include "common/net/ruleset.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include <cmocka.h>

#define NFT(hook, policy, rules)                                                                                       \
	"[{\"chain\":{\"family\":\"inet\",\"table\":\"t\",\"name\":\"c\",\"hook\":\"" hook "\",\"policy\":\"" policy       \
	"\"}}" rules "]"
#define RULE_IN(chain, expressions)                                                                                    \
	",{\"rule\":{\"family\":\"inet\",\"table\":\"t\",\"chain\":\"" chain "\",\"expr\":[" expressions "]}}"
#define RULE(expressions) RULE_IN("c", expressions)
#define META(key, op, right)                                                                                           \
	"{\"match\":{\"op\":\"" op "\",\"left\":{\"meta\":{\"key\":\"" key "\"}},\"right\":" right "}},"
#define DPORT(right)                                                                                                   \
	"{\"match\":{\"op\":\"==\",\"left\":{\"payload\":{\"protocol\":\"tcp\",\"field\":\"dport\"}},\"right\":" right "}},"
#define STRANGE "{\"match\":{\"op\":\"==\",\"left\":{\"meta\":{\"key\":\"mark\"}},\"right\":7}},"
#define ACCEPT "{\"accept\":null}"
#define DROP "{\"drop\":null}"

/* A connection to our port, from outside. */
static const struct ruleset_packet https = {
	.family = AF_INET, .in = "eth0", .protocol = "tcp", .port = 443, .state = "new", .is_local = true};

/* "accepted", "dropped", "sent"; with a question mark where that is not sure. */
static const char *fate_among(json_t *objects, const char *name, const struct ruleset_packet *packet)
{
	static const char *const words[] = {"open", "accepted", "dropped", "sent"};
	static const char *const unsure[] = {"open?", "accepted?", "dropped?", "sent?"};
	struct ruleset_answer answer = {.fate = RULESET_OPEN};
	json_t *object;
	size_t i;

	assert_non_null(objects);
	json_array_foreach (objects, i, object) {
		json_t *chain = json_object_get(object, "chain");

		if (ruleset_is_word(chain, "name", name))
			answer = ruleset_ask(objects, chain, packet);
	}
	json_decref(objects);
	return answer.is_sure ? words[answer.fate] : unsure[answer.fate];
}

/* @maps: objects with commas between them. */
static const char *fate_with_maps(const char *text, const char *maps)
{
	char rules_text[4096], maps_text[4096];
	struct ruleset_texts texts = {
		.nft = rules_text, .maps = maps_text, .nft4 = "", .nft6 = "", .legacy4 = "", .legacy6 = ""};
	struct err err = {""};
	json_t *objects;

	snprintf(rules_text, sizeof(rules_text), "{\"nftables\":%s}", text);
	snprintf(maps_text, sizeof(maps_text), "{\"nftables\":[%s]}", maps);
	assert_int_equal(ruleset_read(&texts, &objects, &err), 0);
	return fate_among(objects, "c", &https);
}

static const char *nft_fate(const char *text)
{
	return fate_with_maps(text, "");
}

static json_t *read_iptables(const char *text)
{
	const struct ruleset_texts texts = {.nft = "", .nft4 = "", .nft6 = "", .legacy4 = text, .legacy6 = ""};
	struct err err = {""};
	json_t *objects;

	assert_int_equal(ruleset_read(&texts, &objects, &err), 0);
	return objects;
}

static const char *iptables_fate(const char *chain, const char *text)
{
	return fate_among(read_iptables(text), chain, &https);
}

static void policy_decides_where_no_rule_does(void **state)
{
	(void)state;
	assert_string_equal(nft_fate(NFT("input", "drop", "")), "dropped");
	assert_string_equal(nft_fate(NFT("input", "accept", RULE("{\"counter\":{}}"))), "accepted");
}

static void conditions_are_compared_with_the_packet(void **state)
{
	(void)state;
	assert_string_equal(nft_fate(NFT("input", "accept", RULE(META("iifname", "==", "\"eth0\"") DROP))), "dropped");
	assert_string_equal(nft_fate(NFT("input", "accept", RULE(META("iifname", "!=", "\"eth0\"") DROP))), "accepted");
	assert_string_equal(nft_fate(NFT("input", "accept", RULE(META("iifname", "==", "\"eth*\"") DROP))), "dropped");
	assert_string_equal(nft_fate(NFT("input", "accept", RULE(META("iif", "==", "\"lo\"") DROP))), "accepted");
	assert_string_equal(nft_fate(NFT("input", "accept", RULE(META("nfproto", "==", "\"ipv6\"") DROP))), "accepted");
	assert_string_equal(
		nft_fate(NFT("input", "accept", RULE(META("l4proto", "==", "{\"set\":[\"udp\",\"tcp\"]}") DROP))), "dropped");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE(DPORT("443") ACCEPT))), "accepted");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE(DPORT("{\"range\":[400,450]}") ACCEPT))), "accepted");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE(DPORT("{\"set\":[22,{\"range\":[80,90]}]}") ACCEPT))), "dropped");
}

/* A header that the packet does not have: neither == nor != is met. */
static void another_protocol_is_not_met(void **state)
{
	(void)state;
	assert_string_equal(nft_fate(NFT("input", "accept",
				    RULE("{\"match\":{\"op\":\"!=\",\"left\":{\"payload\":{\"protocol\":\"udp\",\"field\":"
					 "\"dport\"}},\"right\":53}}," DROP))),
		"accepted");
	assert_string_equal(nft_fate(NFT("input", "accept",
				    RULE("{\"match\":{\"op\":\"!=\",\"left\":{\"payload\":{\"protocol\":\"ip6\",\"field\":"
					 "\"saddr\"}},\"right\":\"fd00::1\"}}," DROP))),
		"accepted");
}

/* A mark, an address, a set by its name: met or not. A later decision is sure where they would not change it. */
static void what_is_not_known_is_not_claimed(void **state)
{
	(void)state;
	assert_string_equal(nft_fate(NFT("input", "drop", RULE(STRANGE ACCEPT))), "dropped?");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE(STRANGE DROP))), "dropped");
	assert_string_equal(nft_fate(NFT("input", "accept", RULE(STRANGE DROP))), "accepted?");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE(DPORT("\"@open\"") ACCEPT))), "dropped?");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE(STRANGE "{\"return\":null}") RULE(ACCEPT))), "dropped?");
	assert_string_equal(nft_fate(NFT("input", "accept", RULE(META("iifname", "<", "\"eth0\"") DROP))), "accepted?");
	assert_string_equal(nft_fate(NFT("input", "drop",
				    RULE("{\"match\":{\"op\":\"<\",\"left\":{\"payload\":{\"protocol\":\"tcp\",\"field\":"
					 "\"dport\"}},\"right\":1024}}," ACCEPT))),
		"dropped?");
	assert_string_equal(nft_fate(NFT("input", "drop",
				    RULE("{\"match\":{\"op\":\">=\",\"left\":{\"payload\":{\"protocol\":\"udp\",\"field\":"
					 "\"dport\"}},\"right\":1}}," ACCEPT))),
		"dropped");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE("{\"limit\":{\"rate\":5}}," ACCEPT))), "dropped?");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE("{\"queue\":null}"))), "dropped?");
}

static void jumps_come_back_and_gotos_do_not(void **state)
{
	(void)state;
	assert_string_equal(nft_fate(NFT("input", "drop", RULE("{\"jump\":{\"target\":\"d\"}}") RULE(ACCEPT))), "accepted");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE("{\"goto\":{\"target\":\"d\"}}") RULE(ACCEPT))), "dropped");
	assert_string_equal(nft_fate(NFT("input", "drop",
				    RULE("{\"jump\":{\"target\":\"d\"}}") RULE(ACCEPT)
					    RULE_IN("d", STRANGE "{\"return\":null}") RULE_IN("d", DROP))),
		"accepted?");
	assert_string_equal(nft_fate(NFT("input", "drop",
				    RULE(STRANGE "{\"jump\":{\"target\":\"d\"}}") RULE_IN("d", ACCEPT))),
		"dropped?");
	assert_string_equal(nft_fate(NFT("input", "drop", RULE("{\"jump\":{\"target\":\"c\"}}"))), "dropped");
}

/* `ct state vmap { established : accept, invalid : drop }`, `iifname vmap { "lo" : accept, "eth0" : jump d }` */
static void maps_of_verdicts_are_read(void **state)
{
	(void)state;
	assert_string_equal(
		nft_fate(NFT("input", "drop",
			RULE("{\"vmap\":{\"key\":{\"ct\":{\"key\":\"state\"}},\"data\":{\"set\":[[\"established\"," ACCEPT "],"
			     "[\"invalid\"," DROP "]]}}}"))),
		"dropped");
	assert_string_equal(
		nft_fate(NFT("input", "drop",
			RULE("{\"vmap\":{\"key\":{\"meta\":{\"key\":\"iifname\"}},\"data\":{\"set\":[[\"lo\"," DROP "],"
			     "[\"eth0\",{\"jump\":{\"target\":\"d\"}}]]}}}") RULE_IN("d", ACCEPT))),
		"accepted");
	assert_string_equal(nft_fate(NFT("input", "drop",
				    RULE("{\"vmap\":{\"key\":{\"meta\":{\"key\":\"iifname\"}},\"data\":\"@m\"}}"))),
		"dropped?");
}

#define DNAT_BY_PORT(data)                                                                                             \
	"{\"dnat\":{\"addr\":{\"map\":{\"key\":{\"payload\":{\"protocol\":\"tcp\",\"field\":\"dport\"}},\"data\":" data "}}}}"

/* `dnat to tcp dport map { 443 : 10.0.0.2 }` */
static void a_map_of_targets_sends_what_it_has(void **state)
{
	static const char has_443[] = NFT("prerouting", "accept", RULE(DNAT_BY_PORT("{\"set\":[[443,\"10.0.0.2\"]]}")));
	static const char has_80[] = NFT("prerouting", "accept", RULE(DNAT_BY_PORT("{\"set\":[[80,\"10.0.0.2\"]]}")));
	static const char named[] = NFT("prerouting", "accept", RULE(DNAT_BY_PORT("\"@m\"")));

	(void)state;
	assert_string_equal(nft_fate(has_443), "sent");
	assert_string_equal(nft_fate(has_80), "accepted");
	assert_string_equal(nft_fate(named), "accepted?");
}

#define MAP(table, name, elements)                                                                                     \
	"{\"map\":{\"family\":\"inet\",\"table\":\"" table "\",\"name\":\"" name "\"" elements "}}"
#define VERDICT_BY_PORT                                                                                                \
	"{\"vmap\":{\"key\":{\"payload\":{\"protocol\":\"tcp\",\"field\":\"dport\"}},\"data\":\"@m\"}}"

/* `dnat to tcp dport map @m`, `tcp dport vmap @m` */
static void maps_are_found_by_their_names(void **state)
{
	static const char sent[] = NFT("prerouting", "accept", RULE(DNAT_BY_PORT("\"@m\"")));

	(void)state;
	assert_string_equal(
		fate_with_maps(sent, MAP("t", "m", ",\"elem\":[[80,\"10.0.0.2\"],[{\"range\":[440,450]},\"10.0.0.3\"]]")), "sent");
	assert_string_equal(fate_with_maps(sent, MAP("t", "m", ",\"elem\":[[80,\"10.0.0.2\"]]")), "accepted");
	assert_string_equal(fate_with_maps(sent, MAP("t", "m", "")), "accepted");
	assert_string_equal(fate_with_maps(sent, MAP("other", "m", ",\"elem\":[[443,\"10.0.0.2\"]]")), "accepted?");
	assert_string_equal(
		fate_with_maps(NFT("input", "accept", RULE(VERDICT_BY_PORT)), MAP("t", "m", ",\"elem\":[[443," DROP "]]")), "dropped");
}

static void iptables_lines_are_read(void **state)
{
	(void)state;
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\nCOMMIT\n"), "dropped");
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m tcp --dport 443 -j ACCEPT\n"), "accepted");
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\n-A INPUT -p udp -m udp --dport 443 -j ACCEPT\n"), "dropped");
	assert_string_equal(
		iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -m multiport --dports 80,400:450 -j ACCEPT\n"), "accepted");
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT ! -i lo -j REJECT --reject-with x\n"), "dropped");
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\n-A INPUT -i eth+ -m comment --comment \"let -j DROP in\" "
						   "-j ACCEPT\n"),
		"accepted");
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\n-A INPUT -j mine\n-A mine -j RETURN\n-A mine -j ACCEPT\n"),
		"dropped");
}

static void options_of_iptables_that_are_not_known_are_not_claimed(void **state)
{
	(void)state;
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\n-A INPUT -m socket --transparent -j ACCEPT\n"), "dropped?");
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\n-A INPUT -s 10.0.0.0/8 -j ACCEPT\n"), "dropped?");
	assert_string_equal(iptables_fate("INPUT", "*filter\n:INPUT DROP [0:0]\n-A INPUT -m geoip --source-country DE -j ACCEPT\n"), "dropped?");
	assert_string_equal(
		iptables_fate("INPUT", "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -p tcp --tcp-flags FIN,SYN SYN -j DROP\n"), "accepted?");
}

/* An address that is known is compared; else it may be ours or not. */
static void destinations_are_compared(void **state)
{
	struct ruleset_packet packet = https;
	static const char text[] = "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -d 203.0.113.0/24 -j DROP\n";
	struct addr addr;

	(void)state;
	assert_string_equal(fate_among(read_iptables(text), "INPUT", &packet), "accepted?");
	assert_int_equal(addr_parse("203.0.113.10", 443, &addr), 0);
	packet.to = &addr;
	assert_string_equal(fate_among(read_iptables(text), "INPUT", &packet), "dropped");
	assert_int_equal(addr_parse("192.0.2.1", 443, &addr), 0);
	assert_string_equal(fate_among(read_iptables(text), "INPUT", &packet), "accepted");
}

/* The same table by nft and by iptables-nft-save is one: the second knows what the first has no words for. A table of
 * legacy iptables with the same name is another one. */
static void tables_of_iptables_are_taken_from_it(void **state)
{
	struct ruleset_texts texts = {
		.nft = "{\"nftables\":[{\"metainfo\":{}},"
		       "{\"chain\":{\"family\":\"ip\",\"table\":\"filter\",\"name\":\"INPUT\",\"hook\":\"input\"}},"
		       "{\"rule\":{\"family\":\"ip\",\"table\":\"filter\",\"chain\":\"INPUT\",\"expr\":[{\"drop\":null}]}},"
		       "{\"chain\":{\"family\":\"ip6\",\"table\":\"filter\",\"name\":\"six\",\"hook\":\"input\"}}]}",
		.nft4 = "*filter\n:INPUT DROP [0:0]\n-A INPUT -p tcp -j ACCEPT\nCOMMIT\n",
		.nft6 = "",
		.legacy4 = "*filter\n:FORWARD DROP [0:0]\n-A INPUT -j DROP\nCOMMIT\n",
		.legacy6 = ""};
	struct err err = {""};
	json_t *objects;

	(void)state;
	assert_int_equal(ruleset_read(&texts, &objects, &err), 0);
	assert_int_equal(json_array_size(objects), 6);
	assert_string_equal(fate_among(objects, "INPUT", &https), "accepted");
	texts.nft = "{";
	assert_int_equal(ruleset_read(&texts, &objects, &err), -EINVAL);
}

/* As Docker publishes a port. */
static void packet_is_sent_elsewhere(void **state)
{
	static const char docker[] = "*nat\n:PREROUTING ACCEPT [0:0]\n:DOCKER - [0:0]\n"
				     "-A PREROUTING -m addrtype --dst-type LOCAL -j DOCKER\n"
				     "-A DOCKER -i docker0 -j RETURN\n"
				     "-A DOCKER ! -i docker0 -p tcp -m tcp --dport 443 -j DNAT --to-destination 172.17.0.2:443\n";

	(void)state;
	assert_string_equal(iptables_fate("PREROUTING", docker), "sent");
	assert_string_equal(iptables_fate("PREROUTING", "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -p tcp -m tcp --dport "
							"80 -j REDIRECT --to-ports 8080\n"),
		"accepted");
}

static void a_rule_that_drops_and_names_the_device_is_told(void **state)
{
	static const char *const texts[] = {"*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i wg0 -d 10.0.0.1 -j DROP\n",
		"*filter\n:FORWARD DROP [0:0]\n-A FORWARD -i eth0 -j DROP\n-A FORWARD -i wg0 -j ACCEPT\n"};
	const struct ruleset_packet packet = {.family = AF_INET, .in = "wg0", .out = "wg0", .state = "new"};

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		json_t *objects = read_iptables(texts[i]);
		struct ruleset_answer answer;

		answer = ruleset_ask(objects, json_object_get(json_array_get(objects, 0), "chain"), &packet);
		assert_int_equal(answer.names_device, i == 0);
		assert_int_equal(answer.fate, i == 0 ? RULESET_DROPPED : RULESET_ACCEPTED);
		json_decref(objects);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policy_decides_where_no_rule_does),
		cmocka_unit_test(conditions_are_compared_with_the_packet),
		cmocka_unit_test(another_protocol_is_not_met),
		cmocka_unit_test(what_is_not_known_is_not_claimed),
		cmocka_unit_test(jumps_come_back_and_gotos_do_not),
		cmocka_unit_test(maps_of_verdicts_are_read),
		cmocka_unit_test(a_map_of_targets_sends_what_it_has),
		cmocka_unit_test(maps_are_found_by_their_names),
		cmocka_unit_test(iptables_lines_are_read),
		cmocka_unit_test(options_of_iptables_that_are_not_known_are_not_claimed),
		cmocka_unit_test(destinations_are_compared),
		cmocka_unit_test(tables_of_iptables_are_taken_from_it),
		cmocka_unit_test(packet_is_sent_elsewhere),
		cmocka_unit_test(a_rule_that_drops_and_names_the_device_is_told),
	};

	return cmocka_run_group_tests_name("ruleset", tests, NULL, NULL);
}
