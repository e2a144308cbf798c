/* See claim_container.h.
 *
 * Theory of operation. `docker inspect -f {{.State.Pid}} NAME` prints the number of the container's first process,
 * whose network namespace is /proc/PID/ns/net; podman knows the same words. It prints 0 where the container does not
 * run.
 *
 *    ask ──▶ docker ──a number──▶ on_answer(pid)
 *              │ not installed, 0, no such container, no answer in time
 *              ▼
 *            podman ──a number──▶ on_answer(pid)
 *              │ the same
 *              ▼
 *            on_answer(0, why)
 *
 * A host may have both programs, and the file does not say whose container it is. The reason told is the first one's
 * that has one; a program that is not installed gives none, unless neither is.
 */
#include "common/host/claim_container.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MS 5000 /* a daemon that is just starting lets its client wait */

static const char *const programs[] = {"docker", "podman"};
#define PROGRAM_COUNT (sizeof(programs) / sizeof(*programs))

static void ask_next(struct claim_container *container);

/* The first reason stays. */
static void note_why(struct claim_container *container, const char *program, const char *why)
{
	if (!container->why[0])
		snprintf(container->why, sizeof(container->why), "%s: %s", program, why);
}

/* The first line that is a number and nothing else; podman may write a warning in front of it. Return: -1 without. */
static long long number_of(const char *output)
{
	char *end;

	for (const char *line = output; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		long long number = strtoll(line, &end, 10); /* strtol() of 32 bits gives LONG_MAX for one too large */

		if (end != line && (*end == '\0' || *end == '\n'))
			return number;
	}
	return -1;
}

static void on_exit_of_program(void *owner, int status, const char *output)
{
	struct claim_container *container = owner;
	const char *program = programs[container->asked - 1];
	char why[COMMAND_WHY_MAX];
	long long pid = status == 0 ? number_of(output) : -1;

	container->command = NULL;
	if (pid > 0 && pid <= INT32_MAX) {
		container->on_answer(container->owner, (pid_t)pid, "");
		return;
	}
	if (pid == 0)
		note_why(container, program, "the container does not run");
	else
		note_why(container, program, command_why(why, sizeof(why), status, output));
	ask_next(container);
}

/* Start the next program that can be started; behind the last one the answer is no process, and why. */
static void ask_next(struct claim_container *container)
{
	while (container->asked < PROGRAM_COUNT) {
		const char *program = programs[container->asked++];
		const char *const argv[] = {program, "inspect", "-f", "{{.State.Pid}}", container->name, NULL};
		const struct command_setup setup = {
			.argv = argv, .timeout_ms = ANSWER_MS, .on_exit = on_exit_of_program, .owner = container};
		struct err err = {""};
		int rc = command_start(&container->command, container->loop, &setup, &err);

		if (rc == 0)
			return;
		container->command = NULL;
		if (rc != -ENOENT)
			note_why(container, program, err.text);
	}
	if (!container->why[0])
		snprintf(container->why, sizeof(container->why),
			"neither docker nor podman is here to ask for the container's process");
	container->on_answer(container->owner, 0, container->why);
}

void claim_container_ask(struct claim_container *container)
{
	if (container->command)
		return;
	container->asked = 0;
	container->why[0] = '\0';
	ask_next(container);
}

void claim_container_stop(struct claim_container *container)
{
	command_close(container->command);
	container->command = NULL;
}
