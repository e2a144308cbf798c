/* When the repair looks, how often it puts a thing back, and what it says about that (repair.h).
 *
 *     event ─50 ms─▶ look: device? ─▶ endpoints, overlaps ─▶ changes ─▶ FORWARD of other tables ─▶ wait
 *                      │ gone: said once, no look any more; renamed: said once, nothing is put back until then
 *
 * Events are gathered for GATHER_MS, and two looks are SPACING_MS apart, so that a program that changes the host all
 * the time costs us little; within a second after a change it has been looked for all the same. An event during a look
 * asks for another one, because the look may have passed that change already.
 *
 * Another program may want the opposite of what we want. After REPAIRS_MAX repairs in REPAIRS_WINDOW_US a change is
 * left alone for REPAIRS_PAUSE_US, then it is tried again. The rules and routes of a full tunnel are put back
 * all the same, at growing intervals, and meanwhile the barrier keeps traffic from leaving in clear (barrier.h). The rules of
 * published services are put back once a second, which is told once. A change that
 * cannot be put back is logged and looked for again like the rest.
 */
#include "common/host/repair.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/place.h"
#include "common/net/dns.h"
#include "common/net/link.h"
#include "common/net/netmon.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GATHER_MS 50
#define SPACING_MS 300 /* from the end of a look to the next one */
#define EVERY_MS 60000
#define DEBIAN_RESOLV_CONF "/run/resolvconf/resolv.conf"
#define REPAIRS_MAX 5
#define REPAIRS_WINDOW_US (10 * CLOCK_US_PER_S)
#define REPAIRS_PAUSE_US (30 * CLOCK_US_PER_S)
#define SERVICES_US CLOCK_US_PER_S /* of published services, which are back within 2 s however often they go */
#define SLOW_FIRST_US (CLOCK_US_PER_S / 2) /* of a full tunnel: the first interval, which doubles */
#define SLOW_DOUBLINGS 3
#define TOLD_MAX                                                                                                       \
	20 /* lines of one look: a hub may have a route for each of thousands of peers, which go with one command */

/* --- when --- */

static void on_repair_timer(uv_timer_t *timer);

/* An earlier look that is due already stands. */
static void look_in(struct repair *repair, uint64_t ms)
{
	uv_loop_t *loop = repair->setup.applied->loop;
	uint64_t due_ms;

	uv_update_time(loop); /* a look may have taken longer than the pause */
	due_ms = uv_now(loop) + ms;
	if (uv_is_active((uv_handle_t *)repair->setup.timer) && repair->due_ms <= due_ms)
		return;
	repair->due_ms = due_ms;
	uv_timer_start(repair->setup.timer, on_repair_timer, ms, 0);
}

static void look_soon(struct repair *repair)
{
	uint64_t since_ms = uv_now(repair->setup.applied->loop) - repair->looked_ms;

	look_in(repair, since_ms + GATHER_MS < SPACING_MS ? SPACING_MS - since_ms : GATHER_MS);
}

void repair_on_network(struct repair *repair, unsigned kinds)
{
	if (kinds == 0 || repair->device_is_gone)
		return;
	if (kinds & NETMON_FIREWALL && plan_forwards(repair->setup.applied->setup))
		repair->scans_forwards = true;
	if (repair->is_under_way)
		repair->is_wanted = true;
	else
		look_soon(repair);
}

/* In a minute, or when the first pause of a change ends, or when the barrier may go down. */
static uint64_t ms_to_next_look(const struct repair *repair)
{
	const struct plan *plan = &repair->setup.applied->plan;
	uint64_t now_us = clock_now_us(), next_ms = EVERY_MS, barrier_ms = barrier_ms_left(&repair->barrier);

	if (barrier_ms > 0 && barrier_ms < next_ms)
		next_ms = barrier_ms;
	for (size_t i = 0; i < plan->count; i++) {
		uint64_t until_us = plan->changes[i].paused_until_us;

		if (until_us > now_us && (until_us - now_us) / CLOCK_US_PER_MS + 1 < next_ms)
			next_ms = (until_us - now_us) / CLOCK_US_PER_MS + 1;
	}
	return next_ms;
}

