/* common/host/claim_container: docker's answer, else podman's, and the words where neither has one. The programs are
 * scripts of the test's own.
 */
#include "common/host/claim_container.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static char folder[64];
static uv_loop_t loop;
static long answered; /* -1: not yet */
static char why[ERR_TEXT_MAX];

static int start(void **state)
{
	(void)state;
	strcpy(folder, "/tmp/towpath-container-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	setenv("PATH", folder, 1);
	uv_loop_init(&loop);
	return 0;
}

static int end(void **state)
{
	char command[96];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", folder);
	setenv("PATH", "/usr/bin:/bin", 1);
	return uv_loop_close(&loop) == 0 ? system(command) : -1;
}

/* A program that prints @text and ends with @status, if it is asked as it should be. */
static void install(const char *program, const char *text, int status)
{
	char path[96];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", folder, program);
	file = fopen(path, "w");
	assert_non_null(file);
	fprintf(file,
		"#!/bin/sh\n[ \"$*\" = 'inspect -f {{.State.Pid}} wg-easy' ] || exit 64\nprintf '%s'\nexit %d\n", text,
		status);
	fclose(file);
	assert_int_equal(chmod(path, 0755), 0);
}

static void on_answer(void *owner, pid_t pid, const char *text)
{
	(void)owner;
	assert_int_equal(answered, -1);
	answered = pid;
	snprintf(why, sizeof(why), "%s", text);
}

static long ask(void)
{
	struct claim_container container = {.loop = &loop, .name = "wg-easy", .on_answer = on_answer};

	answered = -1;
	claim_container_ask(&container);
	if (answered < 0)
		claim_container_ask(&container); /* one question at a time */
	uv_run(&loop, UV_RUN_DEFAULT);
	return answered;
}

static void docker_is_asked_first(void **state)
{
	(void)state;
	install("docker", "4711\\n", 0);
	install("podman", "4712\\n", 0);
	assert_int_equal(ask(), 4711);
	assert_string_equal(why, "");
}

/* A docker that does not know it, or where it does not run, leaves the word to podman. */
static void podman_is_asked_then(void **state)
{
	(void)state;
	install("podman", "4712\\n", 0);
	install("docker", "Error: No such object: wg-easy\\n", 1);
	assert_int_equal(ask(), 4712);
	install("docker", "0\\n", 0);
	assert_int_equal(ask(), 4712);
}

static void the_first_reason_is_told(void **state)
{
	(void)state;
	install("docker", "Error: No such object: wg-easy\\n", 1);
	install("podman", "0\\n", 0);
	assert_int_equal(ask(), 0);
	assert_string_equal(why, "docker: Error: No such object: wg-easy");
	install("docker", "0\\n", 0);
	assert_int_equal(ask(), 0);
	assert_string_equal(why, "docker: the container does not run");
}

/* podman-docker says that it is podman, and podman warns of settings; both on standard error. */
static void a_warning_may_stand_beside_the_number(void **state)
{
	(void)state;
	install("docker", "Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.\n4711\n", 0);
	assert_int_equal(ask(), 4711);
	install("docker", "4711\nWARN[0000] 12 settings\n", 0);
	assert_int_equal(ask(), 4711);
	install("docker", "WARN[0000] 12 settings\n0\n", 0);
	assert_int_equal(ask(), 0);
	assert_string_equal(why, "docker: the container does not run");
}

/* What is no number of a process is no answer. */
static void nonsense_is_refused(void **state)
{
	static const char *const texts[] = {"", "pid\\n", "-5\\n", "12 13\\n", "99999999999\\n"};

	(void)state;
	install("podman", "x", 1);
	for (size_t i = 0; i < sizeof(texts) / sizeof(*texts); i++) {
		install("docker", texts[i], 0);
		assert_int_equal(ask(), 0);
		assert_non_null(strstr(why, "docker: "));
	}
}

/* Stopped in the midst of a question, nothing is heard any more. */
static void a_question_may_be_given_up(void **state)
{
	struct claim_container container = {.loop = &loop, .name = "wg-easy", .on_answer = on_answer};

	(void)state;
	install("docker", "4711\\n", 0);
	answered = -1;
	claim_container_ask(&container);
	claim_container_stop(&container);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(answered, -1);
}

static void without_both_it_says_so(void **state)
{
	(void)state;
	if (command_exists("docker") || command_exists("podman"))
		skip();
	assert_int_equal(ask(), 0);
	assert_non_null(strstr(why, "neither docker nor podman"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(docker_is_asked_first),
		TEST(podman_is_asked_then),
		TEST(the_first_reason_is_told),
		TEST(a_warning_may_stand_beside_the_number),
		TEST(nonsense_is_refused),
		TEST(a_question_may_be_given_up),
		TEST(without_both_it_says_so),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
