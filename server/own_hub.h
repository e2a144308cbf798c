/* The hub that a command is about, as its files are now: for the commands that change its clients. */
#pragma once

#include "common/command_line/options.h"
#include "common/command_line/tunnel_ref.h"
#include "server/config.h"

struct own_hub {
	const struct options *options;
	char path[PATH_MAX];
	struct server_config config;
	struct tunnel_ref tunnel;
};

/* --hub, or the only hub there is; its configuration is read and must be right. @is_changed: the command changes its
 * clients, and other such commands wait until the process ends. Return: -1 to go on (own_hub_close() it), or the exit
 * code after a complaint. */
int own_hub_open(struct own_hub *ret, const struct options *options, bool is_changed);
void own_hub_close(struct own_hub *hub);

/* Complain where @client is no name of a client. Return: -1, or the exit code. */
int own_hub_check_client(const struct options *options, const char *client);

/* Have it read its files again, if it runs. @ret_runs: it does. Return: 0, or a negative errno with @err set: it refuses
 * them. */
int own_hub_reload(const struct own_hub *hub, bool *ret_runs, struct err *err);

/* STATE_DIR/NAME, there. Return: 0 or a negative errno. */
int own_hub_state_folder(const struct own_hub *hub, char ret[PATH_MAX], struct err *err);
