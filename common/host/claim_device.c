/* Looks at one device, and what follows from a look (claim_device.h).
 *
 * Theory of operation. WireGuard announces no change of peers: `wg syncconf` is silent. So the device is read, every 2
 * s, which is all that an idle hub does; tests/bench/claim measures what that costs. rtnetlink does announce devices and
 * routes, so a device that is deleted, made or set down, and a route that goes, are seen at once: by a monitor of our
 * own in another namespace, by the supervisor's in ours. As long as these are silent, only the peers are read
 * (is_as_it_was()).
 *
 * The device is identified by the namespace's id and its number. If one of both is another one, everything that we had
 * added has gone with the former one, and is forgotten, also in the undo list. A namespace that cannot be found any more
 * may come back as it was, so nothing is forgotten before that is known. A new device is let alone for SETTLE_MS
 * from when it is up: `wg-quick up` fails at the first `ip route add` of which the route is there, and a hook may have
 * such a line.
 *
 * After putting something right there are two looks, 400 ms apart, so that an undoing within a second is seen as one.
 *
 * A container's namespace is that of its process. When that has ended docker is asked for another one, every 2 s, and
 * whenever a device comes or goes in our own namespace, as a bridged container's does. The monitor's sockets keep a
 * namespace alive; they are closed as soon as the process is gone, which the end of its own devices announces.
 *
 * How it fails. Whatever cannot be read or done is a reason to wait, told once, and tried again by the next look.
 */
#include "common/host/claim_device.h"

#include "common/base/base64.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/host/claim_container.h"
#include "common/host/claim_file.h"
#include "common/host/claim_sight.h"
#include "common/host/claim_step.h"
#include "common/host/claim_undo.h"
#include "common/net/netmon.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOOK_MS 2000
#define GATHER_MS 50
#define SPACING_MS 300 /* from the end of a look to the next one that an event asks for */
#define SETTLE_MS 500
#define CHECK_MS 400 /* after putting right, twice */
#define CHECKS 2
#define TELL_MS 1500 /* a reason to wait is told when it has stood for so long: a restart of the manager is shorter */

struct claimed_prefix {
	struct prefix prefix;
	bool has_ip_entry, has_route_entry; /* in the undo list: we have added it */
	enum claim_holding holding;	    /* at the last look */
	bool is_left_told;
};

/* One [Claim]. */
struct claimed {
	uint8_t public_key[WG_CONFIG_KEY_LEN];
	char key_text[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1];
	struct claimed_prefix *prefixes;
	size_t count;
	struct claim_memory memory;
	uint64_t content; /* of the manager's file when it was put right last */
	bool was_true;	  /* once: it is put right after that */
	bool is_absent;	  /* its peer was not there at the last look, and this was told */
	unsigned put_right;
	int64_t last_s, since_s;
	struct addr endpoint;  /* of the peer when it last had one */
	char reason[ERR_TEXT_MAX]; /* why it could not be put right; "": it could */
};

struct claim_device {
	uv_loop_t *loop;
	struct undo *undo;
	struct claim place; /* which device: .interface, .container, .namespace_path; the last two are copies of ours */
	char text[IFNAMSIZ + 320]; /* "wg0 in container wg-easy" */
	struct claimed *claimed;
	size_t count;

	struct claim_container container;
	pid_t pid;		/* of the container's process; 0: not known */
	struct netmon *netmon;	/* in another namespace; NULL: none */
	uint64_t netns;		/* netns_id(), also of one that was lost; 0: none yet */
	bool is_inside;		/* it was found at the last look */
	bool is_stirred;	/* its links, addresses or routes may have changed since they were read last */
	int index;		/* of the device in it; 0: none */
	uint64_t up_ms;		/* uv_now() when it was first seen up; 0: it was not */
	struct claim_file file; /* of its manager */

	uv_timer_t timer;
	uint64_t due_ms, looked_ms;
	unsigned checks;   /* looks that are to follow soon */
	char reason[ERR_TEXT_MAX]; /* why there is no device to look at; "": there is */
	uint64_t reason_ms;
	bool is_reason_told, is_known; /* is_known: it was looked at, or a reason was told */
};

static void look(struct claim_device *device);

