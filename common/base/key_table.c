/* See key_table.h. Happy path: find the row, check that nothing speaks against it, hand the text to its parser.
 * Every failure is a line in the report and reading goes on, so that all of them are told in one go.
 */
#include "common/base/key_table.h"

#include "common/base/clock.h"
#include "common/base/secret.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_WORD_MAX 256
#define KEY_KNOWN_MAX 128

int key_complain(const struct key_place *place, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
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

int key_table_find(const struct key_table *table, const char *section, const char *key)
{
	for (size_t i = 0; i < table->count; i++)
		if (strcasecmp(table->rows[i].section, section) == 0 && strcasecmp(table->rows[i].key, key) == 0)
			return (int)i;
	return -1;
}

/* Length of the UTF-8 sequence that begins at @text, 0 where there is none (RFC 3629; surrogates are refused). */
static size_t utf8_len(const unsigned char *text)
{
	size_t len = text[0] < 0x80   ? 1
		     : text[0] < 0xc2 ? 0
		     : text[0] < 0xe0 ? 2
		     : text[0] < 0xf0 ? 3
		     : text[0] < 0xf5 ? 4
				      : 0;

	for (size_t i = 1; i < len; i++)
		if ((text[i] & 0xc0) != 0x80)
			return 0;
	if ((text[0] == 0xe0 && text[1] < 0xa0) || (text[0] == 0xed && text[1] > 0x9f) ||
		(text[0] == 0xf0 && text[1] < 0x90) || (text[0] == 0xf4 && text[1] > 0x8f))
		return 0;
	return len;
}

bool key_is_text(const char *text)
{
	for (const unsigned char *at = (const unsigned char *)text; *at; at += utf8_len(at))
		if (utf8_len(at) == 0 || (*at < 0x20 && *at != '\t') || *at == 0x7f)
			return false;
	return true;
}

static int key_check_text(const char *text, const struct key_place *place)
{
	struct key_place unquoted = *place;

	unquoted.text = NULL;
	if (*text == '\0')
		return key_complain(&unquoted, "the value is empty; give one, or take the line out");
	if (!key_is_text(text))
		return key_complain(
			&unquoted, "the value has a control character or is not UTF-8; plain text is needed");
	return 0;
}

static int key_parse_element(const struct key_row *row, void *owner, char *text, const struct key_place *place)
{
	struct key_place here = *place;
	size_t len;

	text += strspn(text, " \t");
	for (len = strlen(text); len > 0 && strchr(" \t", text[len - 1]); len--)
		text[len - 1] = '\0';
	if (*text == '\0')
		return key_complain(place, "an element of the list is empty; one comma between two elements is right");
	if (here.text)
		here.text = text;
	return row->parse(owner, text, &here);
}

static int key_parse_list(const struct key_row *row, void *owner, const char *text, const struct key_place *place)
{
	char *copy, *at, *element;
	int rc = 0;

	if (key_parse_copy(text, &copy, place) < 0)
		return -EINVAL;
	at = copy;
	while (rc == 0 && (element = strsep(&at, ",")))
		rc = key_parse_element(row, owner, element, place);
	secret_wipe(copy, strlen(text));
	free(copy);
	return rc;
}

bool key_is_secret(const struct key_row *row, const char *value)
{
	const char *at = strchr(value, '@');

	return row->secret || (at && memchr(value, ':', (size_t)(at - value)));
}

/* The value has its place; is it right? */
static enum key_result key_parse(
	const struct key_row *row, void *owner, const char *text, const struct key_place *place)
{
	int rc;

	if (!row->parse)
		return KEY_LEFT;
	rc = key_check_text(text, place);
	if (rc == 0 && row->kind == KEY_LIST)
		rc = key_parse_list(row, owner, text, place);
	else if (rc == 0)
		rc = row->parse(owner, text, place);
	return rc < 0 ? KEY_BAD : KEY_TAKEN;
}

static unsigned key_twin_line(const struct key_table *table, const unsigned *lines, const struct key_row *row)
{
	int twin = row->twin ? key_table_find(table, row->section, row->twin) : -1;

	return twin < 0 ? 0 : lines[twin];
}

/* Where the earlier one stands, in words. */
static const char *key_where(char *buf, size_t size, unsigned line)
{
	if (line == KEY_LINE_OPTION)
		snprintf(buf, size, "as another option");
	else
		snprintf(buf, size, "in line %u", line);
	return buf;
}

/* May the row be set (once more)? */
static int key_check_repetition(
	const struct key_table *table, const unsigned *lines, int index, const struct key_place *place)
{
	const struct key_row *row = &table->rows[index];
	unsigned twin_line = key_twin_line(table, lines, row);
	char where[48];

	if (twin_line)
		return key_complain(place, "%s is given already, %s; one of the two is enough", row->twin,
			key_where(where, sizeof(where), twin_line));
	if (row->kind == KEY_ONCE && lines[index])
		return key_complain(
			place, "given already, %s; once is right", key_where(where, sizeof(where), lines[index]));
	return 0;
}

static enum key_result key_take(const struct key_table *table, int index, unsigned *lines, void *owner,
	const char *text, const struct key_place *place, unsigned line)
{
	const struct key_row *row = &table->rows[index];

	if (row->kind == KEY_REFUSED) {
		key_complain(place, "%s", row->hint);
		return KEY_BAD;
	}
	if (key_check_repetition(table, lines, index, place) < 0)
		return KEY_BAD;
	if (!lines[index])
		lines[index] = line;
	return key_parse(row, owner, text, place);
}

enum key_result key_table_take(const struct key_table *table, unsigned *lines, void *owner, const struct ini *ini,
	const struct ini_section *section, const struct ini_entry *entry, struct ini_report *report)
{
	int index = key_table_find(table, section->name, entry->key);
	const struct key_row *row = index < 0 ? NULL : &table->rows[index];
	struct key_place place = {.path = ini->path, .line = entry->line, .report = report};

	if (!row)
		return KEY_LEFT;
	if (lines[index] == KEY_LINE_OPTION || key_twin_line(table, lines, row) == KEY_LINE_OPTION)
		return KEY_TAKEN;
	place.key = row->key;
	place.text = key_is_secret(row, entry->value) ? NULL : entry->value;
	return key_take(table, index, lines, owner, entry->value, &place, entry->line);
}

static bool key_is_option(const char *key, const char *option)
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

static int key_find_option(const struct key_table *table, const char *section, const char *option)
{
	for (size_t i = 0; i < table->count; i++)
		if (strcasecmp(table->rows[i].section, section) == 0 && key_is_option(table->rows[i].key, option))
			return (int)i;
	return -1;
}

static enum key_result key_refuse_secret(const struct key_table *table, int index, const struct key_place *place)
{
	const struct key_row *row = &table->rows[index];
	char variable[KEY_OPTION_MAX], twin[KEY_OPTION_MAX];
	struct key_place unquoted = *place;

	unquoted.text = NULL;
	key_variable_name(variable, row->key);
	if (row->twin)
		key_complain(&unquoted,
			"everybody can see a secret among the arguments; --%s is right, with a URL also %s in the environment",
			key_option_name(twin, row->twin), variable);
	else
		key_complain(&unquoted,
			"everybody can see a secret among the arguments; %s in the file is right, with a URL %s in the "
			"environment",
			row->key, variable);
	return KEY_BAD;
}

enum key_result key_table_take_option(const struct key_table *table, const char *section, unsigned *lines, void *owner,
	const char *option, const char *value, struct ini_report *report)
{
	int index = key_find_option(table, section, option);
	char path[KEY_OPTION_MAX + 2];
	struct key_place place = {.path = path, .report = report};

	if (index < 0)
		return KEY_LEFT;
	place.text = key_is_secret(&table->rows[index], value) ? NULL : value;
	snprintf(path, sizeof(path), "--%s", option);
	if (table->rows[index].secret)
		return key_refuse_secret(table, index, &place);
	return key_take(table, index, lines, owner, value, &place, KEY_LINE_OPTION);
}

enum key_result key_table_take_variable(const struct key_table *table, int row, unsigned *lines, void *owner,
	const char *variable, const char *value, struct ini_report *report)
{
	struct key_place place = {.path = variable, .report = report};

	return key_take(table, row, lines, owner, value, &place, KEY_LINE_OPTION);
}

/* The section where that key would be known. */
static const char *key_home(const struct key_table *table, const char *key)
{
	for (size_t i = 0; i < table->count; i++)
		if (strcasecmp(table->rows[i].key, key) == 0 && table->rows[i].kind != KEY_REFUSED)
			return table->rows[i].section;
	return NULL;
}

static const char *key_nearest(
	const struct key_table *table, const char *const *more, const char *section, const char *key)
{
	const char *known[KEY_KNOWN_MAX + 1];
	size_t count = 0;

	for (size_t i = 0; i < table->count && count < KEY_KNOWN_MAX; i++)
		if (strcasecmp(table->rows[i].section, section) == 0 && table->rows[i].kind != KEY_REFUSED)
			known[count++] = table->rows[i].key;
	for (; more && *more && count < KEY_KNOWN_MAX; more++)
		known[count++] = *more;
	known[count] = NULL;
	return ini_nearest(key, known);
}

void key_table_complain_unknown(const struct key_table *table, const char *const *more, const struct ini *ini,
	const struct ini_section *section, const struct ini_entry *entry, struct ini_report *report)
{
	const char *nearest = key_nearest(table, more, section->name, entry->key);
	const char *home = key_home(table, entry->key);

	if (home)
		ini_report_add(report, ini->path, entry->line, "%s: not a key of [%s]; it belongs into [%s]",
			entry->key, section->name, home);
	else if (nearest)
		ini_report_add(report, ini->path, entry->line, "%s: not a key of [%s]; did you mean %s?", entry->key,
			section->name, nearest);
	else
		ini_report_add(report, ini->path, entry->line, "%s: not a key of [%s]; take the line out", entry->key,
			section->name);
}

/* A new word begins at a capital behind a small letter. */
static const char *key_spell(char *buf, const char *prefix, const char *key, char between, int (*letter)(int))
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
	return key_spell(buf, "", key, '-', tolower);
}

