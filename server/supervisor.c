/* The hub's supervisor.
 *
 * Happy path: listeners, the clients' addresses, certificate and page, a namespace with only lo, and then
 * supervise_run(): a worker that is handed settings and listeners, and UDP sockets when it asks for them. A device of
 * the file is brought up as well; its UDP socket is made in the worker's namespace, unless it shall answer to all.
 * Fails at set-up with one line and exit code 1; nothing is left behind but certificate, page and addresses.
 *
 * A flow's socket is connected to Target before the worker gets it, and the worker can only write to it: since it
 * cannot name an address, no firewall rule is needed. Its source address is the client's own, 127.64.0.0/10 by the
 * client's number, so that `wg show` tells the clients apart and a client that comes back is seen at the same endpoint.
 *
 * A client is greeted (host_greet_peer()) when its first socket is made: it may still have a session with a device that
 * was here before, and its WireGuard would try anew only after 15 s of silence.
 */
#include "server/supervisor.h"

#include "common/base/base64.h"
#include "common/base/clock.h"
#include "common/base/folder.h"
#include "common/base/log.h"
#include "common/base/text.h"
#include "common/host/check.h"
#include "common/host/claims.h"
#include "common/net/netmon.h"
#include "common/process/configuration.h"
#include "common/process/socket_tune.h"
#include "common/process/spawn.h"
#include "common/process/supervise.h"
#include "server/certificate.h"
#include "server/enrol.h"
#include "server/flow_socket.h"
#include "server/listener.h"
#include "server/open_port.h"
#include "server/reachable.h"
#include "server/restart.h"
#include "server/settings_build.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define REACHABLE_MS 5000 /* from a change of the rules to the next check: Docker makes dozens at a time */

struct supervisor {
	const struct supervisor_options *options;
	const struct server_config *first;  /* of the start: what only a restart changes */
	struct configuration configuration; /* its first is the one above */
	struct supervise *supervise;
	char folder[PATH_MAX];
	int *listener_fds;
	struct server_settings_listener *listeners; /* those that are open */
	size_t listener_count;
	struct client_number_table *sources;
	struct settings_build_frame frame;
	struct settings_build settings;
	struct flow_address flow_address;
	int netns_fd;
	struct certificate_watch watch;
	uv_timer_t look_timer; /* at the certificate's files */
	uv_timer_t reachable_timer;
	struct reachable reachable;
	struct claims *claims; /* NULL: not yet, or not to be had */
	bool has_timer; /* both */
	char told_device[IFNAMSIZ]; /* see open_port.h */
	char state[512];	    /* "up: listening on …" */
};

/* --- what the worker asks for --- */

/* Greet a client: once for each device, and again after a reload. */
static void greet(struct supervisor *s, struct client_list_entry *entry)
{
	struct host *host = supervise_host(s->supervise);

	if (!host || !entry->client->has_public_key || entry->is_greeted || entry->from.sa.sa_family == AF_UNSPEC)
		return;
	entry->is_greeted = true;
	host_greet_peer(host, entry->client->public_key, &entry->from, entry->rtt_ms);
}

/* @wanted->client may have been removed by a reload after the worker asked: -EACCES. Return: descriptor or a negative
 * errno. */
static int open_flow_socket(struct supervisor *s, const struct channel_flow *wanted)
{
	struct client_list_entry *entry = client_list_find(&s->settings.clients, wanted->client);
	int fd = entry ? flow_socket_open(&s->flow_address, wanted) : -EACCES;
	struct sockaddr_storage storage;
	socklen_t len = sizeof(storage);
	char text[ADDR_TEXT_MAX];

	if (entry && fd < 0)
		log_warning("session", "a UDP socket for %s: %s", entry->client->name, strerror(-fd));
	if (fd < 0)
		return fd;
	if (getsockname(fd, (struct sockaddr *)&storage, &len) == 0)
		addr_from_sockaddr((const struct sockaddr *)&storage, &entry->from);
	if (s->flow_address.target.sa.sa_family == AF_INET && !entry->is_told) { /* 127.64.0.0/10 */
		struct addr source;

		entry->is_told = true;
		client_number_address(entry->number, &source);
		log_debug("session", "%s: its datagrams come from %s", entry->client->name,
			addr_format_host(text, sizeof(text), &source));
	}
	entry->rtt_ms = wanted->rtt_ms;
	greet(s, entry);
	return fd;
}

