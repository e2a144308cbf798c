/* See tunnel_file.h. Happy path: read the INI file, then section by section offer each entry to the table, then to
 * wg_config; nobody wants it: it is complained about, with the nearest key that is known. Nothing ends the walk early.
 */
#include "common/wireguard/tunnel_file.h"

#include "common/base/log.h"
#include "common/base/secret.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define WG_KEY_TEXT_MAX 64 /* base64 of 32 bytes is 44 */

/* Sections of INTERFACE's that are still to come: named, so that nobody looks for a misspelling. */
static const char *const future_sections[] = {"Gateway", "Publish", "Claim", NULL};

struct walk {
	struct tunnel_file *file;
	const struct ini *ini;
	const struct ini_section *section;
	struct ini_report *report;
};

bool tunnel_file_is_name(const char *name)
{
	size_t len = strlen(name);

	if (len == 0 || len > TUNNEL_FILE_NAME_MAX || name[0] == '.')
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("_=+.-@", name[i]))
			return false;
	return true;
}

int tunnel_file_name(const char *path, char name[TUNNEL_FILE_NAME_MAX + 1], struct ini_report *report)
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	size_t len = strlen(base);
	char text[TUNNEL_FILE_NAME_MAX + 8] = "";

	snprintf(text, sizeof(text), "%s", base);
	if (len > 5 && len < sizeof(text) && strcmp(base + len - 5, ".conf") == 0)
		text[len - 5] = '\0';
	if (!tunnel_file_is_name(text)) {
		ini_report_add(report, path, 1,
			"the file's name is no name for a tunnel; up to %d of letters, digits and _=+.-@ before .conf "
			"are right",
			TUNNEL_FILE_NAME_MAX);
		return -EINVAL;
	}
	memcpy(name, text, strlen(text) + 1);
	return 0;
}

static bool is_wg_section(const char *name)
{
	return strcasecmp(name, "Interface") == 0 || strcasecmp(name, "Peer") == 0;
}

static const char *const *wg_keys_of(const char *section)
{
	if (strcasecmp(section, "Interface") == 0)
		return wg_config_interface_keys;
	return strcasecmp(section, "Peer") == 0 ? wg_config_peer_keys : NULL;
}

static void walk_note_secret(struct walk *walk, const struct ini_entry *entry)
{
	int row = key_table_find(walk->file->table, walk->section->name, entry->key);

	if (row >= 0 && key_is_secret(&walk->file->table->rows[row], entry->value))
		walk->file->has_secret = true;
}

static void walk_take_entry(struct walk *walk, const struct ini_entry *entry)
{
	struct tunnel_file *file = walk->file;

	walk_note_secret(walk, entry);
	if (key_table_take(file->table, file->lines, file->owner, walk->ini, walk->section, entry, walk->report) !=
		KEY_LEFT)
		return;
	if (strcasecmp(walk->section->name, "Interface") == 0 && strcasecmp(entry->key, "PrivateKeyFile") == 0)
		return; /* at the section's end */
	if (is_wg_section(walk->section->name) &&
		wg_config_take(file->wireguard, walk->ini, walk->section, entry, walk->report) != 0)
		return;
	key_table_complain_unknown(
		file->table, wg_keys_of(walk->section->name), walk->ini, walk->section, entry, walk->report);
}

/* PrivateKeyFile: as if its first line stood there as PrivateKey. */
static void walk_take_key_file(struct walk *walk, const struct ini_entry *entry)
{
	struct key_place place = {walk->ini->path, entry->line, "PrivateKeyFile", entry->value, walk->report};
	struct ini_section alone = {.name = walk->section->name, .line = walk->section->line};
	char key[] = "PrivateKey";
	struct ini_entry as_key = {.key = key, .line = entry->line};

	if (tunnel_file_read_secret(entry->value, WG_KEY_TEXT_MAX, &as_key.value, &place) < 0)
		return;
	wg_config_take(walk->file->wireguard, walk->ini, &alone, &as_key, walk->report);
	secret_free(as_key.value);
}

static void walk_end_interface(struct walk *walk)
{
	const struct ini_entry *file = NULL;

	for (size_t i = 0; i < walk->section->entry_count; i++) {
		const struct ini_entry *entry = &walk->section->entries[i];

		if (strcasecmp(entry->key, "PrivateKey") == 0)
			return;
		if (strcasecmp(entry->key, "PrivateKeyFile") == 0 && !file)
			file = entry;
	}
	if (file)
		walk_take_key_file(walk, file);
}

static void walk_forget_peer(struct walk *walk)
{
	const struct key_table *table = walk->file->table;

	for (size_t i = 0; i < table->count; i++)
		if (strcasecmp(table->rows[i].section, "Peer") == 0)
			walk->file->lines[i] = 0;
}

/* [Interface] and [Peer]. Return: 0, or -EINVAL: its keys are not looked at. */
static int walk_open_wg_section(struct walk *walk)
{
	struct tunnel_file *file = walk->file;

	if (wg_config_open_section(file->wireguard, walk->ini, walk->section, walk->report) < 0)
		return -EINVAL;
	if (strcasecmp(walk->section->name, "Interface") == 0) {
		file->has_interface = true;
		return 0;
	}
	walk_forget_peer(walk);
	return file->on_peer ? file->on_peer(file->owner, walk->section->line, walk->ini, walk->report) : 0;
}

