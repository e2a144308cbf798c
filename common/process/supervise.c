/* Supervise: what both supervisors have in common (supervise.h).
 *
 * Theory of operation
 *
 * Two lives run side by side and know nothing of each other: the worker's (supervise_worker.c), which reads the network
 * and may die at any time, and the host's (common/host), which owns the WireGuard device, routes and hooks. This file
 * keeps for each of them where it stands, and derives three facts from both:
 *
 *     ready    the worker has said READY once, and the host is up: systemd hears READY=1. Never taken back: a worker
 *              that is replaced within 100 ms is no reason to restart what depends on the tunnel.
 *     flowing  ready, and for a client also linked to its server, and with a device of ours shaken hands through it:
 *              the waiting `up` hears it, and the log takes the place of its terminal. Once, too.
 *     state    one line for systemd's STATUS= and for `status`: "starting", the worker's own words, "stopping".
 *
 * The two start at the same time, because a PostUp hook may ping through the tunnel and so needs a worker before the
 * host is up. They end one after the other, because a PreDown hook may still use the tunnel:
 *
 *     WORKING ──SIGTERM, "stop", worker FAILED, host failed──▶ ENDING ──host down──▶ ──worker ended──▶ finished
 *
 * ENDING is entered once, by begin_ending(), with or without a reason; the first reason is the exit code's and the last
 * line on stderr, printed after everything is put back, where an operator looks first. go_on_ending() is called
 * whenever one of the two has come to its end, and does what is next. finish_ending() closes every handle; the loop
 * then runs dry.
 *
 * Callbacks: handlers of worker, host, netmon, control socket and status run from the loop only, with two exceptions:
 * the worker's on_end also from inside supervise_worker_start() and _stop(), and status answers from inside
 * status_asks_add(). After finish_ending() nothing calls the program any more.
 *
 * Failures. A worker that dies is replaced, see supervise_worker.c; the host is left alone meanwhile. A host that
 * cannot be brought up ends all of it. Without netmon nothing is repaired, and changes are noticed later; that is a
 * warning. An impatient operator (a second SIGTERM) has the running hook killed and the worker, too.
 */
#include "common/process/supervise.h"

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/log.h"
#include "common/net/netmon.h"
#include "common/process/control.h"
#include "common/process/exit_code.h"
#include "common/process/notify.h"
#include "common/process/sandbox.h"
#include "common/process/supervise_status.h"
#include "common/process/supervise_worker.h"
#include "common/status/status_http.h"
#include "common/status/status_metrics.h"

#include <errno.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define IMPATIENT_MS 300 /* a second SIGTERM at least this much later ends at once; timeout(1) sends two together */
#define FLUSH_MS 10000	 /* counts of repeated log lines are logged at most this late */
#define STATE_MAX 128	 /* bytes; longer words of the worker are cut */
#define RESTART_MAX 256	 /* bytes of "Address, MTU"; names that do not fit are left out */
#define PAGE_PAUSE_MS 500 /* between two texts of a kind for the status page; an honest worker asks less often */

static const int handled_signals[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGCHLD};
#define SIGNAL_COUNT (sizeof(handled_signals) / sizeof(handled_signals[0]))

/* Where the host stands. NONE: no device of ours. GONE: it is down again, or could not be brought up. */
enum supervise_phase { SUPERVISE_NONE, SUPERVISE_OPEN, SUPERVISE_STARTING, SUPERVISE_UP, SUPERVISE_GONE };

