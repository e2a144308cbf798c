/* See config.h.
 *
 * Theory of operation. The walk through the file hands each key to its row's parser here, and then finish() looks at
 * the whole, in an order that matters:
 *
 *    take_device()        is a device ours? its name, and the peers of WireGuard = PATH
 *    fill_defaults()      of Target and Hidden they depend on that
 *    check_…()            keys against each other, and the files that they name
 *    part_publishes()     those with Port for the host, those with ServerName for the worker
 *    name_by_place()      a name for each client; then names, tokens and stock paths must differ
 *    keep_clients()       drops the peers that may not come in
 *
 * Every mistake becomes a line of the report, and the reading goes on, so that a user sees all of them at once.
 * Nothing is changed on the host, and no connection is made.
 *
 * A [Peer] has two sides. To WireGuard it is a peer of the device, with a PublicKey and AllowedIPs. To the tunnel it
 * is a client that may come in, with a Token or a StockPath. Most are both; they are one entry in .clients and one in
 * .wireguard.peers, at the same index until keep_clients(), and are tied together by the PublicKey from then on.
 */
#include "server/config.h"

#include "common/base/base64.h"
#include "common/base/dropins.h"
#include "common/base/log.h"
#include "common/base/place.h"
#include "common/base/secret.h"
#include "common/base/text.h"
#include "common/host/full_tunnel.h"
#include "common/wireguard/tunnel_file.h"
#include "server/certificate.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define DEFAULT_PORT 443
#define DEFAULT_WIREGUARD_PORT 51820
#define MAX_SESSIONS_MAX 65535
#define PING_INTERVAL_MIN_MS 1000    /* more often is load without use */
#define PING_INTERVAL_MAX_MS 3600000 /* no middlebox keeps a silent connection for longer */
#define NAME_LEN_MAX 63
#define DROPIN_NAME_MAX 40 /* as part of a name */
#define TOKEN_LEN_MIN 16 /* 96 bits of base64url, which nobody guesses over the network */
#define STOCK_PATH_LEN_MAX 256

/* --- parsers of one key --- */

/* "203.0.113.7:443" with TLS, or "ws://127.0.0.1:8080" in the clear. A line that bind() would refuse beside another
 * one is refused here, so that `check` finds it. The two families do not meet: listener.c binds [::] to IPv6 alone. */
static int parse_listen(void *owner, const char *text, const struct key_place *place)
{
	struct server_config *config = owner;
	bool cleartext = strncasecmp(text, "ws://", 5) == 0;
	struct server_listen listen = {.cleartext = cleartext, .line = place->line};
	struct server_listen *slot;
	struct prefix host;

	if (addr_parse(cleartext ? text + 5 : text, cleartext ? 0 : DEFAULT_PORT, &listen.addr) < 0)
		return key_complain(place,
			"not an address with its port; expected for example 0.0.0.0:443, [::]:443 or "
			"ws://127.0.0.1:8080");
	if (!addr_can_listen(&listen.addr))
		return key_complain(place,
			"no program can listen there; expected an address of this host, as in 203.0.113.7:443 or "
			"[fe80::1%%eth0]:443, or 0.0.0.0:443 and [::]:443 for all");
	host = prefix_of_host(&listen.addr);
	if (cleartext && !addr_is_loopback(&listen.addr) && !prefix_is_private(&host))
		return key_complain(place,
			"cleartext is for a reverse proxy, not for the Internet; expected ws://127.0.0.1:%u, or with "
			"TrustedProxies this host's address in the proxy's private network, as in ws://172.18.0.1:%u",
			addr_port(&listen.addr), addr_port(&listen.addr));
	for (size_t i = 0; i < config->listen_count; i++) {
		const struct server_listen *other = &config->listens[i];

		if (addr_equal(&other->addr, &listen.addr))
			return key_complain(place, "given already, in %s; expected once",
				PLACE_REFER(place->path, other->line, place->line));
		if (addr_port(&other->addr) == addr_port(&listen.addr) &&
			other->addr.sa.sa_family == listen.addr.sa.sa_family &&
			(addr_is_any(&other->addr) || addr_is_any(&listen.addr)))
			return key_complain(place,
				"%s in %s and this have one port, and one of them is for all addresses; expected "
				"another port, or no line for all",
				other->text, PLACE_REFER(place->path, other->line, place->line));
	}
	addr_format(listen.text, sizeof(listen.text), &listen.addr);
	slot = key_append(&config->listens, &config->listen_count, sizeof(*slot), place);
	if (!slot)
		return -EINVAL;
	*slot = listen;
	return 0;
}