static void end_look(void *owner)
{
	struct repair *repair = owner;
	uv_loop_t *loop = repair->setup.applied->loop;

	repair->is_under_way = false;
	uv_update_time(loop);
	repair->looked_ms = uv_now(loop);
	if (repair->is_wanted)
		look_soon(repair);
	else
		look_in(repair, ms_to_next_look(repair));
	repair->is_wanted = false;
	repair->setup.on_looked(repair->setup.owner);
}

/* --- the device --- */

/* Return: true if it is there under its name. A device that is up cannot be renamed before Linux 6.2; ours is not
 * renamed back, because whoever did it has a reason that we do not know. */
static bool has_device(struct repair *repair)
{
	struct applied *applied = repair->setup.applied;
	const char *device = applied->setup->device;
	struct net_link link;
	int rc = net_link_find(&applied->netlink, device, &link, NULL);

	/* An error of netlink's is no answer: the look goes on as if the device was there. */
	if (rc == 0 ? link.index == applied->index : rc != -ENODEV) {
		repair->is_renamed = false;
		return true;
	}
	if (net_link_get(&applied->netlink, applied->index, &link, NULL) == 0 && strcmp(link.kind, "wireguard") == 0) {
		if (!repair->is_renamed)
			log_error("wireguard",
				"device %s is called %s now, another program renamed it; ip link set %s down && ip "
				"link set %s name %s helps, until then nothing of it is put back",
				device, link.name, link.name, link.name, device);
		repair->is_renamed = true;
		look_in(repair, EVERY_MS);
		return false;
	}
	repair->device_is_gone = true;
	log_error("wireguard",
		"device %s was deleted by another program; it is not made again by itself: stop and start the tunnel",
		device);
	return false;
}

/* --- how often --- */

/* Put back now, and then looked for only after an interval. */
static void slow_down(struct change *change, uint64_t now_us)
{
	unsigned doublings = change->repairs - REPAIRS_MAX - 1;

	change->repairs_since_us = now_us; /* as long as it goes on, the intervals do not begin anew */
	change->paused_until_us = now_us + (SLOW_FIRST_US << (doublings < SLOW_DOUBLINGS ? doublings : SLOW_DOUBLINGS));
}

static bool is_for_services(const struct repair *repair, const struct change *change)
{
	return repair->setup.applied->published.count > 0 &&
	       (change->kind == CHANGE_FIREWALL || change->kind == CHANGE_FORWARD);
}

static bool may_put_back(void *owner, struct change *change)
{
	struct repair *repair = owner;
	bool is_needed = barrier_is_for(repair->setup.applied, change);
	uint64_t now_us = clock_now_us();
	char text[CHANGE_TEXT_MAX];

	repair->barrier.is_missing |= is_needed;
	if (now_us - change->repairs_since_us > REPAIRS_WINDOW_US) {
		change->repairs = 0;
		change->repairs_since_us = now_us;
	}
	if (++change->repairs <= REPAIRS_MAX)
		return true;
	if (is_needed) {
		slow_down(change, now_us);
		return true;
	}
	if (is_for_services(repair, change)) {
		if (change->repairs == REPAIRS_MAX + 1)
			log_warning(change_area(change),
				"%s: another program takes it away again and again (%d times in 10 s); put back once a "
				"second from now on, which --verbose tells",
				change_text(text, change), REPAIRS_MAX);
		change->repairs_since_us = now_us;
		change->paused_until_us = now_us + SERVICES_US;
		return true;
	}
	change->paused_until_us = now_us + REPAIRS_PAUSE_US;
	change->repairs = 0;
	log_warning(change_area(change),
		"%s: another program takes it away again and again (%d times in 10 s); left alone for 30 s",
		change_text(text, change), REPAIRS_MAX);
	return false;
}

