/* The control socket of a running tunnel, and the asking side.
 *
 * Happy path: an asker connects, sends one line, on_request() gets the word, control_answer() writes the text and
 * closes. Fails: an asker that leaves, says too much, or says nothing for CONTROL_PATIENCE_MS is closed. A request
 * whose asker has left may still be answered; the text then goes nowhere.
 *
 * A request is held by three parties: its two handles (open_handles) and, from on_request() to control_answer(), the
 * owner (is_asked). The last one to let go frees it.
 */
#include "common/process/control.h"

#include "common/base/clock.h"
#include "common/base/folder.h"
#include "common/base/require.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define CONTROL_WORD_MAX 64	       /* bytes of the line asked; the longest is "reload" */
#define CONTROL_BACKLOG 16	       /* of listen() */
#define CONTROL_PATIENCE_MS 5000       /* for the word, for the answer to be taken, and as an asker for all of it */
#define CONTROL_RELOAD_MS 60000	       /* as an asker for a reload: 10,000 clients on a busy machine */
#define CONTROL_ANSWER_MAX (64u << 20) /* 10,000 sessions of JSON are 5 MB */

struct control_request {
	uv_pipe_t pipe;
	uv_timer_t patience; /* runs until the word is there, and again until the answer is taken */
	uv_write_t write;
	struct control *control; /* NULL once the control socket is closed */
	struct control_request *next;
	char word[CONTROL_WORD_MAX];
	size_t word_len;
	bool is_asked; /* on_request() was called and no answer has come yet: memory must stay */
	bool is_closing;
	unsigned int open_handles; /* of the two above that libuv still knows */
	char *answer;
};

struct control {
	uv_pipe_t pipe;
	char *path;
	const struct control_handlers *handlers;
	void *owner;
	struct control_request *requests;
	size_t request_count;
};

/* --- one asker --- */

/* Called whenever one of the three has let go. */
static void free_if_done(struct control_request *request)
{
	if (request->open_handles > 0 || request->is_asked)
		return;
	free(request->answer);
	free(request);
}

static void on_request_closed(uv_handle_t *handle)
{
	struct control_request *request = handle->data;

	require(request->open_handles > 0);
	request->open_handles--;
	free_if_done(request);
}

/* Out of the list first, so that control_close() no longer finds it. */
static void close_request(struct control_request *request)
{
	struct control_request **link;

	if (request->is_closing)
		return;
	request->is_closing = true;
	if (request->control) {
		for (link = &request->control->requests; *link != request; link = &(*link)->next)
			require(*link != NULL);
		*link = request->next;
		request->control->request_count--;
		request->control = NULL;
	}
	uv_close((uv_handle_t *)&request->pipe, on_request_closed);
	uv_close((uv_handle_t *)&request->patience, on_request_closed);
}

static void on_patience_over(uv_timer_t *timer)
{
	close_request(timer->data);
}

/* libuv reads straight into the word, one byte short for the terminator; a full word is refused by the reader. */
static void on_word_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct control_request *request = handle->data;

	(void)suggested;
	*ret = uv_buf_init(request->word + request->word_len, (unsigned int)(CONTROL_WORD_MAX - 1 - request->word_len));
}

/* A word may come in pieces. Without a newline at its end nothing is asked. */
static void on_word_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
	struct control_request *request = stream->data;
	char *end;

	(void)buffer;
	if (got < 0) {
		close_request(request);
		return;
	}
	request->word_len += (size_t)got;
	end = memchr(request->word, '\n', request->word_len);
	if (!end) {
		if (request->word_len >= CONTROL_WORD_MAX - 1)
			close_request(request);
		return;
	}
	*end = '\0'; /* the first line; anything after it is ignored */
	uv_read_stop(stream);
	uv_timer_stop(&request->patience);
	request->is_asked = true;
	request->control->handlers->on_request(request->control->owner, request->word, request);
}

static void on_answer_written(uv_write_t *write, int status)
{
	(void)status;
	close_request(write->data);
}

