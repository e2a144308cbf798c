/* A worker's life, see supervise_worker.h for its phases.
 *
 * Happy path: spawn, hand down, CHANNEL_START, READY, and then nothing until CHANNEL_STOP. One timer serves the three
 * phases that have a limit. Fails: a worker that dies is started again at once, the second of two short-lived ones
 * after a pause; only one that never became ready is given up, after five tries, because a further try would fail in
 * the same way. CHANNEL_FAILED gives up at once: the worker has understood its settings and says what is wrong with
 * them.
 *
 * Death is known twice, by the end of the channel and by SIGCHLD, in either order. Only supervise_worker_reap() acts on
 * it, and only once, because waitpid() hands the process out once.
 */
#include "common/process/supervise_worker.h"

#include "common/base/log.h"
#include "common/process/spawn.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#define WORKER_START_PATIENCE_MS 30000 /* from its start to READY */
#define WORKER_STOP_PATIENCE_MS 2000   /* from CHANNEL_STOP to its end */
#define WORKER_LIVED_MS 1000	       /* the second worker in a row that lived shorter is started again after … */
#define WORKER_PAUSE_MS 75	       /* … this: still within 100 ms, but a broken one does not eat the processor */
#define WORKER_EARLY_DEATHS_MAX 5      /* before the first READY: it is broken for good */

enum worker_phase { WORKER_NONE, WORKER_STARTING, WORKER_RUNNING, WORKER_WAITING, WORKER_STOPPING };

struct supervise_worker {
	struct supervise_worker_setup setup;
	const struct supervise_worker_handlers *handlers;
	void *owner;
	struct spawn_setup spawn;
	uv_timer_t timer;	 /* start patience, pause before a restart, stop patience */
	struct channel *channel; /* NULL: none */
	pid_t pid;		 /* 0: none */
	uint64_t started_ms;	 /* uv_now() */
	enum worker_phase phase;
	bool was_ready;
	unsigned early_deaths, restarts;
	unsigned short_lives;		/* in a row */
	char failure[CHANNEL_TEXT_MAX]; /* why it is given up; "": it is not */
};

static void on_phase_timer(uv_timer_t *timer);

/* There will be no other worker. @text: why not, NULL: it was to stop. The owner may close us in its handler. */
static void worker_end(struct supervise_worker *w, const char *text)
{
	w->phase = WORKER_NONE;
	uv_timer_stop(&w->timer);
	w->handlers->on_end(w->owner, text);
}

void supervise_worker_kill(struct supervise_worker *w)
{
	if (w->pid > 0)
		kill(w->pid, SIGKILL);
}

/* --- its death --- */

static void worker_wait(struct supervise_worker *w, uint64_t pause_ms)
{
	w->phase = WORKER_WAITING;
	uv_timer_start(&w->timer, on_phase_timer, pause_ms, 0);
}

