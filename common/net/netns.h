/* Another network namespace, entered for the length of a few system calls.
 *
 * A socket belongs for ever to the namespace in which it was made, so only the making of sockets needs this. The
 * supervisor has one thread that makes sockets, and what happens between the two calls must not return to the loop.
 */
#pragma once

#include "common/base/err.h"

#include <stdint.h>

/* @fd: of the namespace; -1: stay in ours. Needs CAP_SYS_ADMIN. Return: 0 or higher, for netns_leave(), or a negative
 * errno with @err set. */
int netns_enter(int fd, struct err *err);
/* @home: of netns_enter(). */
void netns_leave(int home);

/* A number of the namespace that we are in, which no other one gets before the next boot. */
uint64_t netns_id(void);
