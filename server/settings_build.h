/* From the configuration to what the worker is given: settings in a sealed memory file, and the list of clients in
 * them. A reload makes another such pair beside the one in use; if that fails, nothing has changed. */
#pragma once

#include "server/certificate_watch.h"
#include "server/client_list.h"
#include "server/config.h"
#include "server/settings.h"

struct settings_build {
	struct client_list clients;
	int settings_fd; /* handed to every worker, also after a restart of it */
	char *certificate_pem; /* NULL: none is needed */
	struct addr *homes;    /* To of each [Publish] with ServerName, in the order of the settings */
	size_t home_count;
	uint32_t home_number;		/* of the first, for the worker */
	struct certificate_marks marks; /* of the files that certificate and key were read from */
};

/* The part that stays the same from the start on. */
struct settings_build_frame {
	const char *folder; /* STATE_DIR/NAME, there */
	struct server_settings_listener *listeners;
	size_t listener_count;
	struct addr target;
	struct client_number_table *sources;
	bool has_told_pin;
	uint32_t home_number; /* of the next build's first */
};

/* Reads the certificate, makes or renews our own. Borrows the clients of @config. Return: 0 or a negative errno. */
int settings_build_open(struct settings_build *ret, struct settings_build_frame *frame,
	const struct server_config *config, struct err *err);
void settings_build_close(struct settings_build *build);
