/* What hooks (PreUp, PostUp, PreDown, PostDown) name and do: devices, and forwarding.
 *
 * Pure: a hook is looked through as text, nothing is run or expanded. Words count only where ip, iptables, nft, sysctl,
 * wg, resolvconf and the like want a device. A word whose meaning is not clear is passed over: a wrong warning is worse
 * than none.
 */
#pragma once

#include <stdbool.h>

#define WG_HOOK_NAME_MAX 32 /* twice what a device's name can have */

/* "wg0", "wg-home", "wg+": what is called so is a device of WireGuard's. */
bool wg_hook_is_usual_name(const char *name);

/* Find a command in @hook that names a device for which @is_other says true, and not @device: a rule between the two is
 * meant so. Return: false: there is none. */
bool wg_hook_find_other(const char *hook, const char *device, bool (*is_other)(const void *owner, const char *name),
	const void *owner, char ret_name[WG_HOOK_NAME_MAX]);

/* What a hook does about forwarding, as far as its text shows; the first of each pair is IPv4, the second IPv6. */
struct wg_hook_forwarding {
	bool opens[2];	  /* lets packets be forwarded, or masquerades what is */
	bool switches[2]; /* the kernel's parameter on */
};

/* Add what @text does to *ret. @text: a hook, or the script that it runs. */
void wg_hook_read_forwarding(const char *text, struct wg_hook_forwarding *ret);
