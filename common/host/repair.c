/* What others took away is put back (host_on_network()).
 *
 * Events are gathered for a moment; then every change is looked for in its order, by netlink at once, by programs one after the
 * other. What is there is left alone, so our own changes end in a look and nothing else. Of parameters the kernel tells
 * forwarding only: the others are looked at along with the rest, and once a minute. Peers are never created.
 *
 * Between two looks there is a pause, so that somebody who changes the host all the time costs us little: within a second after
 * a change it has been looked at all the same.
 *
 * Who fights with somebody loses: what had to be put back REPAIRS_MAX times in REPAIRS_WINDOW_US is left alone for a while.
 */
#include "common/host/host_internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/link.h"
#include "common/net/netmon.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define GATHER_MS 50
#define SPACING_MS 300 /* from the end of a look to the next one */
#define EVERY_MS 60000
#define REPAIRS_MAX 5
#define REPAIRS_WINDOW_US (10 * CLOCK_US_PER_S)
#define REPAIRS_PAUSE_US (30 * CLOCK_US_PER_S)
#define TOLD_MAX 20 /* of one look, each with a line of its own */

static void look_by_programs(struct host *host);

/* --- when --- */

static void on_repair_timer(uv_timer_t *timer);

static void look_in(struct host *host, uint64_t ms)
{
	uint64_t due_ms;

	uv_update_time(host->loop);
	due_ms = uv_now(host->loop) + ms;
	if (uv_is_active((uv_handle_t *)&host->timers[HOST_TIMER_REPAIR]) && host->repair.due_ms <= due_ms)
		return;
	host->repair.due_ms = due_ms;
	uv_timer_start(&host->timers[HOST_TIMER_REPAIR], on_repair_timer, ms, 0);
}

static void look_soon(struct host *host)
{
	uint64_t since_ms = uv_now(host->loop) - host->repair.looked_ms;

	look_in(host, since_ms + GATHER_MS < SPACING_MS ? SPACING_MS - since_ms : GATHER_MS);
}

void host_on_network(struct host *host, unsigned kinds)
{
	if (host->phase != HOST_UP || kinds == 0 || host->repair.device_is_gone)
		return;
	if (kinds & NETMON_FIREWALL && plan_forwards(&host->setup))
		host->repair.looks_for_forwards = true;
	if (host->repair.is_under_way)
		host->repair.is_wanted = true;
	else
		look_soon(host);
}

/* --- how often --- */

static bool is_paused(const struct change *change)
{
	return clock_now_us() < change->paused_until_us;
}

/* Return: may it be put back now? */
static bool count_repair(struct change *change, const char *text)
{
	uint64_t now_us = clock_now_us();

	if (is_paused(change))
		return false;
	if (now_us - change->repairs_since_us > REPAIRS_WINDOW_US) {
		change->repairs = 0;
		change->repairs_since_us = now_us;
	}
	if (++change->repairs <= REPAIRS_MAX)
		return true;
	change->paused_until_us = now_us + REPAIRS_PAUSE_US;
	change->repairs = 0;
	log_warning(change_area(change),
		"%s: somebody takes it away again and again (%d times in 10 s); left alone for 30 s", text,
		REPAIRS_MAX);
	return false;
}

static uint64_t ms_to_next_look(const struct host *host)
{
	uint64_t now_us = clock_now_us(), next_ms = EVERY_MS;

	for (size_t i = 0; i < host->plan.count; i++) {
		uint64_t until_us = host->plan.changes[i].paused_until_us;

		if (until_us > now_us && (until_us - now_us) / CLOCK_US_PER_MS + 1 < next_ms)
			next_ms = (until_us - now_us) / CLOCK_US_PER_MS + 1;
	}
	return next_ms;
}

/* --- by netlink --- */

/* A device that is up cannot be renamed before Linux 6.2; it is put up again as everything else. */
static void tell_renamed(struct host *host, const char *name)
{
	if (!host->repair.is_renamed)
		log_error("wireguard",
			"device %s is called %s now, somebody renamed it; ip link set %s down && ip link set %s name "
			"%s helps, until then nothing of it is put back",
			host->setup.device, name, name, name, host->setup.device);
	host->repair.is_renamed = true;
	look_in(host, EVERY_MS);
}

