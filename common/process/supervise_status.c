/* Status requests, see supervise_status.h.
 *
 * Happy path: a memfd with a ticket goes to the worker, CHANNEL_STATUS_DONE brings the ticket back, the memfd holds a
 * JSON object, its fields are merged under ours. An object that is late, too large or no JSON only means that the
 * answer holds our fields alone. Asks are kept in the order they came in; all have the same patience, so one timer for
 * the first is enough.
 *
 * The worker reads the network, and its texts end on root's terminal as a rule: control characters are quoted.
 */
#include "common/process/supervise_status.h"

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/status/status_events.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 1024 /* bytes of a text after quoting; the rest is cut */

struct status_ask {
	struct status_ask *next;
	uint64_t ticket;
	uint64_t deadline_ms; /* uv_now() */
	int fd;		      /* the memfd; -1: none was sent */
	void *asker;	      /* the owner's; NULL is the owner's business */
};

struct status_asks {
	uv_timer_t timer;
	const struct status_handlers *handlers;
	void *owner;
	struct status_ask *first;
	uint64_t last_ticket;
};

/* --- the worker's object --- */

/* The worker shares the file offset, and may keep its descriptor. Anything it adds later is not seen. */
static char *read_memfd(int fd, size_t *ret_len)
{
	struct stat status;
	char *text;
	ssize_t got;

	if (fstat(fd, &status) < 0 || status.st_size <= 0 || status.st_size > (off_t)SUPERVISE_STATUS_MAX)
		return NULL;
	text = malloc((size_t)status.st_size);
	got = text ? file_read_all(fd, text, (size_t)status.st_size) : 0;
	*ret_len = got > 0 ? (size_t)got : 0;
	return text;
}

/* Free of control characters: C0, DEL, and C1, which is U+0080 to U+009F and in UTF-8 two bytes, 0xc2 and the
 * number. */
static bool is_plain(const char *text)
{
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text, next = (unsigned char)text[1];

		if (byte < ' ' || byte == 0x7f || (byte == 0xc2 && next >= 0x80 && next <= 0x9f))
			return false;
	}
	return true;
}

/* Quote the texts of @value and of all that it holds. Recursion is safe: jansson refuses depths over 2,048. */
static void clean_texts(json_t *value)
{
	const char *text = json_string_value(value);
	char quoted[TEXT_MAX];
	const char *key;
	json_t *item;
	void *next;
	size_t i;

	if (text && !is_plain(text))
		json_string_set_nocheck(value, log_quote(quoted, sizeof(quoted), text, strlen(text)));
	json_array_foreach (value, i, item)
		clean_texts(item);
	json_object_foreach_safe (value, next, key, item) {
		if (is_plain(key)) /* a key cannot be set anew while the object is walked */
			clean_texts(item);
		else
			json_object_del(value, key);
	}
}

/* Return: the worker's object, or NULL. */
static json_t *parse_memfd(int fd)
{
	size_t len = 0;
	char *text = read_memfd(fd, &len);
	json_t *object = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;

	free(text);
	if (json_is_object(object)) {
		clean_texts(object);
		return object;
	}
	json_decref(object);
	log_debug("config", "the worker's status is not readable");
	return NULL;
}

/* --- answering --- */

/* Answer @ask and free it; it is out of the list already. @from_worker: NULL where it has not answered; released
 * here. */
static void status_answer(struct status_asks *asks, struct status_ask *ask, json_t *from_worker)
{
	json_t *object = asks->handlers->describe(asks->owner);
	char *text;
	size_t len;

	if (object && from_worker) {
		/* Services are published by both, by port above and by name below. */
		json_array_extend(json_object_get(object, "publish"), json_object_get(from_worker, "publish"));
		json_object_update_missing(object, from_worker);
	}
	if (object)
		status_events_add(object); /* behind the worker's */
	text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	len = text ? strlen(text) : 0;
	if (text)
		text[len] = '\n'; /* in place of the terminator; the length is told */
	asks->handlers->on_answer(asks->owner, ask->asker, object, text ? text : "{}\n", text ? len + 1 : 3);
	free(text);
	json_decref(object);
	json_decref(from_worker);
	if (ask->fd >= 0)
		close(ask->fd);
	free(ask);
}

