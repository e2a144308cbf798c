/* See config.h. Happy path: the walk through the file, or the command line, hands each key to its row's parser here,
 * then defaults are filled in and what only the whole shows is checked, the files that keys point at among it.
 * Every mistake becomes a line of the report; nothing is changed and nobody is connected to.
 */
#include "client/config.h"

#include "client/proxy_environment.h"
#include "common/base/base64.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/secret.h"
#include "common/tunnel/tls.h"
#include "common/wireguard/tunnel_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_PORT 443
#define DEFAULT_CLEARTEXT_PORT 80
#define DEFAULT_WIREGUARD_PORT 51820
#define DEFAULT_PING_INTERVAL_MS 15000
#define PING_INTERVAL_MIN_MS 1000
#define PING_INTERVAL_MAX_MS 3600000
#define TOKEN_LEN_MIN 16
#define TOKEN_LEN_MAX 256
#define HOST_LEN_MAX 255
#define PIN_LEN 32
#define URL_LEN_MAX 512 /* this and what follows: what the worker's settings take */
#define SECRET_LEN_MAX 1024
#define HEADER_LEN_MAX 4096
#define ELEMENTS_MAX 64
#define PEM_MAX (1u << 20) /* a bundle of all public CAs is 220 KB */

static const char default_listen[] = "127.0.0.1:51820";
static const char free_listen[] = "127.0.0.1:0";
static const char default_target[] = "127.0.0.1:51820";
static const char default_congestion_control[] = "bbr";

/* --- one function a key --- */

/* Letters, digits and those of @more, @len of them. */
static bool is_made_of(const char *text, size_t len, const char *more)
{
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)text[i]) && !strchr(more, text[i]))
			return false;
	return true;
}

/* A name of letters, digits, "-", "_" and dots, or an address. */
static bool is_host(const char *text)
{
	struct addr addr;
	size_t len = strlen(text);

	if (len == 0 || len > HOST_LEN_MAX)
		return false;
	if (strchr(text, ':'))
		return addr_parse(text, 1, &addr) == 0;
	return is_made_of(text, len, "-_.") && text[0] != '.' && text[0] != '-' && !strstr(text, "..");
}

/* What stands behind the scheme. Return: NULL, or the complaint. */
static const char *read_authority(const char *text, struct client_server *server)
{
	char authority[URL_LEN_MAX + 1], host[HOST_LEN_MAX + 1];
	size_t len = strcspn(text, "/?#");

	if (text[len] != '\0' && strcmp(text + len, "/") != 0)
		return "has a path; wss://HOST[:PORT] is right, with Path = … for a stock server's prefix";
	if (len > URL_LEN_MAX)
		return "too long; wss://HOST[:PORT] is right";
	memcpy(authority, text, len);
	authority[len] = '\0';
	if (addr_split(authority, host, sizeof(host), &server->port) < 0 || !is_host(host))
		return "not a host, or its port is not 1 to 65535; wss://HOST[:PORT] is right, an IPv6 address in "
		       "brackets";
	if (server->port == 0)
		server->port = server->cleartext ? DEFAULT_CLEARTEXT_PORT : DEFAULT_PORT;
	server->host = strdup(host);
	return server->host ? NULL : "out of memory";
}

static const char *read_url(const char *text, struct client_server *server)
{
	if (strncasecmp(text, "wss://", 6) != 0 && strncasecmp(text, "ws://", 5) != 0)
		return "not a URL of a tunnel; wss://HOST[:PORT] is right";
	server->cleartext = strncasecmp(text, "ws://", 5) == 0;
	return read_authority(text + (server->cleartext ? 5 : 6), server);
}

/* Who reads the connection reads everything but the datagrams themselves, which WireGuard encrypts. */
static void warn_cleartext(const struct client_server *server)
{
	struct addr addr;

	if (server->cleartext && !proxy_is_exempt(NULL, server->host) &&
		!(addr_parse(server->host, 1, &addr) == 0 && addr_is_loopback(&addr)))
		log_warning("config", "%s is not encrypted: who listens on the way can come in as you; wss:// is right",
			server->url);
}

static int parse_server(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	struct client_server server = {0}, *slot;
	const char *complaint;

	if (strchr(text, '@'))
		return key_complain(place, "has a user or password; wss://HOST[:PORT] is right, with BasicAuth = …");
	if (config->server_count == ELEMENTS_MAX)
		return key_complain(place, "more than %d servers; fewer are right", ELEMENTS_MAX);
	complaint = read_url(text, &server);
	if (complaint)
		return key_complain(place, "%s", complaint);
	slot = key_append(&config->servers, &config->server_count, sizeof(*slot), place);
	if (!slot || key_parse_copy(text, &server.url, place) < 0) {
		free(server.host);
		return -EINVAL;
	}
	*slot = server;
	warn_cleartext(slot);
	return 0;
}

