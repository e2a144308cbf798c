/* Starts the worker: the same executable run again, so that it inherits none of the supervisor's memory.
 *
 * Its arguments are TITLE, SPAWN_WORKER_ARGUMENT, the log level, "verbose" or "plain". Its environment holds
 * JOURNAL_STREAM and the sanitizers' options where we have them, nothing else. It ignores the signals that reach a
 * whole process group (SIGINT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2) and SIGPIPE: its channel ends it.
 */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <sys/types.h>

#define SPAWN_WORKER_ARGUMENT "--worker" /* argv[1] of a worker; main() hands over before it parses anything */

struct spawn_setup {
	const char *process_title; /* argv[0] of the worker: "towpath-server: worker" shows in ps */
	int netns_fd;		   /* namespace to enter first; -1: stay */
	uid_t uid;		   /* with has_user: to become, together with gid, no supplementary groups */
	gid_t gid;
	bool has_user; /* false where we are not root */
	int log_level; /* passed on as an argument; the worker logs to the same stderr */
};

/* The user a worker becomes: `towpath`, else `nobody` with a warning. Without root: has_user = false. */
int spawn_choose_user(struct spawn_setup *setup, struct err *err);

/* A network namespace that holds nothing but `lo`, up. It lives as long as the descriptor. Without root it is made
 * inside a user namespace where the host allows that. Return: descriptor, or a negative errno with what helps in
 * @err. */
int spawn_open_lo_namespace(struct err *err);

/* Fork and exec. @ret_channel_fd: the supervisor's end, close-on-exec. Every other descriptor but 0 to 3 is closed in
 * the worker. Return: 0 or a negative errno. */
int spawn_worker(const struct spawn_setup *setup, pid_t *ret_pid, int *ret_channel_fd, struct err *err);
