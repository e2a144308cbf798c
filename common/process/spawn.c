/* Starts the worker, see spawn.h.
 *
 * Happy path: the executable is opened before anything changes, a pair of SEQPACKET sockets is made, the child enters
 * the worker's network namespace, drops capabilities and user, closes every descriptor but 0 to 3 and runs the
 * executable again with nothing of our environment but what the log prefix and the sanitizers need. Fails: the child
 * tells step and errno on a pipe that a successful exec closes; the caller gets both as one error.
 *
 * The child of fork() shares nothing with us but memory that it only reads: between fork() and exec it calls no
 * malloc() and no log, which another thread's lock might block. /proc/self/exe instead of a path, because a package's
 * upgrade may have replaced the file meanwhile: worker and supervisor are of one build, always.
 */
#include "common/process/spawn.h"

#include "common/base/log.h"
#include "common/process/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/nsfs.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SPAWN_EXE_FD 4 /* in the child, close-on-exec; so are the next two */
#define SPAWN_REPORT_FD 5
#define SPAWN_NETNS_FD 6
#define SPAWN_FIRST_FD 16    /* the originals are moved to here and above, so that no dup3() overwrites one of them */
#define SPAWN_NOFILE 262144u /* two sockets a session, 10,000 sessions, and a margin */

/* --- the user --- */

/* True if @id exists in our user namespace: in a container it may not, and setresuid() would fail with EINVAL. Lines of
 * /proc/self/[ug]id_map are: first id, first id outside, count. */
static bool is_id_mapped(const char *map_path, unsigned long id)
{
	FILE *map = fopen(map_path, "re");
	unsigned long first, outside, count;
	bool found = false;

	if (!map)
		return true;
	while (!found && fscanf(map, "%lu %lu %lu", &first, &outside, &count) == 3)
		found = id >= first && id - first < count;
	fclose(map);
	return found;
}

int spawn_choose_user(struct spawn_setup *setup, struct err *err)
{
	const struct passwd *user;
	static const char *const names[] = {"towpath", "nobody"};

	setup->has_user = false;
	if (geteuid() != 0)
		return 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		user = getpwnam(names[i]);
		if (!user)
			continue;
		if (!is_id_mapped("/proc/self/uid_map", user->pw_uid) ||
			!is_id_mapped("/proc/self/gid_map", user->pw_gid)) {
			log_warning("config", "user '%s' does not exist in this user namespace; the worker keeps ours",
				names[i]);
			return 0;
		}
		if (i > 0)
			log_warning("config",
				"there is no user 'towpath'; the worker runs as '%s'; "
				"add one with: useradd --system --shell /usr/sbin/nologin towpath",
				names[i]);
		setup->uid = user->pw_uid;
		setup->gid = user->pw_gid;
		setup->has_user = true;
		return 0;
	}
	return err_set(
		err, -ENOENT, "there is no user 'towpath' and no 'nobody'; add one with: useradd --system towpath");
}

/* --- the child --- */

struct spawn_report {
	int code; /* errno */
	char step[32];
};

/* @step goes into the sentence "worker: STEP: strerror(errno)". */
static _Noreturn void fail_child(const char *step)
{
	struct spawn_report report = {.code = errno};
	ssize_t ignored;

	strncpy(report.step, step, sizeof(report.step) - 1);
	ignored = write(SPAWN_REPORT_FD, &report, sizeof(report));
	(void)ignored;
	_exit(127);
}

/* As high as this process may go: a supervisor with CAP_SYS_RESOURCE raises both limits, another one up to the hard
 * one. */
