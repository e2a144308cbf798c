/* The hub's supervisor.
 *
 * Happy path: certificate and page, listeners, the clients' addresses, a namespace with only lo, and then
 * supervise_run(): a worker that is handed settings and listeners, and UDP sockets when it asks for them.
 * Fails at set-up with one line and exit code 1; nothing is left behind but the certificate and the page.
 */
#include "server/supervisor.h"

#include "common/base/log.h"
#include "common/base/secret.h"
#include "common/process/folder.h"
#include "common/process/spawn.h"
#include "common/process/supervise.h"
#include "common/tunnel/tls.h"
#include "server/certificate.h"
#include "server/flow_socket.h"
#include "server/listener.h"
#include "server/page.h"
#include "server/settings.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct supervisor {
	const struct server_config *config;
	struct supervise *supervise;
	int *listener_fds;
	struct server_settings_listener *listeners; /* those that are open */
	size_t listener_count;
	struct flow_sources *sources;
	bool *is_source_told; /* once for each client */
	int settings_fd;      /* the sealed memory file, for every worker again */
	int netns_fd;
	char state[512]; /* "up: listening on …" */
};

/* --- what the worker asks for --- */

static void tell_source(struct supervisor *s, uint32_t client)
{
	char text[ADDR_TEXT_MAX];
	struct addr source;

	if (s->is_source_told[client])
		return;
	s->is_source_told[client] = true;
	flow_sources_get(s->sources, client, &source);
	log_debug("session", "%s: its datagrams come from %s", s->config->clients[client].name,
		addr_format_host(text, sizeof(text), &source));
}

static void on_message(void *owner, struct channel *channel, enum channel_kind kind, const void *payload)
{
	const struct channel_flow *wanted = payload;
	struct channel_reply reply;
	struct supervisor *s = owner;
	int fd;

	if (kind != CHANNEL_FLOW_WANTED)
		return;
	fd = flow_socket_open(s->sources, wanted);
	reply = (struct channel_reply){.ticket = wanted->ticket, .error = fd < 0 ? fd : 0};
	if (fd < 0)
		log_warning("session", "a UDP socket for client %u: %s", wanted->client, strerror(-fd));
	else
		tell_source(s, wanted->client);
	channel_send(channel, CHANNEL_FLOW_SOCKET, &reply, sizeof(reply), fd);
	if (fd >= 0)
		close(fd);
}

/* --- what the worker is given --- */

static int hand_down(void *owner, struct channel *channel, struct err *err)
{
	struct supervisor *s = owner;
	int rc;

	lseek(s->settings_fd, 0, SEEK_SET); /* the worker before has read it */
	rc = channel_send(channel, CHANNEL_SETTINGS, NULL, 0, s->settings_fd);
	for (size_t i = 0; i < s->listener_count && rc == 0; i++) {
		const struct channel_index index = {.index = (uint32_t)i};

		rc = channel_send(channel, CHANNEL_LISTENER, &index, sizeof(index), s->listener_fds[i]);
	}
	return rc < 0 ? err_system(err, rc, "handing the listeners to the worker") : 0;
}

static void on_ready(void *owner)
{
	const struct supervisor *s = owner;

	log_info("session", "%s, forwarding to %s", s->state + strlen("up: "), s->config->target_text);
}

/* --- listeners --- */

static int open_listeners(struct supervisor *s, struct err *err)
{
	const struct server_config *config = s->config;

	s->listener_fds = calloc(config->listen_count, sizeof(*s->listener_fds));
	s->listeners = calloc(config->listen_count, sizeof(*s->listeners));
	if (!s->listener_fds || !s->listeners)
		return err_system(err, -ENOMEM, "listeners");
	for (size_t i = 0; i < config->listen_count; i++) {
		const struct server_listen *listen = &config->listens[i];
		int fd = listener_open(config, listen, err);

		/* [::]:443 of the default, on a host without IPv6 */
		if (fd == -EAFNOSUPPORT && listen->line == 0 && config->listen_count > 1) {
			log_info("config", "%s", err->text);
			continue;
		}
		if (fd < 0)
			return fd;
		s->listener_fds[s->listener_count] = fd;
		snprintf(s->listeners[s->listener_count].text, sizeof(s->listeners[0].text), "%s", listen->text);
		s->listeners[s->listener_count++].cleartext = listen->cleartext;
	}
	return s->listener_count > 0 ? 0 : -EAFNOSUPPORT;
}

static void describe_state(struct supervisor *s)
{
	size_t len = (size_t)snprintf(s->state, sizeof(s->state), "up: listening on");

	for (size_t i = 0; i < s->listener_count && len < sizeof(s->state); i++)
		len += (size_t)snprintf(
			s->state + len, sizeof(s->state) - len, "%s %s", i > 0 ? "," : "", s->listeners[i].text);
}

/* --- settings --- */

static bool needs_certificate(const struct supervisor *s)
{
	for (size_t i = 0; i < s->listener_count; i++)
		if (!s->listeners[i].cleartext)
			return true;
	return false;
}

static int tell_pin(const char *certificate_pem, bool is_made, struct err *err)
{
	uint8_t pin[TLS_PIN_LEN];
	char text[TLS_PIN_TEXT_MAX];
	int rc = tls_pin_of_pem(certificate_pem, pin, err);

	if (rc < 0)
		return rc;
	log_notice("config", "certificate %s by ourselves; clients need: Pin = %s", is_made ? "made" : "was made",
		tls_pin_format(text, pin));
	return 0;
}