static int parse_token(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_word(text, TOKEN_LEN_MIN, &((struct client_config *)owner)->token, place);
}

static int parse_token_file(void *owner, const char *text, const struct key_place *place)
{
	struct key_place unquoted = *place;
	char *token = NULL;
	int rc;

	if (place->key && text[0] != '/')
		return key_complain(place, "not an absolute path; one that begins with / is right");
	if (tunnel_file_read_secret(text, TOKEN_LEN_MAX, &token, place) < 0)
		return -EINVAL;
	unquoted.text = text;
	rc = key_parse_word(token, TOKEN_LEN_MIN, &((struct client_config *)owner)->token, &unquoted);
	secret_free(token);
	return rc;
}

static int parse_pin(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	uint8_t pin[PIN_LEN];
	void *slot;

	if (strncasecmp(text, "sha256//", 8) != 0 ||
		base64_decode(pin, sizeof(pin), text + 8, strlen(text + 8), BASE64_STANDARD) != PIN_LEN)
		return key_complain(place, "not a public key's pin; sha256// and 44 characters of base64 are right, "
					   "as towpath-server prints at its start");
	if (config->pin_count == ELEMENTS_MAX)
		return key_complain(place, "more than %d pins; fewer are right", ELEMENTS_MAX);
	slot = key_append(&config->pins, &config->pin_count, sizeof(pin), place);
	if (!slot)
		return -EINVAL;
	memcpy(slot, pin, sizeof(pin));
	return 0;
}

static int parse_ca(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_path(text, &((struct client_config *)owner)->ca_path, place);
}

static int parse_client_certificate(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_path(text, &((struct client_config *)owner)->client_certificate_path, place);
}

static int parse_client_key(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_path(text, &((struct client_config *)owner)->client_key_path, place);
}

static int parse_server_name(void *owner, const char *text, const struct key_place *place)
{
	if (!is_host(text))
		return key_complain(place, "not a host name or address; for example front.example.net is right");
	return key_parse_copy(text, &((struct client_config *)owner)->server_name, place);
}

static int parse_interception(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_bool(text, &((struct client_config *)owner)->interception, place);
}

/* "127.0.0.1:0": a free port; otherwise 0 is none. */
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

static int parse_listen(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	struct addr addr;

	if (read_listen(text, &addr) < 0)
		return key_complain(place, "not an address with its port; %s is right", default_listen);
	config->listen = addr;
	addr_format(config->listen_text, sizeof(config->listen_text), &addr);
	if (!addr_is_loopback(&addr))
		log_warning("config",
			"Listen = %s: other hosts can send into the tunnel; %s is right for this host alone",
			config->listen_text, default_listen);
	return 0;
}

/* Digits of @base, nothing else. Return: the number, or UINT64_MAX. */
static uint64_t read_mark(const char *digits, int base)
{
	size_t len = strspn(digits, base == 16 ? "0123456789abcdefABCDEF" : "0123456789");

	return len > 0 && len <= 10 && digits[len] == '\0' ? strtoull(digits, NULL, base) : UINT64_MAX;
}

static int parse_fwmark(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	uint64_t number = 0;

	config->fwmark_kind = CLIENT_FWMARK_AUTO;
	if (strcasecmp(text, "auto") == 0)
		return 0;
	if (strcasecmp(text, "off") != 0)
		number = strncasecmp(text, "0x", 2) == 0 ? read_mark(text + 2, 16) : read_mark(text, 10);
	if (number > UINT32_MAX)
		return key_complain(
			place, "neither auto, off nor a mark up to 0xffffffff; for example auto or 0xca6c is right");
	config->fwmark = (uint32_t)number;
	config->fwmark_kind = number ? CLIENT_FWMARK_NUMBER : CLIENT_FWMARK_OFF;
	return 0;
}

/* "%40" → "@". Return: false for a stray "%", and for what is no text then. */
static bool decode_percent(char *text)
{
	char *to = text;

	for (const char *at = text; *at; at++) {
		char hex[3] = {0};
		long value = *at;

		if (*at == '%') {
			if (!isxdigit((unsigned char)at[1]) || !isxdigit((unsigned char)at[2]))
				return false;
			memcpy(hex, at + 1, 2);
			value = strtol(hex, NULL, 16);
			at += 2;
		}
		if (value == 0)
			return false;
		*to++ = (char)value;
	}
	while (*to)
		*to++ = '\0';
	return key_is_text(text);
}

