/* See reachable.h.
 *
 * Theory of operation. Each check reads the rules of all programs beside the loop, and then asks for each port of
 * ours what becomes of a stranger's packet:
 *
 *    reachable_check() ──▶ ruleset_scan ──▶ on_read() ──▶ check_ports()
 *                                                            │ for each port: the device and the address by which
 *                                                            ▼ packets come (find_way())
 *                                                         reach_find() ──▶ a warning, or nothing
 *
 * Packets from outside come by the device of the default route, or by the one that has the address in Listen. A port
 * for which this is not known is passed over.
 *
 * The warnings of a check take the place of the former ones. Only those that are new go to the log, so a check that
 * is repeated with each change of the rules does not repeat itself. Rules that cannot be read give no warning.
 */
#include "server/reachable.h"

#include "common/base/log.h"
#include "common/host/check.h"
#include "common/base/place.h"
#include "common/net/address.h"
#include "common/net/link.h"
#include "common/net/netlink.h"
#include "common/net/reach.h"
#include "common/net/route.h"

#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DNS_PORT 53u

struct checking {
	const struct server_config *config;
	const json_t *objects;
	struct netlink *netlink;
	json_t *warnings;
};

/* --- the way in --- */

/* @addr: a local address, or the wildcard, for which the first address of the default route's device is taken. Return:
 * true with the device and that address. */
static bool find_way(
	const struct checking *checking, const struct addr *addr, char device[IFNAMSIZ], struct addr *ret_to)
{
	struct net_way way = {.index = 0};
	struct net_address *addresses;
	struct net_link link;
	bool found = false;
	size_t count;

	if (addr_is_any(addr) && net_route_default(checking->netlink, addr->sa.sa_family, &way, NULL) < 0)
		return false;
	if (net_address_list(checking->netlink, &addresses, &count, NULL) < 0)
		return false;
	for (size_t i = 0; i < count && !found; i++) {
		const struct addr *own = &addresses[i].prefix.addr;
		struct addr wanted = *addr;

		addr_set_port(&wanted, addr_port(own));
		if (way.index == 0 ? !addr_equal(own, &wanted)
				   : addresses[i].index != way.index || own->sa.sa_family != addr->sa.sa_family)
			continue;
		way.index = addresses[i].index;
		*ret_to = *own;
		found = true;
	}
	free(addresses);
	if (!found || net_link_get(checking->netlink, way.index, &link, NULL) < 0)
		return false;
	memcpy(device, link.name, IFNAMSIZ);
	return true;
}

/* --- the ports --- */

/* @line 0: a key that the file does not have. */
static void check_port(const struct checking *checking, const char *key, unsigned line, const struct addr *addr,
	const char *protocol, bool is_on_device)
{
	char device[IFNAMSIZ], value[ADDR_TEXT_MAX], text[REACH_TEXT_MAX];
	struct addr to;
	const struct reach_port port = {.family = addr->sa.sa_family,
		.protocol = protocol,
		.port = addr_port(addr),
		.device = device,
		.is_on_device = is_on_device,
		.to = &to,
		.other = "another port in Listen"};

	if (addr_is_loopback(addr) || !find_way(checking, addr, device, &to) ||
		!reach_find(checking->objects, &port, text))
		return;
	json_array_append_new(checking->warnings,
		json_sprintf("%s: %s: '%s': %s", PLACE(checking->config->path, line), key,
			addr_format(value, sizeof(value), addr), text));
}

/* True if a program listens there. No other socket may have the port of one that is bound, so binding tells. */
static bool has_server(const struct addr *addr)
{
	int fd = socket(addr->sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool is_taken = fd >= 0 && bind(fd, &addr->sa, addr_len(addr)) < 0 && errno == EADDRINUSE;

	if (fd >= 0)
		close(fd);
	return is_taken;
}

/* Listeners, WireGuard's own port unless it is hidden, and port 53 at the tunnel's addresses, which peers ask where
 * a program listens. */
static void check_ports(const struct checking *checking)
{
	const struct server_config *config = checking->config;
	const struct wg_config_interface *interface = &config->wireguard.interface;

	for (size_t i = 0; i < config->listen_count; i++)
		check_port(checking, "Listen", config->listens[i].line, &config->listens[i].addr, "tcp", false);
	if (config->has_device && !config->hidden && interface->listen_port > 0) {
		struct addr any = {.in4 = {.sin_family = AF_INET}};

		addr_set_port(&any, interface->listen_port);
		check_port(checking, "ListenPort", interface->listen_port_line, &any, "udp", false);
	}
	for (size_t i = 0; config->has_device && i < interface->address_count; i++) {
		struct addr addr = interface->addresses[i].prefix.addr;

		addr_set_port(&addr, DNS_PORT);
		if (has_server(&addr))
			check_port(checking, "Address", interface->addresses[i].line, &addr, "udp", true);
	}
}

/* --- a check --- */

static bool is_among(const json_t *texts, const json_t *text)
{
	const json_t *other;
	size_t i;

	json_array_foreach (texts, i, other)
		if (json_equal(other, text))
			return true;
	return false;
}

/* The rules are there: check, log what is new, keep the texts for the status. */
static void on_read(void *owner, const struct ruleset_texts *texts)
{
	struct reachable *reachable = owner;
	struct netlink netlink;
	struct checking checking = {
		.config = reachable->config, .netlink = &netlink, .warnings = json_array()};
	json_t *objects, *text;
	size_t i;

	reachable->scan = NULL;
	if (ruleset_read(texts, &objects, NULL) == 0) {
		checking.objects = objects;
		if (netlink_open(&netlink, -1, NULL) == 0) {
			check_ports(&checking);
			netlink_close(&netlink);
		}
		json_decref(objects);
	}
	json_array_foreach (checking.warnings, i, text)
		if (!is_among(reachable->warnings, text))
			log_warning("firewall", "%s", json_string_value(text));
	json_decref(reachable->warnings);
	reachable->warnings = checking.warnings;
	if (reachable->on_checked)
		reachable->on_checked(reachable->owner);
}

void reachable_check(struct reachable *reachable)
{
	if (!reachable->scan && check_has_capability(CAP_NET_ADMIN) &&
		ruleset_scan_start(&reachable->scan, reachable->loop, on_read, reachable, NULL) == 0)
		return;
	if (reachable->on_checked && !reachable->scan)
		reachable->on_checked(reachable->owner);
}

void reachable_close(struct reachable *reachable)
{
	ruleset_scan_close(reachable->scan);
	reachable->scan = NULL;
	json_decref(reachable->warnings);
	reachable->warnings = NULL;
}

void reachable_check_now(const struct server_config *config)
{
	struct reachable reachable = {.config = config};
	uv_loop_t loop;

	if (uv_loop_init(&loop) < 0)
		return;
	reachable.loop = &loop;
	reachable_check(&reachable);
	uv_run(&loop, UV_RUN_DEFAULT);
	reachable_close(&reachable);
	uv_loop_close(&loop);
}
