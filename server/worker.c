/* The hub's worker: receives settings and listeners over the channel, makes everything that needs the file system, enters
 * the sandbox, then accepts and serves on one loop. Fails before READY with CHANNEL_FAILED, later only with its channel. */
#include "server/worker.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/process/channel.h"
#include "common/process/sandbox.h"
#include "common/tunnel/tls.h"
#include "server/hub.h"
#include "server/session.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define START_TIMEOUT_MS 10000
#define TICK_MS 500
#define ACCEPTS_MAX 64	       /* per turn of the loop */
#define POOL_CELLS 65536u      /* 128 MiB of address space, touched as used */
#define LISTENERS_MAX 64u
#define STOP_TIMEOUT_MS 1500
#define FDS_OF_A_CONNECTION 3u /* its own, and the web site's pair or the flow's UDP socket */
#define FDS_OF_OUR_OWN 64u
#define TICKS_TO_FLUSH 20u /* counts of repeated log lines are told this late */

struct listener {
	struct worker *worker;
	uv_poll_t poll;
	int fd;
	bool is_cleartext;
	bool is_resting; /* out of descriptors: the tick tries again */
};

struct worker {
	struct hub hub;
	struct listener listeners[LISTENERS_MAX];
	uv_timer_t tick;
	uv_timer_t stop_timer;
	uint32_t connections_max;
	unsigned ticks;
	bool is_stopping;
	bool is_channel_open;
};

/* --- start: everything comes over the channel --- */

static int take_listener(struct worker *worker, const struct channel_index *index, int fd, struct err *err)
{
	if (index->index >= worker->hub.settings.listener_count || index->index >= LISTENERS_MAX || fd < 0)
		return err_set(err, -EPROTO, "listener %u is not in the settings", index->index);
	worker->listeners[index->index].fd = fd;
	return 0;
}

static int receive_start(struct worker *worker, int channel_fd, struct err *err)
{
	_Alignas(8) uint8_t payload[CHANNEL_PAYLOAD_MAX];
	enum channel_kind kind;
	int fd, rc;

	for (;;) {
		rc = channel_receive(channel_fd, CHANNEL_WORKER, &kind, payload, &fd, START_TIMEOUT_MS);
		if (rc < 0)
			return err_system(err, rc, "channel");
		if (kind == CHANNEL_START)
			return 0;
		if (kind == CHANNEL_SETTINGS)
			rc = server_settings_read(fd, &worker->hub.settings, err);
		else if (kind == CHANNEL_LISTENER)
			rc = take_listener(worker, (const struct channel_index *)payload, fd, err);
		else
			rc = err_set(err, -EPROTO, "message %d before the start", kind);
		if (rc < 0)
			return rc;
	}
}

/* What needs files or addresses of its own, before the sandbox takes them away. */
static int open_parts(struct hub *hub, struct err *err)
{
	const struct server_settings *settings = &hub->settings;
	uint64_t seed = 0;
	int rc;

	if (getrandom(&seed, sizeof(seed), 0) < 0)
		return err_system(err, -errno, "random numbers");
	throttle_init(&hub->throttle, seed);
	flow_table_init(&hub->flows, hub);
	if (settings->certificate_pem) { /* none where all listeners are cleartext */
		rc = tls_server_context(&hub->tls, settings->certificate_pem, settings->certificate_key_pem, err);
		if (rc < 0)
			return rc;
	}
	rc = admit_table_open(&hub->admit, settings->clients, settings->client_count, &settings->target, err);
	if (rc < 0)
		return rc;
	rc = pump_init(&hub->pump, POOL_CELLS, err);
	if (rc < 0)
		return rc;
	return website_open(&hub->website, &hub->loop, settings->page_html, err);
}

/* --- accepting --- */

/* So many that there is always a descriptor for what a connection, the channel or the web site needs next. The sandbox
 * raises the limit as far as it may. */
static uint32_t count_connections_max(void)
{
	struct rlimit files;
	rlim_t max = getrlimit(RLIMIT_NOFILE, &files) < 0 ? 1024 : files.rlim_max;

	if (max > UINT32_MAX)
		max = UINT32_MAX;
	return max > 2 * FDS_OF_OUR_OWN ? (uint32_t)(max - FDS_OF_OUR_OWN) / FDS_OF_A_CONNECTION : FDS_OF_OUR_OWN / FDS_OF_A_CONNECTION;
}

