/* The fate of a packet (ruleset.h).
 *
 *     ruleset_ask()    a base chain: its rules, or else its policy
 *     walk_chain()     rule after rule, and into chains by jump and goto, until one decides
 *     meets_rule()     the conditions of a rule: NO, MAYBE or YES
 *     meets_match()    one condition: what is asked of the packet, and the value it is compared with
 *
 * After a rule that is only MAYBE met the walk goes on as if it was not, and keeps what it would have decided. A
 * decision that differs from one of these is not sure. Whatever is not understood counts as MAYBE, so it cannot lead to
 * a claim that is wrong.
 *
 * `nft -j list ruleset` is one flat list, {"nftables": [{"table":{…}}, {"chain":{…}}, {"rule":{…}}, …]}. A rule names
 * its family, table and chain, and the rules of a chain stand in the order in which packets meet them. So following a
 * jump means going through the list again, which is cheap for the few chains of one hook.
 */
#include "common/net/ruleset.h"

#include "common/base/prefix.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define DEPTH_MAX 16 /* the kernel's own limit of jumps */
#define LINE_TEXT_MAX 256
#define IPTABLES_TABLE_MAX 32 /* XT_TABLE_MAXNAMELEN */

enum meets { NO, MAYBE, YES };

/* Beside the fates: back to the chain that it came from. */
#define RETURNED 4u

struct walk {
	const json_t *objects, *chain; /* @chain: the base chain, for its table */
	const struct ruleset_packet *packet;
	unsigned maybe; /* bits of the fates that rules before may have had */
	struct ruleset_answer answer;
};

bool ruleset_is_word(const json_t *object, const char *key, const char *word)
{
	const char *value = json_string_value(json_object_get(object, key));

	return value && strcmp(value, word) == 0;
}

/* Also where neither has it, as with "program". */
static bool is_same(const json_t *a, const json_t *b, const char *key)
{
	const char *value = json_string_value(json_object_get(b, key));

	return value ? ruleset_is_word(a, key, value) : !json_object_get(a, key);
}

const json_t *ruleset_rule_in(const json_t *object, const json_t *chain, const char *name)
{
	const json_t *rule = json_object_get(object, "rule");

	bool is_in = ruleset_is_word(rule, "chain", name) && is_same(rule, chain, "family") &&
		     is_same(rule, chain, "table") && is_same(rule, chain, "program");

	return is_in ? rule : NULL;
}

/* --- one condition --- */

/* "wg*" is for every name that begins with wg. */
static enum meets compare_text(const char *value, const char *text)
{
	size_t len = strlen(text);

	if (text[0] == '@') /* a set by its name */
		return MAYBE;
	if (len > 0 && text[len - 1] == '*')
		return strncmp(value, text, len - 1) == 0 ? YES : NO;
	return strcmp(value, text) == 0 ? YES : NO;
}

/* @text: what the packet has as text, and @number as number; NULL and 0: unknown. @right: a text, a number, a range, or
 * a list or set of these. */
static enum meets compare(const char *text, unsigned number, const json_t *right)
{
	const json_t *list = json_is_array(right) ? right : json_object_get(right, "set");
	const json_t *range = json_object_get(right, "range"), *item;
	enum meets best = NO;
	size_t i;

	if (list) {
		json_array_foreach (list, i, item) {
			enum meets meets = compare(text, number, item);

			best = meets > best ? meets : best;
		}
		return best;
	}
	if (text && json_is_string(right))
		return compare_text(text, json_string_value(right));
	if (number > 0 && json_is_integer(right))
		return json_integer_value(right) == number ? YES : NO;
	if (number > 0 && json_is_array(range))
		return number >= json_integer_value(json_array_get(range, 0)) &&
				       number <= json_integer_value(json_array_get(range, 1))
			       ? YES
			       : NO;
	return MAYBE;
}

/* A device may be asked for by its index (iif), which nft prints as its name. */
static enum meets meets_meta(const struct ruleset_packet *packet, const char *key, const json_t *right)
{
	bool is_ipv6 = packet->family == AF_INET6;

	if (strcmp(key, "iifname") == 0 || strcmp(key, "iif") == 0)
		return compare(packet->in, 0, right);
	if (strcmp(key, "oifname") == 0 || strcmp(key, "oif") == 0)
		return compare(packet->out, 0, right);
	if (strcmp(key, "l4proto") == 0)
		return compare(packet->protocol, 0, right);
	if (strcmp(key, "nfproto") == 0)
		return compare(is_ipv6 ? "ipv6" : "ipv4", 0, right);
	if (strcmp(key, "protocol") == 0)
		return compare(is_ipv6 ? "ip6" : "ip", 0, right);
	return MAYBE;
}

