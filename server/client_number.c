/* The clients' numbers (client_number.h).
 *
 * Happy path: the file is one JSON object, "laptop": "127.64.3.9"; all keys are in it, and nothing is written. A new
 * key gets the number of its hash, or the next one that is free. The file holds addresses, not numbers, because an
 * operator reads it beside the output of wg.
 *
 * It fails with the file's path. A file that cannot be read is not replaced, because that would move every client to
 * another address.
 */
#include "server/client_number.h"

#include "common/base/base64.h"
#include "common/base/file.h"
#include "common/tunnel/jwt.h"
#include "server/config.h"

#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_NUMBER_NET 0x7f400000u			 /* 127.64.0.0 */
#define CLIENT_NUMBER_COUNT (CLIENT_NUMBER_MAX + 2)	 /* with the first and the last address, which are not given */
#define CLIENT_NUMBER_KEYS_MAX (CLIENT_NUMBER_COUNT / 2) /* so that the next free number is near */
#define FILE_MAX (256u << 20)				 /* two million keys of some 100 bytes */

struct client_number_table {
	char path[PATH_MAX];
	json_t *addresses; /* by key */
};

void client_number_address(uint32_t number, struct addr *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->in4.sin_family = AF_INET;
	ret->in4.sin_addr.s_addr = htonl(CLIENT_NUMBER_NET + number);
}

/* Return: the number, or 0 where the text is no address of 127.64.0.0/10: an operator may have edited the file. */
static uint32_t number_of(const json_t *address)
{
	const char *text = json_string_value(address);
	struct in_addr in;
	uint32_t number;

	if (!text || inet_pton(AF_INET, text, &in) != 1)
		return 0;
	number = ntohl(in.s_addr) - CLIENT_NUMBER_NET;
	return number <= CLIENT_NUMBER_MAX ? number : 0;
}

/* --- the file --- */

/* No file is an empty table: the first start. */
static int read_addresses(const struct client_number_table *table, json_t **ret, struct err *err)
{
	json_error_t error;
	char *text;
	int rc = file_read_text(table->path, FILE_MAX, &text, err);

	if (rc == -ENOENT) {
		*ret = json_object();
		return *ret ? err_set(err, 0, "%s", "") : err_system(err, -ENOMEM, "%s", table->path);
	}
	if (rc < 0)
		return rc;
	*ret = json_loads(text, 0, &error);
	free(text);
	if (json_is_object(*ret))
		return 0;
	json_decref(*ret);
	return err_set(err, -EINVAL,
		"%s: not a JSON object of names and addresses; mend it, or remove it to have addresses given anew",
		table->path);
}

int client_number_table_open(struct client_number_table **ret, const char *folder, struct err *err)
{
	struct client_number_table *table = calloc(1, sizeof(*table));
	int rc;

	if (!table)
		return err_system(err, -ENOMEM, "addresses of the clients");
	if (snprintf(table->path, sizeof(table->path), "%s/sources", folder) >= (int)sizeof(table->path))
		rc = err_system(err, -ENAMETOOLONG, "%s", folder);
	else
		rc = read_addresses(table, &table->addresses, err);
	if (rc < 0) {
		free(table);
		return rc;
	}
	*ret = table;
	return 0;
}

void client_number_table_close(struct client_number_table *table)
{
	if (!table)
		return;
	json_decref(table->addresses);
	free(table);
}

/* --- giving numbers --- */

/* Mark a number as taken. Return: true if it was free. */
static bool take(uint8_t *bitmap, uint32_t number)
{
	bool is_free = !(bitmap[number / 8] & 1u << number % 8);

	bitmap[number / 8] |= (uint8_t)(1u << number % 8);
	return is_free;
}

/* Mark the numbers that are given. An entry that is no address of ours, or has another entry's address, is forgotten:
 * an operator has edited the file, and the key gets a number again. */
static void take_given(uint8_t *bitmap, json_t *addresses)
{
	const char *key;
	json_t *address;
	void *next;

	take(bitmap, 0);
	take(bitmap, CLIENT_NUMBER_COUNT - 1);
	json_object_foreach_safe (addresses, next, key, address) {
		if (!take(bitmap, number_of(address)))
			json_object_del(addresses, key);
	}
}

