/* See settings.h.
 *
 * Theory of operation. The supervisor writes these settings as JSON into a sealed memory file, and the worker reads
 * them from there. The tables below name every field once, with its bounds; common/base/record.h writes, reads and
 * frees by them. Conditions between fields are checked at the end (find_fault()). A failure names the field, and
 * nothing of the settings is kept.
 *
 * The worker checks what the supervisor has already checked: the two have different rights, and the worker must not
 * depend on how the file came about.
 *
 * A new field is a member in settings.h and one row here. The format needs no version: a worker runs its supervisor's
 * own executable (spawn.c), also when a package's update has put another one in its place.
 */
#include "server/settings.h"

#include "common/base/record.h"
#include "common/base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_MAX 100000
#define NAMES_MAX 100000 /* published ones; a file of so many is read in seconds */
#define NETWORKS_TEXT_MAX 3072
#define NAME_LEN_MAX 63
#define WORD_LEN_MAX 256 /* of a token and a stock path */
#define TOKEN_LEN_MIN 16
#define PEM_LEN_MAX (1u << 20)	/* a chain and a key are a few KB */
#define PAGE_LEN_MAX (1u << 20) /* of HTML */
#define WALL_S_MAX (1ull << 40)
#define PING_MAX_MS (24u * 3600 * 1000)

static const char *find_path_fault(const char *text)
{
	return text_is_made_of(text, strlen(text), "_-/") ? NULL : "not made of letters, digits, _, - and /";
}

static const char *find_networks_fault(const char *text)
{
	return text_is_made_of(text, strlen(text), ".:/,") ? NULL : "not made of networks and commas";
}

static const char *find_word_fault(const char *text)
{
	return text_is_made_of(text, strlen(text), "_-") ? NULL : "not made of letters, digits, _ and -";
}

#define FIELD(...) RECORD_FIELD(struct server_settings_listener, __VA_ARGS__)

static const struct record_field listener_fields[] = {
	{FIELD(text, RECORD_CHARS, 0, 0)},
	{FIELD(cleartext, RECORD_BOOL, 0, 0)},
	{FIELD(only_proxies, RECORD_BOOL, 0, 0)},
};
static const struct record listener_record = {"listener", listener_fields,
	sizeof(listener_fields) / sizeof(*listener_fields), sizeof(struct server_settings_listener)};

#undef FIELD
#define FIELD(...) RECORD_FIELD(struct server_settings_client, __VA_ARGS__)

static const struct record_field client_fields[] = {
	{FIELD(number, RECORD_NUMBER, 1, CLIENT_NUMBER_MAX)},
	{FIELD(name, RECORD_TEXT, 1, NAME_LEN_MAX)},
	{FIELD(token, RECORD_TEXT_OR_NULL, TOKEN_LEN_MIN, WORD_LEN_MAX), .find_fault = find_word_fault},
	{FIELD(stock_path, RECORD_TEXT_OR_NULL, 1, WORD_LEN_MAX), .find_fault = find_path_fault},
	{FIELD(waits_until_s, RECORD_NUMBER, 0, WALL_S_MAX)},
	{FIELD(has_joined, RECORD_BOOL, 0, 0)},
	{FIELD(joined_key, RECORD_BYTES, 0, 0)},
};
static const struct record client_record = {
	"client", client_fields, sizeof(client_fields) / sizeof(*client_fields), sizeof(struct server_settings_client)};

static const struct record_field gone_fields[] = {
	{NULL, RECORD_TEXT, 0, sizeof(char *), TOKEN_LEN_MIN, WORD_LEN_MAX, .find_fault = find_word_fault},
};
static const struct record gone_record = {"gone", gone_fields, 1, sizeof(struct server_settings_gone)};

#undef FIELD
#define FIELD(...) RECORD_FIELD(struct prefix, __VA_ARGS__)

static const struct record_field proxy_fields[] = {
	{FIELD(addr, RECORD_ADDR_ONLY, 0, 0)},
	{FIELD(bits, RECORD_NUMBER, 1, 128)},
};
static const struct record proxy_record = {
	"proxy", proxy_fields, sizeof(proxy_fields) / sizeof(*proxy_fields), sizeof(struct prefix)};

#undef FIELD

static const struct record_field name_fields[] = {
	{NULL, RECORD_TEXT, 0, sizeof(char *), 1, SERVER_NAME_MAX, .find_fault = server_name_find_fault},
};
static const struct record name_record = {"name", name_fields, 1, sizeof(struct server_name)};

#define FIELD(...) RECORD_FIELD(struct server_settings_publish, __VA_ARGS__)

static const struct record_field publish_fields[] = {
	{RECORD_LIST(struct server_settings_publish, names, name_count, &name_record, 1, NAMES_MAX)},
	{FIELD(to, RECORD_ADDR, 0, 0)},
	{FIELD(proxy_protocol, RECORD_NUMBER, 0, 2)},
};
static const struct record publish_record = {"publish", publish_fields,
	sizeof(publish_fields) / sizeof(*publish_fields), sizeof(struct server_settings_publish)};

