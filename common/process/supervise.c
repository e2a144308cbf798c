/* What both supervisors have in common (supervise.h): this file brings the host and the worker together, and both to an
 * end in the right order. The worker's life is supervise_worker.c's, the host's common/host's.
 *
 * Happy path: control socket, undo list, then host_up() and the worker at the same time; ready when both are; nothing but
 * requests until SIGTERM: host_down(), the worker's end, exit 0.
 *
 *     WORKING ──SIGTERM, "stop", worker FAILED, host failed──▶ ENDING ──host down, then worker stopped──▶ finished
 *
 * What it failed of is the last line on stderr, after everything is put back.
 */
#include "common/process/supervise.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/net/netmon.h"
#include "common/process/control.h"
#include "common/process/exit_code.h"
#include "common/process/notify.h"
#include "common/process/supervise_status.h"
#include "common/process/supervise_worker.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SUPERVISE_IMPATIENT_MS 300 /* a second SIGTERM this much later waits for nobody; timeout(1) sends two at once */
#define SUPERVISE_FLUSH_MS 10000   /* counts of repeated log lines are told this late */
#define SUPERVISE_STATE_MAX 128
#define SUPERVISE_RESTART_MAX 256

static const int supervise_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
#define SUPERVISE_SIGNAL_COUNT (sizeof(supervise_signals) / sizeof(supervise_signals[0]))

enum supervise_phase {
	SUPERVISE_HOST_NONE,
	SUPERVISE_HOST_OPEN,
	SUPERVISE_HOST_STARTING,
	SUPERVISE_HOST_UP,
	SUPERVISE_HOST_GONE
};

struct supervise {
	const struct supervise_setup *setup;
	const struct supervise_program *program;
	void *owner;
	uv_loop_t loop;
	uv_signal_t signals[SUPERVISE_SIGNAL_COUNT];
	uv_timer_t alive_timer; /* systemd's watchdog */
	uv_timer_t flush_timer;
	uv_timer_t reload_timer;
	struct control *control;
	struct status_asks *asks;
	struct netmon *netmon;
	struct host *host; /* NULL: no device of ours */
	enum supervise_phase host_phase;
	struct supervise_worker *worker;
	bool is_worker_there;			/* one is, or another one comes */
	char worker_state[SUPERVISE_STATE_MAX]; /* "up", "connecting: why", quoted; "" while it is not ready */
	bool was_worker_ready, is_ready;
	bool has_shaken_hands, is_flowing;
	char state[SUPERVISE_STATE_MAX]; /* as told to systemd and in status */
	int64_t state_since_s;
	bool is_ending, is_finished;
	uint64_t ending_ms; /* uv_now() */
	int exit_code;
	const char *last_area;
	char last_words[ERR_TEXT_MAX]; /* why it ends with 1 */
};

/* --- the state in words --- */

static size_t state_word_len(const char *state)
{
	return strcspn(state, ":");
}

static const char *supervise_state(const struct supervise *s)
{
	if (s->is_ending)
		return "stopping";
	if (!s->worker_state[0])
		return "starting";
	return s->host_phase == SUPERVISE_HOST_STARTING ? "starting: bringing up the device" : s->worker_state;
}

static void supervise_tell_state(struct supervise *s)
{
	const char *state = supervise_state(s);
	size_t len = state_word_len(state);

	if (len != state_word_len(s->state) || strncmp(s->state, state, len) != 0)
		s->state_since_s = clock_wall_s();
	snprintf(s->state, sizeof(s->state), "%s", state);
	notify_status(s->state);
}

static void supervise_set_worker_state(struct supervise *s, const char *text)
{
	log_quote(s->worker_state, sizeof(s->worker_state), text, strlen(text));
	supervise_tell_state(s);
}

static bool supervise_is_linked(const struct supervise *s)
{
	return state_word_len(s->worker_state) == 2 && strncmp(s->worker_state, "up", 2) == 0;
}

