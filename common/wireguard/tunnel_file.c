/* See tunnel_file.h. Happy path: read the INI file and its drop-ins, then open section by section, the program's own first, as readers
 * of the tables that have its keys, and offer each entry to these. A key that no table has is complained about, with
 * the nearest one that is known. Nothing ends the walk early.
 *
 *    [Server] or [Client]   the program's table; may repeat, and goes on then
 *    [Interface]            wg_config's table, and PrivateKeyFile from here; the same, and not with WireGuard = PATH
 *    [Peer]                 wg_config's table, and the program's for a peer; each is a new one
 *    [Gateway]              gateway.c's table; each is a new one
 *    [Publish]              publish.c's table, in a hub's file; each is a new one
 *    [Claim]                claim.c's table, in a hub's file; each is a new one
 *
 * With WireGuard = PATH the device is described in that file, which is read as wg-quick would: two tables, no keys of
 * ours. Its [Interface] and [Peer] then take the place of ours, which only say who may come in.
 */
#include "common/wireguard/tunnel_file.h"

#include "common/base/dropins.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/place.h"
#include "common/base/secret.h"
#include "common/base/text.h"
#include "common/wireguard/wg_hook.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define WG_KEY_TEXT_MAX 64 /* base64 of 32 bytes is 44 */
#define UEVENT_MAX 4096	   /* a few short lines */
#define HOOK_LEN_MAX 131071u /* MAX_ARG_STRLEN of binfmts.h without the NUL: a hook is one argument of its shell */

#define READERS_MAX 2 /* of one section: WireGuard's keys and ours */

struct walk {
	struct tunnel_file *file;
	const struct ini *ini;
	struct ini_report *report;
	struct ini_section *section; /* this and what follows: of the one that is open */
	struct key_reader readers[READERS_MAX];
	size_t reader_count;
	unsigned lines[READERS_MAX][KEY_ROWS_MAX];
	unsigned key_file_lines[KEY_ROWS_MAX]; /* of PrivateKeyFile's table, for all [Interface] */
};

bool tunnel_file_is_name(const char *name)
{
	size_t len = strlen(name);

	return len > 0 && len <= TUNNEL_FILE_NAME_MAX && name[0] != '.' && text_is_made_of(name, len, "_=+.-@");
}

/* Without folders and ".conf"; what is too long for a name is cut, and still too long. */
static void base_name(const char *path, char ret[TUNNEL_FILE_NAME_MAX + 8])
{
	const char *slash = strrchr(path, '/');
	const char *base = slash ? slash + 1 : path;
	size_t len = strlen(base);

	snprintf(ret, TUNNEL_FILE_NAME_MAX + 8, "%.*s", TUNNEL_FILE_NAME_MAX + 7, base);
	if (len > 5 && len < TUNNEL_FILE_NAME_MAX + 8 && strcmp(base + len - 5, ".conf") == 0)
		ret[len - 5] = '\0';
}

int tunnel_file_name(const char *path, char name[TUNNEL_FILE_NAME_MAX + 1], struct ini_report *report)
{
	char text[TUNNEL_FILE_NAME_MAX + 8];

	base_name(path, text);
	if (!tunnel_file_is_name(text)) {
		ini_report_add(report, path, 1,
			"the file's name is no name for a tunnel; expected up to %d of letters, digits and _=+.-@ "
			"before .conf",
			TUNNEL_FILE_NAME_MAX);
		return -EINVAL;
	}
	memcpy(name, text, strlen(text) + 1);
	return 0;
}

/* A hook may set the key, as in wg-quick(8)'s example with wg set %i private-key; without one nothing ever will. */
static void check_private_key(const struct wg_config *wireguard, const char *path, struct ini_report *report)
{
	enum { PRE_UP, POST_UP };
	const struct wg_config_interface *interface = &wireguard->interface;

	if (interface->line && !interface->private_key_line && interface->hook_count[PRE_UP] == 0 &&
		interface->hook_count[POST_UP] == 0)
		ini_report_add(report, path, interface->line,
			"PrivateKey: missing; expected PrivateKey = … with what `wg genkey` prints");
}

/* --- the walk through our own file --- */

/* As if the first line of the file stood there as PrivateKey. */
static int parse_private_key_file(void *owner, const char *text, const struct key_place *place)
{
	const struct key_table *table = &wg_config_interface_table;
	struct key_place unquoted = *place;
	char *secret = NULL;
	int rc;

	if (tunnel_file_read_secret(text, WG_KEY_TEXT_MAX, &secret, place) < 0)
		return -EINVAL;
	unquoted.text = NULL;
	rc = key_parse(&table->rows[key_table_find(table, "PrivateKey")], owner, secret, &unquoted);
	secret_free(secret);
	return rc;
}

