/* See claim.h. Happy path: each section opens one element, its keys are parsed into it, and the whole is checked
 * when our own device is known. Every mistake becomes a line of the report; nothing is looked up on the host,
 * because the device, its namespace and its container may come later.
 *
 * PublicKey and AllowedIPs are those of a [Peer], so they are read by the very rows of WireGuard's table, and a
 * claim has a struct wg_config_peer of its own for them.
 *
 * Claims of one namespace are compared by the file alone. A container that is also named by the path of its namespace
 * is not recognised here; then a network in both claims is not complained about.
 */
#include "common/host/claim.h"

#include "common/base/place.h"
#include "common/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CONTAINER_MAX 255 /* bytes: neither docker nor podman takes a longer name */

struct claim *claim_open(struct claim **claims, size_t *count, const struct key_place *place)
{
	struct claim *claim = key_append(claims, count, sizeof(*claim), place);

	if (claim)
		claim->line = place->line;
	return claim;
}

/* The kernel's own rule for the name of a device (dev_valid_name()). */
static int parse_interface(void *owner, const char *text, const struct key_place *place)
{
	struct claim *claim = owner;
	size_t len = strlen(text);

	if (len >= sizeof(claim->interface) || strpbrk(text, "/: \t") || strcmp(text, ".") == 0 ||
		strcmp(text, "..") == 0)
		return key_complain(place, "not a device; expected the name of another program's, as in wg0");
	memcpy(claim->interface, text, len + 1);
	return 0;
}

/* It becomes an argument of docker's. */
static int parse_container(void *owner, const char *text, const struct key_place *place)
{
	if (!text_is_argument(text, "_.-"))
		return key_complain(place, "not a container; expected a name as `docker ps` shows it, as in wg-easy");
	return key_copy(text, &((struct claim *)owner)->container, place);
}

/* By the row of the same name of a [Peer]. */
static int parse_peer_key(void *owner, const char *text, const struct key_place *place)
{
	const struct key_table *table = &wg_config_peer_table;

	return key_parse(
		&table->rows[key_table_find(table, place->key)], &((struct claim *)owner)->peer, text, place);
}

#define AT(field) offsetof(struct claim, field)

static const struct key_row rows[] = {
	{"Interface", KEY_ONCE, parse_interface, .line_offset = AT(interface_line)},
	{"Container", KEY_ONCE, parse_container, .max = CONTAINER_MAX, .twin = "Namespace"},
	{"Namespace", KEY_ONCE, key_set_path, AT(namespace_path), .twin = "Container"},
	{"PublicKey", KEY_ONCE, parse_peer_key, .rules = KEY_RULES_WG, .line_offset = AT(public_key_line)},
	{"AllowedIPs", KEY_REPEATED, parse_peer_key, .rules = KEY_RULES_WG, .line_offset = AT(allowed_ips_line)},
};
const struct key_table claim_table = {"Claim", rows, sizeof(rows) / sizeof(*rows)};

static bool is_same_namespace(const struct claim *a, const struct claim *b)
{
	return text_is_same(a->container, b->container) && text_is_same(a->namespace_path, b->namespace_path);
}

bool claim_is_same_device(const struct claim *a, const struct claim *b)
{
	return strcmp(a->interface, b->interface) == 0 && is_same_namespace(a, b);
}

/* --- the whole --- */

/* All three are needed. A key that was given, and refused, has a line and is not missing. */
static void check_missing(const struct claim *claim, const char *path, struct ini_report *report)
{
	if (!claim->interface_line)
		ini_report_add(report, path, claim->line,
			"Interface: missing; expected the device that another program rewrites, as in wg0");
	if (!claim->public_key_line)
		ini_report_add(report, path, claim->line,
			"PublicKey: missing; expected the key of the peer that AllowedIPs are added to");
	if (!claim->allowed_ips_line)
		ini_report_add(report, path, claim->line,
			"AllowedIPs: missing; expected the networks that are added to the peer, as in 192.168.1.0/24");
}

/* A default route on the device would be one for WireGuard's own packets as well; two halves are the same. */
static void check_default_route(const struct claim *claim, const char *path, struct ini_report *report)
{
	for (size_t i = 0; i < claim->peer.allowed_ip_count; i++) {
		const struct wg_config_prefix *one = &claim->peer.allowed_ips[i];
		char text[PREFIX_TEXT_MAX];

		if (one->prefix.bits <= 1)
			ini_report_add(report, path, one->line,
				"AllowedIPs: '%s': its route would lead everything that this host sends to the peer, "
				"WireGuard's own packets, too; expected the networks behind the peer, as in "
				"192.168.1.0/24",
				prefix_format(text, sizeof(text), &one->prefix));
	}
}

/* Our own device has a file, this one: a claim about it would be a second place for the same thing. @device: "" for
 * none. */
static void check_own(const struct claim *claim, const struct wg_config *wireguard, const char *device,
	const char *path, struct ini_report *report)
{
	if (*device && strcmp(claim->interface, device) == 0 && !claim->container && !claim->namespace_path)
		ini_report_add(report, path, claim->interface_line,
			"Interface: '%s': is our own device; expected these AllowedIPs in its [Peer] instead", device);
	if (claim->peer.has_public_key && wg_config_find(wireguard, claim->peer.public_key))
		ini_report_add(report, path, claim->public_key_line,
			"PublicKey: is a peer of our own device; expected these AllowedIPs in its [Peer] instead");
}

/* A prefix belongs to one peer of a device, and its route leads to one device of a namespace: two claims of it would take
 * it from each other for ever. @end: compare with
 * what stands before that prefix of @second. */
static void check_twice(const struct claim *first, const struct claim *second, size_t end, const char *path,
	struct ini_report *report)
{
	const struct wg_config_prefix *one = &second->peer.allowed_ips[end];
	size_t count = first == second ? end : first->peer.allowed_ip_count;
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
		if (prefix_equal(&first->peer.allowed_ips[i].prefix, &one->prefix))
			ini_report_add(report, path, one->line,
				"AllowedIPs: '%s': claimed already, in %s; expected a network in one [Claim] only",
				prefix_format(text, sizeof(text), &one->prefix),
				PLACE_REFER(path, first->peer.allowed_ips[i].line, one->line));
}

void claim_check(const struct claim *claims, size_t count, const struct wg_config *wireguard, const char *device,
	const char *path, struct ini_report *report)
{
	for (size_t i = 0; i < count; i++) {
		check_missing(&claims[i], path, report);
		check_default_route(&claims[i], path, report);
		if (wireguard)
			check_own(&claims[i], wireguard, device, path, report);
		for (size_t k = 0; k < claims[i].peer.allowed_ip_count; k++)
			for (size_t j = 0; j <= i; j++)
				if (is_same_namespace(&claims[j], &claims[i]))
					check_twice(&claims[j], &claims[i], k, path, report);
	}
}

void claims_free(struct claim *claims, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(claims[i].container);
		free(claims[i].namespace_path);
		free(claims[i].peer.allowed_ips);
	}
	free(claims);
}
