/* The client's worker. Happy path: settings and the local port arrive over the channel; everything that needs the file
 * system is made; the sandbox closes; one loop serves. common/process/work.h drives it and calls what stands in the
 * table at the end.
 *
 * Fails before READY with CHANNEL_FAILED, which the supervisor prints. After that the only end is the channel's, or
 * CHANNEL_STOP; a reload that fails leaves the settings from before in force.
 */
#include "client/worker.h"

#include "client/attempt.h"
#include "client/client.h"
#include "client/history.h"
#include "client/relay.h"
#include "client/wakeup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/process/work.h"

#include <ares.h>
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define POOL_CELLS 16384u /* 32 MiB of address space, touched as used */

struct worker {
	struct client client;
	struct relay relay;
	struct wakeup wakeup;
	struct history history;
	int local_fd; /* -1: not handed down yet */
};

/* --- start --- */

/* The first settings, before READY: a failure ends the start. Later ones come as CHANNEL_RELOAD. */
static int on_settings(void *owner, int fd, struct err *err)
{
	struct client *client = &((struct worker *)owner)->client;
	int rc;

	if (client->profile) {
		close(fd);
		return err_set(err, -EPROTO, "settings a second time");
	}
	rc = profile_open(&client->profile, fd, attempt_keep_session, err);
	if (rc == 0 && client->profile->settings.nameservers)
		snprintf(client->nameservers, sizeof(client->nameservers), "%s", client->profile->settings.nameservers);
	return rc;
}

/* There is one local port. A second one would be a mistake of the supervisor. */
static int on_listener(void *owner, uint32_t index, int fd, struct err *err)
{
	struct worker *worker = owner;

	if (index != 0 || worker->local_fd >= 0)
		return err_set(err, -EPROTO, "a second local port");
	worker->local_fd = fd;
	return 0;
}

/* Make everything that needs files or much memory, before the sandbox closes. */
static int worker_open(void *owner, struct err *err)
{
	struct client *client = &((struct worker *)owner)->client;

	client->sockets.channel = client->channel;
	if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS)
		return err_set(err, -EIO, "resolver: c-ares does not start");
	return pump_init(&client->pump, POOL_CELLS, err);
}

static void on_wakeup(void *owner)
{
	relay_wake(&((struct worker *)owner)->relay);
}

static int worker_start(void *owner, struct err *err)
{
	struct worker *worker = owner;
	int rc = wakeup_open(&worker->wakeup, &worker->client.loop, on_wakeup, worker);

	if (rc < 0)
		return err_system(err, rc, "timer");
	return relay_open(&worker->relay, &worker->client, worker->local_fd, err);
}

/* The first link speaks for the tunnel, here and in report(). */
static void keep_history(struct worker *worker, uint64_t now_us)
{
	const struct local_flow *first = relay_first(&worker->relay);
	struct flow_counters total = {0};
	uint64_t sojourn_us = 0;
	uint32_t depth = 0;

	relay_sum(&worker->relay, &total, &depth, &sojourn_us);
	history_add(&worker->history, now_us, first ? link_rtt_us(&first->link) : 0, &total);
}

static uint64_t on_tick(void *owner, uint64_t now_us)
{
	struct worker *worker = owner;

	relay_tick(&worker->relay, now_us);
	if (history_is_due(&worker->history, now_us))
		keep_history(worker, now_us);
	return worker->client.pump.turns;
}

static void on_calm(void *owner)
{
	struct worker *worker = owner;

	pump_give_back(&worker->client.pump);
}

/* --- what changes while it serves --- */

/* A connection that is up stays up; the new settings are for the next connect. */
static void reload(struct worker *worker, int fd)
{
	struct profile *profile;
	struct err err = {""};

	if (profile_open(&profile, fd, attempt_keep_session, &err) < 0) {
		log_error("config", "reload: %s; the settings from before stay in force", err.text);
		return;
	}
	profile_inherit(profile, worker->client.profile);
	profile_release(worker->client.profile);
	worker->client.profile = profile;
	relay_on_reload(&worker->relay);
}

static void on_worker_message(void *owner, enum channel_kind kind, const void *payload, int fd)
{
	struct worker *worker = owner;

	if (kind == CHANNEL_RELOAD)
		reload(worker, fd);
	else if (kind == CHANNEL_NETWORK)
		wakeup_call(&worker->wakeup);
	else if (kind == CHANNEL_NAMESERVERS)
		snprintf(worker->client.nameservers, sizeof(worker->client.nameservers), "%s", (const char *)payload);
	else if (fd >= 0) /* of no meaning here, but the descriptor is ours */
		close(fd);
}

static void on_worker_socket(void *owner, uint64_t ticket, int error, int fd)
{
	socket_source_deliver(&((struct worker *)owner)->client.sockets, ticket, error, fd);
}

/* --- status --- */

/* Counters and queues are those of all flows, also of flows that have ended. */
static json_t *report(void *owner)
{
	const struct relay *relay = &((struct worker *)owner)->relay;
	struct local_flow *first = relay_first(relay);
	struct flow_counters total = {0};
	uint64_t sojourn_us = 0;
	uint32_t depth = 0;
	json_t *object = json_object();

	if (first)
		link_report(&first->link, object);
	relay_sum(relay, &total, &depth, &sojourn_us);
	flow_counters_report(&total, object);
	json_object_set_new(object, "queue",
		json_pack("{s:f,s:i}", "delay_ms", (double)sojourn_us / CLOCK_US_PER_MS, "depth", (int)depth));
	json_object_set_new(object, "history", history_report(&((struct worker *)owner)->history));
	return object;
}

/* --- the end --- */

/* Handles are closed here and let go while the loop runs on; worker_done() frees the rest. */
static void worker_close(void *owner)
{
	struct worker *worker = owner;

	relay_close(&worker->relay);
	wakeup_close(&worker->wakeup);
}

static void worker_done(void *owner)
{
	struct client *client = &((struct worker *)owner)->client;

	pump_done(&client->pump);
	profile_release(client->profile);
	ares_library_cleanup();
}

static const struct work_setup setup = {
	.sandbox = SANDBOX_CLIENT,
	.area = "link",
	.on_settings = on_settings,
	.on_listener = on_listener,
	.open = worker_open,
	.start = worker_start,
	.on_socket = on_worker_socket,
	.on_message = on_worker_message,
	.on_tick = on_tick,
	.on_calm = on_calm,
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
