/* The rights that a worker gives up, in this order: core files, new privileges, capabilities, dumpability, files
 * (Landlock), system calls (seccomp).
 *
 * The seccomp filter is a list of what is allowed; everything else is EPERM, so that a library that tries something
 * else takes its error path instead of dying. Rules look at arguments where a call is needed for one thing and could do
 * another: sendto() with an address, socketpair() of datagrams, mmap() of code, setsockopt() that re-routes. Fails with
 * the step; the worker must not go on then.
 *
 * Sanitizers and Valgrind run inside the process and need calls of their own: they get them, never those that open a
 * way to the network.
 */
#include "common/process/sandbox.h"

#include "common/base/log.h"
#include "common/process/sandbox_files.h"

#include <asm-generic/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#define SOCKET_TYPE_MASK 0xf /* the rest of socket()'s type is SOCK_NONBLOCK, SOCK_CLOEXEC */

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif
#ifndef TCP_RTO_MAX_MS
#define TCP_RTO_MAX_MS 44
#endif

#if defined(__SANITIZE_ADDRESS__)
#define SANDBOX_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(memory_sanitizer) || __has_feature(thread_sanitizer)
#define SANDBOX_SANITIZED true
#endif
#endif
#ifndef SANDBOX_SANITIZED
#define SANDBOX_SANITIZED false
#endif

/* Valgrind puts its preload in front of a program's environment, which is otherwise empty for a worker. */
static bool is_instrumented(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return SANDBOX_SANITIZED || (preload && strstr(preload, "vgpreload"));
}

/* --- the lists --- */
/* clang-format off */

/* Calls that no argument can make harmful. */
static const int sandbox_allowed[] = {
	/* bytes */
	SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(recvfrom), SCMP_SYS(recv),
	SCMP_SYS(recvmsg), SCMP_SYS(recvmmsg), SCMP_SYS(recvmmsg_time64), SCMP_SYS(pread64), SCMP_SYS(pwrite64),
	SCMP_SYS(lseek), SCMP_SYS(_llseek), SCMP_SYS(ftruncate), SCMP_SYS(ftruncate64), SCMP_SYS(fstat), SCMP_SYS(fstat64),
	SCMP_SYS(close), SCMP_SYS(dup), SCMP_SYS(dup3), SCMP_SYS(shutdown), SCMP_SYS(accept), SCMP_SYS(accept4),
	SCMP_SYS(getsockopt), SCMP_SYS(getsockname), SCMP_SYS(getpeername),
	/* waiting */
	SCMP_SYS(epoll_create1), SCMP_SYS(epoll_ctl), SCMP_SYS(epoll_wait), SCMP_SYS(epoll_pwait), SCMP_SYS(epoll_pwait2),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(ppoll_time64), SCMP_SYS(select), SCMP_SYS(_newselect), SCMP_SYS(pselect6),
	SCMP_SYS(pselect6_time64), SCMP_SYS(eventfd2), SCMP_SYS(pipe2),
	SCMP_SYS(timerfd_create), SCMP_SYS(timerfd_settime), SCMP_SYS(timerfd_settime64), SCMP_SYS(nanosleep),
	SCMP_SYS(clock_nanosleep), SCMP_SYS(clock_nanosleep_time64), SCMP_SYS(restart_syscall),
	/* memory */
	SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise),
	/* time, chance, what we are */
	SCMP_SYS(clock_gettime), SCMP_SYS(clock_gettime64), SCMP_SYS(clock_getres), SCMP_SYS(clock_getres_time64),
	SCMP_SYS(gettimeofday), SCMP_SYS(time),
	SCMP_SYS(getrandom), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getppid),
	SCMP_SYS(getuid), SCMP_SYS(geteuid), SCMP_SYS(getgid), SCMP_SYS(getegid),
	SCMP_SYS(getuid32), SCMP_SYS(geteuid32), SCMP_SYS(getgid32), SCMP_SYS(getegid32),
	SCMP_SYS(getrusage), SCMP_SYS(times), SCMP_SYS(sysinfo), SCMP_SYS(uname),
	SCMP_SYS(getcpu), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getrlimit), SCMP_SYS(ugetrlimit),
	/* signals, locks, the end */
	SCMP_SYS(rt_sigaction), SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigreturn), SCMP_SYS(sigaltstack),
	SCMP_SYS(futex), SCMP_SYS(futex_time64), SCMP_SYS(membarrier), SCMP_SYS(set_robust_list), SCMP_SYS(rseq),
	SCMP_SYS(exit), SCMP_SYS(exit_group),
};