/* --- when --- */

static void on_claim_timer(uv_timer_t *timer)
{
	look(timer->data);
}

/* An earlier look that is due already stands. */
static void look_in(struct claim_device *device, uint64_t ms)
{
	uint64_t due_ms;

	uv_update_time(device->loop);
	due_ms = uv_now(device->loop) + ms;
	if (uv_is_active((uv_handle_t *)&device->timer) && device->due_ms <= due_ms)
		return;
	device->due_ms = due_ms;
	uv_timer_start(&device->timer, on_claim_timer, ms, 0);
}

static void look_soon(struct claim_device *device)
{
	uint64_t since_ms = uv_now(device->loop) - device->looked_ms;

	look_in(device, since_ms + GATHER_MS < SPACING_MS ? SPACING_MS - since_ms : GATHER_MS);
}

#define KINDS (NETMON_LINK | NETMON_ADDRESS | NETMON_ROUTE)

static void on_namespace_change(void *owner, unsigned kinds)
{
	struct claim_device *device = owner;

	if (!(kinds & KINDS))
		return;
	device->is_stirred = true;
	look_soon(device);
}

static bool is_elsewhere(const struct claim_device *device)
{
	return device->place.container || device->place.namespace_path;
}

void claim_device_on_network(struct claim_device *device, unsigned kinds)
{
	if (!is_elsewhere(device))
		on_namespace_change(device, kinds);
	else if (kinds & NETMON_LINK && !device->netmon)
		look_soon(device);
}

/* --- the undo list --- */

static bool is_entry_of(const struct claim_device *device, const struct claimed *claimed,
	const struct claimed_prefix *prefix, const struct undo_entry *entry)
{
	return entry->netns == device->netns && entry->index == device->index &&
	       memcmp(entry->public_key, claimed->public_key, WG_CONFIG_KEY_LEN) == 0 &&
	       prefix_equal(&entry->prefix, &prefix->prefix);
}

/* Drop the entries of one prefix, after undoing them where @undoes. What cannot be undone stays in the list for `down`
 * and the next start. */
static void end_entries(
	struct claim_device *device, struct claimed *claimed, struct claimed_prefix *prefix, bool undoes)
{
	const struct undo_entry *entry;
	struct err err = {""};

	for (size_t at = 0; (entry = undo_newest(device->undo, at));) {
		if (!is_entry_of(device, claimed, prefix, entry)) {
			at++;
		} else if (undoes && claim_undo(entry, &err) < 0) {
			log_warning("claim", "%s: cannot be taken away: %s", device->text, err.text);
			undo_set_aside(device->undo, at);
		} else if (undo_drop(device->undo, at, &err) < 0) {
			log_warning("claim", "%s", err.text);
		}
	}
	prefix->has_ip_entry = prefix->has_route_entry = false;
	if (!undo_newest(device->undo, 0))
		undo_begin_anew(device->undo);
}

static const char *namespace_path(const struct claim_device *device, char *buf, size_t size)
{
	if (!device->place.container)
		return device->place.namespace_path ? device->place.namespace_path : "";
	snprintf(buf, size, "/proc/%ld/ns/net", (long)device->pid);
	return buf;
}

static int add_entry(struct claim_device *device, const struct claimed *claimed, const struct claimed_prefix *prefix,
	enum undo_kind kind, struct err *err)
{
	struct undo_entry entry = {
		.kind = kind, .netns = device->netns, .index = device->index, .prefix = prefix->prefix};
	char path[64];

	memcpy(entry.device, device->place.interface, sizeof(entry.device));
	memcpy(entry.public_key, claimed->public_key, sizeof(entry.public_key));
	snprintf(entry.text, sizeof(entry.text), "%s", namespace_path(device, path, sizeof(path)));
	return undo_add(device->undo, &entry, err);
}

/* Nothing is known of what happens on it from now on. */
static void lose_sight(struct claim_device *device)
{
	for (size_t i = 0; i < device->count; i++) {
		claim_forget(&device->claimed[i].memory);
		device->claimed[i].reason[0] = '\0';
	}
	device->up_ms = 0;
	device->checks = 0;
}

