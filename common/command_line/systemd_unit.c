/* See systemd_unit.h. Asks /proc, and systemctl, which is there where systemd is. Fails as "no unit". */
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

/* A line of /proc/PID/cgroup: "0::/system.slice/system-towpath\x2dclient.slice/towpath-client@home.service"; systemd may have
 * put a folder of its own below. */
static bool is_line_of_unit(const char *line, const char *unit)
{
	const char *at = strstr(line, unit);
	size_t len = strlen(unit);

	return at && at > line && at[-1] == '/' && (at[len] == '/' || at[len] == '\n' || at[len] == '\0');
}

bool systemd_unit_has_process(const struct tunnel_ref *tunnel, pid_t pid)
{
	char path[64] = "/proc/self/cgroup", unit[SYSTEMD_UNIT_NAME_MAX], line[4096];
	bool found = false;
	FILE *file;

	if (pid > 0)
		snprintf(path, sizeof(path), "/proc/%ld/cgroup", (long)pid);
	file = fopen(path, "re");
	unit_name(unit, tunnel);
	while (file && !found && fgets(line, sizeof(line), file))
		found = is_line_of_unit(line, unit);
	if (file)
		fclose(file);
	return found;
}

/* Run systemctl with its standard output in @out_fd. Return: its exit code, or -1. */
static int unit_systemctl(const char *const *arguments, int out_fd)
{
	char *argv[8] = {NULL};
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		memcpy(argv, arguments, 7 * sizeof(*argv)); /* execvp() takes them as not const, and lets them be */
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

/* "active", "activating", "inactive", …: shorter than what a pipe holds. */
static void unit_state(const struct tunnel_ref *tunnel, char *ret, size_t size)
{
	char unit[SYSTEMD_UNIT_NAME_MAX];
	const char *const arguments[7] = {
		"systemctl", "show", "--property=ActiveState", "--value", "--", unit_name(unit, tunnel), NULL};
	ssize_t got = 0;
	int out[2];

	if (pipe2(out, O_CLOEXEC) == 0) {
		bool is_answered = unit_systemctl(arguments, out[1]) == 0;

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
	unit_state(tunnel, state, sizeof(state));
	return strcmp(state, "active") == 0 || strcmp(state, "activating") == 0;
}

int systemd_unit_stop(const struct tunnel_ref *tunnel, struct err *err)
{
	char unit[SYSTEMD_UNIT_NAME_MAX];
	const char *const arguments[7] = {"systemctl", "stop", "--", unit_name(unit, tunnel), NULL};

	if (unit_systemctl(arguments, STDOUT_FILENO) == 0)
		return 0;
	return err_set(err, -EIO, "'systemctl stop %s' failed", unit);
}