static const struct key_row interface_rows[] = {
	{"PrivateKeyFile", KEY_ONCE, parse_private_key_file, .twin = "PrivateKey",
		.line_offset = offsetof(struct wg_config_interface, private_key_line)},
};
static const struct key_table interface_table = {"Interface", interface_rows, 1};

/* With WireGuard = PATH a [Peer] here only says which of PATH's peers may come in; the rest of it stands there. */
static bool walk_refuse_elsewhere(struct walk *walk, const struct ini_entry *entry)
{
	const char *elsewhere = *walk->file->wireguard_path;

	if (!elsewhere || strcasecmp(walk->section->name, "Peer") != 0 || strcasecmp(entry->key, "PublicKey") == 0 ||
		key_table_find(&wg_config_peer_table, entry->key) < 0)
		return false;
	ini_report_add(walk->report, walk->ini->path, entry->line,
		"%s: the device is described in %s; this line belongs there", entry->key, elsewhere);
	return true;
}

/* Also a value that will be refused: it stands in the file all the same. */
static void walk_note_secret(struct walk *walk, const struct ini_entry *entry)
{
	for (size_t i = 0; i < walk->reader_count; i++) {
		const struct key_table *table = walk->readers[i].table;
		int row = key_table_find(table, entry->key);

		if (row >= 0 && key_is_secret(&table->rows[row], entry->value))
			walk->section->has_secret = true;
	}
}

static void walk_entry(struct walk *walk, const struct ini_entry *entry)
{
	const struct tunnel_file *file = walk->file;
	const struct key_table *const tables[] = {file->main.table, &wg_config_interface_table, &interface_table,
		&wg_config_peer_table, file->peer.table, file->gateway.table, file->publish.table, file->claim.table,
		NULL};

	walk_note_secret(walk, entry);
	if (!walk_refuse_elsewhere(walk, entry) && !wg_config_take_amnezia(file->wireguard, walk->section, entry) &&
		key_take(walk->readers, walk->reader_count, walk->ini, entry, walk->report) == KEY_LEFT)
		key_complain_unknown(tables, walk->ini, walk->section, entry, walk->report);
}

/* One device, one description: complain about the second one. @wireguard_line: of WireGuard. */
static int walk_complain_second_device(struct walk *walk, unsigned wireguard_line)
{
	struct key_place wireguard = {
		walk->ini->path, wireguard_line, "WireGuard", *walk->file->wireguard_path, walk->report, NULL};
	struct key_place header = {walk->ini->path, walk->section->line, "[Interface]", NULL, walk->report, NULL};

	if (wireguard_line == KEY_LINE_OPTION)
		return key_complain(&header, "--wireguard says where the device comes from; expected one of the two");
	if (wireguard_line < header.line)
		return key_complain(&header, "WireGuard in %s says where the device comes from; expected one of the two",
			PLACE_REFER(walk->ini->path, wireguard_line, header.line));
	return key_complain(&wireguard,
		"this file describes a device itself, from %s on; expected WireGuard or [Interface]",
		PLACE_REFER(walk->ini->path, header.line, wireguard_line));
}

/* Return: 0, or -EINVAL: the section's keys are passed over. */
static int walk_open_interface(struct walk *walk)
{
	int row = key_table_find(walk->file->main.table, "WireGuard");
	unsigned line = walk->file->main.lines[row];

	if (line)
		return walk_complain_second_device(walk, line);
	if (wg_config_open_section(walk->file->wireguard, walk->ini, walk->section, &walk->readers[0], walk->report) <
		0)
		return -EINVAL;
	walk->readers[1].table = &interface_table;
	walk->readers[1].owner = walk->readers[0].owner;
	walk->readers[1].lines = walk->key_file_lines;
	walk->reader_count = 2;
	return 0;
}

/* Add the reader of a section that repeats. */
static int walk_open_repeated(struct walk *walk, const struct tunnel_section *section, const char *header)
{
	struct key_place place = {walk->ini->path, walk->section->line, header, NULL, walk->report, NULL};
	struct key_reader *reader = &walk->readers[walk->reader_count++];

	reader->table = section->table;
	reader->owner = section->open(walk->file->main.owner, &place);
	return reader->owner ? 0 : -EINVAL;
}