static void tell_gone(struct host *host)
{
	host->repair.device_is_gone = true;
	log_error("wireguard",
		"device %s was deleted by somebody; it is not made again by itself: stop and start the tunnel",
		host->setup.device);
}

/* Return: is it there, under its name? */
static bool has_device(struct host *host)
{
	struct net_link link;
	int rc = net_link_find(&host->netlink, host->setup.device, &link, NULL);

	if (rc == 0 ? link.index == host->index : rc != -ENODEV) {
		host->repair.is_renamed = false;
		return true;
	}
	if (net_link_get(&host->netlink, host->index, &link, NULL) == 0 && strcmp(link.kind, "wireguard") == 0)
		tell_renamed(host, link.name);
	else
		tell_gone(host);
	return false;
}

/* A hub may have a route for each of thousands of peers, which go with one command. */
static void tell_put_back(struct host *host, const struct change *change, const char *text)
{
	if (++host->repair.put_back <= TOLD_MAX)
		log_notice(change_area(change), "%s: was deleted or changed by somebody; put back", text);
	else
		log_debug(change_area(change), "%s: put back, too", text);
}

static void tell_the_rest(const struct host *host)
{
	if (host->repair.put_back > TOLD_MAX)
		log_notice("wireguard", "device %s: %zu more things were put back, which --verbose names",
			host->setup.device, host->repair.put_back - TOLD_MAX);
}

static void put_back(struct host *host, struct change *change)
{
	const struct change_place place = host_place(host);
	struct err err = {""};
	char text[320];

	change_text(text, sizeof(text), change);
	if (!count_repair(change, text))
		return;
	if (change_repeat(&place, change, &err) < 0) {
		log_warning(
			change_area(change), "%s: was deleted by somebody and cannot be put back: %s", text, err.text);
		return;
	}
	tell_put_back(host, change, text);
	if (change->kind == CHANGE_RAISE)
		wg_handshake_poke_all(&host->handshake);
}

static void look_by_netlink(struct host *host)
{
	const struct change_place place = host_place(host);

	net_routes_done(&host->routes);
	host->repair.put_back = 0;
	for (size_t i = 0; i < host->plan.count; i++) {
		struct change *change = &host->plan.changes[i];

		if (change->is_made && change_is_sync(change) && change_is_there(&place, change, NULL) == 0)
			put_back(host, change);
	}
	tell_the_rest(host);
}

/* --- endpoints that went elsewhere --- */

static const struct wg_config_peer *find_through(const struct host *host, const struct wg_state_peer *peer)
{
	const struct wg_config *config = host->setup.wireguard;

	for (size_t i = 0; i < config->peer_count; i++)
		if (wg_handshake_is_through(&config->peers[i]) &&
			memcmp(config->peers[i].public_key, peer->public_key, WG_CONFIG_KEY_LEN) == 0)
			return &config->peers[i];
	return NULL;
}

/* WireGuard follows whoever shows the key: a packet that came by another road takes the endpoint away from our port. */
static void look_at_endpoints(struct host *host)
{
	struct wg_state state;
	struct err err = {""};

	if (host->setup.endpoint.sa.sa_family == 0 || wg_device_read(host->setup.device, &state, NULL) < 0)
		return;
	for (size_t i = 0; i < state.peer_count; i++) {
		const struct wg_state_peer *peer = &state.peers[i];
		char text[ADDR_TEXT_MAX];

		if (addr_equal(&peer->endpoint, &host->setup.endpoint) || !find_through(host, peer))
			continue;
		if (wg_device_set_endpoint(host->setup.device, peer->public_key, &host->setup.endpoint, &err) < 0)
			log_warning("wireguard", "%s", err.text);
		else
			log_notice("wireguard", "a peer's endpoint went to %s; set to the tunnel again",
				peer->endpoint.sa.sa_family ? addr_format(text, sizeof(text), &peer->endpoint)
							    : "nowhere");
	}
	wg_state_done(&state);
}

/* --- by programs --- */

