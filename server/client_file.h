/* The file of one client beside the hub's: NAME.d/CLIENT.conf, as `add` writes it, and the hub when the client joins.
 *
 *     [Peer]                              [Peer]
 *     Name = laptop                       Name = laptop
 *     AllowedIPs = 10.10.0.2/32           AllowedIPs = 10.10.0.2/32
 *     Token = 5bq…                  →     Token = 5bq…
 *     Invited = …                         Invited = …
 *     InvitedUntil = …                    PublicKey = …
 *                                         Joined = …
 *                                         JoinedFrom = …
 *
 * `add --again` for a client that has joined adds a [Peer] called laptop+ with the new token: the machine that is in stays
 * in until that token is used, and then the two become one. Every change writes the file anew, whole or not at all.
 */
#pragma once

#include "common/base/err.h"
#include "common/base/prefix.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_FILE_KEY_LEN 32

struct client_file_invitation {
	const char *name; /* of the client */
	const char *token;
	const struct prefix *prefixes; /* its AllowedIPs */
	size_t prefix_count;
	int64_t now_s, until_s;
};

/* The path of a client's file. Return: 0 or a negative errno. */
int client_file_path(const char *config_path, const char *client, char ret[PATH_MAX], struct err *err);

/* A new client. Return: 0, -EEXIST, or another negative errno. */
int client_file_invite(const char *path, const struct client_file_invitation *invitation, struct err *err);

/* A client whose key was made here, for an app: new, or in place of what its file had. Return: 0 or a negative errno. */
int client_file_write_app(const char *path, const struct client_file_invitation *invitation,
	const uint8_t public_key[CLIENT_FILE_KEY_LEN], bool is_new, struct err *err);

/* Another invitation for a client that is there; its prefixes stay. Return: 0 or a negative errno. */
int client_file_invite_again(const char *path, const struct client_file_invitation *invitation, struct err *err);

/* The machine that has shown @token has this key. Return: 0; -EALREADY where the token's owner has a key; -ENOENT where
 * no [Peer] of the file waits with it; or another negative errno. */
int client_file_enrol(const char *path, const char *token, const uint8_t public_key[CLIENT_FILE_KEY_LEN],
	const char *from, int64_t now_s, struct err *err);
