/* [Interface] and [Peer] as wg-quick(8) and wg(8) read them, as plain data.
 *
 * Reads and checks; brings nothing up. Keys of these sections that are Towpath's own (Name, Token, StockPath,
 * PrivateKeyFile …) are in tables of the caller, who offers each entry to both.
 */
#pragma once

#include "common/base/ini.h"
#include "common/base/key_table.h"
#include "common/base/prefix.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WG_CONFIG_KEY_LEN 32
#define WG_CONFIG_DNS_ROOM 1800 /* what all of DNS takes in one command line; more is refused */
#define WG_CONFIG_DNS_QUOTES 3	/* a blank and two quotes for each word */

struct wg_config_prefix {
	struct prefix prefix; /* bits behind its length are kept in Address, cleared in AllowedIPs */
	unsigned line;
};

struct wg_config_interface {
	unsigned line; /* of the section's first header; 0: there is none */
	unsigned lines[KEY_ROWS_MAX]; /* see key_reader: the section may repeat, and goes on then */
	uint8_t private_key[WG_CONFIG_KEY_LEN];
	bool has_private_key;
	unsigned private_key_line; /* lines, here and below: 0: not given; the first one of a key that may repeat */
	uint16_t listen_port;	   /* 0: any */
	unsigned listen_port_line;
	uint32_t fwmark; /* 0: off */
	unsigned fwmark_line;
	struct wg_config_prefix *addresses;
	size_t address_count;
	uint16_t mtu; /* 0: what fits */
	enum { WG_CONFIG_TABLE_AUTO, WG_CONFIG_TABLE_OFF, WG_CONFIG_TABLE_NUMBER } table_kind;
	uint32_t table; /* of WG_CONFIG_TABLE_NUMBER */
	unsigned table_line;
	char **dns; /* addresses and search domains as written */
	size_t dns_count, dns_room; /* dns_room: of WG_CONFIG_DNS_ROOM */
	unsigned dns_line;
	char **hooks[4]; /* PreUp, PostUp, PreDown, PostDown, in order */
	size_t hook_count[4];
	unsigned *hook_lines[4]; /* for each hook its own */
};

extern const char *wg_config_hook_keys[4]; /* "PreUp" … */

struct wg_config_peer {
	unsigned line; /* of the section's header */
	uint8_t public_key[WG_CONFIG_KEY_LEN];
	bool has_public_key;
	unsigned public_key_line;
	uint8_t preshared_key[WG_CONFIG_KEY_LEN];
	bool has_preshared_key;
	struct wg_config_prefix *allowed_ips;
	size_t allowed_ip_count;
	char *endpoint; /* "host:port" or "[v6]:port", resolved when brought up; NULL: none */
	unsigned endpoint_line;
	uint16_t persistent_keepalive_s; /* 0: off */
	bool may_wait; /* a hub's client, whose key comes when it joins: AllowedIPs alone are right */
};

struct wg_config {
	struct wg_config_interface interface;
	struct wg_config_peer *peers;
	size_t peer_count;
	char amnezia[320];	 /* AmneziaWG's keys that are not neutral: "Jc, S1, I1"; all are 278 characters */
	char amnezia_plain[512]; /* "Jc = 0, S1 = 0, no I1"; all of them are 426 */
	unsigned amnezia_line; /* of the first; 0: none */
};

/* The keys of [Interface], for a struct wg_config_interface, and of [Peer], for a struct wg_config_peer. */
extern const struct key_table wg_config_interface_table;
extern const struct key_table wg_config_peer_table;

/* Offer @entry before the tables see it. AmneziaWG's keys are taken: passed over at the values with which it sends
 * plain WireGuard, else kept for one complaint in wg_config_finish(). Return: false: not such a key. */
bool wg_config_take_amnezia(struct wg_config *config, const struct ini_section *section, const struct ini_entry *entry);

/* Open a section, [Peer] where it is called so, else [Interface]: the table and the owner of its keys go into *reader.
 * Its lines stay the caller's for a [Peer], which is a new one each time; an [Interface] goes on where the last one
 * stopped. The owner of a [Peer] is good until the next one is opened. Return: 0, or -EINVAL with a line in @report. */
int wg_config_open_section(struct wg_config *config, const struct ini *ini, const struct ini_section *section,
	struct key_reader *reader, struct ini_report *report);

/* Read one section of a file that has no others than these two, and no other keys. Mistakes go to @report. */
void wg_config_read_section(
	struct wg_config *config, const struct ini *ini, const struct ini_section *section, struct ini_report *report);

/* Check what only the whole shows: two peers with one key, two with the same allowed IP, a peer that has what only a
 * key gives a meaning to, IPv6 with an MTU that it cannot have. Mistakes go to @report. */
void wg_config_finish(const struct wg_config *config, const struct ini *ini, struct ini_report *report);

/* A new private key in base64, as `wg genkey` prints it. @text: 45 bytes. Return: false: no random numbers. */
bool wg_config_draw_key(char *text);

/* The public key of a private one. Return: false where OpenSSL cannot compute it. */
bool wg_config_public_key(const uint8_t private_key[WG_CONFIG_KEY_LEN], uint8_t ret[WG_CONFIG_KEY_LEN]);

/* Return: the peer with this key, or NULL. */
const struct wg_config_peer *wg_config_find(
	const struct wg_config *config, const uint8_t public_key[WG_CONFIG_KEY_LEN]);

/* Return: false if the peer has no Endpoint, or one that is neither a loopback address nor "localhost". */
bool wg_config_loopback_endpoint(const struct wg_config_peer *peer, struct addr *ret);

/* True for a peer that is reached through the tunnel: its Endpoint is the tunnel's local port @own (family 0: there is
 * none) on a loopback address. Where no peer has such an Endpoint, those without Endpoint are; else they come to us. */
bool wg_config_is_through(const struct wg_config *config, const struct wg_config_peer *peer, const struct addr *own);

void wg_config_done(struct wg_config *config); /* wipes the keys */
