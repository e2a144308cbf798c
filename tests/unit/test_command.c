/* Programs beside the loop: their input, their output, their end. */
#include "common/net/command.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define LINES_MAX 8
#define PATIENCE_MS 20000 /* Valgrind and a busy machine */

static uv_loop_t loop;

struct seen {
	struct command *command;
	char lines[LINES_MAX][64];
	size_t line_count, exits;
	bool closes_on_line;
	int status;
	size_t output_len;
	char output[256];
};

static void on_line(void *owner, const char *line)
{
	struct seen *seen = owner;

	if (seen->line_count < LINES_MAX)
		snprintf(seen->lines[seen->line_count], sizeof(seen->lines[0]), "%.63s", line);
	seen->line_count++;
	if (seen->closes_on_line)
		command_close(seen->command);
}

static void on_exit_of_it(void *owner, int status, const char *output)
{
	struct seen *seen = owner;

	seen->exits++;
	seen->status = status;
	seen->output_len = strlen(output);
	snprintf(seen->output, sizeof(seen->output), "%.255s", output);
}

static int set_up(void **state)
{
	(void)state;
	return uv_loop_init(&loop);
}

/* Nothing of it is left: no handle, no child. */
static int tear_down(void **state)
{
	(void)state;
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
	assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
	assert_int_equal(errno, ECHILD);
	return 0;
}

static void start(struct seen *seen, const char *script, const char *input, uint64_t timeout_ms)
{
	const char *const argv[] = {"sh", "-c", script, NULL};
	struct command_setup plan = {.argv = argv,
		.input = input,
		.input_len = input ? strlen(input) : 0,
		.timeout_ms = timeout_ms,
		.on_line = on_line,
		.on_exit = on_exit_of_it,
		.owner = seen};
	struct err err = {""};

	assert_int_equal(command_start(&seen->command, &loop, &plan, &err), 0);
	assert_int_equal(seen->exits, 0);
}

/* One that waits for init to reap it is dead too. */
static bool is_alive(pid_t pid)
{
	char path[64], state = 'Z';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'Z';
	fclose(file);
	return state != 'Z';
}

static bool dies(pid_t pid)
{
	for (int i = 0; i < PATIENCE_MS / 10 && is_alive(pid); i++)
		usleep(10000);
	return !is_alive(pid);
}

static struct seen run(const char *script, const char *input)
{
	struct seen seen = {0};

	start(&seen, script, input, PATIENCE_MS);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.exits, 1);
	return seen;
}

static void output_and_errors_come_together_in_order(void **state)
{
	struct seen seen = run("echo one; echo two >&2; printf three; exit 3", NULL);

	(void)state;
	assert_int_equal(seen.status, 3);
	assert_string_equal(seen.output, "one\ntwo\nthree");
	assert_int_equal(seen.line_count, 3);
	assert_string_equal(seen.lines[1], "two");
	assert_string_equal(seen.lines[2], "three");
}

static void it_reads_the_input_and_its_end(void **state)
{
	struct seen seen = run("cat; echo end", "table inet x {}\n");

	(void)state;
	assert_string_equal(seen.output, "table inet x {}\nend\n");
}

static void without_input_there_is_nothing_to_read(void **state)
{
	struct seen seen = run("cat; echo end", NULL);

	(void)state;
	assert_string_equal(seen.output, "end\n");
}

/* More than any pipe holds, and the program does not read it. */
static void input_that_is_not_read_harms_nobody(void **state)
{
	size_t len = 1u << 20;
	char *text = malloc(len + 1);
	struct seen seen;

	(void)state;
	assert_non_null(text);
	memset(text, 'x', len);
	text[len] = '\0';
	seen = run("exit 0", text);
	assert_int_equal(seen.status, 0);
	free(text);
}