/* The copy lives until the request is freed. An asker that does not read within the patience loses the rest. */
void control_answer(struct control_request *request, const char *text, size_t len)
{
	uv_buf_t buffer;

	request->is_asked = false;
	if (request->is_closing) { /* the asker has left */
		free_if_done(request);
		return;
	}
	request->answer = malloc(len + 1);
	if (!request->answer) {
		close_request(request);
		return;
	}
	memcpy(request->answer, text, len);
	buffer = uv_buf_init(request->answer, (unsigned int)len);
	request->write.data = request;
	uv_timer_start(&request->patience, on_patience_over, CONTROL_PATIENCE_MS, 0);
	if (uv_write(&request->write, (uv_stream_t *)&request->pipe, &buffer, 1, on_answer_written) < 0)
		close_request(request);
}

/* In the list from here on; close_request() takes it out. */
static struct control_request *new_request(struct control *control)
{
	struct control_request *request = calloc(1, sizeof(*request));

	if (!request)
		return NULL;
	uv_pipe_init(control->pipe.loop, &request->pipe, 0);
	uv_timer_init(control->pipe.loop, &request->patience);
	request->open_handles = 2;
	request->pipe.data = request->patience.data = request;
	request->control = control;
	request->next = control->requests;
	control->requests = request;
	control->request_count++;
	return request;
}

/* A request that cannot be served is closed without a word: its asker sees the end of the connection. */
static void on_connection(uv_stream_t *stream, int status)
{
	struct control *control = stream->data;
	struct control_request *request;

	if (status < 0)
		return;
	request = new_request(control);
	if (!request)
		return;
	if (uv_accept(stream, (uv_stream_t *)&request->pipe) < 0 || control->request_count > CONTROL_ASKERS_MAX ||
		uv_read_start((uv_stream_t *)&request->pipe, on_word_alloc, on_word_read) < 0) {
		close_request(request);
		return;
	}
	uv_timer_start(&request->patience, on_patience_over, CONTROL_PATIENCE_MS, 0);
}

/* --- the socket --- */

/* sun_path holds 107 characters. */
static int make_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return err_set(err, -ENAMETOOLONG,
			"control socket %s: longer than %zu characters; use a shorter --runtime-dir", path,
			sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, strlen(path) + 1);
	return 0;
}

/* Blocking: a local socket answers at once or not at all. Return: the descriptor, or a negative errno. */
static int connect_socket(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return fd;
	rc = -errno;
	close(fd);
	return rc;
}

/* A socket that a crash left behind refuses connections: remove it. One that takes them belongs to a running tunnel. */
static int clear_path(const struct sockaddr_un *address, struct err *err)
{
	int fd = connect_socket(address);

	if (fd >= 0) {
		close(fd);
		return err_set(err, -EADDRINUSE, "control socket %s: this tunnel runs already", address->sun_path);
	}
	if (fd == -ECONNREFUSED && unlink(address->sun_path) < 0)
		return err_system(err, -errno, "control socket %s: removing what was left behind", address->sun_path);
	return 0;
}

/* The mode is the access control, so it must be right from the first moment: umask, not chmod(). */
static int bind_socket(const struct sockaddr_un *address, struct err *err)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mode_t before;
	int rc = 0;

	if (fd < 0)
		return err_system(err, -errno, "control socket");
	before = umask(0177);
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		rc = -errno;
	umask(before);
	if (rc == 0)
		return fd;
	close(fd);
	return err_system(err, rc, "control socket %s", address->sun_path);
}

static void on_control_closed(uv_handle_t *handle)
{
	struct control *control = handle->data;

	free(control->path);
	free(control);
}

/* Order: the stale socket is removed before bind(), which would fail with EADDRINUSE. Two that start at the same
 * moment: one of them gets that error. */