/* The device has gone, and all that was on it. */
static void forget_device(struct claim_device *device)
{
	for (size_t i = 0; i < device->count; i++) {
		struct claimed *claimed = &device->claimed[i];

		for (size_t k = 0; k < claimed->count; k++)
			if (claimed->prefixes[k].has_ip_entry || claimed->prefixes[k].has_route_entry)
				end_entries(device, claimed, &claimed->prefixes[k], false);
	}
	lose_sight(device);
	device->index = 0;
}

/* The namespace was lost and found again, perhaps under another path: `down` must find it by that. */
static void renew_entries(struct claim_device *device)
{
	struct err err = {""};

	for (size_t i = 0; i < device->count; i++)
		for (size_t k = 0; k < device->claimed[i].count; k++) {
			struct claimed *claimed = &device->claimed[i];
			struct claimed_prefix *prefix = &claimed->prefixes[k], was = *prefix;

			if (!was.has_ip_entry && !was.has_route_entry)
				continue;
			end_entries(device, claimed, prefix, false);
			prefix->has_ip_entry =
				was.has_ip_entry && add_entry(device, claimed, prefix, UNDO_CLAIM_IP, &err) == 0;
			prefix->has_route_entry =
				was.has_route_entry && add_entry(device, claimed, prefix, UNDO_CLAIM_ROUTE, &err) == 0;
		}
	if (err.text[0])
		log_warning("claim", "%s: %s", device->text, err.text);
}

/* --- one claim --- */

static const char *list_prefixes(char *buf, size_t size, const struct claimed *claimed, enum claim_holding except)
{
	char text[PREFIX_TEXT_MAX];

	buf[0] = '\0';
	for (size_t i = 0; i < claimed->count; i++)
		if (claimed->prefixes[i].holding != except)
			text_append_word(buf, size, prefix_format(text, sizeof(text), &claimed->prefixes[i].prefix));
	return buf;
}

static struct net_route route_of(const struct claim_device *device, const struct claimed_prefix *prefix)
{
	return (struct net_route){.to = prefix->prefix, .index = device->index, .table = NET_ROUTE_TABLE_MAIN};
}

static void tell_left(
	const struct claim_device *device, struct claimed_prefix *prefix, const struct wg_state_peer *holder)
{
	char text[PREFIX_TEXT_MAX], key[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1];

	if (prefix->is_left_told)
		return;
	prefix->is_left_told = true;
	base64_encode(key, sizeof(key), holder->public_key, sizeof(holder->public_key), BASE64_STANDARD);
	log_warning("claim",
		"%s: %s: left to peer %s, because %s.conf gives it to that; taking it out there, or out of [Claim], "
		"helps",
		device->text, prefix_format(text, sizeof(text), &prefix->prefix), key, device->place.interface);
}

/* Whose are its prefixes? Return: true if nothing lacks. */
static bool look_at_prefixes(struct claim_device *device, struct claimed *claimed, const struct claim_sight *sight)
{
	bool is_whole = true;
	char path[64];

	for (size_t i = 0; i < claimed->count; i++) {
		struct claimed_prefix *prefix = &claimed->prefixes[i];
		const struct wg_state_peer *holder = claim_find_holder(&sight->state, &prefix->prefix);
		const struct net_route route = route_of(device, prefix);

		if (holder && memcmp(holder->public_key, claimed->public_key, WG_CONFIG_KEY_LEN) != 0)
			claim_file_look(&device->file, namespace_path(device, path, sizeof(path)),
				device->place.interface);
		prefix->holding = claim_judge(holder, claimed->public_key, &prefix->prefix, &device->file,
			claim_file_is_fresh(&device->file));
		if (prefix->holding == CLAIM_GIVEN) {
			tell_left(device, prefix, holder);
			if (prefix->has_ip_entry || prefix->has_route_entry)
				end_entries(device, claimed, prefix, true);
			continue;
		}
		prefix->is_left_told = false;
		if (prefix->holding != CLAIM_HELD || !net_routes_cover(&sight->routes, &route))
			is_whole = false;
	}
	return is_whole;
}