void repair_finish(struct host *host)
{
	host->repair.is_under_way = false;
	uv_update_time(host->loop);
	host->repair.looked_ms = uv_now(host->loop);
	if (host->repair.is_wanted)
		look_soon(host);
	else
		look_in(host, ms_to_next_look(host));
	host->repair.is_wanted = false;
}

static struct change *change_now(struct host *host)
{
	return &host->plan.changes[host->repair.at];
}

static void look_at_next(struct host *host)
{
	host->repair.at++;
	look_by_programs(host);
}

void repair_keep_listing(struct host *host, const char *output)
{
	free(host->firewall_listing);
	host->firewall_listing = strdup(output);
	if (host->firewall_listing)
		firewall_normalise(host->firewall_listing);
}

static void on_listed(struct host *host, int status, const char *output)
{
	if (status == 0)
		repair_keep_listing(host, output);
	look_at_next(host);
}

/* Its chain is gone, as firewalld's when that is stopped, and nothing is in the way there any more. Where something still is, the
 * look for a FORWARD that drops finds it, and makes the rule again. */
static void let_go(struct host *host, struct change *change, const char *text)
{
	change->is_made = false;
	host->repair.looks_for_forwards = true;
	log_notice("firewall", "%s: has no place any more; left out until another FORWARD drops", text);
}

static void on_put_back(struct host *host, int status, const char *output)
{
	struct change *change = change_now(host);
	char text[FORWARD_COMMAND_MAX], reason[256];

	change_text(text, sizeof(text), change);
	if (status != 0 && change->kind == CHANGE_FORWARD)
		let_go(host, change, text);
	else if (status != 0)
		log_warning(change_area(change), "%s: was deleted by somebody and cannot be put back: %s", text,
			command_why(reason, sizeof(reason), status, output));
	else
		log_notice(change_area(change), "%s: was deleted or changed by somebody; put back", text);
	if (change->kind == CHANGE_FIREWALL && status == 0)
		settle_list_table(host, on_listed);
	else
		look_at_next(host);
}

/* Is our table as we left it? */
static bool is_as_kept(const struct host *host, const char *output)
{
	char *listing = strdup(output);
	bool is_same;

	if (!listing)
		return true;
	firewall_normalise(listing);
	is_same = host->firewall_listing && strcmp(listing, host->firewall_listing) == 0;
	free(listing);
	return is_same;
}

static void on_looked(struct host *host, int status, const char *output)
{
	struct change *change = change_now(host);
	char text[FORWARD_COMMAND_MAX];

	if (status == 0 && (change->kind != CHANGE_FIREWALL || is_as_kept(host, output)))
		look_at_next(host);
	else if (!count_repair(change, change_text(text, sizeof(text), change)))
		look_at_next(host);
	else
		settle_make(host, change, on_put_back);
}

static void look_by_programs(struct host *host)
{
	for (; host->repair.at < host->plan.count; host->repair.at++) {
		const struct change *change = change_now(host);

		if (!change->is_made || (change->kind != CHANGE_FIREWALL && change->kind != CHANGE_FORWARD) ||
			is_paused(change))
			continue;
		settle_look(host, change, on_looked);
		return;
	}
	if (host->repair.looks_for_forwards)
		later_look(host);
	else
		repair_finish(host);
}

/* --- the whole --- */

static void on_repair_timer(uv_timer_t *timer)
{
	struct host *host = timer->data;

	if (!has_device(host))
		return;
	host->repair.is_under_way = true;
	host->repair.at = 0;
	look_by_netlink(host);
	look_at_endpoints(host);
	overlap_look(host);
	look_by_programs(host);
}

/* What has happened so far was heard by nobody: the first look is soon. */
void repair_begin(struct host *host)
{
	host->repair = (struct host_repair){.at = 0};
	overlap_look(host);
	look_in(host, GATHER_MS);
}

void repair_restart(struct host *host)
{
	if (!host->repair.is_under_way)
		return;
	repair_stop(host);
	host->repair.is_under_way = false;
	look_in(host, GATHER_MS);
}

void repair_stop(struct host *host)
{
	if (host->open_handles > 0)
		uv_timer_stop(&host->timers[HOST_TIMER_REPAIR]);
	command_close(host->command);
	host->command = NULL;
	forward_look_close(host->look);
	host->look = NULL;
}
