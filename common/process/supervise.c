/* What both supervisors have in common (supervise.h).
 *
 * Happy path: control socket, worker, everything handed down, READY, and then nothing but requests until SIGTERM:
 * CHANNEL_STOP, the worker ends in order, exit 0.
 *
 *   STARTING ──READY──▶ RUNNING            the worker ends: ──▶ WAITING ──at once, or 75 ms──▶ STARTING
 *      any ──SIGTERM──▶ STOPPING ──the worker has ended, or is killed after 2 s──▶ exit 0
 *      any ──FAILED───▶ exit 1
 *
 * A worker is gone when it is reaped. One whose channel ends while it lives broke the rules and is killed.
 */
#include "common/process/supervise.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/process/control.h"
#include "common/process/notify.h"
#include "common/process/spawn.h"
#include "common/process/supervise_status.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#define SUPERVISE_START_PATIENCE_MS 30000 /* from its start to READY */
#define SUPERVISE_STOP_PATIENCE_MS 2000	  /* from CHANNEL_STOP to the worker's end */
#define SUPERVISE_IMPATIENT_MS 300	  /* a second SIGTERM this much later kills the worker at once */
#define SUPERVISE_LIVED_MS 1000		  /* a second worker that lived shorter is started again after … */
#define SUPERVISE_PAUSE_MS 75		  /* … this, so that a broken one does not eat the machine */
#define SUPERVISE_EARLY_DEATHS_MAX 5	  /* before the first READY; then it is no accident */
#define SUPERVISE_FLUSH_MS 10000	  /* counts of repeated log lines are told this late */
#define SUPERVISE_STATE_MAX 128

enum supervise_phase { SUPERVISE_STARTING, SUPERVISE_RUNNING, SUPERVISE_WAITING, SUPERVISE_STOPPING };

static const int supervise_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
#define SUPERVISE_SIGNAL_COUNT (sizeof(supervise_signals) / sizeof(supervise_signals[0]))

struct supervise {
	const struct supervise_plan *plan;
	const struct supervise_program *program;
	void *owner;
	uv_loop_t loop;
	uv_signal_t signals[SUPERVISE_SIGNAL_COUNT];
	uv_timer_t step_timer;	/* start patience, pause before a restart, stop patience */
	uv_timer_t alive_timer; /* systemd's watchdog */
	uv_timer_t flush_timer;
	struct control *control;
	struct status_asks *asks;
	struct spawn_plan spawn;
	struct channel *channel; /* NULL: none */
	pid_t pid;		 /* 0: none */
	uint64_t started_ms;	 /* uv_now() */
	uint64_t stopping_ms;
	enum supervise_phase phase;
	bool was_ready;
	unsigned int early_deaths, restarts;
	unsigned int short_lives; /* in a row */
	int exit_code;
	bool finished;
	char state[SUPERVISE_STATE_MAX]; /* "up", "connecting: why", quoted */
	int64_t state_since_s;
};

static void supervise_start_worker(struct supervise *s);

/* --- the state in words --- */

static size_t state_word_len(const char *state)
{
	return strcspn(state, ":");
}

static void supervise_set_state(struct supervise *s, const char *text)
{
	char quoted[SUPERVISE_STATE_MAX];
	size_t len = state_word_len(text);

	log_quote(quoted, sizeof(quoted), text, strlen(text));
	if (len != state_word_len(s->state) || strncmp(s->state, quoted, len) != 0)
		s->state_since_s = clock_wall_s();
	memcpy(s->state, quoted, sizeof(s->state));
	notify_status(s->state);
}

/* --- the end --- */