static int walk_complain_section(struct walk *walk)
{
	const char *name = walk->section->name;
	const char *const known[] = {walk->file->main_section, "Interface", "Peer", NULL};
	const char *nearest = ini_nearest(name, known);
	const char *path = walk->ini->path;
	unsigned line = walk->section->line;

	for (size_t i = 0; future_sections[i]; i++)
		if (strcasecmp(name, future_sections[i]) == 0) {
			ini_report_add(walk->report, path, line,
				"[%s]: not known to this version; take the section out", name);
			return -EINVAL;
		}
	if (strcasecmp(name, walk->file->other_section) == 0)
		ini_report_add(walk->report, path, line, "[%s]: is for %s; a file is for one of the two programs", name,
			walk->file->other_program);
	else if (nearest)
		ini_report_add(walk->report, path, line, "[%s]: not a section; did you mean [%s]?", name, nearest);
	else
		ini_report_add(walk->report, path, line, "[%s]: not a section; [%s], [Interface] and [Peer] are", name,
			walk->file->main_section);
	return -EINVAL;
}

static int walk_open_section(struct walk *walk)
{
	if (is_wg_section(walk->section->name))
		return walk_open_wg_section(walk);
	if (strcasecmp(walk->section->name, walk->file->main_section) != 0)
		return walk_complain_section(walk);
	if (!walk->file->main_line)
		walk->file->main_line = walk->section->line;
	return 0;
}

static void walk_section(struct walk *walk)
{
	if (walk_open_section(walk) < 0)
		return;
	for (size_t i = 0; i < walk->section->entry_count; i++)
		walk_take_entry(walk, &walk->section->entries[i]);
	if (strcasecmp(walk->section->name, "Interface") == 0)
		walk_end_interface(walk);
}

static void walk_all(struct walk *walk)
{
	struct tunnel_file *file = walk->file;

	for (size_t i = 0; i < walk->ini->section_count; i++) {
		walk->section = &walk->ini->sections[i];
		walk_section(walk);
	}
	wg_config_finish(file->wireguard, walk->ini, walk->report);
	if (!file->main_line)
		ini_report_add(walk->report, walk->ini->path, 1, "[%s]: missing section; a line [%s] begins it",
			file->main_section, file->main_section);
}

int tunnel_file_read(struct tunnel_file *file, const char *path, struct ini_report *report, struct err *err)
{
	struct ini ini;
	struct walk walk = {.file = file, .ini = &ini, .report = report};
	int rc = ini_read(path, &ini, report, err);

	if (rc < 0 && rc != -EINVAL)
		return rc;
	file->mode = ini.mode;
	file->owner_uid = ini.owner;
	walk_all(&walk);
	if (file->has_secret)
		tunnel_file_warn_readable(path, ini.mode, ini.owner);
	ini_done(&ini);
	return 0;
}

/* One section of a wg-quick file, where only wg-quick's own keys count. */
static void wg_quick_section(
	struct wg_config *config, const struct ini *ini, const struct ini_section *section, struct ini_report *report)
{
	static const struct key_table nothing = {NULL, 0};

	if (!is_wg_section(section->name)) {
		ini_report_add(report, ini->path, section->line,
			"[%s]: not a section of wg-quick's; [Interface] and [Peer] are", section->name);
		return;
	}
	if (wg_config_open_section(config, ini, section, report) < 0)
		return;
	for (size_t i = 0; i < section->entry_count; i++)
		if (wg_config_take(config, ini, section, &section->entries[i], report) == 0)
			key_table_complain_unknown(
				&nothing, wg_keys_of(section->name), ini, section, &section->entries[i], report);
}

void tunnel_file_read_wg_quick(const char *path, struct wg_config *ret, const struct key_place *place)
{
	struct err err = {""};
	struct ini ini;
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = ini_read(path, &ini, place->report, &err);
	if (rc < 0 && rc != -EINVAL) {
		key_complain(place, "%s; none, or the path of a wg-quick file is right", strerror(-rc));
		return;
	}
	for (size_t i = 0; i < ini.section_count; i++)
		wg_quick_section(ret, &ini, &ini.sections[i], place->report);
	wg_config_finish(ret, &ini, place->report);
	if (!ret->interface.line)
		ini_report_add(place->report, path, 1, "[Interface]: missing section; a wg-quick file has one");
	ini_done(&ini);
}

void tunnel_file_warn_readable(const char *path, unsigned mode, unsigned owner)
{
	if (mode & (S_IRGRP | S_IROTH))
		log_warning("config", "%s holds a secret, and others can read it; chmod 600 %s", path, path);
	else if (owner != 0 && owner != geteuid())
		log_warning("config", "%s holds a secret, and its owner is user %u; chown root %s; chmod 600 %s", path,
			owner, path, path);
}

void tunnel_file_warn_readable_path(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		tunnel_file_warn_readable(path, st.st_mode, st.st_uid);
}

int tunnel_file_read_secret(const char *path, size_t max, char **ret, const struct key_place *place)
{
	struct key_place unquoted = *place;
	struct err err = {""};

	unquoted.text = NULL; /* the error names the file */
	if (secret_read_file(path, max, ret, &err) < 0)
		return key_complain(&unquoted,
			"%s; the path of a readable file with the secret in its first line is right", err.text);
	tunnel_file_warn_readable_path(path);
	return 0;
}
