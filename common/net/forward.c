/* Another table's FORWARD that drops (forward.h).
 *
 * A packet is forwarded when every base chain of the hook lets it through, so each one that can drop ours gets a pair
 * of rules at its head. A chain can drop ours by its policy, or by a rule for every packet, also one in a chain that
 * every packet goes to. iptables' own tables are changed by iptables, because Docker and ufw read them with it; all
 * others, firewalld's for example, by nft. What cannot be found out is a warning, never a failure: the tunnel works
 * without forwarding.
 *
 * `nft -j list ruleset` is one flat list, {"nftables": [{"table":{…}}, {"chain":{…}}, {"rule":{…}}, …]}. A rule names
 * its family, table and chain, and the rules of a chain stand in the order in which packets meet them. So following a
 * jump means going through the list again, which is cheap for the few chains of the hook forward.
 */
#include "common/net/forward.h"

#include "common/base/log.h"
#include "common/base/text.h"
#include "common/net/command.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORWARD_DEPTH_MAX 16 /* the kernel's own limit of jumps */
#define FORWARD_LINE_MAX 256
/* A busy host lists thousands of rules, and -w waits for the lock that another iptables may hold. */
#define FORWARD_TIMEOUT_MS 10000
#define FORWARD_DOCKER "DOCKER-USER" /* the chain that Docker leaves to the administrator, ahead of its own */

/* --- command lines --- */

struct search {
	const char *device, *comment;
	bool has_iptables_nft;
	json_t *objects; /* of the rule set */
	struct forward_rules found;
	struct err *err;
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

/* @side: "-i" or "-o". The program finds a rule by its words (-C, -D), so the same words are used three times. */
static int add_iptables_rule(struct search *search, const char *program, const char *chain, const char *side)
{
	struct forward_rule *rule = next_rule(search);
	char match[FORWARD_LINE_MAX];
	bool all_fit;

	if (!rule)
		return too_long(search);
	snprintf(match, sizeof(match), "%s %s %s -m comment --comment %s -j ACCEPT", chain, side, search->device,
		search->comment);
	all_fit = fits(snprintf(rule->check, sizeof(rule->check), "%s -w -C %s 2>/dev/null", program, match));
	all_fit &= fits(snprintf(rule->insert, sizeof(rule->insert), "%s -w -C %s 2>/dev/null || %s -w -I %s", program,
		match, program, match));
	all_fit &= fits(snprintf(
		rule->remove, sizeof(rule->remove), "while %s -w -D %s 2>/dev/null; do :; done", program, match));
	return all_fit ? 0 : too_long(search);
}

static int add_iptables_rules(struct search *search, const char *program, const char *chain)
{
	int rc = add_iptables_rule(search, program, chain, "-i");

	return rc < 0 ? rc : add_iptables_rule(search, program, chain, "-o");
}

/* @chain: with family and table, "inet firewalld filter_FORWARD". @side: "iifname" or "oifname". nft deletes a rule by
 * its handle only. So the rule is found by its text as nft prints it, which is why @text has nft's quotes and order. */
static int add_nft_rule(struct search *search, const char *chain, const char *side)
{
	struct forward_rule *rule = next_rule(search);
	char text[FORWARD_LINE_MAX];
	bool all_fit;

	if (!rule)
		return too_long(search);
	snprintf(text, sizeof(text), "%s \"%s\" accept comment \"%s\"", side, search->device, search->comment);
	all_fit = fits(snprintf(
		rule->check, sizeof(rule->check), "nft list chain %s 2>/dev/null | grep -qF '%s'", chain, text));
	all_fit &= fits(snprintf(rule->insert, sizeof(rule->insert),
		"nft list chain %s | grep -qF '%s' || nft 'insert rule %s %s'", chain, text, chain, text));
	all_fit &= fits(snprintf(rule->remove, sizeof(rule->remove),
		"nft -a list chain %s 2>/dev/null | grep -F '%s # handle ' | sed 's/.*# handle //' | "
		"while read -r handle; do nft delete rule %s handle \"$handle\"; done",
		chain, text, chain));
	return all_fit ? 0 : too_long(search);
}

/* --- nftables --- */

static bool is_word(json_t *object, const char *key, const char *word)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value && strcmp(value, word) == 0;
}

static bool is_same(json_t *a, json_t *b, const char *key)
{
	const char *value = json_string_value(json_object_get(b, key));

	return value && is_word(a, key, value);
}

