/* The hub's worker (worker.h); common/process/work.c calls it back at each step of a worker's life.
 *
 * Happy path: settings and listeners come over the channel, everything that needs a file or random numbers is made, the
 * sandbox closes, then one loop accepts connections (session.c) and serves them. Twice a second each session and flow
 * looks at its deadlines. Before READY a failure goes to the supervisor as CHANNEL_FAILED; after that the worker ends
 * only with its channel, or where it cannot take new settings.
 */
#include "server/worker.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/process/work.h"
#include "common/tunnel/tls.h"
#include "server/hub.h"
#include "server/passage.h"
#include "server/reload.h"
#include "server/session.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define ACCEPTS_MAX 64	  /* of one listener per turn of the loop, so that tunnels get their turn too */
#define POOL_CELLS 65536u /* 128 MiB of address space, touched as used */
#define LISTENERS_MAX 64u
/* Its own, and the web site's pair, the flow's socket or a published server's. Once it is a tunnel two are enough. */
#define FDS_OF_A_CONNECTION 3u
#define FDS_OF_OUR_OWN 100u /* the status page has up to 40 */
#define UNWRITTEN_US (3 * CLOCK_US_PER_S) /* for a machine to hear so, and to give its key up */
#define TOO_MANY_FILES "too many open files; " FILES_REMEDY
#define FILES_REMEDY                                                                                                   \
	"raise the limit: LimitNOFILE= in the systemd unit, --ulimit nofile= in a container, else ulimit -n"
#define VISITORS_MAX 4096u /* beside MaxClients: what strangers can make us hold, some 20 KiB each */

struct listener {
	struct worker *worker;
	uv_poll_t poll;
	int fd;
	bool is_resting; /* out of descriptors: the tick tries again */
};

struct worker {
	struct hub hub;
	struct listener listeners[LISTENERS_MAX];
	uint32_t connections_max, descriptors_max;
};

/* --- start --- */

/* The first message of the supervisor; listeners follow it, in any order. */
static int on_settings(void *owner, int fd, struct err *err)
{
	struct worker *worker = owner;

	return server_settings_read(fd, &worker->hub.settings, err);
}

/* The supervisor made the socket, which needs rights that a worker does not have. */
static int on_listener(void *owner, uint32_t index, int fd, struct err *err)
{
	struct worker *worker = owner;

	if (index >= worker->hub.settings.listener_count || index >= LISTENERS_MAX || fd < 0)
		return err_set(err, -EPROTO, "listener %u is not in the settings", index);
	worker->listeners[index].fd = fd;
	return 0;
}

/* Everything that needs files or the kernel's random numbers, before the sandbox takes them away. */
static int worker_open(void *owner, struct err *err)
{
	struct worker *worker = owner;
	struct hub *hub = &worker->hub;
	const struct server_settings *settings = &hub->settings;
	const struct flow_table_setup flows = {.loop = &hub->loop,
		.pump = &hub->pump,
		.channel = hub->channel,
		.settings = settings,
		.handlers = &session_flow_handlers};
	uint64_t seed = 0;
	int rc;

	if (getrandom(&seed, sizeof(seed), 0) < 0)
		return err_system(err, -errno, "random numbers");
	throttle_init(&hub->throttle, seed);
	flow_table_init(&hub->flows, &flows);
	rc = hub_make_tls(&hub->tls, settings, err);
	if (rc == 0)
		rc = admit_table_open(&hub->admit, settings, err);
	if (rc == 0)
		rc = pump_init(&hub->pump, POOL_CELLS, err);
	if (rc == 0 && passages_open(&hub->passages, settings) < 0)
		rc = err_system(err, -ENOMEM, "published services");
	return rc < 0 ? rc : website_open(&hub->website, &hub->loop, settings->page_html, err);
}

/* --- accepting --- */

/* How many connections may be open, so that a descriptor is always left for what a connection, the channel or the web
 * site needs next. The sandbox has raised the limit of open files as far as it may. Visitors of published servers get
 * no more than half of them. A hub whose clients cannot all be there at a time says so. */
static void set_connections_max(struct worker *worker)
{
	const struct server_settings *settings = &worker->hub.settings;
	uint32_t passages = settings->publish_count > 0 ? PASSAGES_MAX : 0;
	struct rlimit files;
	rlim_t limit = getrlimit(RLIMIT_NOFILE, &files) < 0 ? 1024 : files.rlim_max;
	rlim_t max = limit > 2 * FDS_OF_OUR_OWN ? limit - FDS_OF_OUR_OWN : FDS_OF_OUR_OWN;
	uint64_t wanted =
		2 * (uint64_t)settings->max_clients + VISITORS_MAX + passages; /* each may have a second one */
	uint64_t half = (wanted < max / FDS_OF_A_CONNECTION ? wanted : max / FDS_OF_A_CONNECTION) / 2;

	worker->connections_max = (uint32_t)(wanted < max ? wanted : max);
	worker->descriptors_max = (uint32_t)(max < UINT32_MAX ? max : UINT32_MAX);
	worker->hub.passages.max = (uint32_t)(passages < half ? passages : half);
	if (2 * settings->client_count >= max)
		log_warning("session", "%zu clients, but %llu open files, which are enough for %llu; " FILES_REMEDY,
			settings->client_count, (unsigned long long)limit, (unsigned long long)(max - 1) / 2);
}

