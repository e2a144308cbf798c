/* Supervisor, worker and host together: start, status, death, reload, stop, and in which order.
 *
 * The supervisor under test runs in a child of this program; its worker is this program again (spawn runs
 * /proc/self/exe), a stand-in that does what the settings say in one word. The host is a stand-in, too: its functions
 * in this file take the place of common/host's. The test watches through the control socket, as an operator would.
 * Needs no privilege; with root the worker also changes user and namespace.
 */
#include "common/base/log.h"
#include "common/host/host.h"
#include "common/net/netmon.h"
#include "common/process/channel.h"
#include "common/process/control.h"
#include "common/process/sandbox.h"
#include "common/process/spawn.h"
#include "common/process/supervise.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <jansson.h>
#include <net/if.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_MS 20000 /* Valgrind and a busy machine */
#define WORD_MAX 64
#define HOST_STEP_MS 150 /* what the stand-in host takes to go up or down */

/* --- the stand-in worker --- */

struct stand_in {
	uv_loop_t loop;
	struct channel *channel;
	char word[WORD_MAX]; /* the settings */
	int listeners, flow_replies, flow_refusals, logs;
	json_t *seen; /* what the process looked like before the sandbox */
};

static void stand_in_report(struct stand_in *w, int fd)
{
	char *text;

	json_object_set_new(w->seen, "word", json_string(w->word));
	json_object_set_new(w->seen, "listeners", json_integer(w->listeners));
	json_object_set_new(w->seen, "flow_replies", json_integer(w->flow_replies));
	json_object_set_new(w->seen, "flow_refusals", json_integer(w->flow_refusals));
	json_object_set_new(w->seen, "logs", json_integer(w->logs));
	json_object_set_new(w->seen, "state", json_string("the worker's own"));
	text = json_dumps(w->seen, 0);
	if (write(fd, text, strlen(text)) < 0)
		abort();
	free(text);
}

static void stand_in_on_message(void *owner, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	struct stand_in *w = owner;

	(void)len;
	if (kind == CHANNEL_STATUS && strcmp(w->word, "no-status") != 0) {
		if (strcmp(w->word, "bad-status") == 0)
			(void)!write(fd, "{\"a\":", 5);
		else if (strcmp(w->word, "rude-status") == 0)
			dprintf(fd,
				"{\"a\":[\"red "
				"\\u001b[31m\",{\"b\":\"two\\nlines\\u009b1m\"}],\"\\u001bc\":1,\"d\":\"gr\\u00fcn\"}");
		else
			stand_in_report(w, fd);
		channel_send(w->channel, CHANNEL_STATUS_DONE, payload, sizeof(struct channel_ticket), -1);
	} else if (kind == CHANNEL_FLOW_SOCKET) {
		w->flow_replies += fd >= 0;
		w->flow_refusals += fd < 0;
	} else if (kind == CHANNEL_LOG) {
		w->logs++;
	} else if (kind == CHANNEL_STOP && strcmp(w->word, "no-stop") != 0) {
		channel_close(w->channel);
	}
	if (fd >= 0)
		close(fd);
}

static void stand_in_on_end(void *owner, const char *reason)
{
	(void)owner;
	(void)reason;
}

static int count_interfaces(void)
{
	struct if_nameindex *list = if_nameindex();
	int count = 0;

	for (struct if_nameindex *i = list; i && i->if_index; i++)
		count++;
	if_freenameindex(list);
	return count;
}

/* Variables that are neither the journal's nor a sanitizer's nor Valgrind's. */
static int count_environment(void)
{
	static const char *const fine[] = {"JOURNAL_STREAM=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=",
		"LD_PRELOAD=", "GLIBCPP_FORCE_NEW=", "GLIBCXX_FORCE_NEW=", "VALGRIND_LAUNCHER=", "VALGRIND_LIB="};
	int count = 0;

	for (char **variable = environ; *variable; variable++) {
		bool is_fine = false;

		for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
			is_fine |= strncmp(*variable, fine[i], strlen(fine[i])) == 0;
		count += !is_fine;
	}
	return count;
}

