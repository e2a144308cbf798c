/* The descriptors of the server's worker must lead nowhere but to their peers.
 *
 * A child process holds what a real worker holds (a TCP connection accepted in the host's namespace, a UDP socket
 * connected to a target there, one end of a channel), enters the namespace with only lo and the sandbox, and tries one
 * trick to reach a TCP listener and a UDP socket on the host's 127.0.0.1. The same tricks without the sandbox do reach
 * them where marked, so that these tests can fail. Needs root for the namespace; the network used is loopback only.
 */
#include "common/base/err.h"
#include "common/process/sandbox.h"
#include "common/process/spawn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))
/* A machine may be slow: what must arrive has a limit for what hangs. */
#define ARRIVAL_LIMIT_MS 20000
#define QUIET_MS 50

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED true
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED true
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED false
#endif

static bool is_valgrind(void)
{
	const char *preload = getenv("LD_PRELOAD");

	return preload && strstr(preload, "vgpreload");
}

/* Sanitizers and Valgrind keep calls of their own; see sandbox.c. */
static bool is_instrumented(void)
{
	return IS_SANITIZED || is_valgrind();
}

struct held {
	int victim_tcp, victim_udp, victim_unix; /* on the host: nothing may arrive here */
	struct sockaddr_in tcp_addr, udp_addr;
	struct sockaddr_un unix_addr;
	int front, visitor, accepted; /* a listener, who connected to it, and the worker's end */
	int target, flow;	      /* WireGuard's place, and the worker's socket connected to it */
	int channel[2];
	int netns_fd;
	pid_t host_pid;
};

/* --- what a worker holds --- */

static struct sockaddr_in loopback_any_port(void)
{
	struct sockaddr_in addr = {.sin_family = AF_INET};

	addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return addr;
}

static int bound_socket(int type, struct sockaddr_in *ret)
{
	socklen_t len = sizeof(*ret);
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	*ret = loopback_any_port();
	assert_true(fd >= 0);
	assert_return_code(bind(fd, (struct sockaddr *)ret, sizeof(*ret)), errno);
	assert_return_code(getsockname(fd, (struct sockaddr *)ret, &len), errno);
	if (type == SOCK_STREAM)
		assert_return_code(listen(fd, 16), errno);
	return fd;
}

static void hold_victims(struct held *h)
{
	h->victim_tcp = bound_socket(SOCK_STREAM, &h->tcp_addr);
	h->victim_udp = bound_socket(SOCK_DGRAM, &h->udp_addr);
	h->victim_unix = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	h->unix_addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(h->unix_addr.sun_path, sizeof(h->unix_addr.sun_path), "/tmp/test_sandbox.%ld", (long)getpid());
	unlink(h->unix_addr.sun_path);
	assert_return_code(bind(h->victim_unix, (struct sockaddr *)&h->unix_addr, sizeof(h->unix_addr)), errno);
	assert_return_code(chmod(h->unix_addr.sun_path, 0666), errno);
	assert_return_code(listen(h->victim_unix, 16), errno);
}

static int set_up(void **state)
{
	struct held *h = calloc(1, sizeof(*h));
	struct sockaddr_in front, target;
	struct err err;

	assert_non_null(h);
	hold_victims(h);
	h->front = bound_socket(SOCK_STREAM, &front);
	h->visitor = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(connect(h->visitor, (struct sockaddr *)&front, sizeof(front)), errno);
	h->accepted = accept(h->front, NULL, NULL);
	assert_true(h->accepted >= 0);
	h->target = bound_socket(SOCK_DGRAM, &target);
	h->flow = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_return_code(connect(h->flow, (struct sockaddr *)&target, sizeof(target)), errno);
	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, h->channel), errno);
	h->host_pid = getpid();
	h->netns_fd = geteuid() == 0 ? spawn_open_lo_namespace(&err) : -1;
	*state = h;
	return 0;
}

