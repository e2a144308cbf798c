/* See published.h.
 *
 * Theory of operation. The rules of a service are part of our nftables table, which is always made anew as a whole. So
 * this file keeps whatever must outlive a table: the number of each service's counters, their counts, and the reason
 * why it cannot work now.
 *
 *    published_check()   may the new ones be published? a refusal ends bring-up, or the reload
 *    published_take()    the new list takes the place of the former one; those that are no more become "gone"
 *    published_read()    counts of the old table, which the new one begins with
 *    published_settle()  the new table is there: end the connections of those that are gone, and those that lead astray
 *    published_watch()   has another program's rule come in the way, or gone again?
 *
 * A service that stays the same in all of its fields stays itself, with its counters (publish_is_same()). A changed
 * one is a new one beside one that is gone.
 *
 * A rule that takes our packets is looked for by asking what becomes of a stranger's packet (common/net/reach.h): for
 * each device, its addresses, and the ports of the range at which any rule may change its mind.
 *
 * A check that cannot be made refuses nothing. Connections that cannot be ended are told, and end by themselves.
 */
#include "common/host/published.h"

#include "common/base/log.h"
#include "common/base/place.h"
#include "common/net/address.h"
#include "common/net/link.h"
#include "common/net/netfilter.h"
#include "common/net/port_owner.h"
#include "common/net/reach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Return: its number, or -1. */
static ssize_t find(const struct published *published, const struct service *service)
{
	for (size_t i = 0; i < published->count; i++)
		if (publish_is_same(published->services[i].service, service))
			return (ssize_t)i;
	return -1;
}

bool published_has_new(const struct published *published, const struct publish *publishes, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (find(published, &publishes[i].service) < 0)
			return true;
	return false;
}

/* --- refusals --- */

/* Mark in @ret, by its port, where a rule may decide otherwise than for the port before: each number in a rule, and the
 * one behind it. */
static void note_ports(const json_t *value, const struct service_ports *ports, bool *ret)
{
	json_int_t number = json_integer_value(value);
	const json_t *item;
	const char *key;
	size_t i;

	if (json_is_integer(value)) {
		for (json_int_t port = number; port <= number + 1; port++)
			if (port >= ports->first && port <= ports->last)
				ret[port] = true;
	}
	json_array_foreach (value, i, item)
		note_ports(item, ports, ret);
	json_object_foreach ((json_t *)(uintptr_t)value, key, item)
		note_ports(item, ports, ret);
}

/* Everything that a question about a stranger's packet needs. */
struct question {
	const struct published_check *check;
	const struct service *service;
	struct net_link *links;
	size_t link_count;
	struct net_address *addresses;
	size_t address_count;
	bool *ports; /* to be asked about, by number */
};

/* Ask about a packet from @device to @to, once for each port that was noted. @ret: the first rule in the way. */
static bool ask(const struct question *question, const char *device, const struct addr *to, char ret[REACH_TEXT_MAX])
{
	const struct service *service = question->service;
	struct reach_port port = {.family = service->to.sa.sa_family,
		.protocol = service->protocol == IPPROTO_UDP ? "udp" : "tcp",
		.device = device,
		.to = to,
		.other = "another Port",
		.own_table = question->check->table};
	bool found = false;

	for (unsigned number = service->ports.first; number <= service->ports.last && !found; number++) {
		port.port = number;
		found = question->ports[number] && reach_find(question->check->rules, &port, ret);
	}
	return found;
}

/* A packet for an address comes by the device that has it; for one that no device has, by any. */
static bool is_sent_elsewhere(const struct question *question, char ret[REACH_TEXT_MAX])
{
	const struct service *service = question->service;
	bool has_any = service->address.sa.sa_family, found = false;

	for (size_t i = 0; i < question->address_count; i++)
		if (addr_equal(&question->addresses[i].prefix.addr, &service->address))
			has_any = false;
	for (size_t i = 0; i < question->link_count && !found; i++) {
		const struct net_link *link = &question->links[i];

		if (strcmp(link->name, "lo") == 0)
			continue;
		if (has_any)
			found = ask(question, link->name, &service->address, ret);
		for (size_t j = 0; j < question->address_count && !found; j++) {
			const struct net_address *own = &question->addresses[j];

			if (own->index == link->index && own->prefix.addr.sa.sa_family == service->to.sa.sa_family &&
				(!service->address.sa.sa_family || addr_equal(&own->prefix.addr, &service->address)))
				found = ask(question, link->name, &own->prefix.addr, ret);
		}
	}
	return found;
}