/* "192.168.1.1", "192.168.1.0/24", or {"prefix": {"addr": "192.168.1.0", "len": 24}} */
static enum meets compare_address(const struct addr *addr, const json_t *right)
{
	const json_t *prefix = json_object_get(right, "prefix");
	const char *text = json_string_value(prefix ? json_object_get(prefix, "addr") : right);
	struct prefix own = {.bits = 128}, other;

	if (!addr || !text || prefix_parse(text, &other) < 0 || other.addr.sa.sa_family != addr->sa.sa_family)
		return MAYBE;
	own.addr = *addr;
	own.bits = addr->sa.sa_family == AF_INET6 ? 128 : 32;
	if (prefix)
		other.bits = (uint8_t)json_integer_value(json_object_get(prefix, "len"));
	return prefix_contains(&other, &own) ? YES : NO;
}

/* A field of a header that the packet does not have is never equal, and never different either. */
static enum meets meets_payload(
	const struct ruleset_packet *packet, const json_t *payload, const json_t *right, bool *ret_has_header)
{
	const char *header = json_string_value(json_object_get(payload, "protocol"));
	bool is_ipv6 = packet->family == AF_INET6;

	if (!header)
		return MAYBE;
	if (strcmp(header, "ip") == 0 || strcmp(header, "ip6") == 0) {
		*ret_has_header = (strcmp(header, "ip6") == 0) == is_ipv6;
		if (ruleset_is_word(payload, "field", "protocol") || ruleset_is_word(payload, "field", "nexthdr"))
			return compare(packet->protocol, 0, right);
		return ruleset_is_word(payload, "field", "daddr") ? compare_address(packet->to, right) : MAYBE;
	}
	*ret_has_header = !packet->protocol || strcmp(header, "th") == 0 || strcmp(header, packet->protocol) == 0;
	return ruleset_is_word(payload, "field", "dport") ? compare(NULL, packet->port, right) : MAYBE;
}

/* @left: what is asked of the packet. @op: "!=", "<" and its like, which are not judged, or any other for equality. */
static enum meets meets_value(
	const struct ruleset_packet *packet, const json_t *left, const json_t *right, const char *op)
{
	const char *key = json_string_value(json_object_get(json_object_get(left, "meta"), "key"));
	const json_t *payload = json_object_get(left, "payload"), *fib = json_object_get(left, "fib");
	enum meets meets = MAYBE;
	bool has_header = true;

	if (key)
		meets = meets_meta(packet, key, right);
	else if (payload)
		meets = meets_payload(packet, payload, right, &has_header);
	else if (ruleset_is_word(json_object_get(left, "ct"), "key", "state"))
		meets = compare(packet->state, 0, right);
	else if (packet->is_local && ruleset_is_word(json_object_get(left, "ct"), "key", "status") &&
		 json_is_string(right) && strcmp(json_string_value(right), "dnat") == 0)
		meets = NO; /* it comes to its own destination, so none has taken it */
	else if (ruleset_is_word(fib, "result", "type"))
		meets = compare(packet->is_local ? "local" : "unicast", 0, right);
	if (!has_header)
		return NO;
	if (meets == MAYBE || strpbrk(op, "<>"))
		return MAYBE;
	return strcmp(op, "!=") == 0 ? YES - meets : meets;
}

/* A condition or target of iptables that has no words in nft: {"xt": {"type": "target", "name": "REJECT"}}. @names: of
 * which the name must be one, with blanks between them. */
static bool is_xt(const json_t *expression, const char *type, const char *names)
{
	const json_t *xt = json_object_get(expression, "xt");
	const char *name = json_string_value(json_object_get(xt, "name")), *at = name ? strstr(names, name) : NULL;

	return at && ruleset_is_word(xt, "type", type) && strchr(" ", at[strlen(name)]) &&
	       (at == names || at[-1] == ' ');
}

/* True if it neither chooses packets nor decides about them. */
static bool is_aside(const json_t *expression)
{
	return json_object_get(expression, "counter") || json_object_get(expression, "log") ||
	       json_object_get(expression, "mangle") || is_xt(expression, "match", "comment");
}

/* {"match": {"op": "==", "left": …, "right": …}}. With "in" nft prints the states of a connection. */
static enum meets meets_match(const struct ruleset_packet *packet, const json_t *match)
{
	const char *op = json_string_value(json_object_get(match, "op"));

