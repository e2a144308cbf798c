/* A short list in memory, written as a whole when it has changed, at most once in ADDRESS_CACHE_WRITE_PAUSE_MS. Happy
 * path: read at the start, found for the settings; kept when the worker reports that a name was reached.
 *
 * Fails by forgetting: the names are looked up then. Neither the file nor the worker is trusted: only a host without
 * blanks and a list of literal addresses are taken, so that one entry cannot become two lines.
 */
#include "client/address_cache.h"

#include "client/address_list.h"
#include "common/base/clock.h"
#include "common/base/err.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "common/base/log.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ADDRESS_CACHE_MAX 16u /* a name that the configuration no longer has becomes the oldest and is replaced */
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

/* A blank would end the host in its line, a newline would begin another line. */
static bool is_host(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= NAME_MAX_LEN && strcspn(text, " \t\r\n") == len;
}

/* Literal addresses only, so that no content of the file causes a look-up. */
static bool is_list(const char *text)
{
	struct addr addresses[ADDRESS_LIST_MAX];

	return strlen(text) < ADDRESS_LIST_TEXT_MAX && address_list_parse(text, 1, addresses) > 0;
}

/* Take one line of the file. If two lines name one host, the first is the newer one. */
static void read_line(struct address_cache *cache, char *line)
{
	struct name_entry *entry = &cache->entries[cache->count];
	char *space = strchr(line, ' ');

	if (!space || cache->count == ADDRESS_CACHE_MAX)
		return;
	*space = '\0';
	if (!is_host(line) || !is_list(space + 1) || address_cache_find(cache, line))
		return;
	strcpy(entry->host, line); /* both lengths were checked */
	strcpy(entry->addresses, space + 1);
	cache->count++;
}

struct address_cache *address_cache_open(const char *state_dir, const char *name)
{
	struct address_cache *cache = calloc(1, sizeof(*cache));
	char *text, *line, *rest;
	struct err err;

	if (!cache)
		return NULL;
	snprintf(cache->folder, sizeof(cache->folder), "%s/%s", state_dir, name);
	/* A path that is cut off would name another file. */
	if (snprintf(cache->path, sizeof(cache->path), "%s/%s/addresses", state_dir, name) >=
			(int)sizeof(cache->path) ||
		file_read_text(cache->path, ADDRESS_CACHE_MAX * (LINE_MAX_LEN + 1), &text, &err) < 0)
		return cache;
	for (line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
		read_line(cache, line);
	free(text);
	return cache;
}

/* A linear search: there are at most ADDRESS_CACHE_MAX names. */
const char *address_cache_find(const struct address_cache *cache, const char *host)
{
	for (size_t i = 0; i < cache->count; i++)
		if (strcmp(cache->entries[i].host, host) == 0)
			return cache->entries[i].addresses;
	return NULL;
}

/* The file is replaced as a whole: a crash leaves the old one or the new one. */
static void write_file(struct address_cache *cache)
{
	char text[ADDRESS_CACHE_MAX * (LINE_MAX_LEN + 1) + 1];
	struct err err = {""};
	size_t used = 0;

	for (size_t i = 0; i < cache->count; i++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s %s\n", cache->entries[i].host,
			cache->entries[i].addresses);
	if ((folder_ensure(cache->folder, "--state-dir", &err) == 0 &&
		    file_write_text(cache->path, text, &err) == 0) ||
		cache->is_refusal_told)
		return;
	cache->is_refusal_told = true;
	log_debug("link", "the servers' addresses are not kept for the next start: %s", err.text);
}

/* The time is set even if the write fails: otherwise each report would try a full disk again. */
void address_cache_write(struct address_cache *cache, uint64_t now_us)
{
	if (!cache->is_unwritten)
		return;
	cache->is_unwritten = false;
	cache->written_us = now_us;
	write_file(cache);
}

void address_cache_close(struct address_cache *cache)
{
	if (cache)
		address_cache_write(cache, 0);
	free(cache);
}

/* Make room at the front: the entry of @host, or else the oldest one, is overwritten by the caller. */
static struct name_entry *take_front(struct address_cache *cache, const char *host)
{
	size_t at = 0;

	while (at < cache->count && strcmp(cache->entries[at].host, host) != 0)
		at++;
	if (at == cache->count && cache->count < ADDRESS_CACHE_MAX)
		cache->count++;
	else if (at == cache->count)
		at--;
	memmove(&cache->entries[1], &cache->entries[0], at * sizeof(cache->entries[0]));
	return &cache->entries[0];
}

unsigned address_cache_keep(struct address_cache *cache, const char *host, const char *addresses, uint64_t now_us)
{
	const char *known = address_cache_find(cache, host);
	uint64_t since_ms = (now_us - cache->written_us) / CLOCK_US_PER_MS;
	struct name_entry *entry;

	if ((!known || strcmp(known, addresses) != 0) && is_host(host) && is_list(addresses)) {
		entry = take_front(cache, host);
		snprintf(entry->host, sizeof(entry->host), "%s", host);
		snprintf(entry->addresses, sizeof(entry->addresses), "%s", addresses);
		cache->is_unwritten = true;
	}
	if (cache->written_us == 0 || since_ms >= ADDRESS_CACHE_WRITE_PAUSE_MS)
		address_cache_write(cache, now_us);
	return cache->is_unwritten ? ADDRESS_CACHE_WRITE_PAUSE_MS - (unsigned)since_ms : 0;
}
