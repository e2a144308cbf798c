/* The client's supervisor.
 *
 * Happy path: the local UDP port, the settings, and then supervise_run(): a worker that is handed both, and marked
 * sockets when it asks for them; the device beside it, if the file has one. Fails at set-up with one line and exit code
 * 1.
 *
 * The mark. A full tunnel routes everything into the device, also our own connection to the server, unless that carries
 * the firewall mark that WireGuard's routing rule leaves out. It is the mark of our device, or of another program's
 * device whose peer has our local port as its endpoint. That device is searched for at each network event, because
 * wg-quick may bring it up after us. A tunnel without a mark may swallow the connection all the same, by routes to
 * halves of everything: way_past.h. Under a full tunnel names are asked for at the physical links' name servers: the
 * system's may be the tunnel's own.
 *
 * The worker reads the network, so it is not trusted: its messages are checked here (a family, a type, the number of a
 * server), and it gets sockets, never privileges.
 */
#include "client/supervisor.h"

#include "client/address_cache.h"
#include "client/link_marks.h"
#include "client/local_port.h"
#include "client/other_device.h"
#include "client/restart.h"
#include "client/settings_build.h"
#include "client/way_past.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/sealed.h"
#include "common/host/check.h"
#include "common/net/dns.h"
#include "common/net/netmon.h"
#include "common/process/configuration.h"
#include "common/process/socket_tune.h"
#include "common/process/supervise.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK_USER_TIMEOUT_MS                                                                                           \
	10000 /* sent bytes not acknowledged for so long: the path is dead, a new connection may find another */
#define NAMESERVERS_FRESH_US CLOCK_US_PER_S /* asking systemd-resolved is slow; not again for each event of a burst */

struct supervisor {
	const struct client_config *first;  /* main's: its port, mark and device are in use as long as we run */
	struct configuration configuration; /* its first is the one above */
	const struct supervisor_options *options;
	struct supervise *supervise;
	struct local_port port;
	struct host_servers servers;
	struct client_settings settings; /* of the configuration in use */
	struct address_cache *names;
	uv_timer_t names_timer; /* until the cache may be written to its file again */
	bool has_timer;
	struct link_marks marks;
	struct other_device other_device;
	bool is_unknown_told;
	bool is_past_tunnel; /* a full tunnel, by its mark or past it: name servers are the physical links' */
	char nameservers[ADDRESS_LIST_TEXT_MAX]; /* as the worker knows them */
	uint64_t nameservers_us;		 /* when they were looked for; 0: never */
	bool are_stale;				 /* the network has changed since then */
	json_t *networks;			 /* see on_networks() */
};

static const struct client_config *config_of(const struct supervisor *s)
{
	return configuration_in_use(&s->configuration);
}

/* --- the mark --- */

/* 0: no mark. Our device has one only where routes need it; then the connection needs the same, whatever FwMark
 * says. */
static uint32_t find_mark(struct supervisor *s)
{
	if (s->first->has_device)
		return host_mark(supervise_host(s->supervise));
	switch (s->first->fwmark_kind) {
	case CLIENT_FWMARK_OFF:
		return 0;
	case CLIENT_FWMARK_NUMBER:
		return s->first->fwmark;
	case CLIENT_FWMARK_AUTO:
		break;
	}
	other_device_check(&s->other_device, addr_port(&s->port.addr));
	return s->other_device.mark;
}

/* --- name servers --- */

/* The device that the link must not go into; "": none that we know of. */
static const char *tunnel_of(const struct supervisor *s)
{
	return s->first->has_device ? s->first->device : s->other_device.device;
}

/* Find the physical links' name servers; none where the system's do. Return: true if they have changed. */
static bool find_nameservers(struct supervisor *s)
{
	struct addr servers[DNS_SERVERS_MAX];
	char before[ADDRESS_LIST_TEXT_MAX];
	size_t count = s->is_past_tunnel ? dns_uplink_servers(tunnel_of(s), servers) : 0;

	s->nameservers_us = clock_now_us();
	s->are_stale = false;
	memcpy(before, s->nameservers, sizeof(before));
	address_list_format(s->nameservers, servers, count);
	return strcmp(before, s->nameservers) != 0;
}

static void tell_nameservers(struct supervisor *s, struct channel *channel)
{
	if (find_nameservers(s) && channel)
		channel_send(channel, CHANNEL_NAMESERVERS, s->nameservers, strlen(s->nameservers), -1);
}

/* Find the mark again, and set it on open sockets, too, if it has changed. The same for the way past a tunnel without a
 * mark. Return: true if other name servers may be due. */
