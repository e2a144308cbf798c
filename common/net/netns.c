/* See netns.h. Happy path: open our own namespace, enter the other one, and go back by that descriptor. A way back that
 * fails ends the program: everything that follows would change the wrong host.
 */
#include "common/net/netns.h"

#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

#define OWN "/proc/thread-self/ns/net"
#define STAYED INT_MAX /* no descriptor */

int netns_enter(int fd, struct err *err)
{
	int home, rc;

	if (fd < 0)
		return STAYED;
	home = open(OWN, O_RDONLY | O_CLOEXEC);
	if (home < 0)
		return err_system(err, -errno, OWN);
	if (setns(fd, CLONE_NEWNET) == 0)
		return home;
	rc = -errno;
	err_set(err, rc, "network namespace: %s%s", strerror(-rc), rc == -EPERM ? "; CAP_SYS_ADMIN helps" : "");
	close(home);
	return rc;
}

void netns_leave(int home)
{
	if (home == STAYED)
		return;
	if (setns(home, CLONE_NEWNET) < 0) {
		log_error("route", "no way back to the own network namespace: %s", strerror(errno));
		log_flush();
		abort();
	}
	close(home);
}

/* The inode's number is used anew when a namespace has gone. Linux before 5.14 has nothing better. */
uint64_t netns_id(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t id = 0;
	socklen_t len = sizeof(id);
	struct stat status;

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &id, &len) < 0)
		id = stat(OWN, &status) == 0 ? status.st_ino : 0;
	if (fd >= 0)
		close(fd);
	return id;
}