	return meets_value(packet, json_object_get(match, "left"), json_object_get(match, "right"), op ? op : "==");
}

/* True if the condition is the name of the packet's own device. */
static bool is_device(const struct ruleset_packet *packet, const json_t *match)
{
	const char *key =
		json_string_value(json_object_get(json_object_get(json_object_get(match, "left"), "meta"), "key"));
	const char *device = key && strncmp(key, "iif", 3) == 0	  ? packet->in
			     : key && strncmp(key, "oif", 3) == 0 ? packet->out
								  : NULL;

	return device && ruleset_is_word(match, "right", device) && !ruleset_is_word(match, "op", "!=");
}

/* --- one rule --- */

/* The last expression decides; those before it choose packets. */
static const json_t *verdict_of(const json_t *rule)
{
	const json_t *expressions = json_object_get(rule, "expr");

	for (size_t i = json_array_size(expressions); i > 0; i--)
		if (!is_aside(json_array_get(expressions, i - 1)))
			return json_array_get(expressions, i - 1);
	return NULL;
}

/* @ret_names: set if a condition is the name of the packet's own device. A condition on the connection's state that
 * cannot be read is about packets that nobody misses. */
static enum meets meets_rule(
	const struct ruleset_packet *packet, const json_t *rule, const json_t *verdict, bool *ret_names)
{
	const json_t *expression;
	enum meets worst = YES;
	bool names = false, hides = false;
	size_t i;

	json_array_foreach (json_object_get(rule, "expr"), i, expression) {
		const json_t *match = json_object_get(expression, "match");
		enum meets meets = match ? meets_match(packet, match) : MAYBE;

		if (expression == verdict || is_aside(expression))
			continue;
		names |= match && is_device(packet, match);
		hides |= is_xt(expression, "match", "conntrack state");
		worst = meets < worst ? meets : worst;
	}
	*ret_names |= names && !hides;
	return worst;
}

static unsigned walk_chain(struct walk *walk, const char *name, bool is_sure, bool names, unsigned depth);

/* Return: a fate, or RETURNED. @names: the packet's device was named on the way here. */
static unsigned fate_of(struct walk *walk, const json_t *verdict, bool is_sure, bool names, unsigned depth)
{
	const json_t *jump = json_object_get(verdict, "jump"), *go = json_object_get(verdict, "goto");
	const char *target = json_string_value(json_object_get(jump ? jump : go, "target"));
	unsigned fate;

	if (json_object_get(verdict, "drop") || json_object_get(verdict, "reject") ||
		is_xt(verdict, "target", "REJECT")) {
		walk->answer.names_device |= names;
		return RULESET_DROPPED;
	}
	if (json_object_get(verdict, "accept"))
		return RULESET_ACCEPTED;
	if (json_object_get(verdict, "dnat") || json_object_get(verdict, "redirect") ||
		json_object_get(verdict, "tproxy") || is_xt(verdict, "target", "DNAT REDIRECT TPROXY"))
		return RULESET_SENT;
	if (json_object_get(verdict, "return"))
		return RETURNED;
	if (json_object_get(verdict, "queue") || is_xt(verdict, "target", "NFQUEUE"))
		walk->maybe = ~0u;
	if (!jump && !go)
		return RULESET_OPEN;
	fate = walk_chain(walk, target, is_sure, names, depth + 1);
	return go && fate == RULESET_OPEN ? RETURNED : fate;
}

/* A map of verdicts is as many rules. @is_sure: also for the first that is met. Return: as fate_of(). */
static unsigned fate_of_map(struct walk *walk, const json_t *map, bool is_sure, bool names, unsigned depth)
{
	const json_t *data = json_object_get(json_object_get(map, "data"), "set"), *pair;
	size_t i;

	if (!data) /* a map whose elements are not known */
		walk->maybe = ~0u;
	json_array_foreach (data, i, pair) {
		enum meets meets =
			meets_value(walk->packet, json_object_get(map, "key"), json_array_get(pair, 0), "==");
		unsigned fate = RULESET_OPEN;

		if (meets != NO)
			fate = fate_of(walk, json_array_get(pair, 1), is_sure && meets == YES, names, depth);
		if (meets == YES)
			return fate;
		walk->maybe |= 1u << fate;
	}
	return RULESET_OPEN;
}

