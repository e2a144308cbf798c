/* Write entries as attributes of WG_CMD_SET_DEVICE, send, wait for the kernel's acknowledgement.
 *
 *    IFNAME | PEERS [ 0 [ PUBLIC_KEY | FLAGS | PRESHARED_KEY | ENDPOINT | KEEPALIVE | ALLOWEDIPS [ 0 [ … ] … ] ] … ]
 *    Source: linux/wireguard.h. The message is wiped before it is freed, and the kernel is asked not to send it back
 *    with a refusal.
 */
#include "common/wireguard/wg_update.h"

#include "common/base/secret.h"

#include <errno.h>
#include <linux/wireguard.h>
#include <netlink/errno.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <sys/socket.h>
#include <sys/time.h>

/* An attribute's length has 16 bits, and PEERS holds nearly all of the message. */
#define MESSAGE_MAX UINT16_MAX

/* 40 bytes each (IPv6), so that a message is full to two thirds. */
#define ALLOWED_IPS_MAX 1000

/* Since Linux 6.16, see <linux/wireguard.h>; Debian 12's has not got them. */
#define ALLOWED_IP_FLAGS 4     /* WGALLOWEDIP_A_FLAGS */
#define ALLOWED_IP_REMOVE_ME 1 /* WGALLOWEDIP_F_REMOVE_ME */

_Static_assert((int)WG_ENTRY_REMOVE == (int)WGPEER_F_REMOVE_ME, "the kernel's own numbers");
_Static_assert((int)WG_ENTRY_REPLACE_ALLOWED_IPS == (int)WGPEER_F_REPLACE_ALLOWEDIPS, "the kernel's own numbers");
_Static_assert((int)WG_ENTRY_UPDATE_ONLY == (int)WGPEER_F_UPDATE_ONLY, "the kernel's own numbers");

/* --- the socket --- */

/* libnl has fewer codes than the kernel, so some of them are guessed back. */
static int note_refusal(struct sockaddr_nl *from, struct nlmsgerr *error, void *data)
{
	struct wg_update *update = data;

	(void)from;
	update->refusal = error->error;
	return NL_STOP;
}

int wg_update_open(struct wg_update *update, const char *device, struct err *err)
{
	static const struct timeval limit = {.tv_sec = WG_UPDATE_ANSWER_S};
	int on = 1, fd, rc;

	*update = (struct wg_update){.socket = nl_socket_alloc(), .device = device};
	if (!update->socket)
		return err_system(err, -ENOMEM, "netlink");
	nl_socket_modify_err_cb(update->socket, NL_CB_CUSTOM, note_refusal, update);
	rc = genl_connect(update->socket) < 0 ? (errno ? -errno : -EIO) : 0;
	if (rc == 0) {
		fd = nl_socket_get_fd(update->socket);
		setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
		errno = 0;
		update->family = genl_ctrl_resolve(update->socket, WG_GENL_NAME);
		/* libnl returns "not found" whatever has happened. */
		if (update->family < 0)
			rc = errno == EAGAIN ? -ETIMEDOUT : -EPROTONOSUPPORT;
	}
	if (rc < 0) {
		wg_update_close(update);
		return err_system(err, rc, "WireGuard by netlink");
	}
	return 0;
}

void wg_update_close(struct wg_update *update)
{
	nl_socket_free(update->socket);
	update->socket = NULL;
}

/* --- a message; each function returns 0, or a negative number if there is no room left --- */

static int put_allowed_ip(struct nl_msg *message, const struct prefix *prefix, bool takes_away)
{
	bool is_ipv4 = prefix->addr.sa.sa_family == AF_INET;
	const void *address =
		is_ipv4 ? (const void *)&prefix->addr.in4.sin_addr : (const void *)&prefix->addr.in6.sin6_addr;
	struct nlattr *nest = nla_nest_start(message, NLA_F_NESTED);

	if (!nest || nla_put_u16(message, WGALLOWEDIP_A_FAMILY, prefix->addr.sa.sa_family) < 0 ||
		nla_put(message, WGALLOWEDIP_A_IPADDR, is_ipv4 ? 4 : 16, address) < 0 ||
		nla_put_u8(message, WGALLOWEDIP_A_CIDR_MASK, prefix->bits) < 0 ||
		(takes_away && nla_put_u32(message, ALLOWED_IP_FLAGS, ALLOWED_IP_REMOVE_ME) < 0))
		return -E2BIG;
	return nla_nest_end(message, nest);
}