/* Prefixes that lack are added in one message. */
static int add_allowed_ips(struct claim_device *device, struct claimed *claimed, struct err *err)
{
	struct prefix *prefixes = calloc(claimed->count + 1, sizeof(*prefixes));
	size_t count = 0;
	int rc = prefixes ? 0 : err_system(err, -ENOMEM, "AllowedIPs");

	for (size_t i = 0; rc == 0 && i < claimed->count; i++) {
		struct claimed_prefix *prefix = &claimed->prefixes[i];

		if (prefix->holding != CLAIM_FREE && prefix->holding != CLAIM_STOLEN)
			continue;
		if (!prefix->has_ip_entry)
			rc = add_entry(device, claimed, prefix, UNDO_CLAIM_IP, err);
		if (rc == 0) {
			prefix->has_ip_entry = true;
			prefixes[count++] = prefix->prefix;
		}
	}
	if (rc == 0 && count > 0)
		rc = wg_device_add_allowed_ips(
			device->place.interface, claimed->public_key, prefixes, count, err);
	free(prefixes);
	return rc;
}

static int add_one_route(struct claim_device *device, struct claimed *claimed, struct claimed_prefix *prefix,
	struct claim_sight *sight, struct err *err)
{
	const struct net_route route = route_of(device, prefix);
	int rc = prefix->has_route_entry ? 0 : add_entry(device, claimed, prefix, UNDO_CLAIM_ROUTE, err);
	char text[PREFIX_TEXT_MAX];

	if (rc < 0)
		return rc;
	prefix->has_route_entry = true;
	rc = net_route_add(&sight->netlink, &route, err);
	if (rc == -EEXIST)
		err_set(err, rc, "another route to %s is there; taking it out in that namespace helps: ip route del %s",
			prefix_format(text, sizeof(text), &prefix->prefix), text);
	return rc;
}

static int add_routes(
	struct claim_device *device, struct claimed *claimed, struct claim_sight *sight, struct err *err)
{
	int rc = 0;

	for (size_t i = 0; i < claimed->count; i++) {
		struct claimed_prefix *prefix = &claimed->prefixes[i];
		const struct net_route route = route_of(device, prefix);
		int one;

		if (prefix->holding == CLAIM_GIVEN || prefix->holding == CLAIM_UNSURE ||
			net_routes_cover(&sight->routes, &route))
			continue;
		one = add_one_route(device, claimed, prefix, sight, err);
		rc = one < 0 ? one : rc;
	}
	return rc;
}

/* A device made anew knows no address of the peer, which still has a session with the former one, and would notice that
 * only after 15 s. So where the peer was reached last, a handshake is begun. */
static void greet(const struct claim_device *device, struct claimed *claimed, const struct wg_state_peer *peer)
{
	struct err err = {""};

	if (peer->endpoint.sa.sa_family != AF_UNSPEC || claimed->endpoint.sa.sa_family == AF_UNSPEC)
		return;
	if (wg_device_set_endpoint(device->place.interface, peer->public_key, &claimed->endpoint, &err) < 0 ||
		wg_device_poke(device->place.interface, peer->public_key, peer->persistent_keepalive_s, &err) < 0)
		log_debug("claim", "%s: %s", device->text, err.text);
	claimed->endpoint = (struct addr){0}; /* once */
}

static void tell_put(const struct claim_device *device, struct claimed *claimed, bool was_taken, bool is_rewritten)
{
	char list[512];

	list_prefixes(list, sizeof(list), claimed, CLAIM_GIVEN);
	if (claimed->memory.is_slow)
		log_debug("claim", "%s: %s of peer %s: put right", device->text, list, claimed->key_text);
	else if (was_taken)
		log_notice("claim", "%s: %s of peer %s: was taken away%s; put right", device->text, list,
			claimed->key_text,
			is_rewritten ? " with a new content of its manager's file" : " by another program");
	else
		log_notice("claim", "%s: %s: added to peer %s", device->text, list, claimed->key_text);
}

