/* The client's worker: receives settings and the local port over the channel, makes everything that needs the file system,
 * enters the sandbox, then serves on one loop. Fails before READY with CHANNEL_FAILED, later only with its channel. */
#include "client/worker.h"

#include "client/client.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/process/work.h"

#include <ares.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
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
	struct client *client = &((struct worker *)owner)->client;
	int rc;

	if (client->profile) {
		close(fd);
		return err_set(err, -EPROTO, "settings a second time");
	}
	rc = profile_open(&client->profile, fd, err);
	if (rc == 0 && client->profile->settings.nameservers)
		snprintf(client->nameservers, sizeof(client->nameservers), "%s", client->profile->settings.nameservers);
	return rc;
}

static int on_listener(void *owner, uint32_t index, int fd, struct err *err)
{
	struct worker *worker = owner;

	if (index != 0 || worker->local_fd >= 0)
		return err_set(err, -EPROTO, "a second local port");
	worker->local_fd = fd;
	return 0;
}

static int worker_open(void *owner, struct err *err)
{
	struct client *client = &((struct worker *)owner)->client;

	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return err_set(err, -EIO, "resolver: c-ares does not start");
	return pump_init(&client->pump, POOL_CELLS, err);
}

static void on_wakeup(void *owner)
{
	struct worker *worker = owner;

	relay_wake(&worker->client.relay);
}

static int worker_start(void *owner, struct err *err)
{
	struct worker *worker = owner;
	struct client *client = &worker->client;
	int rc = wakeup_open(&client->wakeup, &client->loop, on_wakeup, worker);

	if (rc < 0)
		return err_system(err, rc, "timer");
	return relay_open(&client->relay, client, worker->local_fd, err);
}

static uint64_t on_tick(void *owner, uint64_t now_us)
{
	struct worker *worker = owner;

	relay_step(&worker->client.relay, now_us);
	return worker->client.pump.turns;
}

/* --- what changes while it serves --- */

/* What is connected stays so; the new settings are the next connect's. */
static void reload(struct client *client, int fd)
{
	struct profile *profile;
	struct err err = {0};

	if (profile_open(&profile, fd, &err) < 0) {
		log_error("config", "reload: %s; the settings from before stay in force", err.text);
		return;
	}
	profile_release(client->profile);
	client->profile = profile;
	relay_on_reload(&client->relay);
}

static void on_message(void *owner, enum channel_kind kind, const void *payload, int fd)
{
	struct client *client = &((struct worker *)owner)->client;

	if (kind == CHANNEL_RELOAD)
		reload(client, fd);
	else if (kind == CHANNEL_NETWORK)
		wakeup_call(&client->wakeup);
	else if (kind == CHANNEL_NAMESERVERS)
		snprintf(client->nameservers, sizeof(client->nameservers), "%s", (const char *)payload);
	else if (fd >= 0)
		close(fd);
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
	json_object_set_new(object, "queue",
		json_pack("{s:f,s:i}", "delay_ms", (double)sojourn_us / CLOCK_US_PER_MS, "depth", (int)depth));
	return object;
}

/* --- the end --- */

static void worker_close(void *owner)
{
	struct worker *worker = owner;

	relay_close(&worker->client.relay);
	wakeup_close(&worker->client.wakeup);
}

static void worker_done(void *owner)
{
	struct client *client = &((struct worker *)owner)->client;

	pump_done(&client->pump);
	profile_release(client->profile);
	ares_library_cleanup();
}

static void on_socket(void *owner, uint64_t ticket, int error, int fd)
{
	struct worker *worker = owner;

	socket_request_on_socket(&worker->client, ticket, error, fd);
}

static const struct work_setup setup = {
	.sandbox = SANDBOX_CLIENT,
	.area = "link",
	.on_settings = on_settings,
	.on_listener = on_listener,
	.open = worker_open,
	.start = worker_start,
	.on_socket = on_socket,
	.on_message = on_message,
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
	code = work_run(&setup, worker, &worker->client.loop, &worker->client.channel, channel_fd);
	free(worker);
	return code;
}
