/* Handshakes: made to happen when a link comes up, and seen; and peers whose clock went back.
 *
 * The kernel tells nobody of a handshake. So the device is read: often at first, which is when people wait, then rarely.
 */
#include "common/host/host_internal.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/wireguard/wg_device.h"

#include <stdlib.h>
#include <string.h>

#define FRESH_S 120 /* WireGuard makes a new one after that */
#define CLOSE_MS 20
#define CLOSE_FOR_MS 2000
#define WIDE_MS 200
#define WIDE_FOR_MS 30000 /* nobody waits any more */
#define RARE_MS 2000
#define POKE_MS 30000 /* WireGuard itself gives up after 90 s */

#define CLOCK_SLACK_S 5
#define CLOCK_PAUSE_MS 100 /* from the end of a look at a device, which may have thousands of peers, to the next one */
#define GREET_PAUSE_MS 100 /* likewise */
/* A client that begins by itself has done so by then. Two that begin at once fail both, and try again after 5 s: with a round
 * trip of 700 ms twice, 10 s to the first ping instead of 4. So it is a round trip and GREET_SLACK_MS, where that is longer. */
#define GREET_MS 400
#define GREET_SLACK_MS 200
#define GREET_RTT_MAX_MS 3000 /* it is the worker who says what it is */

static const struct wg_state_peer *find_peer(const struct wg_state *state, const uint8_t *public_key)
{
	for (size_t i = 0; i < state->peer_count; i++)
		if (memcmp(state->peers[i].public_key, public_key, WG_CONFIG_KEY_LEN) == 0)
			return &state->peers[i];
	return NULL;
}

static bool is_fresh(const struct wg_state_peer *peer)
{
	int64_t age_s = clock_wall_s() - peer->latest_handshake_s;

	return peer->latest_handshake_s > 0 && age_s >= 0 && age_s <= FRESH_S;
}

void watch_poke_all(struct host *host)
{
	const struct wg_config *config = host->setup.wireguard;
	struct err err = {""};

	host->watch.poked_ms = uv_now(host->loop);
	for (size_t i = 0; i < config->peer_count; i++)
		if (host_is_through(&config->peers[i]) &&
			wg_device_poke(host->setup.device, config->peers[i].public_key,
				config->peers[i].persistent_keepalive_s, &err) < 0)
			log_debug("wireguard", "%s", err.text);
}

/* Also where there is no such peer: nothing to wait for. */
static void has_shaken(struct host *host)
{
	watch_stop(host);
	host->handlers.on_handshake(host->owner);
}

/* --- as long as none has come --- */

static bool has_new_one(const struct host *host, const struct wg_state *state)
{
	const struct wg_config *config = host->setup.wireguard;

	for (size_t i = 0; i < config->peer_count && i < host->watch.count; i++) {
		const struct wg_state_peer *peer = find_peer(state, config->peers[i].public_key);

		if (host_is_through(&config->peers[i]) && peer && peer->latest_handshake_s != host->watch.seen_s[i])
			return true;
	}
	return false;
}

static uint64_t pause_after_ms(uint64_t waited_ms)
{
	if (waited_ms < CLOSE_FOR_MS)
		return CLOSE_MS;
	return waited_ms < WIDE_FOR_MS ? WIDE_MS : RARE_MS;
}

static void on_watch_timer(uv_timer_t *timer)
{
	struct host *host = timer->data;
	uint64_t waited_ms = uv_now(host->loop) - host->watch.since_ms;
	struct wg_state state;
	bool has_one;

	if (wg_device_read(host->setup.device, &state, NULL) == 0) {
		has_one = has_new_one(host, &state);
		wg_state_done(&state);
		if (has_one) {
			has_shaken(host);
			return;
		}
	}
	if (uv_now(host->loop) - host->watch.poked_ms >= POKE_MS)
		watch_poke_all(host);
	uv_timer_start(timer, on_watch_timer, pause_after_ms(waited_ms), 0);
}

/* --- the link came up --- */

static void on_fresh_timer(uv_timer_t *timer)
{
	has_shaken(timer->data);
}

/* Return: is there one already, or none to wait for? */
static bool note_handshakes(struct host *host, const struct wg_state *state)
{
	const struct wg_config *config = host->setup.wireguard;
	bool is_done = true;

	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_state_peer *peer = find_peer(state, config->peers[i].public_key);

		if (!host_is_through(&config->peers[i]) || !peer)
			continue;
		host->watch.seen_s[i] = peer->latest_handshake_s;
		if (is_fresh(peer))
			return true;
		is_done = false;
	}
	return is_done;
}