static void put_right(struct claim_device *device, struct claimed *claimed, struct claim_sight *sight,
	const struct wg_state_peer *peer, bool was_taken)
{
	bool is_rewritten = device->file.content != claimed->content, is_whole = true;
	struct err err = {""};
	int rc = add_allowed_ips(device, claimed, &err);

	if (rc == 0)
		rc = add_routes(device, claimed, sight, &err);
	for (size_t i = 0; i < claimed->count; i++)
		is_whole = is_whole && claimed->prefixes[i].holding != CLAIM_UNSURE;
	if (rc < 0 && strcmp(claimed->reason, err.text) != 0)
		log_warning("claim", "%s: peer %s: %s; tried again", device->text, claimed->key_text, err.text);
	snprintf(claimed->reason, sizeof(claimed->reason), "%s", rc < 0 ? err.text : "");
	claimed->content = device->file.content;
	claim_note_put(&claimed->memory, rc == 0 && is_whole, clock_now_us());
	if (rc < 0 || !is_whole)
		return;
	tell_put(device, claimed, was_taken, is_rewritten);
	greet(device, claimed, peer);
	if (claimed->was_true) {
		claimed->put_right++;
		claimed->last_s = clock_wall_s();
	}
	device->checks = CHECKS;
}

static void take_away(struct claim_device *device, struct claimed *claimed)
{
	for (size_t i = 0; i < claimed->count; i++)
		if (claimed->prefixes[i].has_ip_entry || claimed->prefixes[i].has_route_entry)
			end_entries(device, claimed, &claimed->prefixes[i], true);
}

/* The peer is gone, and its allowed IPs with it. */
static void withdraw(struct claim_device *device, struct claimed *claimed)
{
	take_away(device, claimed);
	claimed->reason[0] = '\0';
	if (!claimed->is_absent)
		log_notice("claim", "%s: there is no peer %s; its claim waits until another program makes that",
			device->text, claimed->key_text);
	claimed->is_absent = true;
}

static void look_at_claim(struct claim_device *device, struct claimed *claimed, struct claim_sight *sight)
{
	const struct wg_state_peer *peer = wg_state_find(&sight->state, claimed->public_key);
	bool was_taken = claimed->memory.state == CLAIM_TRUE;
	struct claim_seen seen = {.has_peer = peer};
	char path[64];

	if (peer && peer->endpoint.sa.sa_family != AF_UNSPEC)
		claimed->endpoint = peer->endpoint;
	if (peer) {
		claimed->is_absent = false;
		seen.is_whole = look_at_prefixes(device, claimed, sight);
	}
	if (peer && !seen.is_whole) {
		claim_file_look(
			&device->file, namespace_path(device, path, sizeof(path)), device->place.interface);
		seen.is_rewritten = device->file.content != claimed->content;
	}
	switch (claim_step(&claimed->memory, &seen, clock_now_us())) {
	case CLAIM_ACT_NONE:
		break;
	case CLAIM_ACT_WITHDRAW:
		withdraw(device, claimed);
		break;
	case CLAIM_ACT_PUT_RIGHT:
		put_right(device, claimed, sight, peer, was_taken);
		break;
	case CLAIM_ACT_LEAVE_ALONE:
		log_warning("claim",
			"%s: peer %s: another program takes its claim away again and again (%d times in 10 s); left "
			"alone for 30 s",
			device->text, claimed->key_text, CLAIM_UNDONE_MAX);
		break;
	case CLAIM_ACT_SLOW_DOWN:
		log_warning("claim",
			"%s: peer %s: its manager rewrites it again and again (%d times in 10 s); put right once a second "
			"from now on, which --verbose tells",
			device->text, claimed->key_text, CLAIM_UNDONE_MAX);
		break;
	}
	if (claimed->memory.is_slow && claimed->memory.state == CLAIM_WAITING && device->checks == 0)
		device->checks = 1;
	if (claimed->memory.state != CLAIM_TRUE)
		claimed->since_s = 0;
	else if (claimed->since_s == 0)
		claimed->since_s = clock_wall_s();
	claimed->was_true |= claimed->memory.state == CLAIM_TRUE;
}

/* --- the device --- */

/* There is none to look at. */
static void wait_for(struct claim_device *device, const char *reason)
{
	uint64_t now_ms = uv_now(device->loop);

	if (strcmp(device->reason, reason) != 0) {
		snprintf(device->reason, sizeof(device->reason), "%s", reason);
		device->reason_ms = now_ms;
		device->is_reason_told = false;
	}
	if (device->is_reason_told || (device->is_known && now_ms - device->reason_ms < TELL_MS))
		return;
	device->is_reason_told = device->is_known = true;
	log_notice("claim", "%s: %s; waits for it", device->text, reason);
}