/* --- what is said --- */

static bool on_put_back(void *owner, struct change *change, int status, const char *why)
{
	struct repair *repair = owner;
	const char *area = change_area(change);
	char text[CHANGE_TEXT_MAX];

	change_text(text, change);
	if (status != 0 && change->kind == CHANGE_FORWARD) {
		/* Its chain is gone, as firewalld's when that is stopped, and nothing is in the way there any more.
		 * Where something still is, the forward watch finds it and makes the rule again. */
		change->is_made = false;
		repair->scans_forwards = true;
		log_notice(area, "%s: has no place any more; left out until another FORWARD drops", text);
	} else if (status != 0 && change->failures > 0) {
		if (change->failures == 1)
			log_warning(area, "%s: cannot be made: %s; tried again every %d s", text, why, HOST_AGAIN_S);
	} else if (status != 0) {
		log_warning(area, "%s: was deleted by another program and cannot be put back: %s", text, why);
	} else if ((change_is_sync(change) && ++repair->put_back > TOLD_MAX) ||
		   (is_for_services(repair, change) && change->repairs > REPAIRS_MAX)) {
		log_debug(area, "%s: put back, too", text);
	} else if (change->failures > 0) {
		log_notice(area, "%s: in force now", text);
	} else {
		log_notice(area, "%s: was deleted or changed by another program; put back", text);
	}
	if (status == 0 && change->kind == CHANGE_RAISE)
		repair->setup.on_raised(repair->setup.owner);
	return true;
}

static void on_looked(void *owner)
{
	struct repair *repair = owner;

	if (repair->put_back > TOLD_MAX)
		log_notice("wireguard", "device %s: %zu more things were put back, which --verbose names",
			repair->setup.applied->setup->device, repair->put_back - TOLD_MAX);
	barrier_settle(&repair->barrier);
}

static void on_settled(void *owner)
{
	struct repair *repair = owner;

	if (!repair->scans_forwards) {
		end_look(repair);
		return;
	}
	repair->scans_forwards = false;
	forward_watch_start(&repair->forwards);
}

/* --- endpoints that went elsewhere --- */

/* True if a peer has answered through the tunnel. It is the hub, because the tunnel leads to one WireGuard only. */
static bool has_hub(const struct wg_state *state, const struct addr *tunnel)
{
	for (size_t i = 0; i < state->peer_count; i++)
		if (state->peers[i].latest_handshake_s > 0 && addr_equal(&state->peers[i].endpoint, tunnel))
			return true;
	return false;
}

/* WireGuard takes as endpoint wherever a packet with the peer's key came from. A packet past the tunnel (the server
 * sent it before our carrier came up, say) takes the endpoint away from our port, and the tunnel stays empty. Once the
 * hub is known, a peer that came past the tunnel is another one, a telephone by UDP for example, and stays there. */
static void repair_endpoints(const struct host_setup *host)
{
	struct wg_state state;
	struct err err = {""};

	if (host->endpoint.sa.sa_family == 0 || wg_device_read(host->device, &state, NULL) < 0)
		return;
	for (size_t i = 0; i < state.peer_count; i++) {
		const struct wg_state_peer *peer = &state.peers[i];
		const struct wg_config_peer *ours = wg_config_find(host->wireguard, peer->public_key);
		char text[ADDR_TEXT_MAX];

		if (addr_equal(&peer->endpoint, &host->endpoint) || !ours ||
			!wg_config_is_through(host->wireguard, ours, &host->endpoint) ||
			(peer->latest_handshake_s > 0 && has_hub(&state, &host->endpoint)))
			continue;
		if (wg_device_set_endpoint(host->device, peer->public_key, &host->endpoint, &err) < 0)
			log_warning("wireguard", "%s", err.text);
		else
			log_notice("wireguard", "a peer's endpoint went to %s; set to the tunnel again",
				peer->endpoint.sa.sa_family ? addr_format(text, sizeof(text), &peer->endpoint)
							    : "nowhere");
	}
	wg_state_done(&state);
}