void watch_start(struct host *host)
{
	struct wg_state state;
	struct err err = {""};
	bool is_done;

	watch_stop(host);
	host->watch.seen_s = calloc(host->setup.wireguard->peer_count + 1, sizeof(*host->watch.seen_s));
	if (!host->watch.seen_s || wg_device_read(host->setup.device, &state, &err) < 0) {
		log_warning("wireguard", "%s", host->watch.seen_s ? err.text : "out of memory");
		return;
	}
	host->watch.count = host->setup.wireguard->peer_count;
	host->watch.since_ms = uv_now(host->loop);
	is_done = note_handshakes(host, &state);
	wg_state_done(&state);
	if (!is_done)
		watch_poke_all(host);
	uv_timer_start(&host->timers[HOST_TIMER_WATCH], is_done ? on_fresh_timer : on_watch_timer, 0, 0);
}

void watch_stop(struct host *host)
{
	free(host->watch.seen_s);
	host->watch.seen_s = NULL;
	host->watch.count = 0;
	if (host->open_timers > 0)
		uv_timer_stop(&host->timers[HOST_TIMER_WATCH]);
}

void host_link_is_up(struct host *host)
{
	host->link_is_up = true;
	if (host->is_raised)
		watch_start(host);
}

/* --- a clock that went back --- */

/* WireGuard takes no initiation that is older, by the peer's clock, than the newest it has seen. What that was by the peer's
 * clock nobody tells us; if it was right then, it was our own time of the last handshake. */
static bool is_behind(const struct wg_state *state, const struct host_clock *clock)
{
	const struct wg_state_peer *peer = find_peer(state, clock->guest.public_key);

	return peer && peer->latest_handshake_s - CLOCK_SLACK_S > clock->wall_s;
}

static void keep_those_behind(struct host *host, const struct wg_state *state)
{
	size_t kept = 0;

	for (size_t i = 0; i < host->clock_count; i++)
		if (is_behind(state, &host->clocks[i]))
			host->clocks[kept++] = host->clocks[i];
	host->clock_count = kept;
}

static void revive_first(struct host *host)
{
	const struct host_guest guest = host->clocks[0].guest;
	struct err err = {""};
	int rc = wg_device_revive_peer(host->setup.device, guest.public_key, &err);

	host->clock_count--;
	memmove(host->clocks, host->clocks + 1, host->clock_count * sizeof(*host->clocks));
	if (rc < 0)
		log_warning("wireguard", "%s", err.text);
	if (rc != 1)
		return;
	log_notice("wireguard", "a client's clock is behind its last handshake; its peer is taken anew");
	if (guest.from.sa.sa_family != AF_UNSPEC)
		host_greet_peer(host, guest.public_key, &guest.from, guest.rtt_ms);
}

/* One look at the device for all who have said their time since the last one, and one peer taken anew; who is left has the next
 * look. However often the worker says such things, the loop is free in between. */
static void on_clock_timer(uv_timer_t *timer)
{
	struct host *host = timer->data;
	struct wg_state state;

	if (!host->is_raised || wg_device_read(host->setup.device, &state, NULL) < 0) {
		host->clock_count = 0;
		return;
	}
	keep_those_behind(host, &state);
	wg_state_done(&state);
	if (host->clock_count > 0)
		revive_first(host);
	uv_update_time(host->loop);
	host->clocks_looked_ms = uv_now(host->loop);
	if (host->clock_count > 0)
		uv_timer_start(timer, on_clock_timer, CLOCK_PAUSE_MS, 0);
}

/* Of each client what it said last. Return: NULL without memory. */
static struct host_clock *find_clock(struct host *host, const uint8_t *public_key)
{
	struct host_clock *clocks;

	for (size_t i = 0; i < host->clock_count; i++)
		if (memcmp(host->clocks[i].guest.public_key, public_key, WG_CONFIG_KEY_LEN) == 0)
			return &host->clocks[i];
	clocks = reallocarray(host->clocks, host->clock_count + 1, sizeof(*clocks));
	if (!clocks)
		return NULL;
	host->clocks = clocks;
	return &clocks[host->clock_count++];
}