/* It cannot be found any more. What was added may be there all the same: containers of one pod share a namespace, which
 * lives on when one of them is restarted. */
static void leave_namespace(struct claim_device *device)
{
	lose_sight(device);
	netmon_close(device->netmon);
	device->netmon = NULL;
	device->is_inside = false;
}

/* In it: a monitor hears the namespace in which it is opened. */
static void take_namespace(struct claim_device *device, uint64_t netns)
{
	struct err err = {""};

	if (device->is_inside && netns == device->netns)
		return;
	if (netns == device->netns)
		renew_entries(device);
	else
		forget_device(device);
	leave_namespace(device);
	device->netns = netns;
	device->is_inside = device->is_stirred = true;
	if (is_elsewhere(device) && netmon_open(&device->netmon, device->loop, on_namespace_change, device, &err) < 0)
		log_warning("claim", "%s: %s; changes are seen every %d s", device->text, err.text, LOOK_MS / 1000);
}

static void look_at_claims(struct claim_device *device, struct claim_sight *sight)
{
	uint64_t now_ms = uv_now(device->loop);

	if (sight->link.index != device->index) {
		forget_device(device);
		device->index = sight->link.index;
	}
	if (!sight->link.is_up) {
		device->up_ms = 0;
		wait_for(device, "the device is down");
		return;
	}
	if (device->up_ms == 0)
		device->up_ms = now_ms;
	if (now_ms - device->up_ms < SETTLE_MS) {
		look_in(device, SETTLE_MS - (now_ms - device->up_ms));
		return;
	}
	device->reason[0] = '\0';
	device->is_known = true;
	for (size_t i = 0; i < device->count; i++)
		look_at_claim(device, &device->claimed[i], sight);
}

/* As at the last look: has the peer of @claimed, if it was there, all that is claimed? */
static bool is_peer_as_it_was(struct claimed *claimed, const struct wg_state *state)
{
	const struct wg_state_peer *peer = wg_state_find(state, claimed->public_key);
	const struct claim_seen seen = {.has_peer = peer, .is_whole = true};
	bool is_whole = peer && claimed->memory.state == CLAIM_TRUE;

	for (size_t i = 0; is_whole && i < claimed->count; i++)
		is_whole = claim_find_holder(state, &claimed->prefixes[i].prefix) == peer;
	if (!is_whole)
		return !peer && claimed->is_absent;
	if (peer->endpoint.sa.sa_family != AF_UNSPEC)
		claimed->endpoint = peer->endpoint;
	claim_step(&claimed->memory, &seen, clock_now_us());
	return true;
}

/* Nothing was announced in its namespace, and its peers have what is claimed: then nothing else needs to be read. */
static bool is_as_it_was(struct claim_device *device)
{
	struct claim_sight sight;
	char path[64];
	bool is_same;

	if (!device->is_inside || device->is_stirred || device->up_ms == 0 || device->reason[0] ||
		(is_elsewhere(device) && !device->netmon) ||
		claim_sight_open_peers(
			&sight, namespace_path(device, path, sizeof(path)), device->place.interface, NULL) < 0)
		return false;
	is_same = sight.netns == device->netns && sight.state.index == device->index;
	for (size_t i = 0; is_same && i < device->count; i++)
		is_same = is_peer_as_it_was(&device->claimed[i], &sight.state);
	claim_sight_close(&sight);
	return is_same;
}

static void look_inside(struct claim_device *device)
{
	struct claim_sight sight;
	struct err err = {""};
	char path[64];
	int rc;

	if (is_as_it_was(device))
		return;
	device->is_stirred = false;
	rc = claim_sight_open(&sight, namespace_path(device, path, sizeof(path)), device->place.interface, &err);

	/* A process of another namespace has got the number of the container's. */
	if ((rc == 0 || rc == -ENODEV) && device->place.container && device->is_inside && device->netns != sight.netns) {
		claim_sight_close(&sight);
		rc = err_set(&err, -ENOENT, "container %s: its process has ended", device->place.container);
	}
	if (rc == 0 || rc == -ENODEV)
		take_namespace(device, sight.netns);
	if (rc == -ENODEV)
		forget_device(device);
	if (rc == 0)
		look_at_claims(device, &sight);
	else
		wait_for(device, err.text);
	if (rc == 0 || rc == -ENODEV) {
		claim_sight_close(&sight);
		return;
	}
	leave_namespace(device);
	device->pid = 0;
}

