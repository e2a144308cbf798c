/* Guests are greeted, and peers revived whose clock went back (wg_guest.h).
 *
 * Two lists with a timer each. A call appends to a list and sets the list's timer; the timer reads the device once for
 * all guests that are due, acts, and drops them. Nothing here is answered: a guest whose greeting fails is dropped like
 * the others.
 */
#include "common/wireguard/wg_guest.h"

#include "common/base/array.h"
#include "common/base/log.h"
#include "common/base/require.h"
#include "common/wireguard/wg_device.h"

#include <stdlib.h>
#include <string.h>

#define READ_PAUSE_MS 100 /* from the end of a reading to the next one of the same list */

/* How far the client's clock may be behind before its peer is revived: the word has travelled, and clocks of two hosts
 * that are both right differ by less. */
#define CLOCK_SLACK_S 5

/* A client that begins by itself has done so by then. Two ends that begin at once both fail, and both try again after 5
 * s: with a round trip of 700 ms that happened twice in a row, and the first ping took 10 s instead of 4. Hence a round
 * trip and GREET_SLACK_MS where that is longer. The worker is believed up to GREET_RTT_MAX_MS: it might be taken over
 * by a client. */
#define GREET_MS 400
#define GREET_SLACK_MS 200
#define GREET_RTT_MAX_MS 3000

static void on_greeting_timer(uv_timer_t *timer);

/* --- lists --- */

/* Return: false without memory. */
static bool append_guest(struct wg_guest_list *list, const struct wg_guest *guest)
{
	struct wg_guest *added = array_append(&list->guests, &list->count, sizeof(*added));

	if (added)
		*added = *guest;
	return added;
}

static void forget_guests(struct wg_guest_list *list)
{
	list->count = 0;
	uv_timer_stop(&list->timer);
}

/* The loop's own time stands still while the device is read, so it is brought up to date. */
static void note_reading(struct wg_guests *guests, struct wg_guest_list *list)
{
	uv_update_time(guests->setup.loop);
	list->read_ms = uv_now(guests->setup.loop);
}

static struct wg_guest make_guest(const uint8_t *public_key, const struct addr *from, uint32_t rtt_ms)
{
	struct wg_guest guest = {.from = *from, .rtt_ms = rtt_ms};

	memcpy(guest.public_key, public_key, sizeof(guest.public_key));
	return guest;
}

/* --- a client that has come in --- */

/* Set the timer for the first guest that is due. */
static void set_greeting_timer(struct wg_guests *guests)
{
	const struct wg_guest_list *list = &guests->greetings;
	uint64_t due_ms = UINT64_MAX, now_ms = uv_now(guests->setup.loop);

	if (list->count == 0 || !guests->is_started)
		return;
	for (size_t i = 0; i < list->count; i++)
		due_ms = list->guests[i].due_ms < due_ms ? list->guests[i].due_ms : due_ms;
	if (due_ms < list->read_ms + READ_PAUSE_MS)
		due_ms = list->read_ms + READ_PAUSE_MS;
	uv_timer_start(&guests->greetings.timer, on_greeting_timer, due_ms > now_ms ? due_ms - now_ms : 0, 0);
}

/* The poke leaves the peer's keepalive as it is on the device. A peer that is not there is not greeted; one that has
 * shaken hands has a session with this device, and needs no greeting. */
static void greet(const struct wg_guests *guests, const struct wg_state *state, const struct wg_guest *guest)
{
	const struct wg_state_peer *peer = wg_state_find(state, guest->public_key);
	const char *device = guests->setup.device;
	struct err err = {""};

	if (!peer || peer->latest_handshake_s != 0)
		return;
	if (wg_device_set_endpoint(device, guest->public_key, &guest->from, &err) < 0 ||
		wg_device_poke(device, guest->public_key, peer->persistent_keepalive_s, &err) < 0)
		log_debug("wireguard", "%s", err.text);
}

static void on_greeting_timer(uv_timer_t *timer)
{
	struct wg_guests *guests = timer->data;
	struct wg_guest_list *list = &guests->greetings;
	uint64_t now_ms = uv_now(guests->setup.loop);
	struct wg_state state;
	size_t kept = 0;

	if (wg_device_read(guests->setup.device, &state, NULL) < 0) {
		list->count = 0; /* the device is gone, and so are its peers */
		return;
	}
	for (size_t i = 0; i < list->count; i++)
		if (list->guests[i].due_ms > now_ms)
			list->guests[kept++] = list->guests[i];
		else
			greet(guests, &state, &list->guests[i]);
	list->count = kept;
	wg_state_done(&state);
	note_reading(guests, list);
	set_greeting_timer(guests);
}

void wg_guests_greet(
	struct wg_guests *guests, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from, uint32_t rtt_ms)
{
	struct wg_guest guest = make_guest(public_key, from, rtt_ms);
	uint64_t wait_ms = (rtt_ms < GREET_RTT_MAX_MS ? rtt_ms : GREET_RTT_MAX_MS) + GREET_SLACK_MS;
	const uv_timer_t *timer = &guests->greetings.timer;

