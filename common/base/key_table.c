/* See key_table.h. Happy path: find the row, check that nothing speaks against it, hand the text to its parser.
 *
 * Every failure is a line in the report and reading goes on, so that all of them are told in one go. A value that is
 * refused still counts as given: a second one would be complained about, and no preset takes its place.
 *
 * A value comes from one of four places, and all end in key_parse():
 *
 *    an entry of a file    key_take()            place: FILE:LINE: KEY
 *    an option             key_take_option()     place: --option       wins over the file
 *    a variable            key_take_variable()   place: VARIABLE       only secrets, only without a file
 *    a preset              key_fill_presets()    place: default        where none of these has set the key
 *
 * The first three mark the row as set, with the line or with KEY_LINE_OPTION. Options are taken before the file is
 * read, so that a key of the file whose row is marked so is passed over. That mark is all the state there is: it
 * lies with the reader's owner, and a section that may stand again begins with cleared marks.
 */
#include "common/base/key_table.h"

#include "common/base/array.h"
#include "common/base/clock.h"
#include "common/base/place.h"
#include "common/base/secret.h"
#include "common/base/text.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define WORD_MAX 256
#define KNOWN_MAX 128 /* keys among which the nearest is looked for */

int key_complain(const struct key_place *place, const char *format, ...)
{
	const char *value = place->text ? place->text : place->value;
	char text[ERR_TEXT_MAX], foreign[TEXT_FOREIGN_MAX];
	size_t len;
	va_list args;

	va_start(args, format);
	len = (size_t)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (value && *text_name_foreign(foreign, value) && len < sizeof(text))
		snprintf(text + len, sizeof(text) - len, "; %s", foreign);
	if (place->key && place->text)
		ini_report_add(
			place->report, place->path, place->line, "%s: '%.200s': %s", place->key, place->text, text);
	else if (place->key)
		ini_report_add(place->report, place->path, place->line, "%s: %s", place->key, text);
	else if (place->text)
		ini_report_add(place->report, place->path, place->line, "'%.200s': %s", place->text, text);
	else
		ini_report_add(place->report, place->path, place->line, "%s", text);
	return -EINVAL;
}

/* Without regard to case, as wg(8) and wg-quick(8) read their keys. */
int key_table_find(const struct key_table *table, const char *key)
{
	for (size_t i = 0; i < table->count; i++)
		if (strcasecmp(table->rows[i].key, key) == 0)
			return (int)i;
	return -1;
}

bool key_is_text(const char *text)
{
	for (; *text; text += text_utf8_len(text))
		if (text_utf8_len(text) == 0 || ((unsigned char)*text < 0x20 && *text != '\t') || *text == 0x7f)
			return false;
	return true;
}

/* "USER:PASSWORD@" makes a secret of any value, also of one that stands under the wrong key. */
bool key_is_secret(const struct key_row *row, const char *value)
{
	const char *at = strchr(value, '@');

	return row->secret || (at && memchr(value, ':', (size_t)(at - value)));
}

/* --- a value, by its row --- */

/* A value may reach a log, an HTTP header and JSON. The complaint does not quote it, since that is where it would do
 * harm. */
static int check_text(const char *text, const struct key_place *place)
{
	struct key_place unquoted = *place;

	unquoted.text = NULL;
	if (*text == '\0')
		return key_complain(&unquoted, "the value is empty; expected one, or no such line");
	if (!key_is_text(text))
		return key_complain(
			&unquoted, "the value has a control character or is not UTF-8; expected plain text");
	return 0;
}

/* @text: one element, cut off at its comma; blanks around it are taken off in place. */
static int parse_element(const struct key_row *row, void *owner, char *text, const struct key_place *place)
{
	struct key_place here = *place;
	size_t len;

	text += strspn(text, " \t");
	for (len = strlen(text); len > 0 && strchr(" \t", text[len - 1]); len--)
		text[len - 1] = '\0';
	if (*text == '\0')
		return key_complain(place, "an element of the list is empty; expected one comma between two elements");
	if (here.text)
		here.text = text;
	return row->parse(owner, text, &here);
}