/* In addition for the client, which asks for names and opens links by itself. Landlock decides which files it reads. */
static const int sandbox_allowed_client[] = {
	SCMP_SYS(connect), SCMP_SYS(sendto), SCMP_SYS(send), SCMP_SYS(sendmsg), SCMP_SYS(sendmmsg),
	SCMP_SYS(stat), SCMP_SYS(stat64), SCMP_SYS(lstat), SCMP_SYS(lstat64), SCMP_SYS(newfstatat), SCMP_SYS(fstatat64),
	SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat), SCMP_SYS(readlink), SCMP_SYS(readlinkat),
	SCMP_SYS(getdents64),
};

/* In addition for what sanitizers (a tracer thread that looks for leaks at exit, maps, stack traces) and Valgrind
 * (translated code, signals of its own) do. None of these calls names an address. */
static const int sandbox_allowed_instrumented[] = {
	SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(readlink), SCMP_SYS(readlinkat), SCMP_SYS(getdents), SCMP_SYS(getdents64),
	SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(fstatat64), SCMP_SYS(statx), SCMP_SYS(access),
	SCMP_SYS(faccessat), SCMP_SYS(getcwd),
	SCMP_SYS(mmap), SCMP_SYS(mmap2), SCMP_SYS(mprotect), SCMP_SYS(mincore), SCMP_SYS(clone), SCMP_SYS(ptrace),
	SCMP_SYS(wait4), SCMP_SYS(waitid), SCMP_SYS(kill), SCMP_SYS(tgkill), SCMP_SYS(tkill), SCMP_SYS(prctl),
	SCMP_SYS(arch_prctl), SCMP_SYS(sched_getparam), SCMP_SYS(sched_getscheduler), SCMP_SYS(set_tid_address),
	SCMP_SYS(setrlimit), SCMP_SYS(prlimit64), SCMP_SYS(pipe), SCMP_SYS(fcntl), SCMP_SYS(fcntl64),
	SCMP_SYS(rt_sigtimedwait), SCMP_SYS(rt_sigtimedwait_time64),
	SCMP_SYS(rt_sigpending), SCMP_SYS(rt_sigsuspend), SCMP_SYS(getpgrp), SCMP_SYS(unlink), SCMP_SYS(process_vm_readv),
};

/* glibc tries these first and falls back to the older call on ENOSYS; EPERM would be final. */
static const int sandbox_unknown[] = { SCMP_SYS(clone3), SCMP_SYS(faccessat2), SCMP_SYS(openat2) };

static const int sandbox_ioctls[] = { FIONBIO, FIONREAD, SIOCOUTQ, SIOCOUTQNSD, TCGETS };

static const int sandbox_fcntls[] = { F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD, F_DUPFD_CLOEXEC, F_GET_SEALS };

/* Socket options that tune. Not among them: IP_OPTIONS and IPV6_RTHDR (a source route leads elsewhere), UDP_ENCAP,
 * TCP_ULP, filters, packet rings, memberships. */
static const struct {
	int level, option;
} sandbox_socket_options[] = {
	{ SOL_SOCKET, SO_RCVBUF },	 { SOL_SOCKET, SO_SNDBUF },	    { SOL_SOCKET, SO_RCVLOWAT },
	{ SOL_SOCKET, SO_KEEPALIVE },	 { SOL_SOCKET, SO_LINGER },	    { SOL_SOCKET, SO_REUSEADDR },
	{ SOL_SOCKET, SO_BUSY_POLL },	 { SOL_SOCKET, SO_PRIORITY },	    { SOL_SOCKET, SO_RXQ_OVFL },
	{ SOL_SOCKET, SO_TIMESTAMP },	 { SOL_SOCKET, SO_MAX_PACING_RATE },
	{ IPPROTO_TCP, TCP_NODELAY },	 { IPPROTO_TCP, TCP_CORK },	    { IPPROTO_TCP, TCP_QUICKACK },
	{ IPPROTO_TCP, TCP_KEEPIDLE },	 { IPPROTO_TCP, TCP_KEEPINTVL },    { IPPROTO_TCP, TCP_KEEPCNT },
	{ IPPROTO_TCP, TCP_LINGER2 },	 { IPPROTO_TCP, TCP_USER_TIMEOUT }, { IPPROTO_TCP, TCP_NOTSENT_LOWAT },
	{ IPPROTO_TCP, TCP_CONGESTION }, { IPPROTO_TCP, TCP_RTO_MAX_MS }, { IPPROTO_TCP, TCP_MAXSEG },	    { IPPROTO_UDP, UDP_SEGMENT },
	{ IPPROTO_UDP, UDP_GRO },	 { IPPROTO_IP, IP_TOS },	    { IPPROTO_IP, IP_MTU_DISCOVER },
	{ IPPROTO_IP, IP_RECVERR },	 { IPPROTO_IP, IP_PKTINFO },	    { IPPROTO_IPV6, IPV6_TCLASS },
	{ IPPROTO_IPV6, IPV6_RECVERR },	 { IPPROTO_IPV6, IPV6_MTU_DISCOVER }, { IPPROTO_IPV6, IPV6_RECVPKTINFO },
};

