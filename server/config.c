/* See config.h. Happy path: the walk through the file hands each key to its row's parser here, then defaults are filled
 * in and what only the whole shows is checked: peers that share a secret, files that keys point at.
 * Every mistake becomes a line of the report; nothing is changed and nobody is connected to.
 */
#include "server/config.h"

#include "common/base/base64.h"
#include "common/base/log.h"
#include "common/base/secret.h"
#include "common/wireguard/tunnel_file.h"
#include "server/certificate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_PORT 443
#define DEFAULT_WIREGUARD_PORT 51820
#define DEFAULT_MAX_CLIENTS 10000
#define DEFAULT_MAX_SESSIONS_PER_CLIENT 8
#define DEFAULT_PING_INTERVAL_MS 15000
#define MAX_CLIENTS_MAX 1000000
#define MAX_SESSIONS_MAX 65535
#define PING_INTERVAL_MIN_MS 1000
#define PING_INTERVAL_MAX_MS 3600000
#define NAME_LEN_MAX 63
#define TOKEN_LEN_MIN 16
#define LISTENS_MAX 64		/* what the worker's settings take */
#define TRUSTED_PROXIES_MAX 256 /* likewise */

/* --- one function a key --- */

/* "ws://" is taken off; loopback is asked for later, when it is known to be an address. */
static int parse_listen(void *owner, const char *text, const struct key_place *place)
{
	struct server_config *config = owner;
	bool cleartext = strncasecmp(text, "ws://", 5) == 0;
	struct server_listen listen = {.cleartext = cleartext, .line = place->line};
	struct server_listen *slot;

	if (addr_parse(cleartext ? text + 5 : text, cleartext ? 0 : DEFAULT_PORT, &listen.addr) < 0)
		return key_complain(
			place, "not an address with its port; 0.0.0.0:443, [::]:443 or ws://127.0.0.1:8080 is right");
	if (cleartext && !addr_is_loopback(&listen.addr))
		return key_complain(
			place, "cleartext is for a reverse proxy on this host only; ws://127.0.0.1:8080 is right");
	for (size_t i = 0; i < config->listen_count; i++)
		if (addr_equal(&config->listens[i].addr, &listen.addr))
			return key_complain(place, "given already, in line %u; once is right", config->listens[i].line);
	if (config->listen_count == LISTENS_MAX)
		return key_complain(place, "more than %d addresses; fewer are right", LISTENS_MAX);
	addr_format(listen.text, sizeof(listen.text), &listen.addr);
	slot = key_append(&config->listens, &config->listen_count, sizeof(*slot), place);
	if (!slot)
		return -EINVAL;
	*slot = listen;
	return 0;
}

static int parse_certificate(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_path(text, &((struct server_config *)owner)->certificate_path, place);
}

static int parse_certificate_key(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_path(text, &((struct server_config *)owner)->certificate_key_path, place);
}

static int parse_target(void *owner, const char *text, const struct key_place *place)
{
	struct server_config *config = owner;
	struct addr addr;

	if (addr_parse(text, DEFAULT_WIREGUARD_PORT, &addr) < 0 || !addr_is_loopback(&addr))
		return key_complain(place,
			"not a loopback address; WireGuard's port on this host, as in 127.0.0.1:51820, is right");
	config->target = addr;
	return 0;
}

static int parse_max_clients(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_number(text, 1, MAX_CLIENTS_MAX, &((struct server_config *)owner)->max_clients, place);
}

static int parse_max_sessions(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_number(
		text, 1, MAX_SESSIONS_MAX, &((struct server_config *)owner)->max_sessions_per_client, place);
}

static int parse_ping_interval(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_span(text, PING_INTERVAL_MIN_MS, PING_INTERVAL_MAX_MS,
		&((struct server_config *)owner)->ping_interval_ms, place);
}

