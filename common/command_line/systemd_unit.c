/* See systemd_unit.h. Happy path: read the process's cgroup from /proc, or run systemctl, which every host with systemd
 * has. No D-Bus: two questions are not worth a library in a program that runs as root. Fails as "no unit".
 */
#include "common/command_line/systemd_unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *unit_name(char *buf, const struct tunnel_ref *tunnel)
{
	snprintf(buf, SYSTEMD_UNIT_NAME_MAX, "towpath-%s@%s.service", tunnel->role, tunnel->name);
	return buf;
}

/* A line of /proc/PID/cgroup ends in the unit, or in a folder below it that systemd has added:
 * "0::/system.slice/system-towpath\x2dclient.slice/towpath-client@home.service". */
bool systemd_unit_has_process(const struct tunnel_ref *tunnel, pid_t pid)
{
	char path[64] = "/proc/self/cgroup", unit[SYSTEMD_UNIT_NAME_MAX], line[4096];
	bool found = false;
	FILE *file;

	if (pid > 0)
		snprintf(path, sizeof(path), "/proc/%ld/cgroup", (long)pid);
	file = fopen(path, "re");
	unit_name(unit, tunnel);
	while (file && !found && fgets(line, sizeof(line), file)) {
		const char *at = strstr(line, unit);

		/* The whole path element: "home.service" is not "my-home.service". */
		found = at && at > line && at[-1] == '/' && strchr("/\n", at[strlen(unit)]);
	}
	if (file)
		fclose(file);
	return found;
}

/* Run systemctl with its standard output in @out_fd. Return: its exit code, or -1. */
static int run_systemctl(const char *const *arguments, int out_fd)
{
	char *argv[8] = {NULL};
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		memcpy(argv, arguments, 7 * sizeof(*argv)); /* execvp() wants them not const, but does not write */
		dup2(out_fd, STDOUT_FILENO);
		execvp(argv[0], argv);
		_exit(127);
	}
	if (pid < 0)
		return -1;
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

/* "active", "activating", "inactive", …; "" if systemctl fails. The answer fits into the pipe, so it is read at the
 * end. */
static void read_unit_state(const struct tunnel_ref *tunnel, char *ret, size_t size)
{
	char unit[SYSTEMD_UNIT_NAME_MAX];
	const char *const arguments[7] = {
		"systemctl", "show", "--property=ActiveState", "--value", "--", unit_name(unit, tunnel), NULL};
	ssize_t got = 0;
	int out[2];

	if (pipe2(out, O_CLOEXEC) == 0) {
		bool is_answered = run_systemctl(arguments, out[1]) == 0;

		close(out[1]);
		if (is_answered)
			got = read(out[0], ret, size - 1);
		close(out[0]);
	}
	ret[got > 0 ? got : 0] = '\0';
	ret[strcspn(ret, "\n")] = '\0';
}

bool systemd_unit_is_active(const struct tunnel_ref *tunnel)
{
	char state[32];

	if (access("/run/systemd/system", F_OK) < 0)
		return false;
	read_unit_state(tunnel, state, sizeof(state));
	return strcmp(state, "active") == 0 || strcmp(state, "activating") == 0;
}

int systemd_unit_enable(const struct tunnel_ref *tunnel, struct err *err)
{
	char unit[SYSTEMD_UNIT_NAME_MAX];
	const char *const enable[7] = {"systemctl", "enable", "--now", "--", unit_name(unit, tunnel), NULL};
	const char *const disable[7] = {"systemctl", "disable", "--now", "--", unit, NULL};

	if (run_systemctl(enable, STDERR_FILENO) == 0)
		return 0;
	run_systemctl(disable, STDERR_FILENO);
	return err_set(err, -EIO, "'systemctl enable --now %s' failed; 'journalctl -u %s' tells why", unit, unit);
}

int systemd_unit_stop(const struct tunnel_ref *tunnel, struct err *err)
{
	char unit[SYSTEMD_UNIT_NAME_MAX];
	const char *const arguments[7] = {"systemctl", "stop", "--", unit_name(unit, tunnel), NULL};

	if (run_systemctl(arguments, STDOUT_FILENO) == 0)
		return 0;
	return err_set(err, -EIO, "'systemctl stop %s' failed", unit);
}
