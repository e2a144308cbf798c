/* WireGuard devices that a program runs (wireguard-go, which wg-quick takes where the kernel has no WireGuard): their
 * configuration socket is /var/run/wireguard/NAME.sock, netlink knows nothing of them.
 *
 * Asked "get=1", such a program answers lines of key=value, an empty line at the end. The answer holds private keys, so
 * it is wiped. For the supervisor; waits a tenth of a second at most for each device.
 */
#pragma once

#include <net/if.h>
#include <stdint.h>

#define WG_USERSPACE_FOLDER "/var/run/wireguard"

/**
 * wg_userspace_read() - Find a peer with a local port as endpoint in an answer to "get=1"
 * @answer: its lines, terminated; not modified
 * @listen_port: our port; the endpoint's address is a loopback one
 * @ret_fwmark: the device's mark, 0: none; set where a peer matches
 *
 * Pure. Return: 1, or 0.
 */
int wg_userspace_read(const char *answer, uint16_t listen_port, uint32_t *ret_fwmark);

/* As wg_device_find_mark(), among the sockets of @folder whose name is a device of this network namespace.
 * Return: 1 found, else 0. */
int wg_userspace_find_mark(const char *folder, uint16_t listen_port, char ret_name[IFNAMSIZ], uint32_t *ret_fwmark);