/* "user:password" of a proxy's URL; @text is cut up. */
static bool read_proxy_user(char *text, struct client_proxy *proxy)
{
	char *colon = strchr(text, ':');

	if (colon)
		*colon = '\0';
	proxy->user = strdup(text);
	proxy->password = strdup(colon ? colon + 1 : "");
	return proxy->user && proxy->password && decode_percent(proxy->user) && decode_percent(proxy->password) &&
	       !strchr(proxy->user, ':');
}

static void proxy_done(struct client_proxy *proxy)
{
	free(proxy->host);
	secret_free(proxy->user);
	secret_free(proxy->password);
	*proxy = (struct client_proxy){0};
}

/* Behind "http://"; @text is cut up. Return: NULL, or the complaint. */
static const char *read_proxy_authority(char *text, struct client_proxy *proxy)
{
	char *at = strrchr(text, '@');
	char host[HOST_LEN_MAX + 1];
	size_t len = strlen(text);

	if (len > 0 && text[len - 1] == '/')
		text[len - 1] = '\0';
	if (at) {
		*at = '\0';
		if (!read_proxy_user(text, proxy))
			return "the user or password cannot be read; user:password with other characters as %40 is "
			       "right";
		text = at + 1;
	}
	if (addr_split(text, host, sizeof(host), &proxy->port) < 0 || !is_host(host))
		return "not a proxy; http://[user:password@]HOST:PORT is right";
	if (proxy->port == 0)
		return "the port is missing; http://[user:password@]HOST:PORT is right";
	proxy->host = strdup(host);
	return proxy->host ? NULL : "out of memory";
}

static const char *read_proxy(const char *text, struct client_proxy *ret)
{
	const char *scheme_end = strstr(text, "://");
	struct client_proxy proxy = {0};
	const char *complaint;
	char *copy;

	if (scheme_end && strncasecmp(text, "http://", 7) != 0)
		return "only http:// proxies are known; http://[user:password@]HOST:PORT is right, or none";
	copy = strdup(scheme_end ? text + 7 : text);
	if (!copy)
		return "out of memory";
	complaint = read_proxy_authority(copy, &proxy);
	secret_wipe(copy, strlen(scheme_end ? text + 7 : text));
	free(copy);
	if (complaint)
		proxy_done(&proxy);
	else
		*ret = proxy;
	return complaint;
}

static int parse_proxy(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	const char *complaint;

	if (strcasecmp(text, "none") == 0)
		return 0;
	if (!place->key && strchr(text, '@'))
		return key_complain(place, "everybody can see a password among the arguments; "
					   "https_proxy in the environment is right");
	complaint = read_proxy(text, &config->proxy);
	return complaint ? key_complain(place, "%s", complaint) : 0;
}

static int parse_congestion_control(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	size_t len = strlen(text);

	if (len >= sizeof(config->congestion_control) || !is_made_of(text, len, "_-"))
		return key_complain(place, "not a congestion control of the kernel's; bbr, cubic or another of "
					   "net.ipv4.tcp_available_congestion_control is right");
	memcpy(config->congestion_control, text, len + 1);
	return 0;
}

static int parse_ping_interval(void *owner, const char *text, const struct key_place *place)
{
	return key_parse_span(text, PING_INTERVAL_MIN_MS, PING_INTERVAL_MAX_MS,
		&((struct client_config *)owner)->ping_interval_ms, place);
}

static int parse_mask(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;

	if (strcasecmp(text, "zero") == 0)
		config->mask = CARRIER_MASK_ZERO;
	else if (strcasecmp(text, "random") == 0)
		config->mask = CARRIER_MASK_RANDOM;
	else if (strcasecmp(text, "none") == 0)
		config->mask = CARRIER_MASK_NONE;
	else
		return key_complain(place, "not a way to mask; zero, random or none is right");
	return 0;
}

static int parse_wireguard(void *owner, const char *text, const struct key_place *place)
{
	if (strcasecmp(text, "none") == 0)
		return 0;
	return key_parse_path(text, &((struct client_config *)owner)->wireguard_path, place);
}