/* `dnat to tcp dport map { 80 : 10.0.0.2 }` sends only what the map has. */
static enum meets meets_target(const struct ruleset_packet *packet, const json_t *verdict)
{
	const json_t *map = json_object_get(json_object_get(json_object_get(verdict, "dnat"), "addr"), "map"), *pair;
	const json_t *data = json_object_get(json_object_get(map, "data"), "set");
	enum meets best = NO;
	size_t i;

	if (!data)
		return map ? MAYBE : YES; /* a map whose elements are not known; one target for all */
	json_array_foreach (data, i, pair) {
		enum meets meets = meets_value(packet, json_object_get(map, "key"), json_array_get(pair, 0), "==");

		best = meets > best ? meets : best;
	}
	return best;
}

/* Return: the fate that a rule decides for sure, or RULESET_OPEN. @is_sure: the packet comes here. */
static unsigned walk_chain(struct walk *walk, const char *name, bool is_sure, bool names, unsigned depth)
{
	const json_t *object;
	size_t i;

	if (!name || depth > DEPTH_MAX)
		return RULESET_OPEN;
	json_array_foreach (walk->objects, i, object) {
		const json_t *rule = ruleset_rule_in(object, walk->chain, name), *verdict = verdict_of(rule), *map;
		bool names_now = names, is_met;
		enum meets meets = verdict ? meets_rule(walk->packet, rule, verdict, &names_now) : NO;
		enum meets target = meets_target(walk->packet, verdict);
		unsigned fate;

		meets = target < meets ? target : meets;
		if (meets == NO)
			continue;
		is_met = is_sure && meets == YES;
		map = json_object_get(verdict, "vmap");
		fate = map ? fate_of_map(walk, map, is_met, names_now, depth)
			   : fate_of(walk, verdict, is_met, names_now, depth);
		if (is_met && fate == RETURNED)
			return RULESET_OPEN;
		if (is_met && fate != RULESET_OPEN) {
			if (!walk->answer.rule)
				walk->answer.rule = rule;
			return fate;
		}
		is_sure &= fate != RETURNED;
		walk->maybe |= 1u << fate;
	}
	return RULESET_OPEN;
}

struct ruleset_answer ruleset_ask(const json_t *objects, const json_t *chain, const struct ruleset_packet *packet)
{
	struct walk walk = {.objects = objects, .chain = chain, .packet = packet};
	unsigned fate = walk_chain(&walk, json_string_value(json_object_get(chain, "name")), true, false, 0), others;

	if (fate == RULESET_OPEN)
		fate = ruleset_is_word(chain, "policy", "drop") ? RULESET_DROPPED : RULESET_ACCEPTED;
	others = walk.maybe & ~(1u << RULESET_OPEN | 1u << RETURNED | 1u << fate);
	walk.answer.fate = (enum ruleset_fate)fate;
	walk.answer.is_sure = others == 0;
	return walk.answer;
}

/* --- iptables' text --- */

/* "80", "443:450" or "80,443:450" as numbers, everything else as text. A "+" at the end is nft's "*". */
static json_t *value_of(const char *text)
{
	json_t *set = json_array(), *item;
	char *copy = strdup(text), *rest = copy, *one;

	while (copy && (one = strsep(&rest, ","))) {
		char *end, *end_of_range;
		long from = strtol(one, &end, 10), to = *end == ':' ? strtol(end + 1, &end_of_range, 10) : from;
		size_t len = strlen(one);

		if (len > 0 && one[len - 1] == '+')
			one[len - 1] = '*';
		if (end > one && *end == '\0')
			json_array_append_new(set, json_integer(from));
		else if (end > one && *end == ':' && *end_of_range == '\0')
			json_array_append_new(set, json_pack("{s:[I,I]}", "range", (json_int_t)from, (json_int_t)to));
		else
			json_array_append_new(set, json_string(one));
	}
	free(copy);
	if (json_array_size(set) != 1)
		return json_pack("{s:o}", "set", set);
	item = json_incref(json_array_get(set, 0));
	json_decref(set);
	return item;
}

/* A condition of iptables as nft asks it. An option that is not here is a condition that is not understood. */
static const struct option {
	const char *words; /* with a space around each */
	const char *object, *member, *word;
	bool is_lower;
} options[] = {
	{" -i ", "meta", "key", "iifname"},
	{" -o ", "meta", "key", "oifname"},
	{" -p ", "meta", "key", "l4proto"},
	{" --dport --dports ", "payload", "field", "dport"},
	{" -d ", "payload", "field", "daddr"},
	{" --ctstate --state ", "ct", "key", "state", true},
	{" --dst-type ", "fib", "result", "type", true},
};

