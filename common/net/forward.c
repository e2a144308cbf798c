/* Another table's FORWARD that drops (forward.h).
 *
 * Theory of operation. A packet is forwarded when every base chain of the hook lets it through, so each one that drops
 * what we forward gets rules at its head. The rule set is read once; then each chain is asked about each kind of
 * packet:
 *
 *    scan_chain() ──▶ open_among_peers()   from the device to the device
 *                     open_gateway()       to the LAN, from its hosts, and answers
 *                     open_service()       to a published host, and its answers
 *                         │
 *                         ▼
 *    drops()          one packet of that kind (ruleset_ask()); a chain that lets it through gets no rule
 *                         │
 *                         ▼
 *    add_rule()       as command lines: iptables for iptables' own tables, nft for all others
 *
 * The rules accept just that and nothing else of the device: all other rules for it stay what they are. iptables' own
 * tables are changed by iptables, because Docker and ufw read them with it; firewalld's, for example, by nft.
 *
 * Each rule is three command lines: one that looks for it, one that makes it and one that takes it away. All three
 * compare the whole rule, whose comment is our table's name; so they need no memory of an earlier run, may be
 * repeated, and do not touch a rule of another tunnel.
 *
 * Fails as a whole, with no rules, where there would be too many, or where a name cannot stand in a command line.
 */
#include "common/net/forward.h"

#include "common/base/text.h"


#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#define FORWARD_LINE_MAX 256
#define FORWARD_DOCKER "DOCKER-USER" /* the chain that Docker leaves to the administrator, ahead of its own */

/* --- command lines --- */

struct search {
	const struct forward_setup *setup;
	const json_t *objects; /* the rule set */
	struct forward_rules found;
	struct err *err;
};

/* The packets that a rule lets through. */
struct passage {
	const char *in, *out;	  /* NULL: any */
	const struct prefix *lan; /* only from or to this network; NULL: any */
	bool is_from_lan;	  /* else to it */
	bool is_answer;		  /* only packets of a connection that is there */
	bool is_published;	  /* only those of a connection whose destination was changed */
};

/* Return: room for one more, or NULL: all is used up. */
static struct forward_rule *next_rule(struct search *search)
{
	return search->found.count < FORWARD_RULES_MAX ? &search->found.rules[search->found.count++] : NULL;
}

static int too_long(struct search *search)
{
	return err_set(search->err, -E2BIG, "forwarding: too many tables drop, or their names are too long");
}

/* @len: of snprintf(). A command that is cut would be another command, so the caller must refuse it. */
static bool fits(int len)
{
	return len > 0 && len < FORWARD_COMMAND_MAX;
}

/* @program: with its table where that is not filter, as in "iptables-legacy -t nat". -w waits while another iptables
 * holds the lock; -I puts the rule ahead of those that drop. */
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
	all_fit = fits(snprintf(match, sizeof(match), "%s%s%s%s%s%s%s%s -m comment --comment %s -j ACCEPT", chain,
		passage->in ? " -i " : "", passage->in ? passage->in : "", passage->out ? " -o " : "",
		passage->out ? passage->out : "",
		!passage->lan	       ? ""
		: passage->is_from_lan ? " -s "
				       : " -d ",
		lan,
		passage->is_published ? " -m conntrack --ctstate DNAT"
		: passage->is_answer  ? " -m conntrack --ctstate RELATED,ESTABLISHED"
				      : "",
		search->setup->comment));
	all_fit &= fits(snprintf(rule->check, sizeof(rule->check), "%s -w -C %s 2>/dev/null", program, match));
	all_fit &= fits(snprintf(rule->insert, sizeof(rule->insert), "%s -w -C %s 2>/dev/null || %s -w -I %s", program,
		match, program, match));
	all_fit &= fits(snprintf(
		rule->remove, sizeof(rule->remove), "while %s -w -D %s 2>/dev/null; do :; done", program, match));
	return all_fit ? 0 : too_long(search);
}

/* "ip daddr 192.168.1.0/24"; as nft lists it: everything has no such words, and one host no length. */
static const char *format_lan(char buf[FORWARD_LINE_MAX], const struct passage *passage)
{
	const struct prefix *lan = passage->lan;
	bool is_ipv6 = lan && lan->addr.sa.sa_family == AF_INET6;
	char text[PREFIX_TEXT_MAX];

	if (!lan)
		return "";
	if (lan->bits == 0)
		return is_ipv6 ? " meta nfproto ipv6" : " meta nfproto ipv4";
	if (lan->bits == (is_ipv6 ? 128 : 32))
		addr_format_host(text, sizeof(text), &lan->addr);
	else
		prefix_format(text, sizeof(text), lan);
	snprintf(buf, FORWARD_LINE_MAX, " %s %s %s", is_ipv6 ? "ip6" : "ip", passage->is_from_lan ? "saddr" : "daddr",
		text);
	return buf;
}

