/* See unit.h. Asks /proc, and systemctl, which is there where systemd is. Fails as "no unit". */
#include "common/process/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *unit_name(char *buf, const struct subject *subject)
{
	snprintf(buf, UNIT_NAME_MAX, "towpath-%s@%s.service", subject->role, subject->name);
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

bool unit_has_process(const struct subject *subject, pid_t pid)
{
	char path[64] = "/proc/self/cgroup", unit[UNIT_NAME_MAX], line[4096];
	bool found = false;
	FILE *file;

	if (pid > 0)
		snprintf(path, sizeof(path), "/proc/%ld/cgroup", (long)pid);
	file = fopen(path, "re");
	unit_name(unit, subject);
	while (file && !found && fgets(line, sizeof(line), file))
		found = is_line_of_unit(line, unit);
	if (file)
		fclose(file);
	return found;
}

bool unit_is_active(const struct subject *subject)
{
	char command[UNIT_NAME_MAX + 64], unit[UNIT_NAME_MAX], state[32] = "";
	FILE *answer;

	if (access("/run/systemd/system", F_OK) < 0)
		return false;
	/* a tunnel's name holds nothing that a shell would read otherwise */
	snprintf(command, sizeof(command), "systemctl show --property=ActiveState --value '%s' 2>/dev/null",
		unit_name(unit, subject));
	answer = popen(command, "re");
	if (!answer)
		return false;
	if (!fgets(state, sizeof(state), answer))
		state[0] = '\0';
	return pclose(answer) == 0 && (strcmp(state, "active\n") == 0 || strcmp(state, "activating\n") == 0);
}

int unit_stop(const struct subject *subject, struct err *err)
{
	char unit[UNIT_NAME_MAX];
	int status;
	pid_t pid;

	unit_name(unit, subject);
	pid = fork();
	if (pid < 0)
		return err_system(err, -errno, "systemctl stop %s", unit);
	if (pid == 0) {
		execlp("systemctl", "systemctl", "stop", unit, (char *)NULL);
		_exit(127);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	return err_set(err, -EIO, "'systemctl stop %s' failed", unit);
}
