/* The network namespace of the server's worker: nothing but `lo`, up.
 *
 * Happy path: a short-lived child unshares, raises lo and says so; the parent opens the child's namespace by its
 * descriptor and lets the child go. Without root the namespace belongs to a new user namespace in which only our own
 * ids exist. Fails with what the host would have to allow.
 */
#include "common/process/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static int spawn_raise_lo(void)
{
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

static int spawn_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	int rc = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		rc = -errno;
	close(fd);
	return rc;
}

/* Our own ids and no others exist in the new user namespace. */
static int spawn_map_ids(unsigned long uid, unsigned long gid)
{
	char line[64];
	int rc;

	spawn_write_file("/proc/self/setgroups", "deny"); /* absent on old kernels, asked for by newer ones */
	snprintf(line, sizeof(line), "%lu %lu 1\n", uid, uid);
	rc = spawn_write_file("/proc/self/uid_map", line);
	if (rc < 0)
		return rc;
	snprintf(line, sizeof(line), "%lu %lu 1\n", gid, gid);
	return spawn_write_file("/proc/self/gid_map", line);
}

/* In a child, which leaves with its process: a user namespace cannot be left again. */
static int spawn_make_namespace(void)
{
	unsigned long uid = geteuid(), gid = getegid();
	int rc = 0;

	if (unshare(CLONE_NEWNET) < 0) {
		if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
			return -errno;
		rc = spawn_map_ids(uid, gid);
	}
	return rc < 0 ? rc : spawn_raise_lo();
}

/* The child makes the namespace, says so with an int, and waits until the parent holds it. */
static void spawn_namespace_child(int socket_fd)
{
	int rc = spawn_make_namespace();
	char done;

	if (write(socket_fd, &rc, sizeof(rc)) == (ssize_t)sizeof(rc) && read(socket_fd, &done, 1) < 0)
		_exit(1);
	_exit(0);
}

static int spawn_take_namespace(pid_t pid, int socket_fd)
{
	char path[64];
	int rc, fd;
	ssize_t got;

	do
		got = read(socket_fd, &rc, sizeof(rc));
	while (got < 0 && errno == EINTR);
	if (got != (ssize_t)sizeof(rc))
		return -EIO;
	if (rc < 0)
		return rc;
	snprintf(path, sizeof(path), "/proc/%ld/ns/net", (long)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

int spawn_open_lo_namespace(struct err *err)
{
	int pair[2], fd;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return err_system(err, -errno, "network namespace: socketpair");
	pid = fork();
	if (pid == 0) {
		close(pair[0]);
		spawn_namespace_child(pair[1]);
	}
	close(pair[1]);
	fd = pid < 0 ? -errno : spawn_take_namespace(pid, pair[0]);
	close(pair[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (fd < 0)
		return err_system(err, fd,
			"network namespace for the worker (needs root, or user namespaces allowed: "
			"sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=10000)");
	return fd;
}
