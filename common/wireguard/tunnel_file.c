/* See tunnel_file.h. Happy path: read the INI file, then section by section, the program's own first, offer each entry to the
 * table, then to wg_config; nobody wants it: it is complained about, with the nearest key that is known. Nothing ends the
 * walk early.
 */
#include "common/wireguard/tunnel_file.h"

#include "common/base/log.h"
#include "common/base/secret.h"

#include <ctype.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define WG_KEY_TEXT_MAX 64 /* base64 of 32 bytes is 44 */

/* Sections of INTERFACE's that are still to come: named, so that nobody looks for a misspelling. */
static const char *const future_sections[] = {"Publish", "Claim", NULL};

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

/* Without folders and ".conf"; what is too long for a name is cut, and still too long. */
static void base_name(const char *path, char ret[TUNNEL_FILE_NAME_MAX + 8])
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	size_t len = strlen(base);

	snprintf(ret, TUNNEL_FILE_NAME_MAX + 8, "%s", base);
	if (len > 5 && len < TUNNEL_FILE_NAME_MAX + 8 && strcmp(base + len - 5, ".conf") == 0)
		ret[len - 5] = '\0';
}

int tunnel_file_name(const char *path, char name[TUNNEL_FILE_NAME_MAX + 1], struct ini_report *report)
{
	char text[TUNNEL_FILE_NAME_MAX + 8];

	base_name(path, text);
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

/* A hook may set the key, as in wg-quick(8)'s example with wg set %i private-key; without one nothing ever will. */
static void check_private_key(const struct wg_config *wireguard, const struct ini_section *section, const char *path,
	struct ini_report *report)
{
	enum { PRE_UP, POST_UP };

	for (size_t i = 0; i < section->entry_count; i++)
		if (strcasecmp(section->entries[i].key, "PrivateKey") == 0)
			return;
	if (wireguard->interface.hook_count[PRE_UP] == 0 && wireguard->interface.hook_count[POST_UP] == 0)
		ini_report_add(report, path, section->line,
			"PrivateKey: missing; PrivateKey = … with what `wg genkey` prints is right");
}

static void walk_note_secret(struct walk *walk, const struct ini_entry *entry)
{
	int row = key_table_find(walk->file->table, walk->section->name, entry->key);

	if (row >= 0 && key_is_secret(&walk->file->table->rows[row], entry->value))
		walk->file->has_secret = true;
}

static bool is_word_of(const char *word, const char *const *words)
{
	for (; words && *words; words++)
		if (strcasecmp(word, *words) == 0)
			return true;
	return false;
}

/* With WireGuard = PATH a [Peer] here only says who of PATH's peers may come in: what makes it one stands there. */
static bool walk_refuse_elsewhere(struct walk *walk, const struct ini_entry *entry)
{
	const char *elsewhere = *walk->file->wireguard_path;

	if (!elsewhere || strcasecmp(walk->section->name, "Peer") != 0 || strcasecmp(entry->key, "PublicKey") == 0 ||
		!is_word_of(entry->key, wg_config_peer_keys))
		return false;
	ini_report_add(walk->report, walk->ini->path, entry->line,
		"%s: the device is described in %s; this line belongs there", entry->key, elsewhere);
	return true;
}

static void walk_take_entry(struct walk *walk, const struct ini_entry *entry)
{
	struct tunnel_file *file = walk->file;

	walk_note_secret(walk, entry);
	if (walk_refuse_elsewhere(walk, entry))
		return;
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
	else
		check_private_key(walk->file->wireguard, walk->section, walk->ini->path, walk->report);
}

/* Sections that repeat: each begins without keys. */
static void walk_forget_lines(struct walk *walk)
{
	const struct key_table *table = walk->file->table;

	for (size_t i = 0; i < table->count; i++)
		if (strcasecmp(table->rows[i].section, walk->section->name) == 0)
			walk->file->lines[i] = 0;
}

/* One device, one description: complain about the second one. */
static int walk_complain_second_device(struct walk *walk, unsigned wireguard_line)
{
	struct key_place place = {
		walk->ini->path, wireguard_line, "WireGuard", *walk->file->wireguard_path, walk->report};
	unsigned line = walk->section->line;

	if (wireguard_line == KEY_LINE_OPTION)
		ini_report_add(walk->report, place.path, line,
			"[Interface]: --wireguard says where the device comes from; one of the two is right");
	else if (wireguard_line < line)
		ini_report_add(walk->report, place.path, line,
			"[Interface]: WireGuard in line %u says where the device comes from; one of the two is right",
			wireguard_line);
	else
		key_complain(&place,
			"this file describes a device itself, from line %u on; WireGuard or [Interface] is right",
			line);
	return -EINVAL;
}

static int walk_open_interface(struct walk *walk)
{
	int row = key_table_find(walk->file->table, walk->file->main_section, "WireGuard");
	unsigned line = row < 0 ? 0 : walk->file->lines[row];

	if (line)
		return walk_complain_second_device(walk, line);
	return wg_config_open_section(walk->file->wireguard, walk->ini, walk->section, walk->report);
}

static int walk_open_peer(struct walk *walk)
{
	struct key_place place = {walk->ini->path, walk->section->line, "[Peer]", NULL, walk->report};

	if (wg_config_open_section(walk->file->wireguard, walk->ini, walk->section, walk->report) < 0)
		return -EINVAL;
	walk_forget_lines(walk);
	return walk->file->on_peer(walk->file->owner, &place);
}

static int walk_open_gateway(struct walk *walk)
{
	struct key_place place = {walk->ini->path, walk->section->line, "[Gateway]", NULL, walk->report};

	walk_forget_lines(walk);
	return walk->file->on_gateway(walk->file->owner, &place);
}

static int walk_complain_section(struct walk *walk)
{
	const char *name = walk->section->name;
	const char *const known[] = {walk->file->main_section, "Interface", "Peer", "Gateway", NULL};
	const char *nearest = ini_nearest(name, known);
	const char *path = walk->ini->path;
	unsigned line = walk->section->line;

	if (is_word_of(name, future_sections))
		ini_report_add(walk->report, path, line, "[%s]: not known to this version; take the section out", name);
	else if (strcasecmp(name, walk->file->other_section) == 0)
		ini_report_add(walk->report, path, line, "[%s]: is for %s; a file is for one of the two programs", name,
			walk->file->other_program);
	else if (nearest)
		ini_report_add(walk->report, path, line, "[%s]: not a section; did you mean [%s]?", name, nearest);
	else
		ini_report_add(walk->report, path, line,
			"[%s]: not a section; [%s], [Interface], [Peer] and [Gateway] are", name,
			walk->file->main_section);
	return -EINVAL;
}

static bool walk_is_main(const struct walk *walk)
{
	return strcasecmp(walk->section->name, walk->file->main_section) == 0;
}

/* Return: 0, or -EINVAL: its keys are not looked at. */
static int walk_open_section(struct walk *walk)
{
	if (strcasecmp(walk->section->name, "Interface") == 0)
		return walk_open_interface(walk);
	if (strcasecmp(walk->section->name, "Peer") == 0)
		return walk_open_peer(walk);
	if (strcasecmp(walk->section->name, "Gateway") == 0)
		return walk_open_gateway(walk);
	if (!walk_is_main(walk))
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

/* Those of main_section, or all others. */
static void walk_sections(struct walk *walk, bool main)
{
	for (size_t i = 0; i < walk->ini->section_count; i++) {
		walk->section = &walk->ini->sections[i];
		if (walk_is_main(walk) == main)
			walk_section(walk);
	}
}

/* The program's own section first: its WireGuard says what the others may hold. */
static void walk_all(struct walk *walk)
{
	struct tunnel_file *file = walk->file;

	walk_sections(walk, true);
	walk_sections(walk, false);
	wg_config_finish(file->wireguard, walk->ini, walk->report);
	if (!file->main_line)
		ini_report_add(walk->report, walk->ini->path, 1, "[%s]: missing section; a line [%s] begins it",
			file->main_section, file->main_section);
}

static void warn_readable(const char *path, unsigned mode, unsigned owner)
{
	if (mode & (S_IRGRP | S_IROTH))
		log_warning("config", "%s holds a secret, and others can read it; chmod 600 %s", path, path);
	else if (owner != 0 && owner != geteuid())
		log_warning("config", "%s holds a secret, and its owner is user %u; chown root %s; chmod 600 %s", path,
			owner, path, path);
}

int tunnel_file_read(struct tunnel_file *file, const char *path, struct ini_report *report, struct err *err)
{
	struct ini ini;
	struct walk walk = {.file = file, .ini = &ini, .report = report};
	int rc = ini_read(path, &ini, report, err);

	if (rc < 0 && rc != -EINVAL)
		return rc;
	walk_all(&walk);
	if (file->has_secret)
		warn_readable(path, ini.mode, ini.owner);
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
	if (strcasecmp(section->name, "Interface") == 0)
		check_private_key(config, section, ini->path, report);
}

static bool has_secret(const struct wg_config *config)
{
	bool found = config->interface.has_private_key;

	for (size_t i = 0; i < config->peer_count; i++)
		found = found || config->peers[i].has_preshared_key;
	return found;
}

/* Into *ret, done by the caller in any case. */
static void read_wg_quick(const char *path, struct wg_config *ret, const struct key_place *place)
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
	tunnel_file_check_peers(ret, path, place->report);
	if (!ret->interface.line)
		ini_report_add(place->report, path, 1, "[Interface]: missing section; a wg-quick file has one");
	if (has_secret(ret))
		warn_readable(path, ini.mode, ini.owner);
	ini_done(&ini);
}

void tunnel_file_check_peers(const struct wg_config *wireguard, const char *path, struct ini_report *report)
{
	for (size_t i = 0; i < wireguard->peer_count; i++) {
		const struct wg_config_peer *peer = &wireguard->peers[i];

		if (!peer->public_key_line && peer->allowed_ip_count == 0 && !peer->endpoint &&
			!peer->has_preshared_key)
			ini_report_add(report, path, peer->line,
				"PublicKey: missing; the key that `wg pubkey` prints on the other side is right");
	}
}

/* Return: false: not to be had. */
static bool derive_public_key(const uint8_t private_key[WG_CONFIG_KEY_LEN], uint8_t ret[WG_CONFIG_KEY_LEN])
{
	size_t len = WG_CONFIG_KEY_LEN;
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, len);
	bool is_done = key && EVP_PKEY_get_raw_public_key(key, ret, &len) == 1;

	EVP_PKEY_free(key);
	return is_done;
}