static void supervise_finish(struct supervise *s, int exit_code)
{
	if (s->finished)
		return;
	s->finished = true;
	s->exit_code = exit_code;
	if (s->pid > 0) {
		kill(s->pid, SIGKILL);
		while (waitpid(s->pid, NULL, 0) < 0 && errno == EINTR)
			;
		s->pid = 0;
	}
	channel_close(s->channel);
	s->channel = NULL;
	status_asks_close(s->asks);
	control_close(s->control);
	uv_close((uv_handle_t *)&s->step_timer, NULL);
	uv_close((uv_handle_t *)&s->alive_timer, NULL);
	uv_close((uv_handle_t *)&s->flush_timer, NULL);
	for (size_t i = 0; i < SUPERVISE_SIGNAL_COUNT; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
}

static void supervise_fail(struct supervise *s, const char *text)
{
	log_error("config", "%s", text);
	supervise_finish(s, 1);
}

/* --- the worker's life --- */

static void supervise_kill(struct supervise *s)
{
	if (s->pid > 0)
		kill(s->pid, SIGKILL);
}

static void on_step_timer(uv_timer_t *timer)
{
	struct supervise *s = timer->data;

	switch (s->phase) {
	case SUPERVISE_STARTING:
		log_warning(s->plan->area, "the worker is not ready after %d s; it is killed",
			SUPERVISE_START_PATIENCE_MS / 1000);
		supervise_kill(s);
		break;
	case SUPERVISE_WAITING:
		s->restarts++;
		supervise_start_worker(s);
		break;
	case SUPERVISE_STOPPING:
		log_warning(s->plan->area, "the worker does not stop; it is killed");
		supervise_kill(s);
		break;
	case SUPERVISE_RUNNING:
		break;
	}
}

static void supervise_wait(struct supervise *s, uint64_t pause_ms)
{
	s->phase = SUPERVISE_WAITING;
	supervise_set_state(s, "starting");
	uv_timer_start(&s->step_timer, on_step_timer, pause_ms, 0);
}

static const char *death_text(char *buf, size_t size, int status)
{
	if (WIFSIGNALED(status))
		snprintf(buf, size, "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(buf, size, "exit code %d", WEXITSTATUS(status));
	return buf;
}

static void supervise_on_death(struct supervise *s, int status)
{
	uint64_t lived_ms = uv_now(&s->loop) - s->started_ms;
	char text[128];

	death_text(text, sizeof(text), status);
	channel_close(s->channel);
	s->channel = NULL;
	status_asks_abandon(s->asks);
	uv_timer_stop(&s->step_timer);
	if (s->phase == SUPERVISE_STOPPING) {
		if (status != 0)
			log_warning(s->plan->area, "the worker ended: %s", text);
		supervise_finish(s, 0);
		return;
	}
	if (!s->was_ready && ++s->early_deaths >= SUPERVISE_EARLY_DEATHS_MAX) {
		log_error(s->plan->area, "the worker ended before it was ready, %u times: %s", s->early_deaths, text);
		supervise_finish(s, 1);
		return;
	}
	log_warning(s->plan->area, "the worker ended: %s; it is started again", text);
	s->short_lives = lived_ms < SUPERVISE_LIVED_MS ? s->short_lives + 1 : 0;
	supervise_wait(s, s->short_lives > 1 ? SUPERVISE_PAUSE_MS : 0);
}

static void supervise_reap(struct supervise *s)
{
	int status;

	if (s->pid == 0 || waitpid(s->pid, &status, WNOHANG) != s->pid)
		return;
	s->pid = 0;
	if (s->channel)
		channel_drain(s->channel); /* CHANNEL_FAILED may still be in there */
	if (!s->finished)
		supervise_on_death(s, status);
}

/* --- what the worker says --- */

static void supervise_on_ready(struct supervise *s)
{
	if (s->phase != SUPERVISE_STARTING)
		return;
	s->phase = SUPERVISE_RUNNING;
	uv_timer_stop(&s->step_timer);
	supervise_set_state(s, s->plan->ready_state);
	if (s->was_ready)
		return;
	s->was_ready = true;
	s->program->on_ready(s->owner);
	notify_ready();
}

static void on_channel_message(void *owner, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	struct supervise *s = owner;

	(void)len;
	(void)fd; /* none: the channel lets no descriptor come up */
	switch (kind) {
	case CHANNEL_READY:
		supervise_on_ready(s);
		break;
	case CHANNEL_FAILED:
		supervise_fail(s, payload);
		break;
	case CHANNEL_FLOW_WANTED:
	case CHANNEL_LINK_WANTED:
	case CHANNEL_ADDRESSES:
	case CHANNEL_CLOCK:
		s->program->on_message(s->owner, s->channel, kind, payload);
		break;
	case CHANNEL_STATUS_DONE:
		status_asks_done(s->asks, ((const struct channel_ticket *)payload)->ticket);
		break;
	case CHANNEL_STATE:
		if (s->phase == SUPERVISE_RUNNING)
			supervise_set_state(s, payload);
		break;
	case CHANNEL_SETTINGS:
	case CHANNEL_LISTENER:
	case CHANNEL_START:
	case CHANNEL_FLOW_SOCKET:
	case CHANNEL_LINK_SOCKET:
	case CHANNEL_STATUS:
	case CHANNEL_STOP:
	case CHANNEL_RELOAD:
	case CHANNEL_LOG:
	case CHANNEL_NETWORK:
	case CHANNEL_NAMESERVERS:
		break; /* ours: the channel does not let them come up */
	}
}

/* A worker that ends closes its channel too; its exit code then tells more. */
static void on_channel_end(void *owner, const char *reason)
{
	struct supervise *s = owner;

	log_debug(s->plan->area, "channel to the worker: %s", reason);
	s->channel = NULL;
	if (s->phase != SUPERVISE_STOPPING)
		supervise_kill(s);
	supervise_reap(s);
}

/* --- starting it --- */

static const struct channel_handlers supervise_channel_handlers = {on_channel_message, on_channel_end};

static int supervise_hand_down(struct supervise *s, struct err *err)
{
	int rc = s->program->hand_down(s->owner, s->channel, err);

	if (rc == 0)
		rc = channel_send(s->channel, CHANNEL_START, NULL, 0, -1);
	return rc < 0 && err->text[0] == '\0' ? err_system(err, rc, "channel to the worker") : rc;
}

static int supervise_spawn(struct supervise *s, struct err *err)
{
	int fd, rc;

	rc = spawn_worker(&s->spawn, &s->pid, &fd, err);
	if (rc < 0)
		return rc;
	s->started_ms = uv_now(&s->loop);
	rc = channel_open(&s->channel, &s->loop, fd, CHANNEL_SUPERVISOR, &supervise_channel_handlers, s, err);
	if (rc == 0)
		rc = supervise_hand_down(s, err);
	if (rc < 0)
		supervise_kill(s);
	return rc;
}

/* A worker that could not be given its things is killed, reaped and started again like one that died. */
static void supervise_start_worker(struct supervise *s)
{
	struct err err = {""};
	int rc;

	uv_update_time(&s->loop);
	s->phase = SUPERVISE_STARTING;
	uv_timer_start(&s->step_timer, on_step_timer, SUPERVISE_START_PATIENCE_MS, 0);
	rc = supervise_spawn(s, &err);
	if (rc == 0)
		return;
	if (!s->was_ready) {
		supervise_fail(s, err.text);
		return;
	}
	log_warning(s->plan->area, "%s; tried again", err.text);
	if (s->pid == 0)
		supervise_wait(s, SUPERVISE_PAUSE_MS);
}

/* --- control socket --- */

static json_t *supervise_describe(void *owner)
{
	struct supervise *s = owner;
	json_t *object = json_object();
	char since[32];

	if (!object)
		return NULL;
	json_object_set_new(object, "name", json_string(s->plan->name));
	json_object_set_new(object, "role", json_string(s->plan->role));
	json_object_set_new(object, "state", json_stringn(s->state, state_word_len(s->state)));
	json_object_set_new(object, "since", json_string(clock_format_utc(since, sizeof(since), s->state_since_s)));
	json_object_set_new(object, "pid", json_integer(getpid()));
	json_object_set_new(object, "worker_pid", s->pid > 0 ? json_integer(s->pid) : json_null());
	json_object_set_new(object, "worker_restarts", json_integer(s->restarts));
	return object;
}

static void on_status_answer(void *owner, void *asker, const char *text, size_t len)
{
	struct supervise *s = owner;

	if (asker)
		control_answer(asker, text, len);
	else
		log_notice(s->plan->area, "status: %.*s", (int)len, text);
}

static const struct status_handlers supervise_status_handlers = {supervise_describe, on_status_answer};

static void supervise_ask(struct supervise *s, void *asker)
{
	status_asks_add(s->asks, s->phase == SUPERVISE_RUNNING ? s->channel : NULL, asker);
}

static void on_control_request(void *owner, const char *word, struct control_request *request)
{
	static const char unknown[] = "{\"error\":\"unknown request\"}\n";

	if (strcmp(word, "status") == 0)
		supervise_ask(owner, request);
	else
		control_answer(request, unknown, sizeof(unknown) - 1);
}

static const struct control_handlers supervise_control_handlers = {on_control_request};

/* --- signals --- */

/* A second signal is from somebody who does not want to wait; timeout(1) sends two at once and means one. */
static bool is_impatient(const struct supervise *s)
{
	return s->phase == SUPERVISE_STOPPING && uv_now(&s->loop) - s->stopping_ms >= SUPERVISE_IMPATIENT_MS;
}

static void supervise_stop(struct supervise *s)
{
	if (is_impatient(s))
		supervise_kill(s);
	if (s->phase == SUPERVISE_STOPPING)
		return;
	s->phase = SUPERVISE_STOPPING;
	s->stopping_ms = uv_now(&s->loop);
	notify_stopping();
	supervise_set_state(s, "stopping");
	if (s->pid == 0) {
		supervise_finish(s, 0);
		return;
	}
	if (!s->channel || channel_send(s->channel, CHANNEL_STOP, NULL, 0, -1) < 0)
		supervise_kill(s);
	uv_timer_start(&s->step_timer, on_step_timer, SUPERVISE_STOP_PATIENCE_MS, 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct supervise *s = handle->data;

	if (number == SIGTERM || number == SIGINT)
		supervise_stop(s);
	else if (number == SIGCHLD)
		supervise_reap(s);
	else if (number == SIGUSR1)
		supervise_ask(s, NULL);
	else
		log_notice("config", "the file is read at start only; restart to take its changes");
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
	uv_timer_init(&s->loop, &s->step_timer);
	uv_timer_init(&s->loop, &s->alive_timer);
	uv_timer_init(&s->loop, &s->flush_timer);
	s->step_timer.data = s;
	if (alive_ms > 0)
		uv_timer_start(&s->alive_timer, on_alive_timer, alive_ms, alive_ms);
	uv_timer_start(&s->flush_timer, on_flush_timer, SUPERVISE_FLUSH_MS, SUPERVISE_FLUSH_MS);
	supervise_set_state(s, "starting");
}

static int supervise_open(struct supervise *s, struct err *err)
{
	char path[512];
	int rc;

	s->spawn = (struct spawn_plan){.process_title = s->plan->worker_title, .netns_fd = s->plan->netns_fd};
	s->spawn.log_level = log_get_level();
	rc = spawn_plan_user(&s->spawn, err);
	if (rc < 0)
		return rc;
	if (status_asks_open(&s->asks, &s->loop, &supervise_status_handlers, s) < 0)
		return err_system(err, -ENOMEM, "status");
	snprintf(path, sizeof(path), "%s/%s.%s", s->plan->runtime_dir, s->plan->name, s->plan->role);
	return control_open(&s->control, &s->loop, path, &supervise_control_handlers, s, err);
}

struct host *supervise_host(struct supervise *s)
{
	(void)s;
	return NULL;
}

uv_loop_t *supervise_loop(struct supervise *s)
{
	return &s->loop;
}

int supervise_run(const struct supervise_plan *plan, const struct supervise_program *program, void *owner,
	struct supervise **ret)
{
	struct supervise s = {.plan = plan, .program = program, .owner = owner};
	struct err err = {""};

	*ret = &s;
	supervise_init(&s);
	if (supervise_open(&s, &err) < 0)
		supervise_fail(&s, err.text);
	else
		supervise_start_worker(&s);
	uv_run(&s.loop, UV_RUN_DEFAULT);
	uv_loop_close(&s.loop);
	log_flush();
	return s.exit_code;
}