static void output_beyond_the_limit_is_read_and_forgotten(void **state)
{
	struct seen seen = run("head -c 9000000 /dev/zero | tr '\\0' x | fold -w 1000 >&2; exit 4", NULL);

	(void)state;
	assert_int_equal(seen.status, 4);
	assert_int_equal(seen.output_len, COMMAND_OUTPUT_MAX);
	assert_int_equal(seen.line_count, 9000);
}

static void a_signal_is_128_more(void **state)
{
	struct seen seen = run("kill -TERM $$", NULL);

	(void)state;
	assert_int_equal(seen.status, 128 + SIGTERM);
}

static void the_time_limit_kills_the_whole_group(void **state)
{
	struct seen seen = {0};

	(void)state;
	start(&seen, "sleep 1000 & echo $!; sleep 1000", NULL, 300);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.status, -ETIMEDOUT);
	assert_true(atoi(seen.lines[0]) > 1);
	assert_true(dies(atoi(seen.lines[0])));
}

/* PostUp = daemon & */
static void who_stays_in_the_background_holds_nothing_up(void **state)
{
	struct seen seen = {0};
	uint64_t before_ms = uv_hrtime() / 1000000;
	int daemon_pid;

	(void)state;
	start(&seen, "sleep 30 & echo $!", NULL, 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.status, 0);
	assert_true(uv_hrtime() / 1000000 - before_ms < PATIENCE_MS);
	daemon_pid = atoi(seen.output);
	assert_true(daemon_pid > 1);
	assert_true(is_alive(daemon_pid));
	kill(daemon_pid, SIGKILL);
}

/* PostUp = daemon &, and the daemon has something to say later on. */
static void who_stays_in_the_background_is_heard(void **state)
{
	char folder[] = "/tmp/test_command.XXXXXX", fifo[64], word[] = "go\n";
	struct command_tails tails = {NULL};
	struct seen seen = {0};
	const char *const argv[] = {"sh", "-c", "(read -r word <$0; echo later; echo last) & echo $!", fifo, NULL};
	struct command_setup plan = {
		.argv = argv, .on_line = on_line, .tails = &tails, .on_exit = on_exit_of_it, .owner = &seen};
	struct err err = {""};
	int fd;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(fifo, sizeof(fifo), "%s/fifo", folder);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(command_start(&seen.command, &loop, &plan, &err), 0);
	while (seen.exits == 0)
		uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(seen.line_count, 1);
	assert_non_null(tails.first);
	fd = open(fifo, O_WRONLY | O_CLOEXEC);
	assert_int_equal(write(fd, word, strlen(word)), strlen(word));
	close(fd);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.line_count, 3);
	assert_string_equal(seen.lines[1], "later");
	assert_string_equal(seen.lines[2], "last");
	assert_int_equal(seen.exits, 1);
	assert_null(tails.first);
	unlink(fifo);
	rmdir(folder);
}

static void who_speaks_without_end_may_be_left_alone(void **state)
{
	const char *const argv[] = {"sh", "-c", "yes & echo $!", NULL};
	struct command_tails tails = {NULL};
	struct seen seen = {0};
	struct command_setup plan = {
		.argv = argv, .on_line = on_line, .tails = &tails, .on_exit = on_exit_of_it, .owner = &seen};
	struct err err = {""};

	(void)state;
	assert_int_equal(command_start(&seen.command, &loop, &plan, &err), 0);
	while (seen.exits == 0 || seen.line_count < 1000)
		uv_run(&loop, UV_RUN_ONCE);
	assert_non_null(tails.first);
	command_tails_close(&tails);
	assert_null(tails.first);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.exits, 1);
}

static void a_killed_one_still_tells_its_end(void **state)
{
	struct seen seen = {0};

	(void)state;
	start(&seen, "sleep 1000 | sleep 1000", NULL, 0);
	command_kill(seen.command);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.exits, 1);
	assert_int_equal(seen.status, 128 + SIGKILL);
}

static void a_closed_one_says_nothing_more(void **state)
{
	struct seen seen = {0};

	(void)state;
	start(&seen, "echo a; sleep 1000", NULL, 0);
	command_close(seen.command);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.exits, 0);
	assert_int_equal(seen.line_count, 0);
}

