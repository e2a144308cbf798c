/* See config.h. Happy path: the walk through the file, or the command line, hands each key to its row of config_keys.c,
 * then defaults are filled in, and keys are checked against each other and against the files that they name. Every
 * mistake becomes a line of the report; nothing is changed on the host, and no connection is made. */
#include "client/config.h"

#include "client/proxy.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/place.h"
#include "common/base/secret.h"
#include "common/host/full_tunnel.h"
#include "common/tunnel/tls.h"
#include "common/wireguard/tunnel_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FREE_LISTEN "127.0.0.1:0"
#define PEM_MAX (1u << 20) /* a bundle of all public CAs is 220 KB */

static struct key_reader reader_of(struct client_config *config)
{
	return (struct key_reader){&client_config_table, config, config->key_lines};
}

/* The line that has set the key; 0: none has. @key: one of the table's. */
static unsigned line_of(const struct client_config *config, const char *key)
{
	return config->key_lines[key_table_find(&client_config_table, key)];
}

/* --- places for complaints --- */

/* The position of a key: in the file, or among the options. An option has no line; a key not given has line 0.
 * @path: KEY_OPTION_MAX + 2 bytes, for "--option". */
static struct key_place place_of(
	const struct client_config *config, const char *key, const char *text, char *path, struct ini_report *report)
{
	unsigned line = line_of(config, key);

	if (config->path && line != KEY_LINE_OPTION)
		return (struct key_place){config->path, line, key, text, report, NULL};
	path[0] = path[1] = '-';
	key_option_name(path + 2, key);
	return (struct key_place){path, 0, NULL, text, report, NULL};
}

const char *client_config_listen_place(const struct client_config *config, char *buf, size_t size)
{
	char option[KEY_OPTION_MAX + 2];
	const struct key_place place = place_of(config, "Listen", NULL, option, NULL);

	if (place.key)
		snprintf(buf, size, "%s: %s", PLACE(place.path, place.line ? place.line : config->main_line), place.key);
	else
		snprintf(buf, size, "%s", place.path);
	return buf;
}

/* Complain that a key is missing in [Client], or on the command line. */
static void complain_missing(
	const struct client_config *config, const char *key, const char *what, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2] = "--";

	key_option_name(option + 2, key);
	if (config->path)
		ini_report_add(report, config->path, config->main_line, "%s: missing; %s", key, what);
	else
		ini_report_add(report, option, 0, "missing; %s", what);
}

/* --- defaults --- */

/* Only without a file: the meaning of a file must not depend on who starts the program. */
static void take_environment(struct client_config *config, struct ini_report *report)
{
	const struct key_reader reader = reader_of(config);

	for (size_t i = 0; i < client_config_table.count; i++) {
		const struct key_row *row = &client_config_table.rows[i];
		char variable[KEY_OPTION_MAX];
		const char *value;

		if (!row->secret || (row->twin && line_of(config, row->twin)))
			continue;
		value = getenv(key_variable_name(variable, row->key));
		if (value && *value)
			key_take_variable(&reader, (int)i, variable, value, report);
	}
}

/* The file that describes our device. */
static const char *device_path(const struct client_config *config)
{
	return config->wireguard_path ? config->wireguard_path : config->path;
}

/* A device of ours can use any port, unless its peer names one, as wg-quick files made for wstunnel do. */
static void default_listen(struct client_config *config, struct ini_report *report)
{
	const struct key_row *row = &client_config_table.rows[key_table_find(&client_config_table, "Listen")];
	const struct key_place place = {.path = "default", .report = report};
	char text[ADDR_TEXT_MAX] = CLIENT_DEFAULT_LISTEN;
	struct addr addr;
	size_t i = 0;

	if (config->has_device) {
		while (i < config->wireguard.peer_count &&
			!wg_config_loopback_endpoint(&config->wireguard.peers[i], &addr))
			i++;
		if (i < config->wireguard.peer_count)
			addr_format(text, sizeof(text), &addr);
		else
			snprintf(text, sizeof(text), "%s", FREE_LISTEN);
	}
	key_parse(row, config, text, &place);
}

static void fill_defaults(struct client_config *config, struct ini_report *report)
{
	const struct key_reader reader = reader_of(config);

	key_fill_presets(&reader, report);
	config->settings.takes_any_target = !line_of(config, "Target");
	config->settings.has_public_key = config->has_device && config->wireguard.interface.has_private_key &&
					  wg_config_public_key(config->wireguard.interface.private_key,
						  config->settings.public_key);
	if (!line_of(config, "Listen"))
		default_listen(config, report);
	if (!line_of(config, "Proxy"))
		proxy_take_environment(&config->settings, report);
}