static int parse_trusted_proxy(void *owner, const char *text, const struct key_place *place)
{
	struct server_config *config = owner;
	struct addr addr, *slot;
	char host[ADDR_TEXT_MAX];
	uint16_t port = 0;

	if (addr_split(text, host, sizeof(host), &port) < 0 || port != 0 || addr_parse(text, 1, &addr) < 0)
		return key_complain(place, "not an address without a port; for example 127.0.0.1 is right");
	if (config->trusted_proxy_count == TRUSTED_PROXIES_MAX)
		return key_complain(place, "more than %d addresses; fewer are right", TRUSTED_PROXIES_MAX);
	addr_set_port(&addr, 0);
	slot = key_append(&config->trusted_proxies, &config->trusted_proxy_count, sizeof(*slot), place);
	if (!slot)
		return -EINVAL;
	*slot = addr;
	return 0;
}

static int parse_wireguard(void *owner, const char *text, const struct key_place *place)
{
	struct server_config *config = owner;

	if (strcasecmp(text, "none") == 0)
		return 0;
	return key_parse_path(text, &config->wireguard_path, place);
}

static int parse_hidden(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_bool(text, &((struct server_config *)owner)->hidden, place);
}

static struct server_client *last_client(void *owner)
{
	struct server_config *config = owner;

	return &config->clients[config->client_count - 1];
}

static int parse_peer_name(void *owner, const char *text, const struct key_place *place)
{
	last_client(owner)->name_line = place->line;
	if (strlen(text) > NAME_LEN_MAX)
		return key_complain(place, "too long; %d characters at most are right", NAME_LEN_MAX);
	return key_parse_copy(text, &last_client(owner)->name, place);
}

static int parse_peer_token(void *owner, const char *text, const struct key_place *place)
{
	last_client(owner)->token_line = place->line;
	return key_parse_word(text, TOKEN_LEN_MIN, &last_client(owner)->token, place);
}

static int parse_peer_stock_path(void *owner, const char *text, const struct key_place *place)
{
	last_client(owner)->stock_path_line = place->line;
	if (strcmp(text, "v1") == 0)
		return key_complain(place, "v1 is the path of our own clients; a word of its own is right");
	return key_parse_word(text, 1, &last_client(owner)->stock_path, place);
}

static struct gateway *last_gateway(void *owner)
{
	struct server_config *config = owner;

	return &config->gateways[config->gateway_count - 1];
}

static int parse_gateway_lan(void *owner, const char *text, const struct key_place *place)
{
	return gateway_parse_lan(last_gateway(owner), text, place);
}

static int parse_gateway_interface(void *owner, const char *text, const struct key_place *place)
{
	return gateway_parse_interface(last_gateway(owner), text, place);
}

static int parse_gateway_masquerade(void *owner, const char *text, const struct key_place *place)
{
	return gateway_parse_masquerade(last_gateway(owner), text, place);
}

/* --- the table --- */

enum row {
	ROW_LISTEN,
	ROW_CERTIFICATE,
	ROW_CERTIFICATE_KEY,
	ROW_TARGET,
	ROW_MAX_CLIENTS,
	ROW_MAX_SESSIONS,
	ROW_TRUSTED_PROXIES,
	ROW_WIREGUARD,
	ROW_PING_INTERVAL,
	ROW_WEBSITE,
	ROW_HIDDEN,
	ROW_PEER_NAME,
	ROW_PEER_TOKEN,
	ROW_PEER_STOCK_PATH,
	ROW_PEER_PRESHARED_KEY,
	ROW_PRIVATE_KEY,
	ROW_PRIVATE_KEY_FILE,
	ROW_GATEWAY_LAN,
	ROW_GATEWAY_INTERFACE,
	ROW_GATEWAY_MASQUERADE,
	ROW_COUNT,
};

#define NOT_YET "not known to this version; take the line out"