int control_open(struct control **ret, uv_loop_t *loop, const char *path, const struct control_handlers *handlers,
	void *owner, struct err *err)
{
	struct sockaddr_un address;
	struct control *control;
	int rc, fd;

	rc = make_address(path, &address, err);
	if (rc == 0)
		rc = folder_ensure_parent(path, "--runtime-dir", err);
	if (rc == 0)
		rc = clear_path(&address, err);
	if (rc < 0)
		return rc;
	fd = bind_socket(&address, err);
	if (fd < 0)
		return fd;
	control = calloc(1, sizeof(*control));
	if (!control) {
		close(fd);
		unlink(path);
		return err_system(err, -ENOMEM, "control socket");
	}
	control->path = strdup(path);
	control->handlers = handlers;
	control->owner = owner;
	uv_pipe_init(loop, &control->pipe, 0);
	control->pipe.data = control;
	rc = control->path ? uv_pipe_open(&control->pipe, fd) : -ENOMEM;
	if (rc < 0)
		close(fd); /* not the pipe's yet */
	else
		rc = uv_listen((uv_stream_t *)&control->pipe, CONTROL_BACKLOG, on_connection);
	if (rc < 0) {
		control_close(control);
		return err_system(err, rc, "control socket %s", path);
	}
	*ret = control;
	return 0;
}

/* The owner ends: an asker that still waits sees the end of the connection. */
void control_close(struct control *control)
{
	if (!control)
		return;
	if (control->path)
		unlink(control->path);
	while (control->requests) {
		control->requests->is_asked = false;
		close_request(control->requests);
	}
	uv_close((uv_handle_t *)&control->pipe, on_control_closed);
}

/* --- the asking side --- */

/* Read to the end into a growing buffer, @patience_ms at most: the tunnel may be stuck. Return: 0 or a negative errno. */
static int read_answer(int fd, uint64_t patience_ms, char **ret_text)
{
	const uint64_t end_us = clock_now_us() + patience_ms * CLOCK_US_PER_MS;
	size_t len = 0, size = 0;
	char *text = NULL;
	ssize_t got;

	for (;;) {
		struct pollfd waiting = {.fd = fd, .events = POLLIN};
		uint64_t now_us = clock_now_us();

		if (len + 1 >= size) {
			char *grown = size < CONTROL_ANSWER_MAX ? realloc(text, size = size ? size * 2 : 16384) : NULL;

			if (!grown) {
				free(text);
				return -ENOMEM;
			}
			text = grown;
		}
		if (now_us >= end_us || poll(&waiting, 1, (int)((end_us - now_us) / CLOCK_US_PER_MS) + 1) == 0) {
			free(text);
			return -ETIMEDOUT;
		}
		got = read(fd, text + len, size - len - 1);
		if (got < 0 && errno != EINTR) {
			int rc = -errno;

			free(text);
			return rc;
		}
		if (got == 0)
			break;
		len += got > 0 ? (size_t)got : 0;
	}
	text[len] = '\0';
	*ret_text = text;
	return 0;
}

int control_clear(const char *path, struct err *err)
{
	struct sockaddr_un address;
	int rc = make_address(path, &address, err);

	return rc < 0 ? rc : clear_path(&address, err);
}

/* One line out, then everything until the end in: half an answer is an error. */
int control_ask(const char *path, const char *word, char **ret_text, struct err *err)
{
	struct sockaddr_un address;
	char line[CONTROL_WORD_MAX];
	const uint64_t patience_ms = strcmp(word, "reload") == 0 ? CONTROL_RELOAD_MS : CONTROL_PATIENCE_MS;
	int len = snprintf(line, sizeof(line), "%s\n", word);
	int rc = make_address(path, &address, err);
	struct ucred owner = {0};
	socklen_t owner_len = sizeof(owner);
	int fd;

	if (rc < 0 || len >= (int)sizeof(line))
		return rc < 0 ? rc : err_system(err, -EINVAL, "control socket %s", path);
	fd = connect_socket(&address);
	if (fd < 0)
		return err_system(err, fd, "control socket %s", path);
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		rc = -EIO;
	if (rc == 0)
		rc = read_answer(fd, patience_ms, ret_text);
	/* A tunnel that is stuck: the kernel knows which process bound the socket. */
	if (rc == -ETIMEDOUT && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &owner, &owner_len) == 0 && owner.pid > 0)
		err_set(err, rc,
			"process %ld does not answer; if it never does again, kill -KILL %ld ends it, and down cleans "
			"up then",
			(long)owner.pid, (long)owner.pid);
	else if (rc < 0)
		err_system(err, rc, "control socket %s: asking for %s", path, word);
	close(fd);
	return rc;
}
