/* One change to the host (change.h). */
#include "common/host/change.h"

#include "common/net/address.h"
#include "common/net/link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SYSCTL_AGAIN_MAX 3

bool change_is_sync(const struct change *change)
{
	return change->kind == CHANGE_SYSCTL || change->kind == CHANGE_DEVICE || change->kind == CHANGE_ADDRESS ||
	       change->kind == CHANGE_RAISE || change->kind == CHANGE_ROUTE || change->kind == CHANGE_RULE;
}

/* --- written down --- */

static int record_sysctl(const struct change_place *place, const struct change *change, struct err *err)
{
	struct undo_entry entry = {.kind = UNDO_SYSCTL};
	int rc = sysctl_read(change->sysctl.path, entry.old_value, err);

	if (rc < 0)
		return rc;
	memcpy(entry.path, change->sysctl.path, sizeof(entry.path));
	memcpy(entry.new_value, change->sysctl.value, sizeof(entry.new_value));
	return undo_add(place->undo, &entry, err);
}

static int record_text(struct undo *undo, enum undo_kind kind, bool outlives_boot, const char *text, struct err *err)
{
	struct undo_entry entry = {.kind = kind, .outlives_boot = outlives_boot};

	if (snprintf(entry.text, sizeof(entry.text), "%s", text) >= (int)sizeof(entry.text))
		return err_system(err, -E2BIG, "%s", text);
	return undo_add(undo, &entry, err);
}

int change_record(const struct change_place *place, const struct change *change, const char *table, struct err *err)
{
	struct undo_entry entry = {.kind = UNDO_DEVICE, .index = place->index};

	switch (change->kind) {
	case CHANGE_SYSCTL:
		return change->sysctl.goes_with_device ? 0 : record_sysctl(place, change, err);
	case CHANGE_DEVICE:
		snprintf(entry.device, sizeof(entry.device), "%s", place->device);
		return undo_add(place->undo, &entry, err);
	case CHANGE_RULE:
		entry.kind = UNDO_RULE;
		entry.rule = change->rule;
		return undo_add(place->undo, &entry, err);
	case CHANGE_DNS:
		return record_text(place->undo, UNDO_COMMAND, true, change->dns.unset, err);
	case CHANGE_FIREWALL:
		return record_text(place->undo, UNDO_FIREWALL, false, table, err);
	case CHANGE_FORWARD:
		return record_text(place->undo, UNDO_COMMAND, false, change->forward.remove, err);
	case CHANGE_CONFIGURE:
	case CHANGE_ADDRESS:
	case CHANGE_RAISE:
	case CHANGE_ROUTE:
		break; /* these go with the device */
	}
	return 0;
}

/* --- made --- */

static int add_address(const struct change_place *place, const struct change *change, struct err *err)
{
	const struct net_address address = {.index = place->index, .prefix = change->address};

	return net_address_add(place->netlink, &address, err);
}

static int add_route(const struct change_place *place, const struct change *change, struct err *err)
{
	int rc = net_route_add(place->netlink, &change->route, err);

	return rc == -EEXIST && net_route_has(place->netlink, &change->route, NULL) == 1 ? 0 : rc;
}

static int add_rule(const struct change_place *place, const struct change *change, struct err *err)
{
	int rc = net_rule_add(place->netlink, &change->rule, err);

	return rc == -EEXIST && net_rule_has(place->netlink, &change->rule, NULL) == 1 ? 0 : rc;
}

int change_repeat(const struct change_place *place, const struct change *change, struct err *err)
{
	switch (change->kind) {
	case CHANGE_SYSCTL:
		return change->sysctl.is_side_effect ? 0 : sysctl_write(change->sysctl.path, change->sysctl.value, err);
	case CHANGE_DEVICE:
		return net_link_add_wireguard(place->birth, place->device, place->index, place->netns_fd, err);
	case CHANGE_ADDRESS:
		return add_address(place, change, err);
	case CHANGE_RAISE:
		return net_link_raise(place->netlink, place->index, change->mtu, err);
	case CHANGE_ROUTE:
		return add_route(place, change, err);
	case CHANGE_RULE:
		return add_rule(place, change, err);
	case CHANGE_CONFIGURE:
	case CHANGE_DNS:
	case CHANGE_FIREWALL:
	case CHANGE_FORWARD:
		break;
	}
	return -EINVAL;
}

static int make_sysctl(const struct change_place *place, const struct change *change, struct err *err)
{
	int rc;

	undo_lock(place->undo);
	rc = change_record(place, change, NULL, err);
	if (rc == 0)
		rc = change_repeat(place, change, err);
	undo_unlock(place->undo);
	return rc;
}

static int read_routes(const struct change_place *place, struct err *err)
{
	return place->routes->items ? 0 : net_routes_read(place->netlink, 0, place->index, place->routes, err);
}

