/* See up.h.
 *
 * Happy path: the one who typed it forks, passes on what the supervisor says, hears by one byte that traffic flows, passes
 * on what is still in the pipe, and exits 0. Fails: the supervisor ends first: its exit code is ours. Time is up, or somebody
 * typed Ctrl-C: it gets SIGTERM and puts everything back itself; one that does not is killed, and cleaned up after.
 */
#include "common/command_line/up.h"

#include "common/base/clock.h"
#include "common/base/folder.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef HAVE_SYSTEMD
#include <syslog.h>
#include <systemd/sd-journal.h>
#endif

#define UP_STOP_PATIENCE_MS 10000 /* from SIGTERM to SIGKILL; hooks are part of it */
#define UP_DRAIN_MS 200		  /* what is said between "it flows" and the log in the pipe's place */
#define UP_LINE_MAX 4096

enum up_phase { UP_WAITING, UP_STOPPING, UP_KILLED };

struct up {
	const struct up_setup *setup;
	pid_t child;
	int says_fd, flows_fd, signal_fd, log_fd; /* says_fd, flows_fd: -1 after their end; log_fd: -1 without */
	enum up_phase phase;
	uint64_t deadline_us;
	bool passes_priorities; /* our own standard error is the journal */
	char line[UP_LINE_MAX];
	size_t line_len;
	char last_words[ERR_TEXT_MAX]; /* why it was stopped */
};

/* --- the log --- */

/* Return: a stream of the journal's, or -1. */
static int up_open_journal(const struct up_setup *setup)
{
#ifdef HAVE_SYSTEMD
	int fd = sd_journal_stream_fd(setup->program, LOG_INFO, true);

	return fd < 0 ? -1 : fd;
#else
	(void)setup;
	return -1;
#endif
}

