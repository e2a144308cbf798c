/* Fingerprints of [Interface] (fingerprint.h): FNV-1a with 64 bits, which needs no library and no secret. The texts
 * come from a file of the operator's, so nobody gains by a collision: it would leave one key out of a line of the log.
 */
#include "common/host/fingerprint.h"

#include "common/base/prefix.h"
#include "common/base/text.h"
#include "common/host/hook.h"

#include <string.h>

#define FNV_START 0xcbf29ce484222325u
#define FNV_PRIME 0x100000001b3u

/* One step of FNV-1a: first the byte, then the prime; the other order spreads the last byte badly. */
static uint64_t print_bytes(uint64_t print, const void *bytes, size_t len)
{
	const uint8_t *at = bytes;

	for (size_t i = 0; i < len; i++)
		print = (print ^ at[i]) * FNV_PRIME;
	return print;
}

static uint64_t print_number(uint64_t print, uint64_t number)
{
	return print_bytes(print, &number, sizeof(number));
}

/* Each with its terminator: "ab", "c" and "a", "bc" are two lists. */
static uint64_t print_texts(uint64_t print, char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		print = print_bytes(print, texts[i], strlen(texts[i]) + 1);
	return print;
}

/* As text, because the bytes of a struct addr between its members say nothing. */
static uint64_t print_addresses(const struct wg_config_interface *interface)
{
	uint64_t print = FNV_START;

	for (size_t i = 0; i < interface->address_count; i++) {
		char text[PREFIX_TEXT_MAX];

		prefix_format(text, sizeof(text), &interface->addresses[i].prefix);
		print = print_bytes(print, text, strlen(text) + 1);
	}
	return print;
}

/* A new key of [Interface] that only a restart can change gets a case here, or a reload passes over it in silence. */
static uint64_t print_key(enum fingerprint_key key, const struct wg_config_interface *interface)
{
	uint64_t print = FNV_START;

	switch (key) {
	case FINGERPRINT_PRIVATE_KEY:
		return print_bytes(print, interface->private_key, sizeof(interface->private_key));
	case FINGERPRINT_LISTEN_PORT:
		return print_number(print, interface->listen_port);
	case FINGERPRINT_FWMARK:
		return print_number(print, interface->fwmark);
	case FINGERPRINT_ADDRESS:
		return print_addresses(interface);
	case FINGERPRINT_MTU:
		return print_number(print, interface->mtu);
	case FINGERPRINT_TABLE:
		return print_number(print_number(print, interface->table_kind), interface->table);
	case FINGERPRINT_DNS:
		return print_texts(print, interface->dns, interface->dns_count);
	case FINGERPRINT_UP_HOOKS:
		/* The number in between keeps a line that moves from PreUp to PostUp apart. */
		print = print_texts(print, interface->hooks[HOOK_PRE_UP], interface->hook_count[HOOK_PRE_UP]);
		return print_texts(
			print_number(print, 0), interface->hooks[HOOK_POST_UP], interface->hook_count[HOOK_POST_UP]);
	case FINGERPRINT_COUNT:
		break;
	}
	return print;
}

void fingerprint_take(struct fingerprint *ret, const struct wg_config *config, const bool is_full[2])
{
	for (int key = 0; key < FINGERPRINT_COUNT; key++)
		ret->prints[key] = print_key(key, &config->interface);
	ret->routing = (struct wg_config_interface){
		.table_kind = config->interface.table_kind, .table = config->interface.table};
	memcpy(ret->is_full, is_full, sizeof(ret->is_full));
}

bool fingerprint_is_same(
	const struct fingerprint *then, enum fingerprint_key key, const struct wg_config_interface *interface)
{
	return print_key(key, interface) == then->prints[key];
}

struct wg_config fingerprint_route(const struct fingerprint *then, const struct wg_config *config)
{
	return (struct wg_config){.interface = then->routing, .peers = config->peers, .peer_count = config->peer_count};
}

void fingerprint_name_changes(const struct fingerprint *then, const struct wg_config *config, const bool is_full[2],
	char *ret, size_t size)
{
	static const char *const names[FINGERPRINT_COUNT] = {
		"PrivateKey", "ListenPort", "FwMark", "Address", "MTU", "Table", "DNS", "PreUp and PostUp"};

	ret[0] = '\0';
	for (int key = 0; key < FINGERPRINT_COUNT; key++)
		if (!fingerprint_is_same(then, key, &config->interface))
			text_append_word(ret, size, names[key]);
	/* A full tunnel comes and goes with its rules, its table and its mark. */
	if (is_full[0] != then->is_full[0])
		text_append_word(ret, size, "AllowedIPs (IPv4 full tunnel)");
	if (is_full[1] != then->is_full[1])
		text_append_word(ret, size, "AllowedIPs (IPv6 full tunnel)");
}
