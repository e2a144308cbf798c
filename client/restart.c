/* See restart.h. The device's own keys ([Interface]) are the host's to name. */
#include "client/restart.h"

#include <stdio.h>
#include <string.h>

static bool is_same_text(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

bool restart_is_same_device(const struct client_config *before, const struct client_config *now)
{
	return before->has_device == now->has_device && strcmp(before->device, now->device) == 0 &&
	       is_same_text(before->wireguard_path, now->wireguard_path);
}

static bool is_same_mark(const struct client_config *before, const struct client_config *now)
{
	return before->fwmark_kind == now->fwmark_kind &&
	       (now->fwmark_kind != CLIENT_FWMARK_NUMBER || before->fwmark == now->fwmark);
}

static void append(char *text, size_t size, const char *word)
{
	size_t len = strlen(text);

	if (len + strlen(word) + sizeof(", ") <= size)
		snprintf(text + len, size - len, "%s%s", len > 0 ? ", " : "", word);
}

void restart_append(char *text, size_t size, const struct client_config *before, const struct client_config *now)
{
	if (!addr_equal(&before->listen, &now->listen))
		append(text, size, "Listen");
	if (!is_same_mark(before, now))
		append(text, size, "FwMark");
	if (!restart_is_same_device(before, now))
		append(text, size, now->has_device && !now->wireguard_path ? "[Interface]" : "WireGuard");
	if (!gateways_are_same(before->gateways, before->gateway_count, now->gateways, now->gateway_count))
		append(text, size, "[Gateway]");
}
