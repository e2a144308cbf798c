/* `up`, see up.h.
 *
 * Happy path: the process that was typed forks. The child becomes the supervisor; the parent passes on what the child
 * writes, hears by one byte that traffic flows, passes on what is still in the pipe, and exits 0. Fails: the supervisor
 * ends first: its exit code is the parent's. Time is up, or Ctrl-C: the supervisor gets SIGTERM and puts everything
 * back itself; if it does not, it is killed, and the parent cleans up after it.
 *
 *     WAITING ──byte──▶ exit 0          WAITING ──time limit, signal──▶ STOPPING ──10 s──▶ KILLED
 *     any ──SIGCHLD──▶ exit             a further signal in STOPPING is passed on: it ends the hook that runs
 *
 * The parent has no libuv loop: it must not make one before fork(), and four descriptors are few enough for poll().
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
#define UP_DRAIN_MS 200	 /* for lines between the byte and the moment when worker and supervisor write to the log */
#define UP_LINE_MAX 4096 /* bytes; a longer line is passed on in pieces */

enum up_phase { UP_WAITING, UP_STOPPING, UP_KILLED };

struct up {
	const struct up_setup *setup;
	pid_t child;
	int says_fd, flows_fd; /* the child's standard error, and its byte; -1 after their end */
	int signal_fd, log_fd; /* log_fd: -1 without a log */
	enum up_phase phase;
	uint64_t deadline_us;
	bool passes_priorities; /* our own standard error is the journal */
	char line[UP_LINE_MAX];
	size_t line_len;
	char last_words[ERR_TEXT_MAX]; /* why it was stopped */
};

/* --- the log --- */

/* Return: a stream of the journal's, or -1. */
static int open_journal(const struct up_setup *setup)
{
#ifdef HAVE_SYSTEMD
	int fd = sd_journal_stream_fd(setup->program, LOG_INFO, true);

	return fd < 0 ? -1 : fd;
#else
	(void)setup;
	return -1;
#endif
}

static int open_log_file(const struct up_setup *setup, struct err *err)
{
	char path[PATH_MAX];
	int fd, rc;

	if (snprintf(path, sizeof(path), "%s/%s.log", setup->runtime_dir, setup->tunnel->name) >= (int)sizeof(path))
		return err_system(err, -ENAMETOOLONG, "log in %s", setup->runtime_dir);
	rc = folder_ensure_parent(path, "--runtime-dir", err);
	if (rc < 0)
		return rc;
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
	return fd < 0 ? err_system(err, -errno, "log %s", path) : fd;
}

/* --- the supervisor to be --- */

/* Its standard files become: nothing, the log, and the pipe @says_fd until traffic flows. Return: 0 or a negative errno
 * with @err set, which the caller prints on that pipe. */
static int become_supervisor(const struct up_setup *setup, int says_fd, struct err *err)
{
	int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int journal_fd, log_fd;
	struct stat status;
	char stream[64];

	dup2(says_fd, STDERR_FILENO);
	setsid();
	signal(SIGPIPE, SIG_IGN); /* the parent may be killed; the tunnel stays up */
	journal_fd = open_journal(setup);
	/* Says to log.c that lines need the journal's priority prefix. A file needs none. */
	unsetenv("JOURNAL_STREAM");
	if (journal_fd >= 0 && fstat(journal_fd, &status) == 0) {
		snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)status.st_dev, (uintmax_t)status.st_ino);
		setenv("JOURNAL_STREAM", stream, 1);
	}
	log_fd = journal_fd < 0 ? open_log_file(setup, err) : journal_fd;
	if (log_fd < 0)
		return log_fd;
	dup2(null_fd, STDIN_FILENO);
	dup2(log_fd, STDOUT_FILENO);
	close(null_fd);
	close(log_fd);
	return 0;
}

/* --- passing on --- */

/* A log or terminal that cannot be written to must not keep the tunnel from coming up. @fd: -1 writes nothing. */
static void write_text(int fd, const char *text, size_t len)
{
	ssize_t ignored = fd >= 0 ? write(fd, text, len) : 0;

	(void)ignored;
}

/* One line: unchanged into the log, without the journal's "<6>" to a terminal. */
static void pass_line(struct up *up, const char *line, size_t len)
{
	size_t skip = !up->passes_priorities && len >= 3 && line[0] == '<' && line[2] == '>' ? 3 : 0;

	write_text(up->log_fd, line, len);
	write_text(STDERR_FILENO, line + skip, len - skip);
}

