/* Names of devices in hooks (PreUp, PostUp, PreDown, PostDown).
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