static void on_container(void *owner, pid_t pid, const char *why)
{
	struct claim_device *device = owner;

	device->pid = pid;
	if (pid > 0)
		look_in(device, 0);
	else
		wait_for(device, why);
}

static void look(struct claim_device *device)
{
	bool was_inside = device->is_inside;

	if (!device->place.container || device->pid > 0)
		look_inside(device);
	else
		claim_container_ask(&device->container);
	uv_update_time(device->loop);
	device->looked_ms = uv_now(device->loop);
	if (device->place.container && device->pid == 0 && was_inside)
		look_in(device, 0); /* its process has just ended: ask for the next one */
	else if (device->checks > 0) {
		device->checks--;
		look_in(device, CHECK_MS);
	} else {
		look_in(device, LOOK_MS);
	}
}

/* --- claims come and go --- */

static void claimed_free(struct claimed *claimed, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(claimed[i].prefixes);
	free(claimed);
}

bool claim_device_is_of(const struct claim_device *device, const struct claim *claim)
{
	return claim_is_same_device(&device->place, claim);
}

/* Return: 0, or -ENOMEM with nothing to free. */
static int claimed_fill(struct claimed *ret, const struct claim *claim)
{
	ret->prefixes = calloc(claim->peer.allowed_ip_count + 1, sizeof(*ret->prefixes));
	if (!ret->prefixes)
		return -ENOMEM;
	memcpy(ret->public_key, claim->peer.public_key, sizeof(ret->public_key));
	base64_encode(ret->key_text, sizeof(ret->key_text), ret->public_key, sizeof(ret->public_key), BASE64_STANDARD);
	for (size_t i = 0; i < claim->peer.allowed_ip_count; i++)
		ret->prefixes[ret->count++].prefix = prefix_network(&claim->peer.allowed_ips[i].prefix);
	return 0;
}

/* @before is a claim of the same peer: what it has added of the same prefixes is @now's. */
static void claimed_inherit(struct claimed *now, struct claimed *before)
{
	if (memcmp(now->public_key, before->public_key, sizeof(now->public_key)) != 0)
		return;
	now->was_true = before->was_true;
	now->is_absent = before->is_absent;
	now->put_right = before->put_right;
	now->last_s = before->last_s;
	now->since_s = before->since_s;
	now->endpoint = before->endpoint;
	now->content = before->content;
	for (size_t i = 0; i < now->count; i++)
		for (size_t k = 0; k < before->count; k++)
			if (prefix_equal(&now->prefixes[i].prefix, &before->prefixes[k].prefix)) {
				now->prefixes[i] = before->prefixes[k];
				before->prefixes[k].has_ip_entry = before->prefixes[k].has_route_entry = false;
			}
}

int claim_device_set(struct claim_device *device, const struct claim *claims, size_t count)
{
	struct claimed *claimed = calloc(count + 1, sizeof(*claimed));
	size_t kept = 0;
	int rc = claimed ? 0 : -ENOMEM;

	for (size_t i = 0; rc == 0 && i < count; i++)
		if (claim_device_is_of(device, &claims[i])) {
			rc = claimed_fill(&claimed[kept], &claims[i]);
			kept += rc == 0;
		}
	if (rc < 0) {
		claimed_free(claimed, kept);
		return rc;
	}
	for (size_t i = 0; i < kept; i++)
		for (size_t k = 0; k < device->count; k++)
			claimed_inherit(&claimed[i], &device->claimed[k]);
	for (size_t i = 0; i < device->count; i++)
		take_away(device, &device->claimed[i]);
	claimed_free(device->claimed, device->count);
	device->claimed = claimed;
	device->count = kept;
	device->is_stirred = true;
	look_in(device, 0);
	return 0;
}

/* --- status --- */

