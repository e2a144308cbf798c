/* One line of the undo list as JSON: {"kind":"sysctl","path":…,"old":…,"new":…}.
 *
 *    kind                     its members; each entry may also have "outlives_boot": true
 *    sysctl                   path, old, new
 *    device                   name, index
 *    rule                     family, priority, table, mark, not, suppresses_default
 *    firewall                 text: the name of our nftables table
 *    command                  text: a line for sh -c
 *    claim_ip, claim_route    namespace, id, name, index, prefix, public_key
 *    service                  protocol, address, first, last, to, to_first
 *
 * An update of this program may find a list that the former version has written, so a word keeps its meaning, and a
 * member that is added later needs a default for lines without it.
 *
 * Reading trusts nothing: a number or a text that is out of range makes the line no entry. The file is ours, but a
 * loss of power or a full disk may have left anything in it.
 */
#include "common/host/undo_entry.h"

#include "common/base/base64.h"

#include <errno.h>
#include <string.h>

/* In files that an update of this program finds: a word may be added, and none may change its meaning. */
static const char *const kind_words[] = {
	[UNDO_SYSCTL] = "sysctl",
	[UNDO_DEVICE] = "device",
	[UNDO_RULE] = "rule",
	[UNDO_FIREWALL] = "firewall",
	[UNDO_COMMAND] = "command",
	[UNDO_CLAIM_IP] = "claim_ip",
	[UNDO_CLAIM_ROUTE] = "claim_route",
	[UNDO_SERVICE] = "service",
};
#define KIND_COUNT (sizeof(kind_words) / sizeof(kind_words[0]))

/* A route has the key of its claim's peer. */
static json_t *encode_claim(const struct undo_entry *entry, const char *word)
{
	char prefix[PREFIX_TEXT_MAX], key[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1];

	base64_encode(key, sizeof(key), entry->public_key, sizeof(entry->public_key), BASE64_STANDARD);
	return json_pack("{s:s, s:s, s:I, s:s, s:i, s:s, s:s}", "kind", word, "namespace", entry->text, "id",
		(json_int_t)entry->netns, "name", entry->device, "index", entry->index, "prefix",
		prefix_format(prefix, sizeof(prefix), &entry->prefix), "public_key", key);
}

/* @address: "" for a service at every address. The last port of To follows from the others: there are as many. */
static json_t *encode_service(const char *word, const struct service *service)
{
	char address[ADDR_TEXT_MAX] = "", to[ADDR_TEXT_MAX];

	if (service->address.sa.sa_family)
		addr_format_host(address, sizeof(address), &service->address);
	return json_pack("{s:s, s:i, s:s, s:i, s:i, s:s, s:i}", "kind", word, "protocol", service->protocol, "address",
		address, "first", service->ports.first, "last", service->ports.last, "to",
		addr_format_host(to, sizeof(to), &service->to), "to_first", service->to_ports.first);
}

/* Return: NULL without memory. */
static json_t *encode_kind(const struct undo_entry *entry)
{
	const char *word = kind_words[entry->kind];
	const struct net_rule *rule = &entry->rule;

	switch (entry->kind) {
	case UNDO_SYSCTL:
		return json_pack("{s:s, s:s, s:s, s:s}", "kind", word, "path", entry->path, "old", entry->old_value,
			"new", entry->new_value);
	case UNDO_DEVICE:
		return json_pack("{s:s, s:s, s:i}", "kind", word, "name", entry->device, "index", entry->index);
	case UNDO_RULE:
		return json_pack("{s:s, s:i, s:I, s:I, s:I, s:b, s:b}", "kind", word, "family", rule->family,
			"priority", (json_int_t)rule->priority, "table", (json_int_t)rule->table, "mark",
			(json_int_t)rule->mark, "not", rule->is_not, "suppresses_default", rule->suppresses_default);
	case UNDO_FIREWALL:
	case UNDO_COMMAND:
		return json_pack("{s:s, s:s}", "kind", word, "text", entry->text);
	case UNDO_CLAIM_IP:
	case UNDO_CLAIM_ROUTE:
		return encode_claim(entry, word);
	case UNDO_SERVICE:
		return encode_service(word, &entry->service);
	}
	return NULL;
}

json_t *undo_entry_encode(const struct undo_entry *entry)
{
	json_t *object = encode_kind(entry);

	if (object && entry->outlives_boot)
		json_object_set_new(object, "outlives_boot", json_true());
	return object;
}

/* Return: false: not a text, or one that is too long. */
static bool take_text(const json_t *object, const char *key, char *ret, size_t size)
{
	const char *text = json_string_value(json_object_get(object, key));

	if (!text || strlen(text) >= size)
		return false;
	memcpy(ret, text, strlen(text) + 1);
	return true;
}

/* Return: false: missing, not a number, or more than 32 bits. */
static bool take_number(const json_t *object, const char *key, uint32_t *ret)
{
	const json_t *number = json_object_get(object, key);
	json_int_t value = json_integer_value(number);

	*ret = (uint32_t)value;
	return json_is_integer(number) && value >= 0 && value <= UINT32_MAX;
}