/* --- the resolver's file --- */

/* A DHCP client that does not know resolvconf writes the plain file itself. The tunnel's DNS is then not asked, without
 * any error: told once. It is not put back, as the two would write in turn. */
static void look_at_resolver(struct repair *repair)
{
	struct applied *applied = repair->setup.applied;
	const struct change *dns = applied_find(applied, CHANGE_DNS);
	bool is_debians = access(DEBIAN_RESOLV_CONF, F_OK) == 0;

	if (!dns || !dns->is_made)
		return;
	if (dns_is_asked_first("", dns->dns.set)) {
		repair->asks_our_dns = true;
		repair->has_lost_dns = false;
		repair->lost_dns[0] = '\0';
	} else if (repair->asks_our_dns && !repair->has_lost_dns) {
		repair->has_lost_dns = true;
		repair->is_wanted = true;
	} else if (repair->asks_our_dns) {
		repair->asks_our_dns = false;
		snprintf(repair->lost_dns, sizeof(repair->lost_dns),
			"%.200s: DNS: another program has written /etc/resolv.conf, and this is not asked any more: "
			"names may be seen by others, or not be found; %sresolvconf -u helps, and a DHCP client that "
			"uses resolvconf",
			PLACE(applied->setup->wireguard_path, dns->line),
			is_debians ? "ln -sf " DEBIAN_RESOLV_CONF " /etc/resolv.conf && " : "");
		log_warning("wireguard", "%s", repair->lost_dns);
	}
}

/* --- the whole --- */

static void on_repair_timer(uv_timer_t *timer)
{
	static const struct applied_handlers handlers = {may_put_back, on_put_back, on_looked};
	struct repair *repair = timer->data;
	struct applied *applied = repair->setup.applied;

	if (!has_device(repair)) {
		repair->setup.on_looked(repair->setup.owner);
		return;
	}
	repair->is_under_way = true;
	repair->put_back = 0;
	repair_endpoints(applied->setup);
	look_at_resolver(repair);
	overlap_check(&repair->overlap, applied);
	if (plan_forwards(applied->setup))
		facts_follow_forwarding(&applied->facts, applied->setup->device);
	facts_follow_devices(&applied->facts, &applied->netlink);
	repair->scans_forwards |= applied->facts.is_forwarding_changed;
	applied_look(applied, &handlers, repair);
}

void repair_start(struct repair *repair, const struct repair_setup *setup)
{
	*repair = (struct repair){
		.setup = *setup,
		.forwards = {.applied = setup->applied, .on_done = end_look, .owner = repair},
		.barrier = {.applied = setup->applied, .on_done = on_settled, .owner = repair}};
	setup->timer->data = repair;
	overlap_check(&repair->overlap, setup->applied);
	look_in(repair, GATHER_MS);
}

void repair_stop(struct repair *repair)
{
	if (!repair->setup.applied)
		return;
	uv_timer_stop(repair->setup.timer);
	applied_stop(repair->setup.applied);
	forward_watch_stop(&repair->forwards);
	overlap_done(&repair->overlap);
	barrier_done(&repair->barrier);
}

void repair_restart(struct repair *repair)
{
	if (!repair->is_under_way)
		return;
	repair->scans_forwards |= repair->forwards.scan != NULL; /* its answer will not come */
	applied_stop(repair->setup.applied);
	forward_watch_stop(&repair->forwards);
	repair->is_under_way = false;
	look_in(repair, GATHER_MS);
}

void repair_publish(struct repair *repair)
{
	repair->scans_forwards = true;
	look_in(repair, 0);
}
