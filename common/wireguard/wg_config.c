/* Read the keys of wg(8) and wg-quick(8) into plain data.
 *
 * Happy path: the caller opens a section, hands over each of its entries, and lets the whole be checked at the end.
 * A table leads from a key to the function that reads its value. A function that refuses a value adds one line to the
 * report and leaves what was there; keys are never part of it.
 *
 * wg takes blanks out of a value wherever they stand, wg-quick does not: the table says which of the two owns a key.
 * Stricter than both, because there it is always a mistake: a key twice where one is meant, a port or mark out of
 * range (wg cuts a port to 16 bits), the name of a service as port, two peers with one key or with one allowed IP
 * (in the kernel the later silently wins), an allowed IP that is taken away (newer wg's -10.0.0.0/8, which a kernel
 * without a word for it would add).
 */
#include "common/wireguard/wg_config.h"

#include "common/base/base64.h"
#include "common/base/prefix.h"
#include "common/base/secret.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define KEY_TEXT_LEN 44 /* base64 of 32 bytes */
#define MTU_MIN 576	/* what every IPv4 host must take, RFC 791 §3.1 */
#define HOST_NAME_MAX_LEN 253
#define TABLE_DEFAULT 253 /* rt_tables(5), as are the next two */
#define TABLE_MAIN 254
#define TABLE_LOCAL 255

/* One entry on its way in. */
struct taking {
	struct wg_config *config;
	const struct ini *ini;
	const struct ini_section *section;
	const struct ini_entry *entry;
	struct ini_report *report;
	char *value; /* a copy that may be cut up */
};

struct key_rule {
	const char *name;
	int (*read)(struct taking *taking);
	bool repeats;
	bool blanks_go; /* wg's key, not wg-quick's */
};

/* "FILE:LINE: KEY: 'VALUE': what is wrong; what would be right" */
static int reject(const struct taking *taking, const char *text, const char *what)
{
	ini_report_add(
		taking->report, taking->ini->path, taking->entry->line, "%s: '%s': %s", taking->entry->key, text, what);
	return -EINVAL;
}

static int out_of_memory(const struct taking *taking)
{
	ini_report_add(taking->report, taking->ini->path, taking->entry->line, "%s: out of memory", taking->entry->key);
	return -ENOMEM;
}

static struct wg_config_peer *last_peer(const struct taking *taking)
{
	return &taking->config->peers[taking->config->peer_count - 1];
}

static void note_first_line(unsigned *line, const struct taking *taking)
{
	if (*line == 0)
		*line = taking->entry->line;
}

/* One more element of @size bytes behind @count of them, zeroed. Doubles at powers of two and leaves no copy of what
 * may be a key. Return: the array, or NULL (the old one stays). */
static void *grow(void *array, size_t count, size_t size)
{
	char *grown;

	if ((count & (count - 1)) != 0)
		return array;
	grown = calloc(count ? 2 * count : 1, size);
	if (!grown || !array)
		return grown;
	memcpy(grown, array, count * size);
	secret_wipe(array, count * size);
	free(array);
	return grown;
}

static int add_string(const struct taking *taking, char ***array, size_t *count, const char *text)
{
	char **grown = grow(*array, *count, sizeof(**array));

	if (grown)
		*array = grown;
	if (!grown || !(grown[*count] = strdup(text)))
		return out_of_memory(taking);
	(*count)++;
	return 0;
}

/* Digits only, in @base 10 or 16. Return: 0, or -EINVAL, also over @max. */
static int parse_number(const char *text, int base, uint32_t max, uint32_t *ret)
{
	uint64_t number = 0;

	if (*text == '\0')
		return -EINVAL;
	for (; *text; text++) {
		int c = tolower((unsigned char)*text);
		int digit = isdigit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : base;

		if (digit >= base)
			return -EINVAL;
		number = number * (unsigned)base + (unsigned)digit;
		if (number > max)
			return -EINVAL;
	}
	*ret = (uint32_t)number;
	return 0;
}

/* Decimal, or hexadecimal behind "0x". */
static int parse_number_or_hex(const char *text, uint32_t *ret)
{
	if (strncmp(text, "0x", 2) == 0)
		return parse_number(text + 2, 16, UINT32_MAX, ret);
	return parse_number(text, 10, UINT32_MAX, ret);
}

/* Take the next part of a list, blanks around it removed. Return: NULL at its end. */
static char *next_item(char **list, const char *separators)
{
	char *item = strsep(list, separators);
	size_t len;

	if (!item)
		return NULL;
	item += strspn(item, " \t");
	len = strlen(item);
	while (len > 0 && isspace((unsigned char)item[len - 1]))
		item[--len] = '\0';
	return item;
}

