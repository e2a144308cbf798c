/* The content of /etc/towpath/NAME.conf, or of a URL with options, for a client. Only for main.c and the supervisor. */
#pragma once

#include "client/config_keys.h"
#include "common/base/err.h"

/* Read, check everything, change nothing. All errors go to @report, warnings to the log. *ret: zeroed, or with options
 * given before; they win over the file's keys. client_config_finish() is done here.
 * Return: 0; -EINVAL with @report filled; another negative errno with @err set where the file cannot be read. *ret is
 * done by the caller in any case. */
int client_config_read(const char *path, struct client_config *ret, struct ini_report *report, struct err *err);

/* After the last option: from a URL, take the name from it, and secrets from TOWPATH_TOKEN, TOWPATH_BASIC_AUTH and
 * TOWPATH_JWT_KEY; fill in defaults and check the keys against each other. Return: 0 or -EINVAL. */
int client_config_finish(struct client_config *config, struct ini_report *report);

/* The position for a later complaint about Listen: "home.conf:4: Listen", "--listen", or else the section's header.
 * Return: @buf. */
const char *client_config_listen_place(const struct client_config *config, char *buf, size_t size);
void client_config_done(void *config); /* a struct client_config; wipes the secrets */