int key_parse(const struct key_row *row, void *owner, const char *text, const struct key_place *place)
{
	struct key_place here = *place;
	size_t len = strlen(text);
	char *copy, *to;
	int rc = 0;

	here.row = row;
	here.value = text;
	if (row->rules == KEY_RULES_OURS)
		rc = check_text(text, &here);
	if (rc < 0 || key_copy(text, &copy, &here) < 0)
		return -EINVAL;
	if (row->rules == KEY_RULES_WG) {
		to = copy;
		for (const char *from = copy; *from; from++)
			if (!isspace((unsigned char)*from))
				*to++ = *from;
		*to = '\0';
	}
	if (row->kind != KEY_LIST)
		rc = row->parse(owner, copy, &here);
	else /* the first wrong element ends the list */
		for (char *rest = copy, *element; rc == 0 && (element = strsep(&rest, ","));)
			rc = parse_element(row, owner, element, &here);
	secret_wipe(copy, len); /* its length was taken before the list was cut up */
	free(copy);
	return rc;
}

/* --- an entry, an option, a variable --- */

/* The row of a key, and where its twin was given. */
struct match {
	const struct key_reader *reader;
	const struct key_row *row;
	unsigned *line;
	unsigned twin_line; /* 0: it was not */
};

/* Twins may be rows of two tables: PrivateKey is WireGuard's, PrivateKeyFile ours. */
static struct match match_row(const struct key_reader *readers, size_t count, const struct key_reader *reader, int row)
{
	struct match match = {reader, &reader->table->rows[row], &reader->lines[row], 0};
	int twin = -1;

	for (size_t i = 0; match.row->twin && twin < 0 && i < count; i++) {
		twin = key_table_find(readers[i].table, match.row->twin);
		if (twin >= 0)
			match.twin_line = readers[i].lines[twin];
	}
	return match;
}

/* The position of the earlier one, in words. @buf: PLACE_TEXT_MAX bytes. */
static const char *format_line(char *buf, unsigned line, const struct key_place *place)
{
	if (line == KEY_LINE_OPTION)
		return "as another option";
	memcpy(buf, "in ", 4);
	place_refer(buf + 3, place->path, line, place->line);
	return buf;
}

/* May the row be set (once more)? */
static int check_repetition(const struct match *match, const struct key_place *place)
{
	char where[PLACE_TEXT_MAX + 3];

	if (match->twin_line)
		return key_complain(place, "%s is given already, %s; expected one of the two", match->row->twin,
			format_line(where, match->twin_line, place));
	if (match->row->kind == KEY_ONCE && *match->line)
		return key_complain(
			place, "given already, %s; expected once", format_line(where, *match->line, place));
	return 0;
}

/* From here on a file, an option and a variable are the same; @place differs. */
static enum key_result take(const struct match *match, const char *text, const struct key_place *place, unsigned line)
{
	unsigned *first;

	if (match->row->kind == KEY_REFUSED) {
		key_complain(place, "%s", match->row->hint);
		return KEY_BAD;
	}
	if (check_repetition(match, place) < 0)
		return KEY_BAD;
	if (!*match->line)
		*match->line = line;
	first = (unsigned *)((char *)match->reader->owner + match->row->line_offset);
	if (match->row->line_offset && !*first)
		*first = line;
	return key_parse(match->row, match->reader->owner, text, place) < 0 ? KEY_BAD : KEY_TAKEN;
}

enum key_result key_take(const struct key_reader *readers, size_t count, const struct ini *ini,
	const struct ini_entry *entry, struct ini_report *report)
{
	struct key_place place = {.path = ini->path, .line = entry->line, .report = report};
	struct match match;
	int row = -1;

	for (size_t i = 0; row < 0 && i < count; i++) {
		row = key_table_find(readers[i].table, entry->key);
		if (row >= 0)
			match = match_row(readers, count, &readers[i], row);
	}
	if (row < 0)
		return KEY_LEFT;
	if (*match.line == KEY_LINE_OPTION || match.twin_line == KEY_LINE_OPTION)
		return KEY_TAKEN;
	place.key = match.row->key;
	place.text = key_is_secret(match.row, entry->value) ? NULL : entry->value;
	return take(&match, entry->value, &place, entry->line);
}

/* "server-name", "servername": ServerName. */
static bool is_option(const char *key, const char *option)
{
	for (; *option; option++) {
		if (*option == '-')
			continue;
		if (tolower((unsigned char)*key) != *option)
			return false;
		key++;
	}
	return *key == '\0';
}

/* /proc/PID/cmdline can be read by every user of the host. The remedy is the file twin, if there is one. */
static enum key_result refuse_secret(const struct key_row *row, const struct key_place *place)
{
	char variable[KEY_OPTION_MAX], twin[KEY_OPTION_MAX];