static int up_open_file(const struct up_setup *setup, struct err *err)
{
	char path[PATH_MAX];
	int fd, rc;

	if (snprintf(path, sizeof(path), "%s/%s.log", setup->runtime_dir, setup->tunnel->name) >= (int)sizeof(path))
		return err_system(err, -ENAMETOOLONG, "log in %s", setup->runtime_dir);
	rc = folder_ensure_parent(path, err);
	if (rc < 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? err_system(err, -errno, "log %s", path) : fd;
}

/* The journal wants to know each line's priority, a file does not. */
static void up_set_journal_stream(int fd)
{
	struct stat status;
	char text[64];

	if (fd < 0 || fstat(fd, &status) < 0) {
		unsetenv("JOURNAL_STREAM");
		return;
	}
	snprintf(text, sizeof(text), "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
	setenv("JOURNAL_STREAM", text, 1);
}

/* --- the supervisor to be --- */

/* Its standard files: nothing, the log, the pipe @says_fd. Return: 0 or a negative errno, told on the pipe already. */
static int up_become_supervisor(const struct up_setup *setup, int says_fd, struct err *err)
{
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int journal_fd, log_fd;

	dup2(says_fd, STDERR_FILENO);
	setsid();
	signal(SIGPIPE, SIG_IGN); /* who waits may leave */
	journal_fd = up_open_journal(setup);
	up_set_journal_stream(journal_fd);
	log_fd = journal_fd < 0 ? up_open_file(setup, err) : journal_fd;
	if (log_fd < 0)
		return log_fd;
	dup2(null_fd, STDIN_FILENO);
	dup2(log_fd, STDOUT_FILENO);
	close(null_fd);
	close(log_fd);
	return 0;
}

/* --- passing on --- */

static void up_write(int fd, const char *text, size_t len)
{
	ssize_t ignored = fd >= 0 ? write(fd, text, len) : 0;

	(void)ignored;
}

/* One line, as it is into the log, without the journal's "<6>" to a terminal. */
static void up_pass_line(struct up *up, const char *line, size_t len)
{
	size_t skip = !up->passes_priorities && len >= 3 && line[0] == '<' && line[2] == '>' ? 3 : 0;

	up_write(up->log_fd, line, len);
	up_write(STDERR_FILENO, line + skip, len - skip);
}

/* Return: false at the end. */
static bool up_pass_some(struct up *up)
{
	ssize_t got = read(up->says_fd, up->line + up->line_len, sizeof(up->line) - up->line_len);
	size_t begin = 0;

	if (got <= 0)
		return got < 0 && (errno == EINTR || errno == EAGAIN);
	up->line_len += (size_t)got;
	for (size_t i = up->line_len - (size_t)got; i < up->line_len; i++)
		if (up->line[i] == '\n') {
			up_pass_line(up, up->line + begin, i + 1 - begin);
			begin = i + 1;
		}
	if (begin == 0 && up->line_len == sizeof(up->line)) {
		up_pass_line(up, up->line, up->line_len);
		begin = up->line_len;
	}
	memmove(up->line, up->line + begin, up->line_len - begin);
	up->line_len -= begin;
	return true;
}

/* What is in the pipe now, and what comes within @patience_ms, until its end. */
static void up_pass_rest(struct up *up, int patience_ms)
{
	struct pollfd waiting = {.fd = up->says_fd, .events = POLLIN};

	while (up->says_fd >= 0 && poll(&waiting, 1, patience_ms) > 0 && up_pass_some(up))
		;
	if (up->line_len > 0)
		up_pass_line(up, up->line, up->line_len);
}

/* --- the end of it --- */

static void up_say_last(const struct up *up)
{
	char line[ERR_TEXT_MAX + TUNNEL_REF_NAME_MAX + 8];
	int len = snprintf(line, sizeof(line), "%s: %s\n", up->setup->tunnel->name, up->last_words);

	up_write(up->log_fd, line, (size_t)len);
	log_error(up->setup->tunnel->name, "%s", up->last_words);
}

static _Noreturn void up_on_flowing(struct up *up)
{
	up_pass_rest(up, UP_DRAIN_MS);
	exit(EXIT_DONE);
}

/* What a supervisor that did not end by itself has left. */
static void up_clean(const struct up *up)
{
	struct err err = {""};
	int rc;

	do {
		rc = tunnel_ref_clean(up->setup->tunnel, up->setup->state_dir, &err);
	} while (rc == -EBUSY && usleep(50000) == 0);
	if (rc < 0)
		log_error(up->setup->tunnel->name, "cleaning up: %s", err.text);
}

static _Noreturn void up_on_child_end(struct up *up, int status)
{
	up_pass_rest(up, 0);
	if (WIFSIGNALED(status)) {
		up_clean(up);
		if (!up->last_words[0])
			snprintf(up->last_words, sizeof(up->last_words), "the supervisor was killed by signal %d (%s)",
				WTERMSIG(status), strsignal(WTERMSIG(status)));
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0 && !up->last_words[0])
		exit(WEXITSTATUS(status)); /* it has said why */
	if (!up->last_words[0])
		snprintf(up->last_words, sizeof(up->last_words), "stopped by somebody else before traffic could flow");
	up_say_last(up);
	exit(EXIT_FAILED);
}

/* --- what it waits for, in words --- */

static void up_describe(struct up *up, const json_t *status)
{
	const char *state = tunnel_ref_text(status, "state"),
		   *error = tunnel_ref_text(json_object_get(status, "link"), "last_error");
	unsigned seconds = (unsigned)(up->setup->timeout_ms / 1000);

	if (strcmp(state, "up") == 0)
		snprintf(up->last_words, sizeof(up->last_words),
			"stopped, no traffic after %u s: the link is up, but WireGuard on the hub does not answer; is "
			"[Peer] "
			"PublicKey the hub's, and has the hub a [Peer] with ours?",
			seconds);
	else if (strcmp(state, "connecting") == 0)
		snprintf(up->last_words, sizeof(up->last_words),
			"stopped, no traffic after %u s: still connecting to %s%s%s; --timeout 5min waits longer",
			seconds, tunnel_ref_text(json_object_get(status, "server"), "url"), *error ? ": " : "", error);
	else
		snprintf(up->last_words, sizeof(up->last_words),
			"stopped, no traffic after %u s: still %s; a hook that takes long? --timeout 5min waits longer",
			seconds, *state ? state : "starting");
}

/* Ask before it is stopped. */
static void up_ask_state(struct up *up)
{
	struct err err = {""};
	json_t *status = NULL;

	if (tunnel_ref_ask(up->setup->tunnel, "status", &status, &err) < 0)
		status = NULL;
	up_describe(up, status);
	json_decref(status);
}

/* --- waiting --- */

static void up_stop(struct up *up)
{
	kill(up->child, SIGTERM);
	up->phase = UP_STOPPING;
	up->deadline_us = clock_now_us() + UP_STOP_PATIENCE_MS * CLOCK_US_PER_MS;
}

static void up_on_deadline(struct up *up)
{
	switch (up->phase) {
	case UP_WAITING:
		up_ask_state(up);
		up_stop(up);
		break;
	case UP_STOPPING:
		log_warning(up->setup->tunnel->name, "it does not stop; it is killed");
		kill(up->child, SIGKILL);
		up->phase = UP_KILLED;
		up->deadline_us = UINT64_MAX;
		break;
	case UP_KILLED:
		break;
	}
}

/* A second Ctrl-C is passed on: it ends the hook that runs. */
static void up_on_interrupt(struct up *up, uint32_t number)
{
	if (up->phase != UP_WAITING) {
		kill(up->child, SIGTERM);
		return;
	}
	snprintf(up->last_words, sizeof(up->last_words), "stopped by %s before traffic could flow",
		number == SIGINT ? "Ctrl-C" : strsignal((int)number));
	up_stop(up);
}

static void up_on_signal(struct up *up)
{
	struct signalfd_siginfo info;
	int status;

	if (read(up->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	if (info.ssi_signo != SIGCHLD)
		up_on_interrupt(up, info.ssi_signo);
	else if (waitpid(up->child, &status, WNOHANG) == up->child)
		up_on_child_end(up, status);
}

static void up_on_flows_fd(struct up *up)
{
	char byte;
	ssize_t got = read(up->flows_fd, &byte, 1);

	if (got == 1 && up->phase == UP_WAITING)
		up_on_flowing(up);
	if (got <= 0) { /* its end is near: SIGCHLD tells more */
		close(up->flows_fd);
		up->flows_fd = -1;
	}
}

static int up_left_ms(const struct up *up)
{
	uint64_t now_us = clock_now_us();

	if (up->deadline_us == UINT64_MAX)
		return -1;
	return up->deadline_us > now_us ? (int)((up->deadline_us - now_us) / CLOCK_US_PER_MS) + 1 : 0;
}

static _Noreturn void up_wait(struct up *up)
{
	for (;;) {
		struct pollfd waiting[] = {{.fd = up->says_fd, .events = POLLIN},
			{.fd = up->flows_fd, .events = POLLIN}, {.fd = up->signal_fd, .events = POLLIN}};

		poll(waiting, sizeof(waiting) / sizeof(waiting[0]), up_left_ms(up));
		if (waiting[0].revents && !up_pass_some(up)) {
			close(up->says_fd);
			up->says_fd = -1;
		}
		if (waiting[1].revents)
			up_on_flows_fd(up);
		if (waiting[2].revents)
			up_on_signal(up);
		if (clock_now_us() >= up->deadline_us)
			up_on_deadline(up);
	}
}

/* --- the fork --- */

static int up_open_signals(sigset_t *ret_before)
{
	sigset_t wanted;

	sigemptyset(&wanted);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGHUP);
	sigaddset(&wanted, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wanted, ret_before);
	return signalfd(-1, &wanted, SFD_CLOEXEC);
}

static _Noreturn void up_be_parent(const struct up_setup *setup, pid_t child, int says_fd, int flows_fd, int signal_fd)
{
	struct up up = {
		.setup = setup, .child = child, .says_fd = says_fd, .flows_fd = flows_fd, .signal_fd = signal_fd};
	struct err ignored = {""};

	signal(SIGPIPE, SIG_IGN); /* `up … 2>&1 | head`: who reads no more still wants it up, or nothing left behind */
	up.passes_priorities = getenv("JOURNAL_STREAM") != NULL;
	up.log_fd = up_open_journal(setup);
	if (up.log_fd < 0)
		up.log_fd = up_open_file(setup, &ignored); /* the supervisor complains */
	up.deadline_us = clock_now_us() + setup->timeout_ms * CLOCK_US_PER_MS;
	up_wait(&up);
}

int up_fork(const struct up_setup *setup, struct err *err)
{
	int says[2], flows[2], rc, signal_fd;
	sigset_t before;
	pid_t child;

	close_range(STDERR_FILENO + 1, UINT_MAX,
		0); /* a lock or a pipe of the caller's must not live as long as the tunnel */
	signal_fd = up_open_signals(&before);
	if (signal_fd < 0 || pipe2(says, O_CLOEXEC) < 0 || pipe2(flows, O_CLOEXEC) < 0)
		return err_system(err, -errno, "up");
	child = fork();
	if (child < 0)
		return err_system(err, -errno, "up: fork");
	if (child > 0) {
		close(says[1]);
		close(flows[1]);
		up_be_parent(setup, child, says[0], flows[0], signal_fd);
	}
	close(says[0]);
	close(flows[0]);
	close(signal_fd);
	rc = up_become_supervisor(setup, says[1], err);
	close(says[1]);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return rc < 0 ? rc : flows[1];
}
