/* Status requests (supervise_status.h).
 *
 * Happy path: a memfd with a ticket goes to the worker, CHANNEL_STATUS_DONE brings the ticket back, the memfd holds a
 * JSON object, its fields are merged under ours. Whatever is wrong with it (late, too large, no JSON) only means that
 * the answer holds our fields alone. Asks are kept in the order they came, all with the same patience.
 * The worker's texts end on a terminal, root's as a rule: what would steer that is quoted.
 */
#include "common/process/supervise_status.h"

#include "common/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 1024 /* of a text that is quoted */

struct status_ask {
	struct status_ask *next;
	uint64_t ticket;
	uint64_t deadline_ms; /* uv_now() */
	int fd;
	void *asker;
};

struct status_asks {
	uv_timer_t timer;
	const struct status_handlers *handlers;
	void *owner;
	struct status_ask *first;
	uint64_t last_ticket;
};

/* --- the worker's object --- */

static char *status_read(int fd, size_t *ret_len)
{
	struct stat status;
	size_t done = 0;
	char *text;
	ssize_t got;

	if (fstat(fd, &status) < 0 || status.st_size <= 0 || status.st_size > (off_t)SUPERVISE_STATUS_MAX)
		return NULL;
	text = malloc((size_t)status.st_size);
	while (text && done < (size_t)status.st_size) {
		got = pread(fd, text + done, (size_t)status.st_size - done, (off_t)done);
		if (got == 0 || (got < 0 && errno != EINTR))
			break;
		done += got > 0 ? (size_t)got : 0;
	}
	*ret_len = done;
	return text;
}

/* ESC and its like; of Unicode U+0080 to U+009F, which are such, too. */
static bool is_control(const char *at)
{
	unsigned char byte = (unsigned char)*at, following = (unsigned char)at[1];

	return byte < ' ' || byte == 0x7f || (byte == 0xc2 && following >= 0x80 && following <= 0x9f);
}

static bool is_plain(const char *text)
{
	for (; *text; text++)
		if (is_control(text))
			return false;
	return true;
}

static void clean_string(json_t *value)
{
	const char *text = json_string_value(value);
	char quoted[TEXT_MAX];

	if (!is_plain(text))
		json_string_set_nocheck(value, log_quote(quoted, sizeof(quoted), text, strlen(text)));
}

/* In everything that is in @value; jansson has limited its depth. */
static void clean(json_t *value)
{
	const char *key;
	json_t *item;
	void *next;
	size_t i;

	if (json_is_string(value))
		clean_string(value);
	json_array_foreach (value, i, item)
		clean(item);
	json_object_foreach_safe (value, next, key, item) {
		if (is_plain(key))
			clean(item);
		else
			json_object_del(value, key);
	}
}

static json_t *status_parse(int fd)
{
	size_t len = 0;
	char *text = status_read(fd, &len);
	json_t *object = text ? json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL) : NULL;

	free(text);
	if (json_is_object(object)) {
		clean(object);
		return object;
	}
	json_decref(object);
	log_debug("config", "the worker's status is not readable");
	return NULL;
}

/* --- answering --- */

static void status_answer(struct status_asks *asks, struct status_ask *ask, json_t *from_worker)
{
	json_t *object = asks->handlers->describe(asks->owner);
	char *text;
	size_t len;

	if (object && from_worker)
		json_object_update_missing(object, from_worker);
	text = object ? json_dumps(object, JSON_COMPACT | JSON_REAL_PRECISION(9)) : NULL;
	len = text ? strlen(text) : 0;
	if (text)
		text[len] = '\n'; /* the terminator's place: the length says where it ends */
	asks->handlers->on_answer(asks->owner, ask->asker, text ? text : "{}\n", text ? len + 1 : 3);
	free(text);
	json_decref(object);
	json_decref(from_worker);
	if (ask->fd >= 0)
		close(ask->fd);
	free(ask);
}

static void status_on_timer(uv_timer_t *timer);

static void status_watch(struct status_asks *asks)
{
	uint64_t now_ms = uv_now(asks->timer.loop);

	if (!asks->first)
		uv_timer_stop(&asks->timer);
	else
		uv_timer_start(&asks->timer, status_on_timer,
			asks->first->deadline_ms > now_ms ? asks->first->deadline_ms - now_ms : 0, 0);
}

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

static int status_send(struct status_ask *ask, struct channel *channel)
{
	const struct channel_ticket ticket = {.ticket = ask->ticket};

	ask->fd = memfd_create("status", MFD_CLOEXEC);
	if (ask->fd < 0)
		return -errno;
	return channel_send(channel, CHANNEL_STATUS, &ticket, sizeof(ticket), ask->fd);
}

void status_asks_add(struct status_asks *asks, struct channel *channel, void *asker)
{
	struct status_ask *ask = calloc(1, sizeof(*ask));
	struct status_ask **at;

	if (!ask) {
		asks->handlers->on_answer(asks->owner, asker, "{}\n", 3);
		return;
	}
	*ask = (struct status_ask){.ticket = ++asks->last_ticket, .fd = -1, .asker = asker};
	ask->deadline_ms = uv_now(asks->timer.loop) + SUPERVISE_STATUS_PATIENCE_MS;
	if (!channel || status_send(ask, channel) < 0) {
		status_answer(asks, ask, NULL);
		return;
	}
	for (at = &asks->first; *at; at = &(*at)->next)
		;
	*at = ask;
	status_watch(asks);
}

void status_asks_done(struct status_asks *asks, uint64_t ticket)
{
	struct status_ask **at = &asks->first;
	struct status_ask *ask;

	while (*at && (*at)->ticket != ticket)
		at = &(*at)->next;
	ask = *at;
	if (!ask)
		return; /* answered without it already */
	*at = ask->next;
	status_answer(asks, ask, status_parse(ask->fd));
	status_watch(asks);
}

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
