/* The kinds of changes (change.h). Each kind is a section below, with the functions that record it, make it and look
 * for it, and one row in the table at the end; the public functions go by that table.
 *
 * A change that the host already has counts as made: a route or a rule that is there word for word, a parameter with
 * our value. Everything else that is in the way is an error, and bring-up stops at it. Nothing is tried twice here.
 */
#include "common/host/change.h"

#include "common/host/publish.h"
#include "common/net/address.h"
#include "common/net/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* For what goes with a text: a line for sh that undoes it, or the name of a table. */
static int record_text(struct undo *undo, enum undo_kind kind, bool outlives_boot, const char *text, struct err *err)
{
	struct undo_entry entry = {.kind = kind, .outlives_boot = outlives_boot};

	if (snprintf(entry.text, sizeof(entry.text), "%s", text) >= (int)sizeof(entry.text))
		return err_system(err, -E2BIG, "%s", text);
	return undo_add(undo, &entry, err);
}

/* --- parameters --- */

/* The old value is read for the record, so the caller holds undo_lock(): another tunnel may set the same parameter. */
static int record_sysctl(const struct change_target *target, const struct change *change, struct err *err)
{
	struct undo_entry entry = {.kind = UNDO_SYSCTL};
	int rc;

	if (change->sysctl.goes_with_device)
		return 0;
	rc = sysctl_read(change->sysctl.path, entry.old_value, err);
	if (rc == -ENOENT && change->sysctl.is_side_effect) /* a /proc without /proc/sys: nothing can be put back */
		return 0;
	if (rc < 0)
		return rc;
	memcpy(entry.path, change->sysctl.path, sizeof(entry.path));
	memcpy(entry.new_value, change->sysctl.value, sizeof(entry.new_value));
	return undo_add(target->undo, &entry, err);
}

/* Values that the kernel sets along with another change are recorded for going down, but not written. */
static int write_sysctl(const struct change_target *target, const struct change *change, struct err *err)
{
	(void)target;
	return change->sysctl.is_side_effect ? 0 : sysctl_set(change->sysctl.path, change->sysctl.value, err);
}

static int has_sysctl(const struct change_target *target, const struct change *change, struct err *err)
{
	char now[SYSCTL_VALUE_MAX];
	int rc = change->sysctl.is_side_effect ? -ENOENT : sysctl_read(change->sysctl.path, now, err);

	(void)target;
	if (rc == -ENOENT)
		return 1; /* its device is gone: nothing to set */
	return rc < 0 ? rc : strcmp(now, change->sysctl.value) == 0;
}

/* --- the device: its addresses, routes and state go with it, and are not recorded --- */

/* By name and index: unwinding deletes nothing that has only one of the two in common with our device. */
static int record_device(const struct change_target *target, const struct change *change, struct err *err)
{
	struct undo_entry entry = {.kind = UNDO_DEVICE, .index = target->index};

	(void)change;
	snprintf(entry.device, sizeof(entry.device), "%s", target->device);
	return undo_add(target->undo, &entry, err);
}

static int add_device(const struct change_target *target, const struct change *change, struct err *err)
{
	(void)change;
	return net_link_add_wireguard(target->birth, target->device, target->index, target->netns_fd, err);
}

/* In one request with the MTU, so that no packet leaves with another one. */
static int raise_device(const struct change_target *target, const struct change *change, struct err *err)
{
	return net_link_raise(target->netlink, target->index, change->mtu, err);
}

static int is_raised(const struct change_target *target, const struct change *change, struct err *err)
{
	struct net_link link;
	int rc = net_link_find(target->netlink, target->device, &link, err);

	(void)change;
	return rc < 0 ? rc : link.is_up;
}

/* --- addresses, with the routes that the kernel makes for them when the device is up --- */

/* All routes of the device are read once a pass: a hub has one for each of thousands of peers. */
static int read_routes(const struct change_target *target, struct err *err)
{
	return target->routes->items ? 0 : net_routes_read(target->netlink, 0, target->index, target->routes, err);
}

/* @ret: to its network, unless it is all of that, and to the address itself, where that is there at once: IPv6 has it a
 * little later. Return: how many. */
static int own_routes(const struct change_target *target, const struct prefix *address, struct net_route ret[2])
{
	bool is_ipv6 = address->addr.sa.sa_family == AF_INET6;
	int count = 0;

	if (address->bits > 0 && address->bits < (is_ipv6 ? 128 : 32))
		ret[count++] = (struct net_route){
			.to = *address, .index = target->index, .table = NET_ROUTE_TABLE_MAIN};
	if (!is_ipv6)
		ret[count++] = (struct net_route){.to = {address->addr, 32},
			.index = target->index,
			.table = NET_ROUTE_TABLE_LOCAL,
			.is_local = true};
	return count;
}