struct supervise {
	const struct supervise_setup *setup;
	const struct supervise_program *program;
	void *owner;
	uv_loop_t loop;
	uv_signal_t signals[SIGNAL_COUNT];
	uv_timer_t alive_timer; /* systemd's watchdog */
	uv_timer_t flush_timer;
	uv_timer_t reload_timer; /* SIGHUP: one reload for all that came meanwhile */
	struct {
		bool is_under_way;
		bool is_wanted;	 /* once more: another has asked meanwhile */
		bool is_in_part; /* all but [Publish] is in force */
		char restart[RESTART_MAX];
		struct control_request *askers[CONTROL_ASKERS_MAX], *waiting[CONTROL_ASKERS_MAX];
		size_t asker_count, waiting_count;
	} reload;
	struct control *control;
	struct status_asks *asks;
	struct status_port port; /* of the status page */
	/* The status page's wishes, by text; a pointer to one is the asker of status_asks_add(). */
	struct page_wish {
		uint64_t asked_ms; /* uv_now(); 0: never */
	} wishes[STATUS_TEXT_COUNT];
	struct netmon *netmon;
	struct host *host; /* NULL: no device of ours */
	enum supervise_phase host_phase;
	struct supervise_worker *worker;
	bool is_worker_there;	      /* one runs, or the next one is about to be started */
	char worker_state[STATE_MAX]; /* "up", "connecting: why", quoted; "" while it is not ready */
	bool was_worker_ready;	      /* once; is_ready, is_flowing: see above */
	bool is_ready;
	bool has_shaken_hands; /* WireGuard, with the hub, through the tunnel */
	bool is_up; /* the program was told */
	bool is_flowing;
	char state[STATE_MAX]; /* as systemd and `status` know it */
	int64_t state_since_s;
	bool is_ending, is_finished;
	uint64_t ending_ms; /* uv_now() when the end began */
	int exit_code;
	const char *last_area;
	char last_words[ERR_TEXT_MAX]; /* why the exit code is 1; "": it was asked to stop */
};

/* --- the state in words --- */

/* "connecting: why" counts as "connecting": `since` and `status` follow the word before the colon. */
static size_t state_word_len(const char *state)
{
	return strcspn(state, ":");
}

static void tell_state(struct supervise *s)
{
	const char *state = s->worker_state;
	size_t len;

	if (s->is_ending)
		state = "stopping";
	else if (!s->worker_state[0])
		state = "starting";
	else if (s->host_phase == SUPERVISE_STARTING)
		state = "starting: bringing up the device";
	len = state_word_len(state);
	if (len != state_word_len(s->state) || strncmp(s->state, state, len) != 0)
		s->state_since_s = clock_wall_s();
	snprintf(s->state, sizeof(s->state), "%s", state);
	notify_status(s->state);
}

/* @text comes from the worker, which reads the network: quoted, because it ends on terminals. "": none is ready. */
static void set_worker_state(struct supervise *s, const char *text)
{
	log_quote(s->worker_state, sizeof(s->worker_state), text, strlen(text));
	tell_state(s);
}

/* Only a client's worker says "up" when the way to its server is open; a server's says so when it listens. */
static bool is_linked(const struct supervise *s)
{
	return state_word_len(s->worker_state) == 2 && strncmp(s->worker_state, "up", 2) == 0;
}

/* --- ready, and flowing --- */

void supervise_flow(struct supervise *s)
{
	struct channel *channel = supervise_worker_channel(s->worker);

	if (s->is_flowing || s->is_ending)
		return;
	s->is_flowing = true;
	if (s->setup->up_fd < 0)
		return;
	/* The log takes the place of the pipe to `up`, which then exits. A worker started later inherits our standard
	 * error; the one that runs has to be given it. */
	log_flush();
	notify_flowing(s->setup->up_fd);
	if (channel)
		channel_send(channel, CHANNEL_LOG, NULL, 0, STDERR_FILENO);
}

/* Called whenever something of the worker or of the host has changed. */
static void note_progress(struct supervise *s)
{
	bool is_host_up = s->host_phase == SUPERVISE_NONE || s->host_phase == SUPERVISE_UP;

	tell_state(s);
	if (s->is_ending)
		return;
	if (!s->is_ready && s->was_worker_ready && is_host_up) {
		s->is_ready = true;
		notify_ready();
	}
	if (s->is_up || !s->is_ready || !s->worker_state[0])
		return;
	if (s->setup->flows_when_linked && (!is_linked(s) || (s->host && !s->has_shaken_hands)))
		return;
	s->is_up = true;
	if (s->program->on_up)
		s->program->on_up(s->owner);
	else
		supervise_flow(s);
}