static int read_key(struct taking *taking, const char *shown, uint8_t key[WG_CONFIG_KEY_LEN], const char *what)
{
	uint8_t decoded[WG_CONFIG_KEY_LEN];
	size_t len = strlen(taking->value);
	ssize_t got = base64_decode(decoded, sizeof(decoded), taking->value, len, BASE64_STANDARD);
	bool ok = len == KEY_TEXT_LEN && got == WG_CONFIG_KEY_LEN;

	if (ok)
		memcpy(key, decoded, sizeof(decoded));
	secret_wipe(decoded, sizeof(decoded));
	return ok ? 1 : reject(taking, shown, what);
}

static int read_private_key(struct taking *taking)
{
	int rc = read_key(taking, "(hidden)", taking->config->interface.private_key,
		"is not a key; 44 characters of base64 that `wg genkey` prints are needed");

	if (rc > 0)
		taking->config->interface.has_private_key = true;
	return rc;
}

static int read_public_key(struct taking *taking)
{
	struct wg_config_peer *peer = last_peer(taking);
	int rc = read_key(taking, taking->value, peer->public_key,
		"is not a key; 44 characters of base64 that `wg pubkey` prints are needed");

	peer->public_key_line = taking->entry->line;
	if (rc > 0)
		peer->has_public_key = true;
	return rc;
}

static int read_preshared_key(struct taking *taking)
{
	struct wg_config_peer *peer = last_peer(taking);
	int rc = read_key(taking, "(hidden)", peer->preshared_key,
		"is not a key; 44 characters of base64 that `wg genpsk` prints are needed");

	if (rc > 0)
		peer->has_preshared_key = true;
	return rc;
}

static int read_listen_port(struct taking *taking)
{
	uint32_t port;

	if (parse_number(taking->value, 10, UINT16_MAX, &port) < 0)
		return reject(taking, taking->value, "is not a port; a number from 0 (any) to 65535 is needed");
	taking->config->interface.listen_port = (uint16_t)port;
	taking->config->interface.listen_port_line = taking->entry->line;
	return 1;
}

static int read_fwmark(struct taking *taking)
{
	uint32_t mark = 0;

	if (strcasecmp(taking->value, "off") != 0 && parse_number_or_hex(taking->value, &mark) < 0)
		return reject(taking, taking->value, "is not a mark; off or a number from 0 to 0xffffffff is needed");
	taking->config->interface.fwmark = mark;
	taking->config->interface.fwmark_line = taking->entry->line;
	return 1;
}

static int read_keepalive(struct taking *taking)
{
	uint32_t seconds = 0;

	if (strcasecmp(taking->value, "off") != 0 && parse_number(taking->value, 10, UINT16_MAX, &seconds) < 0)
		return reject(taking, taking->value,
			"is not an interval; off or a number of seconds from 0 to 65535 without a unit is needed");
	last_peer(taking)->persistent_keepalive_s = (uint16_t)seconds;
	return 1;
}

/* "10.0.0.1/24", and "fd00::1", whose length is all of it. Return: NULL, or what is wrong. */
static const char *parse_prefix(const char *item, struct wg_config_prefix *ret)
{
	struct prefix prefix;
	int rc = prefix_parse(item, &prefix);

	if (rc == -ERANGE && prefix.addr.sa.sa_family == AF_INET)
		return "has no length of a prefix behind the slash; a number from 0 to 32 is needed";
	if (rc == -ERANGE)
		return "has no length of a prefix behind the slash; a number from 0 to 128 is needed";
	if (rc < 0)
		return "is not an address; one such as 10.0.0.1/24 or fd00::1/64 is needed";
	ret->addr = prefix.addr;
	ret->bits = prefix.bits;
	return NULL;
}

static int add_prefix(
	struct taking *taking, struct wg_config_prefix **array, size_t *count, const struct wg_config_prefix *prefix)
{
	struct wg_config_prefix *grown = grow(*array, *count, sizeof(*grown));

	if (!grown)
		return out_of_memory(taking);
	*array = grown;
	grown[*count] = *prefix;
	grown[(*count)++].line = taking->entry->line;
	return 0;
}