static int read_certificate(
	const struct supervisor *s, const char *folder, struct server_settings *settings, struct err *err)
{
	const struct server_config *config = s->config;
	bool is_made = false;
	int rc;

	if (!needs_certificate(s))
		return 0;
	if (config->certificate_path)
		return certificate_load(config->certificate_path, config->certificate_key_path,
			&settings->certificate_pem, &settings->certificate_key_pem, err);
	rc = certificate_ensure(folder, &settings->certificate_pem, &settings->certificate_key_pem, &is_made, err);
	return rc < 0 ? rc : tell_pin(settings->certificate_pem, is_made, err);
}

/* The settings borrow everything but certificate, key and page from the configuration. */
static int write_settings(struct supervisor *s, struct server_settings *settings, struct err *err)
{
	const struct server_config *config = s->config;

	snprintf(settings->name, sizeof(settings->name), "%s", config->name);
	settings->listeners = s->listeners;
	settings->listener_count = s->listener_count;
	settings->target = config->target;
	settings->client_count = config->client_count;
	settings->max_clients = config->max_clients;
	settings->max_sessions_per_client = config->max_sessions_per_client;
	settings->ping_interval_ms = config->ping_interval_ms;
	settings->trusted_proxies = config->trusted_proxies;
	settings->trusted_proxy_count = config->trusted_proxy_count;
	settings->clients = calloc(config->client_count + 1, sizeof(*settings->clients));
	if (!settings->clients)
		return err_system(err, -ENOMEM, "settings");
	for (size_t i = 0; i < config->client_count; i++)
		settings->clients[i] = (struct server_settings_client){.name = config->clients[i].name,
			.token = config->clients[i].token,
			.stock_path = config->clients[i].stock_path};
	s->settings_fd = server_settings_write(settings, err);
	free(settings->clients);
	return s->settings_fd < 0 ? s->settings_fd : 0;
}

static int build_settings(struct supervisor *s, const char *folder, struct err *err)
{
	struct server_settings settings = {0};
	int rc = folder_ensure(folder, err);

	if (rc == 0)
		rc = read_certificate(s, folder, &settings, err);
	if (rc == 0)
		rc = page_ensure(folder, &settings.page_html, err);
	if (rc == 0)
		rc = write_settings(s, &settings, err);
	free(settings.certificate_pem);
	secret_free(settings.certificate_key_pem);
	free(settings.page_html);
	return rc;
}

/* --- set-up --- */

static int open_sources(struct supervisor *s, struct err *err)
{
	const struct server_config *config = s->config;
	const char **names = calloc(config->client_count + 1, sizeof(*names));
	int rc;

	s->is_source_told = calloc(config->client_count + 1, sizeof(*s->is_source_told));
	if (!names || !s->is_source_told) {
		free(names);
		return err_system(err, -ENOMEM, "clients");
	}
	for (size_t i = 0; i < config->client_count; i++)
		names[i] = config->clients[i].name;
	rc = flow_sources_open(&s->sources, names, config->client_count, &config->target, err);
	free(names);
	return rc;
}

static int supervisor_open(struct supervisor *s, const char *state_dir, struct err *err)
{
	char folder[PATH_MAX];
	int rc;

	if (snprintf(folder, sizeof(folder), "%s/%s", state_dir, s->config->name) >= (int)sizeof(folder))
		return err_system(err, -ENAMETOOLONG, "%s", state_dir);
	rc = open_listeners(s, err);
	if (rc == 0)
		rc = build_settings(s, folder, err);
	if (rc == 0)
		rc = open_sources(s, err);
	if (rc < 0)
		return rc;
	describe_state(s);
	s->netns_fd = spawn_open_lo_namespace(err);
	return s->netns_fd < 0 ? s->netns_fd : 0;
}

static void supervisor_close(struct supervisor *s)
{
	for (size_t i = 0; i < s->listener_count; i++)
		close(s->listener_fds[i]);
	free(s->listener_fds);
	free(s->listeners);
	flow_sources_close(s->sources);
	free(s->is_source_told);
	if (s->settings_fd >= 0)
		close(s->settings_fd);
	if (s->netns_fd >= 0)
		close(s->netns_fd);
}

int server_supervisor_run(const struct server_config *config, const struct supervisor_options *options)
{
	static const struct supervise_program program = {
		.hand_down = hand_down, .on_message = on_message, .on_ready = on_ready};
	struct supervisor s = {.config = config, .settings_fd = -1, .netns_fd = -1};
	struct err err = {""};
	int exit_code = 1;

	if (supervisor_open(&s, options->state_dir, &err) < 0) {
		log_error("config", "%s", err.text);
	} else {
		const struct supervise_plan plan = {.name = config->name,
			.role = "server",
			.area = "session",
			.worker_title = "towpath-server: worker",
			.runtime_dir = options->runtime_dir,
			.ready_state = s.state,
			.netns_fd = s.netns_fd,
			.up_fd = -1};

		exit_code = supervise_run(&plan, &program, &s, &s.supervise);
	}
	supervisor_close(&s);
	return exit_code;
}
