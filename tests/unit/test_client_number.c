/* Clients keep their numbers, whatever happens to the file they stand in. */
#include "server/client_list.h"

#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define MANY 20000

struct fixture {
	char folder[32];
	char path[48];
	struct client_number_table *table;
};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	strcpy(f->folder, "/tmp/test_source.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->path, sizeof(f->path), "%s/sources", f->folder);
	assert_int_equal(client_number_table_open(&f->table, f->folder, NULL), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	client_number_table_close(f->table);
	unlink(f->path);
	rmdir(f->folder);
	free(f);
	return 0;
}

/* As after a restart of the hub. */
static void open_again(struct fixture *f)
{
	client_number_table_close(f->table);
	assert_int_equal(client_number_table_open(&f->table, f->folder, NULL), 0);
}

static uint32_t number_of(const struct fixture *f, const char *key)
{
	uint32_t number = 0;

	assert_int_equal(client_number_table_assign(f->table, &key, 1, &number, NULL), 0);
	assert_in_range(number, 1, CLIENT_NUMBER_MAX);
	return number;
}

static void write_file(const struct fixture *f, const char *text)
{
	FILE *file = fopen(f->path, "w");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void number_is_the_same_after_a_restart(void **state)
{
	struct fixture *f = *state;
	uint32_t laptop = number_of(f, "laptop"), pi = number_of(f, "pi");

	assert_int_not_equal(laptop, pi);
	open_again(f);
	assert_int_equal(number_of(f, "pi"), pi);
	assert_int_equal(number_of(f, "laptop"), laptop);
}

/* Among 20,000 names some hash alike (in 2^22 places some 48 do). */
static void names_that_hash_alike_keep_their_numbers_in_any_order(void **state)
{
	static char text[MANY][16];
	static const char *keys[MANY], *reversed[MANY];
	static uint32_t numbers[MANY], again[MANY];
	static bool is_taken[CLIENT_NUMBER_MAX + 1];
	struct fixture *f = *state;

	for (size_t i = 0; i < MANY; i++) {
		snprintf(text[i], sizeof(text[i]), "client%zu", i);
		keys[i] = reversed[MANY - 1 - i] = text[i];
	}
	assert_int_equal(client_number_table_assign(f->table, keys, MANY, numbers, NULL), 0);
	open_again(f);
	assert_int_equal(client_number_table_assign(f->table, reversed, MANY, again, NULL), 0);
	for (size_t i = 0; i < MANY; i++) {
		assert_int_equal(numbers[i], again[MANY - 1 - i]);
		assert_false(is_taken[numbers[i]]);
		is_taken[numbers[i]] = true;
	}
}

static void address_of_one_who_is_gone_is_given_to_nobody(void **state)
{
	struct fixture *f = *state;

	write_file(f, "{\"gone\": \"127.64.0.9\"}");
	open_again(f);
	assert_int_equal(number_of(f, "gone"), 9);
	number_of(f, "new");
	open_again(f);
	assert_int_equal(number_of(f, "gone"), 9);
}

/* Two names with one address could be taken for each other. */
static void entries_that_cannot_be_are_given_anew(void **state)
{
	struct fixture *f = *state;

	write_file(f, "{\"a\": \"127.64.0.9\", \"b\": \"127.64.0.9\", \"c\": \"127.0.0.1\", \"d\": 7, \"e\": "
		      "\"127.64.0.0\"}");
	open_again(f);
	assert_int_not_equal(number_of(f, "a"), number_of(f, "b"));
	for (const char *key = "c\0d\0e\0"; *key; key += 2)
		number_of(f, key);
}

static void unreadable_file_is_told_and_stays(void **state)
{
	struct fixture *f = *state;
	struct client_number_table *table = NULL;
	struct err err = {""};

	write_file(f, "{\"a\": ");
	assert_int_equal(client_number_table_open(&table, f->folder, &err), -EINVAL);
	assert_non_null(strstr(err.text, f->path));
	assert_non_null(strstr(err.text, "remove it"));
}

static void what_cannot_be_written_is_not_given(void **state)
{
	struct fixture *f = *state;
	const char *key = "laptop";
	struct err err = {""};
	uint32_t number = 0;

	assert_int_equal(rmdir(f->folder), 0);
	assert_int_equal(client_number_table_assign(f->table, &key, 1, &number, &err), -ENOENT);
	assert_int_equal(number, 0);
	assert_int_equal(mkdir(f->folder, 0700), 0);
	number_of(f, key);
	assert_int_equal(access(f->path, F_OK), 0);
}

/* --- who is known by what --- */

static void key_is(const char *wanted, struct server_client client)
{
	char key[CLIENT_NUMBER_KEY_MAX];

	client_number_key(key, &client);
	assert_string_equal(key, wanted);
}

/* "peer-7" is made of the line, which the next edit moves. */
static void nameless_client_is_known_by_what_stays(void **state)
{
	static char name[] = "peer-7", token[] = "laptop-token-0123456789", path[] = "word";

	(void)state;
	key_is("peer-7", (struct server_client){.name = name, .name_line = 8, .has_public_key = true, .token = token});
	key_is("#key AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
		(struct server_client){.name = name, .has_public_key = true, .token = token});
	key_is("#token f38282decaac3d4d", (struct server_client){.name = name, .token = token, .stock_path = path});
	key_is("#path 98c1eb4ee9347674", (struct server_client){.name = name, .stock_path = path});
}

static void address_follows_from_the_number(void **state)
{
	struct addr addr;

	(void)state;
	client_number_address(CLIENT_NUMBER_MAX, &addr);
	assert_int_equal(ntohl(addr.in4.sin_addr.s_addr), 0x7f7ffffe);
	assert_int_equal(addr_port(&addr), 0);
}

static void client_list_finds_by_number(void **state)
{
	static char laptop[] = "laptop", pi[] = "pi";
	struct server_client clients[] = {{.name = laptop, .name_line = 2}, {.name = pi, .name_line = 5}};
	const struct server_config config = {.clients = clients, .client_count = 2};
	struct fixture *f = *state;
	struct client_list roster;

	assert_int_equal(client_list_open(&roster, f->table, &config, NULL), 0);
	assert_ptr_equal(client_list_find(&roster, number_of(f, "pi"))->client, &clients[1]);
	assert_ptr_equal(client_list_find(&roster, number_of(f, "laptop"))->client, &clients[0]);
	assert_null(client_list_find(&roster, number_of(f, "gone")));
	assert_true(roster.entries[0].number < roster.entries[1].number);
	client_list_close(&roster);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(number_is_the_same_after_a_restart),
		TEST(names_that_hash_alike_keep_their_numbers_in_any_order),
		TEST(address_of_one_who_is_gone_is_given_to_nobody),
		TEST(entries_that_cannot_be_are_given_anew),
		TEST(unreadable_file_is_told_and_stays),
		TEST(what_cannot_be_written_is_not_given),
		cmocka_unit_test(nameless_client_is_known_by_what_stays),
		cmocka_unit_test(address_follows_from_the_number),
		TEST(client_list_finds_by_number),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
