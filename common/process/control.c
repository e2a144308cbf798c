/* The control socket of a running tunnel, and the asking side.
 *
 * Happy path: an asker connects, sends one line, on_request() gets the word, control_answer() writes the text and
 * closes. Fails: an asker that leaves, says too much or nothing for CONTROL_PATIENCE_MS is closed; a request whose
 * asker has left may still be answered, the text then goes nowhere.
 */
#include "common/process/control.h"

#include "common/base/folder.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define CONTROL_WORD_MAX 64
#define CONTROL_ASKERS_MAX 64
#define CONTROL_BACKLOG 16
#define CONTROL_PATIENCE_MS 5000
#define CONTROL_ANSWER_MAX (64u << 20) /* 10,000 sessions of JSON are 5 MB */

struct control_request {
	uv_pipe_t pipe;
	uv_timer_t patience; /* until the word is there, and again until the answer is taken */
	uv_write_t write;
	struct control *control; /* NULL once the control socket is closed */
	struct control_request *next;
	char word[CONTROL_WORD_MAX];
	size_t word_len;
	bool asked; /* on_request() was called and no answer has come yet: memory must stay */
	bool closing;
	unsigned int open_handles;
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

static void request_free_if_done(struct control_request *request)
{
	if (request->open_handles > 0 || request->asked)
		return;
	free(request->answer);
	free(request);
}

static void request_on_handle_closed(uv_handle_t *handle)
{
	struct control_request *request = handle->data;

	request->open_handles--;
	request_free_if_done(request);
}

static void request_unlink(struct control_request *request)
{
	struct control_request **at;

	if (!request->control)
		return;
	for (at = &request->control->requests; *at != request; at = &(*at)->next)
		;
	*at = request->next;
	request->control->request_count--;
	request->control = NULL;
}

static void request_close(struct control_request *request)
{
	if (request->closing)
		return;
	request->closing = true;
	request_unlink(request);
	uv_close((uv_handle_t *)&request->pipe, request_on_handle_closed);
	uv_close((uv_handle_t *)&request->patience, request_on_handle_closed);
}

static void request_on_patience(uv_timer_t *timer)
{
	request_close(timer->data);
}

static void request_on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
	struct control_request *request = handle->data;

	(void)suggested;
	*ret = uv_buf_init(request->word + request->word_len, (unsigned int)(CONTROL_WORD_MAX - 1 - request->word_len));
}

static void request_on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
	struct control_request *request = stream->data;
	char *end;

	(void)buffer;
	if (got < 0) {
		request_close(request);
		return;
	}
	request->word_len += (size_t)got;
	end = memchr(request->word, '\n', request->word_len);
	if (!end) {
		if (request->word_len >= CONTROL_WORD_MAX - 1)
			request_close(request);
		return;
	}
	*end = '\0';
	uv_read_stop(stream);
	uv_timer_stop(&request->patience);
	request->asked = true;
	request->control->handlers->on_request(request->control->owner, request->word, request);
}

static void request_on_written(uv_write_t *write, int status)
{
	(void)status;
	request_close(write->data);
}

void control_answer(struct control_request *request, const char *text, size_t len)
{
	uv_buf_t buffer;

	request->asked = false;
	if (request->closing) {
		request_free_if_done(request);
		return;
	}
	request->answer = malloc(len + 1);
	if (!request->answer) {
		request_close(request);
		return;
	}
	memcpy(request->answer, text, len);
	buffer = uv_buf_init(request->answer, (unsigned int)len);
	request->write.data = request;
	uv_timer_start(&request->patience, request_on_patience, CONTROL_PATIENCE_MS, 0);
	if (uv_write(&request->write, (uv_stream_t *)&request->pipe, &buffer, 1, request_on_written) < 0)
		request_close(request);
}

static struct control_request *request_new(struct control *control)
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

static void control_on_connection(uv_stream_t *stream, int status)
{
	struct control *control = stream->data;
	struct control_request *request;

	if (status < 0)
		return;
	request = request_new(control);
	if (!request)
		return;
	if (uv_accept(stream, (uv_stream_t *)&request->pipe) < 0 || control->request_count > CONTROL_ASKERS_MAX ||
		uv_read_start((uv_stream_t *)&request->pipe, request_on_alloc, request_on_read) < 0) {
		request_close(request);
		return;
	}
	uv_timer_start(&request->patience, request_on_patience, CONTROL_PATIENCE_MS, 0);
}

/* --- the socket --- */

static int control_address(const char *path, struct sockaddr_un *ret, struct err *err)
{
	*ret = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof(ret->sun_path))
		return err_set(err, -ENAMETOOLONG,
			"control socket %s: longer than %zu characters; use a shorter --runtime-dir", path,
			sizeof(ret->sun_path) - 1);
	memcpy(ret->sun_path, path, strlen(path) + 1);
	return 0;
}