static void stand_in_look(struct stand_in *w, int argc, char **argv)
{
	int descriptors = 0;

	for (int fd = 0; fd < 512; fd++)
		descriptors += fcntl(fd, F_GETFD) >= 0;
	w->seen = json_object();
	json_object_set_new(w->seen, "descriptors", json_integer(descriptors));
	json_object_set_new(w->seen, "environment", json_integer(count_environment()));
	json_object_set_new(w->seen, "interfaces", json_integer(count_interfaces()));
	json_object_set_new(w->seen, "uid", json_integer(getuid()));
	json_object_set_new(w->seen, "arguments", json_integer(argc));
	json_object_set_new(w->seen, "title", json_string(argv[0]));
	json_object_set_new(w->seen, "level", json_string(argc > 2 ? argv[2] : ""));
	json_object_set_new(w->seen, "manner", json_string(argc > 3 ? argv[3] : ""));
}

static void stand_in_receive(struct stand_in *w)
{
	uint8_t payload[CHANNEL_PAYLOAD_MAX];
	enum channel_kind kind;
	int fd;

	do {
		if (channel_receive(CHANNEL_FD, CHANNEL_WORKER, &kind, payload, &fd, PATIENCE_MS) < 0)
			exit(3);
		if (kind == CHANNEL_SETTINGS && read(fd, w->word, WORD_MAX - 1) < 0)
			exit(4);
		w->listeners += kind == CHANNEL_LISTENER;
		if (fd >= 0)
			close(fd);
	} while (kind != CHANNEL_START);
}

static void stand_in_want(struct stand_in *w)
{
	const struct channel_flow right = {.ticket = 1, .client = 1}, wrong = {.ticket = 2, .client = 2};

	channel_send(w->channel, CHANNEL_FLOW_WANTED, &right, sizeof(right), -1);
	channel_send(w->channel, CHANNEL_FLOW_WANTED, &wrong, sizeof(wrong), -1);
}

static int stand_in_main(int argc, char **argv)
{
	static const struct channel_handlers handlers = {stand_in_on_message, stand_in_on_end};
	struct stand_in w = {.word = ""};
	struct err err = {""};

	stand_in_look(&w, argc, argv);
	stand_in_receive(&w);
	if (strcmp(w.word, "die-early") == 0)
		_exit(5);
	sandbox_refuse_io_uring();
	uv_loop_init(&w.loop);
	if (sandbox_enter(SANDBOX_SERVER, &err) < 0 ||
		channel_open(&w.channel, &w.loop, CHANNEL_FD, CHANNEL_WORKER, &handlers, &w, &err) < 0) {
		fprintf(stderr, "%s\n", err.text);
		return 6;
	}
	if (strcmp(w.word, "fail") == 0) {
		channel_send(w.channel, CHANNEL_FAILED, "no way", 6, -1);
		_exit(1);
	}
	channel_send(w.channel, CHANNEL_READY, NULL, 0, -1);
	if (strcmp(w.word, "state") == 0)
		channel_send(w.channel, CHANNEL_STATE, "connecting: \x01 why", 16, -1);
	if (strcmp(w.word, "link") == 0)
		channel_send(w.channel, CHANNEL_STATE, "up", 2, -1);
	if (strcmp(w.word, "breach") == 0)
		send(CHANNEL_FD, "rubbish", 7, MSG_NOSIGNAL);
	stand_in_want(&w);
	uv_run(&w.loop, UV_RUN_DEFAULT);
	uv_loop_close(&w.loop);
	json_decref(w.seen);
	return 0;
}

/* --- the stand-in host: takes its time, does what its device's name says, tells in a file what it was asked --- */

struct host {
	uv_timer_t timer;
	const struct host_setup *setup;
	const struct host_handlers *handlers;
	void *owner;
	bool is_going_down;
};

static void host_tell(const struct host *host, const char *what)
{
	FILE *file = fopen(host->setup->state_dir, "ae");

	fprintf(file, "%s\n", what);
	fclose(file);
}

static bool host_is(const struct host *host, const char *device)
{
	return strcmp(host->setup->device, device) == 0;
}

int host_open(struct host **ret, uv_loop_t *loop, const struct host_setup *setup, const struct host_handlers *handlers,
	void *owner, struct err *err)
{
	struct host *host = calloc(1, sizeof(*host));

	if (strcmp(setup->device, "busy") == 0) {
		free(host);
		return err_set(err, -EBUSY, "undo list is locked");
	}
	*host = (struct host){.setup = setup, .handlers = handlers, .owner = owner};
	uv_timer_init(loop, &host->timer);
	host->timer.data = host;
	*ret = host;
	return 0;
}

