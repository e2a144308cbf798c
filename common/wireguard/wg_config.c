/* Read the keys of wg(8) and wg-quick(8) into plain data.
 *
 * Happy path: the caller opens a section, offers each of its entries to the table, and lets the whole be checked at the
 * end. A parser that refuses a value adds one line to the report and leaves what was there; secret keys are never part
 * of it.
 *
 * wg takes blanks out of a value wherever they stand, wg-quick does not: the row says which of the two owns a key. Some
 * things are refused that both programs take, because they are always a mistake: a key twice where one is meant; a port
 * or mark out of range (wg cuts a port to 16 bits); the name of a service as port; two peers with one key or with one
 * allowed IP (in the kernel the later silently wins); an allowed IP that is taken away (-10.0.0.0/8 of newer wg, which
 * an older kernel would add).
 */
#include "common/wireguard/wg_config.h"

#include "common/base/base64.h"
#include "common/base/place.h"
#include "common/base/secret.h"
#include "common/base/text.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_TEXT_LEN 44	      /* base64 of 32 bytes */
#define MTU_MIN 576	      /* what every IPv4 host must take, RFC 791 §3.1 */
#define MTU_MIN_IPV6 1280     /* RFC 8200 §5: a device with less has no IPv6 */
#define HOST_NAME_LEN_MAX 253 /* RFC 1035 §2.3.4, as text */
#define DNS_LABEL_MAX 63      /* RFC 1035 §2.3.4 */
#define ITEM_MAX 256	      /* longer than everything that can be right in a list */
#define TABLE_DEFAULT 253     /* rt_tables(5), as are the next two */
#define TABLE_MAIN 254
#define TABLE_LOCAL 255

/* Decimal, or hexadecimal behind "0x"; wg does not know "0X". */
static int parse_number_or_hex(const char *text, uint64_t *ret)
{
	bool is_hex = strncmp(text, "0x", 2) == 0;

	return text_parse_number(is_hex ? text + 2 : text, is_hex ? 16 : 10, UINT32_MAX, ret);
}

/* Copy the next part of a list, without blanks around it; one that is too long is cut, and still too long to be right.
 * *list: what follows, NULL behind the last part. Return: false where there is none left. */
static bool next_item(const char **list, const char *separators, char item[ITEM_MAX])
{
	const char *text = *list;
	size_t len;

	if (!text)
		return false;
	len = strcspn(text, separators);
	*list = text[len] ? text + len + 1 : NULL;
	while (len > 0 && isspace((unsigned char)*text)) {
		text++;
		len--;
	}
	while (len > 0 && isspace((unsigned char)text[len - 1]))
		len--;
	snprintf(item, ITEM_MAX, "%.*s", (int)len, text);
	return true;
}

/* @command: prints such a key. */
static int decode_key(const char *text, uint8_t key[WG_CONFIG_KEY_LEN], bool *has_key, const char *command,
	const struct key_place *place)
{
	uint8_t decoded[WG_CONFIG_KEY_LEN];
	size_t len = strlen(text);
	ssize_t got = base64_decode(decoded, sizeof(decoded), text, len, BASE64_STANDARD);
	bool is_key = len == KEY_TEXT_LEN && got == WG_CONFIG_KEY_LEN;

	if (is_key) {
		memcpy(key, decoded, sizeof(decoded));
		*has_key = true;
	}
	secret_wipe(decoded, sizeof(decoded));
	return is_key ? 0
		      : key_complain(
				place, "not a key; expected the 44 characters of base64 that `%s` prints", command);
}

/* --- [Interface] --- */

/* The private key never leaves this struct in text form. */
static int parse_private_key(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_interface *interface = owner;

	return decode_key(text, interface->private_key, &interface->has_private_key, "wg genkey", place);
}

/* 0: the kernel chooses one that is free. Names of services, which wg takes, are refused. */
static int parse_listen_port(void *owner, const char *text, const struct key_place *place)
{
	uint64_t port;

	if (text_parse_number(text, 10, UINT16_MAX, &port) < 0)
		return key_complain(place, "not a port; expected a number from 0 (any) to 65535");
	((struct wg_config_interface *)owner)->listen_port = (uint16_t)port;
	return 0;
}