/* The kernel passes such a peer over without a word, so that a list of all peers may be the same on every host. */
static void warn_own_key(const struct wg_config *wireguard, const char *path)
{
	uint8_t own[WG_CONFIG_KEY_LEN];

	if (!wireguard->interface.has_private_key || !derive_public_key(wireguard->interface.private_key, own))
		return;
	for (size_t i = 0; i < wireguard->peer_count; i++)
		if (wireguard->peers[i].has_public_key && memcmp(wireguard->peers[i].public_key, own, sizeof(own)) == 0)
			log_warning("config",
				"%s:%u: PublicKey: belongs to our own PrivateKey, WireGuard leaves this [Peer] out; "
				"the other side's is right",
				path, wireguard->peers[i].public_key_line);
}

/* May a device be called that? wg-quick's rule, and what the kernel keeps for itself. Return: NULL, or what is wrong. */
static const char *find_name_fault(const char *name)
{
	if (strlen(name) >= IFNAMSIZ)
		return "is too long for one";
	if (!tunnel_file_is_name(name) || strchr(name, '@'))
		return "has a character that one cannot have";
	if (strcmp(name, "all") == 0 || strcmp(name, "default") == 0)
		return "is a name that the kernel keeps for itself";
	return NULL;
}

#define DEVICE_NAME_RIGHT "up to 15 of letters, digits and _=+.- before .conf are right"

