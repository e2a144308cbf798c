/* The clients by number (client_list.h).
 *
 * Theory of operation. The worker and the supervisor speak of a client by its number, which stays the same over
 * reloads and restarts: the table on disk gives it to the client's Name, key, token or path, and not to its place in
 * the file.
 *
 *    configuration ──assign_numbers()──▶ numbers ──sorted──▶ entries ◀──binary search── the worker's request
 *
 * At a reload another list is made beside this one and then remembers what was known of clients that are in both
 * (client_list_remember()): where they come from, whether they were greeted, which time they have said. A request
 * that was sent before the reload finds the same client by its number, or none.
 *
 * Fails with the table of numbers, or without memory.
 */
#include "server/client_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_BEHIND_S 60 /* a clock that was ever set differs by less */
#define CLOCK_SLACK_S 5	  /* a clock may be put back by so much while it is synchronised */
#define CLOCK_MAX_S                                                                                                    \
	(1ll << 40) /* beyond the year 36000. The worker is not trusted: without a bound the sums could overflow */

static int compare_entries(const void *a, const void *b)
{
	uint32_t x = ((const struct client_list_entry *)a)->number, y = ((const struct client_list_entry *)b)->number;

	return (x > y) - (x < y);
}

/* The numbers of all clients, in their order. New ones are on disk when this returns. */
static int assign_numbers(struct client_number_table *numbers_on_disk, const struct server_config *config,
	uint32_t *numbers, struct err *err)
{
	char(*texts)[CLIENT_NUMBER_KEY_MAX] = calloc(config->client_count + 1, sizeof(*texts));
	const char **keys = calloc(config->client_count + 1, sizeof(*keys));
	int rc;

	for (size_t i = 0; texts && keys && i < config->client_count; i++) {
		client_number_key(texts[i], &config->clients[i]);
		keys[i] = texts[i];
	}
	rc = texts && keys ? client_number_table_assign(numbers_on_disk, keys, config->client_count, numbers, err)
			   : err_system(err, -ENOMEM, "clients");
	free(keys);
	free(texts);
	return rc;
}

int client_list_open(struct client_list *ret, struct client_number_table *numbers_on_disk,
	const struct server_config *config, struct err *err)
{
	struct client_list list = {.count = config->client_count};
	uint32_t *numbers = calloc(config->client_count + 1, sizeof(*numbers));
	int rc;

	list.entries = calloc(config->client_count + 1, sizeof(*list.entries));
	rc = numbers && list.entries ? assign_numbers(numbers_on_disk, config, numbers, err)
				     : err_system(err, -ENOMEM, "clients");
	for (size_t i = 0; rc == 0 && i < list.count; i++)
		list.entries[i] = (struct client_list_entry){.number = numbers[i], .client = &config->clients[i]};
	free(numbers);
	if (rc < 0) {
		free(list.entries);
		return rc;
	}
	qsort(list.entries, list.count, sizeof(*list.entries), compare_entries);
	*ret = list;
	return 0;
}

void client_list_close(struct client_list *list)
{
	free(list->entries);
	*list = (struct client_list){0};
}

void client_list_remember(struct client_list *list, const struct client_list *before)
{
	for (size_t i = 0; i < list->count; i++) {
		struct client_list_entry *entry = &list->entries[i];
		const struct client_list_entry *old = client_list_find(before, entry->number);
		const struct server_client *client = entry->client;

		if (!old || (old->client->has_public_key && memcmp(old->client->public_key, client->public_key,
								    sizeof(client->public_key)) != 0))
			continue;
		*entry = *old;
		entry->client = client; /* of the new configuration; the old one is freed soon */
	}
}

/* WireGuard refuses a handshake whose time is not later than that of the one before. So a client whose clock has
 * gone back is locked out until the device forgets that time (host_on_peer_clock()). Both limits allow for clocks
 * that differ a bit. */
bool client_list_note_clock(struct client_list_entry *entry, int64_t wall_s, int64_t now_s)
{
	bool is_behind;

	if (wall_s < 0 || wall_s > CLOCK_MAX_S)
		return false;
	is_behind = wall_s + CLOCK_BEHIND_S < now_s || wall_s + CLOCK_SLACK_S < entry->clock_s;
	entry->clock_s =
		wall_s; /* also where it went back: WireGuard is told, and the next one is compared with this */
	return is_behind;
}

struct client_list_entry *client_list_find(const struct client_list *list, uint32_t number)
{
	const struct client_list_entry key = {.number = number};

	return list->count == 0 ? NULL : bsearch(&key, list->entries, list->count, sizeof(key), compare_entries);
}
