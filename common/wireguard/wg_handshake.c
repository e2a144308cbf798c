/* Makes handshakes happen and sees them (wg_handshake.h).
 *
 * Happy path: the link comes up. start() reads the device and notes each peer's latest handshake. If one is fresh, the
 * peer still has a session and nothing is to be done: on_handshake follows from the next turn of the loop. Otherwise
 * every peer is poked; the timer reads the device until one peer shows another handshake than the noted one:
 * on_handshake.
 *
 * Failures: a reading that fails later is tried again with the next tick, for the device may just be renamed or be made
 * again. The wait has no end of its own: the client says in its status that no handshake has happened, and stop() ends
 * it.
 */
#include "common/wireguard/wg_handshake.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/require.h"
#include "common/wireguard/wg_device.h"

#include <stdlib.h>

/* A session is replaced after 120 s (REJECT_AFTER_TIME is 180 s): an older handshake is no proof that the peer still
 * has it. */
#define FRESH_S 120

/* Pauses between two readings: short while an operator or a boot waits for the first ping, long when the server is
 * away. */
#define CLOSE_MS 20
#define CLOSE_FOR_MS 2000
#define WIDE_MS 200
#define WIDE_FOR_MS 30000
#define RARE_MS 2000

/* WireGuard gives up a handshake after 90 s without an answer (REKEY_ATTEMPT_TIME): it is begun again before that. */
#define POKE_MS 30000

static bool is_through(const struct wg_handshake *handshake, size_t peer)
{
	const struct wg_config *config = handshake->setup.config;

	return wg_config_is_through(config, &config->peers[peer], handshake->setup.own);
}

void wg_handshake_poke_all(struct wg_handshake *handshake)
{
	const struct wg_config *config = handshake->setup.config;
	struct err err = {""};

	handshake->poked_ms = uv_now(handshake->setup.loop);
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_config_peer *peer = &config->peers[i];

		if (is_through(handshake, i) && wg_device_poke(handshake->setup.device, peer->public_key,
							peer->persistent_keepalive_s, &err) < 0)
			log_debug("wireguard", "%s", err.text);
	}
}

/* --- wait for the first --- */

/* Stopped first, so that the owner may start() again from inside its handler. */
static void end_wait(struct wg_handshake *handshake)
{
	wg_handshake_stop(handshake);
	handshake->setup.on_handshake(handshake->setup.owner);
}

static void on_fresh_timer(uv_timer_t *timer)
{
	end_wait(timer->data);
}

/* True if the peer's last packet came past the tunnel, although others are reached through it as well: then it is not
 * the hub. */
static bool came_to_us(const struct wg_handshake *handshake, const struct wg_state_peer *peer)
{
	size_t through = 0;

	if (handshake->setup.own->sa.sa_family == 0 || addr_equal(&peer->endpoint, handshake->setup.own))
		return false;
	for (size_t i = 0; i < handshake->setup.config->peer_count; i++)
		through += is_through(handshake, i);
	return through > 1;
}

/* Any difference counts, not only a later time: the wall clock may have been set back since the start. */
static bool has_new_one(struct wg_handshake *handshake, const struct wg_state *state)
{
	const struct wg_config *config = handshake->setup.config;

	require(handshake->seen_count == config->peer_count);
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_state_peer *peer = wg_state_find(state, config->peers[i].public_key);

		if (!peer || !is_through(handshake, i) || peer->latest_handshake_s == handshake->seen_s[i])
			continue;
		if (!came_to_us(handshake, peer))
			return true;
		handshake->seen_s[i] = peer->latest_handshake_s; /* the repair may set its endpoint to the tunnel later */
	}
	return false;
}

static void on_handshake_timer(uv_timer_t *timer)
{
	struct wg_handshake *handshake = timer->data;
	uint64_t waited_ms = uv_now(handshake->setup.loop) - handshake->since_ms;
	struct wg_state state;
	bool has_one = false;

	if (wg_device_read(handshake->setup.device, &state, NULL) == 0) {
		has_one = has_new_one(handshake, &state);
		wg_state_done(&state);
	}
	if (has_one) {
		end_wait(handshake);
		return;
	}
	if (uv_now(handshake->setup.loop) - handshake->poked_ms >= POKE_MS)
		wg_handshake_poke_all(handshake);
	uv_timer_start(timer, on_handshake_timer,
		waited_ms < CLOSE_FOR_MS  ? CLOSE_MS
		: waited_ms < WIDE_FOR_MS ? WIDE_MS
					  : RARE_MS,
		0);
}

/* --- the link came up --- */

/* Note what each peer has now. Return: true if there is nothing to wait for. A time in the future is not fresh: the
 * wall clock was set back, and how old the session is cannot be said. */
static bool note_handshakes(struct wg_handshake *handshake, const struct wg_state *state)
{
	const struct wg_config *config = handshake->setup.config;
	bool is_done = true;

	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_state_peer *peer = wg_state_find(state, config->peers[i].public_key);
		int64_t age_s;

		if (!peer || !is_through(handshake, i))
			continue;
		handshake->seen_s[i] = peer->latest_handshake_s;
		if (came_to_us(handshake, peer))
			continue;
		age_s = clock_wall_s() - peer->latest_handshake_s;
		if (peer->latest_handshake_s > 0 && age_s >= 0 && age_s <= FRESH_S)
			return true;
		is_done = false;
	}
	return is_done;
}

void wg_handshake_start(struct wg_handshake *handshake)
{
	size_t count = handshake->setup.config->peer_count;
	struct wg_state state;
	struct err err = {""};
	bool is_done;

	wg_handshake_stop(handshake);
	handshake->seen_s = calloc(count + 1, sizeof(*handshake->seen_s));
	if (!handshake->seen_s || wg_device_read(handshake->setup.device, &state, &err) < 0) {
		log_warning("wireguard", "%s", handshake->seen_s ? err.text : "out of memory");
		return;
	}
	handshake->seen_count = count;
	handshake->since_ms = uv_now(handshake->setup.loop);
	is_done = note_handshakes(handshake, &state);
	wg_state_done(&state);
	if (!is_done)
		wg_handshake_poke_all(handshake);
	uv_timer_start(&handshake->timer, is_done ? on_fresh_timer : on_handshake_timer, 0, 0);
}

void wg_handshake_stop(struct wg_handshake *handshake)
{
	free(handshake->seen_s);
	handshake->seen_s = NULL;
	handshake->seen_count = 0;
	uv_timer_stop(&handshake->timer);
}

void wg_handshake_set_config(struct wg_handshake *handshake, const struct wg_config *config)
{
	handshake->setup.config = config;
	if (handshake->seen_s)
		wg_handshake_start(handshake); /* seen_s goes by the order of the peers */
}

/* --- open and close --- */

void wg_handshake_open(struct wg_handshake *handshake, const struct wg_handshake_setup *setup)
{
	*handshake = (struct wg_handshake){.setup = *setup};
	uv_timer_init(setup->loop, &handshake->timer);
	handshake->timer.data = handshake;
}

static void on_handshake_closed(uv_handle_t *handle)
{
	struct wg_handshake *handshake = handle->data;

	handshake->setup.on_closed(handshake->setup.owner);
}

void wg_handshake_close(struct wg_handshake *handshake)
{
	wg_handshake_stop(handshake);
	uv_close((uv_handle_t *)&handshake->timer, on_handshake_closed);
}