const char *key_variable_name(char *buf, const char *key)
{
	return key_spell(buf, "TOWPATH_", key, '_', toupper);
}

int key_parse_number(const char *text, uint64_t min, uint64_t max, uint32_t *ret, const struct key_place *place)
{
	size_t len = strlen(text);
	uint64_t number = strspn(text, "0123456789") == len && len <= 18 ? strtoull(text, NULL, 10) : UINT64_MAX;

	if (number < min || number > max)
		return key_complain(place, "not a number in range; %llu to %llu is right", (unsigned long long)min,
			(unsigned long long)max);
	*ret = (uint32_t)number;
	return 0;
}

int key_parse_span(const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ret_ms, const struct key_place *place)
{
	uint64_t ms = 0;

	if (clock_parse_span(text, &ms) < 0)
		return key_complain(place, "not a time; for example 15s, 5min or 1h 30min is right");
	if (ms < min_ms || ms > max_ms)
		return key_complain(place, "out of range; %llus to %llus is right", (unsigned long long)min_ms / 1000,
			(unsigned long long)max_ms / 1000);
	*ret_ms = ms;
	return 0;
}

int key_parse_bool(const char *text, bool *ret, const struct key_place *place)
{
	if (strcasecmp(text, "yes") == 0 || strcasecmp(text, "true") == 0)
		*ret = true;
	else if (strcasecmp(text, "no") == 0 || strcasecmp(text, "false") == 0)
		*ret = false;
	else
		return key_complain(place, "neither yes nor no; one of the two is right");
	return 0;
}