/* It is reaped. @status: of waitpid(). */
static void worker_on_death(struct supervise_worker *w, int status)
{
	uint64_t lived_ms = uv_now(w->timer.loop) - w->started_ms;
	char text[128];

	if (WIFSIGNALED(status))
		snprintf(text, sizeof(text), "killed by signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		snprintf(text, sizeof(text), "exit code %d", WEXITSTATUS(status));
	channel_close(w->channel);
	w->channel = NULL;
	uv_timer_stop(&w->timer);
	if (w->phase == WORKER_STOPPING) {
		if (status != 0)
			log_warning(w->setup.area, "the worker ended: %s", text);
		worker_end(w, NULL);
		return;
	}
	if (!w->failure[0] && !w->was_ready && ++w->early_deaths >= WORKER_EARLY_DEATHS_MAX)
		snprintf(w->failure, sizeof(w->failure), "the worker ended before it was ready, %u times: %s",
			w->early_deaths, text);
	if (w->failure[0]) {
		worker_end(w, w->failure);
		return;
	}
	log_warning(w->setup.area, "the worker ended: %s; it is started again", text);
	w->short_lives = lived_ms < WORKER_LIVED_MS ? w->short_lives + 1 : 0;
	worker_wait(w, w->short_lives > 1 ? WORKER_PAUSE_MS : 0);
	w->handlers->on_gone(w->owner);
}

void supervise_worker_reap(struct supervise_worker *w)
{
	int status;

	if (w->pid == 0 || waitpid(w->pid, &status, WNOHANG) != w->pid)
		return;
	w->pid = 0;
	if (w->channel)
		channel_drain(w->channel); /* CHANNEL_FAILED may still be in there */
	worker_on_death(w, status);
}

/* --- what it says --- */

static void on_channel_message(void *owner, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	struct supervise_worker *w = owner;

	(void)len;
	(void)fd; /* -1: the channel lets no descriptor come up */
	if (kind == CHANNEL_READY) {
		if (w->phase != WORKER_STARTING)
			return; /* twice, or while it is being stopped */
		w->phase = WORKER_RUNNING;
		w->was_ready = true;
		uv_timer_stop(&w->timer);
		w->handlers->on_ready(w->owner);
	} else if (kind == CHANNEL_FAILED) {
		snprintf(w->failure, sizeof(w->failure), "%s", (const char *)payload);
		supervise_worker_kill(w);
	} else {
		w->handlers->on_message(w->owner, w->channel, kind, payload);
	}
}

/* A worker that ends closes its channel, too; its exit code then tells more. One that is alive has broken a rule of the
 * channel, or has had one broken by us: nothing can be told to it any more, so it is killed. */
static void on_channel_end(void *owner, const char *reason)
{
	struct supervise_worker *w = owner;

	log_debug(w->setup.area, "channel to the worker: %s", reason);
	w->channel = NULL;
	if (w->phase != WORKER_STOPPING)
		supervise_worker_kill(w);
	supervise_worker_reap(w);
}

/* --- starting it --- */

/* Return: 0, or a negative errno with @err set; w->pid then says whether there is a process to wait for. */
static int worker_spawn(struct supervise_worker *w, struct err *err)
{
	static const struct channel_handlers handlers = {on_channel_message, on_channel_end};
	int fd, rc;

	rc = spawn_worker(&w->spawn, &w->pid, &fd, err);
	if (rc < 0)
		return rc;
	w->started_ms = uv_now(w->timer.loop);
	rc = channel_open(&w->channel, w->timer.loop, fd, CHANNEL_SUPERVISOR, &handlers, w, err);
	if (rc == 0)
		rc = w->handlers->hand_down(w->owner, w->channel, err);
	if (rc == 0)
		rc = channel_send(w->channel, CHANNEL_START, NULL, 0, -1);
	if (rc < 0 && err->text[0] == '\0')
		err_system(err, rc, "channel to the worker");
	if (rc < 0)
		supervise_worker_kill(w);
	return rc;
}

/* A worker to which something could not be handed is killed by worker_spawn(); it is then reaped and replaced as one
 * that died by itself. Without a process there is no SIGCHLD: the next try, or giving up, is decided here. */
void supervise_worker_start(struct supervise_worker *w)
{
	struct err err = {""};
	int rc;

	uv_update_time(w->timer.loop);
	w->phase = WORKER_STARTING;
	uv_timer_start(&w->timer, on_phase_timer, WORKER_START_PATIENCE_MS, 0);
	rc = worker_spawn(w, &err);
	if (rc == 0)
		return;
	if (!w->was_ready)
		snprintf(w->failure, sizeof(w->failure), "%.*s", CHANNEL_TEXT_MAX - 1, err.text);
	else
		log_warning(w->setup.area, "%s; tried again", err.text);
	if (w->pid > 0)
		return;
	if (w->was_ready)
		worker_wait(w, WORKER_PAUSE_MS);
	else
		worker_end(w, w->failure);
}

static void on_phase_timer(uv_timer_t *timer)
{
	struct supervise_worker *w = timer->data;

	switch (w->phase) {
	case WORKER_STARTING:
		log_warning(w->setup.area, "the worker is not ready after %d s; it is killed",
			WORKER_START_PATIENCE_MS / 1000);
		supervise_worker_kill(w);
		break;
	case WORKER_WAITING:
		w->restarts++;
		supervise_worker_start(w);
		break;
	case WORKER_STOPPING:
		log_warning(w->setup.area, "the worker does not stop; it is killed");
		supervise_worker_kill(w);
		break;
	case WORKER_RUNNING:
	case WORKER_NONE:
		break;
	}
}

/* --- stopping it --- */

/* A worker whose channel is gone, or full, cannot be asked: it is killed, and its death is waited for all the same. */
void supervise_worker_stop(struct supervise_worker *w)
{
	if (w->phase == WORKER_STOPPING || w->phase == WORKER_NONE)
		return;
	if (w->pid == 0) { /* between two workers */
		worker_end(w, NULL);
		return;
	}
	w->phase = WORKER_STOPPING;
	if (!w->channel || channel_send(w->channel, CHANNEL_STOP, NULL, 0, -1) < 0)
		supervise_worker_kill(w);
	uv_timer_start(&w->timer, on_phase_timer, WORKER_STOP_PATIENCE_MS, 0);
}

/* --- the public face --- */

struct channel *supervise_worker_channel(const struct supervise_worker *w)
{
	/* One that is starting has been handed the old settings: a reload must reach it, too. */
	return w->phase == WORKER_RUNNING || w->phase == WORKER_STARTING ? w->channel : NULL;
}

pid_t supervise_worker_pid(const struct supervise_worker *w)
{
	return w->pid;
}

unsigned supervise_worker_restarts(const struct supervise_worker *w)
{
	return w->restarts;
}

int supervise_worker_open(struct supervise_worker **ret, uv_loop_t *loop, const struct supervise_worker_setup *setup,
	const struct supervise_worker_handlers *handlers, void *owner, struct err *err)
{
	struct supervise_worker *w = calloc(1, sizeof(*w));
	int rc;

	if (!w)
		return err_system(err, -ENOMEM, "worker");
	w->setup = *setup;
	w->handlers = handlers;
	w->owner = owner;
	w->spawn = (struct spawn_setup){
		.process_title = setup->title, .netns_fd = setup->netns_fd, .log_level = log_get_level()};
	rc = spawn_choose_user(&w->spawn, err);
	if (rc < 0) {
		free(w);
		return rc;
	}
	uv_timer_init(loop, &w->timer);
	w->timer.data = w;
	*ret = w;
	return 0;
}

static void on_phase_timer_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void supervise_worker_close(struct supervise_worker *w)
{
	if (!w)
		return;
	/* Wait for it: a supervisor that has exited must not leave a worker that still holds its port. */
	if (w->pid > 0) {
		kill(w->pid, SIGKILL);
		while (waitpid(w->pid, NULL, 0) < 0 && errno == EINTR)
			;
	}
	channel_close(w->channel);
	uv_close((uv_handle_t *)&w->timer, on_phase_timer_closed);
}
