/* Read and set WireGuard devices through wireguard.c.
 *
 * Happy path: wireguard.c's lists are turned into our arrays and back; they are freed, wiped, before we return.
 *
 * Faults of wireguard.c are worked around by having it call two functions of ours (-Drecvmsg=…, -Dfree=… in
 * meson.build), so that its source stays as it is installed:
 * - wg_get_device() repeats for ever once it has seen EINTR, because it keeps the error of the first attempt. EINTR
 *   comes from a signal, and from a dump that the kernel marks as inconsistent because another program changed the
 *   device meanwhile. wg_library_recvmsg() lets neither through; it notes the mark, and we repeat a few times.
 * - A refusal brings the refused message along and may be larger than wireguard.c's buffer, which then says "no space
 *   left" instead of the kernel's reason. wg_library_recvmsg() shortens it to the reason.
 * - It waits for an answer without end. wg_library_recvmsg() gives up after WG_UPDATE_ANSWER_S.
 * - Keys are freed unwiped, also on its error paths and in its receive buffer. wg_library_free() wipes all it frees.
 */
#include "common/wireguard/wg_library.h"

#include "common/base/secret.h"
#include "common/wireguard/wg_update.h"

#include <errno.h>
#include <linux/netlink.h>
#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <wireguard.h>

/* If a device changes during each of so many reads, the last read counts. */
#define ATTEMPTS_MAX 5

/* Set while the dump that was read last was marked as inconsistent. The supervisor has one thread. */
static bool dump_was_interrupted;

/* --- what wireguard.c calls --- */

/* Clear the mark in every message of @buf. Return: true if a message had it. */
static bool clear_interrupted(char *buf, size_t len)
{
	bool found = false;
	struct nlmsghdr header;

	while (len >= sizeof(header)) {
		memcpy(&header, buf, sizeof(header));
		if (header.nlmsg_len < sizeof(header) || header.nlmsg_len > len)
			break;
		if (header.nlmsg_flags & NLM_F_DUMP_INTR) {
			header.nlmsg_flags &= (uint16_t)~NLM_F_DUMP_INTR;
			memcpy(buf, &header, sizeof(header));
			found = true;
		}
		if (NLMSG_ALIGN(header.nlmsg_len) >= len)
			break;
		buf += NLMSG_ALIGN(header.nlmsg_len);
		len -= NLMSG_ALIGN(header.nlmsg_len);
	}
	return found;
}

/* Return: the bytes of @buf that count: of a refusal that did not fit its first part, which holds the reason. */
static size_t shorten_refusal(struct msghdr *message, char *buf, size_t len)
{
	const size_t wanted = NLMSG_LENGTH(sizeof(struct nlmsgerr));
	struct nlmsghdr header;

	if (!(message->msg_flags & MSG_TRUNC) || len < wanted)
		return len;
	memcpy(&header, buf, sizeof(header));
	if (header.nlmsg_type != NLMSG_ERROR)
		return len;
	header.nlmsg_len = (uint32_t)wanted;
	memcpy(buf, &header, sizeof(header));
	message->msg_flags &= ~MSG_TRUNC;
	return wanted;
}

/* Return: 0 or a negative errno. */
static int wait_for_answer(int fd)
{
	struct pollfd waiting = {.fd = fd, .events = POLLIN};
	int rc;

	do {
		rc = poll(&waiting, 1, WG_UPDATE_ANSWER_S * 1000);
	} while (rc < 0 && errno == EINTR);
	if (rc < 0)
		return -errno;
	return rc == 0 ? -ETIMEDOUT : 0;
}

ssize_t wg_library_recvmsg(int fd, struct msghdr *message, int flags)
{
	int rc = wait_for_answer(fd);
	ssize_t len;
	char *buf;

	if (rc < 0) {
		errno = -rc;
		return -1;
	}
	do {
		len = recvmsg(fd, message, flags);
	} while (len < 0 && errno == EINTR);
	/* wireguard.c receives into one buffer. */
	if (len <= 0 || message->msg_iovlen != 1 || (size_t)len > message->msg_iov->iov_len)
		return len;
	buf = message->msg_iov->iov_base;
	if (clear_interrupted(buf, (size_t)len))
		dump_was_interrupted = true;
	return (ssize_t)shorten_refusal(message, buf, (size_t)len);
}

/* wireguard.c reads errno after freeing. */
void wg_library_free(void *memory)
{
	int saved_errno = errno;

	secret_wipe(memory, malloc_usable_size(memory));
	free(memory);
	errno = saved_errno;
}