static int tear_down(void **state)
{
	struct held *h = *state;
	const int fds[] = {h->victim_tcp, h->victim_udp, h->victim_unix, h->front, h->visitor, h->accepted, h->target,
		h->flow, h->channel[0], h->channel[1], h->netns_fd};

	for (size_t i = 0; i < COUNT_OF(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	unlink(h->unix_addr.sun_path);
	free(h);
	return 0;
}

/* --- the child --- */

typedef int (*act)(struct held *h); /* 0: it worked; or a negative errno */

/* GUARD_SERVER_AT_HOME: in the host's namespace, where CAP_SYS_ADMIN is missing for another. */
enum guard { UNGUARDED, GUARD_SERVER, GUARD_SERVER_AT_HOME, GUARD_CLIENT };

static void child_run(struct held *h, enum guard guard, act what, int report_fd)
{
	struct err err = {""};
	int rc = 0;

	if ((guard == UNGUARDED || guard == GUARD_SERVER) && setns(h->netns_fd, CLONE_NEWNET) < 0)
		rc = -1000;
	if (rc == 0 && (guard == GUARD_SERVER || guard == GUARD_SERVER_AT_HOME) && sandbox_enter(SANDBOX_SERVER, &err) < 0)
		rc = -1001;
	if (rc == 0 && guard == GUARD_CLIENT && sandbox_enter(SANDBOX_CLIENT, &err) < 0)
		rc = -1002;
	if (err.text[0])
		fprintf(stderr, "%s\n", err.text);
	if (rc == 0)
		rc = what(h);
	_exit(write(report_fd, &rc, sizeof(rc)) == (ssize_t)sizeof(rc) ? 0 : 1);
}

static int run(struct held *h, enum guard guard, act what)
{
	int report[2], rc = -1003;
	pid_t pid;

	assert_return_code(pipe2(report, O_CLOEXEC), errno);
	pid = fork();
	if (pid == 0)
		child_run(h, guard, what, report[1]);
	close(report[1]);
	if (read(report[0], &rc, sizeof(rc)) != (ssize_t)sizeof(rc))
		rc = -1004; /* it died: for a trick that is a failure too */
	close(report[0]);
	waitpid(pid, NULL, 0);
	assert_true(rc > -1000 || rc == -1004);
	return rc;
}

static bool has_arrived(int fd)
{
	struct pollfd waiting = {.fd = fd, .events = POLLIN};

	return poll(&waiting, 1, ARRIVAL_LIMIT_MS) > 0;
}

static bool anything_arrived(const struct held *h, int wait_ms)
{
	struct pollfd waiting[] = {{h->victim_tcp, POLLIN, 0}, {h->victim_udp, POLLIN, 0}, {h->victim_unix, POLLIN, 0}};

	return poll(waiting, COUNT_OF(waiting), wait_ms) > 0;
}

/* --- the tricks --- */

static int result(long rc)
{
	return rc < 0 ? -errno : 0;
}

static int disconnect_socket(int fd)
{
	const struct sockaddr none = {.sa_family = AF_UNSPEC};

	return connect(fd, &none, sizeof(none));
}

static int connect_accepted_anew(struct held *h)
{
	disconnect_socket(h->accepted);
	return result(connect(h->accepted, (struct sockaddr *)&h->tcp_addr, sizeof(h->tcp_addr)));
}

static int connect_flow_anew(struct held *h)
{
	if (connect(h->flow, (struct sockaddr *)&h->udp_addr, sizeof(h->udp_addr)) < 0)
		return -errno;
	return result(send(h->flow, "x", 1, 0));
}

static int sendto_address(struct held *h)
{
	return result(sendto(h->flow, "x", 1, 0, (struct sockaddr *)&h->udp_addr, sizeof(h->udp_addr)));
}

static int fast_open(struct held *h)
{
	disconnect_socket(h->accepted);
	return result(sendto(h->accepted, "x", 1, MSG_FASTOPEN, (struct sockaddr *)&h->tcp_addr, sizeof(h->tcp_addr)));
}

static int fast_open_without_address(struct held *h)
{
	return result(sendto(h->accepted, "x", 1, MSG_FASTOPEN, NULL, 0));
}

static struct msghdr message_to_victim(struct held *h, struct iovec *iov)
{
	*iov = (struct iovec){.iov_base = (void *)&h->host_pid, .iov_len = 1};
	return (struct msghdr){
		.msg_name = &h->udp_addr, .msg_namelen = sizeof(h->udp_addr), .msg_iov = iov, .msg_iovlen = 1};
}

static int sendmsg_address(struct held *h)
{
	struct iovec iov;
	struct msghdr message = message_to_victim(h, &iov);

	return result(sendmsg(h->flow, &message, 0));
}

static int sendmmsg_address(struct held *h)
{
	struct iovec iov;
	struct mmsghdr messages = {.msg_hdr = message_to_victim(h, &iov)};

	return result(sendmmsg(h->flow, &messages, 1, 0));
}

static int sendmsg_without_address(struct held *h)
{
	struct iovec iov;
	struct msghdr message = message_to_victim(h, &iov);

	message.msg_name = NULL;
	message.msg_namelen = 0;
	return result(sendmsg(h->flow, &message, 0));
}

static int new_socket(int family, int type)
{
	return result(socket(family, type, 0));
}

static int new_tcp_socket(struct held *h)
{
	(void)h;
	return new_socket(AF_INET, SOCK_STREAM);
}

static int new_udp6_socket(struct held *h)
{
	(void)h;
	return new_socket(AF_INET6, SOCK_DGRAM);
}

static int new_raw_socket(struct held *h)
{
	(void)h;
	return new_socket(AF_PACKET, SOCK_RAW);
}

static int new_netlink_socket(struct held *h)
{
	(void)h;
	return new_socket(AF_NETLINK, SOCK_RAW);
}

static int new_vsock_socket(struct held *h)
{
	(void)h;
	return new_socket(AF_VSOCK, SOCK_STREAM);
}

static int connect_unix(struct held *h)
{
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	return fd < 0 ? -errno : result(connect(fd, (struct sockaddr *)&h->unix_addr, sizeof(h->unix_addr)));
}

/* A datagram socket of a pair could be sent to any path. */
static int pair_of_datagrams(struct held *h)
{
	int pair[2];

	(void)h;
	return result(socketpair(AF_UNIX, SOCK_DGRAM, 0, pair));
}

static int pair_connected_anew(struct held *h)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0)
		return -errno;
	return result(connect(pair[0], (struct sockaddr *)&h->unix_addr, sizeof(h->unix_addr)));
}