/* 0 and off are the same to the kernel: no mark. */
static int parse_fwmark(void *owner, const char *text, const struct key_place *place)
{
	uint64_t mark = 0;

	if (strcasecmp(text, "off") != 0 && parse_number_or_hex(text, &mark) < 0)
		return key_complain(place, "not a mark; expected off or a number from 0 to 0xffffffff");
	((struct wg_config_interface *)owner)->fwmark = (uint32_t)mark;
	return 0;
}

/* The kernel refuses these of IPv6. It takes those of IPv4, and the tunnel does not work, or the loopback does not. */
static bool is_no_devices(const struct addr *addr)
{
	static const char *const texts[] = {"0.0.0.0/32", "127.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128",
		"::1/128", "ff00::/8"};
	const struct prefix host = prefix_of_host(addr);
	struct prefix prefix;
	bool is_one = false;

	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++)
		is_one |= prefix_parse(texts[i], &prefix) == 0 && prefix_contains(&prefix, &host);
	return is_one;
}

/* "10.0.0.1/24"; an address alone is a prefix of its full length. */
static int add_prefix(const char *item, bool is_address, struct wg_config_prefix **array, size_t *count,
	const struct key_place *place)
{
	struct prefix prefix;
	struct wg_config_prefix *slot;
	int rc = prefix_parse(item, &prefix);

	if (rc == -ERANGE)
		return key_complain(place, "no prefix length behind the slash; expected a number from 0 to %d",
			prefix.addr.sa.sa_family == AF_INET ? 32 : 128);
	if (rc < 0)
		return key_complain(place, "not an address; expected one such as 10.0.0.1/24 or fd00::1/64");
	if (is_address && is_no_devices(&prefix.addr))
		return key_complain(place,
			"no device can have this address; expected one of the tunnel's own network, such as "
			"10.10.0.2/24 or fd10::2/64");
	if (!is_address)
		prefix = prefix_network(&prefix);
	slot = key_append(array, count, sizeof(*slot), place);
	if (!slot)
		return -EINVAL;
	*slot = (struct wg_config_prefix){prefix, place->line};
	return 0;
}

/* wg-quick takes blanks as separators too, and passes over empty parts. */
static int parse_addresses(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_interface *interface = owner;
	struct key_place here = *place;
	char item[ITEM_MAX];
	int rc = 0;

	here.text = item;
	while (rc == 0 && next_item(&text, ", \t", item))
		if (*item)
			rc = add_prefix(item, true, &interface->addresses, &interface->address_count, &here);
	return rc;
}

/* 0 stays for no MTU of the file's: then one is chosen that fits the way. */
static int parse_mtu(void *owner, const char *text, const struct key_place *place)
{
	uint64_t mtu = 0;

	/* wg-quick's own pattern has no leading zero, and an empty value counts as none. */
	if (*text && (*text == '0' || text_parse_number(text, 10, UINT16_MAX, &mtu) < 0 || mtu < MTU_MIN))
		return key_complain(
			place, "not an MTU; expected a number from 576 to 65535, or no such line for what fits");
	((struct wg_config_interface *)owner)->mtu = (uint16_t)mtu;
	return 0;
}

/* A number, or one of the names that ip(8) has on every host. */
static int parse_table_number(const char *text, uint64_t *ret)
{
	if (strcmp(text, "default") == 0)
		*ret = TABLE_DEFAULT;
	else if (strcmp(text, "main") == 0)
		*ret = TABLE_MAIN;
	else if (strcmp(text, "local") == 0)
		*ret = TABLE_LOCAL;
	else if (parse_number_or_hex(text, ret) < 0)
		return -EINVAL;
	else if (*ret == 0)
		*ret = TABLE_MAIN; /* as the kernel has it */
	return 0;
}

/* Table and kind are set together: a number of an earlier, refused value must not stay. */
static int parse_table(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_interface *interface = owner;
	uint64_t table = 0;

	if (*text == '\0' || strcmp(text, "auto") == 0)
		interface->table_kind = WG_CONFIG_TABLE_AUTO;
	else if (strcmp(text, "off") == 0)
		interface->table_kind = WG_CONFIG_TABLE_OFF;
	else if (parse_table_number(text, &table) == 0)
		interface->table_kind = WG_CONFIG_TABLE_NUMBER;
	else
		return key_complain(
			place, "not a routing table; expected auto, off, main or a number from 0 to 4294967295");
	interface->table = (uint32_t)table;
	return 0;
}