static void on_host_timer(uv_timer_t *timer)
{
	struct host *host = timer->data;

	if (host->is_going_down) {
		host_tell(host, "is down");
		host->handlers->on_down(host->owner);
	} else if (host_is(host, "taken")) {
		host->handlers->on_failed(host->owner, "home.conf:4: Address: is taken");
	} else {
		host_tell(host, "is up");
		host->handlers->on_up(host->owner);
	}
}

void host_up(struct host *host)
{
	uv_timer_start(&host->timer, on_host_timer, host_is(host, "slow") ? 10 * HOST_STEP_MS : HOST_STEP_MS, 0);
}

static void on_hands_shaken(uv_timer_t *timer)
{
	struct host *host = timer->data;

	host->handlers->on_handshake(host->owner);
}

int host_read_rules(struct host *host, struct err *err)
{
	(void)host;
	return err_set(err, -ENOTSUP, "no rules here");
}

bool host_is_publishing(const struct host *host)
{
	(void)host;
	return false;
}

void host_link_is_up(struct host *host)
{
	host_tell(host, "hears of the link");
	if (!host_is(host, "mute"))
		uv_timer_start(&host->timer, on_hands_shaken, 1, 0);
}

void host_on_network(struct host *host, unsigned kinds)
{
	(void)kinds;
	host_tell(host, "hears of the network");
}

json_t *host_report(struct host *host, json_t *warnings)
{
	json_array_append_new(warnings, json_string("of the host"));
	return json_pack("{s:s}", "interface", host->setup->device);
}

void host_down(struct host *host)
{
	host_tell(host, host->is_going_down ? "is hurried" : "goes down");
	if (!host_is(host, "stuck") || host->is_going_down)
		uv_timer_start(&host->timer, on_host_timer, HOST_STEP_MS, 0);
	host->is_going_down = true;
}

static void on_host_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void host_close(struct host *host)
{
	if (host)
		uv_close((uv_handle_t *)&host->timer, on_host_closed);
}

int host_clean(const char *state_dir, const char *name, struct err *err)
{
	(void)state_dir;
	(void)name;
	(void)err;
	return 0;
}

/* One change of the network, a while after the start. */
struct netmon {
	uv_timer_t timer;
	void (*on_change)(void *owner, unsigned kinds);
	void *owner;
};

static void on_netmon_timer(uv_timer_t *timer)
{
	struct netmon *netmon = timer->data;

	netmon->on_change(netmon->owner, NETMON_ROUTE);
}

int netmon_open(struct netmon **ret, uv_loop_t *loop, void (*on_change)(void *owner, unsigned kinds), void *owner,
	struct err *err)
{
	struct netmon *netmon = calloc(1, sizeof(*netmon));

	(void)err;
	*netmon = (struct netmon){.on_change = on_change, .owner = owner};
	uv_timer_init(loop, &netmon->timer);
	netmon->timer.data = netmon;
	uv_timer_start(&netmon->timer, on_netmon_timer, 2 * HOST_STEP_MS, 0);
	*ret = netmon;
	return 0;
}

void netmon_close(struct netmon *netmon)
{
	if (netmon)
		uv_close((uv_handle_t *)&netmon->timer, on_host_closed);
}

/* --- the supervisor, in a child --- */

struct program {
	struct supervise *supervise;
	int settings_fd;
	bool storms; /* the first reload meets many SIGHUPs */
	int reloads;
};

static int hand_down(void *owner, struct channel *channel, struct err *err)
{
	const struct channel_index first = {.index = 0}, second = {.index = 1};
	const struct program *program = owner;

	(void)err;
	lseek(program->settings_fd, 0, SEEK_SET);
	channel_send(channel, CHANNEL_SETTINGS, NULL, 0, program->settings_fd);
	channel_send(channel, CHANNEL_LISTENER, &first, sizeof(first), STDERR_FILENO);
	return channel_send(channel, CHANNEL_LISTENER, &second, sizeof(second), STDERR_FILENO);
}

static void on_message(void *owner, struct channel *channel, enum channel_kind kind, const void *payload)
{
	const struct channel_flow *wanted = payload;
	struct channel_reply reply = {.ticket = wanted->ticket, .error = wanted->client == 1 ? 0 : -EINVAL};

	(void)owner;
	(void)kind;
	channel_send(channel, CHANNEL_FLOW_SOCKET, &reply, sizeof(reply), wanted->client == 1 ? STDERR_FILENO : -1);
}