static int bind_accepted(struct held *h)
{
	const struct sockaddr_in any = loopback_any_port();

	disconnect_socket(h->accepted);
	return result(bind(h->accepted, (const struct sockaddr *)&any, sizeof(any)));
}

static int listen_accepted(struct held *h)
{
	return result(listen(h->accepted, 1));
}

/* A source route on a connected socket leads elsewhere without naming an address in any send. */
static int source_route(struct held *h)
{
	uint8_t route[] = {0x83, 7, 4, 127, 0, 0, 9, 0};

	return result(setsockopt(h->flow, IPPROTO_IP, IP_OPTIONS, route, sizeof(route)));
}

static int udp_encapsulation(struct held *h)
{
	const int kind = 2; /* UDP_ENCAP_ESPINUDP */

	return result(setsockopt(h->flow, IPPROTO_UDP, UDP_ENCAP, &kind, sizeof(kind)));
}

static int io_uring_set_up(struct held *h)
{
	struct io_uring_params parameters = {0};

	(void)h;
	return result(syscall(SYS_io_uring_setup, 4, &parameters));
}

/* The host's namespace, through its process and through our own descriptor of it. */
static int enter_host_namespace(struct held *h)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/ns/net", (long)h->host_pid);
	fd = open(path, O_RDONLY);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0)
		return -errno;
	fd = socket(AF_INET, SOCK_STREAM, 0);
	return fd < 0 ? -errno : result(connect(fd, (struct sockaddr *)&h->tcp_addr, sizeof(h->tcp_addr)));
}

static int enter_held_namespace(struct held *h)
{
	return result(setns(h->netns_fd, CLONE_NEWNET));
}

static int unshare_user(struct held *h)
{
	(void)h;
	return result(unshare(CLONE_NEWUSER | CLONE_NEWNET));
}

static int open_file(struct held *h)
{
	(void)h;
	return result(open("/etc/passwd", O_RDONLY));
}

static int create_file(struct held *h)
{
	(void)h;
	return result(open("/tmp/test_sandbox.created", O_WRONLY | O_CREAT, 0600));
}

static int execute(struct held *h)
{
	char program[] = "/bin/true";
	char *argv[] = {program, NULL};

	(void)h;
	return result(execve(program, argv, NULL));
}

static int fork_child(struct held *h)
{
	long pid = syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);

	(void)h;
	if (pid == 0)
		_exit(0);
	return result(pid);
}

static int trace_host(struct held *h)
{
	long rc = ptrace(PTRACE_SEIZE, h->host_pid, NULL, NULL);

	if (rc == 0)
		ptrace(PTRACE_DETACH, h->host_pid, NULL, NULL);
	return result(rc);
}

static int read_host_memory(struct held *h)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {h, 1};

	return result(process_vm_readv(h->host_pid, &here, 1, &there, 1, 0));
}