/* clang-format on */
/* --- building the filter --- */

/* The low 32 bits are @value: the kernel reads these arguments as int, whatever the upper half holds. */
static struct scmp_arg_cmp arg_is(unsigned int arg, uint32_t value)
{
	return (struct scmp_arg_cmp){arg, SCMP_CMP_MASKED_EQ, 0xffffffffu, value};
}

static struct scmp_arg_cmp arg_bits(unsigned int arg, uint32_t mask, uint32_t value)
{
	return (struct scmp_arg_cmp){arg, SCMP_CMP_MASKED_EQ, mask, value};
}

static struct scmp_arg_cmp arg_null(unsigned int arg)
{
	return (struct scmp_arg_cmp){arg, SCMP_CMP_EQ, 0, 0};
}

/* -EDOM, -EFAULT: the call does not exist on this machine's architecture: nothing to allow. */
static int ignore_foreign(int rc)
{
	return rc == -EDOM || rc == -EFAULT || rc == -EEXIST ? 0 : rc;
}

static int add_list(scmp_filter_ctx filter, uint32_t action, const int *calls, size_t count)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = ignore_foreign(seccomp_rule_add(filter, action, calls[i], 0));
	return rc;
}

/* Allow @call where argument @argument is one of @values. */
static int add_values(scmp_filter_ctx filter, int call, unsigned int argument, const int *values, size_t count)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = ignore_foreign(
			seccomp_rule_add(filter, SCMP_ACT_ALLOW, call, 1, arg_is(argument, (uint32_t)values[i])));
	return rc;
}

/* Allow @call where its arguments fit. */
struct rule {
	int call;
	unsigned count;
	struct scmp_arg_cmp args[2];
};

static int add_rules(scmp_filter_ctx filter, const struct rule *rules, size_t count)
{
	int rc = 0;

	for (size_t i = 0; i < count && rc == 0; i++)
		rc = ignore_foreign(seccomp_rule_add_array(
			filter, SCMP_ACT_ALLOW, rules[i].call, rules[i].count, rules[i].args));
	return rc;
}

/* Memory never becomes code; signals only to ourselves; limits are read, not set. */
static int add_process(scmp_filter_ctx filter)
{
	const struct rule rules[] = {
		{SCMP_SYS(mmap), 1, {arg_bits(2, PROT_EXEC, 0)}},
		{SCMP_SYS(mmap2), 1, {arg_bits(2, PROT_EXEC, 0)}},
		{SCMP_SYS(mprotect), 1, {arg_bits(2, PROT_EXEC, 0)}},
		{SCMP_SYS(tgkill), 1, {arg_is(0, (uint32_t)getpid())}},
		{SCMP_SYS(prlimit64), 2, {arg_is(0, 0), arg_null(2)}},
	};

	return add_rules(filter, rules, COUNT_OF(rules));
}

/* Bytes leave by connected sockets only. fstat() is newfstatat() with an empty path, or statx() where a 32-bit machine
 * has times of 64 bits. */