/* --- ready, and flowing --- */

static bool is_host_up(const struct supervise *s)
{
	return s->host_phase == SUPERVISE_HOST_NONE || s->host_phase == SUPERVISE_HOST_UP;
}

static void supervise_check_ready(struct supervise *s)
{
	if (s->is_ready || s->is_ending || !s->was_worker_ready || !is_host_up(s))
		return;
	s->is_ready = true;
	notify_ready();
}

/* A worker started later inherits our standard error; this one has to be given the log. */
static void supervise_switch_log(struct supervise *s)
{
	struct channel *channel = supervise_worker_channel(s->worker);

	if (s->setup->up_fd < 0)
		return;
	log_flush();
	notify_flowing(s->setup->up_fd);
	if (channel)
		channel_send(channel, CHANNEL_LOG, NULL, 0, STDERR_FILENO);
}

static void supervise_check_flowing(struct supervise *s)
{
	if (s->is_flowing || !s->is_ready || s->is_ending || !s->worker_state[0])
		return;
	if (s->setup->flows_when_linked && !supervise_is_linked(s))
		return;
	if (s->setup->flows_when_linked && s->host && !s->has_shaken_hands)
		return;
	s->is_flowing = true;
	supervise_switch_log(s);
}

/* Something of the worker or the host has changed. */
static void supervise_step(struct supervise *s)
{
	supervise_tell_state(s);
	supervise_check_ready(s);
	supervise_check_flowing(s);
}

static void supervise_tell_host_of_link(struct supervise *s)
{
	if (s->setup->flows_when_linked && s->host_phase == SUPERVISE_HOST_UP && supervise_is_linked(s))
		host_link_is_up(s->host);
}

/* --- the end --- */