static void on_ready(void *owner)
{
	(void)owner;
}

static int reload_in_storm(struct program *program, struct err *err)
{
	for (int i = 0; program->reloads == 0 && i < 20; i++)
		raise(SIGHUP);
	return err_set(err, -EINVAL, "reload %d", ++program->reloads);
}

/* The second one finds a mistake in the file. */
static int reload(void *owner, struct channel *channel, char *ret_restart, size_t restart_size, struct err *err)
{
	struct program *program = owner;

	if (program->storms)
		return reload_in_storm(program, err);
	if (!channel || program->reloads++ > 0)
		return err_set(err, -EINVAL, "home.conf:7: Mask: is wrong");
	snprintf(ret_restart, restart_size, "MTU");
	return 0;
}

/* Each of the words is a way to run it: its worker, its host's device ("": none), who waits for it. */
struct way {
	const char *word, *device;
	bool flows_when_linked;
	int up_fd;
};

static void supervisor_main(const char *folder, const struct way *way)
{
	static const struct supervise_program program = {
		.hand_down = hand_down, .on_message = on_message, .on_ready = on_ready, .reload = reload};
	struct program own = {
		.settings_fd = memfd_create("settings", MFD_CLOEXEC), .storms = strcmp(way->word, "storm") == 0};
	char events_path[128], log_path[128];
	struct host_setup host = {.name = "home", .state_dir = events_path};
	struct supervise_setup setup = {.name = "home",
		.role = "server",
		.area = "session",
		.worker_title = "stand-in: worker",
		.runtime_dir = folder,
		.ready_state = way->flows_when_linked ? "connecting" : "up: and listening",
		.netns_fd = -1,
		.flows_when_linked = way->flows_when_linked,
		.host = way->device[0] ? &host : NULL,
		.up_fd = way->up_fd};
	struct err err = {""};
	int exit_code;

	snprintf(host.device, sizeof(host.device), "%s", way->device);
	snprintf(events_path, sizeof(events_path), "%s/events", folder);
	snprintf(log_path, sizeof(log_path), "%s/log", folder);
	dup2(open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600), STDERR_FILENO);
	dup2(STDERR_FILENO, STDOUT_FILENO);
	setenv("SECRET", "1", 1);
	log_set_level(LOG_LEVEL_ERROR);
	if (write(own.settings_fd, way->word, strlen(way->word)) < 0)
		_exit(90);
	if (geteuid() == 0)
		setup.netns_fd = spawn_open_lo_namespace(&err);
	exit_code = supervise_run(&setup, &program, &own, &own.supervise);
	close(own.settings_fd);
	if (setup.netns_fd >= 0)
		close(setup.netns_fd);
	exit(exit_code);
}

/* --- watching it --- */

struct fixture {
	char folder[64], path[128], events_path[128], log_path[128];
	pid_t pid;
	char text[4096]; /* of the file read last */
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->folder, sizeof(f->folder), "/tmp/test_supervise.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->path, sizeof(f->path), "%s/home.server", f->folder);
	snprintf(f->events_path, sizeof(f->events_path), "%s/events", f->folder);
	snprintf(f->log_path, sizeof(f->log_path), "%s/log", f->folder);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	if (f->pid > 0) {
		kill(f->pid, SIGKILL);
		waitpid(f->pid, NULL, 0);
	}
	unlink(f->path);
	unlink(f->events_path);
	unlink(f->log_path);
	assert_int_equal(rmdir(f->folder), 0);
	free(f);
	return 0;
}

static void start_way(struct fixture *f, struct way way)
{
	f->pid = fork();
	if (f->pid == 0)
		supervisor_main(f->folder, &way);
	assert_true(f->pid > 0);
}

static void start(struct fixture *f, const char *word)
{
	start_way(f, (struct way){.word = word, .device = "", .up_fd = -1});
}

static void start_with_host(struct fixture *f, const char *word, const char *device)
{
	start_way(f, (struct way){.word = word, .device = device, .up_fd = -1});
}

static const char *read_text(struct fixture *f, const char *path)
{
	FILE *file = fopen(path, "re");
	size_t got = file ? fread(f->text, 1, sizeof(f->text) - 1, file) : 0;

	f->text[got] = '\0';
	if (file)
		fclose(file);
	return f->text;
}

