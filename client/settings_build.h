/* From the configuration to what the worker is told: reads the files that the configuration names. */
#pragma once

#include "client/config.h"
#include "client/settings.h"
#include "common/base/err.h"

/* Borrows from @config. @listen_text: the local port as it was opened. Addresses of names and name servers are left
 * out, because they change. Return: 0 or a negative errno. */
int client_settings_build(
	struct client_settings *ret, const struct client_config *config, const char *listen_text, struct err *err);
void client_settings_built_done(struct client_settings *settings); /* not client_settings_done(): much is borrowed */