/* A device whose link has just come up begins a handshake at once instead of at its next datagram. */
static void tell_host_of_link(struct supervise *s)
{
	if (s->setup->flows_when_linked && s->host_phase == SUPERVISE_UP && is_linked(s))
		host_link_is_up(s->host);
}

/* --- the end --- */

/* Both have come to their end. Memory of what is closed here goes while the loop runs on. */
static void finish_ending(struct supervise *s)
{
	s->is_finished = true;
	supervise_worker_close(s->worker);
	host_close(s->host);
	s->host = NULL;
	netmon_close(s->netmon);
	status_asks_close(s->asks);
	control_close(s->control);
	status_port_close(&s->port);
	if (s->program->on_close)
		s->program->on_close(s->owner);
	uv_close((uv_handle_t *)&s->alive_timer, NULL);
	uv_close((uv_handle_t *)&s->flush_timer, NULL);
	uv_close((uv_handle_t *)&s->reload_timer, NULL);
	for (size_t i = 0; i < SIGNAL_COUNT; i++)
		uv_close((uv_handle_t *)&s->signals[i], NULL);
}

/* End the next part: first the host, because hooks may still use the tunnel, then the worker, then everything else. */
static void go_on_ending(struct supervise *s)
{
	if (!s->is_ending || s->is_finished)
		return;
	if (s->host_phase == SUPERVISE_STARTING || s->host_phase == SUPERVISE_UP)
		return; /* on_host_down() comes back here */
	if (s->is_worker_there)
		supervise_worker_stop(s->worker); /* on_worker_end() comes back here */
	else
		finish_ending(s);
}

/* Begin to end. @text: why it has failed, NULL if it was asked to stop. Once: later reasons follow from the first. */
static void begin_ending(struct supervise *s, const char *area, const char *text)
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
	tell_state(s);
	if (s->host_phase == SUPERVISE_STARTING || s->host_phase == SUPERVISE_UP)
		host_down(s->host);
	go_on_ending(s);
}

/* SIGTERM, SIGINT or `down`. The second time is from an operator who does not want to wait. */
static void obey_stop(struct supervise *s)
{
	if (!s->is_ending) {
		begin_ending(s, NULL, NULL);
		return;
	}
	if (uv_now(&s->loop) - s->ending_ms < IMPATIENT_MS)
		return;
	if (s->host_phase == SUPERVISE_STARTING || s->host_phase == SUPERVISE_UP)
		host_down(s->host); /* kills the hook that runs */
	if (s->is_worker_there)
		supervise_worker_stop(s->worker);
	supervise_worker_kill(s->worker);
}

/* --- the status page --- */

/* Answer at its port as soon as that can be: at an address of the device's when the device is there. For each worker. */
static void tell_page_port(struct supervise *s)
{
	const struct channel_page_port at = {.at = s->port.key.addr};
	struct channel *channel = supervise_worker_channel(s->worker);
	struct err err = {""};

	if (s->port.key.is_of_device && s->host_phase != SUPERVISE_UP)
		return;
	if (status_port_listen(&s->port, s->setup->host ? s->setup->host->device : "", &err) < 0)
		log_error("config", "%s", err.text);
	else if (channel && s->port.fd >= 0)
		channel_send(channel, CHANNEL_PAGE_PORT, &at, sizeof(at), s->port.fd);
	else if (channel)
		channel_send(channel, CHANNEL_PAGE_CLOSED, NULL, 0, -1);
}

int supervise_open_status(struct supervise *s, struct status_port *ret, const struct status_key *key, struct err *err)
{
	return status_port_open(ret, key, &s->port, err);
}

void supervise_use_status(struct supervise *s, struct status_port *port)
{
	status_port_close(&s->port);
	s->port = *port;
	tell_page_port(s);
}

/* The worker may have been taken over: it is not answered more often than makes sense. */
static void on_page_wanted(struct supervise *s, const struct channel_page *wanted)
{
	uint64_t now_ms = uv_now(&s->loop);
	struct page_wish *wish;

	if (wanted->text >= STATUS_TEXT_COUNT || s->port.fd < 0)
		return;
	wish = &s->wishes[wanted->text];
	if (wish->asked_ms != 0 && now_ms - wish->asked_ms < PAGE_PAUSE_MS)
		return;
	wish->asked_ms = now_ms;
	status_asks_add(s->asks, supervise_worker_channel(s->worker), wish);
}