static void on_listener_readable(uv_poll_t *poll, int status, int events);

static void listener_rest(struct listener *listener, int error)
{
	log_warning("session", "%s: accept: %s", listener->worker->hub.settings.listeners[listener - listener->worker->listeners].text,
		strerror(error));
	listener->is_resting = true;
	uv_poll_stop(&listener->poll);
}

static void on_listener_readable(uv_poll_t *poll, int status, int events)
{
	struct listener *listener = poll->data;
	unsigned i;

	(void)status;
	(void)events;
	for (i = 0; i < ACCEPTS_MAX; i++) {
		struct sockaddr_storage storage;
		socklen_t len = sizeof(storage);
		struct addr from;
		int fd;

		if (listener->worker->hub.connection_count >= listener->worker->connections_max) {
			listener_rest(listener, EMFILE); /* who is in the backlog waits */
			return;
		}
		fd = accept4(listener->fd, (struct sockaddr *)&storage, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS)
				listener_rest(listener, errno);
			return;
		}
		addr_from_sockaddr((const struct sockaddr *)&storage, &from);
		session_open(&listener->worker->hub, fd, listener->is_cleartext, &from);
	}
}

static int start_listeners(struct worker *worker, struct err *err)
{
	size_t i;

	for (i = 0; i < worker->hub.settings.listener_count; i++) {
		struct listener *listener = &worker->listeners[i];
		int rc;

		if (listener->fd < 0)
			return err_set(err, -EPROTO, "listener %zu was not handed down", i);
		rc = uv_poll_init(&worker->hub.loop, &listener->poll, listener->fd);
		if (rc < 0)
			return err_system(err, rc, "listener %s", worker->hub.settings.listeners[i].text);
		listener->worker = worker;
		listener->is_cleartext = worker->hub.settings.listeners[i].cleartext;
		listener->poll.data = listener;
		uv_poll_start(&listener->poll, UV_READABLE, on_listener_readable);
	}
	return 0;
}

/* --- twice a second --- */

static void wake_listeners(struct worker *worker)
{
	size_t i;

	for (i = 0; i < worker->hub.settings.listener_count; i++) {
		struct listener *listener = &worker->listeners[i];

		if (!listener->is_resting)
			continue;
		listener->is_resting = false;
		uv_poll_start(&listener->poll, UV_READABLE, on_listener_readable);
	}
}

static void on_tick(uv_timer_t *timer)
{
	struct worker *worker = timer->data;
	struct session *session = worker->hub.sessions;
	uint64_t now_us = clock_now_us();

	while (session) {
		struct session *next = session_next(session);

		session_step(session, now_us);
		session = next;
	}
	flow_table_step(&worker->hub.flows, now_us);
	wake_listeners(worker);
	if (++worker->ticks % TICKS_TO_FLUSH == 0)
		log_flush();
}

/* --- status --- */

static json_t *report_sessions(const struct hub *hub)
{
	json_t *list = json_array();
	const struct session *session;

	for (session = hub->sessions; session; session = session_next(session)) {
		json_t *object = session_report(session);

		if (object)
			json_array_append_new(list, object);
	}
	return list;
}

static json_t *report(const struct hub *hub)
{
	struct flow_counters total = hub->gone;
	uint64_t sojourn_us = 0;
	uint32_t depth = 0;
	json_t *object = json_object();

	flow_table_sum(&hub->flows, &total, &depth, &sojourn_us);
	json_object_set_new(object, "sessions", report_sessions(hub));
	flow_counters_report(&total, object);
	json_object_set_new(
		object, "queue", json_pack("{s:f,s:i}", "delay_ms", (double)sojourn_us / CLOCK_US_PER_MS, "depth", (int)depth));
	return object;
}

static void answer_status(struct worker *worker, const struct channel_ticket *ticket, int fd)
{
	json_t *object = report(&worker->hub);

	if (json_dumpfd(object, fd, JSON_COMPACT) == 0)
		channel_send(worker->hub.channel, CHANNEL_STATUS_DONE, ticket, sizeof(*ticket), -1);
	json_decref(object);
	close(fd);
}