/* @words: with a blank around each. A word that does not fit here is longer than any of them. */
static bool is_among(const char *words, const char *word)
{
	char padded[64];

	return (size_t)snprintf(padded, sizeof(padded), " %s ", word) < sizeof(padded) && strstr(words, padded);
}

static void lower(char *text)
{
	for (; *text; text++)
		if (*text >= 'A' && *text <= 'Z')
			*text = (char)(*text - 'A' + 'a');
}

/* One option of iptables as nft's condition. A name that is not in the table becomes an xt condition, which nothing
 * here understands: MAYBE. @value: is changed where the option has its words in capital letters. */
static json_t *match_of(const char *name, char *value, bool is_not)
{
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++) {
		const struct option *option = &options[i];

		if (!is_among(option->words, name))
			continue;
		if (option->is_lower)
			lower(value);
		return json_pack("{s:{s:s, s:{s:{s:s, s:s}}, s:o}}", "match", "op", is_not ? "!=" : "==", "left",
			option->object, option->member, option->word, "protocol",
			strcmp(name, "-d") != 0	     ? "th"
			: strchr(value, ':') != NULL ? "ip6"
						     : "ip",
			"right", value_of(value));
	}
	return json_pack("{s:{s:s, s:s}}", "xt", "type", "match", "name", name);
}

/* @word: "goto" for -g, or "jump". */
static json_t *verdict_from(const char *word, const char *target)
{
	static const char own[] = " REJECT LOG DNAT REDIRECT TPROXY NFQUEUE ";
	char name[64];

	if (is_among(own, target))
		return json_pack("{s:{s:s, s:s}}", "xt", "type", "target", "name", target);
	snprintf(name, sizeof(name), "%s", target);
	lower(name);
	if (is_among(" accept drop return ", name) && strcmp(name, target) != 0)
		return json_pack("{s:n}", name);
	return json_pack("{s:{s:s}}", word, "target", target);
}

/* The next word of a line; what is between quotation marks is one. Return: NULL at the end. */
static char *next_word(char **line)
{
	char *word = *line + strspn(*line, " "), *end;

	if (*word == '"') {
		word++;
		for (end = word; *end && *end != '"'; end++)
			end += *end == '\\' && end[1];
	} else {
		end = word + strcspn(word, " ");
	}
	if (*word == '\0')
		return NULL;
	*line = *end ? end + 1 : end;
	*end = '\0';
	return word;
}

/* Extensions whose options say everything. */
static const char plain_extensions[] = " tcp udp comment conntrack state addrtype multiport ";

/* @line: the words behind "-A CHAIN"; the target and its options come last. */
static json_t *expressions_of(char *line)
{
	json_t *expressions = json_array();
	bool is_not = false;
	char *word, *value;

	while ((word = next_word(&line))) {
		bool is_target = strcmp(word, "-j") == 0 || strcmp(word, "-g") == 0;

		if (strcmp(word, "!") == 0) {
			is_not = true;
			continue;
		}
		value = word[0] == '-' && !strchr("-!", line[strspn(line, " ")]) ? next_word(&line) : NULL;
		if (is_target && value)
			json_array_append_new(expressions, verdict_from(word[1] == 'g' ? "goto" : "jump", value));
		if (is_target)
			break;
		if (!value || (strcmp(word, "--comment") != 0 &&
				      !(strcmp(word, "-m") == 0 && is_among(plain_extensions, value))))
			json_array_append_new(expressions, match_of(word, value ? value : word, is_not));
		is_not = false;
	}
	return expressions;
}

/* Only the hooks that are asked about. iptables names its base chains by them. */
static const char *hook_of(const char *chain)
{
	return strcmp(chain, "PREROUTING") == 0 ? "prerouting"
	       : strcmp(chain, "INPUT") == 0	? "input"
	       : strcmp(chain, "FORWARD") == 0	? "forward"
						: NULL;
}

