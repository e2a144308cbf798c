/* See client_list.h. */
#include "server/client_list.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLOCK_BEHIND_S 60	/* what no clock that was ever set differs by */
#define CLOCK_SLACK_S 5		/* what a clock is put back while it is set right */
#define CLOCK_MAX_S (1ll << 40) /* no clock says more; what the worker says is a stranger's word */

static int compare_entries(const void *a, const void *b)
{
	uint32_t x = ((const struct client_list_entry *)a)->number, y = ((const struct client_list_entry *)b)->number;

	return (x > y) - (x < y);
}

static int assign_numbers(
	struct client_number_table *sources, const struct server_config *config, uint32_t *numbers, struct err *err)
{
	char(*texts)[CLIENT_NUMBER_KEY_MAX] = calloc(config->client_count + 1, sizeof(*texts));
	const char **keys = calloc(config->client_count + 1, sizeof(*keys));
	int rc;

	for (size_t i = 0; texts && keys && i < config->client_count; i++) {
		client_number_key(texts[i], &config->clients[i]);
		keys[i] = texts[i];
	}
	rc = texts && keys ? client_number_table_assign(sources, keys, config->client_count, numbers, err)
			   : err_system(err, -ENOMEM, "clients");
	free(keys);
	free(texts);
	return rc;
}

int client_list_open(struct client_list *ret, struct client_number_table *sources, const struct server_config *config, struct err *err)
{
	struct client_list roster = {.count = config->client_count};
	uint32_t *numbers = calloc(config->client_count + 1, sizeof(*numbers));
	int rc;

	roster.entries = calloc(config->client_count + 1, sizeof(*roster.entries));
	rc = numbers && roster.entries ? assign_numbers(sources, config, numbers, err)
				       : err_system(err, -ENOMEM, "clients");
	for (size_t i = 0; rc == 0 && i < roster.count; i++)
		roster.entries[i] = (struct client_list_entry){.number = numbers[i], .client = &config->clients[i]};
	free(numbers);
	if (rc < 0) {
		free(roster.entries);
		return rc;
	}
	qsort(roster.entries, roster.count, sizeof(*roster.entries), compare_entries);
	*ret = roster;
	return 0;
}

void client_list_close(struct client_list *roster)
{
	free(roster->entries);
	*roster = (struct client_list){0};
}

void client_list_remember(struct client_list *roster, const struct client_list *before)
{
	for (size_t i = 0; i < roster->count; i++) {
		struct client_list_entry *entry = &roster->entries[i];
		const struct client_list_entry *old = client_list_find(before, entry->number);
		const struct server_client *client = entry->client;

		if (!old || memcmp(old->client->public_key, client->public_key, sizeof(client->public_key)) != 0)
			continue;
		*entry = *old;
		entry->client = client;
	}
}

bool client_list_note_clock(struct client_list_entry *entry, int64_t wall_s, int64_t now_s)
{
	bool is_behind;

	if (wall_s < 0 || wall_s > CLOCK_MAX_S)
		return false;
	is_behind = wall_s + CLOCK_BEHIND_S < now_s || wall_s + CLOCK_SLACK_S < entry->clock_s;
	entry->clock_s = wall_s;
	return is_behind;
}

struct client_list_entry *client_list_find(const struct client_list *roster, uint32_t number)
{
	const struct client_list_entry key = {.number = number};

	return roster->count == 0 ? NULL : bsearch(&key, roster->entries, roster->count, sizeof(key), compare_entries);
}