/* Return: true with the rule in @ret. Where the devices cannot be listed nothing is known, and nothing refused. */
static bool find_rule(const struct service *service, const struct published_check *check, char ret[REACH_TEXT_MAX])
{
	struct question question = {.check = check, .service = service, .ports = calloc(UINT16_MAX + 1u, sizeof(bool))};
	const json_t *object;
	bool found = false;
	size_t i;

	if (question.ports)
		question.ports[service->ports.first] = true;
	json_array_foreach (check->rules, i, object)
		if (question.ports)
			note_ports(json_object_get(json_object_get(object, "rule"), "expr"), &service->ports,
				question.ports);
	if (question.ports && net_link_list(check->netlink, &question.links, &question.link_count, NULL) == 0 &&
		net_address_list(check->netlink, &question.addresses, &question.address_count, NULL) == 0)
		found = is_sent_elsewhere(&question, ret);
	free(question.ports);
	free(question.links);
	free(question.addresses);
	return found;
}

/* A socket of the kernel has no process; WireGuard's own is the usual one. */
static int refuse_owner(
	const struct publish *publish, const struct port_owner *owner, const char *path, struct err *err)
{
	char port[PUBLISH_TEXT_MAX];

	publish_format_port(port, &publish->service);
	if (owner->pid == 0)
		return err_set(err, -EADDRINUSE,
			"%s: Port: '%s': the kernel itself has port %u, for a WireGuard device perhaps, which wg shows; "
			"another port helps",
			PLACE(path, publish->port_line), port, owner->port);
	return err_set(err, -EADDRINUSE,
		"%s: Port: '%s': %s (process %d) listens at port %u; another port helps, there or here, or to stop it",
		PLACE(path, publish->port_line), port, owner->name, owner->pid, owner->port);
}

int published_check(const struct published *published, const struct publish *publishes, size_t count,
	const struct published_check *check, struct err *err)
{
	char port[PUBLISH_TEXT_MAX], text[REACH_TEXT_MAX];
	struct port_owner owner;

	for (size_t i = 0; i < count; i++) {
		const struct service *service = &publishes[i].service;

		if (find(published, service) >= 0)
			continue;
		if (port_owner_find(service, &owner))
			return refuse_owner(&publishes[i], &owner, check->path, err);
		if (find_rule(service, check, text))
			return err_set(err, -EADDRINUSE, "%s: Port: '%s': %s",
				PLACE(check->path, publishes[i].port_line), publish_format_port(port, service), text);
	}
	return 0;
}

void published_watch(struct published *published, const struct publish *publishes, const struct published_check *check)
{
	char port[PUBLISH_TEXT_MAX], text[REACH_TEXT_MAX];

	if (published->has_failed)
		return;
	for (size_t i = 0; i < published->count; i++) {
		bool is_taken = find_rule(published->services[i].service, check, text);
		char *before = published->errors[i];

		if (!is_taken || (before && strcmp(before, text) == 0)) {
			if (!is_taken && before)
				log_notice("publish", "%s: nothing is in the way any more",
					publish_format_port(port, published->services[i].service));
			published->errors[i] = is_taken ? before : NULL;
			if (!is_taken)
				free(before);
			continue;
		}
		log_warning("publish", "%s: Port: '%s': %s", PLACE(check->path, publishes[i].port_line),
			publish_format_port(port, published->services[i].service), text);
		published->errors[i] = strdup(text);
		free(before);
	}
}

/* --- addresses --- */

static bool has_address(const struct net_address *own, size_t count, const struct addr *address)
{
	for (size_t i = 0; i < count; i++)
		if (addr_equal(&own[i].prefix.addr, address))
			return true;
	return false;
}

/* Only a warning: the address may come later, or packets for it may be routed here all the same. */
void published_find_absent(const struct publish *publishes, size_t count, const char *path, json_t *warnings)
{
	struct net_address *own = NULL;
	char port[PUBLISH_TEXT_MAX], all[PUBLISH_TEXT_MAX];
	struct netlink netlink;
	size_t own_count = 0;

	if (netlink_open(&netlink, -1, NULL) < 0)
		return;
	if (net_address_list(&netlink, &own, &own_count, NULL) < 0)
		count = 0;
	for (size_t i = 0; i < count; i++) {
		const struct service *service = &publishes[i].service;
		struct service anywhere = *service;

		anywhere.address = (struct addr){.sa = {0}};
		if (service->address.sa.sa_family && !has_address(own, own_count, &service->address))
			json_array_append_new(warnings,
				json_sprintf("%s: Port: '%s': no device of this host has that address, so nobody may "
					     "come to it; `ip address` shows those that are there (behind a provider's NAT "
					     "not the public one), and %s is all of them",
					PLACE(path, publishes[i].port_line), publish_format_port(port, service),
					publish_format_port(all, &anywhere)));
	}
	free(own);
	netlink_close(&netlink);
}

