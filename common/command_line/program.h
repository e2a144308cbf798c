/* The way of both programs through their command line: hand over to the worker where the supervisor started us, to the
 * supervisor for `run` and `up`, to the configuration's reader for `check`, to a running supervisor's control socket
 * for `down`, `reload` and `status`. A program is this table, and its main() one call. */
#pragma once

#include "common/command_line/options.h"
#include "common/process/configuration.h"
#include "common/process/supervise.h"

struct program {
	struct options_program command_line;
	const char *role;			 /* "client" */
	const char *section;			 /* of a file that is such a tunnel's: "Client" */
	struct configuration_type configuration; /* context of its read(): the struct options */
	/* The name and path of a configuration that was read. *ret_path: NULL for a URL. Borrowed from @config. */
	void (*identify)(const void *config, const char **ret_name, const char **ret_path);
	/* For `check`: warn in the log of what the host's rules do to a configuration that is valid. NULL: nothing. */
	void (*look_at_host)(const void *config);
	/* Run until SIGTERM, SIGINT or `down` (0), or until it cannot go on (1). Return: the exit code. */
	int (*supervise)(const void *config, const struct supervisor_options *options);
	/* Be a worker on the channel @channel_fd until it ends or CHANNEL_STOP comes. Return: the exit code. */
	int (*work)(int channel_fd);
};

/* Return: the exit code. */
int program_main(const struct program *program, int argc, char **argv);
