/* See status_page.h.
 *
 * Theory of operation. A visit is one connection, which asks once:
 *
 *    READING ──a whole head──▶ WAITING ──the text is there──▶ SENDING ──all is sent──▶ LINGERING ──▶ closed
 *                 └── the page itself, or a refusal: nothing to wait for ──▲
 *
 * A text (status_http.h) is a memory file of the supervisor's. It is asked for when a visit wants it and the last one
 * is no longer fresh, and never twice at a time. It is fresh for a second, or for ten times as long as it took to make,
 * because a hub with thousands of sessions must not spend its time on them. Visits hold the text that they send, also
 * when a newer one comes.
 *
 * LINGERING: our side is shut, and bytes that still come (the body of a POST that was refused) are read and dropped. A
 * close() with unread bytes would reset the connection before the answer is read.
 *
 * Each step has a deadline, which the tick looks at. A visit is freed when the loop has let go of its handle; the
 * handle of a listening socket likewise.
 */
#include "common/status/status_page.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "page_html.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define VISITS_MAX 32u
#define CHUNK 16384u
#define READING_US (5ull * CLOCK_US_PER_S)
#define WAITING_US (5ull * CLOCK_US_PER_S)  /* the supervisor waits for the worker's part for 1.5 s */
#define SENDING_US (10ull * CLOCK_US_PER_S) /* since bytes were last taken */
#define LINGERING_US (2ull * CLOCK_US_PER_S)
#define FRESH_US (1ull * CLOCK_US_PER_S)
#define FRESH_FACTOR 10u
#define FRESH_MAX_US (10ull * CLOCK_US_PER_S)

static const unsigned char html[] = {STATUS_PAGE_BYTES};

/* A text as it came. Freed by the last one that uses it: the page while it is the newest, and each visit. */
struct text_file {
	unsigned users;
	int fd;
	size_t len;
};

struct newest {
	struct text_file *file; /* NULL: none */
	uint64_t fresh_until_us;
	uint64_t asked_us; /* 0: not under way */
};

enum visit_state { VISIT_READING, VISIT_WAITING, VISIT_SENDING, VISIT_LINGERING };

struct visit {
	uv_poll_t poll;
	int fd;
	struct status_page *page; /* NULL: closed */
	struct visit *next;
	enum visit_state state;
	uint64_t deadline_us;
	enum status_text text;
	bool is_head;		/* HEAD: no body */
	struct text_file *file; /* the body; NULL: the page's own, or none */
	size_t len, sent;	/* of the body */
	size_t head_len, head_sent;
	char head[HTTP_HEAD_MAX]; /* of the request, then of the answer */
};

/* A listening socket. */
struct door {
	uv_poll_t poll;
	int fd;
	struct addr own;
	bool is_resting; /* too many visits, or no descriptor: the tick tries again */
};

struct status_page {
	uv_loop_t *loop;
	const struct status_page_handlers *handlers;
	void *owner;
	struct door *door; /* NULL: none */
	struct visit *visits;
	unsigned visit_count;
	struct newest newest[STATUS_TEXT_COUNT];
};

static void on_visit_poll(uv_poll_t *poll, int status, int events);
static void on_door_poll(uv_poll_t *poll, int status, int events);

/* --- texts --- */

static void release_file(struct text_file *file)
{
	if (!file || --file->users > 0)
		return;
	close(file->fd);
	free(file);
}

/* --- a visit --- */

static void on_visit_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void close_visit(struct visit *visit)
{
	struct visit **link = &visit->page->visits;

	while (*link != visit)
		link = &(*link)->next;
	*link = visit->next;
	visit->page->visit_count--;
	visit->page = NULL;
	release_file(visit->file);
	uv_close((uv_handle_t *)&visit->poll, on_visit_closed);
	close(visit->fd); /* after uv_close(): the loop must still be able to forget it */
}

static void enter(struct visit *visit, enum visit_state state, int events, uint64_t patience_us)
{
	visit->state = state;
	visit->deadline_us = clock_now_us() + patience_us;
	uv_poll_start(&visit->poll, events, on_visit_poll);
}

/* The answer's head takes the place of the request's. */
static void begin_answer(struct visit *visit, unsigned code)
{
	if (visit->file)
		visit->len = visit->file->len;
	else if (code == 200)
		visit->len = sizeof(html);
	visit->head_len = status_http_format(visit->head, code, visit->text, visit->len, !visit->is_head);
	if (visit->is_head)
		visit->len = 0;
	enter(visit, VISIT_SENDING, UV_WRITABLE, SENDING_US);
}