/* The bytes of an address. */
static uint8_t *prefix_bytes(struct wg_config_prefix *prefix, size_t *ret_len)
{
	bool is_ipv4 = prefix->addr.sa.sa_family == AF_INET;

	*ret_len = is_ipv4 ? 4 : 16;
	return is_ipv4 ? (uint8_t *)&prefix->addr.in4.sin_addr : prefix->addr.in6.sin6_addr.s6_addr;
}

/* What the kernel does with 10.0.0.1/8 as allowed IP. */
static void clear_host_bits(struct wg_config_prefix *prefix)
{
	struct prefix network = {.addr = prefix->addr, .bits = prefix->bits};

	prefix->addr = prefix_network(&network).addr;
}

static int take_allowed_ip(struct taking *taking, char *item)
{
	struct wg_config_peer *peer = last_peer(taking);
	struct wg_config_prefix prefix = {0};
	char shown[ADDR_TEXT_MAX] = "";
	const char *fault;

	strncat(shown, item, sizeof(shown) - 1);
	if (*item == '-')
		return reject(taking, shown,
			"takes a prefix away from a running device; in a file, leave out what the peer is not to have");
	if (*item == '+')
		item++;
	fault = parse_prefix(item, &prefix);
	if (fault)
		return reject(taking, shown, fault);
	clear_host_bits(&prefix);
	return add_prefix(taking, &peer->allowed_ips, &peer->allowed_ip_count, &prefix);
}

static int read_allowed_ips(struct taking *taking)
{
	char *list = taking->value, *item;
	int rc;

	if (*list == '\0')
		return reject(taking, "",
			"is empty; wg refuses that, leave the line out or name a prefix such as 10.0.0.2/32");
	while ((item = next_item(&list, ","))) {
		rc = take_allowed_ip(taking, item);
		if (rc < 0)
			return rc;
	}
	return 1;
}

static int take_address(struct taking *taking, char *item)
{
	struct wg_config_interface *interface = &taking->config->interface;
	struct wg_config_prefix prefix = {0};
	char shown[ADDR_TEXT_MAX] = "";
	const char *fault;

	strncat(shown, item, sizeof(shown) - 1);
	fault = parse_prefix(item, &prefix);
	if (fault)
		return reject(taking, shown, fault);
	return add_prefix(taking, &interface->addresses, &interface->address_count, &prefix);
}

/* wg-quick takes blanks as separators too, and empty parts are none. */
static int read_addresses(struct taking *taking)
{
	char *list = taking->value, *item;
	int rc;

	while ((item = next_item(&list, ", \t"))) {
		rc = *item == '\0' ? 0 : take_address(taking, item);
		if (rc < 0)
			return rc;
	}
	return 1;
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
	const char *zone = strchr(text, '%');
	size_t len = zone ? (size_t)(zone - text) : strlen(text);

	if (len >= sizeof(address))
		return false;
	memcpy(address, text, len);
	address[len] = '\0';
	if (zone && (zone[1] == '\0' || strlen(zone + 1) >= IF_NAMESIZE || strpbrk(zone + 1, "/% \t[]:")))
		return false;
	return is_address(address, AF_INET6);
}

static bool consists_of(const char *text, const char *characters)
{
	return text[strspn(text, characters)] == '\0';
}

#define LETTERS_AND_DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* A name of DNS; digits and dots alone would be an address gone wrong. */
static bool is_host_name(const char *text)
{
	size_t len = strlen(text);

	return len > 0 && len <= HOST_NAME_MAX_LEN && text[0] != '.' && text[0] != '-' && !strstr(text, "..") &&
	       consists_of(text, LETTERS_AND_DIGITS "-_.") && !consists_of(text, "0123456789.");
}

/* Cut "host:port", "[host]:port" at the port. Return: the port's text, or NULL. */
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

/* wg takes brackets around everything and IPv6 without them; we note what everybody understands. */
static int read_endpoint(struct taking *taking)
{
	struct wg_config_peer *peer = last_peer(taking);
	char *host = taking->value, *port = cut_port(&host), *endpoint;
	uint32_t number;
	int len;

	if (!port || parse_number(port, 10, UINT16_MAX, &number) < 0 || number == 0)
		return reject(taking, taking->entry->value,
			"has no port; HOST:PORT or [IPV6]:PORT is needed, with a port from 1 to 65535");
	if (is_ipv6_with_zone(host))
		len = asprintf(&endpoint, "[%s]:%u", host, number);
	else if (is_address(host, AF_INET) || is_host_name(host))
		len = asprintf(&endpoint, "%s:%u", host, number);
	else
		return reject(taking, taking->entry->value,
			"has neither a name nor an address before the port; HOST:PORT or [IPV6]:PORT is needed");
	if (len < 0)
		return out_of_memory(taking);
	free(peer->endpoint);
	peer->endpoint = endpoint;
	peer->endpoint_line = taking->entry->line;
	return 1;
}

