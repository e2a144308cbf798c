/* See restart.h. The keys of [Interface] that need a restart are named by common/host, which compares them. */
#include "client/restart.h"

#include "common/base/text.h"

#include <string.h>

bool restart_is_same_device(const struct client_config *before, const struct client_config *now)
{
	return before->has_device == now->has_device && strcmp(before->device, now->device) == 0 &&
	       text_is_same(before->wireguard_path, now->wireguard_path);
}

void restart_append(char *text, size_t size, const struct client_config *before, const struct client_config *now)
{
	if (!addr_equal(&before->listen, &now->listen))
		text_append_word(text, size, "Listen");
	/* The number of a mark that is off or automatic has no meaning. */
	if (before->fwmark_kind != now->fwmark_kind ||
		(now->fwmark_kind == CLIENT_FWMARK_NUMBER && before->fwmark != now->fwmark))
		text_append_word(text, size, "FwMark");
	if (!restart_is_same_device(before, now))
		text_append_word(text, size, now->has_device && !now->wireguard_path ? "[Interface]" : "WireGuard");
	if (!gateways_are_same(before->gateways, before->gateway_count, now->gateways, now->gateway_count))
		text_append_word(text, size, "[Gateway]");
}
