/* towpath-client: a laptop's or a gateway's end. Reads the command line and hands over: to the worker where the
 * supervisor started us, to the supervisor for `run`, to the configuration's reader for `check`, to a running
 * supervisor's control socket for `status`.
 */
#include "client/config.h"
#include "client/supervisor.h"
#include "client/worker.h"
#include "common/process/channel.h"
#include "common/process/options.h"
#include "common/process/spawn.h"
#include "common/process/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const char help[] =
	"towpath-client run home                                     the tunnel of /etc/towpath/home.conf, in the "
	"foreground\n"
	"towpath-client run wss://HOST[:PORT] --token-file FILE      no configuration needed\n"
	"towpath-client check NAME|FILE                              reads the file, says what is wrong, changes "
	"nothing\n"
	"towpath-client status [NAME|FILE] [--json]\n"
	"\n"
	"NAME is /etc/towpath/NAME.conf; a word with a slash or ending in .conf is a file. WireGuard's endpoint is "
	"the\n"
	"tunnel's local port, 127.0.0.1:51820 unless --listen says another.\n"
	"\n"
	"  --verbose, -v       tell more, with time and level      --quiet, -q   warnings and errors only\n"
	"  --config-dir DIR    /etc/towpath                        --version, -V\n"
	"  --runtime-dir DIR   /run/towpath                        --help, -h\n"
	"  --state-dir DIR     /var/lib/towpath\n"
	"\n"
	"run takes each key of [Client] as an option: --pin sha256//…, --server-name NAME, --proxy URL, …\n"
	"Secrets come from files or the environment: TOWPATH_TOKEN, TOWPATH_BASIC_AUTH, TOWPATH_JWT_KEY.\n"
	"\n"
	"Exit: 0 done, up or valid; 1 failed; 2 usage or file wrong; status: 3 not up, 4 no such tunnel.\n";

/* Also for a reload: what was said on the command line wins over the file again. */
static int read_config(const void *context, struct client_config *ret, struct ini_report *report, struct err *err)
{
	const struct options *options = context;
	char path[PATH_MAX];

	*ret = (struct client_config){0};
	for (size_t i = 0; i < options->key_count; i++)
		client_config_option(ret, options->keys[i].name, options->keys[i].value, report);
	if (options_is_url(options->subject)) {
		client_config_option(ret, "server", options->subject, report);
		return client_config_finish(ret, report);
	}
	if (options_find_file(options, path, report) < 0)
		return -EINVAL;
	return client_config_read(path, ret, report, err);
}

static int run(const struct client_config *config, const struct options *options)
{
	const struct supervisor_options how = {.runtime_dir = options->runtime_dir,
		.state_dir = options->state_dir,
		.up_fd = -1,
		.read_config = read_config,
		.context = options};

	return client_supervisor_run(config, &how);
}

static int run_or_check(const struct options *options)
{
	struct ini_report report = {0};
	struct err err = {""};
	struct client_config config;
	int code = EXIT_DONE;

	if (read_config(options, &config, &report, &err) < 0)
		code = options_complain(&report, &err);
	else if (options->verb == OPTIONS_RUN)
		code = run(&config, options);
	else if (!options->quiet)
		printf("%s: valid\n", config.path);
	ini_report_done(&report);
	client_config_done(&config);
	return code;
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
	code = options.verb == OPTIONS_STATUS ? status_show(&options, "client", "Client") : run_or_check(&options);
	options_done(&options);
	return code;
}