static int read_mtu(struct taking *taking)
{
	uint32_t mtu = 0;

	if (*taking->value != '\0' &&
		(*taking->value == '0' || parse_number(taking->value, 10, UINT16_MAX, &mtu) < 0 || mtu < MTU_MIN))
		return reject(taking, taking->value,
			"is not an MTU; a number from 576 to 65535 is needed, without the line it is what fits");
	taking->config->interface.mtu = (uint16_t)mtu;
	return 1;
}

/* @value: not "" and not "auto". Names are those that ip(8) has on every host. */
static int parse_table(const char *value, uint32_t *ret)
{
	if (strcmp(value, "default") == 0)
		*ret = TABLE_DEFAULT;
	else if (strcmp(value, "main") == 0)
		*ret = TABLE_MAIN;
	else if (strcmp(value, "local") == 0)
		*ret = TABLE_LOCAL;
	else if (parse_number_or_hex(value, ret) < 0)
		return -EINVAL;
	else if (*ret == 0)
		*ret = TABLE_MAIN; /* as the kernel has it */
	return 0;
}

static int read_table(struct taking *taking)
{
	struct wg_config_interface *interface = &taking->config->interface;

	interface->table_line = taking->entry->line;
	if (*taking->value == '\0' || strcmp(taking->value, "auto") == 0) {
		interface->table_kind = WG_CONFIG_TABLE_AUTO;
		return 1;
	}
	if (strcmp(taking->value, "off") == 0) {
		interface->table_kind = WG_CONFIG_TABLE_OFF;
		return 1;
	}
	if (parse_table(taking->value, &interface->table) < 0)
		return reject(taking, taking->value,
			"is not a routing table; auto, off, main or a number from 0 to 4294967295 is needed");
	interface->table_kind = WG_CONFIG_TABLE_NUMBER;
	return 1;
}

/* wg-quick's own distinction: digits and dots, or a colon somewhere, make an address, the rest a search domain. */
static bool is_dns_item(const char *item)
{
	if (strchr(item, ':'))
		return is_ipv6_with_zone(item);
	if (consists_of(item, "0123456789."))
		return is_address(item, AF_INET);
	return strlen(item) <= HOST_NAME_MAX_LEN && consists_of(item, LETTERS_AND_DIGITS "-_.~");
}

static int read_dns(struct taking *taking)
{
	struct wg_config_interface *interface = &taking->config->interface;
	char *list = taking->value, *item;
	int rc;

	note_first_line(&interface->dns_line, taking);
	while ((item = next_item(&list, ", \t"))) {
		if (*item == '\0')
			continue;
		if (!is_dns_item(item))
			return reject(taking, item, "is neither an address nor a search domain; one of them is needed");
		rc = add_string(taking, &interface->dns, &interface->dns_count, item);
		if (rc < 0)
			return rc;
	}
	return 1;
}

static int read_hook(struct taking *taking)
{
	static const char *const names[] = {"PreUp", "PostUp", "PreDown", "PostDown"};
	struct wg_config_interface *interface = &taking->config->interface;
	int rc = 0;

	if (*taking->value == '\0')
		return 1;
	for (size_t i = 0; i < 4; i++) {
		if (strcasecmp(taking->entry->key, names[i]) != 0)
			continue;
		note_first_line(&interface->hook_lines[i], taking);
		rc = add_string(taking, &interface->hooks[i], &interface->hook_count[i], taking->value);
	}
	return rc < 0 ? rc : 1;
}

static int read_save_config(struct taking *taking)
{
	if (strcasecmp(taking->value, "false") == 0)
		return 1;
	if (strcasecmp(taking->value, "true") == 0)
		return reject(taking, taking->value,
			"we never write this file, what `wg set` changes would be lost; false is needed, or no line");
	return reject(taking, taking->value, "is neither true nor false; false is needed, or no line");
}

static const struct key_rule interface_rules[] = {
	{"PrivateKey", read_private_key, false, true},
	{"ListenPort", read_listen_port, false, true},
	{"FwMark", read_fwmark, false, true},
	{"Address", read_addresses, true, false},
	{"DNS", read_dns, true, false},
	{"MTU", read_mtu, false, false},
	{"Table", read_table, false, false},
	{"PreUp", read_hook, true, false},
	{"PostUp", read_hook, true, false},
	{"PreDown", read_hook, true, false},
	{"PostDown", read_hook, true, false},
	{"SaveConfig", read_save_config, false, false},
	{NULL},
};