/* Read once, and pass on the lines that are complete. Return: false at the end of the pipe. */
static bool pass_some(struct up *up)
{
	ssize_t got = read(up->says_fd, up->line + up->line_len, sizeof(up->line) - up->line_len);
	size_t begin = 0;

	if (got <= 0)
		return got < 0 && (errno == EINTR || errno == EAGAIN);
	up->line_len += (size_t)got;
	for (size_t i = up->line_len - (size_t)got; i < up->line_len; i++)
		if (up->line[i] == '\n') {
			pass_line(up, up->line + begin, i + 1 - begin);
			begin = i + 1;
		}
	if (begin == 0 && up->line_len == sizeof(up->line)) {
		pass_line(up, up->line, up->line_len);
		begin = up->line_len;
	}
	memmove(up->line, up->line + begin, up->line_len - begin);
	up->line_len -= begin;
	return true;
}

/* Pass on what is in the pipe, and what follows within @patience_ms, each time anew, until its end. */
static void pass_rest(struct up *up, int patience_ms)
{
	struct pollfd waiting = {.fd = up->says_fd, .events = POLLIN};

	while (up->says_fd >= 0 && poll(&waiting, 1, patience_ms) > 0 && pass_some(up))
		;
	if (up->line_len > 0)
		pass_line(up, up->line, up->line_len);
}

/* --- the end of it --- */

/* The supervisor is gone. @status: of waitpid(). One that was killed could not put anything back: do that here. */
static _Noreturn void exit_after_child(struct up *up, int status)
{
	const struct tunnel_ref *tunnel = up->setup->tunnel;
	char line[ERR_TEXT_MAX + TUNNEL_REF_NAME_MAX + 8];
	struct err err = {""};
	sigset_t none;
	int rc, len;

	pass_rest(up, 0);
	if (WIFSIGNALED(status)) {
		/* Cleaning up may start programs, and libuv hears of their ends by SIGCHLD; Ctrl-C works again, too. */
		sigemptyset(&none);
		sigprocmask(SIG_SETMASK, &none, NULL);
		while ((rc = tunnel_ref_clean(tunnel, up->setup->state_dir, &err)) == -EBUSY)
			usleep(50000); /* another process cleans up */
		if (rc < 0)
			log_error(tunnel->name, "cleaning up: %s", err.text);
		if (!up->last_words[0])
			snprintf(up->last_words, sizeof(up->last_words), "the supervisor was killed by signal %d (%s)",
				WTERMSIG(status), strsignal(WTERMSIG(status)));
	}
	if (WIFEXITED(status) && WEXITSTATUS(status) != 0 && !up->last_words[0])
		exit(WEXITSTATUS(status)); /* it has printed the reason */
	if (!up->last_words[0])
		snprintf(
			up->last_words, sizeof(up->last_words), "stopped by another process before traffic could flow");
	len = snprintf(line, sizeof(line), "%s: %s\n", tunnel->name, up->last_words);
	write_text(up->log_fd, line, (size_t)len);
	log_error(tunnel->name, "%s", up->last_words);
	exit(EXIT_FAILED);
}

/* --- what it waits for, in words --- */

/* Why there is no traffic yet, into last_words. Asks the tunnel, so it must be called before that is stopped; one that
 * does not answer counts as starting. */
static void describe_wait(struct up *up)
{
	unsigned seconds = (unsigned)(up->setup->timeout_ms / 1000);
	struct err err = {""};
	json_t *status = NULL;
	const char *state, *error, *url;

	if (tunnel_ref_ask(up->setup->tunnel, "status", &status, &err) < 0)
		status = NULL;
	state = tunnel_ref_text(status, "state");
	error = tunnel_ref_text(json_object_get(status, "link"), "last_error");
	url = tunnel_ref_text(json_object_get(status, "server"), "url"); /* "": its worker did not answer */
	if (strcmp(state, "up") == 0)
		snprintf(up->last_words, sizeof(up->last_words),
			"stopped, no traffic after %u s: the link is up, but WireGuard on the hub does not answer; is "
			"[Peer] PublicKey the hub's, and has the hub a [Peer] with ours?",
			seconds);
	else if (strcmp(state, "connecting") == 0)
		snprintf(up->last_words, sizeof(up->last_words),
			"stopped, no traffic after %u s: still connecting%s%s%s%s; --timeout 5min waits longer",
			seconds, *url ? " to " : "", url, *error ? ": " : "", error);
	else
		snprintf(up->last_words, sizeof(up->last_words),
			"stopped, no traffic after %u s: still %s; a hook may be slow, --timeout 5min waits longer",
			seconds, *state ? state : "starting");
	json_decref(status);
}

/* --- waiting --- */

static void stop_child(struct up *up)
{
	kill(up->child, SIGTERM);
	up->phase = UP_STOPPING;
	up->deadline_us = clock_now_us() + UP_STOP_PATIENCE_MS * CLOCK_US_PER_MS;
}

