/* The process of a container, as docker says it, or else podman. One question at a time, beside the loop. */
#pragma once

#include "common/base/err.h"
#include "common/net/command.h"

#include <sys/types.h>
#include <uv.h>

struct claim_container {
	uv_loop_t *loop;
	const char *name; /* borrowed */
	/* @pid: 0: it does not run, or is not there, and @why says so; good until it returns. */
	void (*on_answer)(void *owner, pid_t pid, const char *why);
	void *owner;
	struct command *command; /* that is asked; NULL: none */
	size_t asked;		 /* programs so far */
	char why[ERR_TEXT_MAX];
};

/* Ask, unless a question is under way. on_answer follows from the loop; it may come before this returns where there is
 * no program to ask. */
void claim_container_ask(struct claim_container *container);
/* No answer comes any more. */
void claim_container_stop(struct claim_container *container);
