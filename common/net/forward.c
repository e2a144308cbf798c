/* Another table's FORWARD that drops (forward.h).
 *
 * A packet is forwarded when every base chain of the hook lets it through, so each one that drops what we forward gets
 * rules at its head. They accept just that and nothing else of the device: all other rules for it stay what they are.
 * iptables' own tables are changed by iptables, because Docker and ufw read them with it; all others, firewalld's for
 * example, by nft. A chain that cannot be read is a warning, never a failure: the tunnel works without forwarding.
 */
#include "common/net/forward.h"

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/net/command.h"
#include "common/net/ruleset.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORWARD_LINE_MAX 256
/* A busy host lists thousands of rules, and -w waits for the lock that another iptables may hold. */
#define FORWARD_TIMEOUT_MS 10000
#define FORWARD_DOCKER "DOCKER-USER" /* the chain that Docker leaves to the administrator, ahead of its own */

/* --- command lines --- */

struct search {
	const struct forward_setup *setup;
	bool has_iptables_nft;
	const char *legacy;    /* the program that the rule set is from; NULL: nft */
	const json_t *objects; /* of the rule set */
	struct forward_rules found;
	struct err *err;
};

/* What a rule lets through. */
struct passage {
	const char *in, *out;
	const struct prefix *lan; /* only from or to this network; NULL: any */
	bool is_from_lan;	  /* else to it */
	bool is_answer;		  /* only packets of a connection that is there */
};

static struct forward_rule *next_rule(struct search *search)
{
	return search->found.count < FORWARD_RULES_MAX ? &search->found.rules[search->found.count++] : NULL;
}

static int too_long(struct search *search)
{
	return err_set(search->err, -E2BIG, "forwarding: too many tables drop, or their names are too long");
}

static bool fits(int len)
{
	return len > 0 && len < FORWARD_COMMAND_MAX;
}

static int add_iptables_rule(
	struct search *search, const char *program, const char *chain, const struct passage *passage)
{
	struct forward_rule *rule = next_rule(search);
	char match[FORWARD_COMMAND_MAX], lan[PREFIX_TEXT_MAX] = "";
	bool all_fit;

	if (!rule)
		return too_long(search);
	if (passage->lan)
		prefix_format(lan, sizeof(lan), passage->lan);
	all_fit = fits(snprintf(match, sizeof(match), "%s -i %s -o %s%s%s%s -m comment --comment %s -j ACCEPT", chain,
		passage->in, passage->out, !passage->lan ? "" : passage->is_from_lan ? " -s " : " -d ", lan,
		passage->is_answer ? " -m conntrack --ctstate RELATED,ESTABLISHED" : "", search->setup->comment));
	all_fit &= fits(snprintf(rule->check, sizeof(rule->check), "%s -w -C %s 2>/dev/null", program, match));
	all_fit &= fits(snprintf(rule->insert, sizeof(rule->insert), "%s -w -C %s 2>/dev/null || %s -w -I %s", program,
		match, program, match));
	all_fit &= fits(snprintf(
		rule->remove, sizeof(rule->remove), "while %s -w -D %s 2>/dev/null; do :; done", program, match));
	return all_fit ? 0 : too_long(search);
}

/* "ip daddr 192.168.1.0/24"; everything has no such words in nft. */
static const char *format_lan(char buf[FORWARD_LINE_MAX], const struct passage *passage)
{
	const struct prefix *lan = passage->lan;
	bool is_ipv6 = lan && lan->addr.sa.sa_family == AF_INET6;
	char text[PREFIX_TEXT_MAX];

	if (!lan)
		return "";
	if (lan->bits == 0)
		return is_ipv6 ? " meta nfproto ipv6" : " meta nfproto ipv4";
	snprintf(buf, FORWARD_LINE_MAX, " %s %s %s", is_ipv6 ? "ip6" : "ip", passage->is_from_lan ? "saddr" : "daddr",
		prefix_format(text, sizeof(text), lan));
	return buf;
}