static bool is_address(const char *text, int family)
{
	struct in6_addr address;

	return inet_pton(family, text, &address) == 1;
}

/* "fe80::1%eth0"; the device need not be there yet. */
static bool is_ipv6_with_zone(const char *text)
{
	char address[INET6_ADDRSTRLEN];
	size_t len = strcspn(text, "%");
	const char *zone = text[len] ? text + len + 1 : NULL;

	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (zone && (*zone == '\0' || strlen(zone) >= IF_NAMESIZE || !text_is_made_of(zone, strlen(zone), "_=+.-")))
		return false;
	return is_address(address, AF_INET6);
}

/* An IPv4 address, or one gone wrong: no name that is in use consists of these alone. */
static bool is_digits_and_dots(const char *text)
{
	return text[strspn(text, "0123456789.")] == '\0';
}

/* A domain that every resolver takes: labels of 1 to 63 characters, a dot behind the last one or none. "~example.org"
 * is systemd-resolved's routing domain, "~." routes every name. A dash in front would be an option of a command
 * line. */
static bool is_domain(const char *text)
{
	const char *name = *text == '~' ? text + 1 : text;
	size_t len = strlen(name);

	if (strcmp(text, "~.") == 0)
		return true;
	if (len == 0 || len > HOST_NAME_LEN_MAX || *name == '-' || !text_is_made_of(name, len, "-_."))
		return false;
	while (*name) {
		size_t label = strcspn(name, ".");

		if (label == 0 || label > DNS_LABEL_MAX)
			return false;
		name += label + (name[label] == '.');
	}
	return true;
}

/* wg-quick's own distinction: digits and dots, or a colon somewhere, make an address, the rest a search domain. */
static bool is_dns_item(const char *item)
{
	if (strchr(item, ':'))
		return is_ipv6_with_zone(item);
	if (is_digits_and_dots(item))
		return is_address(item, AF_INET);
	return is_domain(item);
}

static int add_string(const char *text, char ***array, size_t *count, const struct key_place *place)
{
	char **slot = key_append(array, count, sizeof(*slot), place);

	if (slot && key_copy(text, slot, place) == 0)
		return 0;
	*count -= slot != NULL;
	return -EINVAL;
}

/* Servers and search domains in one list, as resolvconf and systemd-resolved are given them. The room is bounded,
 * because all of it becomes part of one command line. */
static int parse_dns(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_interface *interface = owner;
	struct key_place here = *place;
	char item[ITEM_MAX];
	int rc = 0;

	here.text = item;
	while (rc == 0 && next_item(&text, ", \t", item)) {
		if (*item == '\0')
			continue;
		if (!is_dns_item(item))
			return key_complain(&here, "neither an address nor a search domain; expected one of them");
		interface->dns_room += strlen(item) + WG_CONFIG_DNS_QUOTES;
		if (interface->dns_room > WG_CONFIG_DNS_ROOM)
			return key_complain(&here,
				"too many servers and domains; expected at most %d characters in all",
				WG_CONFIG_DNS_ROOM);
		rc = add_string(item, &interface->dns, &interface->dns_count, place);
	}
	return rc;
}

const char *wg_config_hook_keys[4] = {"PreUp", "PostUp", "PreDown", "PostDown"};

/* The value goes to a shell as it stands; an empty one is no command. */
static int parse_hook(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_interface *interface = owner;
	size_t i = 0, count;
	unsigned *line;

	while (strcmp(place->row->key, wg_config_hook_keys[i]) != 0)
		i++;
	count = interface->hook_count[i];
	line = *text ? key_append(&interface->hook_lines[i], &count, sizeof(*line), place) : NULL;
	if (!line)
		return *text ? -EINVAL : 0;
	*line = place->line;
	return add_string(text, &interface->hooks[i], &interface->hook_count[i], place);
}

/* wg-quick would write the running device back into the file. That loses comments and keys of ours, so it is
 * refused. */
