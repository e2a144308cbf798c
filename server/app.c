/* See app.h. */
#include "server/app.h"

#include "common/base/addr.h"
#include "common/base/base64.h"
#include "common/base/log.h"
#include "common/process/exit_code.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEFAULT_PORT 51820
#define KEEPALIVE_S 25 /* behind a NAT that forgets after 30 s */

int app_check_hub(const struct server_config *config)
{
	if (!config->hidden)
		return -1;
	log_error("config",
		"%s: Hidden = yes: WireGuard's UDP port answers to the tunnel only, and the app comes by UDP; expected Hidden = no in "
		"[Server], and a restart of the hub ('towpath-server init --udp' writes it)",
		config->path);
	return EXIT_FAILED;
}

/* "AllowedIPs = a, b". Return: the new length. */
static size_t put_list(char *buf, size_t size, size_t len, const char *key, const struct prefix *prefixes, size_t count)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < count && len < size; i++)
		len += (size_t)snprintf(buf + len, size - len, "%s%s", i == 0 ? key : ", ",
			prefix_format(text, sizeof(text), &prefixes[i]));
	return len;
}

int app_format(char *buf, size_t size, const struct server_config *config, const struct invitation *invitation,
	const char *private_key)
{
	char host[256] = "", key[BASE64_LEN(INVITATION_KEY_LEN) + 1];
	uint16_t port, own = config->wireguard.interface.listen_port;
	bool is_ipv6;
	size_t len;

	addr_split(config->public_name, host, sizeof(host), &port);
	is_ipv6 = strchr(host, ':');
	base64_encode(key, sizeof(key), invitation->public_key, sizeof(invitation->public_key), BASE64_STANDARD);
	len = (size_t)snprintf(buf, size, "[Interface]\nPrivateKey = %s\n", private_key);
	len = put_list(buf, size, len, "Address = ", invitation->addresses, invitation->address_count);
	if (len < size)
		len += (size_t)snprintf(buf + len, size - len, "\n\n[Peer]\nPublicKey = %s\n", key);
	len = put_list(buf, size, len, "AllowedIPs = ", invitation->allowed, invitation->allowed_count);
	if (len < size)
		len += (size_t)snprintf(buf + len, size - len, "\nEndpoint = %s%s%s:%u\nPersistentKeepalive = %d\n",
			is_ipv6 ? "[" : "", host, is_ipv6 ? "]" : "", own ? own : DEFAULT_PORT, KEEPALIVE_S);
	return len < size ? (int)len : -ENOSPC;
}