/* Characters of a URL's path (RFC 3986 §3.3); one or more segments, without the slashes around them. */
static int parse_path(void *owner, const char *text, const struct key_place *place)
{
	size_t len = strlen(text);

	if (len > SECRET_LEN_MAX || !is_made_of(text, len, "-._~!$&'()*+,;=:@%/") || text[0] == '/' ||
		text[len - 1] == '/')
		return key_complain(place, "not a path prefix; a word without slashes around it, such as v1, is right");
	return key_parse_copy(text, &((struct client_config *)owner)->stock_path, place);
}

static int parse_target(void *owner, const char *text, const struct key_place *place)
{
	struct client_config *config = owner;
	char host[HOST_LEN_MAX + 1];
	uint16_t port = 0;

	if (addr_split(text, host, sizeof(host), &port) < 0 || !is_host(host))
		return key_complain(place, "not a host with its port; %s is right", default_target);
	if (asprintf(&config->stock_target, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
		    port ? port : DEFAULT_WIREGUARD_PORT) < 0) {
		config->stock_target = NULL;
		return key_complain(place, "out of memory");
	}
	return 0;
}

static int parse_basic_auth(void *owner, const char *text, const struct key_place *place)
{
	if (!strchr(text, ':') || strlen(text) > SECRET_LEN_MAX)
		return key_complain(place, "not a user with a password; user:password is right");
	return key_parse_copy(text, &((struct client_config *)owner)->basic_auth, place);
}

/* A field name (RFC 9110 §5.1) of @len characters. */
static bool is_header_name(const char *text, size_t len)
{
	return len > 0 && is_made_of(text, len, "!#$%&'*+-.^_`|~");
}

/* Those that make the upgrade what it is. */
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

static int parse_header(void *owner, const char *text, const struct key_place *quoted)
{
	struct client_config *config = owner;
	struct key_place unquoted = *quoted, *place = &unquoted; /* it may be a cookie */
	size_t name_len = strcspn(text, ":");
	char *copy = NULL;
	void *slot;

	unquoted.text = NULL;
	if (text[name_len] != ':' || !is_header_name(text, name_len) || strlen(text) > HEADER_LEN_MAX)
		return key_complain(place, "not a header; Name: value is right");
	if (is_own_header(text, name_len))
		return key_complain(place, "the tunnel sets %.*s itself; another header is right", (int)name_len, text);
	if (config->header_count == ELEMENTS_MAX)
		return key_complain(place, "more than %d headers; fewer are right", ELEMENTS_MAX);
	if (key_parse_copy(text, &copy, place) < 0)
		return -EINVAL;
	slot = key_append(&config->headers, &config->header_count, sizeof(copy), place);
	if (!slot) {
		secret_free(copy);
		return -EINVAL;
	}
	memcpy(slot, &copy, sizeof(copy));
	return 0;
}

static int parse_jwt_key(void *owner, const char *text, const struct key_place *place)
{
	if (strlen(text) > SECRET_LEN_MAX)
		return key_complain(place, "too long; %d characters at most are right", SECRET_LEN_MAX);
	return key_parse_copy(text, &((struct client_config *)owner)->jwt_key, place);
}

