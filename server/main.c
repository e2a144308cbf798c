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

static int run(const struct server_config *config, const struct options *options)
{
	struct supervisor_options folders = {.runtime_dir = options->runtime_dir, .state_dir = options->state_dir};

	if (!config->has_device)
		return server_supervisor_run(config, &folders);
	fprintf(stderr,
		"%s:%u: [Interface]: this version does not bring devices up; move [Interface] and the peers' keys to "
		"/etc/wireguard/%s.conf, bring it up with wg-quick up %s, and take [Interface] out of this file\n",
		config->path, config->wireguard.interface.line, config->name, config->name);
	return EXIT_FAILED;
}

static int run_or_check(const struct options *options)
{
	struct ini_report report = {0};
	struct err err = {""};
	struct server_config config;
	char path[PATH_MAX];
	int code = EXIT_DONE;

	if (options_find_file(options, path, &report) < 0 || server_config_read(path, &config, &report, &err) < 0) {
		code = options_complain(&report, &err);
		ini_report_done(&report);
		return code;
	}
	if (options->verb == OPTIONS_RUN)
		code = run(&config, options);
	else if (!options->quiet)
		printf("%s: valid\n", path);
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