static json_t *ask_for(const struct fixture *f, const char *word)
{
	struct err err = {""};
	json_t *object;
	char *text;

	if (control_ask(f->path, word, &text, &err) < 0)
		return NULL;
	object = json_loads(text, 0, NULL);
	free(text);
	return object;
}

static json_t *ask(const struct fixture *f)
{
	return ask_for(f, "status");
}

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

static int number_of(const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);

	return json_is_integer(value) ? (int)json_integer_value(value) : -1;
}

/* Never -1: kill(-1) signals every process. */
static int worker_of(const json_t *status)
{
	int pid = number_of(status, "worker_pid");

	assert_true(pid > 1);
	return pid;
}

/* Ask until the state is @state, and at least @restarts workers have died. The caller drops the answer. */
static json_t *await(const struct fixture *f, const char *state, int restarts)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	while (now_ms() < until_ms) {
		json_t *object = ask(f);

		if (object && strcmp(text_of(object, "state"), state) == 0 &&
			number_of(object, "worker_restarts") >= restarts)
			return object;
		json_decref(object);
		usleep(5000);
	}
	fail_msg("never %s", state);
	return NULL;
}

static int await_exit(struct fixture *f)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	int status;

	while (now_ms() < until_ms) {
		if (waitpid(f->pid, &status, WNOHANG) == f->pid) {
			f->pid = 0;
			return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
		}
		usleep(2000);
	}
	fail_msg("it does not end");
	return -1;
}

static bool await_gone(pid_t pid)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	while (now_ms() < until_ms) {
		if (kill(pid, 0) < 0 && errno == ESRCH)
			return true;
		usleep(2000);
	}
	return false;
}

/* --- the claims --- */

static void status_merges_both_halves(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start(f, "serve");
	status = await(f, "up", 0);
	assert_string_equal(text_of(status, "name"), "home");
	assert_string_equal(text_of(status, "role"), "server");
	assert_int_equal(number_of(status, "pid"), f->pid);
	assert_string_equal(text_of(status, "word"), "serve");
	assert_int_equal(number_of(status, "listeners"), 2);
	json_decref(status);
}

static void wanted_socket_comes_or_is_refused(void **state)
{
	struct fixture *f = *state;
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	json_t *status;

	start(f, "serve");
	status = await(f, "up", 0);
	while (number_of(status, "flow_replies") + number_of(status, "flow_refusals") < 2 && now_ms() < until_ms) {
		json_decref(status);
		usleep(5000);
		status = await(f, "up", 0);
	}
	assert_int_equal(number_of(status, "flow_replies"), 1);
	assert_int_equal(number_of(status, "flow_refusals"), 1);
	json_decref(status);
}

static void worker_inherits_nothing(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start(f, "serve");
	status = await(f, "up", 0);
	assert_int_equal(number_of(status, "descriptors"), 4);
	assert_int_equal(number_of(status, "environment"), 0);
	assert_int_equal(number_of(status, "arguments"), 4);
	assert_string_equal(text_of(status, "level"), "3");
	assert_string_equal(text_of(status, "manner"), "plain");
	json_decref(status);
}

static void worker_has_own_user_and_only_lo(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	if (geteuid() != 0)
		skip();
	start(f, "serve");
	status = await(f, "up", 0);
	assert_int_not_equal(number_of(status, "uid"), 0);
	assert_int_equal(number_of(status, "interfaces"), 1);
	json_decref(status);
}

/* A killed worker is another one soon, with everything handed down again. */
static void killed_worker_is_started_again(void **state)
{
	struct fixture *f = *state;
	json_t *status;
	int first;

	start(f, "serve");
	status = await(f, "up", 0);
	first = worker_of(status);
	json_decref(status);
	assert_return_code(kill(first, SIGKILL), errno);
	status = await(f, "up", 1);
	assert_int_not_equal(number_of(status, "worker_pid"), first);
	assert_string_equal(text_of(status, "word"), "serve");
	assert_int_equal(number_of(status, "listeners"), 2);
	json_decref(status);
}

/* Ctrl-C reaches the whole group; the worker leaves the end to its supervisor. */
static void worker_ignores_signals_of_the_group(void **state)
{
	struct fixture *f = *state;
	json_t *status;
	int worker;

	start(f, "serve");
	status = await(f, "up", 0);
	worker = worker_of(status);
	json_decref(status);
	kill(worker, SIGINT);
	kill(worker, SIGTERM);
	kill(worker, SIGHUP);
	usleep(50000);
	status = await(f, "up", 0);
	assert_int_equal(number_of(status, "worker_pid"), worker);
	json_decref(status);
}