static int add_address(const struct change_target *target, const struct change *change, struct err *err)
{
	const struct net_address address = {.index = target->index, .prefix = change->address};
	struct net_route routes[2];
	int rc = net_address_add(target->netlink, &address, err), is_up = rc < 0 ? 0 : is_raised(target, change, err);

	if (rc < 0 || is_up <= 0)
		return rc < 0 ? rc : is_up;
	net_routes_done(target->routes); /* with the address the kernel may have made them just now */
	rc = read_routes(target, err);
	for (int i = own_routes(target, &change->address, routes) - 1; i >= 0 && rc == 0; i--)
		if (!net_routes_have(target->routes, &routes[i]))
			rc = net_route_add_own(target->netlink, &routes[i], &change->address.addr, err);
	return rc;
}

static int has_address(const struct change_target *target, const struct change *change, struct err *err)
{
	struct net_address *addresses;
	struct net_route routes[2];
	size_t count;
	int rc = net_address_list(target->netlink, &addresses, &count, err), found = 0;

	if (rc < 0)
		return rc;
	/* prefix_equal() compares networks: the host part of the address has to be the same as well. */
	for (size_t i = 0; i < count; i++)
		found |= addresses[i].index == target->index && prefix_equal(&addresses[i].prefix, &change->address) &&
			 addr_equal(&addresses[i].prefix.addr, &change->address.addr);
	free(addresses);
	rc = found ? is_raised(target, change, err) : 0;
	if (rc <= 0)
		return rc < 0 ? rc : found;
	/* `ip route flush dev` takes the routes away and leaves the address. */
	rc = read_routes(target, err);
	for (int i = own_routes(target, &change->address, routes) - 1; i >= 0 && rc == 0 && found; i--)
		found = net_routes_have(target->routes, &routes[i]);
	return rc < 0 ? rc : found;
}

/* --- routes --- */

/* "Exists" is success only for exactly our route. Another one to the same network is another program's, and stays. */
static int add_route(const struct change_target *target, const struct change *change, struct err *err)
{
	int rc = net_route_add(target->netlink, &change->route, err);

	return rc == -EEXIST && net_route_has(target->netlink, &change->route, NULL) == 1 ? 0 : rc;
}

/* As wg-quick does, a route is left out where a network of the device's own holds it. Only in the main table. */
static int make_route(const struct change_target *target, struct change *change, struct err *err)
{
	int rc = read_routes(target, err);

	if (rc < 0)
		return rc;
	change->is_covered =
		change->route.table == NET_ROUTE_TABLE_MAIN && net_routes_cover(target->routes, &change->route);
	return change->is_covered ? 0 : add_route(target, change, err);
}

/* A covered route is not looked for: the address that brought the covering network is, and comes back first. */
static int has_route(const struct change_target *target, const struct change *change, struct err *err)
{
	int rc = change->is_covered ? 0 : read_routes(target, err);

	return rc < 0 ? rc : change->is_covered || net_routes_have(target->routes, &change->route);
}

/* --- rules --- */

static int record_rule(const struct change_target *target, const struct change *change, struct err *err)
{
	const struct undo_entry entry = {.kind = UNDO_RULE, .index = target->index, .rule = change->rule};

	return undo_add(target->undo, &entry, err);
}

/* As with routes: "exists" is success only for exactly our rule. */
static int add_rule(const struct change_target *target, const struct change *change, struct err *err)
{
	int rc = net_rule_add(target->netlink, &change->rule, err);

	return rc == -EEXIST && net_rule_has(target->netlink, &change->rule, NULL) == 1 ? 0 : rc;
}

static int has_rule(const struct change_target *target, const struct change *change, struct err *err)
{
	return net_rule_has(target->netlink, &change->rule, err);
}

/* --- services --- */

static int record_service(const struct change_target *target, const struct change *change, struct err *err)
{
	const struct undo_entry entry = {.kind = UNDO_SERVICE, .service = change->service};

	return undo_add(target->undo, &entry, err);
}

static int leave_to_table(const struct change_target *target, const struct change *change, struct err *err)
{
	(void)target;
	(void)change;
	(void)err;
	return 0;
}

/* --- what programs make --- */

/* The resolver's entry is on disk (resolvconf), so it outlives a reboot. */
static int record_dns(const struct change_target *target, const struct change *change, struct err *err)
{
	return record_text(target->undo, UNDO_COMMAND, true, change->dns.unset, err);
}

/* By name alone: the whole table is ours, whatever is in it by then. */
static int record_firewall(const struct change_target *target, const struct change *change, struct err *err)
{
	(void)change;
	return record_text(target->undo, UNDO_FIREWALL, false, target->table, err);
}

/* The table is another program's and is gone after a reboot, like that program's own rules. */
static int record_forward(const struct change_target *target, const struct change *change, struct err *err)
{
	return record_text(target->undo, UNDO_COMMAND, false, change->forward.remove, err);
}

