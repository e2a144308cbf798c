/* towpath-server: the hub. The command line is handled by common/command_line/program.h. */
#include "common/command_line/program.h"
#include "common/host/confined.h"
#include "common/host/published.h"
#include "server/add.h"
#include "server/config.h"
#include "server/init.h"
#include "server/reachable.h"
#include "server/supervisor.h"
#include "server/worker.h"

#include <errno.h>

static const char help[] =
	"towpath-server up hub               brings up the hub of /etc/towpath/hub.conf; returns when it listens\n"
	"towpath-server status               who is connected\n"
	"\n"
	"  run NAME|FILE         in the foreground: what the systemd unit towpath-server@NAME does\n"
	"  up NAME|FILE          the same in the background; --timeout 30s: gives up after that\n"
	"  down NAME|FILE        stops it and puts everything back, also after a crash;\n"
	"                        --hooks: with PreDown and PostDown even then\n"
	"  status [NAME|FILE]    one hub, or all; --json\n"
	"  reload NAME|FILE      reads the file again: clients come and go, the others stay connected\n"
	"  check NAME|FILE       says what is wrong with the file, changes nothing\n"
	"  init [NAME]           writes /etc/towpath/NAME.conf for a new hub (hub.conf) with keys and networks of its own;\n"
	"                        --address HOST, --network 10.10.0.0/24, --network6 PREFIX/64, --way-out, --udp, --enable\n"
	"  add CLIENT            invites a client and prints the line for towpath-client join; --lan PREFIX, --all-traffic,\n"
	"                        --valid 7d, --again, --app, --qr (=FILE.png: into a file); --hub NAME\n"
	"  list                  the clients, and who has joined; --json\n"
	"  revoke CLIENT         takes a client of add out and closes its connection\n"
	"\n"
	"NAME is /etc/towpath/NAME.conf; a word with a slash or ending in .conf is a file.\n"
	"\n"
	"  --verbose, -v       tell more, with time and level      --quiet, -q   warnings and errors only\n"
	"  --config-dir DIR    /etc/towpath                        --version, -V\n"
	"  --runtime-dir DIR   /run/towpath                        --help, -h\n"
	"  --state-dir DIR     /var/lib/towpath\n"
	"\n"
	"Exit: 0 done, up or valid; 1 failed; 2 usage or file wrong; status: 3 not up; 4 no such tunnel.\n";

/* The four calls that program.c makes of each program: read a file, name what was read, supervise, work. */
static int read_config(const void *context, void *ret, struct ini_report *report, struct err *err)
{
	char path[PATH_MAX];

	if (options_find_file(context, path, report) < 0)
		return -EINVAL;
	return server_config_read(path, ret, report, err);
}

static void identify(const void *config, const char **ret_name, const char **ret_path)
{
	const struct server_config *read = config;

	*ret_name = read->name;
	*ret_path = read->path;
}

static int supervise(const void *config, const struct supervisor_options *options)
{
	return server_supervisor_run(config, options);
}

static void look_at_host(const void *config)
{
	const struct server_config *read = config;
	const struct host_setup setup = {.wireguard_path = read->wireguard_path ? read->wireguard_path : read->path,
		.wireguard = &read->wireguard,
		.gateways = read->gateways,
		.gateway_count = read->gateway_count,
		.is_hub = true};

	reachable_check_now(config);
	if (read->has_device)
		confined_check(&setup);
	published_tell_absent(read->publishes, read->publish_count, read->path);
}

static const struct option init_options[] = {{"address", required_argument, NULL, 0},
	{"network", required_argument, NULL, 0}, {"network6", required_argument, NULL, 0},
	{"way-out", no_argument, NULL, 0}, {"udp", no_argument, NULL, 0}, {"enable", no_argument, NULL, 0}, {NULL, 0, NULL, 0}};

static const struct option add_options[] = {{"hub", required_argument, NULL, 0}, {"lan", required_argument, NULL, 0},
	{"all-traffic", no_argument, NULL, 0}, {"valid", required_argument, NULL, 0}, {"again", no_argument, NULL, 0}, {"qr", optional_argument, NULL, 0}, {"app", no_argument, NULL, 0},
	{NULL, 0, NULL, 0}};

static const struct option hub_options[] = {{"hub", required_argument, NULL, 0}, {NULL, 0, NULL, 0}};

static const struct options_command commands[] = {
	{"init", "[NAME]", 0, 1, false, false, init_options, server_init},
	{"add", "CLIENT", 1, 1, false, false, add_options, server_add},
	{"list", "", 0, 0, true, false, hub_options, server_list},
	{"revoke", "CLIENT", 1, 1, false, false, hub_options, server_revoke},
	{.name = NULL},
};

static const struct program program = {
	.command_line = {.name = "towpath-server", .help = help, .commands = commands},
	.role = "server",
	.section = "Server",
	.configuration = {sizeof(struct server_config), read_config, server_config_done},
	.identify = identify,
	.look_at_host = look_at_host,
	.supervise = supervise,
	.work = server_worker_main,
};

int main(int argc, char **argv)
{
	return program_main(&program, argc, argv);
}
