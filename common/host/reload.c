/* A reload (reload.h): may the new routes be made? → peers by wg_device_sync() → routes.
 *
 * Everything that can refuse comes before the first change of a route. After that the configuration is taken, and a
 * route that still fails is logged as it would be by a repair. Names of new peers are endpoint_watch.c's. PreDown and
 * PostDown need no restart: the newest run when the device goes down, as with wg-quick.
 */
#include "common/host/reload.h"

#include "common/base/log.h"
#include "common/host/check.h"
#include "common/host/endpoints.h"
#include "common/host/full_tunnel.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- routes --- */

/* Only routes that are new are asked about: what is ours stands in our own way. @routed: the new setup. */
static int check_routes(const struct reload *reload, const struct host_setup *routed, struct err *err)
{
	struct plan_index had;
	int rc;

	if (plan_index_make(&had, &reload->applied->plan) < 0)
		return err_system(err, -ENOMEM, "routes");
	rc = check_new_routes(&reload->applied->netlink, routed, reload->applied->index, &had, err);
	plan_index_done(&had);
	return rc;
}

static void take_routes(const struct reload *reload, const struct host_setup *routed, const bool is_full[2])
{
	struct applied *applied = reload->applied;
	const struct plan_facts facts = {.mark = applied->mark, .has_ipv6 = applied->plan.has_ipv6};
	/* A full tunnel comes and goes with its rules, so only with a restart. */
	const bool keeps_full[2] = {
		is_full[0] != reload->fingerprint.is_full[0], is_full[1] != reload->fingerprint.is_full[1]};
	struct plan wanted;
	struct err err = {""};

	if (plan_make_routes(&wanted, routed, &facts, applied->index, &err) < 0) {
		log_warning("route", "%s", err.text);
		return;
	}
	if (applied_set_routes(applied, &wanted, keeps_full) < 0)
		log_warning("route", "out of memory");
	plan_done(&wanted);
}

/* --- endpoints --- */

/* The address that this peer's name had, as long as it is the same name: it is not looked up again. */
static struct addr known_address(const struct reload *reload, const struct wg_config_peer *peer)
{
	const struct wg_config *before = reload->setup->wireguard;
	const struct wg_config_peer *old = peer->has_public_key ? wg_config_find(before, peer->public_key) : NULL;

	if (old && peer->endpoint && old->endpoint && strcmp(peer->endpoint, old->endpoint) == 0)
		return reload->applied->endpoints[old - before->peers];
	return (struct addr){.sa = {0}};
}

/* --- services --- */

/* Recorded before anything is changed: a service that is refused after that has no connections to be ended. One that
 * comes again is in the list already. */
static int record_services(struct applied *applied, const struct publish *publishes, size_t count, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++) {
		struct change change = {.kind = CHANGE_SERVICE, .service = publishes[i].service, .is_made = true};
		bool is_known = false;

		for (size_t j = 0; j < applied->plan.count && !is_known; j++)
			is_known = applied->plan.changes[j].kind == CHANGE_SERVICE &&
				   publish_is_same(&applied->plan.changes[j].service, &change.service);
		if (!is_known)
			rc = applied_add(applied, &change, err);
	}
	return rc;
}

static bool has_sysctl(const struct plan *plan, const char *path)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->changes[i].kind == CHANGE_SYSCTL && strcmp(plan->changes[i].sysctl.path, path) == 0 &&
			!plan->changes[i].sysctl.is_side_effect)
			return true;
	return false;
}

static void on_forwarding_done(void *owner)
{
	(void)owner; /* parameters are set before the call returns */
}

/* What was switched on for a service that goes stays on until the tunnel stops; our table confines it. */
void reload_open_forwarding(struct applied *applied)
{
	static const struct applied_handlers handlers = {.on_done = on_forwarding_done};
	struct plan wanted = {.has_ipv6 = applied->plan.has_ipv6};
	size_t from = applied->plan.count;

	applied->facts.has_new_devices = false;
	if (plan_add_forwarding(&wanted, applied->setup, &applied->facts.plan) < 0)
		log_warning("firewall", "out of memory");
	for (size_t i = 0; i < wanted.count; i++)
		if (!has_sysctl(&applied->plan, wanted.changes[i].sysctl.path) &&
			plan_take(&applied->plan, &wanted.changes[i]) < 0)
			log_warning("firewall", "out of memory");
	plan_done(&wanted);
	if (applied->plan.count > from)
		applied_make_all(applied, from, &handlers, applied);
}

/* --- the whole --- */

static int sync_peers(
	const struct reload *reload, const struct wg_config *wireguard, struct addr *endpoints, struct err *err)
{
	const struct wg_config_interface *interface = &wireguard->interface;
	const struct fingerprint *then = &reload->fingerprint;
	/* Changes that need a restart wait for it. A key that no file has was set by a hook, and stays. */
	const struct wg_device_setup device = {.config = wireguard,
		.fwmark = reload->applied->mark,
		.endpoints = endpoints,
		.keeps_private_key =
			!interface->has_private_key || !fingerprint_is_same(then, FINGERPRINT_PRIVATE_KEY, interface),
		.keeps_listen_port = !fingerprint_is_same(then, FINGERPRINT_LISTEN_PORT, interface)};

	for (size_t i = 0; i < wireguard->peer_count; i++)
		endpoints[i] = known_address(reload, &wireguard->peers[i]);
	endpoints_take_literals(wireguard, &reload->setup->endpoint, endpoints);
	return wg_device_sync(reload->setup->device, &device, reload->setup->wireguard, err);
}

int reload_take(struct reload *reload, const struct wg_config *wireguard, const struct publish *publishes,
	size_t publish_count, char *ret_restart, size_t restart_size, struct err *err)
{
	const struct wg_config routed_config = fingerprint_route(&reload->fingerprint, wireguard);
	struct host_setup routed = *reload->setup;
	struct full_tunnel full;
	struct addr *endpoints;
	int rc;

	routed.wireguard = &routed_config;
	full_tunnel_find(&full, &routed);
	rc = check_routes(reload, &routed, err);
	if (rc == 0)
		rc = record_services(reload->applied, publishes, publish_count, err);
	if (rc < 0)
		return rc;
	endpoints = calloc(wireguard->peer_count + 1, sizeof(*endpoints));
	if (!endpoints)
		return err_system(err, -ENOMEM, "peers");
	rc = sync_peers(reload, wireguard, endpoints, err);
	if (rc < 0) {
		free(endpoints);
		return rc;
	}
	fingerprint_name_changes(&reload->fingerprint, wireguard, full.is_full, ret_restart, restart_size);
	free(reload->applied->endpoints);
	reload->applied->endpoints = endpoints;
	reload->setup->wireguard = wireguard;
	reload->setup->publishes = publishes;
	reload->setup->publish_count = publish_count;
	take_routes(reload, &routed, full.is_full);
	if (applied_take_services(reload->applied, err) < 0)
		log_warning("publish", "%s", err->text);
	return 0;
}

void reload_start(struct reload *reload)
{
	struct full_tunnel full;

	full_tunnel_find(&full, reload->setup);
	fingerprint_take(&reload->fingerprint, reload->setup->wireguard, full.is_full);
}
