/* A client's configuration as plain data, and the tables of its keys.
 *
 * A key that only the worker needs is stored in .settings unchanged: a field and a row in client/settings.[hc], and a
 * row of the table in config_keys.c. Keys that concern the host have a field here.
 */
#pragma once

#include "client/settings.h"
#include "common/base/addr.h"
#include "common/base/key_table.h"
#include "common/host/gateway.h"
#include "common/process/status_port.h"
#include "common/wireguard/wg_config.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_DEFAULT_LISTEN "127.0.0.1:51820" /* without a device of ours */

enum client_fwmark { CLIENT_FWMARK_AUTO, CLIENT_FWMARK_OFF, CLIENT_FWMARK_NUMBER };

struct client_config {
	char *path;    /* NULL: from a URL */
	char name[64]; /* from a URL: its host name */
	/* Keys that are sent to the worker unchanged. Values from files and from the host (certificates, the open port,
	 * addresses of names) are filled in later, in a copy; see settings_build.h and the supervisor. */
	struct client_settings settings;
	char *ca_path; /* NULL: the system's */
	char *client_certificate_path;
	char *client_key_path;
	struct addr listen; /* port 0: a free one, with a device of ours */
	char listen_text[ADDR_TEXT_MAX];
	enum client_fwmark fwmark_kind;
	uint32_t fwmark;
	char congestion_control[16];
	char *wireguard_path; /* these as in server/config.h */
	bool has_device;
	char device[IFNAMSIZ];
	struct status_key status;
	struct gateway *gateways;
	size_t gateway_count;
	struct wg_config wireguard;
	unsigned key_lines[KEY_ROWS_MAX]; /* for each row of the table the line that set it, see struct key_reader */
	unsigned main_line;		  /* of [Client]'s header; 0: from a URL */
};

/* The keys of [Client], parsed into a struct client_config, and those of [Peer] that a client refuses. */
extern const struct key_table client_config_table;
extern const struct key_table client_config_peer_table;

/* One key of [Client] as given on the command line: @option "server-name", @value its text. The same parser and the
 * same complaints as for the file, with "--server-name" where the file has FILE:LINE: KEY. Secrets are refused.
 * Return: 0, or -EINVAL with a line in @report. */
int client_config_option(
	struct client_config *config, const char *option, const char *value, struct ini_report *report);

/* The keys as options, "server-name", for the command line; NULL-terminated, made once. */
const char *const *client_config_options(void);