static bool find_way(struct supervisor *s)
{
	uint32_t mark = find_mark(s);
	bool is_new = link_marks_change(&s->marks, mark, tunnel_of(s)), was_past = s->is_past_tunnel;

	s->is_past_tunnel = mark != 0 || way_past_is_needed(tunnel_of(s));
	return is_new || was_past != s->is_past_tunnel;
}

static void renew_way(struct supervisor *s, struct channel *channel)
{
	if (find_way(s))
		tell_nameservers(s, channel);
}

/* --- what the worker asks for, and tells --- */

/* Made here because SO_MARK needs a privilege. Return: the descriptor, or a negative errno. */
static int open_socket(struct supervisor *s, const struct channel_link *wanted)
{
	int fd;

	if ((wanted->to.sa.sa_family != AF_INET && wanted->to.sa.sa_family != AF_INET6) ||
		(wanted->type != SOCK_STREAM && wanted->type != SOCK_DGRAM))
		return -EINVAL;
	fd = socket(wanted->to.sa.sa_family, (int)wanted->type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	if (wanted->type == SOCK_STREAM)
		socket_tune_tcp(fd, config_of(s)->congestion_control, LINK_USER_TIMEOUT_MS);
	if (s->other_device.is_hidden && !s->is_unknown_told)
		s->is_unknown_told = way_past_warn(&wanted->to);
	link_marks_put(&s->marks, supervise_loop(s->supervise), fd, &wanted->to);
	return fd;
}

/* The mark is found again first: a device may have come since the last event, and this socket must not go into it. */
static void answer_link(struct supervisor *s, struct channel *channel, const struct channel_link *wanted)
{
	struct channel_reply reply;
	int fd;

	renew_way(s, channel);
	if (wanted->type == SOCK_DGRAM && s->are_stale)
		tell_nameservers(s, channel);
	fd = open_socket(s, wanted);
	reply = (struct channel_reply){.ticket = wanted->ticket, .error = fd < 0 ? fd : 0};
	channel_send(channel, CHANNEL_LINK_SOCKET, &reply, sizeof(reply), fd);
	if (fd >= 0)
		close(fd);
}

/* The name that is dialled for a server: the proxy's, if there is one. */
static const char *dialled_name(const struct client_config *config, size_t index)
{
	return config->settings.proxy_host ? config->settings.proxy_host : config->settings.servers[index].host;
}

/* For the host: the servers' addresses as written, or as they were last reached. */
static void find_servers(struct supervisor *s, const struct client_config *config)
{
	struct host_servers *servers = &s->servers;

	servers->count = 0;
	for (size_t i = 0;
		i < config->settings.server_count && servers->count + ADDRESS_LIST_MAX <= HOST_SERVERS_MAX; i++) {
		const char *name = dialled_name(config, i), *remembered = address_cache_find(s->names, name);
		int count = address_list_parse(remembered ? remembered : name, config->settings.servers[i].port,
			&servers->addrs[servers->count]);

		if (count > 0)
			servers->count += (size_t)count;
	}
}

static void on_names_timer(uv_timer_t *timer)
{
	struct supervisor *s = timer->data;

	address_cache_write(s->names, clock_now_us());
}

/* The worker has looked a name up: "2 203.0.113.10,2001:db8:1::10". The list is checked by address_cache.c. */
static void on_addresses(struct supervisor *s, const char *text)
{
	char *list;
	unsigned long index = strtoul(text, &list, 10);
	const char *name;
	unsigned wait_ms;

	if (list == text || *list != ' ' || index >= config_of(s)->settings.server_count)
		return;
	name = dialled_name(config_of(s), index);
	wait_ms = address_cache_keep(s->names, name, list + 1, clock_now_us());
	if (wait_ms > 0 && s->has_timer && !uv_is_active((uv_handle_t *)&s->names_timer))
		uv_timer_start(&s->names_timer, on_names_timer, wait_ms, 0);
}

/* For `join`, which asks for the status. */
static void on_networks(struct supervisor *s, const struct channel_networks *told)
{
	char text[PREFIX_TEXT_MAX];

	json_decref(s->networks);
	s->networks = json_array();
	for (size_t i = 0; i < told->count && i < CHANNEL_NETWORKS_MAX; i++) {
		const struct prefix *network = &told->networks[i];
		sa_family_t family = network->addr.sa.sa_family;

		if ((family == AF_INET && network->bits <= 32) || (family == AF_INET6 && network->bits <= 128))
			json_array_append_new(s->networks, json_string(prefix_format(text, sizeof(text), network)));
	}
}

/* "networks": told by the hub to a machine that joins. */
static void on_report(void *owner, json_t *object)
{
	const struct supervisor *s = owner;

	if (s->networks)
		json_object_set(object, "networks", s->networks);
}

static void on_worker_message(void *owner, struct channel *channel, enum channel_kind kind, const void *payload)
{
	if (kind == CHANNEL_LINK_WANTED)
		answer_link(owner, channel, payload);
	else if (kind == CHANNEL_ADDRESSES)
		on_addresses(owner, payload);
	else if (kind == CHANNEL_NETWORKS)
		on_networks(owner, payload);
}

/* --- what the worker is given --- */

/* Send the settings, with the addresses and name servers known at this moment. @kind: CHANNEL_SETTINGS or
 * CHANNEL_RELOAD. Return: 0 or a negative errno. */
static int send_settings(struct supervisor *s, struct channel *channel, enum channel_kind kind, struct err *err)
{
	int fd, rc;

	for (size_t i = 0; i < s->settings.server_count; i++)
		s->settings.servers[i].addresses =
			(char *)(uintptr_t)address_cache_find(s->names, dialled_name(config_of(s), i));
	s->settings.nameservers = s->nameservers[0] ? s->nameservers : NULL;
	fd = client_settings_write(&s->settings, err);
	if (fd < 0)
		return fd;
	rc = channel_send(channel, kind, NULL, 0, fd);
	close(fd);
	return rc < 0 ? err_system(err, rc, "handing the settings to the worker") : 0;
}

/* For each new worker: mark and name servers as they are now. */
static int hand_down(void *owner, struct channel *channel, struct err *err)
{
	const struct channel_index index = {.index = 0};
	struct supervisor *s = owner;
	int rc;

	find_way(s);
	find_nameservers(s);
	rc = send_settings(s, channel, CHANNEL_SETTINGS, err);
	if (rc < 0)
		return rc;
	rc = channel_send(channel, CHANNEL_LISTENER, &index, sizeof(index), s->port.fd);
	return rc < 0 ? err_system(err, rc, "handing the local port to the worker") : 0;
}

static void on_ready(void *owner)
{
	struct supervisor *s = owner;

	log_info("link", "listening on %s, on the way to %s", s->port.text, s->first->settings.servers[0].url);
	uv_timer_init(supervise_loop(s->supervise), &s->names_timer);
	s->names_timer.data = s;
	s->has_timer = true;
}

/* Its sockets are gone with it. */
static void on_worker_gone(void *owner)
{
	struct supervisor *s = owner;

	link_marks_forget(&s->marks);
}

static void on_network(void *owner, struct channel *channel, unsigned kinds)
{
	struct supervisor *s = owner;

	if (kinds & (NETMON_LINK | NETMON_ADDRESS | NETMON_ROUTE | NETMON_RULE))
		renew_way(s, channel);
	if (!(kinds & (NETMON_LINK | NETMON_ADDRESS | NETMON_ROUTE)))
		return;
	s->are_stale = true; /* asked again at the latest when the worker wants a socket to ask for names */
	if (s->is_past_tunnel && clock_now_us() - s->nameservers_us >= NAMESERVERS_FRESH_US)
		tell_nameservers(s, channel);
	if (channel)
		channel_send(channel, CHANNEL_NETWORK, NULL, 0, -1);
}

static void on_close(void *owner)
{
	struct supervisor *s = owner;

	link_marks_close(&s->marks);
	json_decref(s->networks);
	if (s->has_timer)
		uv_close((uv_handle_t *)&s->names_timer, NULL);
}

/* --- a reload --- */

/* The settings as the worker reads them. Return: json_decref() it; NULL: they cannot be had. */
static json_t *settings_object(const struct client_settings *settings)
{
	json_t *object = NULL;
	int fd = client_settings_write(settings, NULL);

	if (fd >= 0)
		sealed_read(fd, &object, NULL);
	return object;
}

/* True if the worker must be told. Settings that cannot be compared count as changed. Addresses and name servers are
 * left out of the comparison: the worker hears of them in other ways. */
static bool is_news(struct supervisor *s, const struct client_settings *settings)
{
	json_t *before, *now;
	bool is_same;

	for (size_t i = 0; i < s->settings.server_count; i++)
		s->settings.servers[i].addresses = NULL;
	s->settings.nameservers = NULL;
	before = settings_object(&s->settings);
	now = settings_object(settings);
	is_same = before && now && json_equal(before, now);
	json_decref(before);
	json_decref(now);
	return !is_same;
}

/* Everything new that can fail is made first; then the host takes its part or refuses it; after that nothing is
 * undone. */
static int take_config(struct supervisor *s, struct channel *channel, struct client_config *config, char *ret_restart,
	size_t restart_size, struct err *err)
{
	struct host *host = supervise_host(s->supervise);
	bool is_of_device = host && restart_is_same_device(s->first, config);
	struct client_settings settings;
	bool has_news;
	struct status_port port;
	int rc = supervise_open_status(s->supervise, &port, &config->status, err);

	if (rc < 0)
		return rc;
	rc = client_settings_build(&settings, config, s->port.text, err);
	if (rc < 0) {
		status_port_close(&port);
		return rc;
	}
	find_servers(s, config);
	rc = is_of_device ? host_reload(host, &config->wireguard, NULL, 0, ret_restart, restart_size, err) : 0;
	if (rc < 0) {
		client_settings_built_done(&settings);
		status_port_close(&port);
		return rc;
	}
	supervise_use_status(s->supervise, &port);
	restart_append(ret_restart, restart_size, s->first, config);
	has_news = is_news(s, &settings);
	client_settings_built_done(&s->settings);
	s->settings = settings;
	configuration_use(&s->configuration, config, is_of_device);
	if (!has_news || !channel) /* without a worker: the next one gets the new settings at its start */
		return 0;
	rc = send_settings(s, channel, CHANNEL_RELOAD, err);
	return rc == -EPIPE ? 0 : rc;
}

static int reload(void *owner, struct channel *channel, char *ret_restart, size_t restart_size, struct err *err)
{
	struct supervisor *s = owner;
	void *config;
	int rc = configuration_read(&s->configuration, &config, err);

	if (rc == 0)
		rc = take_config(s, channel, config, ret_restart, restart_size, err);
	configuration_release(&s->configuration, config);
	return rc;
}

/* --- set-up --- */

/* The file with [Interface]: complaints about the device name it. */
static const char *wireguard_path(const struct client_config *config)
{
	return config->wireguard_path ? config->wireguard_path : config->path;
}

static int run(struct supervisor *s)
{
	static const struct supervise_program program = {
		.hand_down = hand_down,
		.on_message = on_worker_message,
		.on_ready = on_ready,
		.on_worker_gone = on_worker_gone,
		.on_network = on_network,
		.on_report = on_report,
		.reload = reload,
		.on_close = on_close,
	};
	const struct client_config *config = s->first;
	struct host_setup host = {
		.name = config->name,
		.config_path = config->path,
		.wireguard_path = wireguard_path(config),
		.typed = s->options->typed,
		.state_dir = s->options->state_dir,
		.wireguard = &config->wireguard,
		.gateways = config->gateways,
		.gateway_count = config->gateway_count,
		.birth_netns_fd = -1,
		.endpoint = s->port.addr,
		.servers = &s->servers,
	};
	const struct supervise_setup setup = {
		.name = config->name,
		.role = "client",
		.area = "link",
		.worker_title = "towpath-client: worker",
		.runtime_dir = s->options->runtime_dir,
		.ready_state = "connecting",
		.netns_fd = -1,
		.host = config->has_device ? &host : NULL,
		.status = &config->status,
		.flows_when_linked = true,
		.up_fd = s->options->up_fd,
	};

	memcpy(host.device, config->device, sizeof(host.device));
	find_servers(s, config);
	return supervise_run(&setup, &program, s, &s->supervise);
}

int client_supervisor_run(const struct client_config *config, const struct supervisor_options *options)
{
	struct supervisor s = {.first = config,
		.configuration = {options->type, options->context, config},
		.options = options,
		.port.fd = -1};
	struct err err = {""};
	int exit_code = 1;
	int rc;

	s.marks.keeps = config->fwmark_kind == CLIENT_FWMARK_AUTO &&
			!config->has_device; /* another program's device may come and go */
	s.names = address_cache_open(options->state_dir, config->name);
	rc = s.names ? 0 : err_system(&err, -ENOMEM, "names");
	/* Before anything is opened that needs privilege or a folder of root's: this complaint names the device. */
	if (rc == 0 && config->has_device)
		rc = check_capable(wireguard_path(config), &config->wireguard, false, &err);
	if (rc == 0)
		rc = local_port_open(&s.port, config, &err);
	if (rc == 0)
		rc = client_settings_build(&s.settings, config, s.port.text, &err);
	if (rc < 0)
		log_error("config", "%s", err.text);
	else
		exit_code = run(&s);
	client_settings_built_done(&s.settings);
	configuration_done(&s.configuration);
	address_cache_close(s.names);
	local_port_close(&s.port);
	return exit_code;
}