/* Two readers: WireGuard's keys go into its peer, ours into what the program opens for it. */
static int walk_open_peer(struct walk *walk)
{
	if (wg_config_open_section(walk->file->wireguard, walk->ini, walk->section, &walk->readers[0], walk->report) <
		0)
		return -EINVAL;
	walk->reader_count = 1;
	return walk_open_repeated(walk, &walk->file->peer, "[Peer]");
}

static int walk_complain_section(struct walk *walk)
{
	const char *name = walk->section->name, *main_name = walk->file->main.table->section;
	bool is_hub = walk->file->publish.table;
	const char *const known[] = {
		main_name, "Interface", "Peer", "Gateway", is_hub ? "Publish" : NULL, is_hub ? "Claim" : NULL, NULL};
	const char *nearest = ini_nearest(name, known);
	const char *path = walk->ini->path;
	unsigned line = walk->section->line;

	if (strcasecmp(name, walk->file->other_section) == 0 || strcasecmp(name, "Publish") == 0 ||
		strcasecmp(name, "Claim") == 0)
		ini_report_add(walk->report, path, line, "[%s]: is for %s; a file is for one of the two programs", name,
			walk->file->other_program);
	else if (nearest)
		ini_report_add(walk->report, path, line, "[%s]: not a section; did you mean [%s]?", name, nearest);
	else
		ini_report_add(walk->report, path, line,
			"[%s]: not a section; expected [%s], [Interface], [Peer]%s or [Gateway]", name, main_name,
			is_hub ? ", [Publish], [Claim]" : "");
	return -EINVAL;
}

static bool walk_is_main(const struct walk *walk)
{
	return strcasecmp(walk->section->name, walk->file->main.table->section) == 0;
}

/* [Peer], [Gateway], [Publish] and [Claim] begin without keys each time; the others go on where the last one ended. */
static int walk_open_section(struct walk *walk)
{
	const char *name = walk->section->name;

	memset(walk->lines, 0, sizeof(walk->lines));
	walk->reader_count = 0;
	for (size_t i = 0; i < READERS_MAX; i++)
		walk->readers[i].lines = walk->lines[i];
	if (strcasecmp(name, "Interface") == 0)
		return walk_open_interface(walk);
	if (strcasecmp(name, "Peer") == 0)
		return walk_open_peer(walk);
	if (strcasecmp(name, "Gateway") == 0)
		return walk_open_repeated(walk, &walk->file->gateway, "[Gateway]");
	if (strcasecmp(name, "Publish") == 0 && walk->file->publish.table)
		return walk_open_repeated(walk, &walk->file->publish, "[Publish]");
	if (strcasecmp(name, "Claim") == 0 && walk->file->claim.table)
		return walk_open_repeated(walk, &walk->file->claim, "[Claim]");
	if (!walk_is_main(walk))
		return walk_complain_section(walk);
	if (!walk->file->main_line)
		walk->file->main_line = walk->section->line;
	walk->readers[walk->reader_count++] = walk->file->main;
	return 0;
}

/* Those of the main section, or all others. */
static void walk_sections(struct walk *walk, bool main)
{
	for (size_t i = 0; i < walk->ini->section_count; i++) {
		walk->section = &walk->ini->sections[i];
		if (walk_is_main(walk) != main || walk_open_section(walk) < 0)
			continue;
		for (size_t j = 0; j < walk->section->entry_count; j++)
			walk_entry(walk, &walk->section->entries[j]);
		if (walk->file->may_wait && walk->readers[0].table == &wg_config_peer_table)
			((struct wg_config_peer *)walk->readers[0].owner)->may_wait =
				walk->file->may_wait(walk->readers[1].owner);
	}
}

/* The program's own section comes first: its WireGuard says what the others may hold. */
static void walk_all(struct walk *walk)
{
	struct tunnel_file *file = walk->file;
	const char *main_name = file->main.table->section;

	walk_sections(walk, true);
	walk_sections(walk, false);
	check_private_key(file->wireguard, walk->ini->path, walk->report);
	wg_config_finish(file->wireguard, walk->ini, walk->report);
	if (!file->main_line)
		ini_report_add(walk->report, walk->ini->path, 1, "[%s]: missing section; a line [%s] begins it",
			main_name, main_name);
}

/* --- files that others can read --- */