int key_parse_copy(const char *text, char **ret, const struct key_place *place)
{
	char *copy = strdup(text);

	if (!copy)
		return key_complain(place, "out of memory");
	*ret = copy;
	return 0;
}

int key_parse_path(const char *text, char **ret, const struct key_place *place)
{
	/* A service has no folder of its own; an option is typed in one. */
	if (text[0] != '/' && place->key)
		return key_complain(place, "not an absolute path; one that begins with / is right");
	return key_parse_copy(text, ret, place);
}

int key_parse_word(const char *text, size_t min, char **ret, const struct key_place *place)
{
	size_t len = strlen(text);

	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && text[i] != '_' && text[i] != '-')
			return key_complain(
				place, "has a character that is not allowed; letters, digits, _ and - are right");
	if (len < min)
		return key_complain(place, "too short, %zu characters; %zu or more are right", len, min);
	if (len > KEY_WORD_MAX)
		return key_complain(place, "too long, %zu characters; %d at most are right", len, KEY_WORD_MAX);
	return key_parse_copy(text, ret, place);
}

void *key_append(void *array_pointer, size_t *count, size_t size, const struct key_place *place)
{
	void **array = array_pointer;
	char *grown = reallocarray(*array, *count + 1, size);

	if (!grown) {
		key_complain(place, "out of memory");
		return NULL;
	}
	*array = grown;
	return memset(grown + (*count)++ * size, 0, size);
}
