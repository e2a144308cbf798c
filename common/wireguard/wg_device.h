/* WireGuard devices of this network namespace, seen through wireguard.c; its sole user.
 *
 * Called by the supervisor at set-up and repair; every call opens netlink sockets of its own and waits for the
 * kernel's answer, which takes less than a millisecond. Not for the worker. Changes nothing.
 */
#ifndef TOWPATH_WIREGUARD_WG_DEVICE_H
#define TOWPATH_WIREGUARD_WG_DEVICE_H

#include "common/base/err.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Does the kernel know WireGuard? Asking loads its module where there is one. Needs no privilege. */
bool wg_device_kernel_has(void);

/**
 * wg_device_find_mark() - Find the device whose peer has a local port of ours as endpoint
 * @listen_port: our port, host order
 * @ret_name: room for IFNAMSIZ characters: the device
 * @ret_fwmark: its mark, 0: none
 *
 * A peer matches whose endpoint is a loopback address with that port. Reading a device needs CAP_NET_ADMIN: without
 * it -EPERM as soon as there is one.
 * Return: 1 found, 0 none or a kernel without WireGuard, or a negative errno.
 */
int wg_device_find_mark(uint16_t listen_port, char *ret_name, uint32_t *ret_fwmark, struct err *err);

/* What wireguard.c is compiled to call instead of recvmsg() and free(), see wg_device.c. */
ssize_t wg_device_recvmsg(int fd, struct msghdr *message, int flags);
void wg_device_free(void *memory);

#endif