static struct gateway *last_gateway(void *owner)
{
	struct client_config *config = owner;

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
	ROW_SERVER,
	ROW_TOKEN,
	ROW_TOKEN_FILE,
	ROW_PIN,
	ROW_CA,
	ROW_CLIENT_CERTIFICATE,
	ROW_CLIENT_KEY,
	ROW_SERVER_NAME,
	ROW_INTERCEPTION,
	ROW_LISTEN,
	ROW_FWMARK,
	ROW_PROXY,
	ROW_CONGESTION_CONTROL,
	ROW_PING_INTERVAL,
	ROW_MASK,
	ROW_WIREGUARD,
	ROW_PATH,
	ROW_TARGET,
	ROW_BASIC_AUTH,
	ROW_HEADER,
	ROW_JWT_KEY,
	ROW_CLIENT_COUNT, /* those above are [Client]'s */
	ROW_PEER_NAME = ROW_CLIENT_COUNT,
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

_Static_assert(ROW_COUNT <= KEY_ROWS_MAX, "client_config.key_lines has a line for each row");

#define HUB_ONLY "belongs into the hub's file only; take the line out"

static const struct key_row rows[ROW_COUNT] = {
	[ROW_SERVER] = {"Client", "Server", KEY_LIST, parse_server},
	[ROW_TOKEN] = {"Client", "Token", KEY_ONCE, parse_token, .secret = true, .twin = "TokenFile"},
	[ROW_TOKEN_FILE] = {"Client", "TokenFile", KEY_ONCE, parse_token_file, .twin = "Token"},
	[ROW_PIN] = {"Client", "Pin", KEY_LIST, parse_pin},
	[ROW_CA] = {"Client", "CA", KEY_ONCE, parse_ca},
	[ROW_CLIENT_CERTIFICATE] = {"Client", "ClientCertificate", KEY_ONCE, parse_client_certificate},
	[ROW_CLIENT_KEY] = {"Client", "ClientKey", KEY_ONCE, parse_client_key},
	[ROW_SERVER_NAME] = {"Client", "ServerName", KEY_ONCE, parse_server_name},
	[ROW_INTERCEPTION] = {"Client", "Interception", KEY_ONCE, parse_interception},
	[ROW_LISTEN] = {"Client", "Listen", KEY_ONCE, parse_listen},
	[ROW_FWMARK] = {"Client", "FwMark", KEY_ONCE, parse_fwmark},
	[ROW_PROXY] = {"Client", "Proxy", KEY_ONCE, parse_proxy},
	[ROW_CONGESTION_CONTROL] = {"Client", "CongestionControl", KEY_ONCE, parse_congestion_control},
	[ROW_PING_INTERVAL] = {"Client", "PingInterval", KEY_ONCE, parse_ping_interval},
	[ROW_MASK] = {"Client", "Mask", KEY_ONCE, parse_mask},
	[ROW_WIREGUARD] = {"Client", "WireGuard", KEY_ONCE, parse_wireguard},
	[ROW_PATH] = {"Client", "Path", KEY_ONCE, parse_path},
	[ROW_TARGET] = {"Client", "Target", KEY_ONCE, parse_target},
	[ROW_BASIC_AUTH] = {"Client", "BasicAuth", KEY_ONCE, parse_basic_auth, .secret = true},
	[ROW_HEADER] = {"Client", "Header", KEY_REPEATED, parse_header},
	[ROW_JWT_KEY] = {"Client", "JwtKey", KEY_ONCE, parse_jwt_key, .secret = true},
	[ROW_PEER_NAME] = {"Peer", "Name", KEY_REFUSED, .hint = HUB_ONLY},
	[ROW_PEER_TOKEN] = {"Peer", "Token", KEY_REFUSED, .secret = true, .hint = HUB_ONLY},
	[ROW_PEER_STOCK_PATH] = {"Peer", "StockPath", KEY_REFUSED, .secret = true, .hint = HUB_ONLY},
	[ROW_PEER_PRESHARED_KEY] = {"Peer", "PresharedKey", KEY_WATCHED, .secret = true},
	[ROW_PRIVATE_KEY] = {"Interface", "PrivateKey", KEY_WATCHED, .secret = true, .twin = "PrivateKeyFile"},
	[ROW_PRIVATE_KEY_FILE] = {"Interface", "PrivateKeyFile", KEY_ONCE, .twin = "PrivateKey"},
	[ROW_GATEWAY_LAN] = {"Gateway", "Lan", KEY_LIST, parse_gateway_lan},
	[ROW_GATEWAY_INTERFACE] = {"Gateway", "Interface", KEY_ONCE, parse_gateway_interface},
	[ROW_GATEWAY_MASQUERADE] = {"Gateway", "Masquerade", KEY_ONCE, parse_gateway_masquerade},
};

static const struct key_table table = {rows, ROW_COUNT};

const char *const *client_config_options(void)
{
	static char names[ROW_CLIENT_COUNT][KEY_OPTION_MAX];
	static const char *list[ROW_CLIENT_COUNT + 1];

	for (size_t i = 0; i < ROW_CLIENT_COUNT && !list[i]; i++)
		list[i] = key_option_name(names[i], rows[i].key);
	return list;
}

int client_config_option(struct client_config *config, const char *option, const char *value, struct ini_report *report)
{
	enum key_result result =
		key_table_take_option(&table, "Client", config->key_lines, config, option, value, report);

	if (result == KEY_LEFT)
		ini_report_add(report, option, 0, "not an option");
	return result == KEY_TAKEN ? 0 : -EINVAL;
}

/* --- the whole --- */

static bool is_set(const struct client_config *config, enum row row)
{
	return config->key_lines[row] != 0;
}

/* Where a key stands: in the file, or among the options. @path: KEY_OPTION_MAX bytes. */
static struct key_place place_of(
	const struct client_config *config, enum row row, const char *text, char *path, struct ini_report *report)
{
	if (config->path && config->key_lines[row] != KEY_LINE_OPTION)
		return (struct key_place){config->path, config->key_lines[row], rows[row].key, text, report};
	path[0] = path[1] = '-';
	key_option_name(path + 2, rows[row].key);
	return (struct key_place){path, 0, NULL, text, report};
}

const char *client_config_listen_place(const struct client_config *config, char *buf, size_t size)
{
	char option[KEY_OPTION_MAX + 2];
	const struct key_place place = place_of(config, ROW_LISTEN, NULL, option, NULL);

	if (place.key)
		snprintf(buf, size, "%s:%u: %s", place.path, place.line ? place.line : config->main_line, place.key);
	else
		snprintf(buf, size, "%s", place.path);
	return buf;
}

/* A key that is not there is missing in [Client], or on the command line. */
static void complain_missing(
	const struct client_config *config, enum row row, const char *what, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2] = "--";