static void raise_nofile(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max < SPAWN_NOFILE ? SPAWN_NOFILE : limit.rlim_max;
	limit.rlim_max = limit.rlim_cur;
	if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* The bounding set goes first, because that needs a capability. The other sets go with the change of the user, or in
 * the sandbox. Groups before the user: afterwards it is not allowed. */
static void drop_user(const struct spawn_setup *setup)
{
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	if (setup->has_user && setgroups(0, NULL) < 0)
		fail_child("giving up its groups");
	if (setup->has_user && setresgid(setup->gid, setup->gid, setup->gid) < 0)
		fail_child("changing its group");
	if (setup->has_user && setresuid(setup->uid, setup->uid, setup->uid) < 0)
		fail_child("changing its user");
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		fail_child("no_new_privs");
}

static void move_fd(int from, int to, int flags)
{
	if (from >= 0 && dup3(from, to, flags) < 0)
		_exit(127);
}

struct spawn_fds {
	int channel, exe, report, netns; /* all ≥ SPAWN_FIRST_FD or, netns, -1 */
};

/* In the child. Order: descriptors, because all else may fail and has to be told; signals; the namespace, which needs
 * privilege; the user. Does not return. */
static _Noreturn void become_worker(
	const struct spawn_setup *setup, const struct spawn_fds *fds, char *argv[], char *envp[])
{
	/* A terminal's Ctrl-C and systemd's SIGTERM reach the whole group; the worker ends in order, by its channel. */
	static const int ignored[] = {SIGHUP, SIGINT, SIGPIPE, SIGTERM, SIGUSR1, SIGUSR2};
	sigset_t none;

	move_fd(fds->report, SPAWN_REPORT_FD, O_CLOEXEC);
	move_fd(fds->exe, SPAWN_EXE_FD, O_CLOEXEC);
	move_fd(fds->netns, SPAWN_NETNS_FD, O_CLOEXEC);
	move_fd(fds->channel, CHANNEL_FD, 0);
	if (syscall(SYS_close_range, SPAWN_NETNS_FD + 1, ~0u, 0) < 0) /* before Linux 5.9 */
		for (long fd = SPAWN_NETNS_FD + 1; fd < sysconf(_SC_OPEN_MAX) && fd < 1048576; fd++)
			close((int)fd);
	for (int number = 1; number < NSIG; number++)
		signal(number, SIG_DFL);
	for (size_t i = 0; i < sizeof(ignored) / sizeof(ignored[0]); i++)
		signal(ignored[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	raise_nofile();
	/* A namespace that belongs to a user namespace, made without root, is entered through that. */
	if (fds->netns >= 0 && setns(SPAWN_NETNS_FD, CLONE_NEWNET) < 0) {
		int user_fd = ioctl(SPAWN_NETNS_FD, NS_GET_USERNS);

		if (user_fd < 0 || setns(user_fd, CLONE_NEWUSER) < 0 || setns(SPAWN_NETNS_FD, CLONE_NEWNET) < 0)
			fail_child("entering its network namespace");
		close(user_fd);
	}
	drop_user(setup);
	fexecve(SPAWN_EXE_FD, argv, envp);
	if (errno == ENOSYS || errno == ENOENT) /* a kernel or Valgrind without execveat() */
		execve("/proc/self/exe", argv, envp);
	fail_child("running this executable again");
}

/* --- the parent --- */

/* Move @fd up, also where it is one of 0 to 6. Return: the new one, or -1. */
static int lift_fd(int fd)
{
	int lifted = fcntl(fd, F_DUPFD_CLOEXEC, SPAWN_FIRST_FD);

	close(fd);
	return lifted;
}

static void close_spawn_fds(const struct spawn_fds *fds)
{
	const int all[] = {fds->channel, fds->exe, fds->report, fds->netns};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] >= 0)
			close(all[i]);
}

/* Open what the child needs. The supervisor's ends are *ret_channel and *ret_report. Return: 0 or a negative errno. */
static int open_spawn_fds(const struct spawn_setup *setup, struct spawn_fds *ret, int *ret_channel, int *ret_report)
{
	int channel[2], report[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) < 0)
		return -errno;
	if (pipe2(report, O_CLOEXEC) < 0) {
		close(channel[0]);
		close(channel[1]);
		return -errno;
	}
	*ret_channel = channel[0];
	*ret_report = report[0];
	ret->channel = lift_fd(channel[1]);
	ret->report = lift_fd(report[1]);
	ret->exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ret->exe = ret->exe < 0 ? -1 : lift_fd(ret->exe);
	ret->netns = setup->netns_fd < 0 ? -1 : fcntl(setup->netns_fd, F_DUPFD_CLOEXEC, SPAWN_FIRST_FD);
	if (ret->channel >= 0 && ret->report >= 0 && ret->exe >= 0 && (setup->netns_fd < 0 || ret->netns >= 0))
		return 0;
	close_spawn_fds(ret);
	close(*ret_channel);
	close(*ret_report);
	return -EMFILE;
}

static pid_t fork_worker(const struct spawn_setup *setup, const struct spawn_fds *fds)
{
	/* The environment of the worker: the journal's prefix and the sanitizers' options; no secrets. */
	static const char *const kept[] = {"JOURNAL_STREAM=", "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS="};
	char level[16], title[64];
	char *envp[8];
	size_t env_count = 0;
	char argument[] = SPAWN_WORKER_ARGUMENT, verbose[] = "verbose", plain[] = "plain";
	char *argv[] = {title, argument, level, setup->log_level >= LOG_LEVEL_DEBUG ? verbose : plain, NULL};
	sigset_t all, before;
	pid_t pid;

	snprintf(title, sizeof(title), "%s", setup->process_title);
	snprintf(level, sizeof(level), "%d", setup->log_level);
	for (char **variable = environ; *variable; variable++)
		for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
			if (env_count + 1 < sizeof(envp) / sizeof(envp[0]) &&
				strncmp(*variable, kept[i], strlen(kept[i])) == 0)
				envp[env_count++] = *variable;
	envp[env_count] = NULL;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, &before); /* no handler of ours may run in the child */
	pid = fork();
	if (pid == 0)
		become_worker(setup, fds, argv, envp);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return pid < 0 ? -errno : pid;
}

/* Wait for exec, which closes the pipe, or for the child's report of why there is none; such a child is reaped here. */
static int await_exec(pid_t pid, int report_fd, struct err *err)
{
	struct spawn_report report = {0};
	ssize_t got;

	do
		got = read(report_fd, &report, sizeof(report));
	while (got < 0 && errno == EINTR);
	if (got == 0)
		return 0;
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	report.step[sizeof(report.step) - 1] = '\0';
	if (report.code == EACCES)
		return err_system(
			err, -EACCES, "worker: %s (its user must be allowed to execute it: chmod 755)", report.step);
	if (report.code == EPERM)
		return err_system(err, -EPERM,
			"worker: %s (root needs CAP_SETUID and CAP_SETGID for that: docker run --cap-add SETUID "
			"--cap-add SETGID)",
			report.step);
	return err_system(err, report.code > 0 ? -report.code : -EIO, "worker: %s", report.step);
}

int spawn_worker(const struct spawn_setup *setup, pid_t *ret_pid, int *ret_channel_fd, struct err *err)
{
	struct spawn_fds fds = {.channel = -1, .exe = -1, .report = -1, .netns = -1};
	int channel = -1, report = -1;
	int rc = open_spawn_fds(setup, &fds, &channel, &report);
	pid_t pid;

	if (rc < 0)
		return err_system(err, rc, "worker: opening its channel");
	pid = fork_worker(setup, &fds);
	close_spawn_fds(&fds);
	rc = pid < 0 ? err_system(err, (int)pid, "worker: fork") : await_exec(pid, report, err);
	close(report);
	if (rc < 0) {
		close(channel);
		return rc;
	}
	*ret_pid = pid;
	*ret_channel_fd = channel;
	return 0;
}
