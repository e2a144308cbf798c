/* The control socket of a running tunnel: RUNTIME_DIR/NAME.server or NAME.client, mode 0600, root (or the owner) only.
 *
 * One question a connection, one line each way: "status", "reload" or "stop" is answered by one JSON object and the end.
 * A socket file left behind by a crash is replaced; one that answers means that the tunnel runs already (-EADDRINUSE).
 */
#ifndef TOWPATH_PROCESS_CONTROL_H
#define TOWPATH_PROCESS_CONTROL_H

#include "common/base/err.h"

#include <stddef.h>
#include <uv.h>

struct control;
struct control_request; /* one connected asker; ended by control_answer() */

struct control_handlers {
	/* @word: as above. Answer now or later, exactly once. */
	void (*on_request)(void *owner, const char *word, struct control_request *request);
};

int control_open(struct control **ret, uv_loop_t *loop, const char *path, const struct control_handlers *handlers,
	void *owner, struct err *err);
void control_answer(struct control_request *request, const char *text, size_t len);
void control_close(struct control *control); /* also removes the socket file; requests still open are ended,
					      * and must not be answered any more */

/* The asking side, blocking, at most 5 s. Return: 0 (free *ret_text), -ENOENT or -ECONNREFUSED where nobody runs. */
int control_ask(const char *path, const char *word, char **ret_text, struct err *err);

/* Remove a socket that nobody serves any more. Return: 0, -EADDRINUSE where somebody answers, or another negative errno. */
int control_clear(const char *path, struct err *err);

#endif
