/* Another configuration for a device that is up (host_reload()).
 *
 * Peers by wg_device_sync(), then the routes of their allowed IPs. The rest of [Interface] is compared, by fingerprints, with
 * what the device was brought up with, and named where it differs: the fingerprints outlive the configuration, which the
 * caller frees. PreDown and PostDown need no restart: the newest are run when it goes down, as wg-quick does.
 */
#include "common/host/host_internal.h"

#include "common/base/log.h"
#include "common/host/check.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void reload_remember(struct host *host)
{
	fingerprint_take(&host->fingerprint, host->setup.wireguard);
}

/* --- routes --- */

/* A full tunnel comes and goes with its rules, in a restart. */
static bool is_reloadable(const struct host *host, const struct change *change)
{
	return change->kind == CHANGE_ROUTE &&
	       (change->route.to.bits > 0 || host->fingerprint.routing.table_kind != WG_CONFIG_TABLE_AUTO);
}

static void drop_routes(struct host *host, const struct plan_index *wanted)
{
	const struct change_place place = host_place(host);
	size_t kept = 0;

	for (size_t i = 0; i < host->plan.count; i++) {
		const struct change *change = &host->plan.changes[i];
		struct err err = {""};

		if (!is_reloadable(host, change) || plan_index_has(wanted, &change->route.to)) {
			host->plan.changes[kept++] = *change;
			continue;
		}
		if (change->is_made && change_take_back(&place, change, &err) < 0)
			log_warning("route", "%s", err.text);
	}
	host->plan.count = kept;
}

/* Those that a wider route held, which may be gone: held still, they are left out again. */
static void make_covered(struct host *host)
{
	const struct change_place place = host_place(host);

	for (size_t i = 0; i < host->plan.count; i++) {
		struct change *change = &host->plan.changes[i];
		struct err err = {""};

		if (is_reloadable(host, change) && change->is_covered && change_make(&place, change, &err) < 0)
			log_warning("route", "%s", err.text);
	}
}

static void add_routes(struct host *host, const struct plan_index *had, struct plan *wanted)
{
	const struct change_place place = host_place(host);

	for (size_t i = 0; i < wanted->count; i++) {
		struct change *change = &wanted->changes[i];
		struct err err = {""};

		if (!is_reloadable(host, change) || plan_index_has(had, &change->route.to))
			continue;
		if (change_make(&place, change, &err) < 0)
			log_warning("route", "%s", err.text);
		else if (plan_take(&host->plan, change) < 0)
			log_warning("route", "out of memory");
	}
}

static int change_routes(struct host *host, struct plan *wanted)
{
	struct plan_index in_wanted, had;

	if (plan_index_make(&in_wanted, wanted) < 0)
		return -ENOMEM;
	if (plan_index_make(&had, &host->plan) < 0) {
		plan_index_done(&in_wanted);
		return -ENOMEM;
	}
	drop_routes(host, &in_wanted);
	net_routes_done(&host->routes);
	make_covered(host);
	add_routes(host, &had, wanted);
	plan_index_done(&in_wanted);
	plan_index_done(&had);
	return 0;
}

static void take_routes(struct host *host, const struct wg_config *routed)
{
	const struct plan_facts facts = {.mark = host->mark, .has_ipv6 = host->plan.has_ipv6};
	struct host_setup setup = host->setup;
	struct plan wanted;
	struct err err = {""};

	setup.wireguard = routed;
	if (plan_make_routes(&wanted, &setup, &facts, host->index, &err) < 0) {
		log_warning("route", "%s", err.text);
		return;
	}
	if (change_routes(host, &wanted) < 0)
		log_warning("route", "out of memory");
	plan_done(&wanted);
}

static int check_routes(struct host *host, const struct wg_config *routed, struct err *err)
{
	struct host_setup setup = host->setup;
	struct plan_index had;
	int rc;

	setup.wireguard = routed;
	if (plan_index_make(&had, &host->plan) < 0)
		return err_system(err, -ENOMEM, "routes");
	rc = check_new_routes(&host->netlink, &setup, host->index, &had, err);
	plan_index_done(&had);
	return rc;
}