/* --- checks of the whole: all of them run, and each adds its lines to the report --- */

/* A stock server (Path) may let clients in without a token of ours. */
static void check_required(const struct client_config *config, struct ini_report *report)
{
	if (!line_of(config, "Server"))
		complain_missing(config, "Server", "expected wss://HOST[:PORT]", report);
	if (line_of(config, "Token") || line_of(config, "TokenFile") || line_of(config, "Path"))
		return;
	if (config->path)
		complain_missing(config, "Token",
			"expected the one in this client's [Peer] on the hub, here or in TokenFile", report);
	else
		complain_missing(config, "TokenFile",
			"expected a file with the token, or TOWPATH_TOKEN in the environment", report);
}

/* Find out whether there is a device of ours, and its name: most checks and the default of Listen depend on it. */
static void take_device(struct client_config *config, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, "WireGuard", config->wireguard_path, option, report);

	if (!config->wireguard_path)
		tunnel_file_check_peers(&config->wireguard, config->path, report);
	config->has_device = tunnel_file_take_device(
		config->wireguard_path, config->path, config->name, &config->wireguard, config->device, &place);
	gateway_check(config->gateways, config->gateway_count, config->has_device ? config->device : NULL, config->path,
		report);
	full_tunnel_check(&config->wireguard, device_path(config), report);
	if (config->wireguard.peer_count > 0 && !config->has_device)
		log_warning("config", "%s: [Peer] without [Interface] is of no use",
			PLACE(config->path, config->wireguard.peers[0].line));
}

/* Our own device is told which port was chosen for port 0; another program cannot learn it. */
static void check_free_port(const struct client_config *config, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, "Listen", config->listen_text, option, report);

	if (!config->has_device && config->listen.sa.sa_family && addr_port(&config->listen) == 0)
		key_complain(&place, "only a device of ours is told of a free port; expected " CLIENT_DEFAULT_LISTEN);
}

/* The device's socket occupies its port on all addresses. */
static void check_ports(const struct client_config *config, struct ini_report *report)
{
	uint16_t port = config->wireguard.interface.listen_port;

	if (config->has_device && port != 0 && addr_port(&config->listen) == port)
		ini_report_add(report, device_path(config), config->wireguard.interface.listen_port_line,
			"ListenPort: '%u': Listen has this port, %s; expected another one, or no ListenPort", port,
			config->listen_text);
}

/* The device and the link must have one mark, or a full tunnel would swallow the link. */
static void check_fwmark(const struct client_config *config, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2], text[16] = "off";
	struct key_place place = place_of(config, "FwMark", text, option, report);

	if (config->fwmark)
		snprintf(text, sizeof(text), "0x%x", config->fwmark);
	if (!config->has_device || config->fwmark_kind == CLIENT_FWMARK_AUTO ||
		config->fwmark == config->wireguard.interface.fwmark)
		return;
	key_complain(&place, "the tunnel carries the mark of our own device; expected FwMark in [Interface]");
}

static void check_status(struct client_config *config, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, "Status", config->status.text, option, report);

	status_key_check(&config->status, config->has_device ? &config->wireguard : NULL, &place);
}

/* Usually a file from before the tunnel, whose Endpoint is still the hub's UDP address. */
static void warn_unreached(const struct client_config *config)
{
	const struct wg_config *wireguard = &config->wireguard;

	if (!config->has_device)
		return;
	for (size_t i = 0; i < wireguard->peer_count; i++)
		if (wg_config_is_through(wireguard, &wireguard->peers[i], &config->listen))
			return;
	if (wireguard->peer_count == 0)
		log_warning("config", "%s: [Interface]: no [Peer] is there to be reached through the tunnel",
			PLACE(device_path(config), wireguard->interface.line));
	else
		log_warning("config",
			"%s: Endpoint: '%s': WireGuard goes there by itself, and nothing through the tunnel; take "
			"the line out of the hub's [Peer]",
			PLACE(device_path(config), wireguard->peers[0].endpoint_line), wireguard->peers[0].endpoint);
}

/* @path: may be NULL. Return: NULL if there is none, and after a complaint. */
static char *read_pem(const struct client_config *config, const char *key, const char *path, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, key, NULL, option, report);
	struct err err = {""};
	char *text = NULL;

	if (path && file_read_text(path, PEM_MAX, &text, &err) < 0)
		key_complain(&place, "%s; expected the path of a readable PEM file", err.text);
	return text;
}