/* --- read --- */

/* wireguard.c has linked lists without a length. Arrays get one element more: calloc() of nothing may return NULL. */
static size_t count_peers(const wg_device *device)
{
	const wg_peer *peer;
	size_t count = 0;

	wg_for_each_peer(device, peer) count++;
	return count;
}

static struct prefix prefix_from(const wg_allowedip *ip)
{
	struct prefix prefix = {.bits = ip->cidr};

	prefix.addr.sa.sa_family = ip->family;
	if (ip->family == AF_INET)
		prefix.addr.in4.sin_addr = ip->ip4;
	else
		prefix.addr.in6.sin6_addr = ip->ip6;
	return prefix;
}

static int fill_peer(struct wg_state_peer *ret, const wg_peer *peer)
{
	const wg_allowedip *ip;
	size_t count = 0;

	wg_for_each_allowedip(peer, ip) count++;
	ret->allowed_ips = calloc(count + 1, sizeof(*ret->allowed_ips));
	if (!ret->allowed_ips)
		return -ENOMEM;
	wg_for_each_allowedip(peer, ip) ret->allowed_ips[ret->allowed_ip_count++] = prefix_from(ip);
	memcpy(ret->public_key, peer->public_key, sizeof(ret->public_key));
	ret->has_preshared_key = peer->flags & WGPEER_HAS_PRESHARED_KEY;
	addr_from_sockaddr(&peer->endpoint.addr, &ret->endpoint);
	ret->latest_handshake_s = peer->last_handshake_time.tv_sec;
	ret->received_bytes = peer->rx_bytes;
	ret->sent_bytes = peer->tx_bytes;
	ret->persistent_keepalive_s = peer->persistent_keepalive_interval;
	return 0;
}

static int fill_state(struct wg_state *ret, const wg_device *device)
{
	const wg_peer *peer;
	int rc = 0;

	*ret = (struct wg_state){
		.index = (int)device->ifindex,
		.listen_port = device->listen_port,
		.fwmark = device->fwmark,
		.has_key = device->flags & WGDEVICE_HAS_PRIVATE_KEY,
		.peers = calloc(count_peers(device) + 1, sizeof(*ret->peers)),
	};
	if (!ret->peers)
		return -ENOMEM;
	memcpy(ret->public_key, device->public_key, sizeof(ret->public_key));
	wg_for_each_peer(device, peer) if (rc == 0) rc = fill_peer(&ret->peers[ret->peer_count++], peer);
	if (rc < 0)
		wg_state_done(ret);
	return rc;
}

static int fill_keys(struct wg_library_keys *ret, const wg_device *device)
{
	const wg_peer *peer;
	size_t count = count_peers(device);

	*ret = (struct wg_library_keys){.preshared_keys = calloc(count + 1, sizeof(*ret->preshared_keys))};
	if (!ret->preshared_keys)
		return -ENOMEM;
	memcpy(ret->private_key, device->private_key, sizeof(ret->private_key));
	wg_for_each_peer(device, peer) memcpy(ret->preshared_keys[ret->count++], peer->preshared_key, sizeof(wg_key));
	return 0;
}

void wg_library_keys_done(struct wg_library_keys *keys)
{
	if (keys->preshared_keys)
		secret_wipe(keys->preshared_keys, keys->count * sizeof(*keys->preshared_keys));
	free(keys->preshared_keys);
	secret_wipe(keys, sizeof(*keys));
}

/* A name that is too long is refused here, because wireguard.c would cut it, and the rest may be another device's name.
 * Return: 0 (close with wg_free_device()), or a negative errno. */
static int read_device(const char *name, wg_device **ret)
{
	wg_device *device = NULL;
	int rc;

	if (strlen(name) >= sizeof(device->name))
		return -ENODEV;
	for (int attempt = 1;; attempt++) {
		dump_was_interrupted = false;
		rc = wg_get_device(&device, name);
		if (rc < 0)
			return rc;
		if (!dump_was_interrupted || attempt == ATTEMPTS_MAX)
			break;
		wg_free_device(device);
	}
	*ret = device;
	return 0;
}