/* The text is made here and not in the worker, whose time is the datagrams'. */
static void answer_page(struct supervise *s, enum status_text kind, const json_t *object, const char *text, size_t len)
{
	const struct channel_page answer = {.text = kind};
	struct channel *channel = supervise_worker_channel(s->worker);
	char *metrics = kind == STATUS_JSON ? NULL : status_metrics_format(object, kind == STATUS_OPENMETRICS);
	int fd = memfd_create("status", MFD_CLOEXEC);

	if (kind != STATUS_JSON) {
		text = metrics;
		len = metrics ? strlen(metrics) : 0;
	}
	if (channel && fd >= 0 && text && file_write_all(fd, text, len) == 0)
		channel_send(channel, CHANNEL_PAGE_TEXT, &answer, sizeof(answer), fd);
	free(metrics);
	if (fd >= 0)
		close(fd);
}

/* --- the worker --- */

static int on_worker_hand_down(void *owner, struct channel *channel, struct err *err)
{
	struct supervise *s = owner;

	return s->program->hand_down(s->owner, channel, err);
}

/* Each worker says it; the program hears only of the first one. Reading a file of many clients leaves holes in the heap,
 * two thirds of it, which are given back here and after a reload. */
static void on_worker_ready(void *owner)
{
	struct supervise *s = owner;
	bool is_first = !s->was_worker_ready;

	s->was_worker_ready = true;
	set_worker_state(s, s->setup->ready_state);
	if (is_first)
		s->program->on_ready(s->owner);
	if (s->port.fd >= 0)
		tell_page_port(s);
	note_progress(s);
	malloc_trim(0);
}

static void on_worker_message(void *owner, struct channel *channel, enum channel_kind kind, const void *payload)
{
	struct supervise *s = owner;
	bool was_linked = is_linked(s);

	if (kind == CHANNEL_STATUS_DONE) {
		status_asks_done(s->asks, ((const struct channel_ticket *)payload)->ticket);
	} else if (kind == CHANNEL_PAGE_WANTED) {
		on_page_wanted(s, payload);
	} else if (kind != CHANNEL_STATE) {
		s->program->on_message(s->owner, channel, kind, payload);
	} else if (supervise_worker_channel(s->worker)) { /* else it is being stopped, and the state is ours */
		set_worker_state(s, payload);
		if (!was_linked)
			tell_host_of_link(s);
		note_progress(s);
	}
}

/* It has died and will be replaced: the status requests that it took along are answered without it. */
static void on_worker_gone(void *owner)
{
	struct supervise *s = owner;

	status_asks_abandon(s->asks);
	memset(s->wishes, 0, sizeof(s->wishes)); /* the next worker asks anew, and is not made to wait */
	set_worker_state(s, "");
	if (s->program->on_worker_gone)
		s->program->on_worker_gone(s->owner);
}

/* There will be no other one: it was stopped (@text NULL), or cannot be made to work. */
static void on_worker_end(void *owner, const char *text)
{
	struct supervise *s = owner;

	s->is_worker_there = false;
	status_asks_abandon(s->asks);
	set_worker_state(s, "");
	if (text)
		begin_ending(s, s->setup->area, text);
	else
		go_on_ending(s);
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

	s->host_phase = SUPERVISE_UP;
	if (s->port.key.is_of_device)
		tell_page_port(s);
	tell_host_of_link(s);
	note_progress(s);
}

static void on_host_failed(void *owner, const char *text)
{
	struct supervise *s = owner;

	s->host_phase = SUPERVISE_GONE;
	begin_ending(s, "config", text);
	go_on_ending(s);
}

static void on_host_handshake(void *owner)
{
	struct supervise *s = owner;

	s->has_shaken_hands = true;
	note_progress(s);
}

