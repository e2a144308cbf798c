/* Finds the rule that keeps packets from a port (reach.h).
 *
 * Theory of operation. A new connection to our port is described as one packet: family, protocol, port, device, and the
 * address where that is known. Each base chain on its way is asked about it (ruleset_ask()), first those of the hook
 * prerouting, where a DNAT would send it elsewhere, then those of input, where it would be dropped. Priorities do not
 * matter: a packet that one chain accepts is still asked about by the next, so one chain that drops it is enough.
 *
 *    prerouting   RULESET_SENT      "sends …"    Docker's published port, a DNAT by hand
 *    input        RULESET_DROPPED   "drops …"    a policy, or a rule
 *
 * A chain may depend on things that we do not know, such as a set, a mark or a limit. Its answer is not sure then, and
 * the chain is passed over: a warning that is wrong costs more trust than one that is missing.
 *
 * The remedy is a command of the program that keeps the chain. ufw and firewalld are known by the names of their chains
 * and tables, because a rule put beside theirs would be gone with their next start. Docker is known by its chain of
 * that name. Otherwise it is a command of iptables or nft, and of the right one of iptables' four programs.
 */
#include "common/net/reach.h"

#include <linux/netfilter_ipv4.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PLACE_MAX 128
#define REMEDY_MAX 256