static void supervise_finish(struct supervise *s)
{
	s->is_finished = true;
	supervise_worker_close(s->worker);
	host_close(s->host);
	s->host = NULL;
	netmon_close(s->netmon);
	status_asks_close(s->asks);
	control_close(s->control);
	if (s->program->on_close)
		s->program->on_close(s->owner);
	uv_close((uv_handle_t *)&s->alive_timer, NULL);
	uv_close((uv_handle_t *)&s->flush_timer, NULL);
	uv_close((uv_handle_t *)&s->reload_timer, NULL);
	for (size_t i = 0; i < SUPERVISE_SIGNAL_COUNT; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
}

/* First the host, then the worker: hooks may still use the tunnel. */
static void supervise_end_step(struct supervise *s)
{
	if (!s->is_ending || s->is_finished)
		return;
	if (s->host_phase == SUPERVISE_HOST_STARTING || s->host_phase == SUPERVISE_HOST_UP)
		return; /* on_down follows */
	if (s->is_worker_there)
		supervise_worker_stop(s->worker); /* on_end follows */
	else
		supervise_finish(s);
}

/* @text: NULL where it ends as it was asked to. The first reason counts. */
static void supervise_end(struct supervise *s, const char *area, const char *text)
{
	if (s->is_ending)
		return;
	s->is_ending = true;
	s->ending_ms = uv_now(&s->loop);
	if (text) {
		s->exit_code = 1;
		s->last_area = area;
		snprintf(s->last_words, sizeof(s->last_words), "%s", text);
	}
	notify_stopping();
	supervise_tell_state(s);
	if (s->host_phase == SUPERVISE_HOST_STARTING || s->host_phase == SUPERVISE_HOST_UP)
		host_down(s->host);
	supervise_end_step(s);
}

/* A second time is from somebody who does not want to wait. */
static void supervise_stop(struct supervise *s)
{
	if (!s->is_ending) {
		supervise_end(s, NULL, NULL);
		return;
	}
	if (uv_now(&s->loop) - s->ending_ms < SUPERVISE_IMPATIENT_MS)
		return;
	if (s->host_phase == SUPERVISE_HOST_STARTING || s->host_phase == SUPERVISE_HOST_UP)
		host_down(s->host); /* kills the hook that runs */
	if (s->is_worker_there)
		supervise_worker_stop(s->worker);
	supervise_worker_kill(s->worker);
}

/* --- the worker --- */

static int on_worker_hand_down(void *owner, struct channel *channel, struct err *err)
{
	struct supervise *s = owner;

	return s->program->hand_down(s->owner, channel, err);
}

static void on_worker_ready(void *owner)
{
	struct supervise *s = owner;
	bool is_first = !s->was_worker_ready;

	s->was_worker_ready = true;
	supervise_set_worker_state(s, s->setup->ready_state);
	if (is_first)
		s->program->on_ready(s->owner);
	supervise_step(s);
}

static void on_worker_state(struct supervise *s, const char *text)
{
	bool was_linked = supervise_is_linked(s);

	if (!supervise_worker_channel(s->worker))
		return;
	supervise_set_worker_state(s, text);
	if (!was_linked)
		supervise_tell_host_of_link(s);
	supervise_step(s);
}

static void on_worker_message(void *owner, struct channel *channel, enum channel_kind kind, const void *payload)
{
	struct supervise *s = owner;

	if (kind == CHANNEL_STATE)
		on_worker_state(s, payload);
	else if (kind == CHANNEL_STATUS_DONE)
		status_asks_done(s->asks, ((const struct channel_ticket *)payload)->ticket);
	else
		s->program->on_message(s->owner, channel, kind, payload);
}

static void on_worker_gone(void *owner)
{
	struct supervise *s = owner;

	status_asks_abandon(s->asks);
	supervise_set_worker_state(s, "");
	if (s->program->on_worker_gone)
		s->program->on_worker_gone(s->owner);
}

static void on_worker_end(void *owner, const char *text)
{
	struct supervise *s = owner;

	s->is_worker_there = false;
	status_asks_abandon(s->asks);
	supervise_set_worker_state(s, "");
	if (text)
		supervise_end(s, s->setup->area, text);
	else
		supervise_end_step(s);
}

static const struct supervise_worker_handlers worker_handlers = {
	.hand_down = on_worker_hand_down,
	.on_ready = on_worker_ready,
	.on_message = on_worker_message,
	.on_gone = on_worker_gone,
	.on_end = on_worker_end,
};

/* --- the host --- */

static void on_host_up(void *owner)
{
	struct supervise *s = owner;

	s->host_phase = SUPERVISE_HOST_UP;
	supervise_tell_host_of_link(s);
	supervise_step(s);
}

static void on_host_failed(void *owner, const char *text)
{
	struct supervise *s = owner;

	s->host_phase = SUPERVISE_HOST_GONE;
	supervise_end(s, "config", text);
	supervise_end_step(s);
}

static void on_host_handshake(void *owner)
{
	struct supervise *s = owner;

	s->has_shaken_hands = true;
	supervise_step(s);
}

static void on_host_down(void *owner)
{
	struct supervise *s = owner;

	s->host_phase = SUPERVISE_HOST_GONE;
	supervise_end_step(s);
}

static const struct host_handlers host_handlers = {
	.on_up = on_host_up, .on_failed = on_host_failed, .on_handshake = on_host_handshake, .on_down = on_host_down};

static void on_network(void *owner, unsigned kinds)
{
	struct supervise *s = owner;

	if (!s->is_ending && s->host)
		host_on_network(s->host, kinds);
	if (s->program->on_network)
		s->program->on_network(s->owner, supervise_worker_channel(s->worker), kinds);
}

/* --- reload --- */

static int exit_of(int rc)
{
	if (rc == CONFIGURATION_IS_WRONG)
		return EXIT_USAGE;
	return rc < 0 ? EXIT_FAILED : EXIT_DONE;
}

/* Return: the answer to "reload": {"restart":"MTU"} or {"error":"lines","exit":1}; also logged. */
static json_t *supervise_reload(struct supervise *s)
{
	char restart[SUPERVISE_RESTART_MAX] = "";
	struct err err = {""};
	int rc = s->is_ending ? err_set(&err, -EBUSY, "it is stopping")
			      : s->program->reload(
					s->owner, supervise_worker_channel(s->worker), restart, sizeof(restart), &err);

	if (rc < 0)
		log_error("config", "not reloaded, everything stays as it was: %s", err.text);
	else if (restart[0])
		log_notice("config", "reloaded; what needs a restart: %s", restart);
	else
		log_notice("config", "reloaded");
	return json_pack("{s:s, s:s, s:i}", "restart", restart, "error", rc < 0 ? err.text : "", "exit", exit_of(rc));
}

/* --- control socket --- */

static json_t *supervise_describe(void *owner)
{
	struct supervise *s = owner;
	pid_t worker_pid = supervise_worker_pid(s->worker);
	json_t *object = json_object();
	json_t *wireguard = s->host_phase == SUPERVISE_HOST_UP ? host_report(s->host) : NULL;
	char since[32];

	json_object_set_new(object, "name", json_string(s->setup->name));
	json_object_set_new(object, "role", json_string(s->setup->role));
	json_object_set_new(object, "state", json_stringn(s->state, state_word_len(s->state)));
	json_object_set_new(object, "since", json_string(clock_format_utc(since, sizeof(since), s->state_since_s)));
	json_object_set_new(object, "pid", json_integer(getpid()));
	json_object_set_new(object, "worker_pid", worker_pid > 0 ? json_integer(worker_pid) : json_null());
	json_object_set_new(object, "worker_restarts", json_integer(supervise_worker_restarts(s->worker)));
	if (wireguard && s->program->on_report)
		s->program->on_report(s->owner, wireguard);
	if (wireguard)
		json_object_set_new(object, "wireguard", wireguard);
	return object;
}

static void on_status_answer(void *owner, void *asker, const char *text, size_t len)
{
	(void)owner;
	if (asker)
		control_answer(asker, text, len);
	else
		log_notice("config", "status: %.*s", (int)len, text);
}

static const struct status_handlers status_handlers = {supervise_describe, on_status_answer};

/* @asker: NULL for the log. */
static void supervise_ask(struct supervise *s, void *asker)
{
	status_asks_add(s->asks, supervise_worker_channel(s->worker), asker);
}

static void answer_object(struct control_request *request, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	control_answer(request, text ? text : "{}", text ? strlen(text) : 2);
	free(text);
	json_decref(object);
}

static void on_control_request(void *owner, const char *word, struct control_request *request)
{
	struct supervise *s = owner;

	if (strcmp(word, "status") == 0) {
		supervise_ask(s, request);
	} else if (strcmp(word, "reload") == 0) {
		answer_object(request, supervise_reload(s));
	} else if (strcmp(word, "stop") == 0) {
		answer_object(request, json_pack("{s:s}", "error", ""));
		supervise_stop(s);
	} else {
		answer_object(request, json_pack("{s:s}", "error", "unknown request"));
	}
}

static const struct control_handlers control_handlers = {on_control_request};

/* --- signals, timers --- */

static void on_reload_timer(uv_timer_t *timer)
{
	json_decref(supervise_reload(timer->data));
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct supervise *s = handle->data;

	if (number == SIGTERM || number == SIGINT)
		supervise_stop(s);
	else if (number == SIGCHLD && s->worker)
		supervise_worker_reap(s->worker);
	else if (number == SIGUSR1)
		supervise_ask(s, NULL);
	else if (number == SIGHUP) /* what came while the last one was under way is one */
		uv_timer_start(&s->reload_timer, on_reload_timer, 0, 0);
}

static void on_alive_timer(uv_timer_t *timer)
{
	(void)timer;
	notify_alive();
}

static void on_flush_timer(uv_timer_t *timer)
{
	(void)timer;
	log_flush();
}

/* --- set-up --- */

static void supervise_init(struct supervise *s)
{
	uint64_t alive_ms = notify_alive_interval_ms();

	uv_loop_init(&s->loop);
	for (size_t i = 0; i < SUPERVISE_SIGNAL_COUNT; i++) {
		uv_signal_init(&s->loop, &s->signals[i]);
		s->signals[i].data = s;
		uv_signal_start(&s->signals[i], on_signal, supervise_signals[i]);
	}
	signal(SIGPIPE, SIG_IGN); /* an asker of the control socket may leave */
	uv_timer_init(&s->loop, &s->alive_timer);
	uv_timer_init(&s->loop, &s->flush_timer);
	uv_timer_init(&s->loop, &s->reload_timer);
	s->reload_timer.data = s;
	if (alive_ms > 0)
		uv_timer_start(&s->alive_timer, on_alive_timer, alive_ms, alive_ms);
	uv_timer_start(&s->flush_timer, on_flush_timer, SUPERVISE_FLUSH_MS, SUPERVISE_FLUSH_MS);
	supervise_tell_state(s);
}

static int supervise_open_control(struct supervise *s, struct err *err)
{
	char path[512];

	snprintf(path, sizeof(path), "%s/%s.%s", s->setup->runtime_dir, s->setup->name, s->setup->role);
	return control_open(&s->control, &s->loop, path, &control_handlers, s, err);
}

static int supervise_open_host(struct supervise *s, struct err *err)
{
	int rc;

	if (!s->setup->host)
		return 0;
	rc = host_open(&s->host, &s->loop, s->setup->host, &host_handlers, s, err);
	if (rc == 0)
		s->host_phase = SUPERVISE_HOST_OPEN;
	return rc;
}

/* Without it nothing is repaired and nothing tried sooner; it works all the same. */
static void supervise_open_netmon(struct supervise *s)
{
	struct err err = {""};

	if ((s->host || s->program->on_network) && netmon_open(&s->netmon, &s->loop, on_network, s, &err) < 0)
		log_warning("config", "changes of the network are not heard: %s", err.text);
}

static int supervise_open(struct supervise *s, struct err *err)
{
	const struct supervise_worker_setup worker_setup = {
		.area = s->setup->area, .title = s->setup->worker_title, .netns_fd = s->setup->netns_fd};
	int rc;

	if (status_asks_open(&s->asks, &s->loop, &status_handlers, s) < 0)
		return err_system(err, -ENOMEM, "status");
	rc = supervise_worker_open(&s->worker, &s->loop, &worker_setup, &worker_handlers, s, err);
	if (rc == 0)
		rc = supervise_open_control(s, err);
	if (rc == 0)
		rc = supervise_open_host(s, err);
	if (rc == 0)
		supervise_open_netmon(s);
	return rc;
}

static void supervise_start(struct supervise *s)
{
	if (s->host) {
		s->host_phase = SUPERVISE_HOST_STARTING;
		host_up(s->host);
	}
	s->is_worker_there = true;
	supervise_worker_start(s->worker);
}

struct host *supervise_host(struct supervise *s)
{
	return s->host;
}

uv_loop_t *supervise_loop(struct supervise *s)
{
	return &s->loop;
}

struct channel *supervise_channel(struct supervise *s)
{
	return supervise_worker_channel(s->worker);
}

int supervise_run(const struct supervise_setup *setup, const struct supervise_program *program, void *owner,
	struct supervise **ret)
{
	struct supervise s = {.setup = setup, .program = program, .owner = owner};
	struct err err = {""};

	*ret = &s;
	supervise_init(&s);
	if (supervise_open(&s, &err) < 0)
		supervise_end(&s, "config", err.text);
	else
		supervise_start(&s);
	uv_run(&s.loop, UV_RUN_DEFAULT);
	uv_loop_close(&s.loop);
	if (s.last_words[0])
		log_error(s.last_area, "%s", s.last_words);
	log_flush();
	return s.exit_code;
}