static void on_up_deadline(struct up *up)
{
	switch (up->phase) {
	case UP_WAITING:
		describe_wait(up);
		stop_child(up);
		break;
	case UP_STOPPING:
		log_warning(up->setup->tunnel->name, "it does not stop; it is killed");
		kill(up->child, SIGKILL); /* SIGCHLD follows */
		up->phase = UP_KILLED;
		up->deadline_us = UINT64_MAX;
		break;
	case UP_KILLED:
		break;
	}
}

static void on_up_signal(struct up *up)
{
	struct signalfd_siginfo info;
	int status, number;

	if (read(up->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	number = (int)info.ssi_signo;
	if (number == SIGCHLD) {
		if (waitpid(up->child, &status, WNOHANG) == up->child)
			exit_after_child(up, status);
	} else if (up->phase != UP_WAITING) {
		kill(up->child, SIGTERM); /* impatient: see obey_stop() of supervise.c */
	} else {
		snprintf(up->last_words, sizeof(up->last_words), "stopped by %s before traffic could flow",
			number == SIGINT ? "Ctrl-C" : strsignal(number));
		stop_child(up);
	}
}

static _Noreturn void wait_for_traffic(struct up *up)
{
	for (;;) {
		struct pollfd waiting[] = {{.fd = up->says_fd, .events = POLLIN},
			{.fd = up->flows_fd, .events = POLLIN}, {.fd = up->signal_fd, .events = POLLIN}};

		uint64_t now_us = clock_now_us();
		int left_ms = -1; /* KILLED: SIGCHLD comes for certain */
		char byte;

		if (up->deadline_us != UINT64_MAX)
			left_ms =
				up->deadline_us > now_us ? (int)((up->deadline_us - now_us) / CLOCK_US_PER_MS) + 1 : 0;
		poll(waiting, sizeof(waiting) / sizeof(waiting[0]), left_ms);
		if (waiting[0].revents && !pass_some(up)) {
			close(up->says_fd);
			up->says_fd = -1;
		}
		if (waiting[1].revents) {
			if (read(up->flows_fd, &byte, 1) == 1 && up->phase == UP_WAITING) {
				pass_rest(up, UP_DRAIN_MS);
				exit(EXIT_DONE);
			}
			/* Closed without a byte: the supervisor is about to end, and SIGCHLD will say how. */
			close(up->flows_fd);
			up->flows_fd = -1;
		}
		if (waiting[2].revents)
			on_up_signal(up);
		if (clock_now_us() >= up->deadline_us)
			on_up_deadline(up);
	}
}

/* --- the fork --- */

static _Noreturn void become_parent(const struct up_setup *setup, pid_t child, int says_fd, int flows_fd, int signal_fd)
{
	struct up up = {
		.setup = setup, .child = child, .says_fd = says_fd, .flows_fd = flows_fd, .signal_fd = signal_fd};
	struct err ignored = {""};

	signal(SIGPIPE, SIG_IGN); /* `up … 2>&1 | head`: a reader that has left wants the tunnel all the same */
	up.passes_priorities = getenv("JOURNAL_STREAM") != NULL;
	up.log_fd = open_journal(setup);
	if (up.log_fd < 0)
		up.log_fd = open_log_file(setup, &ignored); /* the supervisor has the same problem and complains */
	up.deadline_us = clock_now_us() + setup->timeout_ms * CLOCK_US_PER_MS;
	wait_for_traffic(&up);
}

int up_fork(const struct up_setup *setup, struct err *err)
{
	int says[2], flows[2], rc, signal_fd;
	sigset_t wanted, before;
	pid_t child;

	if (getpid() == 1)
		return err_set(err, -EPERM, "up: the container would end when it returns; %s run %s stays",
			setup->program, setup->tunnel->name);
	/* A lock or a pipe of the caller's must not live as long as the tunnel. */
	close_range(STDERR_FILENO + 1, UINT_MAX, 0);
	/* Blocked before the fork, so that no signal is lost; the child restores the mask. */
	sigemptyset(&wanted);
	sigaddset(&wanted, SIGINT);
	sigaddset(&wanted, SIGTERM);
	sigaddset(&wanted, SIGHUP);
	sigaddset(&wanted, SIGCHLD);
	sigprocmask(SIG_BLOCK, &wanted, &before);
	signal_fd = signalfd(-1, &wanted, SFD_CLOEXEC);
	if (signal_fd < 0 || pipe2(says, O_CLOEXEC) < 0 || pipe2(flows, O_CLOEXEC) < 0)
		return err_system(err, -errno, "up");
	child = fork();
	if (child < 0)
		return err_system(err, -errno, "up: fork");
	if (child > 0) {
		close(says[1]);
		close(flows[1]);
		become_parent(setup, child, says[0], flows[0], signal_fd);
	}
	close(says[0]);
	close(flows[0]);
	close(signal_fd);
	rc = become_supervisor(setup, says[1], err);
	close(says[1]);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return rc < 0 ? rc : flows[1];
}
