/* Who may open the tunnel (WIRE.md §2). Pure: reads a parsed upgrade, decides in constant time. */
#ifndef TOWPATH_SERVER_ADMIT_H
#define TOWPATH_SERVER_ADMIT_H

#include "common/base/addr.h"
#include "common/tunnel/jwt.h"
#include "common/tunnel/upgrade.h"
#include "server/settings.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct admit_table; /* the clients, by key id and by hash of stock path */

int admit_table_open(struct admit_table **ret, const struct server_settings_client *clients, size_t client_count,
	const struct addr *target, struct err *err);
void admit_table_close(struct admit_table *table); /* wipes */

struct admit_grant {
	uint32_t client;   /* its number */
	bool is_stock;	   /* came in by its stock path, not by its token */
	bool has_instance; /* our client; false: every session is a flow of its own */
	uint8_t instance[JWT_INSTANCE_LEN];
	bool has_iat;
	int64_t iat_s;
};

/* @binding: of this TLS session, NULL where we do not end TLS ourselves (ws:// listener): then none is asked.
 * @ret_why: for the debug log, never for the peer. Return: true with *ret set; false: a visitor. */
bool admit_check(const struct admit_table *table, const struct upgrade_request *request, const uint8_t *binding,
	struct admit_grant *ret, const char **ret_why);

#endif