/* --- endpoints --- */

/* The address that this peer's name had, where it is still the same name. */
static struct addr known_address(const struct host *host, const struct wg_config_peer *peer)
{
	const struct wg_config *before = host->setup.wireguard;

	for (size_t i = 0; i < before->peer_count; i++) {
		const struct wg_config_peer *old = &before->peers[i];

		if (peer->endpoint && old->endpoint && strcmp(peer->endpoint, old->endpoint) == 0 &&
			memcmp(peer->public_key, old->public_key, WG_CONFIG_KEY_LEN) == 0)
			return host->addrs[i];
	}
	return (struct addr){.sa = {0}};
}

static void on_endpoint_found(void *owner, size_t peer)
{
	struct host *host = owner;
	struct err err = {""};

	if (wg_device_set_endpoint(
		    host->setup.device, host->setup.wireguard->peers[peer].public_key, &host->addrs[peer], &err) < 0)
		log_warning("wireguard", "%s", err.text);
}

static void on_endpoints_known(void *owner, const char *failure)
{
	(void)owner;
	if (failure)
		log_warning("wireguard", "%s; this peer has no endpoint until then", failure);
}

static void find_endpoints(struct host *host)
{
	host->endpoints.config = host->setup.wireguard;
	host->endpoints.addrs = host->addrs;
	host->endpoints.on_found = on_endpoint_found;
	host->endpoints.on_done = on_endpoints_known;
	endpoints_start(&host->endpoints);
}

/* --- the whole --- */

/* What needs a restart waits for it. A key that no file has was set by a hook. */
static struct wg_device_plan plan_sync(
	const struct host *host, const struct wg_config *wireguard, const struct addr *addrs)
{
	const struct wg_config_interface *interface = &wireguard->interface;
	const struct fingerprint *then = &host->fingerprint;

	return (struct wg_device_plan){.config = wireguard,
		.fwmark = host->mark,
		.endpoints = addrs,
		.keeps_private_key =
			!interface->has_private_key || !fingerprint_is_same(then, FINGERPRINT_PRIVATE_KEY, interface),
		.keeps_listen_port = !fingerprint_is_same(then, FINGERPRINT_LISTEN_PORT, interface)};
}

static int sync_peers(const struct host *host, const struct wg_config *wireguard, struct addr *addrs, struct err *err)
{
	const struct wg_device_plan plan = plan_sync(host, wireguard, addrs);

	for (size_t i = 0; i < wireguard->peer_count; i++)
		addrs[i] = known_address(host, &wireguard->peers[i]);
	endpoints_take_literals(wireguard, &host->setup.endpoint, addrs);
	return wg_device_sync(host->setup.device, &plan, host->setup.wireguard, err);
}

int host_reload(
	struct host *host, const struct wg_config *wireguard, char *ret_restart, size_t restart_size, struct err *err)
{
	const struct wg_config routed = fingerprint_route(&host->fingerprint, wireguard);
	struct addr *addrs;
	int rc;

	if (host->phase != HOST_UP)
		return err_set(err, -EAGAIN, "device %s is not up yet; reload again when it is", host->setup.device);
	if (host->repair.device_is_gone)
		return err_set(
			err, -ENODEV, "device %s was deleted by somebody; a restart makes it anew", host->setup.device);
	rc = check_routes(host, &routed, err);
	if (rc < 0)
		return rc;
	addrs = calloc(wireguard->peer_count + 1, sizeof(*addrs));
	if (!addrs)
		return err_system(err, -ENOMEM, "peers");
	rc = sync_peers(host, wireguard, addrs, err);
	if (rc < 0) {
		free(addrs);
		return rc;
	}
	fingerprint_name_changes(&host->fingerprint, wireguard, ret_restart, restart_size);
	endpoints_stop(&host->endpoints);
	free(host->addrs);
	host->addrs = addrs;
	host->setup.wireguard = wireguard;
	repair_restart(host);
	take_routes(host, &routed);
	find_endpoints(host);
	wg_handshake_set_config(&host->handshake, wireguard);
	return 0;
}
