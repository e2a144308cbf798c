/* Preloaded into a program: kill it right before the Nth call that can change something on this host.
 *
 *     KILL_AT=N LD_PRELOAD=…/libkill_at.so PROGRAM     dies by SIGKILL in front of its Nth such call
 *     KILL_COUNT=FILE LD_PRELOAD=…                     runs to its end and writes these calls, one a line
 *
 * Such calls: netlink messages that are no question; writing to, making, renaming and removing files and folders (also
 * /proc/sys); starting a program, and the first wait after that, when it has just begun. Only the process itself
 * counts, not what it starts. Calls that libc makes inside itself are not seen (stdio): they change nothing here.
 *
 * strace --inject can do the same, at 5 ms a call in the test kernel.
 */
#undef _FILE_OFFSET_BITS /* open() and open64() are two */
#undef _TIME_BITS
#undef _FORTIFY_SOURCE	 /* with clang, glibc makes several functions of each then */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/genetlink.h>
#include <linux/netlink.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#define CALLS_MAX 4096

static pid_t self;
static long kill_at, count;
static const char *calls[CALLS_MAX];
static bool has_started; /* a program, and has not waited since */
static char count_path[256];

__attribute__((constructor)) static void begin(void)
{
	const char *at = getenv("KILL_AT"), *path = getenv("KILL_COUNT");

	self = getpid();
	kill_at = at ? atol(at) : 0;
	snprintf(count_path, sizeof(count_path), "%s", path ? path : "");
	unsetenv("LD_PRELOAD"); /* not for what it starts */
}

__attribute__((destructor)) static void end(void)
{
	FILE *file = count_path[0] && getpid() == self ? fopen(count_path, "w") : NULL;

	for (long i = 0; file && i < count && i < CALLS_MAX; i++)
		fprintf(file, "%s\n", calls[i]);
	if (file)
		fclose(file);
}

static void can_change(const char *what)
{
	if (getpid() != self)
		return;
	if (count < CALLS_MAX)
		calls[count] = what;
	count++;
	if (kill_at > 0 && count == kill_at) {
		dprintf(2, "killed in front of %s\n", what);
		syscall(SYS_kill, self, SIGKILL);
	}
}

/* --- netlink --- */

/* rtnetlink's types come in fours, the third asks; of generic netlink the controller answers only, and WireGuard's
 * first command asks. */
static bool is_question(int protocol, const struct nlmsghdr *header, size_t len)
{
	const struct genlmsghdr *generic = (const void *)(header + 1);

	if (protocol == NETLINK_ROUTE)
		return len < sizeof(*header) || (header->nlmsg_type & 3) == 2;
	return len < sizeof(*header) + sizeof(*generic) || header->nlmsg_type == GENL_ID_CTRL || generic->cmd == 0;
}

static void sends(int fd, const void *data, size_t len)
{
	int domain = 0, protocol = 0;
	socklen_t size = sizeof(int);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0 || domain != AF_NETLINK)
		return;
	getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &size);
	if (!is_question(protocol, data, len))
		can_change("a netlink message");
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static void sends_message(int fd, const struct msghdr *message)
{
	if (message->msg_iovlen > 0)
		sends(fd, message->msg_iov[0].iov_base, message->msg_iov[0].iov_len);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	sends_message(fd, message);
	return NEXT(sendmsg)(fd, message, flags);
}

#if __TIMESIZE == 32
/* The programs whose times have 64 bits, as ours have, call this for sendmsg(); libnl may call the other. */
ssize_t __sendmsg64(int fd, const struct msghdr *message, int flags);
ssize_t __sendmsg64(int fd, const struct msghdr *message, int flags)
{
	sends_message(fd, message);
	return NEXT(__sendmsg64)(fd, message, flags);
}
#endif

ssize_t sendto(int fd, const void *data, size_t len, int flags, const struct sockaddr *to, socklen_t to_len)
{
	sends(fd, data, len);
	return NEXT(sendto)(fd, data, len, flags, to, to_len);
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
	sends(fd, data, len);
	return NEXT(send)(fd, data, len, flags);
}

/* --- files --- */

ssize_t write(int fd, const void *data, size_t len)
{
	struct stat64 status; /* a number of an inode may need 64 bits */

	if (fstat64(fd, &status) == 0 && S_ISREG(status.st_mode))
		can_change("write()");
	return NEXT(write)(fd, data, len);
}

int ftruncate(int fd, off_t len)
{
	can_change("ftruncate()");
	return NEXT(ftruncate)(fd, len);
}

int ftruncate64(int fd, off64_t len)
{
	can_change("ftruncate()");
	return NEXT(ftruncate64)(fd, len);
}

int fsync(int fd)
{
	can_change("fsync()");
	return NEXT(fsync)(fd);
}

static mode_t mode_of(int flags, va_list arguments)
{
	return flags & O_CREAT ? va_arg(arguments, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	if (flags & (O_CREAT | O_TRUNC))
		can_change("open()");
	return NEXT(open)(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
	va_list arguments;
	mode_t mode;

	va_start(arguments, flags);
	mode = mode_of(flags, arguments);
	va_end(arguments);
	if (flags & (O_CREAT | O_TRUNC))
		can_change("open()");
	return NEXT(open64)(path, flags, mode);
}

int mkdir(const char *path, mode_t mode)
{
	can_change("mkdir()");
	return NEXT(mkdir)(path, mode);
}

int unlink(const char *path)
{
	can_change("unlink()");
	return NEXT(unlink)(path);
}

int rename(const char *from, const char *to)
{
	can_change("rename()");
	return NEXT(rename)(from, to);
}

int rmdir(const char *path)
{
	can_change("rmdir()");
	return NEXT(rmdir)(path);
}

/* --- programs --- */

pid_t fork(void)
{
	pid_t pid;

	can_change("fork()");
	pid = NEXT(fork)();
	has_started = pid > 0;
	return pid;
}

int epoll_pwait(int epoll, struct epoll_event *events, int max, int timeout, const sigset_t *mask)
{
	if (has_started)
		can_change("the wait for a program");
	has_started = false;
	return NEXT(epoll_pwait)(epoll, events, max, timeout, mask);
}

int epoll_wait(int epoll, struct epoll_event *events, int max, int timeout)
{
	if (has_started)
		can_change("the wait for a program");
	has_started = false;
	return NEXT(epoll_wait)(epoll, events, max, timeout);
}
