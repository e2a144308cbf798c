/* See config_keys.h.
 *
 * One parser a key; the common ones are key_set_…() of key_table.h. A parser that refuses a value adds one line to
 * the report and leaves the configuration as it was; nothing is connected to, and only TokenFile opens a file.
 *
 * The same parsers read options of the command line (--server for Server); @place->key is NULL then. Some are
 * stricter there: arguments can be read by every user of the host, so no password may be among them.
 *
 * Complaints quote the value, but never a secret: rows with .secret, and Header, whose value may be a cookie.
 */
#include "client/config_keys.h"

#include "client/proxy.h"
#include "common/base/base64.h"
#include "common/base/log.h"
#include "common/base/secret.h"
#include "common/base/text.h"
#include "common/wireguard/tunnel_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_PORT 443
#define DEFAULT_CLEARTEXT_PORT 80
#define DEFAULT_WIREGUARD_PORT 51820
#define PING_INTERVAL_MIN_MS 1000    /* more often is load without use */
#define PING_INTERVAL_MAX_MS 3600000 /* no middlebox keeps a silent connection for longer */
#define TOKEN_LEN_MIN 16	     /* 96 bits of base64url, which nobody guesses over the network */
#define TOKEN_LEN_MAX 256
#define HOST_LEN_MAX 255
#define PIN_LEN 32 /* SHA-256 */

/* --- Server --- */

/* Parse the part behind the scheme. Return: NULL, or the complaint. */
static const char *read_authority(const char *text, struct client_settings_server *server)
{
	char authority[CLIENT_SETTINGS_URL_MAX + 1], host[HOST_LEN_MAX + 1];
	size_t len = strcspn(text, "/?#");

	if (text[len] != '\0' && strcmp(text + len, "/") != 0)
		return "has a path; expected wss://HOST[:PORT], with Path = … for a stock server's prefix";
	if (len > CLIENT_SETTINGS_URL_MAX)
		return "too long; expected wss://HOST[:PORT]";
	memcpy(authority, text, len);
	authority[len] = '\0';
	if (addr_split(authority, host, sizeof(host), &server->port) < 0 || !addr_is_host(host))
		return "not a host, or its port is not 1 to 65535; expected wss://HOST[:PORT], an IPv6 address in "
		       "brackets";
	if (server->port == 0)
		server->port = server->cleartext ? DEFAULT_CLEARTEXT_PORT : DEFAULT_PORT;
	server->host = strdup(host);
	return server->host ? NULL : "out of memory";
}

/* "wss://vpn.example.org" or "ws://localhost:8080". One line may be of several servers, so each call adds one. */
static int parse_server(void *owner, const char *text, const struct key_place *place)
{
	struct client_settings *settings = &((struct client_config *)owner)->settings;
	struct client_settings_server server = {0}, *slot;
	const char *complaint;

	if (strchr(text, '@'))
		return key_complain(place, "has a user or password; expected wss://HOST[:PORT], with BasicAuth = …");
	server.cleartext = strncasecmp(text, "ws://", 5) == 0;
	if (!server.cleartext && strncasecmp(text, "wss://", 6) != 0)
		return key_complain(place, "not a URL of a tunnel; expected wss://HOST[:PORT]");
	complaint = read_authority(text + (server.cleartext ? 5 : 6), &server);
	if (complaint)
		return key_complain(place, "%s", complaint);
	slot = key_append(&settings->servers, &settings->server_count, sizeof(*slot), place);
	if (!slot || key_copy(text, &server.url, place) < 0) {
		free(server.host);
		return -EINVAL;
	}
	*slot = server;
	/* On localhost nothing can be overheard. Elsewhere WireGuard encrypts the datagrams, but the token is
	 * readable. */
	if (server.cleartext && !proxy_is_exempt(NULL, server.host))
		log_warning("config",
			"%s is not encrypted: another host on the way can read the token and come in as you; expected "
			"wss://",
			server.url);
	return 0;
}

/* --- how the server is known, and how it knows us --- */

