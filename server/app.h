/* The configuration for WireGuard's own app, which comes by UDP and makes no key: a wg-quick file as text. */
#pragma once

#include "common/base/invitation.h"
#include "server/config.h"

#define APP_TEXT_MAX 4096

/* Complain where the hub's WireGuard port does not answer to the Internet. Return: -1, or the exit code. */
int app_check_hub(const struct server_config *config);

/* @invitation: addresses, allowed IPs and the hub's key of it. @private_key: of the app, in base64. Return: its length, or
 * -ENOSPC. */
int app_format(char *buf, size_t size, const struct server_config *config, const struct invitation *invitation,
	const char *private_key);