static const struct key_rule peer_rules[] = {
	{"PublicKey", read_public_key, false, true},
	{"PresharedKey", read_preshared_key, false, true},
	{"AllowedIPs", read_allowed_ips, true, true},
	{"Endpoint", read_endpoint, false, true},
	{"PersistentKeepalive", read_keepalive, false, true},
	{NULL},
};

const char *const wg_config_interface_keys[] = {
	"PrivateKey",
	"ListenPort",
	"FwMark",
	"Address",
	"DNS",
	"MTU",
	"Table",
	"PreUp",
	"PostUp",
	"PreDown",
	"PostDown",
	"SaveConfig",
	NULL,
};

const char *const wg_config_peer_keys[] = {
	"PublicKey",
	"PresharedKey",
	"AllowedIPs",
	"Endpoint",
	"PersistentKeepalive",
	NULL,
};

static const struct key_rule *find_rule(const struct taking *taking)
{
	const struct key_rule *rule = NULL;

	if (strcasecmp(taking->section->name, "Interface") == 0)
		rule = interface_rules;
	else if (strcasecmp(taking->section->name, "Peer") == 0 && taking->config->peer_count > 0)
		rule = peer_rules;
	for (; rule && rule->name; rule++)
		if (strcasecmp(taking->entry->key, rule->name) == 0)
			return rule;
	return NULL;
}

/* Return: the same key further up in the section, or NULL. */
static const struct ini_entry *earlier_entry(const struct taking *taking)
{
	for (size_t i = 0; i < taking->section->entry_count; i++) {
		const struct ini_entry *entry = &taking->section->entries[i];

		if (entry == taking->entry)
			return NULL;
		if (strcasecmp(entry->key, taking->entry->key) == 0)
			return entry;
	}
	return NULL;
}

static int reject_second(const struct taking *taking, const struct ini_entry *first)
{
	ini_report_add(taking->report, taking->ini->path, taking->entry->line,
		"%s: stands in line %u already; one is needed", taking->entry->key, first->line);
	return -EINVAL;
}

static void remove_blanks(char *text)
{
	char *to = text;

	for (; *text; text++)
		if (!isspace((unsigned char)*text))
			*to++ = *text;
	while (to < text)
		*to++ = '\0';
}

int wg_config_take(struct wg_config *config, const struct ini *ini, const struct ini_section *section,
	const struct ini_entry *entry, struct ini_report *report)
{
	struct taking taking = {
		.config = config,
		.ini = ini,
		.section = section,
		.entry = entry,
		.report = report,
	};
	const struct key_rule *rule = find_rule(&taking);
	const struct ini_entry *first;
	size_t len;
	int rc;

	if (!rule)
		return 0;
	first = rule->repeats ? NULL : earlier_entry(&taking);
	if (first)
		return reject_second(&taking, first);
	len = strlen(entry->value);
	taking.value = strdup(entry->value);
	if (!taking.value)
		return out_of_memory(&taking);
	if (rule->blanks_go)
		remove_blanks(taking.value);
	rc = rule->read(&taking);
	/* Reading may have cut the copy up: its length is that of the original. */
	secret_wipe(taking.value, len);
	free(taking.value);
	return rc;
}

static int open_interface(struct wg_config *config, const struct ini *ini, unsigned line, struct ini_report *report)
{
	if (config->interface.line != 0) {
		ini_report_add(report, ini->path, line, "[Interface]: stands in line %u already; one section is needed",
			config->interface.line);
		return -EINVAL;
	}
	config->interface.line = line;
	return 0;
}

static int open_peer(struct wg_config *config, const struct ini *ini, unsigned line, struct ini_report *report)
{
	struct wg_config_peer *grown = grow(config->peers, config->peer_count, sizeof(*grown));

	if (!grown) {
		ini_report_add(report, ini->path, line, "[Peer]: out of memory");
		return -ENOMEM;
	}
	config->peers = grown;
	grown[config->peer_count++].line = line;
	return 0;
}

int wg_config_open_section(
	struct wg_config *config, const struct ini *ini, const struct ini_section *section, struct ini_report *report)
{
	if (strcasecmp(section->name, "Interface") == 0)
		return open_interface(config, ini, section->line, report);
	if (strcasecmp(section->name, "Peer") == 0)
		return open_peer(config, ini, section->line, report);
	return 0;
}