static const struct key_row rows[ROW_COUNT] = {
	[ROW_LISTEN] = {"Server", "Listen", KEY_LIST, parse_listen},
	[ROW_CERTIFICATE] = {"Server", "Certificate", KEY_ONCE, parse_certificate},
	[ROW_CERTIFICATE_KEY] = {"Server", "CertificateKey", KEY_ONCE, parse_certificate_key},
	[ROW_TARGET] = {"Server", "Target", KEY_ONCE, parse_target},
	[ROW_MAX_CLIENTS] = {"Server", "MaxClients", KEY_ONCE, parse_max_clients},
	[ROW_MAX_SESSIONS] = {"Server", "MaxSessionsPerClient", KEY_ONCE, parse_max_sessions},
	[ROW_TRUSTED_PROXIES] = {"Server", "TrustedProxies", KEY_LIST, parse_trusted_proxy},
	[ROW_WIREGUARD] = {"Server", "WireGuard", KEY_ONCE, parse_wireguard},
	[ROW_PING_INTERVAL] = {"Server", "PingInterval", KEY_ONCE, parse_ping_interval},
	[ROW_WEBSITE] = {"Server", "Website", KEY_REFUSED, .hint = NOT_YET},
	[ROW_HIDDEN] = {"Server", "Hidden", KEY_ONCE, parse_hidden},
	[ROW_PEER_NAME] = {"Peer", "Name", KEY_ONCE, parse_peer_name},
	[ROW_PEER_TOKEN] = {"Peer", "Token", KEY_ONCE, parse_peer_token, .secret = true},
	[ROW_PEER_STOCK_PATH] = {"Peer", "StockPath", KEY_ONCE, parse_peer_stock_path, .secret = true},
	[ROW_PEER_PRESHARED_KEY] = {"Peer", "PresharedKey", KEY_WATCHED, .secret = true},
	[ROW_PRIVATE_KEY] = {"Interface", "PrivateKey", KEY_WATCHED, .secret = true, .twin = "PrivateKeyFile"},
	[ROW_PRIVATE_KEY_FILE] = {"Interface", "PrivateKeyFile", KEY_ONCE, .twin = "PrivateKey"},
	[ROW_GATEWAY_LAN] = {"Gateway", "Lan", KEY_LIST, parse_gateway_lan},
	[ROW_GATEWAY_INTERFACE] = {"Gateway", "Interface", KEY_ONCE, parse_gateway_interface},
	[ROW_GATEWAY_MASQUERADE] = {"Gateway", "Masquerade", KEY_ONCE, parse_gateway_masquerade},
};

static const struct key_table table = {rows, ROW_COUNT};

/* --- the whole --- */

struct reading {
	struct server_config *config;
	struct tunnel_file file;
	unsigned lines[ROW_COUNT];
	struct ini_report *report;
};

static struct key_place place_of(const struct reading *reading, enum row row, const char *text)
{
	return (struct key_place){reading->config->path, reading->lines[row], rows[row].key, text, reading->report};
}

static int open_peer(void *owner, const struct key_place *place)
{
	struct server_config *config = owner;
	struct server_client *client = key_append(&config->clients, &config->client_count, sizeof(*client), place);

	if (!client)
		return -EINVAL;
	client->line = place->line;
	return 0;
}

static int open_gateway(void *owner, const struct key_place *place)
{
	struct server_config *config = owner;

	return gateway_open(&config->gateways, &config->gateway_count, place);
}

static void default_listen(struct reading *reading, const char *text)
{
	struct key_place place = {reading->config->path, 0, "Listen", text, reading->report};

	parse_listen(reading->config, text, &place);
}

/* A device of ours answers at one port, which the default target is. */
static void fill_device_defaults(struct reading *reading)
{
	struct server_config *config = reading->config;
	struct key_place place = place_of(reading, ROW_TARGET, NULL);
	uint16_t *port = &config->wireguard.interface.listen_port;
	char target[ADDR_TEXT_MAX];

	if (config->has_device && *port == 0)
		*port = DEFAULT_WIREGUARD_PORT;
	if (!reading->lines[ROW_HIDDEN])
		config->hidden = config->has_device;
	if (!reading->lines[ROW_TARGET]) {
		snprintf(target, sizeof(target), "127.0.0.1:%u", config->has_device ? *port : DEFAULT_WIREGUARD_PORT);
		parse_target(config, target, &place);
	}
	addr_format(config->target_text, sizeof(config->target_text), &config->target);
}