/* @chain: with family and table, "inet firewalld filter_FORWARD". */
static int add_nft_rule(struct search *search, const char *chain, const struct passage *passage)
{
	struct forward_rule *rule = next_rule(search);
	char text[FORWARD_COMMAND_MAX], lan[FORWARD_LINE_MAX];
	bool all_fit;

	if (!rule)
		return too_long(search);
	all_fit = fits(snprintf(text, sizeof(text), "iifname \"%s\" oifname \"%s\"%s%s accept comment \"%s\"",
		passage->in, passage->out, format_lan(lan, passage),
		passage->is_answer ? " ct state established,related" : "", search->setup->comment));
	all_fit &= fits(snprintf(
		rule->check, sizeof(rule->check), "nft list chain %s 2>/dev/null | grep -qF '%s'", chain, text));
	all_fit &= fits(snprintf(rule->insert, sizeof(rule->insert),
		"nft list chain %s | grep -qF '%s' || nft 'insert rule %s %s'", chain, text, chain, text));
	all_fit &= fits(snprintf(rule->remove, sizeof(rule->remove),
		"nft -a list chain %s 2>/dev/null | grep -F '%s # handle ' | sed 's/.*# handle //' | "
		"while read -r handle; do nft delete rule %s handle \"$handle\"; done",
		chain, text, chain));
	return all_fit ? 0 : too_long(search);
}

/* --- chains --- */

/* True if the chain jumps to DOCKER-USER. A stopped Docker leaves that chain behind, but no packet comes to it. */
static bool goes_to_docker(struct search *search, const json_t *chain, const char *name)
{
	const json_t *object, *expressions, *expression;
	size_t i, j;

	json_array_foreach (search->objects, i, object) {
		bool is_for_all = true, goes = false;

		expressions = json_object_get(ruleset_rule_in(object, chain, name), "expr");
		json_array_foreach (expressions, j, expression) {
			is_for_all &= !json_object_get(expression, "match");
			goes |= ruleset_is_word(json_object_get(expression, "jump"), "target", FORWARD_DOCKER);
		}
		if (goes && is_for_all)
			return true;
	}
	return false;
}

static int add_rule(struct search *search, const json_t *chain, const struct passage *passage)
{
	const char *family = json_string_value(json_object_get(chain, "family"));
	const char *table = json_string_value(json_object_get(chain, "table"));
	const char *name = json_string_value(json_object_get(chain, "name"));
	bool is_iptables = strcmp(family, "inet") != 0 && strcmp(table, "filter") == 0 && strcmp(name, "FORWARD") == 0;
	char full[FORWARD_LINE_MAX];

	if (is_iptables && goes_to_docker(search, chain, name))
		name = FORWARD_DOCKER;
	if (search->legacy)
		return add_iptables_rule(search, search->legacy, name, passage);
	if (is_iptables && search->has_iptables_nft)
		return add_iptables_rule(
			search, strcmp(family, "ip") == 0 ? "iptables-nft" : "ip6tables-nft", name, passage);
	if (!text_is_argument(table, "_-./") || !text_is_argument(name, "_-./") ||
		(size_t)snprintf(full, sizeof(full), "%s %s %s", family, table, name) >= sizeof(full))
		return err_set(search->err, -EINVAL,
			"forwarding: a chain of table %s drops, and its name fits no command", family);
	return add_nft_rule(search, full, passage);
}

/* A chain of iptables' is of one family, one of an inet table of both. */
static bool has_family(const json_t *chain, int family)
{
	return ruleset_is_word(chain, "family", "inet") ||
	       ruleset_is_word(chain, "family", family == AF_INET6 ? "ip6" : "ip");
}

static bool drops(const struct search *search, const json_t *chain, int family, const struct passage *passage,
	bool *ret_names_device)
{
	const struct ruleset_packet packet = {.family = family,
		.in = passage->in,
		.out = passage->out,
		.state = passage->is_answer ? "established" : "new"};
	struct ruleset_answer answer = ruleset_ask(search->objects, chain, &packet);

	*ret_names_device |= answer.names_device;
	return has_family(chain, family) && answer.fate == RULESET_DROPPED;
}

/* A chain that names the device where it drops keeps peers apart on purpose, and nobody has asked us for more. */
static int open_among_peers(struct search *search, const json_t *chain)
{
	const struct passage passage = {.in = search->setup->device, .out = search->setup->device};
	bool names_device = false;
	bool drops4 = drops(search, chain, AF_INET, &passage, &names_device);
	bool drops6 = drops(search, chain, AF_INET6, &passage, &names_device);

	if (!search->setup->among_peers || !(drops4 || drops6) || names_device)
		return 0;
	return add_rule(search, chain, &passage);
}

static int open_passage(struct search *search, const json_t *chain, int family, const struct passage *passage)
{
	bool names_device = false; /* [Gateway] asks for it */

	return drops(search, chain, family, passage, &names_device) ? add_rule(search, chain, passage) : 0;
}