static int parse_save_config(void *owner, const char *text, const struct key_place *place)
{
	(void)owner;
	if (strcasecmp(text, "false") == 0)
		return 0;
	if (strcasecmp(text, "true") == 0)
		return key_complain(place,
			"this file is never written, what `wg set` changes would be lost; expected false, or no such "
			"line");
	return key_complain(place, "neither true nor false; expected false, or no such line");
}

/* --- [Peer] --- */

static int parse_public_key(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_peer *peer = owner;

	return decode_key(text, peer->public_key, &peer->has_public_key, "wg pubkey", place);
}

static int parse_preshared_key(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_peer *peer = owner;

	return decode_key(text, peer->preshared_key, &peer->has_preshared_key, "wg genpsk", place);
}

/* Bits behind the length are cleared, as the kernel does. */
static int parse_allowed_ips(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_peer *peer = owner;
	struct key_place here = *place;
	char item[ITEM_MAX];
	int rc = 0;

	if (*text == '\0')
		return key_complain(place,
			"the value is empty, which wg refuses; expected a prefix such as 10.0.0.2/32, or no such line");
	here.text = item;
	while (rc == 0 && next_item(&text, ",", item)) {
		if (*item == '-')
			return key_complain(&here,
				"takes a prefix away from a running device; in a file, leave out what the peer is not "
				"to have");
		rc = add_prefix(
			*item == '+' ? item + 1 : item, false, &peer->allowed_ips, &peer->allowed_ip_count, &here);
	}
	return rc;
}

/* A name of DNS; digits and dots alone would be an address gone wrong. */
static bool is_host_name(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= HOST_NAME_LEN_MAX && text[0] != '.' && text[0] != '-' && !strstr(text, "..") &&
	       text_is_made_of(text, len, "-_.") && !is_digits_and_dots(text);
}

/* Cut "host:port", "[host]:port" at the port. The last colon counts: an IPv6 address without brackets has many.
 * Return: the port's text, or NULL. */
static char *cut_port(char **host)
{
	char *port;

	if (**host != '[') {
		port = strrchr(*host, ':');
		if (port)
			*port++ = '\0';
		return port;
	}
	port = strchr(++*host, ']');
	if (!port || port[1] != ':')
		return NULL;
	*port = '\0';
	return port + 2;
}

/* wg takes brackets around everything, and IPv6 without them; we keep the form that every program understands. A name
 * is resolved later, when the device is brought up. */
static int parse_endpoint(void *owner, const char *text, const struct key_place *place)
{
	struct wg_config_peer *peer = owner;
	char copy[HOST_NAME_LEN_MAX + 16], *host = copy, *port;
	uint64_t number = 0;
	int len = -1;

	snprintf(copy, sizeof(copy), "%s", text); /* one that is cut has no port, or a name that is too long */
	port = cut_port(&host);
	if (!port || text_parse_number(port, 10, UINT16_MAX, &number) < 0 || number == 0)
		return key_complain(
			place, "has no port; expected HOST:PORT or [IPV6]:PORT, with a port from 1 to 65535");
	if (is_ipv6_with_zone(host))
		len = asprintf(&peer->endpoint, "[%s]:%u", host, (unsigned)number);
	else if (is_address(host, AF_INET) || is_host_name(host))
		len = asprintf(&peer->endpoint, "%s:%u", host, (unsigned)number);
	else
		return key_complain(
			place, "has neither a name nor an address before the port; expected HOST:PORT or [IPV6]:PORT");
	if (len >= 0)
		return 0;
	peer->endpoint = NULL;
	return key_complain(place, "out of memory");
}

/* Seconds; 0 and off are the same: none is sent. */
static int parse_keepalive(void *owner, const char *text, const struct key_place *place)
{
	uint64_t seconds = 0;

	if (strcasecmp(text, "off") != 0 && text_parse_number(text, 10, UINT16_MAX, &seconds) < 0)
		return key_complain(
			place, "not an interval; expected off or a number of seconds from 0 to 65535, without a unit");
	((struct wg_config_peer *)owner)->persistent_keepalive_s = (uint16_t)seconds;
	return 0;
}

/* --- the tables --- */

#define BY_WG .rules = KEY_RULES_WG
#define BY_WG_QUICK .rules = KEY_RULES_WG_QUICK
#define LINE(field) .line_offset = offsetof(struct wg_config_interface, field)