/* {"xt": {"type": "target", "name": "REJECT"}}: what nft has no words for. */
static bool is_xt(json_t *expression, const char *type, const char *name)
{
	json_t *xt = json_object_get(expression, "xt");

	return is_word(xt, "type", type) && is_word(xt, "name", name);
}

/* The verdict of a rule that is for every packet. A rule for some packets has the condition as an expression of its
 * own. Return: NULL where there is a condition, or no verdict. */
static json_t *verdict_for_all(json_t *rule)
{
	json_t *expressions = json_object_get(rule, "expr"), *expression, *verdict = NULL;
	size_t i;

	json_array_foreach (expressions, i, expression) {
		/* These neither choose packets nor decide about them. */
		if (json_object_get(expression, "counter") || json_object_get(expression, "log") ||
			is_xt(expression, "match", "comment") || is_xt(expression, "target", "LOG"))
			continue;
		if (verdict)
			return NULL;
		verdict = expression;
	}
	return verdict;
}

static bool chain_drops(struct search *search, json_t *chain, const char *name, unsigned depth);

enum fate { FATE_OPEN, FATE_PASSES, FATE_DROPPED };

/* The fate of every packet at this rule. A jump comes back unless the chain it leads to drops; a goto does not. */
static enum fate fate_at(struct search *search, json_t *chain, json_t *rule, unsigned depth)
{
	json_t *verdict = verdict_for_all(rule), *jump, *go;

	if (!verdict)
		return FATE_OPEN;
	if (json_object_get(verdict, "drop") || json_object_get(verdict, "reject") ||
		is_xt(verdict, "target", "REJECT"))
		return FATE_DROPPED;
	if (json_object_get(verdict, "accept") || json_object_get(verdict, "return"))
		return FATE_PASSES;
	jump = json_object_get(verdict, "jump");
	go = json_object_get(verdict, "goto");
	if ((jump || go) &&
		chain_drops(search, chain, json_string_value(json_object_get(jump ? jump : go, "target")), depth + 1))
		return FATE_DROPPED;
	return go ? FATE_PASSES : FATE_OPEN;
}

/* Is @object a rule of the chain @name in @chain's table? */
static json_t *rule_in(json_t *object, json_t *chain, const char *name)
{
	json_t *rule = json_object_get(object, "rule");

	return is_same(rule, chain, "family") && is_same(rule, chain, "table") && is_word(rule, "chain", name) ? rule
													       : NULL;
}

/* Rule after rule until one decides about every packet. @name: a chain in the table of @chain. */
static bool chain_drops(struct search *search, json_t *chain, const char *name, unsigned depth)
{
	json_t *object, *rule;
	enum fate fate;
	size_t i;

	if (!name || depth > FORWARD_DEPTH_MAX)
		return false;
	json_array_foreach (search->objects, i, object) {
		rule = rule_in(object, chain, name);
		fate = rule ? fate_at(search, chain, rule, depth) : FATE_OPEN;
		if (fate != FATE_OPEN)
			return fate == FATE_DROPPED;
	}
	return false;
}

/* True if the chain jumps to DOCKER-USER. A stopped Docker leaves that chain behind, but no packet comes to it. */
static bool goes_to_docker(struct search *search, json_t *chain, const char *name)
{
	json_t *object, *verdict;
	size_t i;

	json_array_foreach (search->objects, i, object) {
		verdict = verdict_for_all(rule_in(object, chain, name));
		if (is_word(json_object_get(verdict, "jump"), "target", FORWARD_DOCKER))
			return true;
	}
	return false;
}

static int add_chain(struct search *search, json_t *chain, const char *family, const char *table, const char *name)
{
	bool is_iptables = strcmp(family, "inet") != 0 && strcmp(table, "filter") == 0 && strcmp(name, "FORWARD") == 0;
	char full[FORWARD_LINE_MAX];
	int rc;

	if (is_iptables && goes_to_docker(search, chain, name))
		name = FORWARD_DOCKER;
	if (is_iptables && search->has_iptables_nft)
		return add_iptables_rules(search, strcmp(family, "ip") == 0 ? "iptables-nft" : "ip6tables-nft", name);
	if (!text_is_argument(table, "_-./") || !text_is_argument(name, "_-./") ||
		(size_t)snprintf(full, sizeof(full), "%s %s %s", family, table, name) >= sizeof(full))
		return err_set(search->err, -EINVAL,
			"forwarding: a chain of table %s drops, and its name fits no command", family);
	rc = add_nft_rule(search, full, "iifname");
	return rc < 0 ? rc : add_nft_rule(search, full, "oifname");
}

