/* towpath-server: the hub. Reads the command line and hands over: to the worker where the supervisor started us, to
 * the supervisor for `run` and `up`, to the configuration's reader for `check`, to a running supervisor's control socket
 * for `down`, `reload` and `status`.
 */
#include "common/command_line/options.h"
#include "common/command_line/status.h"
#include "common/command_line/stop_reload.h"
#include "common/command_line/up.h"
#include "common/process/channel.h"
#include "common/process/spawn.h"
#include "server/config.h"
#include "server/supervisor.h"
#include "server/worker.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"towpath-server up hub               brings up the hub of /etc/towpath/hub.conf; returns when it listens\n"
	"towpath-server status               who is connected\n"
	"\n"
	"  run NAME|FILE         in the foreground: what the systemd unit towpath-server@NAME does\n"
	"  up NAME|FILE          the same in the background; --timeout 30s: gives up after that\n"
	"  down NAME|FILE        stops it and puts everything back, also after a crash\n"
	"  status [NAME|FILE]    one hub, or all; --json\n"
	"  reload NAME|FILE      reads the file again: clients come and go, the others stay connected\n"
	"  check NAME|FILE       says what is wrong with the file, changes nothing\n"
	"\n"
	"NAME is /etc/towpath/NAME.conf; a word with a slash or ending in .conf is a file.\n"
	"\n"
	"  --verbose, -v       tell more, with time and level      --quiet, -q   warnings and errors only\n"
	"  --config-dir DIR    /etc/towpath                        --version, -V\n"
	"  --runtime-dir DIR   /run/towpath                        --help, -h\n"
	"  --state-dir DIR     /var/lib/towpath\n"
	"\n"
	"Exit: 0 done, up or valid; 1 failed; 2 usage or file wrong; status: 3 not up; 4 no such tunnel.\n";

static const struct options_program program = {.name = "towpath-server", .help = help};

/* Also for a reload. */
static int read_config(const void *context, struct server_config *ret, struct ini_report *report, struct err *err)
{
	char path[PATH_MAX];

	if (options_find_file(context, path, report) < 0)
		return -EINVAL;
	return server_config_read(path, ret, report, err);
}

static int run(const struct server_config *config, const struct options *options, int up_fd)
{
	const struct supervisor_options how = {.runtime_dir = options->runtime_dir,
		.state_dir = options->state_dir,
		.up_fd = up_fd,
		.read_config = read_config,
		.context = options};

	return server_supervisor_run(config, &how);
}

/* `up` goes on in the supervisor to be; the one who waits exits in there. */
static int start(const struct server_config *config, const struct options *options)
{
	struct tunnel_ref tunnel;
	const struct up_setup setup = {.program = "towpath-server",
		.tunnel = &tunnel,
		.runtime_dir = options->runtime_dir,
		.state_dir = options->state_dir,
		.timeout_ms = options->timeout_ms};
	struct err err = {""};
	int up_fd = -1;
	int rc = tunnel_ref_set(&tunnel, options, "server", config->name, config->path, &err);

	if (rc == 0)
		rc = tunnel_ref_refuse_running(&tunnel, &err);
	if (rc == 0 && options->verb == OPTIONS_UP)
		rc = up_fd = up_fork(&setup, &err);
	if (rc >= 0)
		return run(config, options, up_fd);
	options_complain(&(struct ini_report){0}, &err);
	return EXIT_FAILED;
}

static int with_config(const struct options *options)
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
	if (options->verb != OPTIONS_CHECK)
		code = start(&config, options);
	else if (!options->quiet)
		printf("%s: valid\n", config.path);
	server_config_done(&config);
	return code;
}

static int dispatch(const struct options *options)
{
	switch (options->verb) {
	case OPTIONS_STATUS:
		return status_show(options, "server", "Server");
	case OPTIONS_DOWN:
		return down_run(options, "server", "Server");
	case OPTIONS_RELOAD:
		return reload_run(options, "server", "Server");
	case OPTIONS_RUN:
	case OPTIONS_UP:
	case OPTIONS_CHECK:
		break;
	}
	return with_config(options);
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
	code = dispatch(&options);
	options_done(&options);
	return code;
}