/* Lists are KEY_REPEATED: the two programs cut them up in ways of their own. */
static const struct key_row interface_rows[] = {
	{"PrivateKey", KEY_ONCE, parse_private_key, BY_WG, .secret = true, .twin = "PrivateKeyFile",
		LINE(private_key_line)},
	{"ListenPort", KEY_ONCE, parse_listen_port, BY_WG, LINE(listen_port_line)},
	{"FwMark", KEY_ONCE, parse_fwmark, BY_WG, LINE(fwmark_line)},
	{"Address", KEY_REPEATED, parse_addresses, BY_WG_QUICK},
	{"DNS", KEY_REPEATED, parse_dns, BY_WG_QUICK, LINE(dns_line)},
	{"MTU", KEY_ONCE, parse_mtu, BY_WG_QUICK},
	{"Table", KEY_ONCE, parse_table, BY_WG_QUICK, LINE(table_line)},
	{"PreUp", KEY_REPEATED, parse_hook, BY_WG_QUICK},
	{"PostUp", KEY_REPEATED, parse_hook, BY_WG_QUICK},
	{"PreDown", KEY_REPEATED, parse_hook, BY_WG_QUICK},
	{"PostDown", KEY_REPEATED, parse_hook, BY_WG_QUICK},
	{"SaveConfig", KEY_ONCE, parse_save_config, BY_WG_QUICK},
};

#undef LINE
#define LINE(field) .line_offset = offsetof(struct wg_config_peer, field)

static const struct key_row peer_rows[] = {
	{"PublicKey", KEY_ONCE, parse_public_key, BY_WG, LINE(public_key_line)},
	{"PresharedKey", KEY_ONCE, parse_preshared_key, BY_WG, .secret = true},
	{"AllowedIPs", KEY_REPEATED, parse_allowed_ips, BY_WG},
	{"Endpoint", KEY_ONCE, parse_endpoint, BY_WG, LINE(endpoint_line)},
	{"PersistentKeepalive", KEY_ONCE, parse_keepalive, BY_WG},
};

const struct key_table wg_config_interface_table = {
	"Interface", interface_rows, sizeof(interface_rows) / sizeof(*interface_rows)};
const struct key_table wg_config_peer_table = {"Peer", peer_rows, sizeof(peer_rows) / sizeof(*peer_rows)};

/* --- sections --- */

/* The array of peers moves when it grows: a reader of an earlier [Peer] must not be used any more. */
int wg_config_open_section(struct wg_config *config, const struct ini *ini, const struct ini_section *section,
	struct key_reader *reader, struct ini_report *report)
{
	struct key_place place = {ini->path, section->line, "[Peer]", NULL, report, NULL};
	struct wg_config_peer *peer;

	if (strcasecmp(section->name, "Peer") == 0) {
		peer = key_append(&config->peers, &config->peer_count, sizeof(*peer), &place);
		if (!peer)
			return -EINVAL;
		peer->line = section->line;
		reader->table = &wg_config_peer_table;
		reader->owner = peer;
		return 0;
	}
	if (!config->interface.line)
		config->interface.line = section->line;
	reader->table = &wg_config_interface_table;
	reader->owner = &config->interface;
	reader->lines = config->interface.lines;
	return 0;
}

/* "20-30": AmneziaWG draws the interval at random. */
static bool is_range(const char *text)
{
	size_t first = strspn(text, "0123456789");
	size_t gap = strspn(text + first, " -");

	return first > 0 && memchr(text + first, '-', gap) && isdigit((unsigned char)text[first + gap]);
}