/* Return: NULL, or what stands against one more connection. Counts descriptors that are open, and those that
 * connections may still need; a second connection needs fewer than it is counted for. */
static const char *find_lack(const struct worker *worker)
{
	const struct hub *hub = &worker->hub;
	uint64_t connections = hub->sessions.count + hub->passages.count + 1;

	if (connections > worker->connections_max)
		return "as many as MaxClients allows, and thousands of visitors; if they are clients, raise MaxClients";
	return FDS_OF_A_CONNECTION * connections + hub->flows.socket_count >
			       (uint64_t)worker->descriptors_max + 2 * hub->flows.carried_count
		       ? TOO_MANY_FILES
		       : NULL;
}

/* Those of the newest settings, whose listeners are the same ones in the same order. */
static const struct server_settings_listener *settings_of(const struct listener *listener)
{
	return &listener->worker->hub.settings.listeners[listener - listener->worker->listeners];
}

/* Connections wait in the listener's backlog. The tick wakes the listener. */
static void listener_rest(struct listener *listener, const char *why)
{
	log_warning("session", "%s: new connections wait: %s", settings_of(listener)->text, why);
	listener->is_resting = true;
	uv_poll_stop(&listener->poll);
}

static void on_listener_readable(uv_poll_t *poll, int status, int events)
{
	struct listener *listener = poll->data;
	struct hub *hub = &listener->worker->hub;
	const char *lack;

	(void)status;
	(void)events;
	for (unsigned i = 0; i < ACCEPTS_MAX; i++) {
		struct sockaddr_storage storage;
		socklen_t len = sizeof(storage);
		struct addr from;
		int fd;

		lack = find_lack(listener->worker);
		if (lack) {
			listener_rest(listener, lack);
			return;
		}
		fd = accept4(listener->fd, (struct sockaddr *)&storage, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				listener_rest(listener, errno == EMFILE ? TOO_MANY_FILES : strerror(errno));
			return;
		}
		addr_from_sockaddr((const struct sockaddr *)&storage, &from);
		session_open(hub, fd, settings_of(listener), &from);
	}
}

/* In the sandbox: only what was handed down is used. From here on connections are accepted. */
static int worker_start(void *owner, struct err *err)
{
	struct worker *worker = owner;

	set_connections_max(worker);
	for (size_t i = 0; i < worker->hub.settings.listener_count; i++) {
		struct listener *listener = &worker->listeners[i];
		int rc;

		if (listener->fd < 0)
			return err_set(err, -EPROTO, "listener %zu was not handed down", i);
		rc = uv_poll_init(&worker->hub.loop, &listener->poll, listener->fd);
		if (rc < 0)
			return err_system(err, rc, "listener %s", worker->hub.settings.listeners[i].text);
		listener->worker = worker;
		listener->poll.data = listener;
		uv_poll_start(&listener->poll, UV_READABLE, on_listener_readable);
	}
	return 0;
}

/* --- twice a second --- */

static void wake_listeners(struct worker *worker)
{
	for (size_t i = 0; i < worker->hub.settings.listener_count; i++) {
		struct listener *listener = &worker->listeners[i];

		if (!listener->is_resting)
			continue;
		listener->is_resting = false;
		uv_poll_start(&listener->poll, UV_READABLE, on_listener_readable);
	}
}

static uint64_t on_tick(void *owner, uint64_t now_us)
{
	struct worker *worker = owner;

	for (struct session_node *node = worker->hub.sessions.first, *next; node; node = next) {
		next = node->next;
		session_tick(node->session, now_us); /* may close this session, but no other one */
	}
	passages_tick(&worker->hub.passages, now_us);
	flow_table_tick(&worker->hub.flows, now_us);
	wake_listeners(worker);
	return worker->hub.pump.turns;
}

static void on_calm(void *owner)
{
	struct worker *worker = owner;

	pump_give_back(&worker->hub.pump);
}

/* --- reload --- */

/* A worker that cannot take new settings must not go on with the old ones, which may admit a client that was revoked.
 * The supervisor starts another worker, which is given the new ones at its start. */
static void reload(struct worker *worker, int fd)
{
	struct server_settings settings;
	struct err err = {""};

	if (server_settings_read(fd, &settings, &err) < 0 || hub_reload(&worker->hub, &settings, &err) < 0) {
		log_error("session", "new settings: %s; the worker starts anew", err.text);
		_exit(1);
	}
	set_connections_max(worker);
	wake_listeners(worker);
}

