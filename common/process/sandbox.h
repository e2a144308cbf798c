/* The rights that a worker gives up before it reads its first byte from the network.
 *
 * Order: rlimits, no_new_privs, own user (done by the supervisor's spawn), no capability, not dumpable, Landlock (no
 * file where the kernel has it), seccomp. The supervisor has made every socket that the worker holds. Socket options
 * that may be set are a list (sandbox.c), every other one is EPERM. Under Valgrind and in sanitizer builds the tools
 * keep calls of their own; what could reach the network stays denied.
 */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>

enum sandbox_profile {
	/* No connect(), no sendto() with an address or MSG_FASTOPEN, no sendmsg(), no sendmmsg(), no socket() but
	 * socketpair(AF_UNIX), no bind(), no listen(), no open(): nothing leads anywhere but through the sockets handed
	 * down. writev() and send() on connected sockets stay. A namespace alone is no wall: an accepted socket can be
	 * disconnected and connected anew in the namespace it was born in. */
	SANDBOX_SERVER,
	/* connect(), socket(AF_INET*, for c-ares), sendmmsg() stay; files: read below /etc only. No AF_UNIX. */
	SANDBOX_CLIENT,
};

/* Call it before the loop is made. libuv from 1.46 on makes an io_uring with each loop, also for plain epoll_ctl(), and
 * aborts when the sandbox then refuses to use it; if it may not make one, it does without. A ring could do whatever the
 * filter denies. Says nothing on failure: where the kernel has no seccomp, sandbox_enter() fails. */
void sandbox_refuse_io_uring(void);

/* True if sandbox_enter() will find Landlock, or needs none because a sanitizer or Valgrind is inside. */
bool sandbox_has_landlock(void);

/* Give up everything, for good. Missing Landlock is a notice; anything else missing is an error. */
int sandbox_enter(enum sandbox_profile profile, struct err *err);