static void it_may_be_closed_upon_a_line(void **state)
{
	struct seen seen = {.closes_on_line = true};

	(void)state;
	start(&seen, "echo a; echo b; sleep 1000", NULL, 0);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.line_count, 1);
	assert_int_equal(seen.exits, 0);
}

static void an_unknown_program_is_told_at_once(void **state)
{
	const char *const argv[] = {"no-such-program", NULL};
	struct command_setup plan = {.argv = argv, .on_exit = on_exit_of_it};
	struct command *command;
	struct err err = {""};

	(void)state;
	assert_false(command_exists("no-such-program"));
	assert_true(command_exists("sh"));
	assert_int_equal(command_start(&command, &loop, &plan, &err), -ENOENT);
	assert_string_equal(err.text, "no-such-program: there is no such program");
}

/* systemd would take a hook's words for ours, and a hook's user could read the token. */
static void the_environment_lacks_what_is_ours(void **state)
{
	struct seen seen;

	(void)state;
	setenv("NOTIFY_SOCKET", "x", 1);
	setenv("WATCHDOG_USEC", "x", 1);
	setenv("WATCHDOG_PID", "x", 1);
	setenv("JOURNAL_STREAM", "x", 1);
	setenv("TOWPATH_TOKEN", "x", 1);
	setenv("KEPT", "kept", 1);
	seen = run("echo $KEPT $NOTIFY_SOCKET $WATCHDOG_USEC $WATCHDOG_PID $JOURNAL_STREAM $TOWPATH_TOKEN", NULL);
	assert_string_equal(seen.output, "kept\n");
}

static void sbin_is_found_without_a_path(void **state)
{
	char *path = strdup(getenv("PATH"));
	struct seen seen;

	(void)state;
	setenv("PATH", "/nowhere", 1);
	assert_true(command_exists("ip"));
	seen = run("echo $PATH", NULL);
	setenv("PATH", path, 1);
	assert_string_equal(seen.output, "/nowhere:/usr/sbin:/usr/bin:/sbin:/bin\n");
	free(path);
}

/* The supervisor reaps its worker itself, upon a SIGCHLD watched beside libuv's own. */
static void reap_other(uv_signal_t *watch, int number)
{
	pid_t *other = watch->data;
	int status;

	(void)number;
	if (*other > 0 && waitpid(*other, &status, WNOHANG) == *other) {
		*other = 0;
		uv_close((uv_handle_t *)watch, NULL);
	}
}

static void a_child_of_somebody_else_is_left_to_him(void **state)
{
	struct seen seen = {0};
	uv_signal_t watch;
	pid_t other;

	(void)state;
	uv_signal_init(&loop, &watch);
	watch.data = &other;
	uv_signal_start(&watch, reap_other, SIGCHLD);
	other = fork();
	if (other == 0) {
		usleep(100000);
		_exit(0);
	}
	start(&seen, "exit 5", NULL, PATIENCE_MS);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(seen.status, 5);
	assert_int_equal(other, 0);
}

/* A hook must not outlive a supervisor that was killed. */
static void it_dies_with_us(void **state)
{
	const char *const argv[] = {"sleep", "1000", NULL};
	struct command_setup plan = {.argv = argv, .on_exit = on_exit_of_it};
	struct command *command;
	int pids[2], status;
	pid_t parent, child = 0;
	char text[64], *end;

	(void)state;
	if (!command_exists("setpriv"))
		skip();
	assert_int_equal(pipe(pids), 0);
	parent = fork();
	if (parent == 0) {
		uv_loop_t own;
		FILE *children;

		uv_loop_init(&own);
		if (command_start(&command, &own, &plan, NULL) < 0)
			_exit(1);
		usleep(200000); /* setpriv has become sleep */
		snprintf(text, sizeof(text), "/proc/self/task/%d/children", getpid());
		children = fopen(text, "r");
		if (children && fgets(text, sizeof(text), children))
			child = (pid_t)strtol(text, &end, 10);
		(void)!write(pids[1], &child, sizeof(child));
		raise(SIGKILL);
	}
	assert_int_equal(read(pids[0], &child, sizeof(child)), sizeof(child));
	assert_true(child > 1);
	assert_int_equal(waitpid(parent, &status, 0), parent);
	assert_true(dies(child));
	close(pids[0]);
	close(pids[1]);
}