/* As our own table has it (firewall.c): into the LAN, from the hosts of the LAN, and answers. */
static int open_gateway(struct search *search, const json_t *chain, const struct firewall_gateway *gateway)
{
	const char *device = search->setup->device;
	struct passage answers = {.in = gateway->device, .out = device, .is_answer = true};
	int rc = 0, answers_family = 0;

	for (size_t i = 0; i < gateway->lan_count && rc == 0; i++) {
		const struct prefix *lan = &gateway->lans[i];
		const struct passage to = {.in = device, .out = gateway->device, .lan = lan};
		const struct passage from = {.in = gateway->device, .out = device, .lan = lan, .is_from_lan = true};
		int family = lan->addr.sa.sa_family;

		if (!has_family(chain, family))
			continue;
		answers_family = family;
		rc = open_passage(search, chain, family, &to);
		if (rc == 0 && lan->bits > 0)
			rc = open_passage(search, chain, family, &from);
	}
	return rc == 0 && answers_family != 0 ? open_passage(search, chain, answers_family, &answers) : rc;
}

static int scan_chain(struct search *search, const json_t *chain)
{
	int rc;

	if (!ruleset_is_word(chain, "hook", "forward") || !json_is_string(json_object_get(chain, "table")) ||
		!json_is_string(json_object_get(chain, "name")) ||
		ruleset_is_word(chain, "table", search->setup->comment) || /* our own table */
		(!has_family(chain, AF_INET) && !has_family(chain, AF_INET6)))
		return 0;
	rc = open_among_peers(search, chain);
	for (size_t i = 0; i < search->setup->gateway_count && rc == 0; i++)
		rc = open_gateway(search, chain, &search->setup->gateways[i]);
	return rc;
}

static int scan_chains(struct search *search, const json_t *objects)
{
	const json_t *object;
	int rc = 0;
	size_t i;

	search->objects = objects;
	json_array_foreach (objects, i, object) {
		rc = scan_chain(search, json_object_get(object, "chain"));
		if (rc < 0)
			break;
	}
	return rc;
}

static int scan_nftables(struct search *search, const char *text)
{
	json_error_t error;
	json_t *root;
	int rc;

	if (text[0] == '\0')
		return 0;
	root = json_loads(text, 0, &error);
	if (!root)
		return err_set(search->err, -EINVAL, "nft -j list ruleset: line %d: %s", error.line, error.text);
	rc = scan_chains(search, json_object_get(root, "nftables"));
	json_decref(root);
	return rc;
}

/* @text: the output of iptables-legacy -S. */
static int scan_legacy(struct search *search, const char *program, const char *family, const char *text)
{
	json_t *objects = json_array();
	int rc;

	search->legacy = program;
	ruleset_add_iptables(objects, family, text);
	rc = scan_chains(search, objects);
	json_decref(objects);
	return rc;
}

/* iptables takes "a+" for every name that begins with a. */
static bool is_device_name(const char *device)
{
	return text_is_argument(device, "_=+.@-") && device[strlen(device) - 1] != '+';
}

int forward_find(const struct forward_facts *facts, const struct forward_setup *setup, struct forward_rules *ret,
	struct err *err)
{
	struct search search = {.setup = setup, .has_iptables_nft = facts->has_iptables_nft, .err = err};
	const char *device = is_device_name(setup->device) ? NULL : setup->device;
	int rc;

	if (!text_is_argument(setup->comment, "_=+.@-/"))
		device = setup->device;
	for (size_t i = 0; i < setup->gateway_count && !device; i++)
		device = is_device_name(setup->gateways[i].device) ? NULL : setup->gateways[i].device;
	if (device)
		return err_set(err, -EINVAL, "forwarding: '%s': iptables can have no rule for this device", device);
	rc = scan_nftables(&search, facts->nft_json);
	if (rc == 0)
		rc = scan_legacy(&search, "iptables-legacy", "ip", facts->legacy4);
	if (rc == 0)
		rc = scan_legacy(&search, "ip6tables-legacy", "ip6", facts->legacy6);
	if (rc == 0)
		*ret = search.found;
	return rc;
}

/* --- the scan, beside the loop --- */

enum { FORWARD_QUESTION_COUNT = 3 };