/* Send what the socket takes. Return: bytes sent, 0: it is full, -1: the visit is over. */
static ssize_t send_some(struct visit *visit)
{
	char chunk[CHUNK];
	const void *from = visit->head + visit->head_sent;
	size_t len = visit->head_len - visit->head_sent;
	bool is_body = len == 0;
	ssize_t sent;

	if (is_body) {
		len = visit->len - visit->sent < CHUNK ? visit->len - visit->sent : CHUNK;
		from = html + visit->sent;
		if (visit->file) {
			from = chunk;
			if (pread(visit->file->fd, chunk, len, (off_t)visit->sent) != (ssize_t)len)
				return -1;
		}
	}
	sent = send(visit->fd, from, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	*(is_body ? &visit->sent : &visit->head_sent) += (size_t)sent;
	return sent;
}

/* One chunk a turn of the loop, so that the datagrams get their turn, too. */
static void go_on_sending(struct visit *visit)
{
	ssize_t sent = send_some(visit);

	if (sent < 0) {
		close_visit(visit);
		return;
	}
	if (sent > 0)
		visit->deadline_us = clock_now_us() + SENDING_US;
	if (visit->head_sent < visit->head_len || visit->sent < visit->len)
		return;
	shutdown(visit->fd, SHUT_WR);
	enter(visit, VISIT_LINGERING, UV_READABLE, LINGERING_US);
}

/* A text that is fresh is sent at once; else it is asked for, unless that is under way. */
static void want_text(struct visit *visit)
{
	struct status_page *page = visit->page;
	struct newest *newest = &page->newest[visit->text];
	uint64_t now_us = clock_now_us();

	if (newest->file && now_us < newest->fresh_until_us) {
		visit->file = newest->file;
		visit->file->users++;
		begin_answer(visit, 200);
		return;
	}
	enter(visit, VISIT_WAITING, 0, WAITING_US); /* a client may have shut its side already, and still reads */
	if (newest->asked_us != 0 && now_us - newest->asked_us < WAITING_US)
		return;
	newest->asked_us = now_us;
	page->handlers->on_wanted(page->owner, visit->text);
}

static void answer_request(struct visit *visit, const struct http_head *head)
{
	unsigned code = status_http_find(head, &visit->page->door->own, &visit->text);

	visit->is_head = http_span_is(head->method, "HEAD");
	if (code == 200 && visit->text != STATUS_PAGE)
		want_text(visit);
	else
		begin_answer(visit, code);
}

static void read_head(struct visit *visit)
{
	ssize_t got =
		recv(visit->fd, visit->head + visit->head_len, sizeof(visit->head) - visit->head_len, MSG_DONTWAIT);
	struct http_head head;
	size_t used;

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0 || !visit->page->door) { /* it says nothing more; or this is the page of no address any more */
		close_visit(visit);
		return;
	}
	visit->head_len += (size_t)got;
	switch (http_head_parse_request(visit->head, visit->head_len, &head, &used)) {
	case HTTP_OK:
		answer_request(visit, &head);
		break;
	case HTTP_MORE:
		break;
	case HTTP_BAD:
		begin_answer(visit, 400);
		break;
	case HTTP_TOO_LARGE:
		begin_answer(visit, 431);
		break;
	}
}

static void linger(struct visit *visit)
{
	char dropped[CHUNK];
	ssize_t got = recv(visit->fd, dropped, sizeof(dropped), MSG_DONTWAIT);

	if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
		close_visit(visit);
}

static void on_visit_poll(uv_poll_t *poll, int status, int events)
{
	struct visit *visit = poll->data;

	(void)events;
	if (status < 0) {
		close_visit(visit);
		return;
	}
	switch (visit->state) {
	case VISIT_READING:
		read_head(visit);
		break;
	case VISIT_WAITING: /* not polled */
		break;
	case VISIT_SENDING:
		go_on_sending(visit);
		break;
	case VISIT_LINGERING:
		linger(visit);
		break;
	}
}

/* --- the door --- */