int wg_library_read(const char *name, struct wg_state *ret, struct wg_library_keys *ret_keys)
{
	struct wg_state state;
	wg_device *device;
	int rc = read_device(name, &device);

	if (rc < 0)
		return rc;
	rc = fill_state(&state, device);
	if (rc == 0 && ret_keys) {
		rc = fill_keys(ret_keys, device);
		if (rc < 0)
			wg_state_done(&state);
	}
	wg_free_device(device);
	if (rc == 0)
		*ret = state;
	return rc;
}

char *wg_library_list_names(void)
{
	char *names;

	for (int attempt = 1;; attempt++) {
		dump_was_interrupted = false;
		names = wg_list_device_names();
		if (!names || !dump_was_interrupted || attempt == ATTEMPTS_MAX)
			return names;
		free(names);
	}
}

/* --- set --- */

static int add_allowed_ip(wg_peer *peer, const struct prefix *prefix)
{
	wg_allowedip *ip = calloc(1, sizeof(*ip));

	if (!ip)
		return -ENOMEM;
	ip->family = prefix->addr.sa.sa_family;
	ip->cidr = prefix->bits;
	if (ip->family == AF_INET)
		ip->ip4 = prefix->addr.in4.sin_addr;
	else
		ip->ip6 = prefix->addr.in6.sin6_addr;
	if (peer->last_allowedip)
		peer->last_allowedip->next_allowedip = ip;
	else
		peer->first_allowedip = ip;
	peer->last_allowedip = ip;
	return 0;
}

static void fill_entry(wg_peer *peer, const struct wg_entry *entry)
{
	unsigned flags = WGPEER_HAS_PUBLIC_KEY;

	memcpy(peer->public_key, entry->public_key, sizeof(wg_key));
	if (entry->flags & WG_ENTRY_REMOVE)
		flags |= WGPEER_REMOVE_ME;
	if (entry->flags & WG_ENTRY_REPLACE_ALLOWED_IPS)
		flags |= WGPEER_REPLACE_ALLOWEDIPS;
	if (entry->preshared_key) {
		memcpy(peer->preshared_key, entry->preshared_key, sizeof(wg_key));
		flags |= WGPEER_HAS_PRESHARED_KEY;
	}
	if (entry->endpoint)
		memcpy(&peer->endpoint, &entry->endpoint->sa, addr_len(entry->endpoint));
	if (entry->keepalive_s) {
		peer->persistent_keepalive_interval = *entry->keepalive_s;
		flags |= WGPEER_HAS_PERSISTENT_KEEPALIVE_INTERVAL;
	}
	peer->flags = (enum wg_peer_flags)flags;
}

static int add_entry(wg_device *device, const struct wg_entry *entry)
{
	wg_peer *peer = calloc(1, sizeof(*peer));
	int rc = peer ? 0 : -ENOMEM;

	if (!peer)
		return rc;
	fill_entry(peer, entry);
	if (device->last_peer)
		device->last_peer->next_peer = peer;
	else
		device->first_peer = peer;
	device->last_peer = peer;
	for (size_t i = 0; i < entry->allowed_ip_count && rc == 0; i++)
		rc = add_allowed_ip(peer, &entry->allowed_ips[i]);
	return rc;
}

/* The kernel sets the fields whose flags are set, and leaves the others as they are. */
static void fill_settings(wg_device *device, const struct wg_library_settings *settings)
{
	unsigned flags = settings->replaces_peers ? WGDEVICE_REPLACE_PEERS : 0;

	if (settings->private_key) {
		memcpy(device->private_key, settings->private_key, sizeof(wg_key));
		flags |= WGDEVICE_HAS_PRIVATE_KEY;
	}
	if (settings->listen_port) {
		device->listen_port = *settings->listen_port;
		flags |= WGDEVICE_HAS_LISTEN_PORT;
	}
	if (settings->fwmark) {
		device->fwmark = *settings->fwmark;
		flags |= WGDEVICE_HAS_FWMARK;
	}
	device->flags = (enum wg_device_flags)flags;
}

int wg_library_set(
	const char *name, const struct wg_library_settings *settings, const struct wg_entry *entries, size_t count)
{
	wg_device *device;
	int rc = 0;

	if (strlen(name) >= sizeof(device->name))
		return -ENODEV;
	device = calloc(1, sizeof(*device));
	if (!device)
		return -ENOMEM;
	strncpy(device->name, name, sizeof(device->name) - 1);
	fill_settings(device, settings);
	for (size_t i = 0; i < count && rc == 0; i++)
		rc = add_entry(device, &entries[i]);
	if (rc == 0)
		rc = wg_set_device(device);
	wg_free_device(device);
	return rc;
}
