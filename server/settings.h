/* The settings of the hub's worker: all that it needs and no more, as JSON in a sealed memory file. */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/base/prefix.h"
#include "common/base/server_name.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The highest number of a client, see client_number.h: of a /10, without the first and the last address. */
#define CLIENT_NUMBER_MAX ((1u << 22) - 2)

/* Bounds, which the configuration's parsers keep to as well. */
#define SERVER_SETTINGS_LISTENERS_MAX 64
#define SERVER_SETTINGS_PROXIES_MAX 256
#define SERVER_SETTINGS_CLIENTS_MAX 1000000 /* sessions at a time */

struct server_settings_listener {
	char text[ADDR_TEXT_MAX];
	bool cleartext;
	bool only_proxies; /* whoever is none of trusted_proxies is not let in */
};

struct server_settings_client {
	uint32_t number; /* channel_flow.client, see client_number.h */
	char *name;
	char *token;		/* NULL: none */
	char *stock_path;	/* NULL: none */
	uint64_t waits_until_s; /* its public key is still to come, until then; 0: not */
	bool has_joined;	/* by an invitation: no machine with another key may come in */
	uint8_t joined_key[32];
	/* The worker's own, not handed down: why the key of its machine was not written down, and until when its machine
	 * is told so. */
	const char *unwritten;
	uint64_t unwritten_until_us;
};

/* The token of a client that was revoked, to tell a late guest. */
struct server_settings_gone {
	char *token;
};

/* A [Publish] with ServerName. */
struct server_settings_publish {
	struct server_name *names;
	size_t name_count;
	struct addr to;		/* for logs and status: the supervisor connects */
	uint8_t proxy_protocol; /* version of the PROXY header that To is sent; 0: none */
};

struct server_settings {
	char name[64];
	struct server_settings_listener *listeners; /* in the order of CHANNEL_LISTENER's index */
	size_t listener_count;
	char *certificate_pem; /* chain */
	char *certificate_key_pem;
	struct addr target;
	struct server_settings_client *clients; /* in the order of their numbers */
	size_t client_count;
	struct server_settings_gone *gone;
	size_t gone_count;
	char *networks; /* behind the hub, for a machine that joins: "10.10.0.0/24,192.168.1.0/24"; NULL: none */
	uint32_t max_clients;
	uint32_t max_sessions_per_client;
	uint64_t ping_interval_ms;
	struct prefix *trusted_proxies;
	size_t trusted_proxy_count;
	char *page_html; /* the plain page for visitors */
	struct server_settings_publish *publishes;
	size_t publish_count;
	uint32_t publish_number;       /* channel_home.publish of the first one; the others follow */
	struct server_name *own_names; /* whole ones of the certificate: not published, whatever a star says */
	size_t own_name_count;
};

/* Supervisor: write into a new sealed memfd. Return: descriptor or a negative errno. */
int server_settings_write(const struct server_settings *settings, struct err *err);
/* Worker: read, and check every field as if it came from a stranger. Closes @fd. Return: 0 or a negative errno. */
int server_settings_read(int fd, struct server_settings *ret, struct err *err);
/* The client with this number. Return: borrowed, or NULL. */
const struct server_settings_client *server_settings_find(const struct server_settings *settings, uint32_t number);
/* Which of ->publishes the server @name is: a whole name goes before a star, and our own before both. Return: its
 * index, or -ENOENT. */
int server_settings_find_publish(const struct server_settings *settings, const char *name, size_t len);
void server_settings_done(struct server_settings *settings); /* wipes the secrets */