static void breach_of_the_channel_kills_the_worker(void **state)
{
	struct fixture *f = *state;
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	int restarts = 0;

	start(f, "breach");
	while (restarts < 2 && now_ms() < until_ms) {
		json_t *status = ask(f);

		restarts = number_of(status, "worker_restarts");
		json_decref(status);
		usleep(5000);
	}
	assert_true(restarts >= 2);
}

static void stop_is_orderly(void **state)
{
	struct fixture *f = *state;
	json_t *status;
	int worker;

	start(f, "serve");
	status = await(f, "up", 0);
	worker = worker_of(status);
	json_decref(status);
	kill(f->pid, SIGTERM);
	assert_int_equal(await_exit(f), 0);
	assert_true(await_gone(worker));
	assert_int_equal(access(f->path, F_OK), -1);
}

static void worker_that_does_not_stop_is_killed(void **state)
{
	struct fixture *f = *state;

	start(f, "no-stop");
	json_decref(await(f, "up", 0));
	kill(f->pid, SIGINT);
	assert_int_equal(await_exit(f), 0);
}

/* The channel's end is the worker's end. */
static void worker_ends_with_its_supervisor(void **state)
{
	struct fixture *f = *state;
	json_t *status;
	int worker;

	start(f, "serve");
	status = await(f, "up", 0);
	worker = worker_of(status);
	json_decref(status);
	kill(f->pid, SIGKILL);
	assert_int_equal(await_exit(f), -SIGKILL);
	assert_true(await_gone(worker));
}

static void failed_set_up_ends_with_1(void **state)
{
	struct fixture *f = *state;

	start(f, "fail");
	assert_int_equal(await_exit(f), 1);
}

static void worker_that_never_gets_ready_ends_with_1(void **state)
{
	struct fixture *f = *state;

	start(f, "die-early");
	assert_int_equal(await_exit(f), 1);
}

static void second_start_ends_with_1(void **state)
{
	struct fixture *f = *state;
	struct fixture second = *f;

	start(f, "serve");
	json_decref(await(f, "up", 0));
	start(&second, "serve");
	assert_int_equal(await_exit(&second), 1);
	json_decref(await(f, "up", 0));
}

static void silent_worker_still_has_a_state(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start(f, "no-status");
	status = await(f, "up", 0);
	assert_null(json_object_get(status, "word"));
	json_decref(status);
}

static void broken_status_is_left_out(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start(f, "bad-status");
	status = await(f, "up", 0);
	assert_null(json_object_get(status, "a"));
	json_decref(status);
}

/* The state is the worker's text up to the colon. */
/* Nothing of it steers the terminal that it is shown on; what is harmless stays. */
static void rude_status_is_quoted(void **state)
{
	struct fixture *f = *state;
	json_t *status;
	char *text;

	start(f, "rude-status");
	status = await(f, "up", 0);
	text = json_dumps(status, 0);
	assert_null(strstr(text, "\\u001b"));
	assert_null(strstr(text, "\\n"));
	assert_null(strstr(text, "\xc2\x9b"));
	assert_non_null(strstr(text, "[31m"));
	assert_string_equal(text_of(status, "d"), "gr\u00fcn");
	free(text);
	json_decref(status);
}

static void worker_says_its_state(void **state)
{
	struct fixture *f = *state;

	start(f, "state");
	json_decref(await(f, "connecting", 0));
}

/* --- with a host --- */

/* systemd hears of it, and status says "up", when both are. */
static void ready_when_worker_and_host_are(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start_with_host(f, "serve", "slow");
	status = await(f, "starting", 0);
	assert_null(json_object_get(status, "wireguard"));
	json_decref(status);
	status = await(f, "up", 0);
	assert_string_equal(text_of(json_object_get(status, "wireguard"), "interface"), "slow");
	assert_string_equal(json_string_value(json_array_get(json_object_get(status, "warnings"), 0)), "of the host");
	assert_non_null(strstr(read_text(f, f->events_path), "is up\n"));
	json_decref(status);
}

