/* A tunnel's host by itself, without the tunnel: for tests that look at what a real kernel is left with.
 *
 *     host_driver cycle STATE_DIR FILE [OPTIONS]    up, then down
 *     host_driver hold STATE_DIR FILE [OPTIONS]     up until SIGTERM, and prints "up", "handshake" …; SIGHUP reads
 *                                                   FILE again, SIGUSR1 prints the status, at SIGUSR2 the first
 *                                                   peer says that it is 1970
 *     host_driver clean STATE_DIR NAME              undoes the changes that a crash left; prints how many
 *
 * FILE is a wg-quick file that may have [Gateway]. --hub: a hub's; --through ADDR:PORT: for peers without Endpoint;
 * --born PID: in that process's network namespace. Exit code 1 where it could not be brought up.
 */
#include "common/base/log.h"
#include "common/host/host.h"
#include "common/net/netmon.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SIGNAL_COUNT 4

struct file {
	struct wg_config wireguard;
	struct gateway *gateways;
	size_t gateway_count;
};

struct driver {
	uv_loop_t loop;
	struct host *host;
	struct host_setup setup;
	struct netmon *netmon;
	uv_signal_t signals[SIGNAL_COUNT];
	struct file *file; /* the newest */
	const char *path;
	bool holds;
	int exit_code;
};

/* --- the file --- */

static void take_gateway(
	struct file *file, const struct ini *ini, const struct ini_section *section, struct ini_report *report)
{
	struct key_place place = {.path = ini->path, .line = section->line, .report = report};
	unsigned lines[KEY_ROWS_MAX] = {0};
	struct key_reader reader = {&gateway_table, gateway_open(&file->gateways, &file->gateway_count, &place), lines};

	for (size_t i = 0; reader.owner && i < section->entry_count; i++)
		key_take(&reader, 1, ini, &section->entries[i], report);
}

static struct file *read_file(const char *path)
{
	struct file *file = calloc(1, sizeof(*file));
	struct ini_report report = {0};
	struct err err = {""};
	struct ini ini;

	if (!file || ini_read(path, &ini, &report, &err) < 0) {
		fprintf(stderr, "%s: %s\n", path, err.text);
		exit(2);
	}
	for (size_t i = 0; i < ini.section_count; i++)
		if (strcmp(ini.sections[i].name, "Gateway") == 0)
			take_gateway(file, &ini, &ini.sections[i], &report);
		else
			wg_config_read_section(&file->wireguard, &ini, &ini.sections[i], &report);
	wg_config_finish(&file->wireguard, &ini, &report);
	ini_done(&ini);
	if (report.count > 0) {
		fprintf(stderr, "%s\n", report.lines[0]);
		exit(2);
	}
	ini_report_done(&report);
	return file;
}

static void file_free(struct file *file)
{
	wg_config_done(&file->wireguard);
	gateways_done(file->gateways, file->gateway_count);
	free(file);
}

/* --- the host --- */

static void say(const char *word)
{
	puts(word);
	fflush(stdout);
}

static void finish(struct driver *driver, int exit_code)
{
	driver->exit_code = exit_code;
	host_close(driver->host);
	netmon_close(driver->netmon);
	for (size_t i = 0; i < SIGNAL_COUNT; i++)
		uv_close((uv_handle_t *)&driver->signals[i], NULL);
}

static void report(struct driver *driver)
{
	json_t *object = host_report(driver->host, NULL);
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	say(text ? text : "nothing");
	free(text);
	json_decref(object);
}

static void on_up(void *owner)
{
	struct driver *driver = owner;

	say("up");
	if (!driver->holds)
		host_down(driver->host);
	else if (driver->setup.endpoint.sa.sa_family)
		host_link_is_up(driver->host);
}

static void on_failed(void *owner, const char *text)
{
	fprintf(stderr, "%s\n", text);
	finish(owner, 1);
}

static void on_handshake(void *owner)
{
	(void)owner;
	say("handshake");
}

static void on_down(void *owner)
{
	say("down");
	finish(owner, 0);
}

/* A reload takes no [Gateway], so those of the start stay with the newest file. */
static void swap_gateways(struct file *a, struct file *b)
{
	struct gateway *gateways = a->gateways;
	size_t count = a->gateway_count;

	a->gateways = b->gateways;
	a->gateway_count = b->gateway_count;
	b->gateways = gateways;
	b->gateway_count = count;
}

