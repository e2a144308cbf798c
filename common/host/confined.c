/* See confined.h.
 *
 * Theory of operation. A file for wg-quick often lets its peers out by hooks such as `iptables -A FORWARD -i %i -j
 * ACCEPT`. Where nobody but us has switched forwarding on, our own table drops the packets all the same. That would
 * look like a broken tunnel, so the hook is told:
 *
 *    for each family that is confined, and that no [Gateway] opens as a whole
 *        PreUp, then PostUp, in their order: the text of the hook, and of the scripts that it names
 *            the first one that forwards ──▶ one warning, with its line and what helps
 *
 * `check` does not know yet how forwarding will be (confined_check()). It takes it as it is now, and on where a hook
 * is going to switch it on.
 *
 * Nothing is run. A script that cannot be read is passed over, and so is one without "#!", which may be a program.
 */
#include "common/host/confined.h"

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/place.h"
#include "common/host/hook.h"
#include "common/net/sysctl.h"
#include "common/wireguard/wg_hook.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define SCRIPT_MAX 65536

static const struct {
	int family;
	const char *name, *path, *parameter, *when, *all;
} families[2] = {
	{AF_INET, "IPv4", "net/ipv4/conf/default/forwarding", "net.ipv4.ip_forward", "is not 1", "0.0.0.0/0"},
	{AF_INET6, "IPv6", "net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding", "is not 1 when PostUp ends",
		"::/0"},
};

/* Its scripts are the words that begin with a slash and are files with "#!". */
static struct wg_hook_forwarding read_hook(const char *hook)
{
	static const char ends[] = " \t;|&()<>'\"";
	struct wg_hook_forwarding forwarding = {0};
	char *copy = strdup(hook), *rest = copy, *word, *script;

	wg_hook_read_forwarding(hook, &forwarding);
	while (copy && (word = strsep(&rest, ends))) {
		if (*word != '/' || file_read_text(word, SCRIPT_MAX, &script, NULL) < 0)
			continue;
		if (strncmp(script, "#!", 2) == 0)
			wg_hook_read_forwarding(script, &forwarding);
		free(script);
	}
	free(copy);
	return forwarding;
}

/* True if a [Gateway] has a /0 of the family: then the file itself asks for everything that the hook could open. */
static bool has_way_out(const struct host_setup *setup, int family)
{
	for (size_t i = 0; i < setup->gateway_count; i++)
		for (size_t j = 0; j < setup->gateways[i].lan_count; j++)
			if (setup->gateways[i].lans[j].bits == 0 &&
				setup->gateways[i].lans[j].addr.sa.sa_family == family)
				return true;
	return false;
}

/* @i: of families. A hook that switches IPv6's on has done so too late, or the family would not be confined. */
static void find_hook(const struct host_setup *setup, size_t i, json_t *warnings)
{
	const struct wg_config_interface *interface = &setup->wireguard->interface;

	for (int kind = HOOK_PRE_UP; kind <= HOOK_POST_UP; kind++)
		for (size_t j = 0; j < interface->hook_count[kind]; j++) {
			struct wg_hook_forwarding forwarding = read_hook(interface->hooks[kind][j]);

			if (!forwarding.opens[i] && (families[i].family == AF_INET || !forwarding.switches[i]))
				continue;
			json_array_append_new(warnings,
				json_sprintf("%s: %s: forwards, and %s %s: what the peers send beyond this host by "
					     "%s is dropped; sysctl -w %s=1 in front of it helps, or the lines "
					     "[Gateway] and Lan = %s (with Interface, if they leave by another device "
					     "than the default route's)",
					PLACE(setup->wireguard_path, interface->hook_lines[kind][j]),
					wg_config_hook_keys[kind],
					families[i].parameter, families[i].when, families[i].name,
					families[i].parameter, families[i].all));
			return;
		}
}

void confined_find(const struct host_setup *setup, const struct plan_facts *facts, json_t *warnings)
{
	const bool is_confined[2] = {plan_forwards(setup) && !facts->forwards_ipv4,
		plan_forwards_ipv6(setup) && facts->has_ipv6 && !facts->forwards_ipv6};

	for (size_t i = 0; i < 2; i++)
		if (is_confined[i] && !has_way_out(setup, families[i].family))
			find_hook(setup, i, warnings);
}

void confined_tell(const struct host_setup *setup, const struct plan_facts *facts)
{
	json_t *warnings = json_array(), *text;
	size_t i;

	confined_find(setup, facts, warnings);
	json_array_foreach (warnings, i, text)
		log_warning("firewall", "%s", json_string_value(text));
	json_decref(warnings);
}

/* A family that this kernel does not have is passed over. */
static bool is_off(const char *path)
{
	char value[SYSCTL_VALUE_MAX];

	return sysctl_read(path, value, NULL) == 0 && strcmp(value, "0") == 0;
}

void confined_check(const struct host_setup *setup)
{
	const struct wg_config_interface *interface = &setup->wireguard->interface;
	struct plan_facts facts = {.has_ipv6 = true,
		.forwards_ipv4 = !is_off(families[0].path),
		.forwards_ipv6 = !is_off(families[1].path)};

	for (int kind = HOOK_PRE_UP; kind <= HOOK_POST_UP; kind++)
		for (size_t j = 0; j < interface->hook_count[kind]; j++) {
			struct wg_hook_forwarding forwarding = read_hook(interface->hooks[kind][j]);

			facts.forwards_ipv4 |= forwarding.switches[0];
			facts.forwards_ipv6 |= forwarding.switches[1];
		}
	confined_tell(setup, &facts);
}
