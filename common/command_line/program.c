/* See program.h.
 *
 * Happy path of `up`: read the configuration, look whether the tunnel runs, fork; the parent waits in up.c and exits
 * there, the child goes on into the supervisor as `run` does at once. Fails with lines on stderr and the exit code they
 * mean.
 */
#include "common/command_line/program.h"

#include "common/command_line/status.h"
#include "common/command_line/stop_reload.h"
#include "common/command_line/tunnel_ref.h"
#include "common/command_line/up.h"
#include "common/process/channel.h"
#include "common/process/spawn.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* `run` and `up`. Refused while the tunnel runs, with the command that stops it: a second supervisor would undo the
 * first. */
static int start_tunnel(const struct program *program, const void *config, const struct options *options)
{
	struct tunnel_ref tunnel;
	struct supervisor_options how = {.runtime_dir = options->runtime_dir,
		.state_dir = options->state_dir,
		.typed = tunnel.typed,
		.up_fd = -1,
		.type = &program->configuration,
		.context = options};
	const struct up_setup up = {.program = program->command_line.name,
		.tunnel = &tunnel,
		.runtime_dir = options->runtime_dir,
		.state_dir = options->state_dir,
		.timeout_ms = options->timeout_ms};
	const char *name, *path;
	struct err err = {""};
	int rc;

	program->identify(config, &name, &path);
	rc = tunnel_ref_set(&tunnel, options, program->role, name, path, &err);
	if (rc == 0)
		rc = tunnel_ref_refuse_running(&tunnel, &err);
	if (rc == 0 && options->verb == OPTIONS_UP)
		rc = how.up_fd = up_fork(&up, &err); /* returns in the child only, or where the fork has failed */
	if (rc >= 0)
		return program->supervise(config, &how);
	options_complain(&(struct ini_report){0}, &err);
	return EXIT_FAILED;
}

/* The verbs that need the configuration: run, up, check. */
static int with_config(const struct program *program, const struct options *options)
{
	void *config = calloc(1, program->configuration.size);
	struct ini_report report = {0};
	struct err err = {"out of memory"};
	const char *name, *path;
	int code = EXIT_DONE;

	if (!config || program->configuration.read(options, config, &report, &err) < 0) {
		code = options_complain(&report, &err);
	} else if (options->verb != OPTIONS_CHECK) {
		code = start_tunnel(program, config, options);
	} else {
		if (program->look_at_host)
			program->look_at_host(config);
		program->identify(config, &name, &path);
		if (!options->quiet)
			printf("%s: valid\n", path);
	}
	ini_report_done(&report);
	if (config)
		program->configuration.done(config);
	free(config);
	return code;
}

/* Verbs that ask a running tunnel need no valid configuration: `down` must work after the file was broken. */
static int run_verb(const struct program *program, const struct options *options)
{
	switch (options->verb) {
	case OPTIONS_STATUS:
		return status_show(options, program->role, program->section);
	case OPTIONS_DOWN:
		return down_run(options, program->role, program->section);
	case OPTIONS_RELOAD:
		return reload_run(options, program->role, program->section);
	case OPTIONS_COMMAND:
		return options->command->run(options);
	case OPTIONS_RUN:
	case OPTIONS_UP:
	case OPTIONS_CHECK:
		break;
	}
	return with_config(program, options);
}

int program_main(const struct program *program, int argc, char **argv)
{
	struct options options;
	int code;

	/* A worker parses nothing more: its arguments are the supervisor's, see spawn.h. */
	if (argc > 1 && strcmp(argv[1], SPAWN_WORKER_ARGUMENT) == 0) {
		options_take_worker_log(argc, argv);
		return program->work(CHANNEL_FD);
	}
	options_guard_standard_files();
	code = options_parse(&program->command_line, argc, argv, &options);
	if (code >= 0)
		return code;
	code = run_verb(program, &options);
	options_done(&options);
	return code;
}