static void reload(struct driver *driver)
{
	struct file *file = read_file(driver->path);
	char restart[256], line[300];
	struct err err = {""};

	if (host_reload(driver->host, &file->wireguard, NULL, 0, restart, sizeof(restart), &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		file_free(file);
		return;
	}
	swap_gateways(file, driver->file);
	file_free(driver->file);
	driver->file = file;
	snprintf(line, sizeof(line), "reloaded %s", restart);
	say(line);
}

static void on_signal(uv_signal_t *handle, int number)
{
	const struct addr nowhere = {.sa.sa_family = AF_UNSPEC};
	struct driver *driver = handle->data;

	if (number == SIGHUP)
		reload(driver);
	else if (number == SIGUSR1)
		report(driver);
	else if (number == SIGUSR2)
		host_on_peer_clock(driver->host, driver->file->wireguard.peers[0].public_key, &nowhere, 0, 0);
	else
		host_down(driver->host);
}

static void on_network(void *owner, unsigned kinds)
{
	struct driver *driver = owner;

	host_on_network(driver->host, kinds);
}

static void init(struct driver *driver)
{
	static const int numbers[SIGNAL_COUNT] = {SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};
	struct err err = {""};

	uv_loop_init(&driver->loop);
	for (size_t i = 0; i < SIGNAL_COUNT; i++) {
		uv_signal_init(&driver->loop, &driver->signals[i]);
		driver->signals[i].data = driver;
		uv_signal_start(&driver->signals[i], on_signal, numbers[i]);
	}
	if (netmon_open(&driver->netmon, &driver->loop, on_network, driver, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		exit(1);
	}
}

static int run(struct driver *driver)
{
	static const struct host_handlers handlers = {on_up, on_failed, on_handshake, on_down};
	struct err err = {""};

	init(driver);
	if (host_open(&driver->host, &driver->loop, &driver->setup, &handlers, driver, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 1;
	}
	printf("mark %u\n", host_mark(driver->host));
	host_up(driver->host);
	uv_run(&driver->loop, UV_RUN_DEFAULT);
	uv_loop_close(&driver->loop);
	file_free(driver->file);
	return driver->exit_code;
}

/* --- the call --- */

static void set_up(struct driver *driver, const char *state_dir, const char *path)
{
	static char name[64];

	snprintf(name, sizeof(name), "%s", basename(strdupa(path)));
	name[strcspn(name, ".")] = '\0';
	driver->path = path;
	driver->file = read_file(path);
	driver->setup.name = driver->setup.typed = name;
	driver->setup.config_path = driver->setup.wireguard_path = path;
	driver->setup.state_dir = state_dir;
	snprintf(driver->setup.device, sizeof(driver->setup.device), "%.15s", name);
	driver->setup.wireguard = &driver->file->wireguard;
	driver->setup.gateways = driver->file->gateways;
	driver->setup.gateway_count = driver->file->gateway_count;
}

static int open_namespace(const char *pid)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%s/ns/net", pid);
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void take_options(struct driver *driver, int argc, char **argv)
{
	static const struct option options[] = {{"hub", no_argument, NULL, 'h'},
		{"through", required_argument, NULL, 't'}, {"born", required_argument, NULL, 'b'},
		{"verbose", no_argument, NULL, 'v'}, {NULL, 0, NULL, 0}};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		if (option == 'h')
			driver->setup.is_hub = true;
		else if (option == 't' && addr_parse(optarg, 0, &driver->setup.endpoint) == 0)
			continue;
		else if (option == 'b')
			driver->setup.birth_netns_fd = open_namespace(optarg);
		else if (option == 'v')
			log_set_level(LOG_LEVEL_DEBUG);
		else
			exit(2);
}

int main(int argc, char **argv)
{
	struct driver driver = {.setup = {.birth_netns_fd = -1}};
	struct err err = {""};

	take_options(&driver, argc, argv);
	if (argc - optind != 3)
		return 2;
	if (strcmp(argv[optind], "clean") == 0) {
		int rc = host_clean(argv[optind + 1], argv[optind + 2], &err);

		printf("%d %s\n", rc, err.text);
		return rc < 0;
	}
	driver.holds = strcmp(argv[optind], "hold") == 0;
	set_up(&driver, argv[optind + 1], argv[optind + 2]);
	return run(&driver);
}