static void fill_defaults(struct reading *reading)
{
	struct server_config *config = reading->config;

	if (!reading->lines[ROW_LISTEN]) {
		default_listen(reading, "0.0.0.0:443");
		default_listen(reading, "[::]:443");
	}
	fill_device_defaults(reading);
	if (!reading->lines[ROW_MAX_CLIENTS])
		config->max_clients = DEFAULT_MAX_CLIENTS;
	if (!reading->lines[ROW_MAX_SESSIONS])
		config->max_sessions_per_client = DEFAULT_MAX_SESSIONS_PER_CLIENT;
	if (!reading->lines[ROW_PING_INTERVAL])
		config->ping_interval_ms = DEFAULT_PING_INTERVAL_MS;
}

/* Each [Peer] of this file, before those of WireGuard = PATH take their place. */
static void note_public_keys(struct server_config *config)
{
	for (size_t i = 0; i < config->client_count; i++) {
		const struct wg_config_peer *peer = &config->wireguard.peers[i];
		struct server_client *client = &config->clients[i];

		client->has_public_key = peer->has_public_key;
		client->public_key_line = peer->public_key_line;
		memcpy(client->public_key, peer->public_key, sizeof(client->public_key));
	}
}

static bool has_peer(const struct wg_config *wireguard, const uint8_t public_key[WG_CONFIG_KEY_LEN])
{
	for (size_t i = 0; i < wireguard->peer_count; i++)
		if (wireguard->peers[i].has_public_key &&
			memcmp(wireguard->peers[i].public_key, public_key, WG_CONFIG_KEY_LEN) == 0)
			return true;
	return false;
}

/* With WireGuard = PATH: the keys of this file link its clients to PATH's peers. */
static void check_links(struct reading *reading)
{
	const struct server_config *config = reading->config;

	if (!config->wireguard_path || !config->wireguard.interface.line) /* which was complained about */
		return;
	for (size_t i = 0; i < config->client_count; i++) {
		const struct server_client *client = &config->clients[i];
		char text[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1];

		if (!client->has_public_key || has_peer(&config->wireguard, client->public_key))
			continue;
		base64_encode(text, sizeof(text), client->public_key, WG_CONFIG_KEY_LEN, BASE64_STANDARD);
		ini_report_add(reading->report, config->path, client->public_key_line,
			"PublicKey: '%s': no [Peer] of %s has it; the key of one of them is right", text,
			config->wireguard_path);
	}
}

/* Who forgets [Interface] has a hub whose peers stand there like a device's. */
static void warn_no_device(const struct server_config *config)
{
	for (size_t i = 0; i < config->wireguard.peer_count && !config->has_device; i++) {
		const struct wg_config_peer *peer = &config->wireguard.peers[i];

		if (peer->allowed_ip_count == 0)
			continue;
		log_warning("config", "%s:%u: AllowedIPs: without [Interface] no device is made that could have them",
			config->path, peer->allowed_ips[0].line);
		return;
	}
}

static void take_device(struct reading *reading)
{
	struct server_config *config = reading->config;
	struct key_place place = place_of(reading, ROW_WIREGUARD, config->wireguard_path);

	note_public_keys(config);
	config->has_device = tunnel_file_take_device(
		config->wireguard_path, config->path, config->name, &config->wireguard, config->device, &place);
	check_links(reading);
	warn_no_device(config);
	gateway_check(config->gateways, config->gateway_count, config->has_device ? config->device : NULL, config->path,
		reading->report);
}