struct forward_scan {
	uv_timer_t begin; /* so that on_found() is never called from inside forward_scan_start() */
	struct command *command;
	size_t question;
	char *answers[FORWARD_QUESTION_COUNT];
	struct forward_setup setup;
	void (*on_found)(void *owner, const struct forward_rules *rules);
	void *owner;
};

/* iptables-legacy makes its table when it is asked for it, so it is asked only where the table is in use already. */
static const struct forward_question {
	const char *argv[6]; /* -t: terse, without the elements of sets, which may be a list of a million addresses */
	const char *tables;  /* the kernel's list of those in use */
} forward_questions[FORWARD_QUESTION_COUNT] = {
	{{"nft", "-j", "-t", "list", "ruleset", NULL}, NULL},
	{{"iptables-legacy", "-w", "-S", NULL}, "/proc/net/ip_tables_names"},
	{{"ip6tables-legacy", "-w", "-S", NULL}, "/proc/net/ip6_tables_names"},
};

static bool is_filter_in_use(const char *tables)
{
	char name[64];
	bool found = false;
	FILE *file = fopen(tables, "re");

	if (!file)
		return false;
	while (!found && fgets(name, sizeof(name), file))
		found = strcmp(name, "filter\n") == 0;
	fclose(file);
	return found;
}

static void on_scan_closed(uv_handle_t *handle)
{
	struct forward_scan *scan = handle->data;

	for (size_t i = 0; i < FORWARD_QUESTION_COUNT; i++)
		free(scan->answers[i]);
	free(scan);
}

void forward_scan_close(struct forward_scan *scan)
{
	if (!scan || uv_is_closing((uv_handle_t *)&scan->begin))
		return;
	command_close(scan->command);
	scan->command = NULL;
	uv_close((uv_handle_t *)&scan->begin, on_scan_closed);
}

static const char *answer_of(const struct forward_scan *scan, size_t question)
{
	return scan->answers[question] ? scan->answers[question] : "";
}

static void finish_scan(struct forward_scan *scan)
{
	struct forward_facts facts = {.nft_json = answer_of(scan, 0),
		.legacy4 = answer_of(scan, 1),
		.legacy6 = answer_of(scan, 2),
		.has_iptables_nft = command_exists("iptables-nft") && command_exists("ip6tables-nft")};
	struct forward_rules rules = {.count = 0};
	struct err err = {""};

	if (forward_find(&facts, &scan->setup, &rules, &err) < 0)
		log_warning("firewall", "%s; another table may drop what is forwarded", err.text);
	forward_scan_close(scan); /* the memory stays until on_scan_closed() */
	scan->on_found(scan->owner, &rules);
}

static void ask_next(struct forward_scan *scan);

static void on_question_answered(void *owner, int status, const char *output)
{
	struct forward_scan *scan = owner;
	char reason[COMMAND_WHY_MAX];

	scan->command = NULL;
	if (status == 0)
		scan->answers[scan->question] = strdup(output);
	else
		log_warning("firewall", "%s: %s; another table may drop what is forwarded",
			forward_questions[scan->question].argv[0], command_why(reason, sizeof(reason), status, output));
	scan->question++;
	ask_next(scan);
}

/* Ask the next question that applies to this host. A program that is missing is skipped. */
static void ask_next(struct forward_scan *scan)
{
	struct command_setup setup = {.timeout_ms = FORWARD_TIMEOUT_MS, .on_exit = on_question_answered, .owner = scan};

	for (; scan->question < FORWARD_QUESTION_COUNT; scan->question++) {
		const struct forward_question *question = &forward_questions[scan->question];

		setup.argv = question->argv;
		if ((!question->tables || is_filter_in_use(question->tables)) &&
			command_start(&scan->command, scan->begin.loop, &setup, NULL) == 0)
			return;
	}
	finish_scan(scan);
}

static void on_scan_begin(uv_timer_t *timer)
{
	ask_next(timer->data);
}

int forward_scan_start(struct forward_scan **ret, uv_loop_t *loop, const struct forward_setup *setup,
	void (*on_found)(void *owner, const struct forward_rules *rules), void *owner, struct err *err)
{
	struct forward_scan *scan = calloc(1, sizeof(*scan));

	if (!scan)
		return err_system(err, -ENOMEM, "forwarding");
	scan->setup = *setup;
	scan->on_found = on_found;
	scan->owner = owner;
	scan->begin.data = scan;
	uv_timer_init(loop, &scan->begin);
	uv_timer_start(&scan->begin, on_scan_begin, 0, 0);
	*ret = scan;
	return 0;
}