static int put_allowed_ips(struct nl_msg *message, const struct wg_entry *entry)
{
	struct nlattr *nest;

	if (entry->allowed_ip_count == 0)
		return 0;
	nest = nla_nest_start(message, NLA_F_NESTED | WGPEER_A_ALLOWEDIPS);
	if (!nest)
		return -E2BIG;
	for (size_t i = 0; i < entry->allowed_ip_count; i++)
		if (put_allowed_ip(message, &entry->allowed_ips[i], entry->takes_away) < 0)
			return -E2BIG;
	return nla_nest_end(message, nest);
}

static int put_entry(struct nl_msg *message, const struct wg_entry *entry)
{
	struct nlattr *nest = nla_nest_start(message, NLA_F_NESTED);

	if (!nest || nla_put(message, WGPEER_A_PUBLIC_KEY, WG_KEY_LEN, entry->public_key) < 0 ||
		nla_put_u32(message, WGPEER_A_FLAGS, entry->flags) < 0)
		return -E2BIG;
	if (entry->preshared_key && nla_put(message, WGPEER_A_PRESHARED_KEY, WG_KEY_LEN, entry->preshared_key) < 0)
		return -E2BIG;
	if (entry->endpoint &&
		nla_put(message, WGPEER_A_ENDPOINT, (int)addr_len(entry->endpoint), &entry->endpoint->sa) < 0)
		return -E2BIG;
	if (entry->keepalive_s && nla_put_u16(message, WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, *entry->keepalive_s) < 0)
		return -E2BIG;
	if (put_allowed_ips(message, entry) < 0)
		return -E2BIG;
	return nla_nest_end(message, nest);
}

static int put_all(struct nl_msg *message, const struct wg_update *update, const struct wg_entry *entries, size_t count)
{
	struct nlattr *nest;

	if (!genlmsg_put(message, NL_AUTO_PORT, NL_AUTO_SEQ, update->family, 0, NLM_F_ACK, WG_CMD_SET_DEVICE,
		    WG_GENL_VERSION) ||
		nla_put_string(message, WGDEVICE_A_IFNAME, update->device) < 0)
		return -E2BIG;
	nest = nla_nest_start(message, NLA_F_NESTED | WGDEVICE_A_PEERS);
	if (!nest)
		return -E2BIG;
	for (size_t i = 0; i < count; i++)
		if (put_entry(message, &entries[i]) < 0)
			return -E2BIG;
	return nla_nest_end(message, nest) < 0 ? -E2BIG : 0;
}

/* Return: 0 or a negative errno. */
static int exchange(struct wg_update *update, struct nl_msg *message)
{
	int rc;

	update->refusal = 0;
	if (nl_send_auto(update->socket, message) < 0)
		return errno ? -errno : -EIO;
	rc = nl_wait_for_ack(update->socket);
	if (rc < 0 && update->refusal)
		return update->refusal;
	return rc == -NLE_AGAIN ? -ETIMEDOUT : rc < 0 ? -EIO : 0;
}

int wg_update_send(struct wg_update *update, const struct wg_entry *entries, size_t count)
{
	struct nl_msg *message = nlmsg_alloc_size(MESSAGE_MAX);
	int rc;

	if (!message)
		return -ENOMEM;
	rc = put_all(message, update, entries, count);
	if (rc == 0)
		rc = exchange(update, message);
	secret_wipe(nlmsg_hdr(message), nlmsg_hdr(message)->nlmsg_len);
	nlmsg_free(message);
	return rc;
}

int wg_update_peer(struct wg_update *update, const struct wg_entry *entry)
{
	struct wg_entry part = *entry;
	size_t done = 0;
	int rc;

	part.flags |= WG_ENTRY_UPDATE_ONLY;
	do {
		part.allowed_ips = entry->allowed_ips + done;
		part.allowed_ip_count = entry->allowed_ip_count - done;
		if (part.allowed_ip_count > ALLOWED_IPS_MAX)
			part.allowed_ip_count = ALLOWED_IPS_MAX;
		rc = wg_update_send(update, &part, 1);
		done += part.allowed_ip_count;
		/* all further messages only add, or only take away */
		part = (struct wg_entry){.public_key = entry->public_key,
			.flags = WG_ENTRY_UPDATE_ONLY,
			.takes_away = entry->takes_away};
	} while (rc == 0 && done < entry->allowed_ip_count);
	return rc;
}
