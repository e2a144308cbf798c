/* The settings of the client's worker: all that it needs and no more, as JSON in a sealed memory file. */
#pragma once

#include "client/address_list.h"
#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/tunnel/carrier.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bounds, which the configuration's parsers keep to as well. */
#define CLIENT_SETTINGS_LIST_MAX 64	/* servers, pins, headers */
#define CLIENT_SETTINGS_URL_MAX 512	/* this and what follows: bytes */
#define CLIENT_SETTINGS_SECRET_MAX 1024 /* token, password, key, path prefix */
#define CLIENT_SETTINGS_HEADER_MAX 4096

struct client_settings_server {
	char *url; /* as the user wrote it, for logs and status */
	char *host;
	uint16_t port;
	bool cleartext;
	char *addresses; /* what the name that is dialled last stood for, see address_list.h; NULL: not known */
};

struct client_settings {
	char name[64];
	struct client_settings_server *servers; /* in order of preference */
	size_t server_count;
	char listen_text[ADDR_TEXT_MAX]; /* the local UDP port; the socket comes as CHANNEL_LISTENER, index 0 */
	char *token;			 /* NULL only with stock_path */
	uint8_t (*pins)[32];
	size_t pin_count;
	char *ca_pem;		      /* NULL: the system's store */
	char *client_certificate_pem; /* chain; NULL: none */
	char *client_key_pem;
	char *server_name; /* NULL: the server's host */
	bool interception; /* leave the channel binding out */
	char *proxy_host;  /* NULL: straight out */
	uint16_t proxy_port;
	char *proxy_user; /* NULL: no Proxy-Authorization */
	char *proxy_password;
	uint64_t ping_interval_ms;
	enum carrier_mask mask;
	char *stock_path; /* NULL: our own server */
	bool has_public_key;
	uint8_t public_key[32];	 /* of our device, for a hub that does not know it yet */
	bool takes_any_target;	 /* Target is not said: a hub of ours is asked for whatever it serves */
	char *stock_target_host; /* `r` and `rp` of the JWT; set also for our own server */
	uint16_t stock_target_port;
	char *basic_auth; /* "user:password"; NULL: none */
	char **headers;	  /* "Name: value" */
	size_t header_count;
	char *nameservers; /* the physical links', under a full tunnel; NULL: the system's */
	char *jwt_key;	   /* NULL: the token; for a stock server without one, any key does */
};

/* See server/settings.h. */
int client_settings_write(const struct client_settings *settings, struct err *err);
int client_settings_read(int fd, struct client_settings *ret, struct err *err);
void client_settings_done(struct client_settings *settings);