/* --- the channel and the end --- */

static void on_stop_timeout(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

/* Everything is closed; the loop runs on until the last handle has let go, or the timer stops it. */
static void worker_stop(struct worker *worker)
{
	struct hub *hub = &worker->hub;
	size_t i;

	if (worker->is_stopping)
		return;
	worker->is_stopping = true;
	for (i = 0; i < hub->settings.listener_count; i++)
		uv_close((uv_handle_t *)&worker->listeners[i].poll, NULL);
	uv_close((uv_handle_t *)&worker->tick, NULL);
	while (hub->sessions)
		session_close(hub->sessions);
	flow_table_done(&hub->flows);
	website_close(hub->website);
	if (worker->is_channel_open)
		channel_close(hub->channel);
	uv_timer_start(&worker->stop_timer, on_stop_timeout, STOP_TIMEOUT_MS, 0);
	uv_unref((uv_handle_t *)&worker->stop_timer);
}

static void on_message(void *owner, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	struct worker *worker = owner;
	const struct channel_reply *reply = payload;

	(void)len;
	if (kind == CHANNEL_FLOW_SOCKET)
		flow_table_on_socket(&worker->hub.flows, reply->ticket, reply->error, fd);
	else if (kind == CHANNEL_STATUS)
		answer_status(worker, payload, fd);
	else if (kind == CHANNEL_STOP)
		worker_stop(worker);
	else if (fd >= 0)
		close(fd);
}

static void on_channel_end(void *owner, const char *reason)
{
	struct worker *worker = owner;

	log_debug("session", "supervisor: %s", reason);
	worker->is_channel_open = false;
	worker_stop(worker);
}

static const struct channel_handlers channel_handlers = {.on_message = on_message, .on_end = on_channel_end};

static int worker_start(struct worker *worker, struct err *err)
{
	struct hub *hub = &worker->hub;
	int rc;

	rc = open_parts(hub, err);
	if (rc < 0)
		return rc;
	worker->connections_max = count_connections_max();
	uv_timer_init(&hub->loop, &worker->tick);
	uv_timer_init(&hub->loop, &worker->stop_timer);
	worker->tick.data = worker;
	rc = start_listeners(worker, err);
	if (rc < 0)
		return rc;
	uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
	rc = sandbox_enter(SANDBOX_SERVER, err);
	if (rc < 0)
		return rc;
	return channel_send(hub->channel, CHANNEL_READY, NULL, 0, -1);
}

static void worker_free(struct worker *worker)
{
	struct hub *hub = &worker->hub;

	uv_close((uv_handle_t *)&worker->stop_timer, NULL);
	uv_run(&hub->loop, UV_RUN_NOWAIT);
	if (uv_loop_close(&hub->loop) == UV_EBUSY)
		log_debug("session", "handles were left open");
	admit_table_close(hub->admit);
	pump_done(&hub->pump);
	SSL_CTX_free(hub->tls);
	server_settings_done(&hub->settings);
	free(worker);
}

/* Set-up failed: the supervisor tells the operator. */
static int fail(struct worker *worker, const struct err *err)
{
	size_t len = strlen(err->text);

	channel_send(worker->hub.channel, CHANNEL_FAILED, err->text, len < CHANNEL_TEXT_MAX ? len : CHANNEL_TEXT_MAX - 1, -1);
	return 1;
}

int server_worker_main(int channel_fd)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	struct err err = {0};
	size_t i;
	int rc;

	if (!worker || uv_loop_init(&worker->hub.loop) < 0)
		return 1;
	for (i = 0; i < LISTENERS_MAX; i++)
		worker->listeners[i].fd = -1;
	rc = receive_start(worker, channel_fd, &err);
	if (channel_open(&worker->hub.channel, &worker->hub.loop, channel_fd, CHANNEL_WORKER, &channel_handlers, worker, &err) < 0)
		return 1;
	worker->is_channel_open = true;
	if (rc < 0 || worker_start(worker, &err) < 0)
		return fail(worker, &err);
	uv_run(&worker->hub.loop, UV_RUN_DEFAULT);
	worker_free(worker);
	return 0;
}