	key_option_name(option + 2, rows[row].key);
	if (config->path)
		ini_report_add(report, config->path, config->main_line, "%s: missing; %s", rows[row].key, what);
	else
		ini_report_add(report, option, 0, "missing; %s", what);
}

/* Only without a file: what a file says must not depend on who starts it. */
static void take_environment(struct client_config *config, struct ini_report *report)
{
	for (int i = 0; i < ROW_CLIENT_COUNT; i++) {
		char variable[KEY_OPTION_MAX];
		const char *value;
		int twin = rows[i].twin ? key_table_find(&table, "Client", rows[i].twin) : -1;

		if (!rows[i].secret || (twin >= 0 && config->key_lines[twin]))
			continue;
		value = getenv(key_variable_name(variable, rows[i].key));
		if (value && *value)
			key_table_take_variable(&table, i, config->key_lines, config, variable, value, report);
	}
}

static const char *get_either(const char *lower, const char *upper, const char **ret_name)
{
	const char *value = getenv(lower);

	*ret_name = lower;
	if (!value || !*value) {
		value = getenv(upper);
		*ret_name = upper;
	}
	return value && *value ? value : NULL;
}

/* One proxy serves all servers: it is left out only where no_proxy names every one of them. */
static void take_environment_proxy(struct client_config *config, struct ini_report *report)
{
	const char *proxy_name, *no_proxy_name;
	const char *proxy = get_either("https_proxy", "HTTPS_PROXY", &proxy_name);
	const char *no_proxy = get_either("no_proxy", "NO_PROXY", &no_proxy_name);
	const char *complaint;
	size_t exempt = 0;

	for (size_t i = 0; i < config->server_count; i++)
		exempt += proxy_is_exempt(no_proxy, config->servers[i].host);
	if (!proxy || exempt == config->server_count)
		return;
	if (exempt > 0)
		log_warning("config", "%s names some of the servers only; all are reached through the proxy",
			no_proxy_name);
	complaint = read_proxy(proxy, &config->proxy);
	if (complaint)
		ini_report_add(report, proxy_name, 0, "%s; Proxy = none ignores it", complaint);
}

/* The file that describes our device. */
static const char *device_path(const struct client_config *config)
{
	return config->wireguard_path ? config->wireguard_path : config->path;
}

/* Is that its endpoint? It was checked to be one, but may be a name's. */
static bool read_loopback_endpoint(const struct wg_config_peer *peer, struct addr *ret)
{
	return peer->endpoint && addr_parse(peer->endpoint, 0, ret) == 0 && addr_is_loopback(ret);
}

/* With a device of ours any port will do, unless its peer was told one, as wg-quick's files for us are. */
static void default_listen_of_device(struct client_config *config, const struct key_place *place)
{
	char text[ADDR_TEXT_MAX];
	struct addr addr;

	for (size_t i = 0; i < config->wireguard.peer_count; i++)
		if (read_loopback_endpoint(&config->wireguard.peers[i], &addr)) {
			parse_listen(config, addr_format(text, sizeof(text), &addr), place);
			return;
		}
	parse_listen(config, free_listen, place);
}

static void fill_defaults(struct client_config *config, struct ini_report *report)
{
	struct key_place nowhere = {"default", 0, NULL, NULL, report};

	if (!is_set(config, ROW_LISTEN) && config->has_device)
		default_listen_of_device(config, &nowhere);
	else if (!is_set(config, ROW_LISTEN))
		parse_listen(config, default_listen, &nowhere);
	if (!is_set(config, ROW_TARGET))
		parse_target(config, default_target, &nowhere);
	if (!is_set(config, ROW_CONGESTION_CONTROL))
		parse_congestion_control(config, default_congestion_control, &nowhere);
	if (!is_set(config, ROW_PING_INTERVAL))
		config->ping_interval_ms = DEFAULT_PING_INTERVAL_MS;
	if (!is_set(config, ROW_MASK))
		config->mask = CARRIER_MASK_ZERO;
	if (!is_set(config, ROW_PROXY))
		take_environment_proxy(config, report);
}

