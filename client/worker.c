/* The client's worker: receives settings and the local port over the channel, makes everything that needs the file system,
 * enters the sandbox, then serves on one loop. Fails before READY with CHANNEL_FAILED, later only with its channel. */
#include "client/worker.h"

#include "client/attempt.h"
#include "client/client.h"
#include "client/dial.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/process/channel.h"
#include "common/process/sandbox.h"
#include "common/tunnel/tls.h"

#include <ares.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define START_TIMEOUT_MS 10000
#define TICK_MS 500
#define POOL_CELLS 16384u /* 32 MiB of address space, touched as used */
#define STOP_TIMEOUT_MS 1500
#define TICKS_TO_FLUSH 20u /* counts of repeated log lines are told this late */

struct worker {
	struct client client;
	int local_fd;
	uv_timer_t tick;
	uv_timer_t stop_timer;
	unsigned ticks;
	bool is_stopping;
	bool is_channel_open;
};

/* --- start: everything comes over the channel --- */

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
		rc = 0;
		if (kind == CHANNEL_SETTINGS)
			rc = client_settings_read(fd, &worker->client.settings, err);
		else if (kind == CHANNEL_LISTENER)
			worker->local_fd = fd;
		else
			rc = err_set(err, -EPROTO, "message %d before the start", kind);
		if (rc < 0)
			return rc;
	}
}

static int open_tls(struct client *client, struct err *err)
{
	const struct client_settings *settings = &client->settings;
	struct tls_client_plan plan = {
		.ca_pem = settings->ca_pem,
		.certificate_pem = settings->client_certificate_pem,
		.key_pem = settings->client_key_pem,
		.has_pins = settings->pin_count > 0,
	};
	int rc = tls_client_context(&client->tls, &plan, err);

	if (rc < 0)
		return rc;
	tls_client_on_session(client->tls, attempt_keep_session);
	client->resume = calloc(settings->server_count, sizeof(SSL_SESSION *));
	return client->resume ? 0 : err_system(err, -ENOMEM, "TLS sessions");
}

static int open_parts(struct client *client, struct err *err)
{
	int rc;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return err_set(err, -EIO, "resolver: c-ares does not start");
	rc = open_tls(client, err);
	if (rc < 0)
		return rc;
	return pump_init(&client->pump, POOL_CELLS, err);
}

static void on_tick(uv_timer_t *timer)
{
	struct worker *worker = timer->data;

	relay_step(&worker->client.relay, clock_now_us());
	if (++worker->ticks % TICKS_TO_FLUSH == 0)
		log_flush();
}

/* --- status --- */

static json_t *report(const struct client *client)
{
	struct local_flow *first = relay_first(&client->relay);
	struct flow_counters total = client->gone;
	uint64_t sojourn_us = 0;
	uint32_t depth = 0;
	json_t *object = json_object();

	if (first)
		link_report(&first->link, object);
	relay_sum(&client->relay, &total, &depth, &sojourn_us);
	flow_counters_report(&total, object);
	json_object_set_new(
		object, "queue", json_pack("{s:f,s:i}", "delay_ms", (double)sojourn_us / CLOCK_US_PER_MS, "depth", (int)depth));
	return object;
}

static void answer_status(struct worker *worker, const struct channel_ticket *ticket, int fd)
{
	json_t *object = report(&worker->client);

	if (json_dumpfd(object, fd, JSON_COMPACT) == 0)
		channel_send(worker->client.channel, CHANNEL_STATUS_DONE, ticket, sizeof(*ticket), -1);
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
	struct client *client = &worker->client;

	if (worker->is_stopping)
		return;
	worker->is_stopping = true;
	uv_close((uv_handle_t *)&worker->tick, NULL);
	relay_close(&client->relay);
	if (worker->is_channel_open)
		channel_close(client->channel);
	uv_timer_start(&worker->stop_timer, on_stop_timeout, STOP_TIMEOUT_MS, 0);
	uv_unref((uv_handle_t *)&worker->stop_timer);
}

static void on_message(void *owner, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	struct worker *worker = owner;
	const struct channel_reply *reply = payload;

	(void)len;
	if (kind == CHANNEL_LINK_SOCKET)
		dial_on_socket(&worker->client, reply->ticket, reply->error, fd);
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

	log_debug("link", "supervisor: %s", reason);
	worker->is_channel_open = false;
	worker_stop(worker);
}

static const struct channel_handlers channel_handlers = {.on_message = on_message, .on_end = on_channel_end};

static int worker_start(struct worker *worker, struct err *err)
{
	struct client *client = &worker->client;
	int rc;

	rc = open_parts(client, err);
	if (rc < 0)
		return rc;
	uv_timer_init(&client->loop, &worker->tick);
	uv_timer_init(&client->loop, &worker->stop_timer);
	worker->tick.data = worker;
	uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
	rc = sandbox_enter(SANDBOX_CLIENT, err);
	if (rc < 0)
		return rc;
	rc = relay_open(&client->relay, client, worker->local_fd, err);
	if (rc < 0)
		return rc;
	return channel_send(client->channel, CHANNEL_READY, NULL, 0, -1);
}

static void worker_free(struct worker *worker)
{
	struct client *client = &worker->client;
	size_t i;

	uv_close((uv_handle_t *)&worker->stop_timer, NULL);
	uv_run(&client->loop, UV_RUN_NOWAIT);
	if (uv_loop_close(&client->loop) == UV_EBUSY)
		log_debug("link", "handles were left open");
	for (i = 0; i < client->settings.server_count; i++)
		SSL_SESSION_free(client->resume[i]);
	free(client->resume);
	pump_done(&client->pump);
	SSL_CTX_free(client->tls);
	client_settings_done(&client->settings);
	ares_library_cleanup();
	free(worker);
}

/* Set-up failed: the supervisor tells the operator. */
static int fail(struct worker *worker, const struct err *err)
{
	size_t len = strlen(err->text);

	channel_send(worker->client.channel, CHANNEL_FAILED, err->text, len < CHANNEL_TEXT_MAX ? len : CHANNEL_TEXT_MAX - 1, -1);
	return 1;
}

int client_worker_main(int channel_fd)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	struct err err = {0};
	int rc;

	if (!worker || uv_loop_init(&worker->client.loop) < 0)
		return 1;
	worker->local_fd = -1;
	rc = receive_start(worker, channel_fd, &err);
	if (channel_open(
		    &worker->client.channel, &worker->client.loop, channel_fd, CHANNEL_WORKER, &channel_handlers, worker, &err) < 0)
		return 1;
	worker->is_channel_open = true;
	if (rc < 0 || worker_start(worker, &err) < 0)
		return fail(worker, &err);
	uv_run(&worker->client.loop, UV_RUN_DEFAULT);
	worker_free(worker);
	return 0;
}