struct finding {
	const json_t *objects, *chain;
	const struct reach_port *port;
	struct ruleset_answer answer;
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* True if a rule of this chain leads to one of ufw's ("ufw-before-input" and others). */
static bool is_ufws(const struct finding *finding)
{
	const json_t *object, *expression;
	size_t i, j;

	json_array_foreach (finding->objects, i, object) {
		const json_t *rule = ruleset_rule_in(object, finding->chain, text_of(finding->chain, "name"));

		json_array_foreach (json_object_get(rule, "expr"), j, expression)
			if (strncmp(text_of(json_object_get(expression, "jump"), "target"), "ufw", 3) == 0)
				return true;
	}
	return false;
}

/* "ip6tables-legacy -t nat": the program that lists this chain, with the table where that is not the usual one. */
static void format_program(const struct finding *finding, char *buf, size_t size)
{
	const char *program = text_of(finding->chain, "program"), *table = text_of(finding->chain, "table");
	bool is_ipv6 = strncmp(program, "ip6", 3) == 0, is_legacy = strstr(program, "-legacy") != NULL;

	snprintf(buf, size, "%s%s%s%s", is_ipv6 ? "ip6tables" : "iptables", is_legacy ? "-legacy" : "",
		strcmp(table, "filter") == 0 ? "" : " -t ", strcmp(table, "filter") == 0 ? "" : table);
}

/* The command that opens the port. */
static void format_opening(const struct finding *finding, char ret[REMEDY_MAX])
{
	const struct reach_port *port = finding->port;
	const char *name = text_of(finding->chain, "name"), *table = text_of(finding->chain, "table");
	const char *family = text_of(finding->chain, "family"), *protocol = port->protocol, *device = port->device;
	bool is_iptables = *text_of(finding->chain, "program"), is_ufw = is_iptables && is_ufws(finding);
	bool is_firewalld = strcmp(table, "firewalld") == 0;
	char program[64], match[64] = "";

	if (port->is_on_device)
		snprintf(match, sizeof(match), is_iptables ? "-i %s " : "iifname %s ", device);
	format_program(finding, program, sizeof(program));
	if (is_ufw && port->is_on_device)
		snprintf(ret, REMEDY_MAX, "ufw allow in on %s to any port %u proto %s", device, port->port, protocol);
	else if (is_ufw)
		snprintf(ret, REMEDY_MAX, "ufw allow %u/%s", port->port, protocol);
	else if (is_iptables)
		snprintf(ret, REMEDY_MAX, "%s -I %s %s-p %s --dport %u -j ACCEPT", program, name, match, protocol,
			port->port);
	else if (is_firewalld && port->is_on_device)
		snprintf(ret, REMEDY_MAX,
			"firewall-cmd --permanent --zone=trusted --add-interface=%s && firewall-cmd --reload", device);
	else if (is_firewalld)
		snprintf(ret, REMEDY_MAX, "firewall-cmd --permanent --add-port=%u/%s && firewall-cmd --reload", port->port,
			protocol);
	else
		snprintf(ret, REMEDY_MAX, "nft insert rule %s %s %s %s%s dport %u accept", family, table, name, match,
			protocol, port->port);
}

/* @place: of the chain. The rule is quoted where a program has printed it as a line; without a rule it is the policy. */
static void tell_dropped(const struct finding *finding, const char *place, char ret[REACH_TEXT_MAX])
{
	const struct reach_port *port = finding->port;
	const char *rule = text_of(finding->answer.rule, "text"), *before = "", *behind = "";
	char remedy[REMEDY_MAX];

	if (!finding->answer.rule) {
		before = " (policy)";
	} else if (*rule) {
		before = " (`";
		behind = "`)";
	}
	format_opening(finding, remedy);
	snprintf(ret, REACH_TEXT_MAX, "%s drops %s port %u on device %s%s%.120s%s; `%s` helps", place, port->protocol,
		port->port, port->device, before, rule, behind, remedy);
}

/* A rule of iptables' is deleted by its own line; of nft's the number is needed, which a listing shows. */
static void tell_sent(const struct finding *finding, const char *place, char ret[REACH_TEXT_MAX])
{
	const struct reach_port *port = finding->port;
	const char *rule = text_of(finding->answer.rule, "text"), *chain = text_of(finding->answer.rule, "chain");
	char program[64], remedy[REMEDY_MAX];

	format_program(finding, program, sizeof(program));
	if (strcmp(chain, "DOCKER") == 0)
		snprintf(remedy, sizeof(remedy),
			"to a container of Docker's, which `docker ps` names; another port there helps, or %s",
			port->other);
	else if (strncmp(rule, "-A ", 3) == 0)
		snprintf(remedy, sizeof(remedy), "which `%s -D %.120s` ends; %s helps, too", program, rule + 3,
			port->other);
	else
		snprintf(remedy, sizeof(remedy),
			"see `nft -a list chain %s %s %.40s`; `nft delete rule …` helps, or %s",
			text_of(finding->chain, "family"), text_of(finding->chain, "table"), chain, port->other);
	snprintf(ret, REACH_TEXT_MAX, "%s sends %s port %u on device %s elsewhere, %s", place, port->protocol, port->port,
		port->device, remedy);
}

/* True if packets of @family pass @chain: of that family, or of the table of both. */
static bool is_of_family(const json_t *chain, int family)
{
	return ruleset_is_word(chain, "family", "inet") ||
	       ruleset_is_word(chain, "family", family == AF_INET6 ? "ip6" : "ip");
}

/* Return: true if this chain surely keeps the packets from the port. */
static bool ask_chain(struct finding *finding)
{
	const struct reach_port *port = finding->port;
	const struct ruleset_packet packet = {.family = port->family,
		.in = port->device,
		.protocol = port->protocol,
		.port = port->port,
		.state = "new",
		.to = port->to,
		.is_local = true};

	finding->answer = ruleset_ask(finding->objects, finding->chain, &packet);
	return finding->answer.is_sure &&
	       (finding->answer.fate == RULESET_SENT || (finding->answer.fate == RULESET_DROPPED && !port->own_table));
}

/* A chain of iptables' says neither type nor priority: its table nat is at the usual one. */
static bool is_ours_to_ask(const struct finding *finding)
{
	const json_t *chain = finding->chain;

	if (!finding->port->own_table)
		return true;
	if (*text_of(chain, "program"))
		return ruleset_is_word(chain, "table", "nat");
	return ruleset_is_word(chain, "type", "nat") && !ruleset_is_word(chain, "table", finding->port->own_table) &&
	       json_integer_value(json_object_get(chain, "prio")) <= NF_IP_PRI_NAT_DST;
}

bool reach_find(const json_t *objects, const struct reach_port *port, char ret[REACH_TEXT_MAX])
{
	static const char *const hooks[] = {"prerouting", "input"};
	struct finding finding = {.objects = objects, .port = port};
	char place[PLACE_MAX];
	const json_t *object;
	size_t i;

	for (size_t hook = 0; hook < (port->own_table ? 1u : 2u); hook++)
		json_array_foreach (objects, i, object) {
			finding.chain = json_object_get(object, "chain");
			if (!ruleset_is_word(finding.chain, "hook", hooks[hook]) ||
				!is_of_family(finding.chain, port->family) || !is_ours_to_ask(&finding) ||
				!ask_chain(&finding))
				continue;
			snprintf(place, sizeof(place), "chain %.40s of table %.8s %.40s",
				text_of(finding.chain, "name"), text_of(finding.chain, "family"),
				text_of(finding.chain, "table"));
			if (finding.answer.fate == RULESET_SENT)
				tell_sent(&finding, place, ret);
			else
				tell_dropped(&finding, place, ret);
			return true;
		}
	return false;
}