/* For invitations. */
static int parse_public_name(void *owner, const char *text, const struct key_place *place)
{
	char host[256];
	uint16_t port;

	if (addr_split(text, host, sizeof(host), &port) < 0 || !addr_is_host(host))
		return key_complain(place, "neither a name nor an address; expected one that leads to this host, as in "
					   "vps.example.org or [2001:db8::1]:8443");
	return key_copy(text, &((struct server_config *)owner)->public_name, place);
}

/* Another host's address would let every holder of a token into that network. */
static int parse_target(void *owner, const char *text, const struct key_place *place)
{
	struct server_config *config = owner;
	struct addr addr;

	if (addr_parse(text, DEFAULT_WIREGUARD_PORT, &addr) < 0)
		return key_complain(
			place, "not an address; expected WireGuard's port on this host, as in 127.0.0.1:51820");
	if (!addr_is_loopback(&addr))
		return key_complain(place,
			"not a loopback address; expected WireGuard's port on this host, as in 127.0.0.1:51820 (for "
			"WireGuard in a container: docker run -p 127.0.0.1:%u:%u/udp …)",
			(unsigned)DEFAULT_WIREGUARD_PORT, (unsigned)addr_port(&addr));
	config->target = addr;
	return 0;
}

/* A network of all hosts is refused: any of them could name an address as its own, and use a listener in the clear. */
static int parse_trusted_proxy(void *owner, const char *text, const struct key_place *place)
{
	struct server_settings *settings = &((struct server_config *)owner)->settings;
	struct prefix prefix, *slot;
	char host[ADDR_TEXT_MAX];
	uint16_t port = 0;
	int rc = prefix_parse(text, &prefix);

	/* An IPv6 address in brackets, or with a zone, as Listen may have it. The zone means nothing here. */
	if (rc == -EINVAL && addr_split(text, host, sizeof(host), &port) == 0 && port == 0 && strchr(host, ':')) {
		host[strcspn(host, "%")] = '\0';
		rc = prefix_parse(host, &prefix);
	}
	if (rc == -ERANGE)
		return key_complain(place, "has no length of a network; expected for example 172.18.0.0/16");
	if (rc < 0)
		return key_complain(place,
			"neither an address nor a network, without a port; expected for example 127.0.0.1 or "
			"172.18.0.0/16");
	if (prefix.bits == 0)
		return key_complain(place, "trusts every host; expected the proxy's address or network");
	slot = key_append(&settings->trusted_proxies, &settings->trusted_proxy_count, sizeof(*slot), place);
	if (!slot)
		return -EINVAL;
	*slot = prefix;
	return 0;
}

/* One word or more, as a stock client's --http-upgrade-path-prefix may have. Our own clients ask for /v1/…: a stock
 * client there could not be told from them. */
static int parse_stock_path(void *owner, const char *text, const struct key_place *place)
{
	size_t len = strlen(text); /* not 0: key_parse() refuses an empty value */

	if (strcmp(text, "v1") == 0)
		return key_complain(place, "v1 is the path of our own clients; expected another word");
	if (*text == '/' || text[len - 1] == '/' || strstr(text, "//"))
		return key_complain(place, "has a '/' too many; expected a word, or words with one '/' between them");
	if (len > STOCK_PATH_LEN_MAX)
		return key_complain(place, "too long, %zu characters; expected at most %d", len, STOCK_PATH_LEN_MAX);
	if (!text_is_made_of(text, len, "_-/"))
		return key_complain(
			place, "has a character that is not allowed; expected letters, digits, '_', '-' and '/'");
	return key_copy(text, &((struct server_client *)owner)->stock_path, place);
}

