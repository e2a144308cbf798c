/* Configuration keys as a table: one row a key, with the section it belongs to and the function that parses it.
 *
 * The caller walks the file and offers each entry; here it is found in the table, checked for being given twice or
 * beside its twin, cut into list elements and handed to the row's parser. What is wrong becomes a line of the report:
 * "FILE:LINE: KEY: 'VALUE': what is wrong; what would be right", or "--option: 'VALUE': …". Secrets are never quoted.
 */
#ifndef TOWPATH_BASE_KEY_TABLE_H
#define TOWPATH_BASE_KEY_TABLE_H

#include "common/base/ini.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_ROWS_MAX 48
#define KEY_OPTION_MAX 32
#define KEY_LINE_OPTION UINT_MAX /* instead of a line: given as an option, wins over the file */

enum key_kind {
	KEY_ONCE,
	KEY_LIST,     /* separated by commas or by repeating the key; parsed element by element */
	KEY_REPEATED, /* by repeating the key only: its value may have commas */
	KEY_WATCHED,  /* left to the caller, who also minds repetition; here only for its twin and its secrecy */
	KEY_REFUSED,  /* known, but not here or not yet: `hint` says which */
};

/* Where a value stands, for complaints. */
struct key_place {
	const char *path; /* or "--option", with line 0 */
	unsigned line;
	const char *key;  /* as in the table; NULL for an option */
	const char *text; /* NULL for a secret */
	struct ini_report *report;
};

/* Return: 0, or -EINVAL after key_complain(). */
typedef int key_parse_fn(void *owner, const char *text, const struct key_place *place);

struct key_row {
	const char *section;
	const char *key;
	enum key_kind kind;
	key_parse_fn *parse; /* NULL: left to the caller after the checks */
	bool secret;
	const char *twin; /* the key that must not stand beside it */
	const char *hint; /* KEY_REFUSED: the complaint */
};

struct key_table {
	const struct key_row *rows;
	size_t count; /* at most KEY_ROWS_MAX */
};

enum key_result {
	KEY_TAKEN, /* parsed, or skipped because an option says it */
	KEY_LEFT,  /* not in the table, or the caller's to parse */
	KEY_BAD,   /* a line was added to the report */
};

/* The row of that section and key (both in any case), or -1. */
int key_table_find(const struct key_table *table, const char *section, const char *key);

/* One entry of a file. @lines: for each row the line that set it, 0 not yet; filled in here. */
enum key_result key_table_take(const struct key_table *table, unsigned *lines, void *owner, const struct ini *ini,
	const struct ini_section *section, const struct ini_entry *entry, struct ini_report *report);

/* The same for an option. "server-name" and "servername" are ServerName. KEY_LEFT: there is no such key in @section. */
enum key_result key_table_take_option(const struct key_table *table, const char *section, unsigned *lines, void *owner,
	const char *option, const char *value, struct ini_report *report);
/* The same for a variable of the environment: secrets are taken. @variable: "TOWPATH_TOKEN". */
enum key_result key_table_take_variable(const struct key_table *table, int row, unsigned *lines, void *owner,
	const char *variable, const char *value, struct ini_report *report);

/* Complain about a key that nobody took: where it belongs, or the nearest one among the table's and @more (NULL or
 * NULL-terminated). Its value is not quoted, it may be a misspelt secret. */
void key_table_complain_unknown(const struct key_table *table, const char *const *more, const struct ini *ini,
	const struct ini_section *section, const struct ini_entry *entry, struct ini_report *report);

/* Must others not see the value: a secret by its row, or a URL with a user or password? */
bool key_is_secret(const struct key_row *row, const char *value);

/* "ServerName" → "server-name". @buf: KEY_OPTION_MAX bytes. Return: @buf. */
const char *key_option_name(char *buf, const char *key);
/* "ServerName" → "TOWPATH_SERVER_NAME". @buf: KEY_OPTION_MAX bytes. Return: @buf. */
const char *key_variable_name(char *buf, const char *key);

/* UTF-8 without control characters but tabs: text that can be logged, sent as a header and put into JSON. */
bool key_is_text(const char *text);

/* Add a line about the value. Return: -EINVAL. */
int key_complain(const struct key_place *place, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What many keys have in common. Return: 0, or -EINVAL after a complaint. */
int key_parse_number(const char *text, uint64_t min, uint64_t max, uint32_t *ret, const struct key_place *place);
int key_parse_span(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms, const struct key_place *place);
int key_parse_bool(const char *text, bool *ret, const struct key_place *place);
int key_parse_copy(const char *text, char **ret, const struct key_place *place);
int key_parse_path(const char *text, char **ret, const struct key_place *place); /* absolute */
/* @min to 256 of [A-Za-z0-9_-]. */
int key_parse_word(const char *text, size_t min, char **ret, const struct key_place *place);

/* One more element of @size bytes behind @count, zeroed. Return: it, or NULL after a complaint. */
void *key_append(void *array_pointer, size_t *count, size_t size, const struct key_place *place);

#endif