/* Its UDP socket lives where nothing but the tunnel is: it reaches nobody else, and nobody else reaches it. */
static void check_hidden(struct reading *reading)
{
	const struct server_config *config = reading->config;
	struct key_place place = place_of(reading, ROW_HIDDEN, config->hidden ? "yes" : "no");
	struct key_place target_place = place_of(reading, ROW_TARGET, config->target_text);
	const char *wireguard_path = config->wireguard_path ? config->wireguard_path : config->path;
	char right[ADDR_TEXT_MAX];

	if (reading->lines[ROW_HIDDEN] && !config->has_device)
		key_complain(&place, "needs a device of ours; [Interface] in this file, or WireGuard = PATH, is right");
	if (!config->hidden || !config->has_device)
		return;
	for (size_t i = 0; i < config->wireguard.peer_count; i++)
		if (config->wireguard.peers[i].endpoint)
			ini_report_add(reading->report, wireguard_path, config->wireguard.peers[i].endpoint_line,
				"Endpoint: '%s': a hidden device reaches nobody by itself; Hidden = no in [Server] is "
				"right, or no Endpoint",
				config->wireguard.peers[i].endpoint);
	snprintf(right, sizeof(right), "127.0.0.1:%u", config->wireguard.interface.listen_port);
	if (reading->lines[ROW_TARGET] && config->target.sa.sa_family && strcmp(config->target_text, right) != 0)
		key_complain(&target_place, "our hidden device answers at %s; that is right, or Hidden = no", right);
}

static void check_certificate(struct reading *reading)
{
	struct server_config *config = reading->config;
	unsigned line = reading->lines[ROW_CERTIFICATE], key_line = reading->lines[ROW_CERTIFICATE_KEY];
	struct key_place place = place_of(reading, ROW_CERTIFICATE, NULL);
	char *certificate = NULL, *key = NULL;
	struct err err = {""};

	if (line && !key_line)
		ini_report_add(reading->report, config->path, reading->file.main_line,
			"CertificateKey: missing; Certificate in line %u needs its key", line);
	if (key_line && !line)
		ini_report_add(reading->report, config->path, reading->file.main_line,
			"Certificate: missing; CertificateKey in line %u needs its certificate", key_line);
	if (!config->certificate_path || !config->certificate_key_path)
		return;
	if (certificate_load(config->certificate_path, config->certificate_key_path, &certificate, &key, &err) < 0) {
		key_complain(&place,
			"%s; a PEM chain and, as CertificateKey, the key of its first certificate are right", err.text);
		return;
	}
	free(certificate);
	secret_free(key);
	tunnel_file_warn_readable_path(config->certificate_key_path);
}

/* A peer that neither is one of WireGuard's nor lets anybody in. */
static void check_peers(struct reading *reading)
{
	const struct server_config *config = reading->config;

	for (size_t i = 0; i < config->client_count; i++) {
		const struct server_client *client = &config->clients[i];

		if (!client->public_key_line && !client->token_line && !client->stock_path_line)
			ini_report_add(reading->report, config->path, client->line,
				"Token: missing; a [Peer] without PublicKey needs a Token or a StockPath");
	}
}

/* A word that must be unlike all others. */
struct claim {
	const char *word;
	const char *key;
	unsigned line;
};