/* As clock_format_utc() writes it. */
static int parse_time(void *owner, const char *text, const struct key_place *place)
{
	struct tm tm = {0};
	const char *end = strptime(text, "%Y-%m-%dT%H:%M:%SZ", &tm);

	if (!end || *end)
		return key_complain(place, "not a time; expected for example 2026-11-21T02:45:00Z");
	*(int64_t *)((char *)owner + place->row->offset) = timegm(&tm);
	return 0;
}

/* --- the tables --- */

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
	ROW_STATUS,
	ROW_PUBLIC_NAME,
	ROW_COUNT,
};

#define AT(field) offsetof(struct server_config, field)

static const struct key_row rows[ROW_COUNT] = {
	[ROW_LISTEN] = {"Listen", KEY_LIST, parse_listen, .max = SERVER_SETTINGS_LISTENERS_MAX,
		.preset = "0.0.0.0:443, [::]:443"},
	[ROW_CERTIFICATE] = {"Certificate", KEY_ONCE, key_set_path, AT(certificate_path)},
	[ROW_CERTIFICATE_KEY] = {"CertificateKey", KEY_ONCE, key_set_path, AT(certificate_key_path)},
	[ROW_TARGET] = {"Target", KEY_ONCE, parse_target},
	[ROW_MAX_CLIENTS] = {"MaxClients", KEY_ONCE, key_set_number, AT(settings.max_clients), 1,
		SERVER_SETTINGS_CLIENTS_MAX, .preset = "10000"},
	[ROW_MAX_SESSIONS] = {"MaxSessionsPerClient", KEY_ONCE, key_set_number, AT(settings.max_sessions_per_client), 1,
		MAX_SESSIONS_MAX, .preset = "8"},
	[ROW_TRUSTED_PROXIES] = {"TrustedProxies", KEY_LIST, parse_trusted_proxy, .max = SERVER_SETTINGS_PROXIES_MAX},
	[ROW_WIREGUARD] = {"WireGuard", KEY_ONCE, key_set_path_or_none, AT(wireguard_path)},
	[ROW_PING_INTERVAL] = {"PingInterval", KEY_ONCE, key_set_span, AT(settings.ping_interval_ms),
		PING_INTERVAL_MIN_MS, PING_INTERVAL_MAX_MS, .preset = "15s"},
	[ROW_WEBSITE] = {"Website", KEY_REFUSED, .hint = "not known to this version; take the line out"},
	[ROW_PUBLIC_NAME] = {"PublicName", KEY_ONCE, parse_public_name, AT(public_name)},
	[ROW_HIDDEN] = {"Hidden", KEY_ONCE, key_set_bool, AT(hidden)},
	[ROW_STATUS] = {"Status", KEY_ONCE, status_key_parse, AT(status)},
};
static const struct key_table table = {"Server", rows, ROW_COUNT};

#undef AT
#define AT(field) offsetof(struct server_client, field)

/* Towpath's own keys of a [Peer]; WireGuard's are in wg_config.c. */
static const struct key_row peer_rows[] = {
	{"Name", KEY_ONCE, key_set_text, AT(name), .max = NAME_LEN_MAX, .line_offset = AT(name_line)},
	{"Token", KEY_ONCE, key_set_word, AT(token), TOKEN_LEN_MIN, .line_offset = AT(token_line), .secret = true},
	{"StockPath", KEY_ONCE, parse_stock_path, AT(stock_path), 1, .line_offset = AT(stock_path_line),
		.secret = true},
	/* `add` writes the first two, and the hub the others when the client joins. */
	{"Invited", KEY_ONCE, parse_time, AT(invited_s)},
	{"InvitedUntil", KEY_ONCE, parse_time, AT(invited_until_s)},
	{"Joined", KEY_ONCE, parse_time, AT(joined_s)},
	{"JoinedFrom", KEY_ONCE, key_set_text, AT(joined_from), .max = NAME_LEN_MAX},
};
static const struct key_table peer_table = {"Peer", peer_rows, sizeof(peer_rows) / sizeof(*peer_rows)};

