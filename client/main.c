/* towpath-client: the end on a laptop or a gateway. The command line is handled by common/command_line/program.h. */
#include "client/config.h"
#include "client/join.h"
#include "client/supervisor.h"
#include "client/worker.h"
#include "common/command_line/program.h"
#include "common/host/confined.h"

#include <errno.h>

static const char help[] =
	"towpath-client up home              brings up the tunnel of /etc/towpath/home.conf; returns when traffic flows\n"
	"towpath-client run wss://HOST[:PORT] --token-file FILE      in the foreground; no configuration needed\n"
	"\n"
	"  run NAME|FILE|URL     in the foreground: what the systemd unit towpath-client@NAME does\n"
	"  up NAME|FILE|URL      the same in the background; --timeout 30s: gives up after that\n"
	"  down NAME|FILE        stops it and puts everything back, also after a crash;\n"
	"                        --hooks: with PreDown and PostDown even then\n"
	"  status [NAME|FILE]    one tunnel, or all; --json\n"
	"  reload NAME|FILE      reads the file again, without a break\n"
	"  check NAME|FILE       says what is wrong with the file, changes nothing\n"
	"  join LINK|- [NAME]    joins a hub by what towpath-server add has printed; --enable: and at each boot; --no-up\n"
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

/* Options come first: they win over the file, also at a reload. */
/* The four calls that program.c makes of each program: read a file, name what was read, supervise, work. */
static int read_config(const void *context, void *ret, struct ini_report *report, struct err *err)
{
	const struct options *options = context;
	char path[PATH_MAX];

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

static void identify(const void *config, const char **ret_name, const char **ret_path)
{
	const struct client_config *read = config;

	*ret_name = read->name;
	*ret_path = read->path;
}

static int supervise(const void *config, const struct supervisor_options *options)
{
	return client_supervisor_run(config, options);
}

static void look_at_host(const void *config)
{
	const struct client_config *read = config;
	const struct host_setup setup = {.wireguard_path = read->wireguard_path ? read->wireguard_path : read->path,
		.wireguard = &read->wireguard,
		.gateways = read->gateways,
		.gateway_count = read->gateway_count};

	if (read->has_device)
		confined_check(&setup);
}

static const struct option join_options[] = {
	{"enable", no_argument, NULL, 0}, {"no-up", no_argument, NULL, 0}, {NULL, 0, NULL, 0}};

static const struct options_command commands[] = {
	{"join", "LINK|- [NAME]", 1, 2, false, true, join_options, client_join},
	{.name = NULL},
};

static const struct program program = {
	.command_line = {.name = "towpath-client",
		.help = help,
		.takes_url = true,
		.keys = client_config_options,
		.commands = commands},
	.role = "client",
	.section = "Client",
	.configuration = {sizeof(struct client_config), read_config, client_config_done},
	.identify = identify,
	.look_at_host = look_at_host,
	.supervise = supervise,
	.work = client_worker_main,
};

int main(int argc, char **argv)
{
	return program_main(&program, argc, argv);
}