/* A warning only: the host may protect the folder instead. */
void tunnel_file_warn_readable_path(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return;
	if (st.st_mode & (S_IRGRP | S_IROTH))
		log_warning("config", "%s holds a secret, and others can read it; chmod 600 %s", path, path);
	else if (st.st_uid != 0 && st.st_uid != geteuid())
		log_warning("config", "%s holds a secret, and its owner is user %u; chown root %s; chmod 600 %s", path,
			st.st_uid, path, path);
}

/* The sections of one file stand one behind the other. */
static void warn_readable(const struct ini *ini)
{
	const char *warned = NULL;

	for (size_t i = 0; i < ini->section_count; i++) {
		const char *path = ini->path;

		place_split(&path, ini->sections[i].line);
		if (!ini->sections[i].has_secret || path == warned)
			continue;
		tunnel_file_warn_readable_path(path);
		warned = path;
	}
}

int tunnel_file_read(struct tunnel_file *file, const char *path, struct ini_report *report, struct err *err)
{
	struct ini ini;
	struct walk walk = {.file = file, .ini = &ini, .report = report};
	int rc = dropins_read(path, &ini, report, err);

	if (rc < 0 && rc != -EINVAL)
		return rc;
	walk_all(&walk);
	warn_readable(&ini);
	ini_done(&ini);
	return 0;
}

/* --- the device --- */

/* Has a wg-quick file, after it was read, any secret? */
static bool has_secret(const struct wg_config *config)
{
	bool found = config->interface.has_private_key;

	for (size_t i = 0; i < config->peer_count; i++)
		found = found || config->peers[i].has_preshared_key;
	return found;
}

/* The file of WireGuard = PATH, which another program may own: it is read and never written. *ret is done by the caller
 * in any case, also after a complaint. */
static void read_wg_quick(const char *path, struct wg_config *ret, const struct key_place *place)
{
	struct err err = {""};
	struct ini ini;
	int rc;

	memset(ret, 0, sizeof(*ret));
	rc = ini_read(path, &ini, place->report, &err);
	if (rc < 0 && rc != -EINVAL) {
		key_complain(place, "%s; expected none, or the path of a wg-quick file", strerror(-rc));
		return;
	}
	for (size_t i = 0; i < ini.section_count; i++)
		wg_config_read_section(ret, &ini, &ini.sections[i], place->report);
	check_private_key(ret, path, place->report);
	wg_config_finish(ret, &ini, place->report);
	tunnel_file_check_peers(ret, path, place->report);
	if (!ret->interface.line)
		ini_report_add(place->report, path, 1, "[Interface]: missing section; a wg-quick file has one");
	if (has_secret(ret))
		tunnel_file_warn_readable_path(path);
	ini_done(&ini);
}

void tunnel_file_check_peers(const struct wg_config *wireguard, const char *path, struct ini_report *report)
{
	for (size_t i = 0; i < wireguard->peer_count; i++) {
		const struct wg_config_peer *peer = &wireguard->peers[i];

		if (!peer->public_key_line && peer->allowed_ip_count == 0 && !peer->endpoint &&
			!peer->has_preshared_key)
			ini_report_add(report, path, peer->line,
				"PublicKey: missing; expected the key that `wg pubkey` prints on the other side");
	}
}

/* The kernel leaves such a peer out without a word, so that one list of peers can be used on every host. */
static void warn_own_key(const struct wg_config *wireguard, const char *path)
{
	uint8_t own[WG_CONFIG_KEY_LEN];

	if (!wireguard->interface.has_private_key || !wg_config_public_key(wireguard->interface.private_key, own))
		return;
	for (size_t i = 0; i < wireguard->peer_count; i++)
		if (wireguard->peers[i].has_public_key && memcmp(wireguard->peers[i].public_key, own, sizeof(own)) == 0)
			log_warning("config",
				"%s: PublicKey: belongs to our own PrivateKey, WireGuard leaves this [Peer] out; "
				"expected the other side's",
				PLACE(path, wireguard->peers[i].public_key_line));
}

/* True if @name, in a hook, is a WireGuard device that is not this tunnel's. One that is there and of another kind is
 * meant. @owner: the tunnel's name, which is not its device's with WireGuard = PATH. */
static bool is_other_device(const void *owner, const char *name)
{
	char path[sizeof("/sys/class/net//uevent") + WG_HOOK_NAME_MAX], *text = NULL;
	bool is_wireguard;

	snprintf(path, sizeof(path), "/etc/wireguard/%s.conf", name);
	if (!wg_hook_is_usual_name(name) && strcmp(name, owner) != 0 && access(path, F_OK) < 0)
		return false;
	snprintf(path, sizeof(path), "/sys/class/net/%s/uevent", name);
	if (file_read_text(path, UEVENT_MAX, &text, NULL) < 0)
		return true;
	is_wireguard = strstr(text, "DEVTYPE=wireguard\n") != NULL;
	free(text);
	return is_wireguard;
}