static void on_enrol_failed(struct hub *hub, const struct channel_enrol_failed *failed)
{
	const struct server_settings_client *found = server_settings_find(&hub->settings, failed->client);
	struct server_settings_client *client = found ? &hub->settings.clients[found - hub->settings.clients] : NULL;

	if (!client)
		return; /* a reload has taken it out */
	client->unwritten = failed->error == -ENOSPC || failed->error == -EDQUOT
				    ? "good, but the hub's disk is full"
				    : "good, but the hub cannot write the key down";
	client->unwritten_until_us = clock_now_us() + UNWRITTEN_US;
	for (struct session_node *node = hub->sessions.first, *next; node; node = next) {
		const struct admit_grant *grant = session_grant(node->session);

		next = node->next;
		if (grant && grant->client == failed->client && grant->has_public_key && !grant->is_stock)
			session_refuse_key(node->session, client->unwritten);
	}
}

static void on_message(void *owner, enum channel_kind kind, const void *payload, int fd)
{
	const struct channel_reply *reply = payload;
	struct worker *worker = owner;

	if (kind == CHANNEL_RELOAD)
		reload(worker, fd);
	else if (kind == CHANNEL_HOME_SOCKET)
		passages_on_socket(&worker->hub, reply->ticket, reply->error, fd);
	else if (kind == CHANNEL_ENROL_FAILED)
		on_enrol_failed(&worker->hub, payload);
	else if (fd >= 0)
		close(fd);
}

/* --- status --- */

static json_t *report(void *owner)
{
	const struct hub *hub = &((struct worker *)owner)->hub;
	struct flow_counters total = {0};
	uint64_t sojourn_us = 0;
	uint32_t depth = 0;
	json_t *object = json_object(), *sessions = json_array();
	char pin_text[TLS_PIN_TEXT_MAX];
	uint8_t pin[TLS_PIN_LEN];

	for (const struct session_node *node = hub->sessions.first; node; node = node->next) {
		json_t *session = session_report(node->session);

		if (session)
			json_array_append_new(sessions, session);
	}
	if (hub->settings.certificate_pem && tls_pin_of_pem(hub->settings.certificate_pem, pin, NULL) == 0)
		json_object_set_new(object, "pin", json_string(tls_pin_format(pin_text, pin)));
	json_object_set_new(object, "sessions", sessions); /* owns the list from here on */
	if (hub->settings.publish_count > 0)
		json_object_set_new(object, "publish", passages_report(hub));
	flow_table_sum(&hub->flows, &total, &depth, &sojourn_us);
	flow_counters_report(&total, object);
	json_object_set_new(object, "queue",
		json_pack("{s:f,s:i}", "delay_ms", (double)sojourn_us / CLOCK_US_PER_MS, "depth", (int)depth));
	return object;
}

/* --- the end --- */

/* Sessions close in an orderly way; flows must come after them, because a session detaches from its flow. */
static void worker_close(void *owner)
{
	struct worker *worker = owner;
	struct hub *hub = &worker->hub;

	for (size_t i = 0; i < hub->settings.listener_count; i++)
		uv_close((uv_handle_t *)&worker->listeners[i].poll, NULL);
	while (hub->sessions.first)
		session_close(hub->sessions.first->session);
	passages_close(&hub->passages);
	flow_table_done(&hub->flows);
	website_close(hub->website);
}

/* The loop has ended: no handle is left that could use any of this. */
static void worker_done(void *owner)
{
	struct hub *hub = &((struct worker *)owner)->hub;

	admit_table_close(hub->admit);
	free(hub->passages.counters);
	pump_done(&hub->pump);
	SSL_CTX_free(hub->tls);
	server_settings_done(&hub->settings);
}

static void on_socket(void *owner, uint64_t ticket, int error, int fd)
{
	struct worker *worker = owner;

	flow_table_on_socket(&worker->hub.flows, ticket, error, fd);
}

static const struct work_setup setup = {
	.sandbox = SANDBOX_SERVER,
	.area = "session",
	.on_settings = on_settings,
	.on_listener = on_listener,
	.open = worker_open,
	.start = worker_start,
	.on_socket = on_socket,
	.on_message = on_message,
	.on_tick = on_tick,
	.on_calm = on_calm,
	.report = report,
	.close = worker_close,
	.done = worker_done,
};

int server_worker_main(int channel_fd)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int code;

	if (!worker)
		return 1;
	for (size_t i = 0; i < LISTENERS_MAX; i++)
		worker->listeners[i].fd = -1;
	code = work_run(&setup, worker, &worker->hub.loop, &worker->hub.channel, channel_fd);
	free(worker);
	return code;
}
