/* The settings in force, with what is made of them: the TLS context, what is remembered of each server.
 *
 * A reload makes a new profile the client's; whoever is connected by the old one keeps it until its next connect.
 */
#ifndef TOWPATH_CLIENT_PROFILE_H
#define TOWPATH_CLIENT_PROFILE_H

#include "client/address_list.h"
#include "client/settings.h"
#include "common/base/addr.h"
#include "common/base/err.h"

#include <openssl/ssl.h>
#include <stddef.h>

struct profile_server {
	SSL_SESSION *resume; /* the newest, or NULL */
	/* What the name that is dialled (the proxy's, where there is one) stood for when it last worked. */
	struct addr addresses[ADDRESS_LIST_MAX];
	size_t address_count;
};

struct profile {
	unsigned users;
	struct client_settings settings;
	SSL_CTX *tls;
	struct profile_server *servers; /* as many as the settings have */
};

/* From a CHANNEL_SETTINGS or CHANNEL_RELOAD; owns @fd. Reads the system's certificates where no others are given.
 * Return: 0, *ret with one user, or a negative errno. */
int profile_open(struct profile **ret, int fd, struct err *err);

struct profile *profile_keep(struct profile *profile);
void profile_release(struct profile *profile); /* the last user frees it; NULL is fine */

/* What is dialled for the server at @index: its name, or the proxy's. */
const char *profile_host(const struct profile *profile, size_t index);
uint16_t profile_port(const struct profile *profile, size_t index);

#endif
