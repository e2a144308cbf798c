/* See restart.h. The device's own keys ([Interface]) are the host's to name. */
#include "server/restart.h"

#include <stdio.h>
#include <string.h>

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool restart_is_same_device(const struct server_config *before, const struct server_config *now)
{
	return before->has_device == now->has_device && strcmp(before->device, now->device) == 0 &&
	       is_same_text(before->wireguard_path, now->wireguard_path);
}

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

static void append(char *text, size_t size, const char *word)
{
	size_t len = strlen(text);

	if (len + strlen(word) + sizeof(", ") <= size)
		snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", word);
}

void restart_append(char *text, size_t size, const struct server_config *before, const struct server_config *now)
{
	if (!is_same_listen(before, now))
		append(text, size, "Listen");
	if (!addr_equal(&before->target, &now->target))
		append(text, size, "Target");
	if (before->hidden != now->hidden)
		append(text, size, "Hidden");
	if (!restart_is_same_device(before, now))
		append(text, size, now->has_device && !now->wireguard_path ? "[Interface]" : "WireGuard");
	if (!gateways_are_same(before->gateways, before->gateway_count, now->gateways, now->gateway_count))
		append(text, size, "[Gateway]");
}