bool wg_config_take_amnezia(struct wg_config *config, const struct ini_section *section, const struct ini_entry *entry)
{
	/* The value that changes nothing: of a time WireGuard's own; NULL: any, because the key only counts beside
	 * Jc. */
	static const struct {
		const char *key, *neutral;
	} keys[] = {{"Jc", "0"}, {"Jmin", NULL}, {"Jmax", NULL}, {"S1", "0"}, {"S2", "0"}, {"S3", "0"}, {"S4", "0"},
		{"H1", "1"}, {"H2", "2"}, {"H3", "3"}, {"H4", "4"}, {"I1", ""}, {"I2", ""}, {"I3", ""}, {"I4", ""},
		{"I5", ""}, {"J1", ""}, {"J2", ""}, {"J3", ""}, {"ITime", "0"}, {"HeaderProtectionKey", ""},
		{"ContentPaddingAddition", "0"}, {"RekeyAfterTime", "120"}, {"RekeyTimeout", "5"},
		{"RejectAfterTime", "180"}, {"KeepaliveTimeout", "10"}, {"MaxHandshakeAttempts", "18"},
		{"RandomTrailers", "off"}, {"DisableCookies", "off"}, {"AdvancedSecurity", "off"},
		{"PersistentKeepalive", "one number"}};
	const size_t count = sizeof(keys) / sizeof(*keys);
	bool is_peer = strcasecmp(section->name, "Peer") == 0;
	char plain[64];
	size_t i = 0;

	while (i < count && strcasecmp(keys[i].key, entry->key) != 0)
		i++;
	/* The last two are a peer's. */
	if (i == count || is_peer != (i + 2 >= count) || (!is_peer && strcasecmp(section->name, "Interface") != 0) ||
		(i + 1 == count && !is_range(entry->value)))
		return false;
	if (!keys[i].neutral || strcmp(entry->value, keys[i].neutral) == 0 ||
		(strcmp(keys[i].neutral, "off") == 0 && strcmp(entry->value, "0") == 0))
		return true;
	if (!config->amnezia_line)
		config->amnezia_line = entry->line;
	if (strstr(config->amnezia, keys[i].key)) /* in one case: each is listed once, and all fit */
		return true;
	text_append_word(config->amnezia, sizeof(config->amnezia), keys[i].key);
	if (*keys[i].neutral)
		snprintf(plain, sizeof(plain), "%s = %s", keys[i].key, keys[i].neutral);
	else
		snprintf(plain, sizeof(plain), "no %s", keys[i].key);
	text_append_word(config->amnezia_plain, sizeof(config->amnezia_plain), plain);
	return true;
}

void wg_config_read_section(
	struct wg_config *config, const struct ini *ini, const struct ini_section *section, struct ini_report *report)
{
	static const struct key_table *const tables[] = {&wg_config_interface_table, &wg_config_peer_table, NULL};
	unsigned lines[KEY_ROWS_MAX] = {0};
	struct key_reader reader = {.lines = lines};

	if (strcasecmp(section->name, "Interface") != 0 && strcasecmp(section->name, "Peer") != 0) {
		ini_report_add(report, ini->path, section->line,
			"[%s]: not a section of wg-quick's; expected [Interface] or [Peer]", section->name);
		return;
	}
	if (wg_config_open_section(config, ini, section, &reader, report) < 0)
		return;
	for (size_t i = 0; i < section->entry_count; i++)
		if (!wg_config_take_amnezia(config, section, &section->entries[i]) &&
			key_take(&reader, 1, ini, &section->entries[i], report) == KEY_LEFT)
			key_complain_unknown(tables, ini, section, &section->entries[i], report);
}

/* --- the whole --- */

static int compare_keys(const void *a, const void *b)
{
	const struct wg_config_peer *const *x = a, *const *y = b;
	int order = memcmp((*x)->public_key, (*y)->public_key, WG_CONFIG_KEY_LEN);

	return order != 0 ? order : (*x)->line < (*y)->line ? -1 : (*x)->line > (*y)->line;
}

/* Sorted, equal keys are neighbours: a hub has up to 100,000 peers. */
static void check_keys(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	const struct wg_config_peer **sorted = calloc(config->peer_count + 1, sizeof(*sorted));
	size_t count = 0;

	if (!sorted) {
		ini_report_add(report, ini->path, 1, "out of memory");
		return;
	}
	for (size_t i = 0; i < config->peer_count; i++)
		if (config->peers[i].has_public_key)
			sorted[count++] = &config->peers[i];
	qsort(sorted, count, sizeof(*sorted), compare_keys);
	for (size_t i = 1; i < count; i++) {
		char text[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1];

		if (memcmp(sorted[i]->public_key, sorted[i - 1]->public_key, WG_CONFIG_KEY_LEN) != 0)
			continue;
		base64_encode(text, sizeof(text), sorted[i]->public_key, WG_CONFIG_KEY_LEN, BASE64_STANDARD);
		ini_report_add(report, ini->path, sorted[i]->public_key_line,
			"PublicKey: '%s': belongs to the peer of %s already; expected a key of its own for every peer", text,
			PLACE_REFER(ini->path, sorted[i - 1]->public_key_line, sorted[i]->public_key_line));
	}
	free(sorted);
}

