/* Which requests may open the tunnel: those with a JWT that one of our tokens has signed, and those with the secret
 * path of a stock client. Pure: reads a parsed upgrade, and decides in a time that does not depend on what is guessed. */
#pragma once

#include "common/base/addr.h"
#include "common/tunnel/jwt.h"
#include "common/tunnel/upgrade.h"
#include "server/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct admit_table; /* the clients, by key id and by stock path */

/* @settings: clients, tokens that are gone, and the only target that a JWT may ask for. Copies what it needs. Return: 0,
 * -EINVAL where two clients have the same Token or StockPath, or another negative errno. */
int admit_table_open(struct admit_table **ret, const struct server_settings *settings, struct err *err);
void admit_table_close(struct admit_table *table); /* wipes the secrets; NULL is fine */

struct admit_grant {
	uint32_t client;   /* its number; 0: its token was revoked */
	bool is_stock;	   /* came in by its stock path, not by its token */
	bool has_instance; /* our client; false: every session is a flow of its own */
	uint8_t instance[JWT_INSTANCE_LEN];
	bool has_beside;      /* the client knows second connections */
	char id[JWT_ID_SIZE]; /* of the request; "": stock's */
	char beside[JWT_ID_SIZE]; /* id of the request whose connection this one stands beside; "": it stands alone */
	bool has_iat;
	int64_t iat_s; /* the client's clock when it asked: seconds since 1970 */
	bool has_public_key;
	uint8_t public_key[32]; /* of its device */
};

/* @binding: of this TLS session. NULL where a proxy terminates TLS for us (ws:// listener): then none is checked.
 * @ret_why: for the debug log, never for the peer. Return: true with *ret set; false: a visitor's request. */
bool admit_check(const struct admit_table *table, const struct upgrade_request *request, const uint8_t *binding,
	struct admit_grant *ret, const char **ret_why);