static void on_host_down(void *owner)
{
	struct supervise *s = owner;

	s->host_phase = SUPERVISE_GONE;
	go_on_ending(s);
}

/* The kernel's news (enum netmon_kind): the host repairs what another program took away, the program tries again. */
static void on_netmon_change(void *owner, unsigned kinds)
{
	struct supervise *s = owner;

	if (!s->is_ending && s->host)
		host_on_network(s->host, kinds);
	if (s->program->on_network)
		s->program->on_network(s->owner, supervise_worker_channel(s->worker), kinds);
}

/* --- reload --- */

static void answer_object(struct control_request *request, json_t *object)
{
	char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;

	control_answer(request, text ? text : "{}", text ? strlen(text) : 2);
	free(text);
	json_decref(object);
}

static void on_reload_timer(uv_timer_t *timer);

/* The answer to those who have asked: {"restart":"MTU","error":"","exit":0} or {…,"error":"lines","exit":1}, with
 * "in_part" where a part of the file is in force all the same; also logged. Then the next one, for those who have
 * asked meanwhile. */
static void end_reload(struct supervise *s, int rc, const struct err *err)
{
	const char *restart = s->reload.restart;
	int code = EXIT_DONE;

	if (rc < 0) {
		code = rc == CONFIGURATION_IS_WRONG ? EXIT_USAGE : EXIT_FAILED;
		log_error("config", "%s%s", s->reload.is_in_part ? "" : "not reloaded, everything stays as it was: ", err->text);
	} else if (restart[0]) {
		log_notice("config", "reloaded; what needs a restart: %s", restart);
	} else {
		log_notice("config", "reloaded");
	}
	for (size_t i = 0; i < s->reload.asker_count; i++)
		answer_object(s->reload.askers[i],
			json_pack("{s:s, s:s, s:b, s:i}", "restart", restart, "error", rc < 0 ? err->text : "",
				"in_part", s->reload.is_in_part, "exit", code));
	s->reload.is_under_way = false;
	if (s->reload.is_wanted)
		uv_timer_start(&s->reload_timer, on_reload_timer, 0, 0);
	malloc_trim(0);
}

/* Once, or a second time when the rules of other programs have been read. The end waits until new services are in
 * place. */
static void run_reload(struct supervise *s)
{
	struct channel *channel = supervise_worker_channel(s->worker);
	struct err err = {""};
	int rc;

	s->reload.restart[0] = '\0';
	s->reload.is_in_part = false;
	if (s->is_ending)
		rc = err_set(&err, -EBUSY, "it is stopping");
	else
		rc = s->program->reload(s->owner, channel, s->reload.restart, sizeof(s->reload.restart), &err);
	if (rc == HOST_RULES_WANTED) {
		rc = host_read_rules(s->host, &err);
		if (rc == 0)
			return; /* on_host_rules() comes back here */
	}
	if (rc < 0 || !s->host || !host_is_publishing(s->host))
		end_reload(s, rc, &err);
}

static void on_host_rules(void *owner)
{
	run_reload(owner);
}

/* All else of the new configuration is in force where the table is not. */
static void on_host_published(void *owner, const char *why)
{
	struct supervise *s = owner;
	struct err err = {""};
	int rc = 0;

	if (*why)
		rc = err_set(&err, -EIO,
			"[Publish] is not in force, while the rest of the file is; tried again every %d s: %s",
			HOST_AGAIN_S, why);
	s->reload.is_in_part = rc < 0;
	if (s->reload.is_under_way)
		end_reload(s, rc, &err);
}

static void on_reload_timer(uv_timer_t *timer)
{
	struct supervise *s = timer->data;

	s->reload.is_wanted = s->reload.is_under_way;
	if (s->reload.is_under_way)
		return; /* its end comes back here */
	memcpy(s->reload.askers, s->reload.waiting, sizeof(s->reload.askers));
	s->reload.asker_count = s->reload.waiting_count;
	s->reload.waiting_count = 0;
	s->reload.is_under_way = true;
	run_reload(s);
}

