/* client/address_cache: kept addresses are there at the next start, and other text in the file does no harm. */
#include "client/address_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[64];

static int set_up(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/test_cache.XXXXXX");
	return mkdtemp(folder) ? 0 : -1;
}

static void path_of(char *buf, size_t size)
{
	snprintf(buf, size, "%s/home/addresses", folder);
}

static int tear_down(void **state)
{
	char path[128];

	(void)state;
	path_of(path, sizeof(path));
	unlink(path);
	snprintf(path, sizeof(path), "%s/home", folder);
	rmdir(path);
	return rmdir(folder);
}

static struct address_cache *reopen(struct address_cache *cache)
{
	address_cache_close(cache);
	cache = address_cache_open(folder, "home");
	assert_non_null(cache);
	return cache;
}

/* Where nothing was written lately, at once. */
static void keep(struct address_cache *cache, const char *host, const char *addresses)
{
	static uint64_t now_us;

	now_us += ADDRESS_CACHE_WRITE_PAUSE_MS * 1000;
	assert_int_equal(address_cache_keep(cache, host, addresses, now_us), 0);
}

static void what_is_kept_is_found_again(void **state)
{
	struct address_cache *cache = reopen(NULL);

	(void)state;
	assert_null(address_cache_find(cache, "hub.example.org"));
	keep(cache, "hub.example.org", "203.0.113.10");
	keep(cache, "other.example.org", "2001:db8::1");
	keep(cache, "hub.example.org", "203.0.113.11,203.0.113.12");
	cache = reopen(cache);
	assert_string_equal(address_cache_find(cache, "hub.example.org"), "203.0.113.11,203.0.113.12");
	assert_string_equal(address_cache_find(cache, "other.example.org"), "2001:db8::1");
	address_cache_close(cache);
}

/* The worker is not trusted: its lists are kept only where they are well-formed. */
static void what_is_no_list_is_not_kept(void **state)
{
	struct address_cache *cache = reopen(NULL);

	(void)state;
	keep(cache, "hub.example.org", "");
	keep(cache, "hub.example.org", "203.0.113.10\nevil.example.org 192.0.2.1");
	keep(cache, "hub.example.org evil", "203.0.113.10");
	keep(cache, "", "203.0.113.10");
	cache = reopen(cache);
	assert_null(address_cache_find(cache, "hub.example.org"));
	assert_null(address_cache_find(cache, "evil.example.org"));
	assert_null(address_cache_find(cache, ""));
	address_cache_close(cache);
}

/* Names that come and go push the oldest out, and no file grows for ever. */
static void the_oldest_falls_out(void **state)
{
	struct address_cache *cache = reopen(NULL);
	char host[32];

	(void)state;
	for (int i = 0; i < 100; i++) {
		snprintf(host, sizeof(host), "hub%d.example.org", i);
		keep(cache, host, "203.0.113.10");
	}
	cache = reopen(cache);
	assert_null(address_cache_find(cache, "hub83.example.org"));
	assert_non_null(address_cache_find(cache, "hub84.example.org"));
	assert_non_null(address_cache_find(cache, "hub99.example.org"));
	address_cache_close(cache);
}

/* Only its owner reads it. */
static void file_is_its_owners(void **state)
{
	struct address_cache *cache = reopen(NULL);
	struct stat status;
	char path[128];

	(void)state;
	keep(cache, "hub.example.org", "203.0.113.10");
	path_of(path, sizeof(path));
	assert_int_equal(stat(path, &status), 0);
	assert_int_equal(status.st_mode & 07777, 0600);
	address_cache_close(cache);
}

static bool disk_says(const char *text)
{
	char path[128], line[256] = "";
	FILE *file;

	path_of(path, sizeof(path));
	file = fopen(path, "re");
	assert_non_null(file);
	assert_non_null(fgets(line, sizeof(line), file));
	fclose(file);
	return strstr(line, text);
}

/* However often the worker's list changes, one write is made in each interval, and the last list is written in the
 * end. */
static void news_without_end_are_few_writes(void **state)
{
	struct address_cache *cache = reopen(NULL);
	uint64_t now_us = 5000000;

	(void)state;
	assert_int_equal(address_cache_keep(cache, "hub.example.org", "203.0.113.10", now_us), 0);
	for (int i = 0; i < 500; i++) {
		now_us += 1000;
		assert_int_equal(
			address_cache_keep(cache, "hub.example.org", i % 2 ? "203.0.113.11" : "203.0.113.12", now_us),
			ADDRESS_CACHE_WRITE_PAUSE_MS - 1 - i);
	}
	assert_true(disk_says(" 203.0.113.10\n"));
	assert_string_equal(address_cache_find(cache, "hub.example.org"), "203.0.113.11");
	address_cache_write(cache, now_us + 500000);
	assert_true(disk_says(" 203.0.113.11\n"));
	assert_true(address_cache_keep(cache, "hub.example.org", "203.0.113.13", now_us + 600000) > 0);
	address_cache_close(cache);
	assert_true(disk_says(" 203.0.113.13\n"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_kept_is_found_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_list_is_not_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_oldest_falls_out, set_up, tear_down),
		cmocka_unit_test_setup_teardown(file_is_its_owners, set_up, tear_down),
		cmocka_unit_test_setup_teardown(news_without_end_are_few_writes, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