/* An allowed IP and the peer that has it. */
struct owned_prefix {
	struct prefix prefix;
	unsigned line;
	size_t peer;
};

/* By prefix and then by peer, so that two peers with one prefix are neighbours. */
static int compare_owned(const void *a, const void *b)
{
	const struct owned_prefix *x = a, *y = b;
	int order = prefix_compare(&x->prefix, &y->prefix);

	return order != 0 ? order : x->peer < y->peer ? -1 : x->peer > y->peer;
}

/* Return: how many there are; @ret has room for all, or is NULL to count them. */
static size_t collect_owned(const struct wg_config *config, struct owned_prefix *ret)
{
	size_t count = 0;

	for (size_t i = 0; i < config->peer_count; i++)
		for (size_t j = 0; j < config->peers[i].allowed_ip_count; j++, count++) {
			const struct wg_config_prefix *allowed = &config->peers[i].allowed_ips[j];

			if (ret)
				ret[count] = (struct owned_prefix){allowed->prefix, allowed->line, i};
		}
	return count;
}

/* One peer may have a prefix twice, and prefixes of two peers may overlap: that is how routes are made. */
static void check_allowed_ips(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	size_t count = collect_owned(config, NULL);
	struct owned_prefix *owned = calloc(count + 1, sizeof(*owned));
	char text[PREFIX_TEXT_MAX];

	if (!owned) {
		ini_report_add(report, ini->path, 1, "out of memory");
		return;
	}
	collect_owned(config, owned);
	qsort(owned, count, sizeof(*owned), compare_owned);
	for (size_t i = 1; i < count; i++)
		if (owned[i].peer != owned[i - 1].peer && prefix_equal(&owned[i].prefix, &owned[i - 1].prefix))
			ini_report_add(report, ini->path, owned[i].line,
				"AllowedIPs: '%s': belongs to the peer of %s already; WireGuard gives a prefix to one peer "
				"only",
				prefix_format(text, sizeof(text), &owned[i].prefix),
				PLACE_REFER(ini->path, owned[i - 1].line, owned[i].line));
	free(owned);
}

/* Whether a peer without a key makes sense is for the caller to say; one with addresses never does. */
static void check_peers_without_key(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_config_peer *peer = &config->peers[i];

		/* public_key_line: a key that was refused has its own message. */
		if (!peer->public_key_line && ((peer->allowed_ip_count > 0 && !peer->may_wait) || peer->endpoint ||
						      (peer->has_preshared_key && !peer->may_wait)))
			ini_report_add(report, ini->path, peer->line,
				"PublicKey: missing in this [Peer], which has other keys of WireGuard; expected "
				"PublicKey = …");
	}
}

/* Complain about the first of @prefixes that is of IPv6. Return: false: there is none. */
static bool complain_small_mtu(const struct wg_config_prefix *prefixes, size_t count, const char *key,
	const char *otherwise, unsigned mtu, const struct ini *ini, struct ini_report *report)
{
	char text[PREFIX_TEXT_MAX];
	size_t i = 0;

	while (i < count && prefixes[i].prefix.addr.sa.sa_family != AF_INET6)
		i++;
	if (i == count)
		return false;
	ini_report_add(report, ini->path, prefixes[i].line,
		"%s: '%s': MTU = %u is too small for IPv6; expected MTU = %d or more, or %s", key,
		prefix_format(text, sizeof(text), &prefixes[i].prefix), mtu, MTU_MIN_IPV6, otherwise);
	return true;
}

/* The kernel would take the addresses away again, and refuse the routes with "No such device". */
static void check_small_mtu(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	const struct wg_config_interface *interface = &config->interface;
	size_t i = 0;

	if (interface->mtu == 0 || interface->mtu >= MTU_MIN_IPV6)
		return;
	complain_small_mtu(interface->addresses, interface->address_count, "Address", "no IPv6 address", interface->mtu,
		ini, report);
	if (interface->table_kind == WG_CONFIG_TABLE_OFF)
		return;
	while (i < config->peer_count &&
		!complain_small_mtu(config->peers[i].allowed_ips, config->peers[i].allowed_ip_count, "AllowedIPs",
			"no IPv6 network, or Table = off", interface->mtu, ini, report))
		i++;
}

