/* See restart.h. The keys of [Interface] that need a restart are named by common/host, which compares them. */
#include "server/restart.h"

#include "common/base/text.h"

#include <string.h>

bool restart_is_same_device(const struct server_config *before, const struct server_config *now)
{
	return before->has_device == now->has_device && strcmp(before->device, now->device) == 0 &&
	       text_is_same(before->wireguard_path, now->wireguard_path);
}

/* In the order of the file: the worker knows a listener by its index. */
static bool is_same_listen(const struct server_config *before, const struct server_config *now)
{
	if (before->listen_count != now->listen_count)
		return false;
	for (size_t i = 0; i < now->listen_count; i++)
		if (!addr_equal(&before->listens[i].addr, &now->listens[i].addr) ||
			before->listens[i].cleartext != now->listens[i].cleartext)
			return false;
	return true;
}

/* By the name that the file has for it, so that a user finds the line. */
void restart_append(char *text, size_t size, const struct server_config *before, const struct server_config *now)
{
	if (!is_same_listen(before, now))
		text_append_word(text, size, "Listen");
	if (!addr_equal(&before->target, &now->target))
		text_append_word(text, size, "Target");
	if (before->hidden != now->hidden)
		text_append_word(text, size, "Hidden");
	if (!restart_is_same_device(before, now))
		text_append_word(text, size, now->has_device && !now->wireguard_path ? "[Interface]" : "WireGuard");
	if (!gateways_are_same(before->gateways, before->gateway_count, now->gateways, now->gateway_count))
		text_append_word(text, size, "[Gateway]");
}
