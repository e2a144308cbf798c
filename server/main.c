/* towpath-server: the hub. Reads the command line and hands over: to the worker where the supervisor started us, to
 * the supervisor for `run`, to the configuration's reader for `check`, to a running supervisor's control socket for
 * `status`.
 */
#include "common/process/channel.h"
#include "common/process/options.h"
#include "common/process/spawn.h"
#include "common/process/status.h"
#include "server/config.h"
#include "server/supervisor.h"
#include "server/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"towpath-server run hub              carries the tunnels of /etc/towpath/hub.conf, in the foreground\n"
	"towpath-server check hub            reads the file, says what is wrong, changes nothing\n"
	"towpath-server status [NAME|FILE] [--json]\n"
	"\n"
	"NAME is /etc/towpath/NAME.conf; a word with a slash or ending in .conf is a file.\n"
	"\n"
	"  --verbose, -v       tell more, with time and level      --quiet, -q   warnings and errors only\n"
	"  --config-dir DIR    /etc/towpath                        --version, -V\n"
	"  --runtime-dir DIR   /run/towpath                        --help, -h\n"
	"  --state-dir DIR     /var/lib/towpath\n"
	"\n"
	"Exit: 0 done, up or valid; 1 failed; 2 usage or file wrong; status: 3 not up, 4 no such tunnel.\n";

static const struct options_program program = {.name = "towpath-server", .help = help};

/* Also for a reload. */
static int read_config(const void *context, struct server_config *ret, struct ini_report *report, struct err *err)
{
	char path[PATH_MAX];

	if (options_find_file(context, path, report) < 0)
		return -EINVAL;
	return server_config_read(path, ret, report, err);
}

static int run(const struct server_config *config, const struct options *options)
{
	const struct supervisor_options how = {.runtime_dir = options->runtime_dir,
		.state_dir = options->state_dir,
		.up_fd = -1,
		.read_config = read_config,
		.context = options};

	return server_supervisor_run(config, &how);
}

static int run_or_check(const struct options *options)
{
	struct ini_report report = {0};
	struct err err = {""};
	struct server_config config;
	int code = EXIT_DONE;

	if (read_config(options, &config, &report, &err) < 0) {
		code = options_complain(&report, &err);
		ini_report_done(&report);
		return code;
	}
	if (options->verb == OPTIONS_RUN)
		code = run(&config, options);
	else if (!options->quiet)
		printf("%s: valid\n", config.path);
	server_config_done(&config);
	return code;
}

int main(int argc, char **argv)
{
	struct options options;
	int code;

	if (argc > 1 && strcmp(argv[1], SPAWN_WORKER_ARGUMENT) == 0) {
		options_take_worker_log(argc, argv);
		return server_worker_main(CHANNEL_FD);
	}
	options_guard_standard_files();
	code = options_parse(&program, argc, argv, &options);
	if (code >= 0)
		return code;
	code = options.verb == OPTIONS_STATUS ? status_show(&options, "server", "Server") : run_or_check(&options);
	options_done(&options);
	return code;
}