static const char *state_word(const struct claim_device *device, const struct claimed *claimed)
{
	for (size_t i = 0; i < claimed->count && !device->reason[0]; i++)
		if (claimed->prefixes[i].holding == CLAIM_GIVEN)
			return "left-alone";
	if (device->reason[0] || claimed->memory.state == CLAIM_WAITING)
		return "waiting";
	return claimed->memory.state == CLAIM_TRUE ? "true" : "left-alone";
}

static const char *why(const struct claim_device *device, const struct claimed *claimed)
{
	for (size_t i = 0; i < claimed->count && !device->reason[0]; i++)
		if (claimed->prefixes[i].holding == CLAIM_GIVEN)
			return "its manager's file gives it to another peer";
	if (device->reason[0])
		return device->reason;
	if (claimed->memory.state == CLAIM_LEFT_ALONE)
		return "another program takes it away again and again";
	return claimed->is_absent ? "there is no such peer" : claimed->reason;
}

static json_t *time_or_null(int64_t wall_s)
{
	char text[32];

	return wall_s ? json_string(clock_format_utc(text, sizeof(text), wall_s)) : json_null();
}

void claim_device_report(const struct claim_device *device, json_t *array)
{
	for (size_t i = 0; i < device->count; i++) {
		const struct claimed *claimed = &device->claimed[i];
		const char *state = state_word(device, claimed), *reason = why(device, claimed);
		json_t *object = json_object(), *prefixes = json_array();
		char text[PREFIX_TEXT_MAX];

		for (size_t k = 0; k < claimed->count; k++)
			json_array_append_new(prefixes,
				json_string(prefix_format(text, sizeof(text), &claimed->prefixes[k].prefix)));
		json_object_set_new(object, "interface", json_string(device->place.interface));
		if (device->place.container)
			json_object_set_new(object, "container", json_string(device->place.container));
		if (device->place.namespace_path)
			json_object_set_new(object, "namespace", json_string(device->place.namespace_path));
		json_object_set_new(object, "public_key", json_string(claimed->key_text));
		json_object_set_new(object, "allowed_ips", prefixes);
		json_object_set_new(object, "state", json_string(state));
		json_object_set_new(
			object, "since", time_or_null(strcmp(state, "true") == 0 ? claimed->since_s : 0));
		json_object_set_new(object, "put_right", json_integer(claimed->put_right));
		json_object_set_new(object, "last_at", time_or_null(claimed->last_s));
		if (strcmp(state, "true") != 0 && *reason)
			json_object_set_new(object, "reason", json_string(reason));
		json_array_append_new(array, object);
	}
}

/* --- open and close --- */

static void on_device_closed(uv_handle_t *handle)
{
	free(handle->data);
}

struct claim_device *claim_device_open(uv_loop_t *loop, const struct claim *claim, struct undo *undo)
{
	struct claim_device *device = calloc(1, sizeof(*device));
	char *container = claim->container ? strdup(claim->container) : NULL;
	char *path = claim->namespace_path ? strdup(claim->namespace_path) : NULL;

	if (!device || (claim->container && !container) || (claim->namespace_path && !path)) {
		free(device);
		free(container);
		free(path);
		return NULL;
	}
	*device = (struct claim_device){.loop = loop,
		.undo = undo,
		.place = {.container = container, .namespace_path = path},
		.container = {.loop = loop, .name = container, .on_answer = on_container, .owner = device}};
	memcpy(device->place.interface, claim->interface, sizeof(device->place.interface));
	snprintf(device->text, sizeof(device->text), "%s%s%s", claim->interface,
		container ? " in container " : path ? " in " : "", container ? container : path ? path : "");
	uv_timer_init(loop, &device->timer);
	device->timer.data = device;
	return device;
}

void claim_device_close(struct claim_device *device)
{
	for (size_t i = 0; i < device->count; i++)
		take_away(device, &device->claimed[i]);
	claimed_free(device->claimed, device->count);
	claim_container_stop(&device->container);
	netmon_close(device->netmon);
	claim_file_done(&device->file);
	free(device->place.container);
	free(device->place.namespace_path);
	uv_close((uv_handle_t *)&device->timer, on_device_closed);
}
