/* What the worker is given, made of a configuration: settings in a sealed memory file, and who they are about. A reload makes
 * another edition beside the one in use; where it cannot be made, nothing has changed. */
#ifndef TOWPATH_SERVER_SETTINGS_BUILD_H
#define TOWPATH_SERVER_SETTINGS_BUILD_H

#include "server/config.h"
#include "server/client_list.h"
#include "server/settings.h"

struct settings_build {
	struct client_list roster;
	int settings_fd; /* for every worker again */
};

/* What stays from the start on. */
struct settings_build_frame {
	const char *folder; /* STATE_DIR/NAME, there */
	struct server_settings_listener *listeners;
	size_t listener_count;
	struct addr target;
	struct client_number_table *sources;
	bool has_told_pin;
};

/* Reads the certificate, makes or renews our own. Borrows the clients of @config. Return: 0 or a negative errno. */
int settings_build_open(struct settings_build *ret, struct settings_build_frame *frame, const struct server_config *config, struct err *err);
void settings_build_close(struct settings_build *edition);

#endif