	key_variable_name(variable, row->key);
	if (row->twin)
		key_complain(place,
			"everybody can see a secret among the arguments; expected --%s, or with a URL %s in the environment",
			key_option_name(twin, row->twin), variable);
	else
		key_complain(place,
			"everybody can see a secret among the arguments; expected %s in the file, or with a URL %s in the "
			"environment",
			row->key, variable);
	return KEY_BAD;
}

enum key_result key_take_option(
	const struct key_reader *reader, const char *option, const char *value, struct ini_report *report)
{
	const struct key_table *table = reader->table;
	char path[KEY_OPTION_MAX + 2];
	struct key_place place = {.path = path, .report = report};
	struct match match;
	int row = 0;

	while (row < (int)table->count && !is_option(table->rows[row].key, option))
		row++;
	if (row == (int)table->count)
		return KEY_LEFT;
	match = match_row(reader, 1, reader, row);
	place.text = key_is_secret(match.row, value) ? NULL : value;
	snprintf(path, sizeof(path), "--%s", option);
	if (match.row->secret)
		return refuse_secret(match.row, &place);
	return take(&match, value, &place, KEY_LINE_OPTION);
}

enum key_result key_take_variable(
	const struct key_reader *reader, int row, const char *variable, const char *value, struct ini_report *report)
{
	struct key_place place = {.path = variable, .report = report};
	struct match match = match_row(reader, 1, reader, row);

	return take(&match, value, &place, KEY_LINE_OPTION);
}

/* The row's line stays 0: the key was not given. */
void key_fill_presets(const struct key_reader *reader, struct ini_report *report)
{
	/* A preset is text like a user's, so it cannot be out of bounds without a complaint. */
	const struct key_place place = {.path = "default", .report = report};

	for (size_t i = 0; i < reader->table->count; i++)
		if (reader->table->rows[i].preset && !reader->lines[i])
			key_parse(&reader->table->rows[i], reader->owner, reader->table->rows[i].preset, &place);
}

/* --- a key that is not known --- */

/* Refused keys are not offered, or the user would be led from one complaint to the next. */
static const char *find_nearest(const struct key_table *const *tables, const char *section, const char *key)
{
	const char *known[KNOWN_MAX + 1];
	size_t count = 0;

	for (; *tables; tables++)
		for (size_t i = 0; i < (*tables)->count && count < KNOWN_MAX; i++)
			if (strcasecmp((*tables)->section, section) == 0 && (*tables)->rows[i].kind != KEY_REFUSED)
				known[count++] = (*tables)->rows[i].key;
	known[count] = NULL;
	return ini_nearest(key, known);
}

void key_complain_unknown(const struct key_table *const *tables, const struct ini *ini,
	const struct ini_section *section, const struct ini_entry *entry, struct ini_report *report)
{
	const char *nearest = find_nearest(tables, section->name, entry->key);
	const char *home = NULL; /* the section where that key would be known */

	for (; !home && *tables; tables++) {
		int row = key_table_find(*tables, entry->key);

		if (row >= 0 && (*tables)->rows[row].kind != KEY_REFUSED)
			home = (*tables)->section;
	}
	if (home)
		ini_report_add(report, ini->path, entry->line, "%s: not a key of [%s]; it belongs in [%s]", entry->key,
			section->name, home);
	else if (nearest)
		ini_report_add(report, ini->path, entry->line, "%s: not a key of [%s]; did you mean %s?", entry->key,
			section->name, nearest);
	else
		ini_report_add(report, ini->path, entry->line, "%s: not a key of [%s]; take the line out", entry->key,
			section->name);
}

/* A new word begins at a capital behind a small letter. */
static const char *spell(char *buf, const char *prefix, const char *key, char between, int (*letter)(int))
{
	size_t len = (size_t)snprintf(buf, KEY_OPTION_MAX, "%s", prefix);

	for (size_t i = 0; key[i] && len + 2 < KEY_OPTION_MAX; i++) {
		if (i > 0 && isupper((unsigned char)key[i]) && islower((unsigned char)key[i - 1]))
			buf[len++] = between;
		buf[len++] = (char)letter((unsigned char)key[i]);
	}
	buf[len] = '\0';
	return buf;
}

const char *key_option_name(char *buf, const char *key)
{
	return spell(buf, "", key, '-', tolower);
}