static int write_host_memory(struct held *h)
{
	char byte = 0;
	struct iovec here = {&byte, 1}, there = {&h->unix_addr.sun_path[sizeof(h->unix_addr.sun_path) - 1], 1};

	return result(process_vm_writev(h->host_pid, &here, 1, &there, 1, 0));
}

static int steal_descriptor(struct held *h)
{
	int pidfd = (int)syscall(SYS_pidfd_open, h->host_pid, 0);

	return pidfd < 0 ? -errno : result(syscall(SYS_pidfd_getfd, pidfd, h->victim_tcp, 0));
}

static int signal_host(struct held *h)
{
	return result(kill(h->host_pid, SIGCONT));
}

static int load_bpf(struct held *h)
{
	char attributes[128] = {0};

	(void)h;
	return result(syscall(SYS_bpf, 0, attributes, sizeof(attributes)));
}

static int add_key(struct held *h)
{
	(void)h;
	return result(syscall(SYS_add_key, "user", "towpath-test", "x", 1, -1));
}

static int mount_over(struct held *h)
{
	(void)h;
	return result(mount("none", "/mnt", "tmpfs", 0, NULL));
}

static int code_in_memory(struct held *h)
{
	(void)h;
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -errno : 0;
}

/* A second filter cannot allow what the first denies, but a worker has no use for it. */
static int prctl_dumpable(struct held *h)
{
	(void)h;
	return result(syscall(SYS_prctl, 4 /* PR_SET_DUMPABLE */, 1, 0, 0, 0));
}

struct trick {
	const char *name;
	act what;
	bool reaches_unguarded;	     /* without the sandbox something arrives: the trick is a real one */
	bool is_kept_by_instruments; /* sanitizers and Valgrind need the call themselves */
};

static const struct trick tricks[] = {
	{"connect() of a disconnected accepted socket", connect_accepted_anew, true, false},
	{"connect() of the flow's socket to somebody else", connect_flow_anew, true, false},
	{"sendto() with an address", sendto_address, true, false},
	{"sendto() with MSG_FASTOPEN", fast_open, true, false},
	{"sendto() with MSG_FASTOPEN and no address", fast_open_without_address, false, false},
	{"sendmsg() with an address", sendmsg_address, true, false},
	{"sendmmsg() with an address", sendmmsg_address, true, false},
	{"sendmsg() without an address", sendmsg_without_address, false, false},
	{"a new TCP socket", new_tcp_socket, false, false},
	{"a new UDP socket", new_udp6_socket, false, false},
	{"a packet socket", new_raw_socket, false, false},
	{"a netlink socket", new_netlink_socket, false, false},
	{"a vsock socket", new_vsock_socket, false, false},
	{"connect() of a new AF_UNIX socket", connect_unix, true, false},
	{"a pair of AF_UNIX datagram sockets", pair_of_datagrams, false, false},
	{"connect() of one of a pair", pair_connected_anew, false, false},
	{"bind()", bind_accepted, false, false},
	{"listen()", listen_accepted, false, false},
	{"a source route", source_route, false, false},
	{"UDP encapsulation", udp_encapsulation, false, false},
	{"io_uring", io_uring_set_up, false, false},
	{"the host's namespace by /proc", enter_host_namespace, true, false},
	{"a namespace by its descriptor", enter_held_namespace, false, false},
	{"a new user namespace", unshare_user, false, false},
	{"open() of a file", open_file, false, true},
	{"creating a file", create_file, false, true},
	{"execve()", execute, false, false},
	{"fork()", fork_child, false, true},
	{"ptrace() of the supervisor", trace_host, false, true},
	{"reading the supervisor's memory", read_host_memory, false, true},
	{"writing the supervisor's memory", write_host_memory, false, false},
	{"a descriptor of the supervisor's", steal_descriptor, false, false},
	{"a signal to the supervisor", signal_host, false, true},
	{"bpf()", load_bpf, false, false},
	{"add_key()", add_key, false, false},
	{"mount()", mount_over, false, false},
	{"memory with code", code_in_memory, false, true},
	{"becoming dumpable again", prctl_dumpable, false, true},
};

/* --- the claims --- */

/* In the sandbox the trick fails, and nothing arrives on the host, also where the worker has the host's namespace. */
static void trick_fails(void **state)
{
	const struct trick *trick = *state;
	struct held *h;
	void *held;
	int rc;

	if (geteuid() != 0 || (trick->is_kept_by_instruments && is_instrumented()))
		skip();
	if (trick->what == execute && is_valgrind())
		skip(); /* it cannot live on after a refused execve() */
	set_up(&held);
	h = held;
	for (enum guard guard = GUARD_SERVER; guard <= GUARD_SERVER_AT_HOME; guard++) {
		rc = run(h, guard, trick->what);
		assert_true(rc < 0);
		assert_int_not_equal(rc, -1004);
		assert_false(anything_arrived(h, QUIET_MS));
	}
	tear_down(&held);
}