static int compare_claims(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int order = strcmp(x->word, y->word);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static void complain_claims(struct reading *reading, struct claim *claims, size_t count)
{
	qsort(claims, count, sizeof(*claims), compare_claims);
	for (size_t i = 1; i < count; i++)
		if (strcmp(claims[i - 1].word, claims[i].word) == 0)
			ini_report_add(reading->report, reading->config->path, claims[i].line,
				"%s: the same as the %s in line %u; every peer needs its own", claims[i].key,
				claims[i - 1].key, claims[i - 1].line);
}

/* Tokens and stock paths are one set: a stock path stands in every proxy's log, a token must not. */
static void check_secrets(struct reading *reading, struct claim *claims)
{
	const struct server_config *config = reading->config;
	size_t count = 0;

	for (size_t i = 0; i < config->client_count; i++) {
		const struct server_client *client = &config->clients[i];

		if (client->token)
			claims[count++] = (struct claim){client->token, "Token", client->token_line};
		if (client->stock_path)
			claims[count++] = (struct claim){client->stock_path, "StockPath", client->stock_path_line};
	}
	complain_claims(reading, claims, count);
}

/* A peer without a name is called after its line, which somebody may have chosen as a name. */
static void check_names(struct reading *reading, struct claim *claims)
{
	const struct server_config *config = reading->config;
	size_t count = 0;

	for (size_t i = 0; i < config->client_count; i++) {
		const struct server_client *client = &config->clients[i];

		if (client->name)
			claims[count++] = (struct claim){
				client->name, "Name", client->name_line ? client->name_line : client->line};
	}
	complain_claims(reading, claims, count);
}

static void check_claims(struct reading *reading)
{
	struct claim *claims = calloc(reading->config->client_count * 2 + 1, sizeof(*claims));

	if (!claims) {
		ini_report_add(reading->report, reading->config->path, 1, "out of memory");
		return;
	}
	check_secrets(reading, claims);
	check_names(reading, claims);
	free(claims);
}

static void client_done(struct server_client *client)
{
	free(client->name);
	secret_free(client->token);
	secret_free(client->stock_path);
}

static void name_client(struct reading *reading, struct server_client *client)
{
	if (!client->name && asprintf(&client->name, "peer-%u", client->line) < 0) {
		client->name = NULL;
		ini_report_add(reading->report, reading->config->path, client->line, "out of memory");
	}
}

/* Only those stay that may come in. */
static void keep_clients(struct reading *reading)
{
	struct server_config *config = reading->config;
	size_t kept = 0;

	for (size_t i = 0; i < config->client_count; i++) {
		struct server_client *client = &config->clients[i];

		if (client->token || client->stock_path)
			config->clients[kept++] = *client;
		else
			client_done(client);
	}
	config->client_count = kept;
	if (kept == 0 && reading->report->count == 0)
		log_warning("config", "%s: nobody can come in through the tunnel: no [Peer] has a Token or a StockPath",
			config->path);
}

static void finish(struct reading *reading)
{
	struct server_config *config = reading->config;

	take_device(reading);
	fill_defaults(reading);
	check_hidden(reading);
	check_certificate(reading);
	check_peers(reading);
	for (size_t i = 0; i < config->client_count; i++)
		name_client(reading, &config->clients[i]);
	check_claims(reading);
	keep_clients(reading);
}

static int read_into(struct reading *reading, const char *path, struct err *err)
{
	int rc;

	reading->config->path = strdup(path);
	if (!reading->config->path)
		return err_set(err, -ENOMEM, "%s: out of memory", path);
	reading->file = (struct tunnel_file){.main_section = "Server",
		.other_section = "Client",
		.other_program = "towpath-client",
		.table = &table,
		.lines = reading->lines,
		.on_peer = open_peer,
		.on_gateway = open_gateway,
		.owner = reading->config,
		.wireguard_path = &reading->config->wireguard_path,
		.wireguard = &reading->config->wireguard};
	rc = tunnel_file_read(&reading->file, path, reading->report, err);
	if (rc < 0)
		return rc;
	tunnel_file_name(path, reading->config->name, reading->report);
	reading->config->main_line = reading->file.main_line;
	if (reading->file.main_line)
		finish(reading);
	return reading->report->count > 0 ? -EINVAL : 0;
}

int server_config_read(const char *path, struct server_config *ret, struct ini_report *report, struct err *err)
{
	struct server_config config = {0};
	struct reading reading = {.config = &config, .report = report};
	int rc = read_into(&reading, path, err);

	if (rc < 0) {
		server_config_done(&config);
		return rc;
	}
	*ret = config;
	return 0;
}

void server_config_done(struct server_config *config)
{
	for (size_t i = 0; i < config->client_count; i++)
		client_done(&config->clients[i]);
	free(config->clients);
	free(config->path);
	free(config->listens);
	free(config->certificate_path);
	free(config->certificate_key_path);
	free(config->trusted_proxies);
	free(config->wireguard_path);
	gateways_done(config->gateways, config->gateway_count);
	wg_config_done(&config->wireguard);
	*config = (struct server_config){0};
}