/* At once, or after the one that is under way, which may have read the file already. */
static void ask_reload(struct supervise *s, struct control_request *request)
{
	if (s->reload.waiting_count == CONTROL_ASKERS_MAX) {
		answer_object(request, json_pack("{s:s}", "error", "too many have asked"));
		return;
	}
	s->reload.waiting[s->reload.waiting_count++] = request;
	on_reload_timer(&s->reload_timer);
}

static const struct host_handlers host_handlers = {.on_up = on_host_up,
	.on_failed = on_host_failed,
	.on_handshake = on_host_handshake,
	.on_down = on_host_down,
	.on_rules = on_host_rules,
	.on_published = on_host_published};

/* --- control socket --- */

/* Our part of `status`; supervise_status.c adds the worker's. */
static json_t *describe(void *owner)
{
	struct supervise *s = owner;
	static const char *const lacking[] = {NULL, "network namespace", "Landlock", "network namespace, Landlock"};
	const char *lacks = lacking[(s->setup->lacks_netns ? 1 : 0) + (sandbox_has_landlock() ? 0 : 2)];
	pid_t worker_pid = supervise_worker_pid(s->worker);
	json_t *object = json_object(), *warnings = json_array();
	json_t *wireguard = s->host_phase == SUPERVISE_UP ? host_report(s->host, warnings) : NULL;
	char since[32];

	json_object_set_new(object, "name", json_string(s->setup->name));
	json_object_set_new(object, "role", json_string(s->setup->role));
	json_object_set_new(object, "state", json_stringn(s->state, state_word_len(s->state)));
	json_object_set_new(object, "since", json_string(clock_format_utc(since, sizeof(since), s->state_since_s)));
	json_object_set_new(object, "pid", json_integer(getpid()));
	json_object_set_new(object, "worker_pid", worker_pid > 0 ? json_integer(worker_pid) : json_null());
	json_object_set_new(object, "worker_restarts", json_integer(supervise_worker_restarts(s->worker)));
	if (lacks)
		json_object_set_new(object, "sandbox_lacks", json_string(lacks));
	json_object_set_new(object, "warnings", warnings);
	if (wireguard)
		json_object_set_new(object, "wireguard", wireguard);
	if (s->program->on_report)
		s->program->on_report(s->owner, object);
	return object;
}

/* Without what is in the log already, and what is too long for it. */
static void log_status(const json_t *object)
{
	json_t *copy = json_copy((json_t *)(uintptr_t)object);
	char *text;

	json_object_del(copy, "events");
	json_object_del(copy, "history");
	text = json_dumps(copy, JSON_COMPACT | JSON_REAL_PRECISION(9));
	log_notice("config", "status: %s", text ? text : "");
	free(text);
	json_decref(copy);
}

/* @asker: see ask_status(), and for the page on_page_wanted(). */
static void on_status_answer(void *owner, void *asker, const json_t *object, const char *text, size_t len)
{
	struct supervise *s = owner;

	for (size_t i = 0; i < STATUS_TEXT_COUNT; i++)
		if (asker == &s->wishes[i]) {
			answer_page(s, (enum status_text)i, object, text, len);
			return;
		}
	if (asker)
		control_answer(asker, text, len);
	else
		log_status(object);
}

static const struct status_handlers status_handlers = {describe, on_status_answer};

/* @asker: a control_request; NULL for SIGUSR1, whose answer goes to the log. */
static void ask_status(struct supervise *s, void *asker)
{
	status_asks_add(s->asks, supervise_worker_channel(s->worker), asker);
}

/* Each request is answered exactly once: "status" when the worker has been heard, "reload" when
 * all of it is in place. */
static void on_control_request(void *owner, const char *word, struct control_request *request)
{
	struct supervise *s = owner;

	if (strcmp(word, "status") == 0) {
		ask_status(s, request);
	} else if (strcmp(word, "reload") == 0) {
		ask_reload(s, request);
	} else if (strcmp(word, "stop") == 0) {
		answer_object(request, json_pack("{s:s}", "error", ""));
		obey_stop(s);
	} else {
		answer_object(request, json_pack("{s:s}", "error", "unknown request"));
	}
}

