/* See gateway.h. Happy path: each section opens one element, its keys are parsed into it, and the whole is checked when
 * the device is known. Every mistake becomes a line of the report; nothing is looked up on the host.
 *
 * A [Gateway] opens the way from the tunnel's peers to one or more networks. Which device has a Lan is found out when
 * the tunnel comes up, unless Interface names it (plan.c); the rules are in our nftables table and, where another
 * program's FORWARD drops, beside that program's (forward.c).
 */
#include "common/host/gateway.h"

#include "common/base/place.h"
#include "common/net/firewall.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct gateway *gateway_open(struct gateway **gateways, size_t *count, const struct key_place *place)
{
	struct gateway *gateway = key_append(gateways, count, sizeof(*gateway), place);

	if (!gateway)
		return NULL;
	gateway->line = place->line;
	gateway->masquerade = true; /* without it, every host of the Lan would need a route to the tunnel */
	return gateway;
}

static int parse_lan(void *owner, const char *text, const struct key_place *place)
{
	struct gateway *gateway = owner;
	struct prefix lan, *slot;

	if (prefix_parse(text, &lan) < 0)
		return key_complain(place, "not a network; expected one such as 192.168.1.0/24 or fd00::/64");
	slot = key_append(&gateway->lans, &gateway->lan_count, sizeof(*slot), place);
	if (!slot)
		return -EINVAL;
	*slot = prefix_network(&lan);
	return 0;
}

/* The kernel's own rule for the name of a device (dev_valid_name()). */
static int parse_interface(void *owner, const char *text, const struct key_place *place)
{
	struct gateway *gateway = owner;
	size_t len = strlen(text);

	if (len >= sizeof(gateway->interface) || strpbrk(text, "/: \t") || strcmp(text, ".") == 0 ||
		strcmp(text, "..") == 0)
		return key_complain(place, "not a device; expected the name of the one that has the Lan, as in eth0");
	if (!firewall_can_name(text))
		return key_complain(place,
			"nft has no words for a device with \", * or \\ in its name; ip link set … name … gives it "
			"another");
	memcpy(gateway->interface, text, len + 1);
	return 0;
}

static const struct key_row rows[] = {
	{"Lan", KEY_LIST, parse_lan, .line_offset = offsetof(struct gateway, lan_line)},
	{"Interface", KEY_ONCE, parse_interface, .line_offset = offsetof(struct gateway, interface_line)},
	{"Masquerade", KEY_ONCE, key_set_bool, offsetof(struct gateway, masquerade)},
};
const struct key_table gateway_table = {"Gateway", rows, sizeof(rows) / sizeof(*rows)};

/* A device of ours is needed: forwarding rules name it, and are taken away with it. */
static void check_one(const struct gateway *gateway, const char *device, const char *path, struct ini_report *report)
{
	if (!gateway->lan_line)
		ini_report_add(report, path, gateway->line,
			"Lan: missing; expected the network that the tunnel's peers may reach, as in 192.168.1.0/24");
	if (!device)
		ini_report_add(report, path, gateway->line,
			"[Gateway]: needs a device of ours; expected [Interface] in this file, or WireGuard = PATH");
	else if (*device && strcmp(gateway->interface, device) == 0)
		ini_report_add(report, path, gateway->interface_line,
			"Interface: '%s': is the tunnel's own device; expected the one that has the Lan", device);
}

/* Two sections may disagree about masquerading: an address in both would have two rules, of which only one can hold. */
static void check_two(
	const struct gateway *first, const struct gateway *second, const char *path, struct ini_report *report)
{
	for (size_t i = 0; i < second->lan_count; i++)
		for (size_t j = 0; j < first->lan_count; j++) {
			const struct prefix *a = &first->lans[j], *b = &second->lans[i];
			char a_text[PREFIX_TEXT_MAX], b_text[PREFIX_TEXT_MAX];

			if (!prefix_contains(a, b) && !prefix_contains(b, a))
				continue;
			ini_report_add(report, path, second->lan_line,
				"Lan: '%s': overlaps with %s in %s; expected an address in one [Gateway] only",
				prefix_format(b_text, sizeof(b_text), b), prefix_format(a_text, sizeof(a_text), a),
				PLACE_REFER(path, first->lan_line, second->lan_line));
		}
}

void gateway_check(
	const struct gateway *gateways, size_t count, const char *device, const char *path, struct ini_report *report)
{
	for (size_t i = 0; i < count; i++) {
		check_one(&gateways[i], device, path, report);
		for (size_t j = 0; j < i; j++)
			check_two(&gateways[j], &gateways[i], path, report);
	}
}

/* Lan by Lan in the order of the file; another order counts as a change, which costs a restart and loses nothing. */
static bool is_same(const struct gateway *a, const struct gateway *b)
{
	if (a->lan_count != b->lan_count || a->masquerade != b->masquerade || strcmp(a->interface, b->interface) != 0)
		return false;
	for (size_t i = 0; i < a->lan_count; i++)
		if (!prefix_equal(&a->lans[i], &b->lans[i]))
			return false;
	return true;
}

bool gateways_are_same(const struct gateway *a, size_t a_count, const struct gateway *b, size_t b_count)
{
	if (a_count != b_count)
		return false;
	for (size_t i = 0; i < a_count; i++)
		if (!is_same(&a[i], &b[i]))
			return false;
	return true;
}

void gateways_done(struct gateway *gateways, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(gateways[i].lans);
	free(gateways);
}