static int scan_chain(struct search *search, json_t *chain)
{
	const char *family = json_string_value(json_object_get(chain, "family"));
	const char *table = json_string_value(json_object_get(chain, "table"));
	const char *name = json_string_value(json_object_get(chain, "name"));

	if (!family || !table || !name || !is_word(chain, "hook", "forward"))
		return 0;
	if (strcmp(family, "ip") != 0 && strcmp(family, "ip6") != 0 && strcmp(family, "inet") != 0)
		return 0;
	if (!is_word(chain, "policy", "drop") && !chain_drops(search, chain, name, 0))
		return 0;
	return add_chain(search, chain, family, table, name);
}

static int scan_nftables(struct search *search, const char *text)
{
	json_error_t error;
	json_t *root, *object;
	int rc = 0;
	size_t i;

	if (text[0] == '\0')
		return 0;
	root = json_loads(text, 0, &error);
	if (!root)
		return err_set(search->err, -EINVAL, "nft -j list ruleset: line %d: %s", error.line, error.text);
	search->objects = json_object_get(root, "nftables");
	json_array_foreach (search->objects, i, object) {
		rc = scan_chain(search, json_object_get(object, "chain"));
		if (rc < 0)
			break;
	}
	json_decref(root);
	return rc;
}

/* --- legacy iptables --- */

static bool has_line(const char *text, const char *head)
{
	size_t len = strlen(head);

	for (const char *at = text; (at = strstr(at, head)); at++)
		if ((at == text || at[-1] == '\n') && strchr(" \n", at[len]))
			return true;
	return false;
}

/* @text: the output of iptables-legacy -S, "-P CHAIN POLICY" and "-A CHAIN RULE" lines. A rule without a
 * condition drops all. Jumps need not be followed: Docker and ufw set the policy as well. */
static int scan_legacy(struct search *search, const char *program, const char *text)
{
	if (!has_line(text, "-P FORWARD DROP") && !has_line(text, "-A FORWARD -j DROP") &&
		!has_line(text, "-A FORWARD -j REJECT"))
		return 0;
	return add_iptables_rules(
		search, program, has_line(text, "-A FORWARD -j " FORWARD_DOCKER) ? FORWARD_DOCKER : "FORWARD");
}

int forward_find(const struct forward_facts *facts, const char *device, const char *comment, struct forward_rules *ret,
	struct err *err)
{
	struct search search = {
		.device = device, .comment = comment, .has_iptables_nft = facts->has_iptables_nft, .err = err};
	int rc;

	/* iptables takes "a+" for every name that begins with a. */
	if (!text_is_argument(device, "_=+.@-") || !text_is_argument(comment, "_=+.@-/") ||
		device[strlen(device) - 1] == '+')
		return err_set(err, -EINVAL, "forwarding: '%s': iptables can have no rule for this device", device);
	rc = scan_nftables(&search, facts->nft_json);
	if (rc == 0)
		rc = scan_legacy(&search, "iptables-legacy", facts->legacy4);
	if (rc == 0)
		rc = scan_legacy(&search, "ip6tables-legacy", facts->legacy6);
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
	char *device, *comment;
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
	free(scan->device);
	free(scan->comment);
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

	if (forward_find(&facts, scan->device, scan->comment, &rules, &err) < 0)
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

int forward_scan_start(struct forward_scan **ret, uv_loop_t *loop, const char *device, const char *comment,
	void (*on_found)(void *owner, const struct forward_rules *rules), void *owner, struct err *err)
{
	struct forward_scan *scan = calloc(1, sizeof(*scan));

	if (!scan)
		return err_system(err, -ENOMEM, "forwarding");
	scan->device = strdup(device);
	scan->comment = strdup(comment);
	scan->on_found = on_found;
	scan->owner = owner;
	scan->begin.data = scan;
	uv_timer_init(loop, &scan->begin);
	if (!scan->device || !scan->comment) {
		forward_scan_close(scan);
		return err_system(err, -ENOMEM, "forwarding");
	}
	uv_timer_start(&scan->begin, on_scan_begin, 0, 0);
	*ret = scan;
	return 0;
}