/* @chain: with family and table, "inet firewalld filter_FORWARD". */
static int add_nft_rule(struct search *search, const char *chain, const struct passage *passage)
{
	struct forward_rule *rule = next_rule(search);
	char text[FORWARD_COMMAND_MAX], lan[FORWARD_LINE_MAX], in[FORWARD_LINE_MAX] = "", out[FORWARD_LINE_MAX] = "";
	bool all_fit;

	if (!rule)
		return too_long(search);
	if (passage->in)
		snprintf(in, sizeof(in), "iifname \"%s\"%s", passage->in, passage->out ? " " : "");
	if (passage->out)
		snprintf(out, sizeof(out), "oifname \"%s\"", passage->out);
	all_fit = fits(snprintf(text, sizeof(text), "%s%s%s%s accept comment \"%s\"", in, out, format_lan(lan, passage),
		passage->is_published ? " ct status dnat"
		: passage->is_answer  ? " ct state established,related"
				      : "",
		search->setup->comment));
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

/* At the head of the chain, or of DOCKER-USER, to which Docker's FORWARD jumps. Names of other programs become part of
 * a command line for nft, so they are checked; those of iptables' base chains and tables are built in. */
static int add_rule(struct search *search, const json_t *chain, const struct passage *passage)
{
	const char *family = json_string_value(json_object_get(chain, "family"));
	const char *table = json_string_value(json_object_get(chain, "table"));
	const char *name = json_string_value(json_object_get(chain, "name"));
	const char *program = json_string_value(json_object_get(chain, "program"));
	char full[FORWARD_LINE_MAX];

	if (strcmp(table, "filter") == 0 && strcmp(name, "FORWARD") == 0 && goes_to_docker(search, chain, name))
		name = FORWARD_DOCKER;
	if (program) {
		snprintf(full, sizeof(full), "%s -t %s", program, table);
		return add_iptables_rule(search, strcmp(table, "filter") == 0 ? program : full, name, passage);
	}
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

/* Would the chain drop such a packet, by a rule that surely meets it or by its policy? @ret_names_device: set where a
 * rule that may drop it names the device. */
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

/* A rule for @passage, if the chain drops it. Return: 0 or a negative errno, as all open_…() do. */
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

/* Of several services of one host the first speaks for all. */
static bool is_first_of_host(const struct search *search, size_t at)
{
	for (size_t i = 0; i < at; i++)
		if (addr_equal(&search->setup->services[i].service->to, &search->setup->services[at].service->to))
			return false;
	return true;
}

/* From wherever a stranger comes to the host behind the tunnel, and its answers; only where the destination was changed,
 * which in our own table is said more closely. */
static int open_service(struct search *search, const json_t *chain, const struct service *service)
{
	const char *device = *service->device ? service->device : search->setup->device;
	struct prefix host = prefix_of_host(&service->to);
	const struct passage to = {.out = device, .lan = &host, .is_published = true};
	const struct passage from = {.in = device,
		.lan = &host,
		.is_from_lan = true,
		.is_answer = true,
		.is_published = true};
	int family = service->to.sa.sa_family, rc;

	if (!has_family(chain, family))
		return 0;
	rc = open_passage(search, chain, family, &to);
	return rc < 0 ? rc : open_passage(search, chain, family, &from);
}

/* Passed over: chains of other hooks, jumped-to ones (they have no hook), our own table's, and other families'. */
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
	for (size_t i = 0; i < search->setup->service_count && rc == 0; i++)
		if (is_first_of_host(search, i))
			rc = open_service(search, chain, search->setup->services[i].service);
	return rc;
}

/* iptables takes "a+" for every name that begins with a. */
static bool is_device_name(const char *device)
{
	return text_is_argument(device, "_=+.@-") && device[strlen(device) - 1] != '+';
}

int forward_find(const struct ruleset_texts *texts, const struct forward_setup *setup, struct forward_rules *ret,
	struct err *err)
{
	struct search search = {.setup = setup, .err = err};
	const char *device = is_device_name(setup->device) ? NULL : setup->device;
	const json_t *object;
	json_t *objects;
	int rc;
	size_t i;

	if (!text_is_argument(setup->comment, "_=+.@-/"))
		device = setup->device;
	for (i = 0; i < setup->gateway_count && !device; i++)
		device = is_device_name(setup->gateways[i].device) ? NULL : setup->gateways[i].device;
	if (device)
		return err_set(err, -EINVAL, "forwarding: '%s': iptables can have no rule for this device", device);
	rc = ruleset_read(texts, &objects, err);
	if (rc < 0)
		return rc;
	search.objects = objects;
	json_array_foreach (objects, i, object) {
		rc = scan_chain(&search, json_object_get(object, "chain"));
		if (rc < 0)
			break;
	}
	json_decref(objects);
	if (rc == 0)
		*ret = search.found;
	return rc;
}