/* Complain if OpenSSL refuses what is in @setup: the one certificate, key or CA that @key names. */
static void check_tls(const struct client_config *config, const char *key, const struct tls_client_setup *setup,
	struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, key, NULL, option, report);
	struct err err = {""};
	SSL_CTX *context = NULL;

	if (tls_client_context(&context, setup, &err) < 0)
		key_complain(&place, "%s", err.text);
	SSL_CTX_free(context);
}

static void check_ca(const struct client_config *config, struct ini_report *report)
{
	char *pem = read_pem(config, "CA", config->ca_path, report);

	if (pem)
		check_tls(config, "CA", &(struct tls_client_setup){.ca_pem = pem}, report);
	free(pem);
}

/* A certificate and its key are useless without each other, so a missing one is reported. */
static void check_client_certificate(const struct client_config *config, struct ini_report *report)
{
	bool has_certificate = line_of(config, "ClientCertificate"), has_key = line_of(config, "ClientKey");
	char *pem = read_pem(config, "ClientCertificate", config->client_certificate_path, report);
	char *key = read_pem(config, "ClientKey", config->client_key_path, report);

	if (has_certificate && !has_key)
		complain_missing(config, "ClientKey", "ClientCertificate needs its key", report);
	if (has_key && !has_certificate)
		complain_missing(config, "ClientCertificate", "ClientKey needs its certificate", report);
	if (pem && key)
		check_tls(config, "ClientCertificate",
			&(struct tls_client_setup){.certificate_pem = pem, .key_pem = key, .has_pins = true}, report);
	if (key)
		tunnel_file_warn_readable_path(config->client_key_path);
	free(pem);
	secret_free(key);
}

/* The order matters: the environment may set keys, the device decides defaults, and checks see both. */
int client_config_finish(struct client_config *config, struct ini_report *report)
{
	if (!config->path)
		take_environment(config, report);
	/* without a file the URL's host gives the tunnel its name */
	if (!config->path && config->settings.server_count > 0)
		snprintf(config->name, sizeof(config->name), "%.63s", config->settings.servers[0].host);
	check_required(config, report);
	take_device(config, report);
	fill_defaults(config, report);
	check_free_port(config, report);
	check_ports(config, report);
	check_fwmark(config, report);
	check_status(config, report);
	if (report->count == 0)
		warn_unreached(config);
	check_ca(config, report);
	check_client_certificate(config, report);
	return report->count > 0 ? -EINVAL : 0;
}

static void *open_peer(void *owner, const struct key_place *place)
{
	struct client_config *config = owner;

	if (!config->wireguard_path)
		return config;
	key_complain(place, "the device is described in %s; its peers belong there", config->wireguard_path);
	return NULL;
}

static void *open_gateway(void *owner, const struct key_place *place)
{
	struct client_config *config = owner;

	return gateway_open(&config->gateways, &config->gateway_count, place);
}

/* Without a [Client] section the other checks would only report missing keys. */
int client_config_read(const char *path, struct client_config *ret, struct ini_report *report, struct err *err)
{
	struct tunnel_file file = {.other_section = "Server",
		.other_program = "towpath-server",
		.main = reader_of(ret),
		.peer = {&client_config_peer_table, open_peer},
		.gateway = {&gateway_table, open_gateway},
		.wireguard_path = &ret->wireguard_path,
		.wireguard = &ret->wireguard};
	int rc;

	ret->path = strdup(path);
	if (!ret->path)
		return err_set(err, -ENOMEM, "%s: out of memory", path);
	rc = tunnel_file_read(&file, path, report, err);
	if (rc < 0)
		return rc;
	tunnel_file_name(path, ret->name, report);
	ret->main_line = file.main_line;
	if (file.main_line)
		client_config_finish(ret, report);
	return report->count > 0 ? -EINVAL : 0;
}

/* Some texts of the settings are secrets; record_done() wipes all of them. */
void client_config_done(void *owner)
{
	struct client_config *config = owner;

	client_settings_done(&config->settings);
	free(config->path);
	free(config->ca_path);
	free(config->client_certificate_path);
	free(config->client_key_path);
	free(config->wireguard_path);
	gateways_done(config->gateways, config->gateway_count);
	wg_config_done(&config->wireguard);
	memset(config, 0, sizeof(*config));
}