void published_tell_absent(const struct publish *publishes, size_t count, const char *path)
{
	json_t *warnings = json_array(), *text;
	size_t i;

	published_find_absent(publishes, count, path, warnings);
	json_array_foreach (warnings, i, text)
		log_warning("publish", "%s", json_string_value(text));
	json_decref(warnings);
}

/* --- the services in place --- */

/* The texts and their list. published_take() has moved out those that a service keeps. */
static void free_errors(struct published *published)
{
	for (size_t i = 0; i < published->count; i++)
		free(published->errors[i]);
	free(published->errors);
}

int published_take(struct published *published, const struct publish *publishes, size_t count)
{
	struct published next;

	if (count == 0 && published->count == 0)
		return 0;
	next = (struct published){.all = calloc(count + 1, sizeof(*next.all)),
		.services = calloc(count + 1, sizeof(*next.services)),
		.errors = calloc(count + 1, sizeof(*next.errors)),
		.count = count,
		.next_id = published->next_id,
		.gone = reallocarray(published->gone, published->gone_count + published->count + 1, sizeof(*next.gone)),
		.gone_count = published->gone_count,
		.has_failed = published->has_failed,
		.is_changed = published->is_changed || count != published->count ||
			      published_has_new(published, publishes, count)};

	if (next.gone)
		published->gone = next.gone;
	if (!next.all || !next.services || !next.errors || !next.gone) {
		free(next.all);
		free(next.services);
		free(next.errors);
		return -ENOMEM;
	}
	for (size_t i = 0; i < count; i++) {
		ssize_t at = find(published, &publishes[i].service);

		if (at >= 0) {
			next.services[i] = published->services[at];
			next.errors[i] = published->errors[at];
			published->errors[at] = NULL;
		} else {
			next.services[i].id = next.next_id++;
		}
		next.all[i] = publishes[i].service;
		next.services[i].service = &next.all[i];
	}
	for (size_t i = 0; i < published->count; i++)
		if (find(&next, published->services[i].service) < 0)
			next.gone[next.gone_count++] = *published->services[i].service;
	free_errors(published);
	free(published->all);
	free(published->services);
	*published = next;
	return 0;
}

void published_read(struct published *published, const char *table)
{
	if (published->count > 0)
		netfilter_read_counts(table, published->services, published->count, NULL);
}

void published_settle(struct published *published, struct netlink *netlink)
{
	struct net_address *own = NULL;
	struct err err = {""};
	size_t count = 0;
	int rc = 0;

	published->is_changed = false;
	for (size_t i = 0; i < published->count && published->has_failed; i++) {
		free(published->errors[i]);
		published->errors[i] = NULL;
	}
	published->has_failed = false;
	for (size_t i = 0; i < published->gone_count && rc == 0; i++)
		rc = netfilter_end(&published->gone[i], &err);
	published->gone_count = 0;
	if (published->count > 0 && rc == 0)
		rc = net_address_list(netlink, &own, &count, &err);
	if (count > 0 && rc == 0)
		rc = netfilter_end_astray(published->services, published->count, own, count, &err);
	free(own);
	if (rc < 0)
		log_warning("publish", "%s; connections that are there end by themselves", err.text);
}

void published_fail(struct published *published, const char *why)
{
	published->has_failed = true;
	for (size_t i = 0; i < published->count; i++) {
		free(published->errors[i]);
		published->errors[i] = strdup(why);
	}
}

json_t *published_report(struct published *published, const char *table)
{
	json_t *list = json_array();
	size_t *open = calloc(published->count + 1, sizeof(*open));
	bool is_known = open && netfilter_count_open(published->services, published->count, open, NULL) == 0;
	char port[PUBLISH_TEXT_MAX], to[PUBLISH_TEXT_MAX];

	published_read(published, table);
	for (size_t i = 0; i < published->count; i++) {
		const struct firewall_service *service = &published->services[i];
		const struct service_counts *counts = &service->counts;

		json_array_append_new(list,
			json_pack("{s:s, s:s, s:{s:o, s:I}, s:{s:I, s:I}, s:s?}", "port",
				publish_format_port(port, service->service), "to",
				publish_format_to(to, service->service), "connections", "now",
				is_known ? json_integer((json_int_t)open[i]) : json_null(), "total",
				(json_int_t)counts->connections, "bytes", "sent", (json_int_t)counts->sent_bytes,
				"received", (json_int_t)counts->received_bytes, "last_error", published->errors[i]));
	}
	free(open);
	return list;
}

void published_done(struct published *published)
{
	free_errors(published);
	free(published->all);
	free(published->services);
	free(published->gone);
	*published = (struct published){.count = 0};
}
