/* Names of silent peers (endpoint_watch.h).
 *
 * Happy path: a look reads the device, notes what each peer has sent and received, and begins a search for the names
 * that are due; each answer is compared with the device, read again, and set. One search at a time: a look during it
 * asks for nothing. A name that is not found is asked for again, after a pause that doubles from PAUSE_MS to
 * PAUSE_MAX_MS; the log says so once, until all are found.
 */
#include "common/host/endpoint_watch.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/wireguard/wg_device.h"

#include <stdlib.h>

#define LOOK_MS 30000
#define PAUSE_MS 1000
#define PAUSE_MAX_MS 300000

/* 120 s (REKEY_AFTER_TIME) after a handshake a session is replaced, up to 15 s later where nothing is sent
 * (KEEPALIVE_TIMEOUT + REKEY_TIMEOUT). */
#define SILENT_S 135

struct endpoint_watch_peer {
	bool has_name;		   /* else nothing else is used */
	uint64_t due_ms, pause_ms; /* the next time to ask, and the pause that follows it */
	uint64_t sent_bytes, received_bytes;
};

/* Another program may have set the wall clock back: a handshake in the future says nothing. */
static bool is_live(const struct wg_state_peer *peer, int64_t wall_s)
{
	int64_t age_s = wall_s - peer->latest_handshake_s;

	return peer->latest_handshake_s > 0 && age_s >= 0 && age_s <= SILENT_S;
}

static void set_endpoint(struct endpoint_watch *watch, size_t i, const struct addr *now)
{
	const struct host_setup *host = watch->applied->setup;
	const struct wg_config_peer *peer = &host->wireguard->peers[i];
	char text[ADDR_TEXT_MAX], before[ADDR_TEXT_MAX];
	struct err err = {""};

	if (wg_device_set_endpoint(host->device, peer->public_key, &watch->found[i], &err) < 0)
		log_warning("wireguard", "%s", err.text);
	else
		log_notice("wireguard", "Endpoint = %s: the peer is silent, and its name leads to %s now; before: %s",
			peer->endpoint, addr_format(text, sizeof(text), &watch->found[i]),
			now->sa.sa_family ? addr_format(before, sizeof(before), now) : "not known");
}

/* The look-up took its time: the peer may be gone or be live by now. */
static void on_found(void *owner, size_t i)
{
	struct endpoint_watch *watch = owner;
	const struct host_setup *host = watch->applied->setup;
	const struct wg_state_peer *peer;
	struct wg_state state;

	watch->applied->endpoints[i] = watch->found[i];
	if (wg_device_read(host->device, &state, NULL) < 0)
		return;
	peer = wg_state_find(&state, host->wireguard->peers[i].public_key);
	if (peer && !is_live(peer, clock_wall_s()) && !addr_equal(&peer->endpoint, &watch->found[i]))
		set_endpoint(watch, i, &peer->endpoint);
	wg_state_done(&state);
}

static void on_searched(void *owner, const char *failure)
{
	struct endpoint_watch *watch = owner;

	watch->is_searching = false;
	if (failure && !watch->is_told)
		log_warning("wireguard", "%s; until then this peer is not reached, and the name is tried again", failure);
	watch->is_told = failure != NULL;
}

/* Return: true if the name of peer @i is to be looked up now. */
static bool take_peer(
	struct endpoint_watch *watch, size_t i, const struct wg_state_peer *now, uint64_t now_ms, int64_t wall_s)
{
	struct endpoint_watch_peer *peer = &watch->peers[i];
	bool is_unanswered = now->sent_bytes > peer->sent_bytes && now->received_bytes == peer->received_bytes;

	peer->sent_bytes = now->sent_bytes;
	peer->received_bytes = now->received_bytes;
	if (is_live(now, wall_s)) {
		peer->pause_ms = PAUSE_MS;
		peer->due_ms = now_ms;
		return false;
	}
	/* To an unknown address nothing is sent. */
	if ((!is_unanswered && now->endpoint.sa.sa_family != 0) || now_ms < peer->due_ms)
		return false;
	peer->due_ms = now_ms + peer->pause_ms;
	peer->pause_ms = peer->pause_ms * 2 < PAUSE_MAX_MS ? peer->pause_ms * 2 : PAUSE_MAX_MS;
	return true;
}

uint64_t endpoint_watch_look(struct endpoint_watch *watch, uint64_t now_ms, int64_t wall_s)
{
	const struct host_setup *host = watch->applied->setup;
	uint64_t wait_ms = LOOK_MS;
	struct wg_state state;

	if (watch->is_searching || wg_device_read(host->device, &state, NULL) < 0)
		return LOOK_MS;
	for (size_t i = 0; i < host->wireguard->peer_count; i++) {
		struct endpoint_watch_peer *peer = &watch->peers[i];
		const struct wg_state_peer *now =
			peer->has_name ? wg_state_find(&state, host->wireguard->peers[i].public_key) : NULL;

		watch->found[i] = (struct addr){.sa = {.sa_family = AF_LOCAL}}; /* not asked about */
		if (now && take_peer(watch, i, now, now_ms, wall_s)) {
			watch->found[i] = (struct addr){.sa = {0}};
			watch->is_searching = true;
		}
		if (now && now->endpoint.sa.sa_family == 0 && peer->due_ms - now_ms < wait_ms)
			wait_ms = peer->due_ms - now_ms;
	}
	wg_state_done(&state);
	if (watch->is_searching)
		endpoints_start(&watch->search);
	return wait_ms;
}

static void on_watch_timer(uv_timer_t *timer)
{
	struct endpoint_watch *watch = timer->data;

	uv_timer_start(timer, on_watch_timer, endpoint_watch_look(watch, uv_now(timer->loop), clock_wall_s()), 0);
}

/* Return: how many peers have a name for an Endpoint. */
static size_t note_names(struct endpoint_watch *watch)
{
	const struct host_setup *host = watch->applied->setup;
	const struct wg_config *config = host->wireguard;
	size_t count = 0;
	struct addr addr;

	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_config_peer *peer = &config->peers[i];

		watch->peers[i] = (struct endpoint_watch_peer){.pause_ms = PAUSE_MS};
		watch->peers[i].has_name = peer->has_public_key && peer->endpoint &&
					   addr_parse(peer->endpoint, 0, &addr) < 0 &&
					   !wg_config_is_through(config, peer, &host->endpoint);
		count += watch->peers[i].has_name;
	}
	return count;
}

void endpoint_watch_start(struct endpoint_watch *watch)
{
	struct applied *applied = watch->applied;
	size_t count = applied->setup->wireguard->peer_count + 1;

	endpoint_watch_stop(watch);
	watch->peers = calloc(count, sizeof(*watch->peers));
	watch->found = calloc(count, sizeof(*watch->found));
	if (!watch->peers || !watch->found) {
		log_warning("wireguard", "names of endpoints: out of memory");
		return;
	}
	watch->search = (struct endpoints){.loop = applied->loop,
		.config = applied->setup->wireguard,
		.path = applied->setup->wireguard_path,
		.addrs = watch->found,
		.on_found = on_found,
		.on_done = on_searched,
		.owner = watch};
	watch->timer->data = watch;
	if (note_names(watch) > 0)
		uv_timer_start(watch->timer, on_watch_timer, 0, 0);
}

void endpoint_watch_stop(struct endpoint_watch *watch)
{
	endpoints_stop(&watch->search);
	uv_timer_stop(watch->timer);
	free(watch->peers);
	free(watch->found);
	*watch = (struct endpoint_watch){.applied = watch->applied, .timer = watch->timer};
}
