/* Supervisor and worker as two processes: start, status, death, stop.
 *
 * The supervisor under test runs in a child of this program; its worker is this program again (spawn runs
 * /proc/self/exe), a stand-in that does what the settings say in one word. The test watches through the control socket,
 * as an operator would. Needs no privilege; with root the worker also changes user and namespace.
 */
#include "common/base/log.h"
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

/* --- the stand-in worker --- */

struct stand_in {
	uv_loop_t loop;
	struct channel *channel;
	char word[WORD_MAX]; /* the settings */
	int listeners, flow_replies, flow_refusals;
	json_t *seen; /* what the process looked like before the sandbox */
};

static void stand_in_report(struct stand_in *w, int fd)
{
	char *text;

	json_object_set_new(w->seen, "word", json_string(w->word));
	json_object_set_new(w->seen, "listeners", json_integer(w->listeners));
	json_object_set_new(w->seen, "flow_replies", json_integer(w->flow_replies));
	json_object_set_new(w->seen, "flow_refusals", json_integer(w->flow_refusals));
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
		else
			stand_in_report(w, fd);
		channel_send(w->channel, CHANNEL_STATUS_DONE, payload, sizeof(struct channel_ticket), -1);
	} else if (kind == CHANNEL_FLOW_SOCKET) {
		w->flow_replies += fd >= 0;
		w->flow_refusals += fd < 0;
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
	if (strcmp(w.word, "breach") == 0)
		send(CHANNEL_FD, "rubbish", 7, MSG_NOSIGNAL);
	stand_in_want(&w);
	uv_run(&w.loop, UV_RUN_DEFAULT);
	uv_loop_close(&w.loop);
	json_decref(w.seen);
	return 0;
}

/* --- the supervisor, in a child --- */

struct program {
	struct supervise *supervise;
	int settings_fd;
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

static void supervisor_main(const char *folder, const char *word)
{
	static const struct supervise_program program = {
		.hand_down = hand_down, .on_message = on_message, .on_ready = on_ready};
	struct program own = {.settings_fd = memfd_create("settings", MFD_CLOEXEC)};
	struct supervise_plan plan = {.name = "home",
		.role = "server",
		.area = "session",
		.worker_title = "stand-in: worker",
		.runtime_dir = folder,
		.ready_state = "up: and listening",
		.netns_fd = -1,
		.up_fd = -1};
	struct err err = {""};
	int exit_code;

	setenv("SECRET", "1", 1);
	log_set_level(LOG_LEVEL_ERROR);
	if (write(own.settings_fd, word, strlen(word)) < 0)
		_exit(90);
	if (geteuid() == 0)
		plan.netns_fd = spawn_open_lo_namespace(&err);
	exit_code = supervise_run(&plan, &program, &own, &own.supervise);
	close(own.settings_fd);
	if (plan.netns_fd >= 0)
		close(plan.netns_fd);
	exit(exit_code);
}

/* --- watching it --- */

struct fixture {
	char folder[64], path[128];
	pid_t pid;
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
	rmdir(f->folder);
	free(f);
	return 0;
}

static void start(struct fixture *f, const char *word)
{
	f->pid = fork();
	if (f->pid == 0)
		supervisor_main(f->folder, word);
	assert_true(f->pid > 0);
}

static json_t *ask(const struct fixture *f)
{
	struct err err = {""};
	json_t *object;
	char *text;

	if (control_ask(f->path, "status", &text, &err) < 0)
		return NULL;
	object = json_loads(text, 0, NULL);
	free(text);
	return object;
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

/* Never -1: a signal to that is one to everybody. */
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

static void test_status_merges_both_halves(void **state)
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

static void test_wanted_socket_comes_or_is_refused(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start(f, "serve");
	json_decref(await(f, "up", 0));
	usleep(50000);
	status = await(f, "up", 0);
	assert_int_equal(number_of(status, "flow_replies"), 1);
	assert_int_equal(number_of(status, "flow_refusals"), 1);
	json_decref(status);
}

static void test_worker_inherits_nothing(void **state)
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

static void test_worker_has_own_user_and_only_lo(void **state)
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
static void test_killed_worker_is_started_again(void **state)
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
static void test_worker_ignores_signals_of_the_group(void **state)
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

static void test_breach_of_the_channel_kills_the_worker(void **state)
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

static void test_stop_is_orderly(void **state)
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

static void test_worker_that_does_not_stop_is_killed(void **state)
{
	struct fixture *f = *state;

	start(f, "no-stop");
	json_decref(await(f, "up", 0));
	kill(f->pid, SIGINT);
	assert_int_equal(await_exit(f), 0);
}

/* The channel's end is the worker's end. */
static void test_worker_ends_with_its_supervisor(void **state)
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

static void test_failed_set_up_ends_with_1(void **state)
{
	struct fixture *f = *state;

	start(f, "fail");
	assert_int_equal(await_exit(f), 1);
}

static void test_worker_that_never_gets_ready_ends_with_1(void **state)
{
	struct fixture *f = *state;

	start(f, "die-early");
	assert_int_equal(await_exit(f), 1);
}

static void test_second_start_ends_with_1(void **state)
{
	struct fixture *f = *state;
	struct fixture second = *f;

	start(f, "serve");
	json_decref(await(f, "up", 0));
	start(&second, "serve");
	assert_int_equal(await_exit(&second), 1);
	json_decref(await(f, "up", 0));
}

static void test_silent_worker_still_has_a_state(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start(f, "no-status");
	status = await(f, "up", 0);
	assert_null(json_object_get(status, "word"));
	json_decref(status);
}

static void test_broken_status_is_left_out(void **state)
{
	struct fixture *f = *state;
	json_t *status;

	start(f, "bad-status");
	status = await(f, "up", 0);
	assert_null(json_object_get(status, "a"));
	json_decref(status);
}

/* The state is the worker's text up to the colon. */
static void test_worker_says_its_state(void **state)
{
	struct fixture *f = *state;

	start(f, "state");
	json_decref(await(f, "connecting", 0));
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(int argc, char **argv)
{
	static const struct CMUnitTest tests[] = {
		TEST(test_status_merges_both_halves),
		TEST(test_wanted_socket_comes_or_is_refused),
		TEST(test_worker_inherits_nothing),
		TEST(test_worker_has_own_user_and_only_lo),
		TEST(test_killed_worker_is_started_again),
		TEST(test_worker_ignores_signals_of_the_group),
		TEST(test_breach_of_the_channel_kills_the_worker),
		TEST(test_stop_is_orderly),
		TEST(test_worker_that_does_not_stop_is_killed),
		TEST(test_worker_ends_with_its_supervisor),
		TEST(test_failed_set_up_ends_with_1),
		TEST(test_worker_that_never_gets_ready_ends_with_1),
		TEST(test_second_start_ends_with_1),
		TEST(test_silent_worker_still_has_a_state),
		TEST(test_broken_status_is_left_out),
		TEST(test_worker_says_its_state),
	};

	if (argc > 1 && strcmp(argv[1], SPAWN_WORKER_ARGUMENT) == 0)
		return stand_in_main(argc, argv);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