static void check_required(const struct client_config *config, struct ini_report *report)
{
	if (!is_set(config, ROW_SERVER))
		complain_missing(config, ROW_SERVER, "wss://HOST[:PORT] is right", report);
	if (is_set(config, ROW_TOKEN) || is_set(config, ROW_TOKEN_FILE) || is_set(config, ROW_PATH))
		return;
	if (config->path)
		complain_missing(config, ROW_TOKEN,
			"the one in this client's [Peer] on the hub, here or in TokenFile, is right", report);
	else
		complain_missing(config, ROW_TOKEN_FILE,
			"a file with the token, or TOWPATH_TOKEN in the environment, is right", report);
}

static void take_device(struct client_config *config, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, ROW_WIREGUARD, config->wireguard_path, option, report);

	if (!config->wireguard_path)
		tunnel_file_check_peers(&config->wireguard, config->path, report);
	config->has_device = tunnel_file_take_device(
		config->wireguard_path, config->path, config->name, &config->wireguard, config->device, &place);
	gateway_check(config->gateways, config->gateway_count, config->has_device ? config->device : NULL, config->path,
		report);
	if (config->wireguard.peer_count > 0 && !config->has_device)
		log_warning("config", "%s:%u: [Peer] without [Interface] is of no use", config->path,
			config->wireguard.peers[0].line);
}

static void check_free_port(const struct client_config *config, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, ROW_LISTEN, config->listen_text, option, report);

	if (!config->has_device && config->listen.sa.sa_family && addr_port(&config->listen) == 0)
		key_complain(&place, "only a device of ours is told of a free port; %s is right", default_listen);
}

/* The device's socket takes its port on all addresses. */
static void check_ports(const struct client_config *config, struct ini_report *report)
{
	uint16_t port = config->wireguard.interface.listen_port;

	if (config->has_device && port != 0 && addr_port(&config->listen) == port)
		ini_report_add(report, device_path(config), config->wireguard.interface.listen_port_line,
			"ListenPort: '%u': Listen has this port, %s; another one is right, or no ListenPort", port,
			config->listen_text);
}

/* One mark for the device and the link, or a full tunnel would swallow the link. */
static void check_fwmark(const struct client_config *config, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2], text[16] = "off";
	struct key_place place = place_of(config, ROW_FWMARK, text, option, report);

	if (config->fwmark)
		snprintf(text, sizeof(text), "0x%x", config->fwmark);
	if (!config->has_device || config->fwmark_kind == CLIENT_FWMARK_AUTO ||
		config->fwmark == config->wireguard.interface.fwmark)
		return;
	key_complain(&place, "the tunnel carries the mark of our own device; FwMark in [Interface] is right");
}

/* Is a peer reached through the tunnel: without an endpoint of its own, or with our port as one? */
static bool is_reached(const struct client_config *config, const struct wg_config_peer *peer)
{
	struct addr endpoint;

	return !peer->endpoint || (read_loopback_endpoint(peer, &endpoint) && addr_equal(&endpoint, &config->listen));
}

/* Mostly the Endpoint of before is still there. */
static void warn_unreached(const struct client_config *config)
{
	const struct wg_config *wireguard = &config->wireguard;

	if (!config->has_device)
		return;
	for (size_t i = 0; i < wireguard->peer_count; i++)
		if (is_reached(config, &wireguard->peers[i]))
			return;
	if (wireguard->peer_count == 0)
		log_warning("config", "%s:%u: [Interface]: no [Peer] is there to be reached through the tunnel",
			device_path(config), wireguard->interface.line);
	else
		log_warning("config",
			"%s:%u: Endpoint: '%s': WireGuard goes there by itself, and nothing through the tunnel; take "
			"the line out of the hub's [Peer]",
			device_path(config), wireguard->peers[0].endpoint_line, wireguard->peers[0].endpoint);
}

/* NULL where there is no such path, or after a complaint. */
static char *read_pem(
	const struct client_config *config, enum row row, const char *path, size_t max, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, row, NULL, option, report);
	struct err err = {""};
	char *text = NULL;

	if (path && file_read_text(path, max, &text, &err) < 0)
		key_complain(&place, "%s; the path of a readable PEM file is right", err.text);
	return text;
}