/* Bytes of @hook when each %i has become @device. */
static size_t hook_len(const char *hook, const char *device)
{
	size_t len = strlen(hook);

	for (; (hook = strstr(hook, "%i")); hook += 2)
		len = len - 2 + strlen(device);
	return len;
}

/* A file that was wg0.conf under wg-quick may have hooks for wg0: they would concern no device, or a wrong one. */
static void check_hook(const char *hook, const char *key, unsigned line, const char *path, const char *device,
	const char *name, struct ini_report *report)
{
	char other[WG_HOOK_NAME_MAX];

	if (hook_len(hook, device) > HOOK_LEN_MAX)
		ini_report_add(report, path, line,
			"%s: too long, %zu bytes with %s for %%i; expected at most %u, which the kernel lets a command "
			"have, or a script's path",
			key, hook_len(hook, device), device, HOOK_LEN_MAX);
	if (wg_hook_find_other(hook, device, is_other_device, name, other))
		log_warning("config",
			"%s: %s: '%s': this tunnel's device is called %s; expected %%i, unless another tunnel's device "
			"is meant",
			PLACE(path, line), key, other, device);
}

static void check_hooks(const struct wg_config_interface *interface, const char *path, const char *device,
	const char *name, struct ini_report *report)
{
	for (size_t i = 0; i < 4; i++)
		for (size_t j = 0; j < interface->hook_count[i]; j++)
			check_hook(interface->hooks[i][j], wg_config_hook_keys[i], interface->hook_lines[i][j], path,
				device, name, report);
}

/* A device's name: wg-quick's rule, and without the two names that the kernel keeps for itself in /proc/sys/net.
 * Return: NULL, or what is wrong. */
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

#define EXPECTED_NAME "expected up to 15 of letters, digits and _=+.- before .conf"

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
		key_complain(place, "the device is called as that file, and '%s' %s; " EXPECTED_NAME, base, fault);
	else if (fault)
		ini_report_add(place->report, path, wireguard->interface.line,
			"[Interface]: the device is called as this file, and '%s' %s; " EXPECTED_NAME
			", or WireGuard = PATH of a file with such a name",
			base, fault);
	else
		memcpy(ret_device, base, strlen(base) + 1);
	if (*ret_device)
		check_hooks(&wireguard->interface, wireguard_path ? wireguard_path : path, ret_device, name,
			place->report);
	return true;
}

int tunnel_file_read_secret(const char *path, size_t max, char **ret, const struct key_place *place)
{
	struct key_place unquoted = *place;
	struct err err = {""};

	unquoted.text = NULL; /* the error names the file */
	if (secret_read_file(path, max, ret, &err) < 0)
		return key_complain(&unquoted,
			"%s; expected the path of a readable file with the secret in its first line", err.text);
	tunnel_file_warn_readable_path(path);
	return 0;
}

bool tunnel_file_read_hooks(const char *path, const char *section, struct tunnel_file_hooks *ret)
{
	struct ini_report ignored = {0};
	struct ini ini = {0}, elsewhere = {0};
	bool found = false;

	memset(ret, 0, sizeof(*ret));
	snprintf(ret->path, sizeof(ret->path), "%s", path);
	dropins_read(path, &ini, &ignored, NULL);
	for (size_t i = 0; i < ini.section_count; i++) {
		const struct ini_section *at = &ini.sections[i];

		if (strcasecmp(at->name, section) != 0)
			continue;
		found = true;
		for (size_t j = 0; j < at->entry_count; j++)
			if (strcasecmp(at->entries[j].key, "WireGuard") == 0 && *at->entries[j].value == '/')
				snprintf(ret->path, sizeof(ret->path), "%s", at->entries[j].value);
	}
	if (strcmp(ret->path, path) != 0) {
		ini_read(ret->path, &elsewhere, &ignored, NULL);
		ini_done(&ini);
		ini = elsewhere;
	}
	for (size_t i = 0; i < ini.section_count; i++)
		if (strcasecmp(ini.sections[i].name, "Interface") == 0)
			wg_config_read_section(&ret->config, &ini, &ini.sections[i], &ignored);
	base_name(ret->path, ret->device);
	ini_done(&ini);
	ini_report_done(&ignored);
	return found;
}