/* --- all kinds --- */

typedef int change_function(const struct change_target *target, const struct change *change, struct err *err);

static const struct {
	const char *area;
	change_function *record;   /* NULL: it goes with the device */
	change_function *make;	   /* NULL: not made by netlink */
	change_function *is_there; /* NULL: not looked for by netlink */
} kinds[] = {
	[CHANGE_SYSCTL] = {"firewall", record_sysctl, write_sysctl, has_sysctl},
	[CHANGE_DEVICE] = {"wireguard", record_device, add_device, NULL},
	[CHANGE_CONFIGURE] = {"wireguard", NULL, NULL, NULL},
	[CHANGE_ADDRESS] = {"wireguard", NULL, add_address, has_address},
	[CHANGE_RAISE] = {"wireguard", NULL, raise_device, is_raised},
	[CHANGE_DNS] = {"wireguard", record_dns, NULL, NULL},
	[CHANGE_ROUTE] = {"route", NULL, add_route, has_route},
	[CHANGE_SERVICE] = {"publish", record_service, leave_to_table, NULL},
	[CHANGE_FIREWALL] = {"firewall", record_firewall, NULL, NULL},
	[CHANGE_RULE] = {"route", record_rule, add_rule, has_rule},
	[CHANGE_FORWARD] = {"firewall", record_forward, NULL, NULL},
};

bool change_is_sync(const struct change *change)
{
	return kinds[change->kind].make;
}

int change_record(const struct change_target *target, const struct change *change, struct err *err)
{
	return kinds[change->kind].record ? kinds[change->kind].record(target, change, err) : 0;
}

int change_repeat(const struct change_target *target, const struct change *change, struct err *err)
{
	return kinds[change->kind].make ? kinds[change->kind].make(target, change, err) : -EINVAL;
}

int change_make(const struct change_target *target, struct change *change, struct err *err)
{
	bool is_shared = change->kind == CHANGE_SYSCTL; /* with other tunnels, see undo.h */
	int rc;

	if (is_shared)
		undo_lock(target->undo);
	rc = change_record(target, change, err);
	if (rc == 0)
		rc = change->kind == CHANGE_ROUTE ? make_route(target, change, err)
						  : change_repeat(target, change, err);
	if (is_shared)
		undo_unlock(target->undo);
	change->is_made = rc == 0; /* also where it is covered: the repair has to keep it so */
	return rc;
}

int change_take_back(const struct change_target *target, const struct change *change, struct err *err)
{
	return change->is_covered ? 0 : net_route_delete(target->netlink, &change->route, err);
}

int change_is_there(const struct change_target *target, const struct change *change, struct err *err)
{
	return kinds[change->kind].is_there ? kinds[change->kind].is_there(target, change, err) : 1;
}

const char *change_text(char buf[CHANGE_TEXT_MAX], const struct change *change)
{
	char prefix[PREFIX_TEXT_MAX], port[PUBLISH_TEXT_MAX], to[PUBLISH_TEXT_MAX];

	switch (change->kind) {
	case CHANGE_SYSCTL:
		snprintf(buf, CHANGE_TEXT_MAX, "%s = %s", change->sysctl.path, change->sysctl.value);
		break;
	case CHANGE_DEVICE:
		return strcpy(buf, "device");
	case CHANGE_CONFIGURE:
		return strcpy(buf, "keys and peers");
	case CHANGE_ADDRESS:
		snprintf(buf, CHANGE_TEXT_MAX, "address %s", prefix_format(prefix, sizeof(prefix), &change->address));
		break;
	case CHANGE_RAISE:
		snprintf(buf, CHANGE_TEXT_MAX, "up, MTU %u", change->mtu);
		break;
	case CHANGE_DNS:
		return strcpy(buf, "DNS");
	case CHANGE_ROUTE:
		prefix_format(buf, CHANGE_TEXT_MAX, &change->route.to);
		break;
	case CHANGE_SERVICE:
		snprintf(buf, CHANGE_TEXT_MAX, "%s to %s", publish_format_port(port, &change->service),
			publish_format_to(to, &change->service));
		break;
	case CHANGE_FIREWALL:
		return strcpy(buf, "nftables table");
	case CHANGE_RULE:
		snprintf(buf, CHANGE_TEXT_MAX, "rule %u, lookup %u", change->rule.priority, change->rule.table);
		break;
	case CHANGE_FORWARD:
		return strcpy(buf, change->forward.insert);
	}
	return buf;
}

const char *change_area(const struct change *change)
{
	return kinds[change->kind].area;
}

void change_done(struct change *change)
{
	if (change->kind == CHANGE_DNS) {
		free(change->dns.set);
		free(change->dns.unset);
	} else if (change->kind == CHANGE_FIREWALL) {
		free(change->firewall);
	}
}