/* The token is read once, now: a later change of that file counts at the next reload. */
static int parse_token_file(void *owner, const char *text, const struct key_place *place)
{
	struct key_place named = *place;
	char *token = NULL;
	int rc;

	if (place->key && text[0] != '/')
		return key_complain(place, "not an absolute path; expected one that begins with /");
	if (tunnel_file_read_secret(text, TOKEN_LEN_MAX, &token, place) < 0)
		return -EINVAL;
	named.text = text; /* the file's name, not the token */
	rc = key_set_word(owner, token, &named);
	secret_free(token);
	return rc;
}

/* SHA-256 of the server's public key (SubjectPublicKeyInfo, RFC 7469 §2.4), as curl writes it: "sha256//" and
 * base64. */
static int parse_pin(void *owner, const char *text, const struct key_place *place)
{
	struct client_settings *settings = &((struct client_config *)owner)->settings;
	uint8_t pin[PIN_LEN];
	void *slot;

	if (strncasecmp(text, "sha256//", 8) != 0 ||
		base64_decode(pin, sizeof(pin), text + 8, strlen(text + 8), BASE64_STANDARD) != PIN_LEN)
		return key_complain(place, "not a public key's pin; expected sha256// and 44 characters of base64, "
					   "as towpath-server prints at its start");
	slot = key_append(&settings->pins, &settings->pin_count, sizeof(pin), place);
	if (!slot)
		return -EINVAL;
	memcpy(slot, pin, sizeof(pin));
	return 0;
}

/* For SNI and the check of the certificate, where that is not the name that is dialled. */
static int parse_server_name(void *owner, const char *text, const struct key_place *place)
{
	if (!addr_is_host(text))
		return key_complain(place, "not a host name or address; expected for example front.example.net");
	return key_set_text(owner, text, place);
}

/* --- the local port and the way out --- */

/* "127.0.0.1:0" is a free port; port 0 is refused by addr_parse(). */
static int read_listen(const char *text, struct addr *ret)
{
	size_t len = strlen(text);
	char host[ADDR_TEXT_MAX];

	if (len < 2 || len >= sizeof(host) || strcmp(text + len - 2, ":0") != 0 || addr_parse(text, 1, ret) == 0)
		return addr_parse(text, DEFAULT_WIREGUARD_PORT, ret);
	snprintf(host, sizeof(host), "%.*s", (int)len - 2, text);
	if (addr_parse(host, 1, ret) < 0)
		return -EINVAL;
	addr_set_port(ret, 0);
	return 0;
}

/* Anyone who can send to the port can send into the tunnel, where only WireGuard's keys protect: hence the warning. */
static int parse_listen(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	struct addr addr;

	if (read_listen(text, &addr) < 0)
		return key_complain(place, "not an address with its port; expected for example " CLIENT_DEFAULT_LISTEN);
	if (!addr_can_listen(&addr))
		return key_complain(place, "no program can listen there; expected for example " CLIENT_DEFAULT_LISTEN);
	config->listen = addr;
	addr_format(config->listen_text, sizeof(config->listen_text), &addr);
	if (!addr_is_loopback(&addr))
		log_warning("config",
			"Listen = %s: other hosts can send into the tunnel; expected " CLIENT_DEFAULT_LISTEN
			" for this host alone",
			config->listen_text);
	return 0;
}

/* Mark 0 is no mark, so 0 means off. */
static int parse_fwmark(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	bool is_hex = strncasecmp(text, "0x", 2) == 0;
	uint64_t mark = 0;

	config->fwmark_kind = CLIENT_FWMARK_AUTO;
	if (strcasecmp(text, "auto") == 0)
		return 0;
	if (strcasecmp(text, "off") != 0 &&
		text_parse_number(is_hex ? text + 2 : text, is_hex ? 16 : 10, UINT32_MAX, &mark) < 0)
		return key_complain(
			place, "neither auto, off nor a mark up to 0xffffffff; expected for example auto or 0xca6c");
	config->fwmark = (uint32_t)mark;
	config->fwmark_kind = mark ? CLIENT_FWMARK_NUMBER : CLIENT_FWMARK_OFF;
	return 0;
}