/* A flag that is missing, or is no boolean, is off. Return: false: a number is missing or out of range. */
static bool decode_rule(const json_t *object, struct net_rule *rule)
{
	uint32_t family = 0;
	bool is_whole = take_number(object, "family", &family) && take_number(object, "priority", &rule->priority) &&
			take_number(object, "table", &rule->table) && take_number(object, "mark", &rule->mark);

	rule->family = (int)family;
	rule->is_not = json_is_true(json_object_get(object, "not"));
	rule->suppresses_default = json_is_true(json_object_get(object, "suppresses_default"));
	return is_whole;
}

/* The namespace's id has 64 bits. JSON carries it as a signed number, and the cast brings it back. */
static bool decode_claim(const json_t *object, struct undo_entry *entry)
{
	char prefix[PREFIX_TEXT_MAX], key[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1];

	entry->index = (int)json_integer_value(json_object_get(object, "index"));
	entry->netns = (uint64_t)json_integer_value(json_object_get(object, "id"));
	return entry->index > 0 && take_text(object, "name", entry->device, sizeof(entry->device)) &&
	       take_text(object, "namespace", entry->text, sizeof(entry->text)) &&
	       take_text(object, "prefix", prefix, sizeof(prefix)) && prefix_parse(prefix, &entry->prefix) == 0 &&
	       take_text(object, "public_key", key, sizeof(key)) &&
	       base64_decode(entry->public_key, sizeof(entry->public_key), key, strlen(key), BASE64_STANDARD) ==
		       (ssize_t)sizeof(entry->public_key);
}

/* An address without a port. "" stays one of no family. */
static bool take_host(const json_t *object, const char *key, struct addr *ret)
{
	char text[ADDR_TEXT_MAX];
	struct prefix host;

	if (!take_text(object, key, text, sizeof(text)) || (text[0] && prefix_parse(text, &host) < 0))
		return false;
	*ret = text[0] ? host.addr : (struct addr){.sa = {0}};
	return true;
}

/* No range may pass 65535, also not the one that begins at to_first and is as long as the other. */
static bool decode_service(const json_t *object, struct service *service)
{
	uint32_t protocol = 0, first = 0, last = 0, to_first = 0;

	if (!take_number(object, "protocol", &protocol) || !take_number(object, "first", &first) ||
		!take_number(object, "last", &last) || !take_number(object, "to_first", &to_first) ||
		!take_host(object, "address", &service->address) || !take_host(object, "to", &service->to) ||
		protocol > UINT8_MAX || first == 0 || last < first || to_first == 0 || last > UINT16_MAX ||
		to_first > UINT16_MAX - (last - first))
		return false;
	service->protocol = (uint8_t)protocol;
	service->ports = (struct service_ports){(uint16_t)first, (uint16_t)last};
	service->to_ports = (struct service_ports){(uint16_t)to_first, (uint16_t)(to_first + (last - first))};
	return true;
}

static bool decode_kind(const json_t *object, struct undo_entry *entry)
{
	switch (entry->kind) {
	case UNDO_SYSCTL:
		return take_text(object, "path", entry->path, sizeof(entry->path)) &&
		       take_text(object, "old", entry->old_value, sizeof(entry->old_value)) &&
		       take_text(object, "new", entry->new_value, sizeof(entry->new_value));
	case UNDO_DEVICE:
		entry->index = (int)json_integer_value(json_object_get(object, "index"));
		return entry->index > 0 && take_text(object, "name", entry->device, sizeof(entry->device));
	case UNDO_RULE:
		return decode_rule(object, &entry->rule);
	case UNDO_FIREWALL:
	case UNDO_COMMAND:
		return take_text(object, "text", entry->text, sizeof(entry->text));
	case UNDO_CLAIM_IP:
	case UNDO_CLAIM_ROUTE:
		return decode_claim(object, entry);
	case UNDO_SERVICE:
		return decode_service(object, &entry->service);
	}
	return false;
}

/* @ret is set only as a whole, because half of an entry would be undone as one. */
int undo_entry_decode(const json_t *object, struct undo_entry *ret)
{
	const char *word = json_string_value(json_object_get(object, "kind"));
	struct undo_entry entry = {.outlives_boot = json_is_true(json_object_get(object, "outlives_boot"))};
	size_t kind = 0;

	while (word && kind < KIND_COUNT && strcmp(word, kind_words[kind]) != 0)
		kind++;
	if (!word || kind == KIND_COUNT)
		return -EINVAL;
	entry.kind = (enum undo_kind)kind;
	if (!decode_kind(object, &entry))
		return -EINVAL;
	*ret = entry;
	return 0;
}

/* net/ipv6/conf/DEVICE/forwarding or accept_ra, for any DEVICE, also "all" and "default". */
static bool is_ipv6_forwarding(const char *path)
{
	static const char conf[] = "net/ipv6/conf/";
	const char *last = strrchr(path, '/');

	return strncmp(path, conf, sizeof(conf) - 1) == 0 &&
	       (strcmp(last, "/forwarding") == 0 || strcmp(last, "/accept_ra") == 0);
}

bool undo_entry_is_tied(const struct undo_entry *a, const struct undo_entry *b)
{
	if (a->kind != UNDO_SYSCTL || b->kind != UNDO_SYSCTL)
		return false;
	return strcmp(a->path, b->path) == 0 || (is_ipv6_forwarding(a->path) && is_ipv6_forwarding(b->path));
}