/* --- the whole --- */

struct reading {
	struct server_config *config;
	struct tunnel_file file;
	unsigned lines[ROW_COUNT];
	struct ini_report *report;
};

/* For a complaint about a key of [Server]. @text: its value, NULL: it is not quoted. */
static struct key_place place_of(const struct reading *reading, enum row row, const char *text)
{
	return (struct key_place){
		reading->config->path, reading->lines[row], rows[row].key, text, reading->report, NULL};
}

/* Every [Peer] is a client for now; keep_clients() drops those without Token and StockPath. */
static void *open_peer(void *owner, const struct key_place *place)
{
	struct server_config *config = owner;
	struct server_client *client = key_append(&config->clients, &config->client_count, sizeof(*client), place);

	if (client)
		client->line = place->line;
	return client;
}

static bool may_wait(const void *peer)
{
	const struct server_client *client = peer;

	return client->token_line != 0;
}

bool server_client_waits(const struct server_client *client)
{
	return client->invited_s && client->token && !client->has_public_key;
}

static void *open_gateway(void *owner, const struct key_place *place)
{
	struct server_config *config = owner;

	return gateway_open(&config->gateways, &config->gateway_count, place);
}

/* As open_gateway() and open_claim(): returns the owner of the section's keys, or NULL after a complaint. */
static void *open_publish(void *owner, const struct key_place *place)
{
	struct server_config *config = owner;

	return publish_open(&config->publishes, &config->publish_count, place);
}

static void *open_claim(void *owner, const struct key_place *place)
{
	struct server_config *config = owner;

	return claim_open(&config->claims, &config->claim_count, place);
}

/* A device of ours answers at one port, which the default target is. */
static void fill_defaults(struct reading *reading)
{
	struct server_config *config = reading->config;
	struct key_place place = place_of(reading, ROW_TARGET, NULL);
	uint16_t *port = &config->wireguard.interface.listen_port;
	char target[ADDR_TEXT_MAX];

	key_fill_presets(&reading->file.main, reading->report);
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

/* Each [Peer] of this file, before those of WireGuard = PATH take their place. */
static void note_public_keys(struct server_config *config)
{
	for (size_t i = 0; i < config->client_count; i++) {
		const struct wg_config_peer *peer = &config->wireguard.peers[i];
		struct server_client *client = &config->clients[i];

		client->has_public_key = peer->has_public_key;
		client->public_key_line = peer->public_key_line;
		memcpy(client->public_key, peer->public_key, sizeof(client->public_key));
		client->prefixes = calloc(peer->allowed_ip_count + 1, sizeof(*client->prefixes));
		for (size_t j = 0; client->prefixes && j < peer->allowed_ip_count; j++)
			client->prefixes[client->prefix_count++] = peer->allowed_ips[j].prefix;
	}
}

/* Compared as bytes: base64 has one spelling only, but blanks may stand in it. */
static bool has_peer(const struct wg_config *wireguard, const uint8_t public_key[WG_CONFIG_KEY_LEN])
{
	for (size_t i = 0; i < wireguard->peer_count; i++)
		if (wireguard->peers[i].has_public_key &&
			memcmp(wireguard->peers[i].public_key, public_key, WG_CONFIG_KEY_LEN) == 0)
			return true;
	return false;
}

/* With WireGuard = PATH, a client belongs to the peer of PATH that has the same PublicKey. */
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
			"PublicKey: '%s': no [Peer] of %s has it; expected the key of one of them", text,
			config->wireguard_path);
	}
}

