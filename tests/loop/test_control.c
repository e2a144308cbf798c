/* The control socket: one question, one answer; other users have no access. */
#include "common/process/control.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS_MAX 3000

struct fixture {
	uv_loop_t loop;
	char folder[64], path[128];
	struct control *control;
	int requests;
	char word[64];
	struct control_request *request;
	bool answer_later;
	const char *answer;
	size_t answer_len;
};

static void on_request(void *owner, const char *word, struct control_request *request)
{
	struct fixture *f = owner;

	f->requests++;
	snprintf(f->word, sizeof(f->word), "%s", word);
	f->request = request;
	if (!f->answer_later)
		control_answer(request, f->answer, f->answer_len);
}

static const struct control_handlers handlers = {on_request};

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	snprintf(f->folder, sizeof(f->folder), "/tmp/test_control.XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	snprintf(f->path, sizeof(f->path), "%s/run/home.server", f->folder);
	f->answer = "{\"state\":\"up\"}\n";
	f->answer_len = strlen(f->answer);
	assert_int_equal(uv_loop_init(&f->loop), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;
	char folder[96];
	int rc;

	control_close(f->control);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	rc = uv_loop_close(&f->loop);
	unlink(f->path);
	snprintf(folder, sizeof(folder), "%s/run", f->folder);
	rmdir(folder);
	rmdir(f->folder);
	free(f);
	return rc;
}

static void open_control(struct fixture *f)
{
	struct err err = {""};

	assert_int_equal(control_open(&f->control, &f->loop, f->path, &handlers, f, &err), 0);
}

/* --- asking from a thread, as another process would --- */

struct asking {
	const char *path, *word;
	char *text;
	int rc;
	volatile int done;
	struct err err;
};

static void *ask(void *argument)
{
	struct asking *asking = argument;

	asking->rc = control_ask(asking->path, asking->word, &asking->text, &asking->err);
	asking->done = 1;
	return NULL;
}

static void turn(struct fixture *f)
{
	uv_run(&f->loop, UV_RUN_NOWAIT);
	usleep(500);
}

static void ask_and_run(struct fixture *f, struct asking *asking)
{
	pthread_t thread;

	asking->path = f->path;
	assert_int_equal(pthread_create(&thread, NULL, ask, asking), 0);
	for (int i = 0; i < TURNS_MAX && !asking->done; i++)
		turn(f);
	pthread_join(thread, NULL);
}

static int connect_raw(const struct fixture *f)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, f->path);
	assert_return_code(connect(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	return fd;
}

static void run_until_asked(struct fixture *f, int requests)
{
	for (int i = 0; i < TURNS_MAX && f->requests < requests; i++)
		turn(f);
	assert_int_equal(f->requests, requests);
}

/* --- the claims --- */

static void question_is_answered(void **state)
{
	struct asking asking = {.word = "status"};
	struct fixture *f = *state;

	open_control(f);
	ask_and_run(f, &asking);
	assert_int_equal(asking.rc, 0);
	assert_string_equal(asking.text, "{\"state\":\"up\"}\n");
	assert_string_equal(f->word, "status");
	free(asking.text);
}

/* 10,000 sessions of JSON are some megabytes. */
static void long_answer_arrives_whole(void **state)
{
	struct asking asking = {.word = "status"};
	struct fixture *f = *state;
	char *text = malloc(5000001);

	assert_non_null(text);
	memset(text, 'x', 5000000);
	text[5000000] = '\0';
	f->answer = text;
	f->answer_len = 5000000;
	open_control(f);
	ask_and_run(f, &asking);
	assert_int_equal(asking.rc, 0);
	assert_int_equal(strlen(asking.text), 5000000);
	free(asking.text);
	free(text);
}

static void only_the_owner_may_ask(void **state)
{
	struct fixture *f = *state;
	struct stat status;

	open_control(f);
	assert_return_code(stat(f->path, &status), errno);
	assert_int_equal(status.st_mode & 07777, 0600);
}

static void nobody_runs(void **state)
{
	struct fixture *f = *state;
	struct err err = {""};
	char *text = NULL;

	assert_int_equal(control_ask(f->path, "status", &text, &err), -ENOENT);
	assert_null(text);
}

static void file_left_behind_is_replaced(void **state)
{
	struct asking asking = {.word = "status"};
	struct fixture *f = *state;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct err err = {""};
	char *text = NULL;
	int fd;

	open_control(f);
	control_close(f->control);
	strcpy(address.sun_path, f->path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_return_code(bind(fd, (struct sockaddr *)&address, sizeof(address)), errno);
	close(fd);
	assert_int_equal(control_ask(f->path, "status", &text, &err), -ECONNREFUSED);
	open_control(f);
	ask_and_run(f, &asking);
	assert_int_equal(asking.rc, 0);
	free(asking.text);
}

static void second_start_is_refused(void **state)
{
	struct fixture *f = *state;
	struct control *second = NULL;
	struct err err = {""};

	open_control(f);
	assert_int_equal(control_open(&second, &f->loop, f->path, &handlers, f, &err), -EADDRINUSE);
	assert_non_null(strstr(err.text, "runs already"));
	assert_null(second);
}

static void path_too_long_is_told(void **state)
{
	struct fixture *f = *state;
	struct err err = {""};
	char path[300];

	snprintf(path, sizeof(path), "%s/%0200d", f->folder, 0);
	assert_int_equal(control_open(&f->control, &f->loop, path, &handlers, f, &err), -ENAMETOOLONG);
	assert_non_null(strstr(err.text, "--runtime-dir"));
}

static void file_goes_with_the_socket(void **state)
{
	struct fixture *f = *state;

	open_control(f);
	control_close(f->control);
	f->control = NULL;
	assert_int_equal(access(f->path, F_OK), -1);
}

/* An asker that leaves before the answer: the answer goes nowhere, nothing breaks. */
static void asker_leaves_before_the_answer(void **state)
{
	struct fixture *f = *state;
	int fd;

	f->answer_later = true;
	open_control(f);
	fd = connect_raw(f);
	assert_int_equal(send(fd, "status\n", 7, MSG_NOSIGNAL), 7);
	run_until_asked(f, 1);
	close(fd);
	for (int i = 0; i < 10; i++)
		turn(f);
	control_answer(f->request, f->answer, f->answer_len);
	for (int i = 0; i < 10; i++)
		turn(f);
}

/* A tunnel that stops with a question open ends the asker's connection. */
static void close_ends_open_questions(void **state)
{
	struct fixture *f = *state;
	char byte;
	int fd;

	f->answer_later = true;
	open_control(f);
	fd = connect_raw(f);
	assert_int_equal(send(fd, "status\n", 7, MSG_NOSIGNAL), 7);
	run_until_asked(f, 1);
	control_close(f->control);
	f->control = NULL;
	for (int i = 0; i < 10; i++)
		turn(f);
	assert_int_equal(recv(fd, &byte, 1, MSG_DONTWAIT), 0);
	close(fd);
}

static void question_without_end_is_closed(void **state)
{
	struct fixture *f = *state;
	char flood[256], byte;
	int fd;

	memset(flood, 'a', sizeof(flood));
	open_control(f);
	fd = connect_raw(f);
	assert_int_equal(send(fd, flood, sizeof(flood), MSG_NOSIGNAL), sizeof(flood));
	for (int i = 0; i < 50; i++)
		turn(f);
	assert_true(recv(fd, &byte, 1, MSG_DONTWAIT) <= 0 && errno != EAGAIN);
	assert_int_equal(f->requests, 0);
	close(fd);
}

static void question_in_pieces(void **state)
{
	struct fixture *f = *state;
	int fd;

	open_control(f);
	fd = connect_raw(f);
	for (const char *c = "status\n"; *c; c++) {
		assert_int_equal(send(fd, c, 1, MSG_NOSIGNAL), 1);
		turn(f);
	}
	run_until_asked(f, 1);
	assert_string_equal(f->word, "status");
	close(fd);
}

#define TEST(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		TEST(question_is_answered),
		TEST(long_answer_arrives_whole),
		TEST(only_the_owner_may_ask),
		TEST(nobody_runs),
		TEST(file_left_behind_is_replaced),
		TEST(second_start_is_refused),
		TEST(path_too_long_is_told),
		TEST(file_goes_with_the_socket),
		TEST(asker_leaves_before_the_answer),
		TEST(close_ends_open_questions),
		TEST(question_without_end_is_closed),
		TEST(question_in_pieces),
	};

	signal(SIGPIPE, SIG_IGN); /* as the supervisor does */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