#undef FIELD
#define FIELD(...) RECORD_FIELD(struct server_settings, __VA_ARGS__)
#define LIST(...) RECORD_LIST(struct server_settings, __VA_ARGS__)

static const struct record_field fields[] = {
	{FIELD(name, RECORD_CHARS, 0, 0)},
	{LIST(listeners, listener_count, &listener_record, 1, SERVER_SETTINGS_LISTENERS_MAX)},
	{FIELD(certificate_pem, RECORD_TEXT_OR_NULL, 1, PEM_LEN_MAX)},
	{FIELD(certificate_key_pem, RECORD_TEXT_OR_NULL, 1, PEM_LEN_MAX)},
	{FIELD(target, RECORD_ADDR, 0, 0)},
	{LIST(clients, client_count, &client_record, 0, CLIENTS_MAX)},
	{LIST(gone, gone_count, &gone_record, 0, CLIENTS_MAX)},
	{FIELD(networks, RECORD_TEXT_OR_NULL, 1, NETWORKS_TEXT_MAX), .find_fault = find_networks_fault},
	{FIELD(max_clients, RECORD_NUMBER, 1, SERVER_SETTINGS_CLIENTS_MAX)},
	{FIELD(max_sessions_per_client, RECORD_NUMBER, 1, UINT16_MAX)},
	{FIELD(ping_interval_ms, RECORD_NUMBER, 1, PING_MAX_MS)},
	{LIST(trusted_proxies, trusted_proxy_count, &proxy_record, 0, SERVER_SETTINGS_PROXIES_MAX)},
	{FIELD(page_html, RECORD_TEXT, 0, PAGE_LEN_MAX)},
	{LIST(publishes, publish_count, &publish_record, 0, NAMES_MAX)},
	{FIELD(publish_number, RECORD_NUMBER, 0, UINT32_MAX)},
	{LIST(own_names, own_name_count, &name_record, 0, NAMES_MAX)},
};
static const struct record record = {
	"settings", fields, sizeof(fields) / sizeof(*fields), sizeof(struct server_settings)};

int server_settings_write(const struct server_settings *settings, struct err *err)
{
	return record_write(&record, settings, err);
}

/* Check the fields against each other. Numbers must rise for the binary search. Return: NULL, or the complaint. */
static const char *find_fault(const struct server_settings *settings)
{
	bool needs_certificate = false;

	for (size_t i = 0; i < settings->listener_count; i++)
		needs_certificate |= !settings->listeners[i].cleartext;
	if (needs_certificate && !settings->certificate_pem)
		return "certificate_pem: missing";
	if (!settings->certificate_pem != !settings->certificate_key_pem)
		return "certificate_key_pem: certificate and key come together";
	if (!addr_is_loopback(&settings->target))
		return "target: not a loopback address";
	for (size_t i = 1; i < settings->client_count; i++)
		if (settings->clients[i].number <= settings->clients[i - 1].number)
			return "clients: number: out of range";
	return NULL;
}

int server_settings_read(int fd, struct server_settings *ret, struct err *err)
{
	struct server_settings settings;
	int rc = record_read(&record, fd, &settings, err);
	const char *fault = rc < 0 ? NULL : find_fault(&settings);

	if (fault) {
		rc = err_set(err, -EINVAL, "settings: %s", fault);
		server_settings_done(&settings);
	}
	if (rc == 0)
		*ret = settings;
	return rc;
}

/* For bsearch(). The numbers have 32 bits, so a difference would not fit an int. */
static int compare_number(const void *number, const void *client)
{
	uint32_t a = *(const uint32_t *)number, b = ((const struct server_settings_client *)client)->number;

	return (a > b) - (a < b);
}

const struct server_settings_client *server_settings_find(const struct server_settings *settings, uint32_t number)
{
	return settings->client_count == 0 ? NULL
					   : bsearch(&number, settings->clients, settings->client_count,
						     sizeof(*settings->clients), compare_number);
}

/* A search through all names is cheap enough: it is done for a connection and at a reload, not for each packet. Our
 * own names come first, because "*.example.org" may cover the hub's name as well, and clients must still reach the
 * hub. */
int server_settings_find_publish(const struct server_settings *settings, const char *name, size_t len)
{
	int by_star = -ENOENT;

	if (len > SERVER_NAME_MAX) /* a star stands for any label */
		return -ENOENT;
	for (size_t i = 0; i < settings->own_name_count; i++)
		if (server_name_fits(settings->own_names[i].text, name, len))
			return -ENOENT;
	for (size_t i = 0; i < settings->publish_count; i++)
		for (size_t j = 0; j < settings->publishes[i].name_count; j++) {
			const char *pattern = settings->publishes[i].names[j].text;

			if (!server_name_fits(pattern, name, len))
				continue;
			if (*pattern != '*')
				return (int)i;
			if (by_star == -ENOENT)
				by_star = (int)i;
		}
	return by_star;
}

void server_settings_done(struct server_settings *settings)
{
	record_done(&record, settings);
}