/* "*filter" begins a table, ":INPUT DROP [0:0]" is a chain and its policy, "-A INPUT …" a rule. */
static void add_line(
	json_t *objects, const char *family, const char *program, char table[IPTABLES_TABLE_MAX], char *line)
{
	char *rest = line, *kind, *name, *policy, text[LINE_TEXT_MAX];

	snprintf(text, sizeof(text), "%s", line); /* next_word() cuts the line */
	kind = next_word(&rest);
	if (!kind)
		return;
	if (kind[0] == '*')
		snprintf(table, IPTABLES_TABLE_MAX, "%s", kind + 1);
	name = kind[0] == ':' ? kind + 1 : next_word(&rest);
	if (!name)
		return;
	if (strcmp(kind, "-A") == 0) {
		json_array_append_new(objects,
			json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:o}}", "rule", "family", family, "program", program,
				"table", table, "chain", name, "text", text, "expr", expressions_of(rest)));
	} else if (kind[0] == ':' && hook_of(name) && (policy = next_word(&rest))) {
		lower(policy);
		json_array_append_new(objects,
			json_pack("{s:{s:s, s:s, s:s, s:s, s:s, s:s}}", "chain", "family", family, "program", program,
				"table", table, "name", name, "hook", hook_of(name), "policy", policy));
	}
}

/* iptables-nft's tables are there already, as nft knows them. */
static void drop_table(json_t *objects, const char *family, const char *table)
{
	for (size_t i = json_array_size(objects); i > 0; i--) {
		const json_t *object = json_array_get(objects, i - 1), *rule = json_object_get(object, "rule");
		const json_t *item = rule ? rule : json_object_get(object, "chain");

		if (ruleset_is_word(item, "family", family) && ruleset_is_word(item, "table", table) &&
			!json_object_get(item, "program"))
			json_array_remove(objects, i - 1);
	}
}

/* Append what `iptables-save` printed, line by line. Where nft lists the same tables (iptables-nft), these lines take
 * the place of nft's: an xt condition has its words only here. */
static void add_iptables(json_t *objects, const char *family, const char *program, const char *text)
{
	char table[IPTABLES_TABLE_MAX] = "";
	char *copy = strdup(text), *rest = copy, *line;

	while (copy && (line = strsep(&rest, "\n"))) {
		add_line(objects, family, program, table, line);
		if (line[0] == '*' && strstr(program, "-nft"))
			drop_table(objects, family, table);
	}
	free(copy);
}

/* Return: the elements of the map @name of @rule's table, an array; NULL: it is not among @maps. */
static json_t *find_elements(const json_t *maps, const json_t *rule, const char *name)
{
	const json_t *object;
	size_t i;

	json_array_foreach (maps, i, object) {
		json_t *map = json_object_get(object, "map");

		if (!ruleset_is_word(map, "name", name) || !is_same(map, rule, "family") ||
			!is_same(map, rule, "table"))
			continue;
		if (!json_object_get(map, "elem")) /* it is empty */
			json_object_set_new(map, "elem", json_array());
		return json_object_get(map, "elem");
	}
	return NULL;
}

/* Where a rule names a map ("@name"): its elements, as if they stood in the rule. */
static void resolve_maps(const json_t *maps, const json_t *rule, json_t *value)
{
	const char *key;
	json_t *member;
	size_t i;

	json_array_foreach (value, i, member)
		resolve_maps(maps, rule, member);
	json_object_foreach (value, key, member) {
		const char *name = strcmp(key, "data") == 0 ? json_string_value(member) : NULL;
		json_t *elements = name && name[0] == '@' ? find_elements(maps, rule, name + 1) : NULL;

		if (elements)
			json_object_set_new(value, key, json_pack("{s:O}", "set", elements));
		else
			resolve_maps(maps, rule, member);
	}
}

int ruleset_read(const struct ruleset_texts *texts, json_t **ret_objects, struct err *err)
{
	json_error_t error;
	json_t *root = texts->nft[0] ? json_loads(texts->nft, 0, &error) : NULL, *objects, *object;
	json_t *maps = texts->maps ? json_loads(texts->maps, 0, NULL) : NULL;
	size_t i;

	if (!root && texts->nft[0]) {
		json_decref(maps);
		return err_set(err, -EINVAL, "nft -j list ruleset: line %d: %s", error.line, error.text);
	}
	objects = json_object_get(root, "nftables");
	objects = json_is_array(objects) ? json_incref(objects) : json_array();
	json_decref(root);
	json_array_foreach (objects, i, object) {
		json_t *rule = json_object_get(object, "rule");

		resolve_maps(json_object_get(maps, "nftables"), rule, rule);
	}
	json_decref(maps);
	add_iptables(objects, "ip", "iptables-nft", texts->nft4);
	add_iptables(objects, "ip6", "ip6tables-nft", texts->nft6);
	add_iptables(objects, "ip", "iptables-legacy", texts->legacy4);
	add_iptables(objects, "ip6", "ip6tables-legacy", texts->legacy6);
	*ret_objects = objects;
	return 0;
}