const char *key_variable_name(char *buf, const char *key)
{
	return spell(buf, "TOWPATH_", key, '_', toupper);
}

/* --- parsers for rows --- */

/* The row promises the type of the field; nothing can check it here. */
static void *field_of(void *owner, const struct key_place *place)
{
	return (char *)owner + place->row->offset;
}

int key_copy(const char *text, char **ret, const struct key_place *place)
{
	char *copy = strdup(text);

	if (!copy)
		return key_complain(place, "out of memory");
	*ret = copy;
	return 0;
}

int key_set_text(void *owner, const char *text, const struct key_place *place)
{
	if (place->row->max && strlen(text) > place->row->max)
		return key_complain(place, "too long; expected at most %u characters", (unsigned)place->row->max);
	return key_copy(text, field_of(owner, place), place);
}

/* Words go into URLs and HTTP headers as they are: nothing in them needs an escape. */
int key_set_word(void *owner, const char *text, const struct key_place *place)
{
	size_t len = strlen(text), min = place->row->min;

	if (!text_is_made_of(text, len, "_-"))
		return key_complain(
			place, "has a character that is not allowed; expected letters, digits, '_' and '-'");
	if (len < min)
		return key_complain(place, "too short, %zu characters; expected %zu or more", len, min);
	if (len > WORD_MAX)
		return key_complain(place, "too long, %zu characters; expected at most %d", len, WORD_MAX);
	return key_copy(text, field_of(owner, place), place);
}

int key_set_path(void *owner, const char *text, const struct key_place *place)
{
	/* A service has no folder of its own; an option is typed in one. */
	if (text[0] != '/' && place->key)
		return key_complain(place, "not an absolute path; expected one that begins with /");
	return key_copy(text, field_of(owner, place), place);
}

int key_set_path_or_none(void *owner, const char *text, const struct key_place *place)
{
	return strcasecmp(text, "none") == 0 ? 0 : key_set_path(owner, text, place);
}

/* wg-quick says true, systemd says yes: both are taken. */
int key_set_bool(void *owner, const char *text, const struct key_place *place)
{
	bool is_yes = strcasecmp(text, "yes") == 0 || strcasecmp(text, "true") == 0;

	if (!is_yes && strcasecmp(text, "no") != 0 && strcasecmp(text, "false") != 0)
		return key_complain(place, "neither yes nor no; expected one of the two");
	*(bool *)field_of(owner, place) = is_yes;
	return 0;
}

/* Digits only: "10k" or "1e4" would mean something else to each reader. */
int key_set_number(void *owner, const char *text, const struct key_place *place)
{
	unsigned long long min = place->row->min, max = place->row->max;
	uint64_t number;

	if (text_parse_number(text, 10, max, &number) < 0 || number < min)
		return key_complain(place, "not a number in range; expected %llu to %llu", min, max);
	*(uint32_t *)field_of(owner, place) = (uint32_t)number;
	return 0;
}

int key_set_span(void *owner, const char *text, const struct key_place *place)
{
	unsigned long long min = place->row->min, max = place->row->max;
	uint64_t ms = 0;

	if (clock_parse_span(text, &ms) < 0)
		return key_complain(place, "not a time; expected for example 15s, 5min or 1h 30min");
	if (ms < min || ms > max)
		return key_complain(place, "out of range; expected %llus to %llus", min / 1000, max / 1000);
	*(uint64_t *)field_of(owner, place) = ms;
	return 0;
}

/* An enum without negative values has the size of an int, which the words' indices are written to. */
int key_set_choice(void *owner, const char *text, const struct key_place *place)
{
	char list[128] = "";
	int i;

	for (i = 0; place->row->words[i]; i++) {
		if (strcasecmp(text, place->row->words[i]) == 0) {
			*(int *)field_of(owner, place) = i;
			return 0;
		}
		text_append_word(list, sizeof(list), place->row->words[i]);
	}
	return key_complain(place, "not one of the choices; expected one of %s", list);
}

void *key_append(void *array_pointer, size_t *count, size_t size, const struct key_place *place)
{
	void *element;

	if (place->row && place->row->max && *count >= place->row->max) {
		key_complain(place, "one too many; expected at most %u", (unsigned)place->row->max);
		return NULL;
	}
	element = array_append(array_pointer, count, size);
	if (!element)
		key_complain(place, "out of memory");
	return element;
}