/* Without [Interface] the peers of the file look like those of a device, but no device is made. */
static void warn_no_device(const struct server_config *config)
{
	for (size_t i = 0; i < config->wireguard.peer_count && !config->has_device; i++) {
		const struct wg_config_peer *peer = &config->wireguard.peers[i];

		if (peer->allowed_ip_count == 0)
			continue;
		log_warning("config", "%s: AllowedIPs: without [Interface] no device is made that could have them",
			PLACE(config->path, peer->allowed_ips[0].line));
		return;
	}
}

/* Is a device ours, and which peers does it have? Its gateways and its full tunnel are checked as soon as that is
 * known. */
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
	full_tunnel_check(
		&config->wireguard, config->wireguard_path ? config->wireguard_path : config->path, reading->report);
}

/* A hidden device's UDP socket is in a network namespace that only the tunnel leads into: it cannot send to an
 * Endpoint, and Target must be its port. */
static void check_hidden(struct reading *reading)
{
	const struct server_config *config = reading->config;
	struct key_place place = place_of(reading, ROW_HIDDEN, config->hidden ? "yes" : "no");
	struct key_place target_place = place_of(reading, ROW_TARGET, config->target_text);
	const char *wireguard_path = config->wireguard_path ? config->wireguard_path : config->path;
	char right[ADDR_TEXT_MAX];

	if (reading->lines[ROW_HIDDEN] && !config->has_device)
		key_complain(&place, "needs a device of ours; expected [Interface] in this file, or WireGuard = PATH");
	if (!config->hidden || !config->has_device)
		return;
	for (size_t i = 0; i < config->wireguard.peer_count; i++)
		if (config->wireguard.peers[i].endpoint)
			ini_report_add(reading->report, wireguard_path, config->wireguard.peers[i].endpoint_line,
				"Endpoint: '%s': a hidden device reaches nobody by itself; expected Hidden = no in "
				"[Server], or no Endpoint",
				config->wireguard.peers[i].endpoint);
	snprintf(right, sizeof(right), "127.0.0.1:%u", config->wireguard.interface.listen_port);
	if (reading->lines[ROW_TARGET] && config->target.sa.sa_family && strcmp(config->target_text, right) != 0)
		key_complain(
			&target_place, "our hidden device answers at %s; expected that address, or Hidden = no", right);
}

/* One of our own names: where it was published, our clients would be sent away. */
static void check_own_name(void *owner, const char *name)
{
	struct reading *reading = owner;
	const struct server_config *config = reading->config;

	for (size_t i = 0; i < config->publish_count; i++)
		for (size_t j = 0; j < config->publishes[i].name_count; j++) {
			const struct server_name *published = &config->publishes[i].names[j];

			if (strcasecmp(published->text, name) == 0)
				ini_report_add(reading->report, config->path, published->line,
					"ServerName: '%s': is our own, %s; expected a name of the server behind To",
					published->text,
					config->certificate_path ? "by Certificate" : "this host's name");
		}
}

/* The files are read and matched here, so that `check` finds what would stop `up`. */
static void check_certificate(struct reading *reading)
{
	struct server_config *config = reading->config;
	unsigned line = reading->lines[ROW_CERTIFICATE], key_line = reading->lines[ROW_CERTIFICATE_KEY];
	struct key_place place = place_of(reading, ROW_CERTIFICATE, NULL);
	char *certificate = NULL, *key = NULL;
	struct err err = {""};

	if (line && !key_line)
		ini_report_add(reading->report, config->path, reading->file.main_line,
			"CertificateKey: missing; Certificate in %s needs its key",
			PLACE_REFER(config->path, line, reading->file.main_line));
	if (key_line && !line)
		ini_report_add(reading->report, config->path, reading->file.main_line,
			"Certificate: missing; CertificateKey in %s needs its certificate",
			PLACE_REFER(config->path, key_line, reading->file.main_line));
	if (!config->certificate_path && !config->certificate_key_path)
		certificate_each_name(NULL, check_own_name, reading);
	if (!config->certificate_path || !config->certificate_key_path)
		return;
	if (certificate_load(config->certificate_path, config->certificate_key_path, &certificate, &key, &err) < 0) {
		key_complain(&place,
			"%s; expected a PEM chain and, as CertificateKey, the key of its first certificate", err.text);
		return;
	}
	certificate_warn_dates(config->certificate_path, certificate);
	certificate_each_name(certificate, check_own_name, reading);
	free(certificate);
	secret_free(key);
	tunnel_file_warn_readable_path(config->certificate_key_path);
}