static int control_connect(const struct sockaddr_un *address)
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

/* What a crash left behind refuses connections: take it away. One that answers belongs to a running tunnel. */
static int control_clear_path(const struct sockaddr_un *address, struct err *err)
{
	int fd = control_connect(address);

	if (fd >= 0) {
		close(fd);
		return err_set(err, -EADDRINUSE, "control socket %s: this tunnel runs already", address->sun_path);
	}
	if (fd == -ECONNREFUSED && unlink(address->sun_path) < 0)
		return err_system(err, -errno, "control socket %s: removing what was left behind", address->sun_path);
	return 0;
}

static int control_bind(const struct sockaddr_un *address, struct err *err)
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

static void control_on_closed(uv_handle_t *handle)
{
	struct control *control = handle->data;

	free(control->path);
	free(control);
}

static int control_listen(struct control *control, int fd)
{
	int rc = uv_pipe_open(&control->pipe, fd);

	if (rc < 0)
		close(fd);
	return rc < 0 ? rc : uv_listen((uv_stream_t *)&control->pipe, CONTROL_BACKLOG, control_on_connection);
}

int control_open(struct control **ret, uv_loop_t *loop, const char *path, const struct control_handlers *handlers,
	void *owner, struct err *err)
{
	struct sockaddr_un address;
	struct control *control;
	int rc, fd;

	rc = control_address(path, &address, err);
	if (rc == 0)
		rc = folder_ensure_parent(path, err);
	if (rc == 0)
		rc = control_clear_path(&address, err);
	if (rc < 0)
		return rc;
	fd = control_bind(&address, err);
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
	rc = control->path ? control_listen(control, fd) : -ENOMEM;
	if (rc < 0) {
		control_close(control);
		return err_system(err, rc, "control socket %s", path);
	}
	*ret = control;
	return 0;
}

/* The owner is going: whoever still waits for an answer sees the end of the connection. */
void control_close(struct control *control)
{
	if (!control)
		return;
	if (control->path)
		unlink(control->path);
	while (control->requests) {
		control->requests->asked = false;
		request_close(control->requests);
	}
	uv_close((uv_handle_t *)&control->pipe, control_on_closed);
}

/* --- the asking side --- */

static long control_left_ms(const struct timespec *since)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return CONTROL_PATIENCE_MS - ((now.tv_sec - since->tv_sec) * 1000 + (now.tv_nsec - since->tv_nsec) / 1000000);
}

/* Read to the end into a growing buffer. Return: 0 or a negative errno. */
static int control_read_all(int fd, char **ret_text)
{
	struct timespec since;
	size_t len = 0, size = 0;
	char *text = NULL;
	ssize_t got;

	clock_gettime(CLOCK_MONOTONIC, &since);
	for (;;) {
		struct pollfd waiting = {.fd = fd, .events = POLLIN};
		long left = control_left_ms(&since);

		if (len + 1 >= size) {
			char *grown = size < CONTROL_ANSWER_MAX ? realloc(text, size = size ? size * 2 : 16384) : NULL;

			if (!grown) {
				free(text);
				return -ENOMEM;
			}
			text = grown;
		}
		if (left <= 0 || poll(&waiting, 1, (int)left) == 0) {
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
	int rc = control_address(path, &address, err);

	return rc < 0 ? rc : control_clear_path(&address, err);
}

/* Whose it is, the socket knows. */
static int control_complain_silence(int fd, const char *path, struct err *err)
{
	struct ucred owner = {0};
	socklen_t len = sizeof(owner);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &owner, &len) < 0 || owner.pid <= 0)
		return err_system(err, -ETIMEDOUT, "control socket %s", path);
	return err_set(err, -ETIMEDOUT,
		"process %ld does not answer; where it never does again, kill -KILL %ld ends it, and down cleans up "
		"then",
		(long)owner.pid, (long)owner.pid);
}

int control_ask(const char *path, const char *word, char **ret_text, struct err *err)
{
	struct sockaddr_un address;
	char line[CONTROL_WORD_MAX];
	int len = snprintf(line, sizeof(line), "%s\n", word);
	int rc = control_address(path, &address, err);
	int fd;

	if (rc < 0 || len >= (int)sizeof(line))
		return rc < 0 ? rc : err_system(err, -EINVAL, "control socket %s", path);
	fd = control_connect(&address);
	if (fd < 0)
		return err_system(err, fd, "control socket %s", path);
	if (send(fd, line, (size_t)len, MSG_NOSIGNAL) != len)
		rc = -EIO;
	if (rc == 0)
		rc = control_read_all(fd, ret_text);
	if (rc == -ETIMEDOUT)
		control_complain_silence(fd, path, err);
	else if (rc < 0)
		err_system(err, rc, "control socket %s: asking for %s", path, word);
	close(fd);
	return rc;
}
