/* See table_lock.h. */
#include "common/host/table_lock.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

int table_lock_take(const char *what, uint32_t number)
{
	struct sockaddr_un name = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), rc;
	socklen_t len = offsetof(struct sockaddr_un, sun_path) + 1;

	if (fd < 0)
		return -errno;
	/* A zero byte first: it is no file. */
	len += (socklen_t)snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "towpath-%s-%u", what, number);
	if (bind(fd, (struct sockaddr *)&name, len) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}