/* In the clear, a token can be read on the way and used: so only the proxy may connect, and it has to be known. */
static void check_cleartext(struct reading *reading)
{
	const struct server_config *config = reading->config;

	for (size_t i = 0; i < config->listen_count && !reading->lines[ROW_TRUSTED_PROXIES]; i++)
		if (config->listens[i].cleartext && !addr_is_loopback(&config->listens[i].addr))
			ini_report_add(reading->report, config->path, config->listens[i].line,
				"Listen: 'ws://%s': other hosts reach it; expected TrustedProxies = the proxy's "
				"address or network, as in 172.18.0.0/16, too: then only that may connect",
				config->listens[i].text);
}

/* The page has a port of its own. */
static void check_status(struct reading *reading)
{
	struct server_config *config = reading->config;
	struct key_place place = place_of(reading, ROW_STATUS, config->status.text);

	if (status_key_check(&config->status, config->has_device ? &config->wireguard : NULL, &place) < 0)
		return;
	for (size_t i = 0; i < config->listen_count; i++) {
		struct addr any = config->listens[i].addr;

		if (addr_port(&any) == addr_port(&config->status.addr) &&
			any.sa.sa_family == config->status.addr.sa.sa_family &&
			(addr_is_any(&any) || addr_equal(&any, &config->status.addr)))
			key_complain(&place, "Listen = %s has this port; expected another one, as in 127.0.0.1:9586",
				config->listens[i].text);
	}
}

/* Our own ports would be heard of by nobody any more. */
static void check_publish_port(struct reading *reading, const struct publish *publish)
{
	const struct server_config *config = reading->config;
	uint16_t wireguard_port = config->wireguard.interface.listen_port;
	struct addr any = {.sa = {.sa_family = publish->service.to.sa.sa_family}};
	char port[PUBLISH_TEXT_MAX];

	for (size_t i = 0; i < config->listen_count; i++)
		if (publish_has(&publish->service, IPPROTO_TCP, &config->listens[i].addr,
			    addr_port(&config->listens[i].addr)))
			ini_report_add(reading->report, config->path, publish->port_line,
				"Port: '%s': Listen = %s is ours; expected ServerName in its place, by which TLS servers "
				"share our port, or another port here or in Listen",
				publish_format_port(port, &publish->service), config->listens[i].text);
	if (config->has_device && !config->hidden && publish_has(&publish->service, IPPROTO_UDP, &any, wireguard_port))
		ini_report_add(reading->report, config->path, publish->port_line,
			"Port: '%s': WireGuard's own ListenPort is %u; expected another port here, or there",
			publish_format_port(port, &publish->service), wireguard_port);
}

/* Names are read in TLS only, and only where we end it, or could. */
static void check_publish_name(struct reading *reading, const struct publish *publish)
{
	const struct server_config *config = reading->config;

	for (size_t i = 0; i < config->listen_count; i++)
		if (!config->listens[i].cleartext)
			return;
	if (publish->name_line)
		ini_report_add(reading->report, config->path, publish->name_line,
			"ServerName: '%s': needs TLS on our own port, and every Listen is ws://, behind a reverse proxy "
			"that has ended it; expected Listen = 0.0.0.0:443, or the name in that proxy's configuration",
			publish->name_count > 0 ? publish->names[0].text : "");
}