static int compare_keys(const void *a, const void *b)
{
	const struct wg_config_peer *const *x = a, *const *y = b;
	int order = memcmp((*x)->public_key, (*y)->public_key, WG_CONFIG_KEY_LEN);

	return order != 0 ? order : (*x)->line < (*y)->line ? -1 : (*x)->line > (*y)->line;
}

static int check_keys(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	const struct wg_config_peer **sorted = calloc(config->peer_count + 1, sizeof(*sorted));
	size_t count = 0;
	int rc = 0;

	if (!sorted)
		return -ENOMEM;
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
			"PublicKey: '%s': belongs to the peer of line %u already; every peer needs a key of its own",
			text, sorted[i - 1]->public_key_line);
		rc = -EINVAL;
	}
	free(sorted);
	return rc;
}

/* An allowed IP and whose it is. */
struct claim {
	struct wg_config_prefix *prefix;
	size_t peer;
};

static int compare_prefixes(struct wg_config_prefix *a, struct wg_config_prefix *b)
{
	size_t a_len, b_len;
	uint8_t *a_bytes = prefix_bytes(a, &a_len), *b_bytes = prefix_bytes(b, &b_len);

	if (a_len != b_len)
		return a_len < b_len ? -1 : 1;
	if (a->bits != b->bits)
		return a->bits < b->bits ? -1 : 1;
	return memcmp(a_bytes, b_bytes, a_len);
}

static int compare_claims(const void *a, const void *b)
{
	const struct claim *x = a, *y = b;
	int order = compare_prefixes(x->prefix, y->prefix);

	return order != 0 ? order : x->peer < y->peer ? -1 : x->peer > y->peer;
}

static size_t collect_claims(const struct wg_config *config, struct claim *claims)
{
	size_t count = 0;

	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_config_peer *peer = &config->peers[i];

		for (size_t j = 0; j < peer->allowed_ip_count; j++)
			claims[count++] = (struct claim){&peer->allowed_ips[j], i};
	}
	return count;
}

static void report_claim(
	const struct ini *ini, struct ini_report *report, const struct claim *first, const struct claim *second)
{
	char text[ADDR_TEXT_MAX];

	addr_format_host(text, sizeof(text), &second->prefix->addr);
	ini_report_add(report, ini->path, second->prefix->line,
		"AllowedIPs: '%s/%u': belongs to the peer of line %u already; WireGuard gives a prefix to one peer "
		"only",
		text, second->prefix->bits, first->prefix->line);
}

static int check_allowed_ips(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	struct claim *claims;
	size_t count = 0;
	int rc = 0;

	for (size_t i = 0; i < config->peer_count; i++)
		count += config->peers[i].allowed_ip_count;
	claims = calloc(count + 1, sizeof(*claims));
	if (!claims)
		return -ENOMEM;
	count = collect_claims(config, claims);
	qsort(claims, count, sizeof(*claims), compare_claims);
	for (size_t i = 1; i < count; i++) {
		if (claims[i].peer == claims[i - 1].peer ||
			compare_prefixes(claims[i].prefix, claims[i - 1].prefix) != 0)
			continue;
		report_claim(ini, report, &claims[i - 1], &claims[i]);
		rc = -EINVAL;
	}
	free(claims);
	return rc;
}

/* Whether a peer without a key makes sense is the caller's to say; one with addresses never does. */
static int check_peers_without_key(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	int rc = 0;

	for (size_t i = 0; i < config->peer_count; i++) {
		const struct wg_config_peer *peer = &config->peers[i];

		/* public_key_line: a key that was refused has its own message. */
		if (peer->public_key_line != 0 ||
			(peer->allowed_ip_count == 0 && !peer->endpoint && !peer->has_preshared_key))
			continue;
		ini_report_add(report, ini->path, peer->line,
			"PublicKey: is missing in this [Peer], which has keys of WireGuard; PublicKey = … is needed");
		rc = -EINVAL;
	}
	return rc;
}

int wg_config_finish(const struct wg_config *config, const struct ini *ini, struct ini_report *report)
{
	int without = check_peers_without_key(config, ini, report);
	int keys = check_keys(config, ini, report);
	int prefixes = check_allowed_ips(config, ini, report);

	return without < 0 ? without : keys < 0 ? keys : prefixes;
}

static void strings_done(char **array, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(array[i]);
	free(array);
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
	for (size_t i = 0; i < 4; i++)
		strings_done(interface->hooks[i], interface->hook_count[i]);
	secret_wipe(config, sizeof(*config));
}
