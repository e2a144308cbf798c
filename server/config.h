/* The content of a hub's /etc/towpath/NAME.conf, as plain data. Seen by main.c and the supervisor only. */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/base/ini.h"
#include "common/host/claim.h"
#include "common/host/gateway.h"
#include "common/host/publish.h"
#include "common/process/status_port.h"
#include "common/wireguard/wg_config.h"
#include "server/settings.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct server_listen {
	struct addr addr;
	bool cleartext; /* ws://, loopback only, behind a reverse proxy */
	char text[ADDR_TEXT_MAX];
	unsigned line; /* 0: the default */
};

/* One [Peer] that may open the tunnel. */
struct server_client {
	char *name;	  /* what logs and status call it; "peer-LINE" where the file has no Name */
	char *token;	  /* NULL: may not come in as our client */
	char *stock_path; /* NULL: may not come in as a stock client */
	uint8_t public_key[WG_CONFIG_KEY_LEN];
	bool has_public_key;			      /* its peer on the device */
	int64_t invited_s, invited_until_s, joined_s; /* of `add`; 0: not given */
	char *joined_from;
	struct prefix *prefixes; /* its AllowedIPs, also where it has no peer yet */
	size_t prefix_count;
	unsigned line;							  /* of the section's header */
	unsigned name_line, token_line, stock_path_line, public_key_line; /* of its keys; 0: not given */
};

struct server_config {
	char *path;
	char name[64];
	struct server_listen *listens;
	size_t listen_count;
	char *public_name;	/* HOST[:PORT] by which clients reach the hub; NULL: not said */
	char *certificate_path; /* NULL: a certificate of our own, under the state folder */
	char *certificate_key_path;
	struct addr target; /* always a loopback address */
	char target_text[ADDR_TEXT_MAX];
	struct server_settings
		settings;      /* keys that the worker is told as they are: limits, PingInterval, TrustedProxies */
	char *wireguard_path;  /* of WireGuard = PATH; NULL: none, or [Interface] is in our own file */
	bool has_device;       /* we bring it up: the file has an [Interface], or WireGuard names one that has */
	char device[IFNAMSIZ]; /* its name: the tunnel's, or the base name of wireguard_path */
	bool hidden;	       /* its UDP port answers to the tunnel only */
	struct status_key status;
	struct gateway *gateways;
	size_t gateway_count;
	struct publish *publishes; /* with Port; those with ServerName follow them */
	size_t publish_count;
	size_t named_count; /* of the latter */
	struct claim *claims;
	size_t claim_count;
	unsigned main_line; /* of [Server]'s header */
	struct server_client *clients;
	size_t client_count;
	struct wg_config wireguard; /* [Interface] and [Peer] as wg-quick reads them, or those of wireguard_path */
};

/* A client of `add` that has not joined yet: its public key is still to come. */
bool server_client_waits(const struct server_client *client);

/* Read, check everything, change nothing. All errors go to @report, warnings to the log.
 * Return: 0; -EINVAL with @report filled; another negative errno with @err set where the file cannot be read. */
int server_config_read(const char *path, struct server_config *ret, struct ini_report *report, struct err *err);
void server_config_done(void *config); /* a struct server_config; wipes the secrets */