/* FNV-1a, 64 bits: <http://www.isthe.com/chongo/tech/comp/fnv/>. It spreads the keys; a number is no secret. The search
 * for a free one ends, since at most half of them are taken. */
static int give(json_t *addresses, const char *key, uint8_t *bitmap)
{
	uint64_t hash = 0xcbf29ce484222325ull;
	char text[ADDR_TEXT_MAX];
	struct addr addr;
	uint32_t number;

	for (const char *at = key; *at; at++)
		hash = (hash ^ (uint8_t)*at) * 0x100000001b3ull;
	number = (uint32_t)((hash ^ hash >> 32) % CLIENT_NUMBER_COUNT);
	while (!take(bitmap, number))
		number = (number + 1) % CLIENT_NUMBER_COUNT;
	client_number_address(number, &addr);
	return json_object_set_new(addresses, key, json_string(addr_format_host(text, sizeof(text), &addr)));
}

/* Give numbers to keys without one, in @addresses, a copy of the table, and write the file if there was any. */
static int give_all(const struct client_number_table *table, json_t *addresses, const char *const *keys, size_t count,
	struct err *err)
{
	uint8_t *bitmap = calloc(1, CLIENT_NUMBER_COUNT / 8);
	size_t before;
	char *text;
	int rc = 0;

	if (!bitmap)
		return err_system(err, -ENOMEM, "%s", table->path);
	take_given(bitmap, addresses);
	before = json_object_size(addresses);
	for (size_t i = 0; i < count && rc == 0; i++)
		if (!json_object_get(addresses, keys[i]))
			rc = give(addresses, keys[i], bitmap);
	free(bitmap);
	if (rc < 0)
		return err_set(err, -ENOMEM, "%s: a name that is not UTF-8, or out of memory", table->path);
	if (json_object_size(addresses) == before)
		return 0;
	text = json_dumps(addresses, JSON_INDENT(1) | JSON_SORT_KEYS);
	rc = text ? file_write_text(table->path, text, err)
		  : err_system(err, -ENOMEM, "%s", table->path);
	free(text);
	return rc;
}

int client_number_table_assign(struct client_number_table *table, const char *const *keys, size_t count,
	uint32_t *ret_numbers, struct err *err)
{
	json_t *addresses;
	int rc;

	if (json_object_size(table->addresses) + count > CLIENT_NUMBER_KEYS_MAX)
		return err_set(err, -E2BIG,
			"%s: %zu clients more are too many for 127.64.0.0/10; remove those that are gone", table->path,
			count);
	addresses = json_copy(table->addresses);
	if (!addresses)
		return err_system(err, -ENOMEM, "%s", table->path);
	/* The copy replaces the table when the file is written: where a step fails, nothing has changed. */
	rc = give_all(table, addresses, keys, count, err);
	if (rc < 0) {
		json_decref(addresses);
		return rc;
	}
	json_decref(table->addresses);
	table->addresses = addresses;
	for (size_t i = 0; i < count; i++)
		ret_numbers[i] = number_of(json_object_get(addresses, keys[i]));
	return 0;
}

/* --- keys --- */

/* A Name cannot contain "#", which begins a comment in the file: so no Name is the same as one of the other keys. */
void client_number_key(char buf[CLIENT_NUMBER_KEY_MAX], const struct server_client *client)
{
	char text[CLIENT_NUMBER_KEY_MAX - 8];

	if (client->name_line) {
		snprintf(buf, CLIENT_NUMBER_KEY_MAX, "%s", client->name);
		return;
	}
	if (client->has_public_key) {
		base64_encode(text, sizeof(text), client->public_key, sizeof(client->public_key), BASE64_STANDARD);
		snprintf(buf, CLIENT_NUMBER_KEY_MAX, "#key %s", text);
		return;
	}
	jwt_make_kid(text, client->token ? client->token : client->stock_path);
	snprintf(buf, CLIENT_NUMBER_KEY_MAX, "#%s %s", client->token ? "token" : "path", text);
}