/* As wg-quick asks: a network of the device's own holds it already. Only in the main table. */
static int make_route(const struct change_place *place, struct change *change, struct err *err)
{
	int rc = read_routes(place, err);

	if (rc < 0)
		return rc;
	change->is_covered =
		change->route.table == NET_ROUTE_TABLE_MAIN && net_routes_cover(place->routes, &change->route);
	return change->is_covered ? 0 : add_route(place, change, err);
}

int change_make(const struct change_place *place, struct change *change, struct err *err)
{
	int rc;

	if (change->kind == CHANGE_SYSCTL)
		rc = make_sysctl(place, change, err);
	else if (change->kind == CHANGE_ROUTE)
		rc = make_route(place, change, err);
	else {
		rc = change_record(place, change, NULL, err);
		if (rc == 0)
			rc = change_repeat(place, change, err);
	}
	change->is_made = rc == 0;
	return rc;
}

int change_take_back(const struct change_place *place, const struct change *change, struct err *err)
{
	return change->is_covered ? 0 : net_route_delete(place->netlink, &change->route, err);
}

/* --- looked for --- */

static int has_address(const struct change_place *place, const struct change *change, struct err *err)
{
	struct net_address *addresses;
	size_t count;
	int rc = net_address_list(place->netlink, &addresses, &count, err), found = 0;

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		found |= addresses[i].index == place->index && prefix_equal(&addresses[i].prefix, &change->address) &&
			 addr_equal(&addresses[i].prefix.addr, &change->address.addr);
	free(addresses);
	return found;
}

static int is_up(const struct change_place *place, struct err *err)
{
	struct net_link link;
	int rc = net_link_find(place->netlink, place->device, &link, err);

	return rc < 0 ? rc : link.is_up;
}

static int has_route(const struct change_place *place, const struct change *change, struct err *err)
{
	int rc = change->is_covered ? 0 : read_routes(place, err);

	return rc < 0 ? rc : change->is_covered || net_routes_have(place->routes, &change->route);
}

static int has_value(const struct change *change, struct err *err)
{
	char now[SYSCTL_VALUE_MAX];
	int rc = change->sysctl.is_side_effect ? -ENOENT : sysctl_read(change->sysctl.path, now, err);

	if (rc == -ENOENT)
		return 1; /* its device is gone: nothing to set */
	return rc < 0 ? rc : strcmp(now, change->sysctl.value) == 0;
}

int change_is_there(const struct change_place *place, const struct change *change, struct err *err)
{
	switch (change->kind) {
	case CHANGE_SYSCTL:
		return has_value(change, err);
	case CHANGE_ADDRESS:
		return has_address(place, change, err);
	case CHANGE_RAISE:
		return is_up(place, err);
	case CHANGE_ROUTE:
		return has_route(place, change, err);
	case CHANGE_RULE:
		return net_rule_has(place->netlink, &change->rule, err);
	case CHANGE_DEVICE:
	case CHANGE_CONFIGURE:
	case CHANGE_DNS:
	case CHANGE_FIREWALL:
	case CHANGE_FORWARD:
		break;
	}
	return 1;
}

/* --- in words --- */

const char *change_text(char *buf, size_t size, const struct change *change)
{
	char prefix[PREFIX_TEXT_MAX];

	switch (change->kind) {
	case CHANGE_SYSCTL:
		snprintf(buf, size, "%s = %s", change->sysctl.path, change->sysctl.value);
		break;
	case CHANGE_DEVICE:
		snprintf(buf, size, "device");
		break;
	case CHANGE_CONFIGURE:
		snprintf(buf, size, "keys and peers");
		break;
	case CHANGE_ADDRESS:
		snprintf(buf, size, "address %s", prefix_format(prefix, sizeof(prefix), &change->address));
		break;
	case CHANGE_RAISE:
		snprintf(buf, size, "up, MTU %u", change->mtu);
		break;
	case CHANGE_DNS:
		snprintf(buf, size, "DNS");
		break;
	case CHANGE_ROUTE:
		snprintf(buf, size, "%s", prefix_format(prefix, sizeof(prefix), &change->route.to));
		break;
	case CHANGE_FIREWALL:
		snprintf(buf, size, "nftables table");
		break;
	case CHANGE_RULE:
		snprintf(buf, size, "rule %u, lookup %u", change->rule.priority, change->rule.table);
		break;
	case CHANGE_FORWARD:
		snprintf(buf, size, "%s", change->forward.insert);
		break;
	}
	return buf;
}

const char *change_area(const struct change *change)
{
	switch (change->kind) {
	case CHANGE_ROUTE:
	case CHANGE_RULE:
		return "route";
	case CHANGE_FIREWALL:
	case CHANGE_FORWARD:
	case CHANGE_SYSCTL:
		return "firewall";
	case CHANGE_DEVICE:
	case CHANGE_CONFIGURE:
	case CHANGE_ADDRESS:
	case CHANGE_RAISE:
	case CHANGE_DNS:
		break;
	}
	return "wireguard";
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