/* The same trick in the same namespace without the sandbox does arrive. */
static void trick_is_real(void **state)
{
	const struct trick *trick = *state;
	struct held *h;
	void *held;

	if (geteuid() != 0)
		skip();
	set_up(&held);
	h = held;
	assert_int_equal(run(h, UNGUARDED, trick->what), 0);
	assert_true(anything_arrived(h, ARRIVAL_LIMIT_MS));
	tear_down(&held);
}

static int work_on_sockets(struct held *h)
{
	const int segment = 1200, on = 1;
	struct iovec iov[2] = {{(void *)&h->host_pid, 1}, {(void *)&h->host_pid, 1}};
	int pair[2];

	if (send(h->flow, "x", 1, 0) != 1 || writev(h->flow, iov, 2) != 2)
		return -errno;
	if (setsockopt(h->flow, IPPROTO_UDP, UDP_SEGMENT, &segment, sizeof(segment)) < 0)
		return -errno;
	if (write(h->accepted, "y", 1) != 1 || writev(h->accepted, iov, 2) != 2 || shutdown(h->accepted, SHUT_WR) < 0)
		return -errno;
	if (setsockopt(h->channel[0], SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)) < 0)
		return -errno;
	if (send(h->channel[0], "z", 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1 ||
		recv(h->channel[1], &pair, sizeof(pair), 0) != 1)
		return -errno;
	return result(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair));
}

static int work_on_the_rest(struct held *h)
{
	char bytes[16];
	void *memory = malloc(1 << 20);
	struct stat status;

	(void)h;
	free(memory);
	if (!memory || getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return -errno;
	if (epoll_create1(EPOLL_CLOEXEC) < 0 || eventfd(0, EFD_NONBLOCK) < 0 || fstat(h->flow, &status) < 0)
		return -errno;
	if (fcntl(h->flow, F_SETFL, fcntl(h->flow, F_GETFL) | O_NONBLOCK) < 0)
		return -errno;
	return 0;
}

/* The calls of the data plane still work in the sandbox. */
static void server_can_work(void **state)
{
	struct held *h = *state;
	char bytes[64];

	if (geteuid() != 0)
		skip();
	assert_int_equal(run(h, GUARD_SERVER, work_on_sockets), 0);
	assert_int_equal(run(h, GUARD_SERVER, work_on_the_rest), 0);
	assert_int_equal(recv(h->target, bytes, sizeof(bytes), MSG_DONTWAIT), 1);
	assert_int_equal(recv(h->target, bytes, sizeof(bytes), MSG_DONTWAIT), 2);
	assert_int_equal(recv(h->visitor, bytes, sizeof(bytes), MSG_WAITALL), 3);
}

static int accept_one(struct held *h)
{
	return result(accept4(h->front, NULL, NULL, SOCK_NONBLOCK));
}

/* A listener that was handed down still accepts. */
static void server_can_accept(void **state)
{
	struct held *h = *state;
	struct sockaddr_in front;
	socklen_t len = sizeof(front);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (geteuid() != 0)
		skip();
	assert_return_code(getsockname(h->front, (struct sockaddr *)&front, &len), errno);
	assert_return_code(connect(fd, (struct sockaddr *)&front, len), errno);
	assert_int_equal(run(h, GUARD_SERVER, accept_one), 0);
	close(fd);
}

static int has_no_privilege(struct held *h)
{
	char status[4096];
	int fd = open("/proc/self/status", O_RDONLY);
	ssize_t got;
	struct err err = {""};

	(void)h;
	if (sandbox_enter(SANDBOX_SERVER, &err) < 0)
		return -EINVAL;
	got = read(fd, status, sizeof(status) - 1); /* opened before, made when read */
	if (got <= 0)
		return -errno;
	status[got] = '\0';
	if (!strstr(status, "CapEff:\t0000000000000000") || !strstr(status, "CapPrm:\t0000000000000000") ||
		!strstr(status, "CapBnd:\t0000000000000000") || !strstr(status, "NoNewPrivs:\t1") ||
		!strstr(status, "Seccomp:\t2"))
		return -EPERM;
	return 0;
}

/* No capability is left, not even to be gained by an exec, and the filter is on. */
static void privileges_are_gone(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(run(*state, UNGUARDED, has_no_privilege), 0);
}

/* A loop that is made after the refusal has no ring; libuv then takes ENOSYS for a kernel without. */
static int io_uring_refused(struct held *h)
{
	sandbox_refuse_io_uring();
	return io_uring_set_up(h);
}

static void io_uring_is_refused_early(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(run(*state, UNGUARDED, io_uring_refused), -ENOSYS);
}

/* abort() still ends the process: a failed assertion must not hang. */
static int abort_now(struct held *h)
{
	(void)h;
	abort();
}

static void abort_ends(void **state)
{
	if (geteuid() != 0)
		skip();
	assert_int_equal(run(*state, GUARD_SERVER, abort_now), -1004);
}

static int client_connects(struct held *h)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (struct sockaddr *)&h->tcp_addr, sizeof(h->tcp_addr)) < 0 && errno != EINPROGRESS)
		return -errno;
	return sendmmsg_address(h);
}