/* The host publishes ports, the worker names: each gets its own part of the list, in the order of the file. */
static void part_publishes(struct server_config *config)
{
	size_t count = config->publish_count, ports = 0;

	for (size_t i = 0; i < count; i++) {
		const struct publish publish = config->publishes[i];

		if (publish.name_count > 0)
			continue;
		memmove(&config->publishes[ports + 1], &config->publishes[ports], (i - ports) * sizeof(publish));
		config->publishes[ports++] = publish;
	}
	config->publish_count = ports;
	config->named_count = count - ports;
}

/* A [Peer] must be a peer of WireGuard, or admit a client, or both. */
static void check_peers(struct reading *reading)
{
	const struct server_config *config = reading->config;

	for (size_t i = 0; i < config->client_count; i++) {
		const struct server_client *client = &config->clients[i];

		if (!client->public_key_line && !client->token_line && !client->stock_path_line)
			ini_report_add(reading->report, config->path, client->line,
				"Token: missing; a [Peer] without PublicKey needs a Token or a StockPath");
		else if (!client->public_key_line && client->prefix_count > 0 && !client->invited_s)
			log_warning("config", "%s: AllowedIPs: lead nowhere without a PublicKey, which only a client of "
					      "'towpath-server add' brings by itself; expected one",
				PLACE(config->path, client->line));
	}
}

/* A word that must be unique among the peers. */
struct own_word {
	const char *word;
	const char *key;
	unsigned line;
};

