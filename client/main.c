/* towpath-client: a laptop's or a gateway's end. Reads the command line and hands over: to the worker where the
 * supervisor started us, to the supervisor for `run` and `up`, to the configuration's reader for `check`, to a running
 * supervisor's control socket for `down`, `reload` and `status`.
 */
#include "client/config.h"
#include "client/supervisor.h"
#include "client/worker.h"
#include "common/command_line/options.h"
#include "common/command_line/status.h"
#include "common/command_line/stop_reload.h"
#include "common/command_line/up.h"
#include "common/process/channel.h"
#include "common/process/spawn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"towpath-client up home              brings up the tunnel of /etc/towpath/home.conf; returns when traffic flows\n"
	"towpath-client run wss://HOST[:PORT] --token-file FILE      in the foreground; no configuration needed\n"
	"\n"
	"  run NAME|FILE|URL     in the foreground: what the systemd unit towpath-client@NAME does\n"
	"  up NAME|FILE|URL      the same in the background; --timeout 30s: gives up after that\n"
	"  down NAME|FILE        stops it and puts everything back, also after a crash\n"
	"  status [NAME|FILE]    one tunnel, or all; --json\n"
	"  reload NAME|FILE      reads the file again, without a break\n"
	"  check NAME|FILE       says what is wrong with the file, changes nothing\n"
	"\n"
	"NAME is /etc/towpath/NAME.conf; a word with a slash or ending in .conf is a file. Without [Interface] in it,\n"
	"WireGuard's endpoint is the tunnel's local port, 127.0.0.1:51820 unless --listen says another.\n"
	"\n"
	"  --verbose, -v       tell more, with time and level      --quiet, -q   warnings and errors only\n"
	"  --config-dir DIR    /etc/towpath                        --version, -V\n"
	"  --runtime-dir DIR   /run/towpath                        --help, -h\n"
	"  --state-dir DIR     /var/lib/towpath\n"
	"\n"
	"run and up take each key of [Client] as an option: --pin sha256//…, --server-name NAME, --proxy URL, …\n"
	"Secrets come from files, with a URL also from the environment: TOWPATH_TOKEN, TOWPATH_BASIC_AUTH, TOWPATH_JWT_KEY.\n"
	"\n"
	"Exit: 0 done, up or valid; 1 failed; 2 usage or file wrong; status: 3 not up; 4 no such tunnel.\n";

/* Also for a reload: what was said on the command line wins over the file again. */
static int read_config(const void *context, struct client_config *ret, struct ini_report *report, struct err *err)
{
	const struct options *options = context;
	char path[PATH_MAX];

	*ret = (struct client_config){0};
	for (size_t i = 0; i < options->key_count; i++)
		client_config_option(ret, options->keys[i].name, options->keys[i].value, report);
	if (options_is_url(options->tunnel_word)) {
		client_config_option(ret, "server", options->tunnel_word, report);
		return client_config_finish(ret, report);
	}
	if (options_find_file(options, path, report) < 0)
		return -EINVAL;
	return client_config_read(path, ret, report, err);
}

static int run(const struct client_config *config, const struct options *options, int up_fd)
{
	const struct supervisor_options how = {.runtime_dir = options->runtime_dir,
		.state_dir = options->state_dir,
		.up_fd = up_fd,
		.read_config = read_config,
		.context = options};

	return client_supervisor_run(config, &how);
}

/* `up` goes on in the supervisor to be; the one who waits exits in there. */
static int start(const struct client_config *config, const struct options *options)
{
	struct tunnel_ref tunnel;
	const struct up_setup setup = {.program = "towpath-client",
		.tunnel = &tunnel,
		.runtime_dir = options->runtime_dir,
		.state_dir = options->state_dir,
		.timeout_ms = options->timeout_ms};
	struct err err = {""};
	int up_fd = -1;
	int rc = tunnel_ref_set(&tunnel, options, "client", config->name, config->path, &err);

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
	struct client_config config;
	int code = EXIT_DONE;

	if (read_config(options, &config, &report, &err) < 0)
		code = options_complain(&report, &err);
	else if (options->verb != OPTIONS_CHECK)
		code = start(&config, options);
	else if (!options->quiet)
		printf("%s: valid\n", config.path);
	ini_report_done(&report);
	client_config_done(&config);
	return code;
}

static int dispatch(const struct options *options)
{
	switch (options->verb) {
	case OPTIONS_STATUS:
		return status_show(options, "client", "Client");
	case OPTIONS_DOWN:
		return down_run(options, "client", "Client");
	case OPTIONS_RELOAD:
		return reload_run(options, "client", "Client");
	case OPTIONS_RUN:
	case OPTIONS_UP:
	case OPTIONS_CHECK:
		break;
	}
	return with_config(options);
}

int main(int argc, char **argv)
{
	struct options_program program = {.name = "towpath-client", .help = help, .takes_url = true};
	struct options options;
	int code;

	if (argc > 1 && strcmp(argv[1], SPAWN_WORKER_ARGUMENT) == 0) {
		options_take_worker_log(argc, argv);
		return client_worker_main(CHANNEL_FD);
	}
	options_guard_standard_files();
	program.keys = client_config_options();
	code = options_parse(&program, argc, argv, &options);
	if (code >= 0)
		return code;
	code = dispatch(&options);
	options_done(&options);
	return code;
}
