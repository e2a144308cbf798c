/* See client_file.h. Happy path: read the sections as they stand, write them into memory with what changes, put the file in
 * place. Keys that a person has added to the client's [Peer] stay. */
#include "server/client_file.h"

#include "common/base/base64.h"
#include "common/base/clock.h"
#include "common/base/dropins.h"
#include "common/base/file.h"
#include "common/base/ini.h"
#include "common/base/secret.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define TIME_TEXT_MAX 24

int client_file_path(const char *config_path, const char *client, char ret[PATH_MAX], struct err *err)
{
	char folder[PATH_MAX];

	if (dropins_folder(config_path, folder) < 0 ||
		snprintf(ret, PATH_MAX, "%s/%s.conf", folder, client) >= PATH_MAX)
		return err_system(err, -ENAMETOOLONG, "%s", config_path);
	return 0;
}

/* Return: NULL where the section has no such key. */
static const char *value_of(const struct ini_section *section, const char *key)
{
	for (size_t i = 0; i < section->entry_count; i++)
		if (strcasecmp(section->entries[i].key, key) == 0)
			return section->entries[i].value;
	return NULL;
}

/* All entries but those that the caller writes anew. */
static void put_section(FILE *out, const struct ini_section *section, bool with_keys)
{
	static const char *const renewed[] = {"Token", "PublicKey", "Invited", "InvitedUntil", "Joined", "JoinedFrom"};

	fprintf(out, "[Peer]\n");
	for (size_t i = 0; i < section->entry_count; i++) {
		size_t at = with_keys ? sizeof(renewed) / sizeof(*renewed) : 0;

		while (at < sizeof(renewed) / sizeof(*renewed) && strcasecmp(section->entries[i].key, renewed[at]) != 0)
			at++;
		if (at == sizeof(renewed) / sizeof(*renewed))
			fprintf(out, "%s = %s\n", section->entries[i].key, section->entries[i].value);
	}
}

static void put_invitation(FILE *out, const struct client_file_invitation *invitation)
{
	char now[TIME_TEXT_MAX], until[TIME_TEXT_MAX];

	fprintf(out, "Token = %s\nInvited = %s\nInvitedUntil = %s\n", invitation->token,
		clock_format_utc(now, sizeof(now), invitation->now_s),
		clock_format_utc(until, sizeof(until), invitation->until_s));
}

/* Make a file of a text that was written in memory. @text: freed here. */
static int put_in_place(const char *path, char *text, size_t len, bool is_new, struct err *err)
{
	int rc;

	if (!text)
		return err_system(err, -ENOMEM, "%s", path);
	rc = is_new ? file_create_text(path, text, err) : file_write_text(path, text, err);
	secret_wipe(text, len);
	free(text);
	return rc;
}

#define HEADER "# A client of the hub, by towpath-server add; 'towpath-server revoke' takes it out.\n"

static void put_client(FILE *out, const struct client_file_invitation *invitation)
{
	char prefix[PREFIX_TEXT_MAX];

	fprintf(out, HEADER "[Peer]\nName = %s\n", invitation->name);
	for (size_t i = 0; i < invitation->prefix_count; i++)
		fprintf(out, "AllowedIPs = %s\n", prefix_format(prefix, sizeof(prefix), &invitation->prefixes[i]));
}

int client_file_write_app(const char *path, const struct client_file_invitation *invitation,
	const uint8_t public_key[CLIENT_FILE_KEY_LEN], bool is_new, struct err *err)
{
	char key[BASE64_LEN(CLIENT_FILE_KEY_LEN) + 1], now[TIME_TEXT_MAX], *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out) {
		clock_format_utc(now, sizeof(now), invitation->now_s);
		base64_encode(key, sizeof(key), public_key, CLIENT_FILE_KEY_LEN, BASE64_STANDARD);
		put_client(out, invitation);
		fprintf(out, "Token = %s\nInvited = %s\nPublicKey = %s\nJoined = %s\n", invitation->token, now, key,
			now);
		fclose(out);
	}
	return put_in_place(path, text, len, is_new, err);
}

int client_file_invite(const char *path, const struct client_file_invitation *invitation, struct err *err)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (out) {
		put_client(out, invitation);
		put_invitation(out, invitation);
		fclose(out);
	}
	return put_in_place(path, text, len, true, err);
}

/* Read a file of ours. Return: 0 (ini_done() it) or a negative errno. */
static int read_file(const char *path, struct ini *ret, struct err *err)
{
	struct ini_report report = {0};
	int rc = ini_read(path, ret, &report, err);

	if (rc == -EINVAL)
		ini_report_join(&report, rc, err);
	if (rc == 0 && (ret->section_count == 0 || strcasecmp(ret->sections[0].name, "Peer") != 0))
		rc = err_set(err, -EINVAL, "%s: does not begin with [Peer]; 'towpath-server add' wrote it so", path);
	if (rc == -EINVAL)
		ini_done(ret);
	ini_report_done(&report);
	return rc;
}

int client_file_invite_again(const char *path, const struct client_file_invitation *invitation, struct err *err)
{
	struct ini ini;
	char *text = NULL;
	size_t len = 0;
	bool has_joined;
	FILE *out;
	int rc = read_file(path, &ini, err);

	if (rc < 0)
		return rc;
	has_joined = value_of(&ini.sections[0], "PublicKey");
	out = open_memstream(&text, &len);
	if (out) {
		fprintf(out, HEADER);
		put_section(out, &ini.sections[0], has_joined);
		if (has_joined)
			fprintf(out, "\n[Peer]\nName = %s+\n", invitation->name);
		put_invitation(out, invitation);
		fclose(out);
	}
	ini_done(&ini);
	return put_in_place(path, text, len, false, err);
}

/* Return: the section that has @token, or NULL. */
static const struct ini_section *find_token(const struct ini *ini, const char *token)
{
	for (size_t i = 0; i < ini->section_count; i++) {
		const char *value = value_of(&ini->sections[i], "Token");

		if (value && strcmp(value, token) == 0)
			return &ini->sections[i];
	}
	return NULL;
}

int client_file_enrol(const char *path, const char *token, const uint8_t public_key[CLIENT_FILE_KEY_LEN],
	const char *from, int64_t now_s, struct err *err)
{
	char key[BASE64_LEN(CLIENT_FILE_KEY_LEN) + 1], now[TIME_TEXT_MAX], *text = NULL;
	const struct ini_section *guest;
	const char *invited;
	struct ini ini;
	size_t len = 0;
	FILE *out;
	int rc = read_file(path, &ini, err);

	if (rc < 0)
		return rc;
	guest = find_token(&ini, token);
	invited = guest ? value_of(guest, "Invited") : NULL;
	if (!invited || value_of(guest, "PublicKey")) {
		rc = invited ? -EALREADY : -ENOENT;
		ini_done(&ini);
		return err_set(err, rc, "%s: %s", path, rc == -EALREADY ? "has a machine already" : "waits for none");
	}
	base64_encode(key, sizeof(key), public_key, CLIENT_FILE_KEY_LEN, BASE64_STANDARD);
	out = open_memstream(&text, &len);
	if (out) {
		fprintf(out, HEADER);
		put_section(out, &ini.sections[0], false);
		fprintf(out, "Token = %s\nInvited = %s\nPublicKey = %s\nJoined = %s\nJoinedFrom = %s\n", token, invited,
			key, clock_format_utc(now, sizeof(now), now_s), from);
		fclose(out);
	}
	ini_done(&ini);
	return put_in_place(path, text, len, false, err);
}