static int add_server(scmp_filter_ctx filter)
{
	const struct rule rules[] = {
		{SCMP_SYS(sendto), 2, {arg_bits(3, MSG_FASTOPEN, 0), arg_null(4)}},
		{SCMP_SYS(send), 1, {arg_bits(3, MSG_FASTOPEN, 0)}},
		{SCMP_SYS(socketpair), 2, {arg_is(0, AF_UNIX), arg_bits(1, SOCKET_TYPE_MASK, SOCK_STREAM)}},
		{SCMP_SYS(newfstatat), 1, {arg_bits(3, AT_EMPTY_PATH, AT_EMPTY_PATH)}},
		{SCMP_SYS(statx), 1, {arg_bits(2, AT_EMPTY_PATH, AT_EMPTY_PATH)}},
	};

	return add_rules(filter, rules, COUNT_OF(rules) - (is_instrumented() ? 2 : 0));
}

/* Sockets of both families by type, whatever their flags; files to read only. */
static int add_client(scmp_filter_ctx filter)
{
	const uint32_t writing = O_WRONLY | O_RDWR | O_CREAT | O_TRUNC | O_APPEND;
	const struct rule rules[] = {
		{SCMP_SYS(socket), 2, {arg_is(0, AF_INET), arg_bits(1, SOCKET_TYPE_MASK, SOCK_STREAM)}},
		{SCMP_SYS(socket), 2, {arg_is(0, AF_INET), arg_bits(1, SOCKET_TYPE_MASK, SOCK_DGRAM)}},
		{SCMP_SYS(socket), 2, {arg_is(0, AF_INET6), arg_bits(1, SOCKET_TYPE_MASK, SOCK_STREAM)}},
		{SCMP_SYS(socket), 2, {arg_is(0, AF_INET6), arg_bits(1, SOCKET_TYPE_MASK, SOCK_DGRAM)}},
		{SCMP_SYS(openat), 1, {arg_bits(2, writing, 0)}},
		{SCMP_SYS(open), 1, {arg_bits(1, writing, 0)}},
	};
	int rc = add_list(filter, SCMP_ACT_ALLOW, sandbox_allowed_client, COUNT_OF(sandbox_allowed_client));

	return rc < 0 ? rc : add_rules(filter, rules, COUNT_OF(rules) - (is_instrumented() ? 2 : 0));
}

/* The whole filter, rule by rule. A rule that is added twice is one rule. */
static int add_all(scmp_filter_ctx filter, enum sandbox_profile profile)
{
	bool is_tool_inside = is_instrumented();
	int rc = add_list(filter, SCMP_ACT_ALLOW, sandbox_allowed, COUNT_OF(sandbox_allowed));

	if (rc == 0)
		rc = add_list(filter, SCMP_ACT_ERRNO(ENOSYS), sandbox_unknown, COUNT_OF(sandbox_unknown));
	if (rc == 0)
		rc = add_values(filter, SCMP_SYS(ioctl), 1, sandbox_ioctls, COUNT_OF(sandbox_ioctls));
	for (size_t i = 0; i < COUNT_OF(sandbox_socket_options) && rc == 0; i++)
		rc = seccomp_rule_add(filter, SCMP_ACT_ALLOW, SCMP_SYS(setsockopt), 2,
			arg_is(1, (uint32_t)sandbox_socket_options[i].level),
			arg_is(2, (uint32_t)sandbox_socket_options[i].option));
	if (rc == 0 && is_tool_inside)
		rc = add_list(
			filter, SCMP_ACT_ALLOW, sandbox_allowed_instrumented, COUNT_OF(sandbox_allowed_instrumented));
	if (rc == 0 && !is_tool_inside)
		rc = add_process(filter);
	if (rc == 0 && !is_tool_inside)
		rc = add_values(filter, SCMP_SYS(fcntl), 1, sandbox_fcntls, COUNT_OF(sandbox_fcntls));
	if (rc == 0 && !is_tool_inside)
		rc = add_values(filter, SCMP_SYS(fcntl64), 1, sandbox_fcntls, COUNT_OF(sandbox_fcntls));
	if (rc == 0)
		rc = profile == SANDBOX_SERVER ? add_server(filter) : add_client(filter);
	return rc;
}

void sandbox_refuse_io_uring(void)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ALLOW);

	if (!filter)
		return;
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1);
	if (seccomp_rule_add(filter, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(io_uring_setup), 0) == 0)
		seccomp_load(filter);
	seccomp_release(filter);
}