/* As an option a URL with a password is refused: arguments can be read by every user of the host. */
static int parse_proxy(void *owner, const char *text, const struct key_place *place)
{
	const char *complaint;

	if (strcasecmp(text, "none") == 0)
		return 0;
	if (!place->key && strchr(text, '@'))
		return key_complain(place, "everybody can see a password among the arguments; "
					   "expected https_proxy in the environment");
	complaint = proxy_parse(text, &((struct client_config *)owner)->settings);
	return complaint ? key_complain(place, "%s", complaint) : 0;
}

/* Whether this kernel has the algorithm shows when a socket is opened; its absence is no mistake of the file. */
static int parse_congestion_control(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	size_t len = strlen(text);

	if (len >= sizeof(config->congestion_control) || !text_is_made_of(text, len, "_-"))
		return key_complain(place, "not a congestion control of the kernel's; expected bbr, cubic or another "
					   "of net.ipv4.tcp_available_congestion_control");
	memcpy(config->congestion_control, text, len + 1);
	return 0;
}

/* --- stock servers --- */

/* Characters of a URL's path (RFC 3986 §3.3); one or more segments, without the slashes around them. */
static int parse_path(void *owner, const char *text, const struct key_place *place)
{
	size_t len = strlen(text);

	if (len > CLIENT_SETTINGS_SECRET_MAX || !text_is_made_of(text, len, "-._~!$&'()*+,;=:@%/") || text[0] == '/' ||
		text[len - 1] == '/')
		return key_complain(place, "not a path prefix; expected a word without slashes around it, such as v1");
	return key_set_text(owner, text, place);
}

/* A name is allowed: the server resolves it, not this host. */
static int parse_target(void *owner, const char *text, const struct key_place *place)
{
	struct client_settings *settings = &((struct client_config *)owner)->settings;
	char host[HOST_LEN_MAX + 1];
	uint16_t port = 0;

	if (addr_split(text, host, sizeof(host), &port) < 0 || !addr_is_host(host))
		return key_complain(place, "not a host with its port; expected for example 127.0.0.1:51820");
	settings->stock_target_port = port ? port : DEFAULT_WIREGUARD_PORT;
	return key_copy(host, &settings->stock_target_host, place);
}

/* RFC 7617: the user has no colon, so that the first one separates; the password may be empty. */
static int parse_basic_auth(void *owner, const char *text, const struct key_place *place)
{
	if (!strchr(text, ':') || strlen(text) > CLIENT_SETTINGS_SECRET_MAX)
		return key_complain(place, "not a user with a password; expected user:password");
	return key_set_text(owner, text, place);
}

/* Headers that make the request an upgrade, or say where it ends; a second one would break it. */
static bool is_own_header(const char *text, size_t len)
{
	static const char *const own[] = {"Connection", "Upgrade", "Content-Length", "Transfer-Encoding",
		"Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions",
		NULL};

	for (size_t i = 0; own[i]; i++)
		if (strlen(own[i]) == len && strncasecmp(own[i], text, len) == 0)
			return true;
	return false;
}

/* The name is a token of RFC 9110 §5.1. */
static int parse_header(void *owner, const char *text, const struct key_place *quoted)
{
	struct client_settings *settings = &((struct client_config *)owner)->settings;
	struct key_place unquoted = *quoted, *place = &unquoted; /* the value may be a cookie */
	size_t name_len = strcspn(text, ":");
	char **slot;

	unquoted.text = NULL;
	if (text[name_len] != ':' || name_len == 0 || !text_is_made_of(text, name_len, "!#$%&'*+-.^_`|~") ||
		strlen(text) > CLIENT_SETTINGS_HEADER_MAX)
		return key_complain(place, "not a header; expected Name: value");
	if (is_own_header(text, name_len))
		return key_complain(place, "the tunnel sets %.*s itself; expected another header", (int)name_len, text);
	slot = key_append(&settings->headers, &settings->header_count, sizeof(*slot), place);
	if (slot && key_copy(text, slot, place) == 0)
		return 0;
	settings->header_count -= slot != NULL;
	return -EINVAL;
}

/* --- the tables --- */

#define AT(field) offsetof(struct client_config, field)