/* A socket on its way to the service that @wanted names. The worker never names an address. Return: descriptor or a
 * negative errno; -ESTALE: a reload has given the services new numbers. */
static int open_home_socket(const struct settings_build *settings, const struct channel_home *wanted)
{
	uint32_t index = wanted->publish - settings->home_number;
	const struct addr *to;
	int fd, rc = 0;

	if (index >= settings->home_count)
		return -ESTALE;
	to = &settings->homes[index];
	fd = socket(to->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	socket_tune_tcp(fd, "", 0);
	if (connect(fd, &to->sa, addr_len(to)) < 0 && errno != EINPROGRESS)
		rc = -errno;
	if (rc == 0)
		return fd;
	close(fd);
	return rc;
}

/* Send the descriptor, or the errno for which there is none, with the ticket by which the worker knows its request.
 * A worker that is gone needs no answer. @fd is closed here: the worker has a descriptor of its own. */
static void answer(struct channel *channel, enum channel_kind kind, uint64_t ticket, int fd)
{
	const struct channel_reply reply = {.ticket = ticket, .error = fd < 0 ? fd : 0};

	channel_send(channel, kind, &reply, sizeof(reply), fd < 0 ? -1 : fd);
	if (fd >= 0)
		close(fd);
}

/* The worker may have been taken over, so a request gives it nothing but sockets to places that the configuration
 * names. */
static void on_worker_message(void *owner, struct channel *channel, enum channel_kind kind, const void *payload)
{
	struct supervisor *s = owner;
	struct host *host = supervise_host(s->supervise);

	if (kind == CHANNEL_FLOW_WANTED) {
		const struct channel_flow *wanted = payload;

		answer(channel, CHANNEL_FLOW_SOCKET, wanted->ticket, open_flow_socket(s, wanted));
	} else if (kind == CHANNEL_HOME_WANTED) {
		const struct channel_home *wanted = payload;

		answer(channel, CHANNEL_HOME_SOCKET, wanted->ticket, open_home_socket(&s->settings, wanted));
	} else if (kind == CHANNEL_ENROL) {
		const struct channel_enrol *enrol = payload;
		struct channel_enrol_failed failed = {.client = enrol->client};

		failed.error = enrol_take(
			configuration_in_use(&s->configuration), &s->settings.clients, enrol, clock_wall_s());
		if (failed.error > 0)
			supervise_reload_soon(s->supervise);
		else if (failed.error < 0)
			channel_send(channel, CHANNEL_ENROL_FAILED, &failed, sizeof(failed), -1);
	} else if (kind == CHANNEL_CLOCK && host) {
		/* A client whose clock has gone back: WireGuard would refuse its handshakes as replays. */
		const struct channel_clock *clock = payload;
		struct client_list_entry *entry = client_list_find(&s->settings.clients, clock->client);

		if (entry && entry->client->has_public_key &&
			client_list_note_clock(entry, clock->wall_s, clock_wall_s()))
			host_on_peer_clock(host, entry->client->public_key, &entry->from, entry->rtt_ms, clock->wall_s);
	}
}

/* --- what the worker is given --- */

static int hand_down(void *owner, struct channel *channel, struct err *err)
{
	struct supervisor *s = owner;
	const struct host *host = supervise_host(s->supervise);
	uint32_t mark = host ? host_mark(host) : 0;
	int rc = channel_send(channel, CHANNEL_SETTINGS, NULL, 0, s->settings.settings_fd);

	/* A hub that routes everything into its tunnel (a [Peer] with 0.0.0.0/0) must answer its clients directly:
	 * accepted connections inherit the listener's mark, and the kernel's first answers have it, too. */
	for (size_t i = 0; i < s->listener_count && mark != 0; i++)
		if (setsockopt(s->listener_fds[i], SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
			log_warning("session", "%s: mark %u: %s", s->listeners[i].text, mark, strerror(errno));
	for (size_t i = 0; i < s->listener_count && rc == 0; i++) {
		const struct channel_index index = {.index = (uint32_t)i};

		rc = channel_send(channel, CHANNEL_LISTENER, &index, sizeof(index), s->listener_fds[i]);
	}
	return rc < 0 ? err_system(err, rc, "handing the listeners to the worker") : 0;
}

/* --- a reload --- */

/* By the file's name, or words for our own. */
static const char *certificate_name(const struct server_config *config)
{
	return config->certificate_path ? config->certificate_path : "our own certificate";
}

static bool is_same_certificate(const struct settings_build *a, const struct settings_build *b)
{
	return text_is_same(a->certificate_pem, b->certificate_pem);
}

/* Put new settings, made of @config, in place and send them, also to a worker that is starting; without a worker the
 * next one gets them. */
static int use_settings(struct supervisor *s, struct channel *channel, const struct server_config *config,
	struct settings_build *settings, struct err *err)
{
	int rc;

	if (!is_same_certificate(&s->settings, settings))
		certificate_tell_change(certificate_name(config), s->settings.certificate_pem, settings->certificate_pem);
	client_list_remember(&settings->clients, &s->settings.clients);
	settings_build_close(&s->settings);
	s->settings = *settings;
	rc = channel ? channel_send(channel, CHANNEL_RELOAD, NULL, 0, s->settings.settings_fd) : 0;
	return rc < 0 && rc != -EPIPE ? err_system(err, rc, "the worker takes no settings; restart it") : 0;
}

/* Everything new that can fail is made first; then the host takes its part or refuses it; after that nothing is
 * undone. */
static int take_config(struct supervisor *s, struct channel *channel, struct server_config *config, char *ret_restart,
	size_t restart_size, struct err *err)
{
	struct host *host = supervise_host(s->supervise);
	bool is_of_device = host && restart_is_same_device(s->first, config);
	struct settings_build settings;
	struct err claims_err = {""};
	struct status_port port;
	int rc = supervise_open_status(s->supervise, &port, &config->status, err);

	if (rc < 0)
		return rc;
	rc = settings_build_open(&settings, &s->frame, config, err);
	if (rc == 0 && is_of_device) {
		rc = host_reload(host, &config->wireguard, config->publishes, config->publish_count, ret_restart,
			restart_size, err);
		if (rc != 0)
			settings_build_close(&settings);
	}
	if (rc != 0) {
		status_port_close(&port);
		return rc;
	}
	supervise_use_status(s->supervise, &port);
	restart_append(ret_restart, restart_size, s->first, config);
	if (s->claims && claims_set(s->claims, config->claims, config->claim_count, &claims_err) < 0)
		log_error("claim", "%s", claims_err.text);
	rc = use_settings(s, channel, config, &settings, err);
	configuration_use(&s->configuration, config, is_of_device);
	/* The reload brings back peers that another program has removed, and these have forgotten their client's
	 * session. */
	for (size_t i = 0; i < s->settings.clients.count && is_of_device; i++) {
		s->settings.clients.entries[i].is_greeted = false;
		greet(s, &s->settings.clients.entries[i]);
	}
	return rc;
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

/* --- the loop runs --- */

/* Everything but the certificate stays as it is; sessions do not notice. */
static int take_certificate(struct supervisor *s, const struct server_config *config, struct err *err)
{
	struct settings_build settings;
	int rc = settings_build_open(&settings, &s->frame, config, err);

	if (rc < 0)
		return rc;
	if (!is_same_certificate(&s->settings, &settings))
		certificate_warn_dates(certificate_name(config), settings.certificate_pem);
	return use_settings(s, supervise_channel(s->supervise), config, &settings, err);
}

/* Our own certificate may be due, or another program such as certbot may have renewed the configured one. */
static void on_look_timer(uv_timer_t *timer)
{
	struct supervisor *s = timer->data;
	const struct server_config *config = configuration_in_use(&s->configuration);
	uint64_t now_us = clock_now_us();
	struct certificate_marks marks;
	struct err err = {""};

	certificate_marks_look(&marks, config->certificate_path, config->certificate_key_path);
	if (!certificate_watch_is_due(&s->watch, &s->settings.marks, &marks, now_us) ||
		!certificate_watch_note(&s->watch, take_certificate(s, config, &err) == 0, now_us))
		return;
	if (config->certificate_path)
		log_warning("config",
			"Certificate %s and CertificateKey %s are not taken: %s; the ones read before stay until these are "
			"a PEM chain and the key of its first certificate",
			config->certificate_path, config->certificate_key_path, err.text);
	else
		log_warning("config", "looking at our own certificate: %s; tried again every %u s", err.text,
			CERTIFICATE_LOOK_MS / 1000);
}

/* Without a device of ours, another program's WireGuard may answer to the Internet at Target's port: warn. */
static void warn_of_open_port(struct supervisor *s)
{
	if (!s->first->has_device)
		open_port_warn(addr_port(&s->first->target), s->told_device);
}

/* Not before the last hook, which may open what was closed. */
static void on_up(void *owner)
{
	struct supervisor *s = owner;

	reachable_check(&s->reachable);
}

static void on_ports_checked(void *owner)
{
	struct supervisor *s = owner;

	supervise_flow(s->supervise);
}

static void on_reachable_timer(uv_timer_t *timer)
{
	struct supervisor *s = timer->data;

	reachable_check(&s->reachable);
}

/* A claim may wait for years, so `up` does not wait for it. */
static void open_claims(struct supervisor *s)
{
	const struct server_config *config = configuration_in_use(&s->configuration);
	struct err err = {""};

	if (claims_open(&s->claims, supervise_loop(s->supervise), s->options->state_dir, s->first->name,
		    config->claims, config->claim_count, &err) < 0)
		log_error("claim", "%s; nothing is claimed", err.text);
}

/* The first worker is ready. A device of the file may still be on its way: on_up() comes when it is there, too. */
static void on_ready(void *owner)
{
	struct supervisor *s = owner;

	log_info("session", "%s, forwarding to %s", s->state + strlen("up: "), s->first->target_text);
	warn_of_open_port(s);
	s->watch.read_us = clock_now_us();
	uv_timer_init(supervise_loop(s->supervise), &s->look_timer);
	s->look_timer.data = s;
	s->has_timer = true;
	uv_timer_init(supervise_loop(s->supervise), &s->reachable_timer);
	s->reachable_timer.data = s;
	s->reachable = (struct reachable){.config = s->first,
		.loop = supervise_loop(s->supervise),
		.on_checked = on_ports_checked,
		.owner = s};
	uv_timer_start(&s->look_timer, on_look_timer, CERTIFICATE_LOOK_MS, CERTIFICATE_LOOK_MS);
	open_claims(s);
}

/* wg-quick sets the device up last, when it already has its port: that is the event to wait for. */
static void on_network(void *owner, struct channel *channel, unsigned kinds)
{
	struct supervisor *s = owner;

	(void)channel;
	if (kinds & NETMON_LINK)
		warn_of_open_port(s);
	claims_on_network(s->claims, kinds);
	if (kinds & NETMON_FIREWALL && s->has_timer && !uv_is_active((uv_handle_t *)&s->reachable_timer))
		uv_timer_start(&s->reachable_timer, on_reachable_timer, REACHABLE_MS, 0);
}

/* Return: NULL for a peer that is no client of ours. */
static const char *name_of_peer(const struct client_list *clients, const json_t *peer)
{
	const char *text = json_string_value(json_object_get(peer, "public_key"));
	uint8_t key[WG_CONFIG_KEY_LEN];

	if (!text || base64_decode(key, sizeof(key), text, strlen(text), BASE64_STANDARD) != sizeof(key))
		return NULL;
	for (size_t i = 0; i < clients->count; i++) {
		const struct server_client *client = clients->entries[i].client;

		if (client->has_public_key && memcmp(client->public_key, key, sizeof(key)) == 0)
			return client->name;
	}
	return NULL;
}

/* Add the clients' names to the peers of `status`, and why nobody gets in. */
static void on_report(void *owner, json_t *object)
{
	const struct supervisor *s = owner;
	struct host *host = supervise_host(s->supervise);
	json_t *peer, *claims = claims_report(s->claims), *services = host ? host_report_services(host) : NULL;
	size_t i;

	json_object_set_new(object, "publish", services ? services : json_array());
	json_array_extend(json_object_get(object, "warnings"), s->reachable.warnings);
	if (claims)
		json_object_set_new(object, "claims", claims);
	json_array_foreach (json_object_get(json_object_get(object, "wireguard"), "peers"), i, peer) {
		const char *name = name_of_peer(&s->settings.clients, peer);

		if (name)
			json_object_set_new(peer, "name", json_string(name));
	}
}

static void on_close(void *owner)
{
	struct supervisor *s = owner;

	reachable_close(&s->reachable);
	claims_close(s->claims);
	if (!s->has_timer)
		return;
	uv_close((uv_handle_t *)&s->look_timer, NULL);
	uv_close((uv_handle_t *)&s->reachable_timer, NULL);
}

/* --- listeners --- */

static int open_listeners(struct supervisor *s, struct err *err)
{
	const struct server_config *config = s->first;

	s->listener_fds = calloc(config->listen_count, sizeof(*s->listener_fds));
	s->listeners = calloc(config->listen_count, sizeof(*s->listeners));
	if (!s->listener_fds || !s->listeners)
		return err_system(err, -ENOMEM, "listeners");
	for (size_t i = 0; i < config->listen_count; i++) {
		const struct server_listen *listen = &config->listens[i];
		int fd = listener_open(config, listen, err);

		/* [::]:443, which no file asks for (line 0), on a host without IPv6: go on without it */
		if (fd == -EAFNOSUPPORT && listen->line == 0 && config->listen_count > 1) {
			log_info("config", "%s", err->text);
			continue;
		}
		if (fd < 0)
			return fd;
		s->listener_fds[s->listener_count] = fd;
		snprintf(s->listeners[s->listener_count].text, sizeof(s->listeners[0].text), "%s", listen->text);
		s->listeners[s->listener_count].only_proxies = listen->cleartext && !addr_is_loopback(&listen->addr);
		s->listeners[s->listener_count++].cleartext = listen->cleartext;
	}
	return s->listener_count > 0 ? 0 : -EAFNOSUPPORT;
}

/* --- set-up --- */

/* The file with [Interface]: complaints about the device name it. */
static const char *wireguard_path(const struct server_config *config)
{
	return config->wireguard_path ? config->wireguard_path : config->path;
}

/* Shared by all settings that are built one after the other: the folder, the listeners, the clients' numbers. */
static int open_frame(struct supervisor *s, struct err *err)
{
	int rc;

	if (snprintf(s->folder, sizeof(s->folder), "%s/%s", s->options->state_dir, s->first->name) >=
		(int)sizeof(s->folder))
		return err_system(err, -ENAMETOOLONG, "%s", s->options->state_dir);
	rc = folder_ensure(s->folder, "--state-dir", err);
	if (rc == 0)
		rc = client_number_table_open(&s->sources, s->folder, err);
	s->frame = (struct settings_build_frame){.folder = s->folder,
		.listeners = s->listeners,
		.listener_count = s->listener_count,
		.target = s->first->target,
		.sources = s->sources};
	return rc;
}

/* On failure supervisor_close() closes what is open. The certificate is made before the namespace: its mistakes are the
 * likelier ones. */
static int supervisor_open(struct supervisor *s, struct err *err)
{
	bool is_hidden = s->first->has_device && s->first->hidden;
	size_t len;
	int rc = open_listeners(s, err);

	if (rc == 0)
		rc = open_frame(s, err);
	if (rc == 0)
		rc = settings_build_open(&s->settings, &s->frame, s->first, err);
	if (rc < 0)
		return rc;
	len = (size_t)snprintf(s->state, sizeof(s->state), "up: listening on");
	for (size_t i = 0; i < s->listener_count && len < sizeof(s->state); i++)
		len += (size_t)snprintf(
			s->state + len, sizeof(s->state) - len, "%s %s", i > 0 ? "," : "", s->listeners[i].text);
	if (s->first->has_device && len < sizeof(s->state))
		snprintf(s->state + len, sizeof(s->state) - len, ", WireGuard device %s%s", s->first->device,
			s->first->hidden ? ", hidden" : "");
	s->netns_fd = spawn_open_lo_namespace(err);
	if (s->netns_fd < 0 && is_hidden)
		return s->netns_fd;
	/* The namespace is one wall of two: without it the worker still can name no address (sandbox.h). */
	if (s->netns_fd < 0)
		log_warning("config", "%s; the worker is held by its system call filter and its user alone", err->text);
	return flow_address_open(&s->flow_address, &s->first->target, is_hidden ? s->netns_fd : -1, err);
}

static void supervisor_close(struct supervisor *s)
{
	for (size_t i = 0; i < s->listener_count; i++)
		close(s->listener_fds[i]);
	free(s->listener_fds);
	free(s->listeners);
	settings_build_close(&s->settings);
	client_number_table_close(s->sources);
	configuration_done(&s->configuration);
	flow_address_close(&s->flow_address);
	if (s->netns_fd >= 0)
		close(s->netns_fd);
}

static struct host_setup describe_host(const struct supervisor *s)
{
	const struct server_config *config = s->first;
	struct host_setup setup = {.name = config->name,
		.config_path = config->path,
		.wireguard_path = wireguard_path(config),
		.typed = s->options->typed,
		.state_dir = s->options->state_dir,
		.wireguard = &config->wireguard,
		.gateways = config->gateways,
		.gateway_count = config->gateway_count,
		.publishes = config->publishes,
		.publish_count = config->publish_count,
		.is_hub = true,
		.birth_netns_fd = s->flow_address.netns_fd};

	snprintf(setup.device, sizeof(setup.device), "%s", config->device);
	return setup;
}

static int supervisor_run(struct supervisor *s)
{
	static const struct supervise_program program = {.hand_down = hand_down,
		.on_message = on_worker_message,
		.on_ready = on_ready,
		.on_up = on_up,
		.on_network = on_network,
		.reload = reload,
		.on_report = on_report,
		.on_close = on_close};
	const struct host_setup host = describe_host(s);
	const struct supervise_setup setup = {.name = s->first->name,
		.role = "server",
		.area = "session",
		.worker_title = "towpath-server: worker",
		.runtime_dir = s->options->runtime_dir,
		.ready_state = s->state,
		.netns_fd = s->netns_fd,
		.lacks_netns = s->netns_fd < 0,
		.host = s->first->has_device ? &host : NULL,
		.status = &s->first->status,
		.up_fd = s->options->up_fd};

	return supervise_run(&setup, &program, s, &s->supervise);
}

int server_supervisor_run(const struct server_config *config, const struct supervisor_options *options)
{
	struct supervisor s = {.options = options,
		.first = config,
		.configuration = {options->type, options->context, config},
		.settings = {.settings_fd = -1},
		.flow_address = {.netns_fd = -1, .home_fd = -1},
		.netns_fd = -1};
	struct err err = {""};
	int exit_code = 1, rc = 0;

	/* Before namespaces are made, which needs the same privilege: this complaint names the device. */
	if (config->has_device)
		rc = check_capable(wireguard_path(config), &config->wireguard, config->hidden, &err);
	if (rc < 0 || supervisor_open(&s, &err) < 0)
		log_error("config", "%s", err.text);
	else
		exit_code = supervisor_run(&s);
	supervisor_close(&s);
	return exit_code;
}
