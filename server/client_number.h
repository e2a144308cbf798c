/* The clients' numbers: each client has an address of its own in 127.64.0.0/10, for good.
 *
 * A number follows from a hash of the client's name and is written to STATE_DIR/NAME/sources, so that nothing moves it
 * any more: not a restart, a reload, or a client added in front. It stays with the name also while the client is gone
 * from the configuration. Supervisor and worker name a client by its number, never by its position in the file, which a
 * reload changes.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "server/settings.h" /* CLIENT_NUMBER_MAX */

#include <stddef.h>
#include <stdint.h>

#define CLIENT_NUMBER_KEY_MAX 80

struct server_client;
struct client_number_table;

/* Read the table in @folder; empty where there is no file. Return: 0 or a negative errno. */
int client_number_table_open(struct client_number_table **ret, const char *folder, struct err *err);
void client_number_table_close(struct client_number_table *table);

/* Find the numbers of @keys, in their order; keys without one get one. New ones are on disk when this returns. Return:
 * 0, or a negative errno with no number given. */
int client_number_table_assign(struct client_number_table *table, const char *const *keys, size_t count,
	uint32_t *ret_numbers, struct err *err);

/* The key by which a client is known again: its Name; without one its public key, token's id or stock path's hash. */
void client_number_key(char buf[CLIENT_NUMBER_KEY_MAX], const struct server_client *client);

/* The address that belongs to a number, port 0. */
void client_number_address(uint32_t number, struct addr *ret);
