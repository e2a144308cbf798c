/* The client's worker: receives settings and the local port over the channel, makes everything that needs the file system,
 * enters the sandbox, then serves on one loop. Fails before READY with CHANNEL_FAILED, later only with its channel. */
#include "client/worker.h"

#include "client/attempt.h"
#include "client/client.h"
#include "client/dial.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/process/work.h"
#include "common/tunnel/tls.h"

#include <ares.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define POOL_CELLS 16384u /* 32 MiB of address space, touched as used */

struct worker {
	struct client client;
	int local_fd;
};

/* --- start --- */

static int on_settings(void *owner, int fd, struct err *err)
{
	struct worker *worker = owner;

	return client_settings_read(fd, &worker->client.settings, err);
}

static int on_listener(void *owner, uint32_t index, int fd, struct err *err)
{
	struct worker *worker = owner;

	if (index != 0 || worker->local_fd >= 0)
		return err_set(err, -EPROTO, "a second local port");
	worker->local_fd = fd;
	return 0;
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

static int worker_open(void *owner, struct err *err)
{
	struct client *client = &((struct worker *)owner)->client;
	int rc;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return err_set(err, -EIO, "resolver: c-ares does not start");
	rc = open_tls(client, err);
	if (rc < 0)
		return rc;
	return pump_init(&client->pump, POOL_CELLS, err);
}

static int worker_start(void *owner, struct err *err)
{
	struct worker *worker = owner;

	return relay_open(&worker->client.relay, &worker->client, worker->local_fd, err);
}

static uint64_t on_tick(void *owner, uint64_t now_us)
{
	struct worker *worker = owner;

	relay_step(&worker->client.relay, now_us);
	return worker->client.pump.turns;
}

/* --- status --- */

static json_t *report(void *owner)
{
	const struct client *client = &((struct worker *)owner)->client;
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

/* --- the end --- */

static void worker_close(void *owner)
{
	struct worker *worker = owner;

	relay_close(&worker->client.relay);
}

static void worker_done(void *owner)
{
	struct client *client = &((struct worker *)owner)->client;
	size_t i;

	for (i = 0; i < client->settings.server_count; i++)
		SSL_SESSION_free(client->resume[i]);
	free(client->resume);
	pump_done(&client->pump);
	SSL_CTX_free(client->tls);
	client_settings_done(&client->settings);
	ares_library_cleanup();
}

static void on_socket(void *owner, uint64_t ticket, int error, int fd)
{
	struct worker *worker = owner;

	dial_on_socket(&worker->client, ticket, error, fd);
}

static const struct work_plan plan = {
	.sandbox = SANDBOX_CLIENT,
	.area = "link",
	.on_settings = on_settings,
	.on_listener = on_listener,
	.open = worker_open,
	.start = worker_start,
	.on_socket = on_socket,
	.on_tick = on_tick,
	.report = report,
	.close = worker_close,
	.done = worker_done,
};

int client_worker_main(int channel_fd)
{
	struct worker *worker = calloc(1, sizeof(*worker));
	int code;

	if (!worker)
		return 1;
	worker->local_fd = -1;
	code = work_run(&plan, worker, &worker->client.loop, &worker->client.channel, channel_fd);
	free(worker);
	return code;
}
