/* The settings in force and what is made from them: the TLS context, and what is remembered of each server.
 *
 * A reload makes a new profile. An attempt that was begun with the old one keeps it until it closes; the next attempt
 * takes the new one.
 */
#pragma once

#include "client/address_list.h"
#include "client/settings.h"
#include "common/base/addr.h"
#include "common/base/err.h"

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

struct profile_server {
	SSL_SESSION *resume; /* the newest session, or NULL */
	bool is_known;	     /* was reached before; after a start only where its own name was dialled */
	/* The addresses by which the dialled name (the proxy's, if there is one) was last reached. */
	struct addr addresses[ADDRESS_LIST_MAX];
	size_t address_count;
};

struct profile {
	unsigned users;
	struct client_settings settings;
	SSL_CTX *tls;
	struct profile_server *servers; /* as many as the settings have */
};

/* See tls_client_on_session(). */
typedef int profile_on_session(SSL *ssl, SSL_SESSION *session);

/* From a CHANNEL_SETTINGS or CHANNEL_RELOAD; owns @fd. Reads the system's certificates where no others are given.
 * Return: 0 and *ret with one user, or a negative errno. */
int profile_open(struct profile **ret, int fd, profile_on_session *on_session, struct err *err);

/* After a reload: the servers that @before has reached are known. */
void profile_inherit(struct profile *profile, const struct profile *before);

struct profile *profile_keep(struct profile *profile);
void profile_release(struct profile *profile); /* the last user frees it; NULL is allowed */

/* The name and port to dial for the server at @index: its own, or the proxy's. */
const char *profile_host(const struct profile *profile, size_t index);
uint16_t profile_port(const struct profile *profile, size_t index);
