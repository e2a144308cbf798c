/* Look at WireGuard devices through wireguard.c.
 *
 * Happy path: list the names, read one device after the other, compare endpoints. A device that goes away meanwhile
 * is passed over; a kernel without WireGuard has none.
 *
 * Two faults of wireguard.c are worked around by having it call two functions of ours (-Drecvmsg=…, -Dfree=… in
 * meson.build), so that its source stays as it is installed:
 * - wg_get_device() repeats for ever once it has seen EINTR, because it keeps the error of the first attempt. EINTR
 *   comes from a signal, and from a dump that the kernel marks as inconsistent because somebody changed the device
 *   meanwhile. wg_device_recvmsg() lets neither through; it notes the mark, and we repeat a few times.
 * - Keys are freed unwiped, also on its error paths and in its receive buffer. wg_device_free() wipes all it frees.
 */
#include "common/wireguard/wg_device.h"

#include "common/base/addr.h"
#include "common/base/secret.h"

#include <errno.h>
#include <linux/netlink.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <wireguard.h>

/* A device that changes during each of so many reads is taken as it was seen last. */
#define ATTEMPTS_MAX 5

/* Set while the dump that was read last was marked as inconsistent. The supervisor has one thread. */
static bool dump_was_interrupted;

/* Take the mark off every message of @buf. Return: whether there was one. */
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

ssize_t wg_device_recvmsg(int fd, struct msghdr *message, int flags)
{
	ssize_t len;

	do {
		len = recvmsg(fd, message, flags);
	} while (len < 0 && errno == EINTR);
	/* wireguard.c receives into one buffer. */
	if (len > 0 && message->msg_iovlen == 1 && (size_t)len <= message->msg_iov->iov_len &&
		clear_interrupted(message->msg_iov->iov_base, (size_t)len))
		dump_was_interrupted = true;
	return len;
}

/* wireguard.c reads errno after freeing. */
void wg_device_free(void *memory)
{
	int saved_errno = errno;

	secret_wipe(memory, malloc_usable_size(memory));
	free(memory);
	errno = saved_errno;
}

/* Return: 0 (close with wg_free_device()), or a negative errno. */
static int read_device(const char *name, wg_device **ret)
{
	wg_device *device = NULL;
	int rc;

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

static bool is_no_wireguard(int rc)
{
	return rc == -EPROTONOSUPPORT || rc == -EOPNOTSUPP || rc == -EAFNOSUPPORT;
}

bool wg_device_kernel_has(void)
{
	wg_device *device = NULL;
	int rc = wg_get_device(&device, "lo");

	/* "lo" is never a WireGuard device: where the family is there, the refusal is about the device or about us. */
	if (rc == 0)
		wg_free_device(device);
	return rc == 0 || rc == -EOPNOTSUPP || rc == -ENODEV || rc == -EPERM;
}

static bool has_loopback_endpoint(const wg_device *device, uint16_t port)
{
	const wg_peer *peer;
	struct addr endpoint;

	wg_for_each_peer(device, peer)
	{
		addr_from_sockaddr(&peer->endpoint.addr, &endpoint);
		if (addr_is_loopback(&endpoint) && addr_port(&endpoint) == port)
			return true;
	}
	return false;
}

/* Return: 1 it is the one, 0 it is not or it is gone, or a negative errno. */
static int try_device(const char *name, uint16_t port, char *ret_name, uint32_t *ret_fwmark, struct err *err)
{
	wg_device *device;
	int rc = read_device(name, &device);

	if (rc == -ENODEV || is_no_wireguard(rc))
		return 0;
	if (rc < 0)
		return err_system(err, rc, "WireGuard device %s", name);
	if (has_loopback_endpoint(device, port)) {
		memset(ret_name, 0, IFNAMSIZ);
		strncat(ret_name, name, IFNAMSIZ - 1);
		*ret_fwmark = device->fwmark;
		rc = 1;
	}
	wg_free_device(device);
	return rc;
}

/* Return: the names, each with its terminator, one more terminator at the end; or NULL with errno. */
static char *list_names(void)
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

int wg_device_find_mark(uint16_t listen_port, char *ret_name, uint32_t *ret_fwmark, struct err *err)
{
	char *names = list_names(), *name;
	size_t len;
	int rc = 0;

	if (!names)
		return err_system(err, -errno, "list of WireGuard devices");
	wg_for_each_device_name(names, name, len)
	{
		rc = try_device(name, listen_port, ret_name, ret_fwmark, err);
		if (rc != 0)
			break;
	}
	free(names);
	return rc;
}