/* Is it what OpenSSL takes? Nothing but the one that is asked about is in @plan. */
static void check_plan(
	const struct client_config *config, enum row row, const struct tls_client_setup *plan, struct ini_report *report)
{
	char option[KEY_OPTION_MAX + 2];
	struct key_place place = place_of(config, row, NULL, option, report);
	struct err err = {""};
	SSL_CTX *context = NULL;

	if (tls_client_context(&context, plan, &err) < 0)
		key_complain(&place, "%s", err.text);
	SSL_CTX_free(context);
}

static void check_ca(const struct client_config *config, struct ini_report *report)
{
	char *pem = read_pem(config, ROW_CA, config->ca_path, PEM_MAX, report);

	if (pem)
		check_plan(config, ROW_CA, &(struct tls_client_setup){.ca_pem = pem}, report);
	free(pem);
}

static void check_client_certificate(const struct client_config *config, struct ini_report *report)
{
	bool has_certificate = is_set(config, ROW_CLIENT_CERTIFICATE), has_key = is_set(config, ROW_CLIENT_KEY);
	char *pem = read_pem(config, ROW_CLIENT_CERTIFICATE, config->client_certificate_path, PEM_MAX, report);
	char *key = read_pem(config, ROW_CLIENT_KEY, config->client_key_path, PEM_MAX, report);

	if (has_certificate && !has_key)
		complain_missing(config, ROW_CLIENT_KEY, "ClientCertificate needs its key", report);
	if (has_key && !has_certificate)
		complain_missing(config, ROW_CLIENT_CERTIFICATE, "ClientKey needs its certificate", report);
	if (pem && key)
		check_plan(config, ROW_CLIENT_CERTIFICATE,
			&(struct tls_client_setup){.certificate_pem = pem, .key_pem = key, .has_pins = true}, report);
	if (key)
		tunnel_file_warn_readable_path(config->client_key_path);
	free(pem);
	secret_free(key);
}

/* From a URL there is no file to be called after. */
static void name_after_host(struct client_config *config)
{
	if (!config->path && config->server_count > 0)
		snprintf(config->name, sizeof(config->name), "%.63s", config->servers[0].host);
}

int client_config_finish(struct client_config *config, struct ini_report *report)
{
	if (!config->path)
		take_environment(config, report);
	name_after_host(config);
	check_required(config, report);
	take_device(config, report);
	fill_defaults(config, report);
	check_free_port(config, report);
	check_ports(config, report);
	check_fwmark(config, report);
	if (report->count == 0)
		warn_unreached(config);
	check_ca(config, report);
	check_client_certificate(config, report);
	return report->count > 0 ? -EINVAL : 0;
}

static int open_peer(void *owner, const struct key_place *place)
{
	struct client_config *config = owner;

	if (!config->wireguard_path)
		return 0;
	return key_complain(place, "the device is described in %s; its peers belong there", config->wireguard_path);
}

static int open_gateway(void *owner, const struct key_place *place)
{
	struct client_config *config = owner;

	return gateway_open(&config->gateways, &config->gateway_count, place);
}

int client_config_read(const char *path, struct client_config *ret, struct ini_report *report, struct err *err)
{
	struct tunnel_file file = {.main_section = "Client",
		.other_section = "Server",
		.other_program = "towpath-server",
		.table = &table,
		.lines = ret->key_lines,
		.on_peer = open_peer,
		.on_gateway = open_gateway,
		.owner = ret,
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

static void servers_done(struct client_config *config)
{
	for (size_t i = 0; i < config->server_count; i++) {
		free(config->servers[i].url);
		free(config->servers[i].host);
	}
	free(config->servers);
}

static void headers_done(struct client_config *config)
{
	for (size_t i = 0; i < config->header_count; i++)
		secret_free(config->headers[i]);
	free(config->headers);
}

void client_config_done(struct client_config *config)
{
	servers_done(config);
	headers_done(config);
	proxy_done(&config->proxy);
	free(config->path);
	secret_free(config->token);
	free(config->pins);
	free(config->ca_path);
	free(config->client_certificate_path);
	free(config->client_key_path);
	free(config->server_name);
	free(config->wireguard_path);
	gateways_done(config->gateways, config->gateway_count);
	secret_free(config->stock_path);
	free(config->stock_target);
	secret_free(config->basic_auth);
	secret_free(config->jwt_key);
	wg_config_done(&config->wireguard);
	memset(config, 0, sizeof(*config));
}