/* A device that is not up yet has seen no handshake. */
void host_on_peer_clock(struct host *host, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from,
	uint32_t rtt_ms, int64_t wall_s)
{
	struct host_clock *clock = host->is_raised ? find_clock(host, public_key) : NULL;
	uint64_t since_ms = uv_now(host->loop) - host->clocks_looked_ms;

	if (!clock)
		return;
	*clock = (struct host_clock){.guest = {.from = *from, .rtt_ms = rtt_ms}, .wall_s = wall_s};
	memcpy(clock->guest.public_key, public_key, WG_CONFIG_KEY_LEN);
	if (!uv_is_active((uv_handle_t *)&host->timers[HOST_TIMER_CLOCK]))
		uv_timer_start(&host->timers[HOST_TIMER_CLOCK], on_clock_timer,
			since_ms < CLOCK_PAUSE_MS ? CLOCK_PAUSE_MS - since_ms : 0, 0);
}

/* --- a client that has come in --- */

static const struct wg_config_peer *find_config(const struct host *host, const uint8_t *public_key)
{
	const struct wg_config *config = host->setup.wireguard;

	for (size_t i = 0; i < config->peer_count; i++)
		if (memcmp(config->peers[i].public_key, public_key, WG_CONFIG_KEY_LEN) == 0)
			return &config->peers[i];
	return NULL;
}

static void greet(struct host *host, const struct host_guest *guest)
{
	const struct wg_config_peer *peer = find_config(host, guest->public_key);
	struct err err = {""};

	if (peer &&
		(wg_device_set_endpoint(host->setup.device, guest->public_key, &guest->from, &err) < 0 ||
			wg_device_poke(host->setup.device, guest->public_key, peer->persistent_keepalive_s, &err) < 0))
		log_debug("wireguard", "%s", err.text);
}

static void greet_where_silent(struct host *host, const struct wg_state *state, const struct host_guest *guest)
{
	const struct wg_state_peer *peer = find_peer(state, guest->public_key);

	if (peer && peer->latest_handshake_s == 0)
		greet(host, guest);
}

static void on_greet_timer(uv_timer_t *timer);

/* For the first who is due. */
static void set_greet_timer(struct host *host)
{
	uint64_t due_ms = UINT64_MAX, now_ms = uv_now(host->loop);

	for (size_t i = 0; i < host->guest_count; i++)
		due_ms = host->guests[i].due_ms < due_ms ? host->guests[i].due_ms : due_ms;
	if (due_ms < host->guests_looked_ms + GREET_PAUSE_MS)
		due_ms = host->guests_looked_ms + GREET_PAUSE_MS;
	if (host->guest_count > 0)
		uv_timer_start(
			&host->timers[HOST_TIMER_GREET], on_greet_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

/* One look at the device for all who are due. */
static void on_greet_timer(uv_timer_t *timer)
{
	struct host *host = timer->data;
	struct wg_state state;
	size_t kept = 0;

	if (!host->is_raised) {
		uv_timer_start(timer, on_greet_timer, GREET_MS, 0);
		return;
	}
	if (wg_device_read(host->setup.device, &state, NULL) < 0) {
		host->guest_count = 0;
		return;
	}
	for (size_t i = 0; i < host->guest_count; i++)
		if (host->guests[i].due_ms > uv_now(host->loop))
			host->guests[kept++] = host->guests[i];
		else
			greet_where_silent(host, &state, &host->guests[i]);
	wg_state_done(&state);
	host->guest_count = kept;
	uv_update_time(host->loop);
	host->guests_looked_ms = uv_now(host->loop);
	set_greet_timer(host);
}

static uint64_t greet_wait_ms(uint32_t rtt_ms)
{
	uint64_t wait_ms = (rtt_ms < GREET_RTT_MAX_MS ? rtt_ms : GREET_RTT_MAX_MS) + GREET_SLACK_MS;

	return wait_ms > GREET_MS ? wait_ms : GREET_MS;
}

void host_greet_peer(
	struct host *host, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from, uint32_t rtt_ms)
{
	uv_timer_t *timer = &host->timers[HOST_TIMER_GREET];
	uint64_t wait_ms = greet_wait_ms(rtt_ms);
	struct host_guest *guests;

	if (host->open_timers == 0)
		return;
	guests = reallocarray(host->guests, host->guest_count + 1, sizeof(*guests));
	if (!guests)
		return;
	host->guests = guests;
	guests[host->guest_count] = (struct host_guest){.from = *from, .due_ms = uv_now(host->loop) + wait_ms};
	memcpy(guests[host->guest_count++].public_key, public_key, WG_CONFIG_KEY_LEN);
	if (!uv_is_active((uv_handle_t *)timer) || uv_timer_get_due_in(timer) > wait_ms)
		set_greet_timer(host);
}