static void status_on_timer(uv_timer_t *timer);

/* Set the timer to the first deadline, or stop it. */
static void status_watch(struct status_asks *asks)
{
	uint64_t now_ms = uv_now(asks->timer.loop);

	if (!asks->first)
		uv_timer_stop(&asks->timer);
	else
		uv_timer_start(&asks->timer, status_on_timer,
			asks->first->deadline_ms > now_ms ? asks->first->deadline_ms - now_ms : 0, 0);
}

/* The first ones are over time: answer them without the worker, which is told once for each. */
static void status_on_timer(uv_timer_t *timer)
{
	struct status_asks *asks = timer->data;

	while (asks->first && asks->first->deadline_ms <= uv_now(timer->loop)) {
		struct status_ask *ask = asks->first;

		asks->first = ask->next;
		log_warning("config", "the worker does not answer for its status");
		status_answer(asks, ask, NULL);
	}
	status_watch(asks);
}

/* --- the public face --- */

int status_asks_open(struct status_asks **ret, uv_loop_t *loop, const struct status_handlers *handlers, void *owner)
{
	struct status_asks *asks = calloc(1, sizeof(*asks));

	if (!asks)
		return -ENOMEM;
	asks->handlers = handlers;
	asks->owner = owner;
	uv_timer_init(loop, &asks->timer);
	asks->timer.data = asks;
	*ret = asks;
	return 0;
}

void status_asks_add(struct status_asks *asks, struct channel *channel, void *asker)
{
	struct status_ask *ask = calloc(1, sizeof(*ask));
	struct channel_ticket ticket;
	struct status_ask **link;

	if (!ask) { /* out of memory: the asker must be answered all the same */
		asks->handlers->on_answer(asks->owner, asker, NULL, "{}\n", 3);
		return;
	}
	ticket.ticket = ++asks->last_ticket;
	*ask = (struct status_ask){.ticket = ticket.ticket, .fd = -1, .asker = asker};
	ask->deadline_ms = uv_now(asks->timer.loop) + SUPERVISE_STATUS_PATIENCE_MS;
	if (channel)
		ask->fd = memfd_create("status", MFD_CLOEXEC);
	if (ask->fd < 0 || channel_send(channel, CHANNEL_STATUS, &ticket, sizeof(ticket), ask->fd) < 0) {
		status_answer(asks, ask, NULL);
		return;
	}
	for (link = &asks->first; *link; link = &(*link)->next)
		;
	*link = ask;
	status_watch(asks);
}

void status_asks_done(struct status_asks *asks, uint64_t ticket)
{
	struct status_ask **link = &asks->first;
	struct status_ask *ask;

	while (*link && (*link)->ticket != ticket)
		link = &(*link)->next;
	ask = *link;
	if (!ask)
		return; /* too late: answered without it, or never asked */
	*link = ask->next;
	status_answer(asks, ask, parse_memfd(ask->fd));
	status_watch(asks);
}

/* Answered at once instead of at the deadline: the next worker does not know these tickets. */
void status_asks_abandon(struct status_asks *asks)
{
	while (asks->first) {
		struct status_ask *ask = asks->first;

		asks->first = ask->next;
		status_answer(asks, ask, NULL);
	}
	status_watch(asks);
}

static void status_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* Without an answer: the owner closes the askers itself. */
void status_asks_close(struct status_asks *asks)
{
	while (asks && asks->first) {
		struct status_ask *ask = asks->first;

		asks->first = ask->next;
		if (ask->fd >= 0)
			close(ask->fd);
		free(ask);
	}
	if (asks)
		uv_close((uv_handle_t *)&asks->timer, status_on_closed);
}
