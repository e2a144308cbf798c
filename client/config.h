/* What /etc/towpath/NAME.conf, or a URL with options, says to a client, as plain data. Seen by main.c and the supervisor only. */
#ifndef TOWPATH_CLIENT_CONFIG_H
#define TOWPATH_CLIENT_CONFIG_H

#include "common/base/addr.h"
#include "common/base/err.h"
#include "common/base/ini.h"
#include "common/base/key_table.h"
#include "common/host/gateway.h"
#include "common/tunnel/carrier.h"
#include "common/wireguard/wg_config.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client_server {
	char *url;  /* as written: "wss://vps.example.org" */
	char *host; /* name or address without brackets */
	uint16_t port;
	bool cleartext; /* ws:// */
};

struct client_proxy {
	char *host; /* NULL: go straight out */
	uint16_t port;
	char *user; /* NULL: without Proxy-Authorization */
	char *password;
};

enum client_fwmark { CLIENT_FWMARK_AUTO, CLIENT_FWMARK_OFF, CLIENT_FWMARK_NUMBER };

struct client_config {
	char *path;		       /* NULL: from a URL */
	char name[64];		       /* from a URL: its host name */
	struct client_server *servers; /* in order of preference, at least one */
	size_t server_count;
	char *token;
	uint8_t (*pins)[32]; /* SHA-256 of the SubjectPublicKeyInfo */
	size_t pin_count;
	char *ca_path; /* NULL: the system's */
	char *client_certificate_path;
	char *client_key_path;
	char *server_name; /* NULL: the URL's host */
	bool interception;
	struct addr listen; /* port 0: a free one, with a device of ours */
	char listen_text[ADDR_TEXT_MAX];
	enum client_fwmark fwmark_kind;
	uint32_t fwmark;
	struct client_proxy proxy; /* the file's, or the environment's */
	char congestion_control[16];
	uint64_t ping_interval_ms;
	enum carrier_mask mask;
	char *wireguard_path; /* these as in server/config.h */
	bool has_device;
	char device[IFNAMSIZ];
	struct gateway *gateways;
	size_t gateway_count;
	/* For stock servers: */
	char *stock_path;   /* NULL: the server is ours, the path is "v1" and the token signs */
	char *stock_target; /* "127.0.0.1:51820" as asked for in the JWT; default that */
	char *basic_auth;   /* "user:password" */
	char **headers;	    /* "Name: value" */
	size_t header_count;
	char *jwt_key;
	struct wg_config wireguard;
	unsigned key_lines[KEY_ROWS_MAX]; /* for each key the line that set it; see key_table_take() */
	unsigned main_line;		  /* of [Client]'s header; 0: from a URL */
};

/* Read, check everything, change nothing. All errors go to @report, warnings to the log. *ret: zeroed, or with options
 * given before; they win over the file's keys. client_config_finish() is done here.
 * Return: 0; -EINVAL with @report filled; another negative errno with @err set where the file cannot be read. *ret is
 * done by the caller in any case. */
int client_config_read(const char *path, struct client_config *ret, struct ini_report *report, struct err *err);

/* One key of [Client] as given on the command line: @option "server-name", @value its text. The same parser and the
 * same complaints as for the file, with "--server-name" where the file has FILE:LINE: KEY. Secrets are refused.
 * Return: 0, or -EINVAL with a line in @report. */
int client_config_option(
	struct client_config *config, const char *option, const char *value, struct ini_report *report);

/* The keys as options, "server-name", for the command line; NULL-terminated, made once. */
const char *const *client_config_options(void);

/* From a URL: take the name from it, secrets from TOWPATH_TOKEN, TOWPATH_BASIC_AUTH and TOWPATH_JWT_KEY, fill in
 * defaults and check what only the whole shows, after the last option. Return: 0, or -EINVAL with lines in @report. */
int client_config_finish(struct client_config *config, struct ini_report *report);

/* Where a complaint about Listen points that comes later: "home.conf:4: Listen", or "--listen". Not given: the section's header.
 * Return: @buf. */
const char *client_config_listen_place(const struct client_config *config, char *buf, size_t size);
void client_config_done(struct client_config *config); /* wipes the secrets */

#endif