static const struct control_handlers control_handlers = {on_control_request};

/* --- signals, timers --- */

void supervise_reload_soon(struct supervise *supervise)
{
	uv_timer_start(&supervise->reload_timer, on_reload_timer, 0, 0);
}

static void on_signal(uv_signal_t *handle, int number)
{
	struct supervise *s = handle->data;

	if (number == SIGTERM || number == SIGINT)
		obey_stop(s);
	else if (number == SIGCHLD && s->worker)
		supervise_worker_reap(s->worker);
	else if (number == SIGUSR1)
		ask_status(s, NULL);
	else if (number == SIGHUP) /* all that come before the loop turns are one reload */
		supervise_reload_soon(s);
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

/* First of all: signals are caught before anything exists that would have to be put back. */
static void init_loop(struct supervise *s)
{
	uint64_t alive_ms = notify_alive_interval_ms();

	uv_loop_init(&s->loop);
	for (size_t i = 0; i < SIGNAL_COUNT; i++) {
		uv_signal_init(&s->loop, &s->signals[i]);
		s->signals[i].data = s;
		uv_signal_start(&s->signals[i], on_signal, handled_signals[i]);
	}
	signal(SIGPIPE, SIG_IGN); /* an asker of the control socket may leave */
	uv_timer_init(&s->loop, &s->alive_timer);
	uv_timer_init(&s->loop, &s->flush_timer);
	uv_timer_init(&s->loop, &s->reload_timer);
	s->reload_timer.data = s;
	if (alive_ms > 0)
		uv_timer_start(&s->alive_timer, on_alive_timer, alive_ms, alive_ms);
	uv_timer_start(&s->flush_timer, on_flush_timer, FLUSH_MS, FLUSH_MS);
	tell_state(s);
}

/* Everything that can fail before the host is changed. On failure finish_ending() closes what is open. */
static int open_parts(struct supervise *s, struct err *err)
{
	const struct supervise_worker_setup worker_setup = {
		.area = s->setup->area, .title = s->setup->worker_title, .netns_fd = s->setup->netns_fd};
	struct err netmon_err = {""};
	char path[512]; /* longer ones do not fit into a socket's address; control_open() says so */
	int rc;

	if (status_asks_open(&s->asks, &s->loop, &status_handlers, s) < 0)
		return err_system(err, -ENOMEM, "status");
	rc = supervise_worker_open(&s->worker, &s->loop, &worker_setup, &worker_handlers, s, err);
	if (rc == 0 && s->setup->status)
		rc = status_port_open(&s->port, s->setup->status, NULL, err);
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "%s/%s.%s", s->setup->runtime_dir, s->setup->name, s->setup->role);
	rc = control_open(&s->control, &s->loop, path, &control_handlers, s, err);
	if (rc == 0 && s->setup->host) {
		rc = host_open(&s->host, &s->loop, s->setup->host, &host_handlers, s, err);
		if (rc == 0)
			s->host_phase = SUPERVISE_OPEN;
	}
	/* Without it nothing is repaired and no address tried sooner; the tunnel works all the same. */
	if (rc == 0 && (s->host || s->program->on_network) &&
		netmon_open(&s->netmon, &s->loop, on_netmon_change, s, &netmon_err) < 0)
		log_warning("config", "changes of the network are not heard: %s", netmon_err.text);
	return rc;
}

/* --- the public face --- */

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
	struct supervise s = {.setup = setup, .program = program, .owner = owner, .port.fd = -1};
	struct err err = {""};

	*ret = &s;
	init_loop(&s);
	if (open_parts(&s, &err) < 0) {
		begin_ending(&s, "config", err.text);
	} else { /* both at the same time, see above */
		if (s.host) {
			s.host_phase = SUPERVISE_STARTING;
			host_up(s.host);
		}
		s.is_worker_there = true;
		supervise_worker_start(s.worker);
	}
	uv_run(&s.loop, UV_RUN_DEFAULT);
	uv_loop_close(&s.loop);
	if (s.last_words[0])
		log_error(s.last_area, "%s", s.last_words);
	log_flush();
	return s.exit_code;
}
