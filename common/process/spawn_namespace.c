/* The network namespace of the server's worker: nothing but `lo`, up.
 *
 * Happy path: a short-lived child unshares, raises lo and says so; the parent opens the child's namespace by its
 * descriptor and lets the child go. Without root the namespace belongs to a new user namespace in which only our own
 * ids exist; root without CAP_SYS_ADMIN gets none, because its worker could not become another user in there. Fails with
 * what the host would have to allow.
 *
 * A child, because a user namespace cannot be left again, and because the supervisor must stay in the host's network.
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

/* A new namespace's lo is down, and 127.0.0.0/8 unreachable. */
static int raise_lo(void)
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

static int write_file(const char *path, const char *text)
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
static int map_ids(unsigned long uid, unsigned long gid)
{
	char line[64];
	int rc;

	write_file("/proc/self/setgroups", "deny"); /* absent on old kernels, asked for by newer ones */
	snprintf(line, sizeof(line), "%lu %lu 1\n", uid, uid);
	rc = write_file("/proc/self/uid_map", line);
	if (rc < 0)
		return rc;
	snprintf(line, sizeof(line), "%lu %lu 1\n", gid, gid);
	return write_file("/proc/self/gid_map", line);
}

/* In the child: make the namespace, send the result as an int, and wait until the parent holds it, or has died. */
static _Noreturn void make_namespace(int socket_fd)
{
	unsigned long uid = geteuid(), gid = getegid();
	int rc = 0;
	char done;

	if (unshare(CLONE_NEWNET) < 0) { /* not root: try with a user namespace around it */
		if (uid == 0 || unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
			rc = -errno;
		else
			rc = map_ids(uid, gid);
	}
	if (rc == 0)
		rc = raise_lo();
	if (write(socket_fd, &rc, sizeof(rc)) == (ssize_t)sizeof(rc) && read(socket_fd, &done, 1) < 0)
		_exit(1);
	_exit(0);
}

/* In the parent. Return: the namespace's descriptor, or a negative errno, the child's or ours. */
static int take_namespace(pid_t pid, int socket_fd)
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
		make_namespace(pair[1]);
	}
	close(pair[1]);
	fd = pid < 0 ? -errno : take_namespace(pid, pair[0]);
	close(pair[0]);
	while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
	if (fd < 0)
		return err_set(err, fd,
			"no network namespace for the worker: %s; %s", strerror(-fd),
			geteuid() == 0
				? "CAP_SYS_ADMIN and CAP_NET_ADMIN help (docker run --cap-add SYS_ADMIN --cap-add NET_ADMIN)"
				: "root helps, or user namespaces allowed (sysctl kernel.unprivileged_userns_clone=1 "
				  "user.max_user_namespaces=10000)");
	return fd;
}
