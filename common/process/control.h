/* The control socket of a running tunnel: RUNTIME_DIR/NAME.server or NAME.client, mode 0600: its user and root only.
 *
 * One question a connection: the asker sends "status", "reload" or "stop" and a newline, the answer is one JSON object
 * and the end of the connection.
 * A socket file left behind by a crash is replaced; one that answers means that the tunnel runs already (-EADDRINUSE).
 */
#pragma once

#include "common/base/err.h"

#include <stddef.h>
#include <uv.h>

#define CONTROL_ASKERS_MAX 64 /* connected at the same time; more are closed at once */

struct control;
struct control_request; /* one connected asker; ended by control_answer() */

struct control_handlers {
	/* @word: the line without its newline, not checked. Answer now or later, exactly once, by control_answer(). */
	void (*on_request)(void *owner, const char *word, struct control_request *request);
};

/* Create the socket, and its folder if needed. Return: 0, -EADDRINUSE (the tunnel runs) or another errno, negative. */
int control_open(struct control **ret, uv_loop_t *loop, const char *path, const struct control_handlers *handlers,
	void *owner, struct err *err);
/* @text is copied. @request must not be used after this. */
void control_answer(struct control_request *request, const char *text, size_t len);
/* Also removes the socket file. Requests that are still open are ended and must not be answered any more. */
void control_close(struct control *control);

/* The asking side: blocks, at most 5 s. Return: 0 (free *ret_text), -ENOENT or -ECONNREFUSED where the tunnel does not
 * run, -EACCES where it is another user's, or another negative errno. */
int control_ask(const char *path, const char *word, char **ret_text, struct err *err);

/* Remove a socket that no process serves any more. Return: 0, -EADDRINUSE where one does, or another negative errno. */
int control_clear(const char *path, struct err *err);