void wg_config_finish(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	if (config->amnezia_line)
		ini_report_add(report, ini->path, config->amnezia_line,
			"%s: AmneziaWG's, which changes WireGuard's messages and times; expected no such lines, at "
			"both ends, or the values of plain WireGuard (%s)",
			config->amnezia, config->amnezia_plain);
	check_peers_without_key(config, ini, report);
	check_keys(config, ini, report);
	check_allowed_ips(config, ini, report);
	check_small_mtu(config, ini, report);
}

static void strings_done(char **array, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(array[i]);
	free(array);
}

/* RFC 7748 §5: three bits are fixed. */
bool wg_config_draw_key(char *text)
{
	uint8_t key[WG_CONFIG_KEY_LEN];
	bool is_drawn = RAND_priv_bytes(key, sizeof(key)) == 1;

	key[0] &= 248;
	key[WG_CONFIG_KEY_LEN - 1] = (key[WG_CONFIG_KEY_LEN - 1] & 127) | 64;
	base64_encode(text, KEY_TEXT_LEN + 1, key, sizeof(key), BASE64_STANDARD);
	secret_wipe(key, sizeof(key));
	return is_drawn;
}

bool wg_config_public_key(const uint8_t private_key[WG_CONFIG_KEY_LEN], uint8_t ret[WG_CONFIG_KEY_LEN])
{
	size_t len = WG_CONFIG_KEY_LEN;
	EVP_PKEY *key = EVP_PKEY_new_raw_private_key(EVP_PKEY_X25519, NULL, private_key, len);
	bool is_done = key && EVP_PKEY_get_raw_public_key(key, ret, &len) == 1;

	EVP_PKEY_free(key);
	return is_done;
}

const struct wg_config_peer *wg_config_find(
	const struct wg_config *config, const uint8_t public_key[WG_CONFIG_KEY_LEN])
{
	for (size_t i = 0; i < config->peer_count; i++)
		if (config->peers[i].has_public_key &&
			memcmp(config->peers[i].public_key, public_key, WG_CONFIG_KEY_LEN) == 0)
			return &config->peers[i];
	return NULL;
}

bool wg_config_loopback_endpoint(const struct wg_config_peer *peer, struct addr *ret)
{
	char host[sizeof("localhost")], text[32];
	uint16_t port;

	if (!peer->endpoint)
		return false;
	if (addr_parse(peer->endpoint, 0, ret) == 0)
		return addr_is_loopback(ret);
	if (addr_split(peer->endpoint, host, sizeof(host), &port) < 0 || strcasecmp(host, "localhost") != 0)
		return false;
	snprintf(text, sizeof(text), "127.0.0.1:%u", port);
	return addr_parse(text, 0, ret) == 0;
}

/* Does the peer's Endpoint lead to our own local port? */
static bool names_port(const struct wg_config_peer *peer, uint16_t port)
{
	struct addr endpoint;

	return peer->has_public_key && wg_config_loopback_endpoint(peer, &endpoint) && addr_port(&endpoint) == port;
}

bool wg_config_is_through(const struct wg_config *config, const struct wg_config_peer *peer, const struct addr *own)
{
	uint16_t port = addr_port(own);
	bool is_named = false;

	for (size_t i = 0; i < config->peer_count && port != 0; i++)
		is_named |= names_port(&config->peers[i], port);
	return is_named ? names_port(peer, port) : peer->has_public_key && !peer->endpoint;
}

void wg_config_done(struct wg_config *config)
{
	struct wg_config_interface *interface = &config->interface;

	for (size_t i = 0; i < config->peer_count; i++) {
		free(config->peers[i].allowed_ips);
		free(config->peers[i].endpoint);
	}
	secret_wipe(config->peers, config->peer_count * sizeof(*config->peers));
	free(config->peers);
	free(interface->addresses);
	strings_done(interface->dns, interface->dns_count);
	for (size_t i = 0; i < 4; i++) {
		strings_done(interface->hooks[i], interface->hook_count[i]);
		free(interface->hook_lines[i]);
	}
	secret_wipe(config, sizeof(*config));
}