/* An operator is told the program's output, or else how it ended. An error of ours is not told as an exit code. */
static void failure_is_told_in_words(void **state)
{
	char text[COMMAND_WHY_MAX];

	(void)state;
	assert_string_equal(command_why(text, sizeof(text), 1, "no\n"), "no");
	assert_string_equal(
		command_why(text, sizeof(text), 1, "signature mismatch\n\n  run `resolvconf -u` to update  \r\n"),
		"signature mismatch; run `resolvconf -u` to update");
	assert_string_equal(command_why(text, sizeof(text), 1, "\nadd rule x\n    ^^^^\nError\tat\033[0m"),
		"add rule x; Error\\x09at\\x1b[0m");
	assert_string_equal(command_why(text, sizeof(text), 2, "\n \n"), "exit code 2");
	assert_string_equal(command_why(text, sizeof(text), 3, ""), "exit code 3");
	assert_string_equal(command_why(text, sizeof(text), 128 + SIGKILL, ""), "killed by signal 9");
	assert_string_equal(command_why(text, sizeof(text), 255, ""), "exit code 255");
	assert_string_equal(command_why(text, sizeof(text), -ETIMEDOUT, "half a word\n"),
		"took too long, and was killed: half a word");
	assert_string_equal(command_why(text, sizeof(text), -ETIMEDOUT, ""), "took too long, and was killed");
	assert_string_equal(command_why(text, sizeof(text), -ENOENT, ""), "No such file or directory");
}

/* A program that says too much does not hide that there was more, and nothing is written behind the buffer. */
static void failure_with_too_many_words_is_cut(void **state)
{
	char text[COMMAND_WHY_MAX], said[4 * COMMAND_WHY_MAX];

	(void)state;
	for (size_t line_len = 1; line_len < sizeof(said) - 1; line_len += 37) {
		memset(said, 'x', sizeof(said));
		for (size_t i = line_len; i < sizeof(said); i += line_len + 1)
			said[i] = '\n';
		said[sizeof(said) - 1] = '\0';
		command_why(text, sizeof(text), 1, said);
		assert_in_range(strlen(text), COMMAND_WHY_MAX - 32, COMMAND_WHY_MAX - 1);
		assert_string_equal(text + strlen(text) - 3, "…");
	}
	memset(said, '\001', 700);
	said[700] = '\0';
	assert_string_equal(strrchr(command_why(text, sizeof(text), 1, said), '1') + 1, "…");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(output_and_errors_come_together_in_order),
		TEST(it_reads_the_input_and_its_end),
		TEST(without_input_there_is_nothing_to_read),
		TEST(input_that_is_not_read_harms_nobody),
		TEST(output_beyond_the_limit_is_read_and_forgotten),
		TEST(a_signal_is_128_more),
		TEST(the_time_limit_kills_the_whole_group),
		TEST(who_stays_in_the_background_holds_nothing_up),
		TEST(who_stays_in_the_background_is_heard),
		TEST(who_speaks_without_end_may_be_left_alone),
		TEST(a_killed_one_still_tells_its_end),
		TEST(a_closed_one_says_nothing_more),
		TEST(it_may_be_closed_upon_a_line),
		TEST(an_unknown_program_is_told_at_once),
		TEST(the_environment_lacks_what_is_ours),
		TEST(sbin_is_found_without_a_path),
		TEST(a_child_of_somebody_else_is_left_to_him),
		TEST(it_dies_with_us),
		TEST(failure_is_told_in_words),
		TEST(failure_with_too_many_words_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
