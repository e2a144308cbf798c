/* Configuration keys as tables: one row a key, with the function that parses its value and what that needs.
 *
 * A table holds the keys of one section that are parsed into one struct, the owner. The reader of a file opens a
 * section as one or two readers (a table, an owner, a line for each row) and offers each entry to them. Here the row
 * is found, checked for being given twice or beside its twin, cut into list elements and handed to its parser.
 * Common values need no parser of their own: key_set_…() put them where the row says.
 *
 * Every mistake becomes a line of the report: "FILE:LINE: KEY: 'VALUE': what is wrong; expected …", with "--option"
 * or the name of a variable in place of FILE:LINE: KEY where the value came from there. Secrets are never quoted.
 */
#pragma once

#include "common/base/ini.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_ROWS_MAX 32
#define KEY_OPTION_MAX 32
#define KEY_LINE_OPTION UINT_MAX /* instead of a line: given as an option, which wins over the file */

enum key_kind {
	KEY_ONCE,
	KEY_LIST,     /* separated by commas or by repeating the key; parsed element by element */
	KEY_REPEATED, /* by repeating the key only: its value may have commas */
	KEY_REFUSED,  /* known, but not here or not yet: `hint` says which */
};

/* The treatment of a value before its parser sees it. */
enum key_rules {
	KEY_RULES_OURS,	    /* an empty value, control characters and what is not UTF-8 are refused */
	KEY_RULES_WG_QUICK, /* as it stands, also empty */
	KEY_RULES_WG,	    /* wg(8) takes blanks out wherever they stand */
};

struct key_row;

/* Where a value stands, for complaints, and which row it is parsed by. */
struct key_place {
	const char *path; /* or "--option", with line 0 */
	unsigned line;
	const char *key;  /* as in the table; NULL for an option */
	const char *text; /* NULL for a secret */
	struct ini_report *report;
	const struct key_row *row;
	const char *value; /* the whole, also a secret, of which not more is told than a character that is not ASCII */
};

/* Return: 0, or -EINVAL after key_complain(). */
typedef int key_parse_fn(void *owner, const char *text, const struct key_place *place);

struct key_row {
	const char *key;
	enum key_kind kind;
	key_parse_fn *parse;
	size_t offset;	   /* in the owner: where key_set_…() put the value */
	uint64_t min, max; /* of a number or a time in ms; bytes of a text; elements of a list; max 0: no limit */
	const char *const *words; /* of key_set_choice(), NULL-terminated */
	const char *preset;	  /* parsed by key_fill_presets() where nothing else has set the key */
	size_t line_offset; /* in the owner: an unsigned for the line of the first value, right or wrong; 0: none */
	enum key_rules rules;
	bool secret;
	const char *twin; /* the key that must not stand beside it */
	const char *hint; /* of KEY_REFUSED: the complaint */
};

struct key_table {
	const char *section;
	const struct key_row *rows;
	size_t count; /* at most KEY_ROWS_MAX */
};

/* A section that is being read into @owner. */
struct key_reader {
	const struct key_table *table;
	void *owner;
	unsigned *lines; /* for each row the line that set it; 0: none has */
};

enum key_result {
	KEY_TAKEN, /* parsed, or skipped because an option says it */
	KEY_LEFT,  /* not a key of these tables */
	KEY_BAD,   /* a line was added to the report */
};

/* The row of that key, in any case, or -1. */
int key_table_find(const struct key_table *table, const char *key);

/* One entry of a file, for the first reader that knows the key. @readers: of one section; twins may be in two. */
enum key_result key_take(const struct key_reader *readers, size_t count, const struct ini *ini,
	const struct ini_entry *entry, struct ini_report *report);

/* The same for an option. "server-name" and "servername" are ServerName. Secrets are refused: arguments are public. */
enum key_result key_take_option(
	const struct key_reader *reader, const char *option, const char *value, struct ini_report *report);
/* The same for a variable of the environment, where secrets are taken. @variable: "TOWPATH_TOKEN". */
enum key_result key_take_variable(
	const struct key_reader *reader, int row, const char *variable, const char *value, struct ini_report *report);

/* Parse one value by its row, without the checks for repetition. Return: 0, or -EINVAL after a complaint. */
int key_parse(const struct key_row *row, void *owner, const char *text, const struct key_place *place);

/* Give each key that is not set its preset. */
void key_fill_presets(const struct key_reader *reader, struct ini_report *report);

/* Complain about a key that no reader took: the section where it belongs, or the nearest key of this one. @tables:
 * all of the file, NULL-terminated. The value is not quoted, it may be a secret with a misspelt key. */
void key_complain_unknown(const struct key_table *const *tables, const struct ini *ini,
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

/* --- parsers for rows; the field at the row's offset is of the type named here --- */

int key_set_text(void *owner, const char *text, const struct key_place *place);	  /* char *, at most max bytes */
int key_set_word(void *owner, const char *text, const struct key_place *place);	  /* char *, of [A-Za-z0-9_-] */
int key_set_path(void *owner, const char *text, const struct key_place *place);	  /* char *; absolute, in a file */
int key_set_bool(void *owner, const char *text, const struct key_place *place);	  /* bool */
int key_set_number(void *owner, const char *text, const struct key_place *place); /* uint32_t */
int key_set_span(void *owner, const char *text, const struct key_place *place);	  /* uint64_t, ms */
int key_set_choice(
	void *owner, const char *text, const struct key_place *place); /* int or enum: index in the row's words */
/* char *, as key_set_path(); "none" leaves it NULL. */
int key_set_path_or_none(void *owner, const char *text, const struct key_place *place);

/* --- for parsers of one's own --- */

/* A copy of @text. Return: 0, or -EINVAL after a complaint. */
int key_copy(const char *text, char **ret, const struct key_place *place);

/* One more element, see array_append(). Return: it; NULL after a complaint, also where the row's max is reached. */
void *key_append(void *array_pointer, size_t *count, size_t size, const struct key_place *place);