/* PreDown hooks may use the tunnel. */
static void worker_outlives_the_host(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start_with_host(f, "serve", "home");
	json_decref(await(f, "up", 0));
	kill(f->pid, SIGTERM);
	status = await(f, "stopping", 0);
	assert_string_equal(text_of(status, "word"), "serve");
	json_decref(status);
	assert_int_equal(await_exit(f), 0);
	assert_non_null(strstr(read_text(f, f->events_path), "goes down\nis down\n"));
}

/* Nothing is left changed, and the last line says what helps. */
static void host_that_fails_ends_it_with_1(void **state)
{
	struct fixture *f = *state;

	start_with_host(f, "serve", "taken");
	assert_int_equal(await_exit(f), 1);
	assert_string_equal(read_text(f, f->log_path), "config: home.conf:4: Address: is taken\n");
	assert_string_equal(read_text(f, f->events_path), "");
}

static void host_that_is_busy_is_not_brought_up(void **state)
{
	struct fixture *f = *state;

	start_with_host(f, "serve", "busy");
	assert_int_equal(await_exit(f), 1);
	assert_string_equal(read_text(f, f->events_path), "");
}

static void worker_that_fails_takes_the_host_down_first(void **state)
{
	struct fixture *f = *state;

	start_with_host(f, "fail", "home");
	assert_int_equal(await_exit(f), 1);
	assert_non_null(strstr(read_text(f, f->events_path), "goes down\nis down\n"));
	assert_string_equal(read_text(f, f->log_path), "session: no way\n");
}

/* A second signal kills the hook that runs; one that comes together with the first counts as the first. */
static void second_signal_hurries_the_host(void **state)
{
	struct fixture *f = *state;
	uint64_t began_ms;
	bool is_at_once;

	start_with_host(f, "no-stop", "stuck");
	json_decref(await(f, "up", 0));
	began_ms = now_ms();
	kill(f->pid, SIGTERM);
	json_decref(await(f, "stopping", 0));
	kill(f->pid, SIGTERM);
	is_at_once = now_ms() - began_ms < 200; /* on a machine that is busy it may not be */
	usleep(400000);
	assert_true(!is_at_once || !strstr(read_text(f, f->events_path), "is hurried"));
	kill(f->pid, SIGTERM);
	assert_int_equal(await_exit(f), 0);
	assert_non_null(strstr(read_text(f, f->events_path), "goes down\nis hurried\nis down\n"));
}

/* It is in f->text then, or patience has ended. */
static void await_event(struct fixture *f, const char *event)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	while (!strstr(read_text(f, f->events_path), event) && now_ms() < until_ms)
		usleep(5000);
}

static void host_hears_of_the_network(void **state)
{
	struct fixture *f = *state;

	start_with_host(f, "serve", "home");
	await_event(f, "hears of the network");
	assert_string_equal(f->text, "is up\nhears of the network\n");
}

/* A host that came up later than the link hears of it all the same, and a worker's death does not touch it. */
static int count_events(struct fixture *f, const char *event)
{
	int count = 0;

	for (const char *at = read_text(f, f->events_path); (at = strstr(at, event)); at += strlen(event))
		count++;
	return count;
}

static void host_hears_of_each_link(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start_way(f, (struct way){.word = "link", .device = "home", .flows_when_linked = true, .up_fd = -1});
	status = await(f, "up", 0);
	kill(worker_of(status), SIGKILL);
	json_decref(status);
	json_decref(await(f, "up", 1));
	await_event(f, "hears of the network");
	assert_int_equal(count_events(f, "hears of the link\n"), 2);
	assert_ptr_equal(strstr(f->text, "is up\n"), f->text);
}

/* Is an `up` that waits told that traffic flows? */
static bool hears_of_traffic(struct fixture *f, const char *word, const char *device, int patience_ms)
{
	struct pollfd waiting = {.events = POLLIN};
	int flows[2];

	assert_return_code(pipe2(flows, O_CLOEXEC), errno);
	start_way(f, (struct way){.word = word, .device = device, .flows_when_linked = true, .up_fd = flows[1]});
	close(flows[1]);
	waiting.fd = flows[0];
	json_decref(await(f, strcmp(word, "state") == 0 ? "connecting" : "up", 0));
	poll(&waiting, 1, patience_ms);
	close(flows[0]);
	return (waiting.revents & POLLIN) != 0;
}

static void flows_when_linked_and_hands_are_shaken(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	assert_true(hears_of_traffic(f, "link", "home", PATIENCE_MS));
	status = await(f, "up", 0);
	assert_int_equal(number_of(status, "logs"), 1);
	json_decref(status);
}