static void open_visit(struct status_page *page, int fd)
{
	struct visit *visit = calloc(1, sizeof(*visit));

	if (!visit || uv_poll_init(page->loop, &visit->poll, fd) < 0) {
		free(visit);
		close(fd);
		return;
	}
	visit->poll.data = visit;
	visit->fd = fd;
	visit->page = page;
	visit->next = page->visits;
	page->visits = visit;
	page->visit_count++;
	enter(visit, VISIT_READING, UV_READABLE, READING_US);
}

static void on_door_poll(uv_poll_t *poll, int status, int events)
{
	struct status_page *page = poll->data;
	struct door *door = page->door;
	int fd = -1;

	(void)status;
	(void)events;
	if (page->visit_count < VISITS_MAX)
		fd = accept4(door->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		open_visit(page, fd);
	} else if (page->visit_count >= VISITS_MAX || (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)) {
		door->is_resting = true; /* the others wait in the backlog */
		uv_poll_stop(poll);
	}
}

static void on_door_closed(uv_handle_t *handle)
{
	free((char *)handle - offsetof(struct door, poll));
}

static void close_door(struct status_page *page)
{
	if (!page->door)
		return;
	uv_close((uv_handle_t *)&page->door->poll, on_door_closed);
	close(page->door->fd);
	page->door = NULL;
}

void status_page_listen(struct status_page *page, int fd, const struct addr *own)
{
	struct door *door = fd >= 0 ? calloc(1, sizeof(*door)) : NULL;

	close_door(page);
	if (fd < 0)
		return;
	if (!door || uv_poll_init(page->loop, &door->poll, fd) < 0) {
		log_warning("config", "Status: out of memory");
		free(door);
		close(fd);
		return;
	}
	door->poll.data = page;
	door->fd = fd;
	door->own = *own;
	page->door = door;
	uv_poll_start(&door->poll, UV_READABLE, on_door_poll);
}

/* --- what the supervisor sends --- */

void status_page_take(struct status_page *page, enum status_text text, int fd)
{
	struct text_file *file = calloc(1, sizeof(*file));
	struct newest *newest = &page->newest[text];
	uint64_t now_us = clock_now_us(), fresh_us = FRESH_FACTOR * (now_us - newest->asked_us);
	struct visit *next;
	struct stat st;

	if (!file || newest->asked_us == 0 || fstat(fd, &st) < 0) {
		free(file);
		close(fd);
		return;
	}
	*file = (struct text_file){.users = 1, .fd = fd, .len = (size_t)st.st_size};
	fresh_us = fresh_us > FRESH_US ? fresh_us : FRESH_US;
	newest->fresh_until_us = now_us + (fresh_us < FRESH_MAX_US ? fresh_us : FRESH_MAX_US);
	newest->asked_us = 0;
	release_file(newest->file);
	newest->file = file;
	for (struct visit *visit = page->visits; visit; visit = next) {
		next = visit->next;
		if (visit->state != VISIT_WAITING || visit->text != text)
			continue;
		visit->file = file;
		file->users++;
		begin_answer(visit, 200);
	}
}

/* --- life --- */

/* A text that is not fresh any more is given back: nobody may ask again for days. */
void status_page_tick(struct status_page *page, uint64_t now_us)
{
	struct visit *next;

	for (struct visit *visit = page->visits; visit; visit = next) {
		next = visit->next;
		if (now_us < visit->deadline_us)
			continue;
		if (visit->state == VISIT_WAITING)
			begin_answer(visit, 503);
		else
			close_visit(visit);
	}
	for (size_t i = 0; i < STATUS_TEXT_COUNT; i++)
		if (page->newest[i].file && now_us >= page->newest[i].fresh_until_us) {
			release_file(page->newest[i].file);
			page->newest[i].file = NULL;
		}
	if (page->door && page->door->is_resting) {
		page->door->is_resting = false;
		uv_poll_start(&page->door->poll, UV_READABLE, on_door_poll);
	}
}

int status_page_open(
	struct status_page **ret, uv_loop_t *loop, const struct status_page_handlers *handlers, void *owner)
{
	struct status_page *page = calloc(1, sizeof(*page));

	if (!page)
		return -ENOMEM;
	page->loop = loop;
	page->handlers = handlers;
	page->owner = owner;
	*ret = page;
	return 0;
}

void status_page_close(struct status_page *page)
{
	if (!page)
		return;
	close_door(page);
	while (page->visits)
		close_visit(page->visits);
	for (size_t i = 0; i < STATUS_TEXT_COUNT; i++)
		release_file(page->newest[i].file);
	free(page);
}