static int load_filter(enum sandbox_profile profile, struct err *err)
{
	scmp_filter_ctx filter = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	int rc;

	if (!filter)
		return err_system(err, -ENOMEM, "sandbox: seccomp");
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_TSYNC, 1);
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2); /* a binary tree: it is passed at every call */
	seccomp_attr_set(filter, SCMP_FLTATR_CTL_SSB, 1); /* no foreign code runs here; the mitigation costs much */
	rc = add_all(filter, profile);
	if (rc == 0)
		rc = seccomp_load(filter);
	seccomp_release(filter);
	if (rc < 0)
		return err_system(err, rc, "sandbox: seccomp (the kernel needs CONFIG_SECCOMP_FILTER)");
	return 0;
}

/* --- the rest --- */

/* Give up the rights that need no filter. @err is set if an indispensable step fails. */
static int drop_privileges(struct err *err)
{
	struct rlimit no_core = {0, 0};
	struct rlimit files;
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0}};

	prctl(PR_SET_NAME, "towpath-worker");
	setrlimit(RLIMIT_CORE, &no_core); /* a core file would hold tokens and the TLS key */
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		setrlimit(RLIMIT_NOFILE, &files);
	}
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return err_system(err, -errno, "sandbox: no_new_privs");
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
		prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); /* refused without CAP_SETPCAP: then spawn has done it already */
	if (syscall(SYS_capset, &header, none) < 0)
		return err_system(err, -errno, "sandbox: dropping capabilities");
	if (prctl(PR_SET_DUMPABLE, is_instrumented() ? 1 : 0, 0, 0, 0) < 0)
		return err_system(err, -errno, "sandbox: dumpable");
	return 0;
}

/* The folder that /etc/resolv.conf is in after links are followed: a resolver's service replaces the file, so the
 * folder must be readable. If the link leads nowhere yet, because that service has not started: the nearest folder
 * above that exists. */
static const char *resolver_folder(char path[PATH_MAX])
{
	char *slash;

	strcpy(path, "/etc/resolv.conf");
	if (!realpath("/etc/resolv.conf", path)) /* leaves the first part that it could not find */
		log_debug("config", "%s: %s", path, strerror(errno));
	while ((slash = strrchr(path, '/')) && slash != path) {
		*slash = '\0';
		if (access(path, F_OK) == 0)
			return path;
	}
	return "/etc";
}

/* c-ares passes over a file that it may not read, and asks 127.0.0.1 in vain. */
static void warn_unreadable(void)
{
	static const char *const files[] = {"/etc/resolv.conf", "/etc/hosts"};
	char path[PATH_MAX];

	for (size_t i = 0; i < COUNT_OF(files); i++) {
		if (access(files[i], R_OK) == 0 || errno != EACCES)
			continue;
		if (!realpath(files[i], path)) /* a folder above it may not be entered */
			strcpy(path, files[i]);
		log_warning("config",
			"%s: our worker, user %u, may not read it, so names may not be found; chmod a+rx %.*s && chmod "
			"a+r %s helps",
			files[i], geteuid(), (int)(strrchr(path, '/') - path), path, path);
	}
}

bool sandbox_has_landlock(void)
{
	return is_instrumented() || sandbox_files_version() > 0;
}

int sandbox_enter(enum sandbox_profile profile, struct err *err)
{
	char resolver[PATH_MAX];
	/* The files that a client reads: the resolver's, certificates, and the random source of c-ares' query ids. A
	 * server's worker reads nothing. */
	const char *readable[] = {"/etc", "/usr/share/ca-certificates", "/usr/local/share/ca-certificates",
		"/usr/lib/ssl", "/dev/urandom", resolver_folder(resolver)};
	size_t readable_count = profile == SANDBOX_CLIENT ? COUNT_OF(readable) : 0;
	int rc;

	if (profile == SANDBOX_CLIENT)
		warn_unreadable();
	tzset(); /* reads /etc/localtime while it can */
	rc = drop_privileges(err);
	if (rc < 0)
		return rc;
	rc = is_instrumented() ? 0 : sandbox_files_restrict(readable, readable_count, profile == SANDBOX_SERVER);
	if (rc < 0)
		log_notice("config",
			"the worker is held by its system call filter (seccomp) and has no capability; Landlock, which "
			"would keep %s, is missing (%s); a kernel with CONFIG_SECURITY_LANDLOCK and 'landlock' in its "
			"boot parameter lsm= has it",
			profile == SANDBOX_SERVER ? "files from it a second time" : "it from files outside of /etc",
			strerror(-rc));
	return load_filter(profile, err);
}