	if (wait_ms < GREET_MS)
		wait_ms = GREET_MS;
	guest.due_ms = uv_now(guests->setup.loop) + wait_ms;
	if (!append_guest(&guests->greetings, &guest))
		return;
	/* Thousands may come in at once: the list is gone through only where the timer is not early enough already. */
	if (!uv_is_active((const uv_handle_t *)timer) || uv_timer_get_due_in(timer) > wait_ms)
		set_greeting_timer(guests);
}

/* --- a clock that went back --- */

static void revive_first(struct wg_guests *guests)
{
	struct wg_guest_list *list = &guests->clocks;
	struct wg_guest guest;
	struct err err = {""};
	int rc;

	require(list->count > 0);
	guest = list->guests[0];
	list->count--;
	memmove(list->guests, list->guests + 1, list->count * sizeof(*list->guests));
	rc = wg_device_revive_peer(guests->setup.device, guest.public_key, &err);
	if (rc < 0)
		log_warning("wireguard", "%s", err.text);
	if (rc != 1)
		return;
	log_notice("wireguard", "a client's clock is behind its last handshake; its peer is taken anew");
	if (guest.from.sa.sa_family != AF_UNSPEC)
		wg_guests_greet(guests, guest.public_key, &guest.from, guest.rtt_ms);
}

/* WireGuard refuses an initiation that is older, by the client's clock, than the newest it has seen. It does not tell
 * that timestamp. As long as the client's clock was right it was our own time of the last handshake, which the device
 * tells.
 *
 * One reading for all who said their time since the last one; those who are not behind are dropped. One of the others
 * is revived, which reads the device twice more; the rest waits for the next reading. */
static void on_clock_timer(uv_timer_t *timer)
{
	struct wg_guests *guests = timer->data;
	struct wg_guest_list *list = &guests->clocks;
	struct wg_state state;
	size_t kept = 0;

	if (wg_device_read(guests->setup.device, &state, NULL) < 0) {
		list->count = 0;
		return;
	}
	for (size_t i = 0; i < list->count; i++) {
		const struct wg_state_peer *peer = wg_state_find(&state, list->guests[i].public_key);

		if (peer && peer->latest_handshake_s - CLOCK_SLACK_S > list->guests[i].wall_s)
			list->guests[kept++] = list->guests[i];
	}
	list->count = kept;
	wg_state_done(&state);
	if (list->count > 0)
		revive_first(guests);
	note_reading(guests, list);
	if (list->count > 0)
		uv_timer_start(timer, on_clock_timer, READ_PAUSE_MS, 0);
}

void wg_guests_take_clock(struct wg_guests *guests, const uint8_t public_key[WG_CONFIG_KEY_LEN],
	const struct addr *from, uint32_t rtt_ms, int64_t wall_s)
{
	struct wg_guest_list *list = &guests->clocks;
	struct wg_guest guest = make_guest(public_key, from, rtt_ms);
	uint64_t since_ms = uv_now(guests->setup.loop) - list->read_ms;
	size_t at = 0;

	if (!guests->is_started)
		return;
	guest.wall_s = wall_s;
	while (at < list->count && memcmp(list->guests[at].public_key, public_key, WG_CONFIG_KEY_LEN) != 0)
		at++;
	if (at < list->count)
		list->guests[at] = guest;
	else if (!append_guest(list, &guest))
		return;
	if (!uv_is_active((uv_handle_t *)&list->timer))
		uv_timer_start(
			&list->timer, on_clock_timer, since_ms < READ_PAUSE_MS ? READ_PAUSE_MS - since_ms : 0, 0);
}

/* --- open and close --- */

static void open_list(struct wg_guests *guests, struct wg_guest_list *list)
{
	uv_timer_init(guests->setup.loop, &list->timer);
	list->timer.data = guests;
	guests->pending++;
}

void wg_guests_open(struct wg_guests *guests, const struct wg_guests_setup *setup)
{
	*guests = (struct wg_guests){.setup = *setup};
	open_list(guests, &guests->greetings);
	open_list(guests, &guests->clocks);
}

void wg_guests_start(struct wg_guests *guests)
{
	guests->is_started = true;
	set_greeting_timer(guests);
}

void wg_guests_stop(struct wg_guests *guests)
{
	guests->is_started = false;
	forget_guests(&guests->greetings);
	forget_guests(&guests->clocks);
}

static void on_guest_timer_closed(uv_handle_t *handle)
{
	struct wg_guests *guests = handle->data;

	require(guests->pending > 0);
	if (--guests->pending == 0)
		guests->setup.on_closed(guests->setup.owner);
}

void wg_guests_close(struct wg_guests *guests)
{
	wg_guests_stop(guests);
	free(guests->greetings.guests);
	free(guests->clocks.guests);
	uv_close((uv_handle_t *)&guests->greetings.timer, on_guest_timer_closed);
	uv_close((uv_handle_t *)&guests->clocks.timer, on_guest_timer_closed);
}