bool tunnel_file_take_device(const char *wireguard_path, const char *path, const char *name,
	struct wg_config *wireguard, char ret_device[IFNAMSIZ], const struct key_place *place)
{
	char base[TUNNEL_FILE_NAME_MAX + 8];
	struct wg_config elsewhere;
	const char *fault;

	if (!wireguard_path && !wireguard->interface.line)
		return false;
	snprintf(base, sizeof(base), "%s", name);
	if (wireguard_path) {
		read_wg_quick(wireguard_path, &elsewhere, place);
		wg_config_done(wireguard);
		*wireguard = elsewhere;
		base_name(wireguard_path, base);
	}
	warn_own_key(wireguard, wireguard_path ? wireguard_path : path);
	fault = *base ? find_name_fault(base) : NULL; /* a tunnel without a name was complained about */
	if (fault && wireguard_path)
		key_complain(place, "the device is called as that file, and '%s' %s; " DEVICE_NAME_RIGHT, base, fault);
	else if (fault)
		ini_report_add(place->report, path, wireguard->interface.line,
			"[Interface]: the device is called as this file, and '%s' %s; " DEVICE_NAME_RIGHT
			", or WireGuard = PATH of a file with such a name",
			base, fault);
	else
		memcpy(ret_device, base, strlen(base) + 1);
	return true;
}

void tunnel_file_warn_readable_path(const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		warn_readable(path, st.st_mode, st.st_uid);
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
