/* Kernel parameters below /proc/sys, one open, one read or write, one close (sysctl.h).
 *
 * A value that fits already is not written: a container often has the right values and a read-only /proc/sys.
 * The path comes from our own plan or from the undo list on disk. That one could have been edited, so a path that
 * leaves the folder is refused.
 */
#include "common/net/sysctl.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FOLDER "/proc/sys/"

/* True if @path stays inside the folder. A device may be called "a..b", but not "..". */
static bool is_inside(const char *path)
{
	if (path[0] == '/' || path[0] == '\0' || strlen(path) >= SYSCTL_PATH_MAX)
		return false;
	for (const char *part = path; part; part = strchr(part, '/')) {
		part += *part == '/';
		if (strncmp(part, "..", 2) == 0 && (part[2] == '/' || part[2] == '\0'))
			return false;
	}
	return true;
}

/* Return: a descriptor or a negative errno. */
static int open_parameter(const char *path, int flags, struct err *err)
{
	char full[sizeof(FOLDER) + SYSCTL_PATH_MAX];
	int fd;

	if (!is_inside(path))
		return err_system(err, -EINVAL, "kernel parameter %s", path);
	snprintf(full, sizeof(full), FOLDER "%s", path);
	fd = open(full, flags | O_CLOEXEC | O_NOCTTY);
	return fd < 0 ? err_system(err, -errno, "kernel parameter %s", path) : fd;
}

int sysctl_read(const char *path, char ret[SYSCTL_VALUE_MAX], struct err *err)
{
	char value[SYSCTL_VALUE_MAX];
	int fd = open_parameter(path, O_RDONLY, err);
	ssize_t len;
	int rc;

	if (fd < 0)
		return fd;
	len = read(fd, value, sizeof(value));
	rc = len < 0 ? -errno : len == sizeof(value) ? -E2BIG : 0;
	close(fd);
	if (rc < 0)
		return err_system(err, rc, "kernel parameter %s", path);
	value[len] = '\0';
	value[strcspn(value, "\n")] = '\0';
	memcpy(ret, value, sizeof(value));
	return 0;
}

/* Return: a descriptor, -EALREADY where @value is there, or another negative errno. */
static int open_to_set(const char *path, const char *value, struct err *err)
{
	char now[SYSCTL_VALUE_MAX];

	if (sysctl_read(path, now, NULL) == 0 && strcmp(now, value) == 0)
		return -EALREADY;
	return open_parameter(path, O_WRONLY, err);
}

bool sysctl_is_denied(int rc)
{
	return rc == -EROFS || rc == -EACCES || rc == -EPERM;
}

int sysctl_check(const char *path, const char *value)
{
	int fd = open_to_set(path, value, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0 || fd == -EALREADY ? 0 : fd;
}

int sysctl_set(const char *path, const char *value, struct err *err)
{
	int fd, rc;

	if (strchr(value, '\n'))
		return err_system(err, -EINVAL, "kernel parameter %s", path);
	fd = open_to_set(path, value, err);
	if (fd == -EALREADY)
		return 0;
	if (sysctl_is_denied(fd))
		return err_set(err, fd,
			"kernel parameter %s: %s; sysctl -w %s=%s helps where /proc/sys may be written", path,
			strerror(-fd), path, value);
	if (fd < 0)
		return fd;
	/* In one piece: the kernel takes each write() as a whole value. */
	rc = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return rc < 0 ? err_system(err, rc, "kernel parameter %s = %s", path, value) : 0;
}