static int compare_words(const void *a, const void *b)
{
	const struct own_word *x = a, *y = b;
	int order = strcmp(x->word, y->word);

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

/* Sorted, equal words are neighbours; the later line is the one that is reported. */
static void complain_words(struct reading *reading, struct own_word *words, size_t count)
{
	qsort(words, count, sizeof(*words), compare_words);
	for (size_t i = 1; i < count; i++)
		if (strcmp(words[i - 1].word, words[i].word) == 0)
			ini_report_add(reading->report, reading->config->path, words[i].line,
				"%s: the same as the %s in %s; expected one of its own for every peer", words[i].key,
				words[i - 1].key,
				PLACE_REFER(reading->config->path, words[i - 1].line, words[i].line));
}

/* Tokens and stock paths are one set: a stock path can be read in the log of every proxy on the way, so it must not be
 * a token at the same time. */
static void check_secrets(struct reading *reading, struct own_word *words)
{
	const struct server_config *config = reading->config;
	size_t count = 0;

	for (size_t i = 0; i < config->client_count; i++) {
		const struct server_client *client = &config->clients[i];

		if (client->token)
			words[count++] = (struct own_word){client->token, "Token", client->token_line};
		if (client->stock_path)
			words[count++] = (struct own_word){client->stock_path, "StockPath", client->stock_path_line};
	}
	complain_words(reading, words, count);
}

/* A peer without a name is called peer-LINE, which another peer may have as its Name. */
static void check_names(struct reading *reading, struct own_word *words)
{
	const struct server_config *config = reading->config;
	size_t count = 0;

	for (size_t i = 0; i < config->client_count; i++) {
		const struct server_client *client = &config->clients[i];

		if (client->name)
			words[count++] = (struct own_word){
				client->name, "Name", client->name_line ? client->name_line : client->line};
	}
	complain_words(reading, words, count);
}

/* There is room for two words of each client: Token and StockPath, or only its name. */
static void check_words(struct reading *reading)
{
	struct own_word *words = calloc(reading->config->client_count * 2 + 1, sizeof(*words));

	if (!words) {
		ini_report_add(reading->report, reading->config->path, 1, "out of memory");
		return;
	}
	check_secrets(reading, words);
	check_names(reading, words);
	free(words);
}

/* "peer-12", by its line; "peer-laptop-1" in a drop-in that is called laptop.conf. */
static void name_by_place(struct reading *reading, struct server_client *client)
{
	const char *path = reading->config->path, *slash;
	unsigned line = place_split(&path, client->line);
	size_t len = dropins_stem_len(path);

	slash = memrchr(path, '/', len);
	len -= slash ? (size_t)(slash + 1 - path) : 0;
	if (path == reading->config->path || len > DROPIN_NAME_MAX || !text_is_made_of(slash + 1, len, "_=+.-@"))
		len = 0;
	if (asprintf(&client->name, len ? "peer-%.*s-%u" : "peer-%.*s%u", (int)len, len ? slash + 1 : "",
		    len ? line : client->line) >= 0)
		return;
	client->name = NULL;
	ini_report_add(reading->report, reading->config->path, client->line, "out of memory");
}

static void client_done(struct server_client *client)
{
	free(client->name);
	free(client->joined_from);
	free(client->prefixes);
	secret_free(client->token);
	secret_free(client->stock_path);
}

/* A peer of the device has a key. Until then its AllowedIPs lead nowhere. */
static void drop_waiting_peers(struct server_config *config)
{
	struct wg_config *wireguard = &config->wireguard;
	size_t kept = 0;

	for (size_t i = 0; i < wireguard->peer_count; i++) {
		struct wg_config_peer *peer = &wireguard->peers[i];

		if (peer->has_public_key || peer->allowed_ip_count == 0)
			wireguard->peers[kept++] = *peer;
		else
			free(peer->allowed_ips);
	}
	secret_wipe(&wireguard->peers[kept], (wireguard->peer_count - kept) * sizeof(*wireguard->peers));
	wireguard->peer_count = kept;
}

/* Drop the peers that may not come in: the rest of the program knows clients only. */
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

/* The order matters: the device decides defaults, checks see both, and dropping clients comes last since their [Peer]
 * was checked too. */
static void finish(struct reading *reading)
{
	struct server_config *config = reading->config;

	take_device(reading);
	fill_defaults(reading);
	check_hidden(reading);
	check_certificate(reading);
	check_cleartext(reading);
	check_status(reading);
	publish_check(config->publishes, config->publish_count, config->has_device ? &config->wireguard : NULL,
		config->claims, config->claim_count,
		config->path, reading->report);
	for (size_t i = 0; i < config->publish_count; i++) {
		check_publish_port(reading, &config->publishes[i]);
		check_publish_name(reading, &config->publishes[i]);
	}
	part_publishes(config);
	claim_check(config->claims, config->claim_count, config->has_device ? &config->wireguard : NULL, config->device,
		config->path, reading->report);
	check_peers(reading);
	for (size_t i = 0; i < config->client_count; i++)
		if (!config->clients[i].name)
			name_by_place(reading, &config->clients[i]);
	check_words(reading);
	drop_waiting_peers(config);
	keep_clients(reading);
}

/* On failure the caller frees what was read so far. Return: as server_config_read(). */
static int read_into(struct reading *reading, const char *path, struct err *err)
{
	int rc;

	reading->config->path = strdup(path);
	if (!reading->config->path)
		return err_set(err, -ENOMEM, "%s: out of memory", path);
	reading->file = (struct tunnel_file){.other_section = "Client",
		.other_program = "towpath-client",
		.main = {&table, reading->config, reading->lines},
		.peer = {&peer_table, open_peer},
		.may_wait = may_wait,
		.gateway = {&gateway_table, open_gateway},
		.publish = {&publish_table, open_publish},
		.claim = {&claim_table, open_claim},
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

void server_config_done(void *owner)
{
	struct server_config *config = owner;

	for (size_t i = 0; i < config->client_count; i++)
		client_done(&config->clients[i]);
	free(config->clients);
	free(config->path);
	free(config->listens);
	free(config->public_name);
	free(config->certificate_path);
	free(config->certificate_key_path);
	free(config->settings.trusted_proxies); /* the only one of the settings that is memory */
	free(config->wireguard_path);
	gateways_done(config->gateways, config->gateway_count);
	publishes_done(config->publishes, config->publish_count + config->named_count);
	claims_free(config->claims, config->claim_count);
	wg_config_done(&config->wireguard);
	*config = (struct server_config){0};
}