static void flows_when_linked_without_a_device(void **state)
{
	assert_true(hears_of_traffic(*state, "link", "", PATIENCE_MS));
}

static void does_not_flow_without_a_handshake(void **state)
{
	assert_false(hears_of_traffic(*state, "link", "mute", 4 * HOST_STEP_MS));
}

static void does_not_flow_without_a_link(void **state)
{
	assert_false(hears_of_traffic(*state, "state", "home", 4 * HOST_STEP_MS));
}

/* --- reload, stop --- */

static void reload_says_what_needs_a_restart(void **state)
{
	struct fixture *f = *state;
	json_t *answer;

	start(f, "serve");
	json_decref(await(f, "up", 0));
	answer = ask_for(f, "reload");
	assert_string_equal(text_of(answer, "restart"), "MTU");
	assert_string_equal(text_of(answer, "error"), "");
	json_decref(answer);
	answer = ask_for(f, "reload");
	assert_string_equal(text_of(answer, "error"), "home.conf:7: Mask: is wrong");
	json_decref(answer);
}

/* SIGHUP is a reload whose answer goes to the log. */
static void sighup_reloads(void **state)
{
	struct fixture *f = *state;
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	start(f, "serve");
	json_decref(await(f, "up", 0));
	json_decref(ask_for(f, "reload"));
	kill(f->pid, SIGHUP);
	while (!strstr(read_text(f, f->log_path), "home.conf:7: Mask: is wrong") && now_ms() < until_ms)
		usleep(5000);
	assert_non_null(
		strstr(f->text, "config: not reloaded, everything stays as it was: home.conf:7: Mask: is wrong"));
}

/* SIGHUPs that come while it reloads are one more reload, and not one for each. */
static void storm_of_sighups_is_one_more_reload(void **state)
{
	struct fixture *f = *state;
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	json_t *answer;

	start(f, "storm");
	json_decref(await(f, "up", 0));
	kill(f->pid, SIGHUP);
	while (!strstr(read_text(f, f->log_path), "reload 2") && now_ms() < until_ms)
		usleep(5000);
	answer = ask_for(f, "reload");
	assert_string_equal(text_of(answer, "error"), "reload 3");
	json_decref(answer);
}

static void stop_by_control_socket(void **state)
{
	struct fixture *f = *state;

	start_with_host(f, "serve", "home");
	json_decref(await(f, "up", 0));
	json_decref(ask_for(f, "stop"));
	assert_int_equal(await_exit(f), 0);
	assert_non_null(strstr(read_text(f, f->events_path), "goes down\nis down\n"));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(status_merges_both_halves),
		TEST(wanted_socket_comes_or_is_refused),
		TEST(worker_inherits_nothing),
		TEST(worker_has_own_user_and_only_lo),
		TEST(killed_worker_is_started_again),
		TEST(worker_ignores_signals_of_the_group),
		TEST(breach_of_the_channel_kills_the_worker),
		TEST(stop_is_orderly),
		TEST(worker_that_does_not_stop_is_killed),
		TEST(worker_ends_with_its_supervisor),
		TEST(failed_set_up_ends_with_1),
		TEST(worker_that_never_gets_ready_ends_with_1),
		TEST(second_start_ends_with_1),
		TEST(silent_worker_still_has_a_state),
		TEST(broken_status_is_left_out),
		TEST(rude_status_is_quoted),
		TEST(worker_says_its_state),
		TEST(ready_when_worker_and_host_are),
		TEST(worker_outlives_the_host),
		TEST(host_that_fails_ends_it_with_1),
		TEST(host_that_is_busy_is_not_brought_up),
		TEST(worker_that_fails_takes_the_host_down_first),
		TEST(second_signal_hurries_the_host),
		TEST(host_hears_of_the_network),
		TEST(host_hears_of_each_link),
		TEST(flows_when_linked_and_hands_are_shaken),
		TEST(flows_when_linked_without_a_device),
		TEST(does_not_flow_without_a_handshake),
		TEST(does_not_flow_without_a_link),
		TEST(reload_says_what_needs_a_restart),
		TEST(sighup_reloads),
		TEST(storm_of_sighups_is_one_more_reload),
		TEST(stop_by_control_socket),
	};

	if (argc > 1 && strcmp(argv[1], SPAWN_WORKER_ARGUMENT) == 0)
		return stand_in_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
