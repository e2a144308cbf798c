/* A short list in memory, written whole when it has changed, once in ADDRESS_CACHE_WRITE_PAUSE_MS at most. Fails by forgetting: the
 * names are looked up then. */
#include "client/address_cache.h"

#include "client/address_list.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/folder.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_CACHE_MAX 16u /* names that the configuration no longer has fall out at the end */
#define NAME_MAX_LEN 255u
#define LINE_MAX_LEN (NAME_MAX_LEN + 1 + ADDRESS_LIST_TEXT_MAX)

struct name_entry {
	char host[NAME_MAX_LEN + 1];
	char addresses[ADDRESS_LIST_TEXT_MAX];
};

struct address_cache {
	struct name_entry entries[ADDRESS_CACHE_MAX];
	size_t count;
	char folder[PATH_MAX];
	char path[PATH_MAX];
	bool is_refusal_told;
	bool is_unwritten;
	uint64_t written_us; /* 0: never */
};

/* What the file holds was written by us, but it is read as a stranger's. */
static bool is_host(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= NAME_MAX_LEN && strcspn(text, " \t\r\n") == len;
}

static bool is_list(const char *text)
{
	struct addr addresses[ADDRESS_LIST_MAX];

	return strlen(text) < ADDRESS_LIST_TEXT_MAX && address_list_parse(text, 1, addresses) > 0;
}

static void read_line(struct address_cache *names, char *line)
{
	struct name_entry *entry = &names->entries[names->count];
	char *space = strchr(line, ' ');

	if (!space || names->count == ADDRESS_CACHE_MAX)
		return;
	*space = '\0';
	if (!is_host(line) || !is_list(space + 1) || address_cache_find(names, line))
		return;
	strcpy(entry->host, line);
	strcpy(entry->addresses, space + 1);
	names->count++;
}

static void read_file(struct address_cache *names)
{
	char *text, *line, *rest;
	struct err err;

	if (file_read_text(names->path, ADDRESS_CACHE_MAX * (LINE_MAX_LEN + 1), &text, &err) < 0)
		return;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		read_line(names, line);
	free(text);
}

struct address_cache *address_cache_open(const char *state_dir, const char *name)
{
	struct address_cache *names = calloc(1, sizeof(*names));

	if (!names)
		return NULL;
	snprintf(names->folder, sizeof(names->folder), "%s/%s", state_dir, name);
	if (snprintf(names->path, sizeof(names->path), "%s/%s/addresses", state_dir, name) < (int)sizeof(names->path))
		read_file(names);
	return names;
}

const char *address_cache_find(const struct address_cache *names, const char *host)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->entries[i].host, host) == 0)
			return names->entries[i].addresses;
	return NULL;
}

static void write_file(struct address_cache *names)
{
	char text[ADDRESS_CACHE_MAX * (LINE_MAX_LEN + 1) + 1];
	struct err err = {""};
	size_t used = 0;

	for (size_t i = 0; i < names->count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %s\n", names->entries[i].host,
			names->entries[i].addresses);
	if ((folder_ensure(names->folder, &err) == 0 && file_write_text(names->folder, names->path, text, &err) == 0) ||
		names->is_refusal_told)
		return;
	names->is_refusal_told = true;
	log_debug("link", "the servers' addresses are not kept for the next start: %s", err.text);
}

void address_cache_write(struct address_cache *names, uint64_t now_us)
{
	if (!names->is_unwritten)
		return;
	names->is_unwritten = false;
	names->written_us = now_us;
	write_file(names);
}

void address_cache_close(struct address_cache *names)
{
	if (names)
		address_cache_write(names, 0);
	free(names);
}

/* Take the entry of @host, or the oldest, to the front. */
static struct name_entry *take_front(struct address_cache *names, const char *host)
{
	size_t at = 0;

	while (at < names->count && strcmp(names->entries[at].host, host) != 0)
		at++;
	if (at == names->count && names->count < ADDRESS_CACHE_MAX)
		names->count++;
	else if (at == names->count)
		at--;
	memmove(&names->entries[1], &names->entries[0], at * sizeof(names->entries[0]));
	return &names->entries[0];
}

static unsigned ms_to_next_write(const struct address_cache *names, uint64_t now_us)
{
	uint64_t since_ms = (now_us - names->written_us) / CLOCK_US_PER_MS;

	if (names->written_us == 0 || since_ms >= ADDRESS_CACHE_WRITE_PAUSE_MS)
		return 0;
	return ADDRESS_CACHE_WRITE_PAUSE_MS - (unsigned)since_ms;
}

static bool is_news(const struct address_cache *names, const char *host, const char *addresses)
{
	const char *known = address_cache_find(names, host);

	return (!known || strcmp(known, addresses) != 0) && is_host(host) && is_list(addresses);
}

unsigned address_cache_keep(struct address_cache *names, const char *host, const char *addresses, uint64_t now_us)
{
	unsigned wait_ms = ms_to_next_write(names, now_us);
	struct name_entry *entry;

	if (is_news(names, host, addresses)) {
		entry = take_front(names, host);
		snprintf(entry->host, sizeof(entry->host), "%s", host);
		snprintf(entry->addresses, sizeof(entry->addresses), "%s", addresses);
		names->is_unwritten = true;
	}
	if (wait_ms == 0)
		address_cache_write(names, now_us);
	return names->is_unwritten ? wait_ms : 0;
}
