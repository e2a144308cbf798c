/* What the worker is given, made of a configuration: settings in a sealed memory file, and who they are about. A reload makes
 * another edition beside the one in use; where it cannot be made, nothing has changed. */
#ifndef TOWPATH_SERVER_EDITION_H
#define TOWPATH_SERVER_EDITION_H

#include "server/config.h"
#include "server/roster.h"
#include "server/settings.h"

struct edition {
	struct roster roster;
	int settings_fd; /* for every worker again */
};

/* What stays from the start on. */
struct edition_frame {
	const char *folder; /* STATE_DIR/NAME, there */
	struct server_settings_listener *listeners;
	size_t listener_count;
	struct addr target;
	struct source_table *sources;
	bool has_told_pin;
};

/* Reads the certificate, makes or renews our own. Borrows the clients of @config. Return: 0 or a negative errno. */
int edition_open(struct edition *ret, struct edition_frame *frame, const struct server_config *config, struct err *err);
void edition_close(struct edition *edition);

#endif
