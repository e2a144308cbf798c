/* From the configuration to what the worker is told: reads the files that the configuration names. */
#ifndef TOWPATH_CLIENT_SETTINGS_BUILD_H
#define TOWPATH_CLIENT_SETTINGS_BUILD_H

#include "client/config.h"
#include "common/base/err.h"

/* Return: a sealed memory file for CHANNEL_SETTINGS, or a negative errno. */
int client_settings_build(const struct client_config *config, struct err *err);

#endif