/* The client dials and answers its local port. */
static void client_can_work(void **state)
{
	struct held *h = *state;

	assert_int_equal(run(h, GUARD_CLIENT, client_connects), 0);
	assert_true(has_arrived(h->victim_tcp));
	assert_true(has_arrived(h->victim_udp));
}

static void client_reads_resolver_files(void **state)
{
	assert_int_equal(run(*state, GUARD_CLIENT, open_file), 0);
}

static int open_random(struct held *h)
{
	(void)h;
	return result(open("/dev/urandom", O_RDONLY));
}

/* c-ares' query ids could be guessed otherwise. */
static void client_reads_random_numbers(void **state)
{
	assert_int_equal(run(*state, GUARD_CLIENT, open_random), 0);
}

static void client_must_fail(struct held *h, act what)
{
	assert_true(run(h, GUARD_CLIENT, what) < 0);
	assert_false(anything_arrived(h, QUIET_MS));
}

/* The client writes no file, runs nothing, and speaks to no local service. */
static void client_is_confined(void **state)
{
	client_must_fail(*state, connect_unix);
	client_must_fail(*state, new_netlink_socket);
	client_must_fail(*state, new_raw_socket);
	client_must_fail(*state, execute);
	client_must_fail(*state, unshare_user);
	client_must_fail(*state, listen_accepted);
	if (is_instrumented())
		return;
	client_must_fail(*state, create_file);
	client_must_fail(*state, fork_child);
	client_must_fail(*state, signal_host);
}

static size_t add_tricks(struct CMUnitTest *tests, char (*names)[96])
{
	size_t count = 0;

	for (size_t i = 0; i < COUNT_OF(tricks); i++) {
		snprintf(names[count], sizeof(names[0]), "fails: %s", tricks[i].name);
		tests[count] =
			(struct CMUnitTest){names[count], trick_fails, NULL, NULL, (void *)(uintptr_t)&tricks[i]};
		count++;
		if (!tricks[i].reaches_unguarded)
			continue;
		snprintf(names[count], sizeof(names[0]), "reaches the host without the sandbox: %s", tricks[i].name);
		tests[count] =
			(struct CMUnitTest){names[count], trick_is_real, NULL, NULL, (void *)(uintptr_t)&tricks[i]};
		count++;
	}
	return count;
}

int main(void)
{
	static const struct CMUnitTest others[] = {
		cmocka_unit_test_setup_teardown(server_can_work, set_up, tear_down),
		cmocka_unit_test_setup_teardown(server_can_accept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(privileges_are_gone, set_up, tear_down),
		cmocka_unit_test_setup_teardown(io_uring_is_refused_early, set_up, tear_down),
		cmocka_unit_test_setup_teardown(abort_ends, set_up, tear_down),
		cmocka_unit_test_setup_teardown(client_can_work, set_up, tear_down),
		cmocka_unit_test_setup_teardown(client_reads_resolver_files, set_up, tear_down),
		cmocka_unit_test_setup_teardown(client_reads_random_numbers, set_up, tear_down),
		cmocka_unit_test_setup_teardown(client_is_confined, set_up, tear_down),
	};
	static struct CMUnitTest all[2 * COUNT_OF(tricks) + COUNT_OF(others)];
	static char names[2 * COUNT_OF(tricks)][96];
	size_t count = add_tricks(all, names);

	memcpy(&all[count], others, sizeof(others));
	count += COUNT_OF(others);
	return _cmocka_run_group_tests("sandbox", all, count, NULL, NULL);
}