/* In the order of enum carrier_mask: key_set_choice() writes the index. */
static const char *const masks[] = {
	[CARRIER_MASK_NONE] = "none", [CARRIER_MASK_ZERO] = "zero", [CARRIER_MASK_RANDOM] = "random", NULL};

static const struct key_row rows[] = {
	{"Server", KEY_LIST, parse_server, .max = CLIENT_SETTINGS_LIST_MAX},
	{"Token", KEY_ONCE, key_set_word, AT(settings.token), TOKEN_LEN_MIN, .secret = true, .twin = "TokenFile"},
	{"TokenFile", KEY_ONCE, parse_token_file, AT(settings.token), TOKEN_LEN_MIN, .twin = "Token"},
	{"Pin", KEY_LIST, parse_pin, .max = CLIENT_SETTINGS_LIST_MAX},
	{"CA", KEY_ONCE, key_set_path, AT(ca_path)},
	{"ClientCertificate", KEY_ONCE, key_set_path, AT(client_certificate_path)},
	{"ClientKey", KEY_ONCE, key_set_path, AT(client_key_path)},
	{"ServerName", KEY_ONCE, parse_server_name, AT(settings.server_name)},
	{"Interception", KEY_ONCE, key_set_bool, AT(settings.interception)},
	{"Listen", KEY_ONCE, parse_listen},
	{"FwMark", KEY_ONCE, parse_fwmark},
	{"Proxy", KEY_ONCE, parse_proxy},
	{"CongestionControl", KEY_ONCE, parse_congestion_control, .preset = "bbr"},
	{"PingInterval", KEY_ONCE, key_set_span, AT(settings.ping_interval_ms), PING_INTERVAL_MIN_MS,
		PING_INTERVAL_MAX_MS, .preset = "15s"},
	{"Mask", KEY_ONCE, key_set_choice, AT(settings.mask), .words = masks, .preset = "zero"},
	{"WireGuard", KEY_ONCE, key_set_path_or_none, AT(wireguard_path)},
	{"Path", KEY_ONCE, parse_path, AT(settings.stock_path)},
	{"Target", KEY_ONCE, parse_target, .preset = "127.0.0.1:51820"},
	{"BasicAuth", KEY_ONCE, parse_basic_auth, AT(settings.basic_auth), .secret = true},
	{"Header", KEY_REPEATED, parse_header, .max = CLIENT_SETTINGS_LIST_MAX},
	{"Status", KEY_ONCE, status_key_parse, AT(status)},
	{"JwtKey", KEY_ONCE, key_set_text, AT(settings.jwt_key), .max = CLIENT_SETTINGS_SECRET_MAX, .secret = true},
};
#define ROW_COUNT (sizeof(rows) / sizeof(*rows))
const struct key_table client_config_table = {"Client", rows, ROW_COUNT};

_Static_assert(ROW_COUNT <= KEY_ROWS_MAX, "client_config.key_lines has a line for each row");

/* Named, so that a user who copies a [Peer] of the hub is not told "unknown". */
#define HUB_ONLY "belongs in the hub's file only; take the line out"

static const struct key_row peer_rows[] = {
	{"Name", KEY_REFUSED, .hint = HUB_ONLY},
	{"Token", KEY_REFUSED, .secret = true, .hint = HUB_ONLY},
	{"StockPath", KEY_REFUSED, .secret = true, .hint = HUB_ONLY},
};
const struct key_table client_config_peer_table = {"Peer", peer_rows, sizeof(peer_rows) / sizeof(*peer_rows)};

const char *const *client_config_options(void)
{
	static char names[ROW_COUNT][KEY_OPTION_MAX];
	static const char *list[ROW_COUNT + 1];

	for (size_t i = 0; i < ROW_COUNT && !list[i]; i++)
		list[i] = key_option_name(names[i], rows[i].key);
	return list;
}

int client_config_option(struct client_config *config, const char *option, const char *value, struct ini_report *report)
{
	const struct key_reader reader = {&client_config_table, config, config->key_lines};
	enum key_result result = key_take_option(&reader, option, value, report);

	if (result == KEY_LEFT)
		ini_report_add(report, option, 0, "not an option");
	return result == KEY_TAKEN ? 0 : -EINVAL;
}
