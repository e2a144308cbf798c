/* Relays between a peer and the web site, one request at a time (visitor.h).
 *
 *    HEAD ──head read──▶ EXCHANGE ──request sent, answer taken──▶ HEAD
 *     │                     │
 *     │ upgrade accepted    │ last answer, or nothing sensible to say any more
 *     ▼                     ▼
 *    TAKEN                 OUTRO ──output taken──▶ ENDED
 *
 * Happy path: bytes are collected until a head is whole; it goes to the web site's socketpair with its upgrade hidden,
 * the body follows as it comes, the answer is followed to its end and handed out; then the next head is looked at.
 * It fails by an error page of the web site's look and the end: a head or body that cannot be framed without doubt, a
 * web site that hangs up without an answer, a peer that lets the idle timeout pass (the end only).
 */
#include "server/visitor.h"

#include "common/base/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum visitor_state {
	VISITOR_STATE_HEAD,	/* collecting a head; nothing outstanding */
	VISITOR_STATE_EXCHANGE, /* one request and its answer under way */
	VISITOR_STATE_OUTRO,	/* the last output is being handed out */
	VISITOR_STATE_TAKEN,	/* the owner has the connection */
	VISITOR_STATE_ENDED,
};

enum answer_state {
	ANSWER_STATE_HEAD,
	ANSWER_STATE_BODY,
	ANSWER_STATE_TO_THE_END, /* no length: until the web site closes */
	ANSWER_STATE_DONE,
};

/* The connection to the web site; outlives its visitor until the loop has closed the handle. */
struct site {
	uv_poll_t poll;
	int fd;
	int events; /* what is polled for */
};

struct visitor {
	struct visitor_setup plan;
	enum visitor_state state;
	uv_timer_t idle;
	struct site *site; /* NULL: none */
	bool closing;
	bool input_over;
	bool wants_room;     /* visitor_feed() left something with the owner */
	bool output_blocked; /* on_output said no */

	/* the request */
	char *head; /* HTTP_HEAD_MAX bytes, while there is one */
	size_t head_len;
	size_t head_sent;
	struct http_body body;
	bool drops_body;   /* read, but not passed on */
	bool is_head_only; /* HEAD: the answer has no body */
	bool is_last;	   /* the connection ends behind the answer */

	/* the answer: [start, followed) may go out, [followed, len) is not understood yet */
	uint8_t *answer; /* VISITOR_OUTPUT_MAX bytes, during an exchange */
	size_t answer_start;
	size_t answer_followed;
	size_t answer_len;
	enum answer_state answer_state;
	struct http_body answer_body;
};

/* ---- the web site's connection ---- */

static void site_on_closed(uv_handle_t *handle)
{
	free(handle->data);
}

static void visitor_disconnect(struct visitor *visitor)
{
	struct site *site = visitor->site;

	if (!site)
		return;
	visitor->site = NULL;
	site->poll.data = site;
	uv_close((uv_handle_t *)&site->poll, site_on_closed);
	close(site->fd); /* uv_close() has taken it out of the loop */
}

static int visitor_connect(struct visitor *visitor)
{
	struct site *site = calloc(1, sizeof(*site));
	int rc;

	if (!site)
		return -ENOMEM;
	site->fd = website_connect(visitor->plan.website);
	if (site->fd < 0) {
		rc = site->fd;
		free(site);
		return rc;
	}
	rc = uv_poll_init(visitor->plan.loop, &site->poll, site->fd);
	if (rc < 0) {
		close(site->fd);
		free(site);
		return rc;
	}
	site->poll.data = visitor;
	visitor->site = site;
	return 0;
}

/* ---- time ---- */

static void visitor_end(struct visitor *visitor)
{
	visitor->state = VISITOR_STATE_ENDED;
	uv_timer_stop(&visitor->idle);
	visitor_disconnect(visitor);
	visitor->plan.callbacks->on_end(visitor->plan.owner);
}

static void visitor_on_idle(uv_timer_t *timer)
{
	struct visitor *visitor = timer->data;

	log_debug(
		"website", "a visitor was silent for %llu s", (unsigned long long)visitor->plan.idle_timeout_ms / 1000);
	visitor_end(visitor);
}

/* Something moved. */
static void visitor_restart_timer(struct visitor *visitor)
{
	if (!visitor->closing)
		uv_timer_start(&visitor->idle, visitor_on_idle, visitor->plan.idle_timeout_ms, 0);
}

/* ---- answers ---- */

static bool visitor_need(void **buffer, size_t size)
{
	if (!*buffer)
		*buffer = malloc(size);
	return *buffer;
}

/* Forget the exchange. */
static void visitor_reset(struct visitor *visitor)
{
	free(visitor->head);
	visitor->head = NULL;
	visitor->head_len = 0;
	visitor->head_sent = 0;
	free(visitor->answer);
	visitor->answer = NULL;
	visitor->answer_start = 0;
	visitor->answer_followed = 0;
	visitor->answer_len = 0;
	visitor->answer_state = ANSWER_STATE_HEAD;
	visitor->drops_body = false;
	visitor->is_head_only = false;
	visitor->is_last = false;
}

/* An answer of our own in place of the web site's, of which nothing has gone out yet. */
static void visitor_answer(struct visitor *visitor, unsigned status)
{
	int len = -ENOMEM;

	visitor->answer_start = 0;
	visitor->answer_followed = 0;
	visitor->answer_len = 0;
	if (visitor_need((void **)&visitor->answer, VISITOR_OUTPUT_MAX))
		len = website_format_error(
			(char *)visitor->answer, VISITOR_OUTPUT_MAX, status, !visitor->is_head_only, visitor->is_last);
	if (len < 0) {
		visitor->state = VISITOR_STATE_OUTRO;
		return;
	}
	visitor->answer_len = (size_t)len;
	visitor->answer_followed = (size_t)len;
	visitor->answer_state = ANSWER_STATE_DONE;
}

static void visitor_answer_and_end(struct visitor *visitor, unsigned status)
{
	log_debug("website", "answered a visitor %u", status);
	visitor->is_last = true;
	visitor_answer(visitor, status);
	visitor->state = VISITOR_STATE_OUTRO;
}

/* Nothing of the answer has gone out, and nothing can be expected any more. */
static bool visitor_can_answer(const struct visitor *visitor)
{
	return visitor->answer_state == ANSWER_STATE_HEAD && visitor->answer_followed == 0;
}

/* What was announced cannot be completed: an error page if nothing has gone out yet, then the end. */
static void visitor_break_off(struct visitor *visitor, unsigned status)
{
	visitor_disconnect(visitor);
	if (visitor_can_answer(visitor)) {
		visitor_answer_and_end(visitor, status);
		return;
	}
	visitor->answer_len = visitor->answer_followed;
	visitor->state = VISITOR_STATE_OUTRO;
}

static void visitor_begin_answer_body(struct visitor *visitor, const struct http_head *head)
{
	if (head->status < 200) {
		visitor->answer_state = ANSWER_STATE_HEAD; /* an interim answer: the real one follows */
		return;
	}
	if (http_head_has_token(head, "Connection", "close"))
		visitor->is_last = true;
	if (visitor->is_head_only || head->status == 204 || head->status == 304)
		visitor->answer_state = ANSWER_STATE_DONE;
	else if (head->framing == HTTP_FRAMING_NONE && !http_head_find(head, "Content-Length", 0))
		visitor->answer_state = ANSWER_STATE_TO_THE_END;
	else
		visitor->answer_state = ANSWER_STATE_BODY;
	http_body_init(&visitor->answer_body, head);
}

/* Return: false where more bytes are needed, or the exchange was broken off. */
static bool visitor_follow_answer_head(struct visitor *visitor)
{
	const char *from = (const char *)visitor->answer + visitor->answer_followed;
	size_t len = visitor->answer_len - visitor->answer_followed;
	struct http_head head;
	size_t used = 0;
	enum http_result result = http_head_parse_answer(from, len, &head, &used);

	if (result == HTTP_MORE)
		return false;
	if (result != HTTP_OK) {
		visitor_break_off(visitor, 503);
		return false;
	}
	visitor->answer_followed += used;
	visitor_begin_answer_body(visitor, &head);
	return true;
}

static bool visitor_follow_answer_body(struct visitor *visitor)
{
	const char *from = (const char *)visitor->answer + visitor->answer_followed;
	size_t len = visitor->answer_len - visitor->answer_followed;
	size_t used = 0;

	if (!http_body_is_done(&visitor->answer_body) &&
		http_body_follow(&visitor->answer_body, from, len, &used) != HTTP_OK) {
		visitor_break_off(visitor, 503);
		return false;
	}
	visitor->answer_followed += used;
	if (!http_body_is_done(&visitor->answer_body))
		return false;
	visitor->answer_state = ANSWER_STATE_DONE;
	return true;
}

/* Understand as much of the answer as is there. */
static void visitor_follow_answer(struct visitor *visitor)
{
	bool goes_on = true;

	while (goes_on) {
		switch (visitor->answer_state) {
		case ANSWER_STATE_HEAD:
			goes_on = visitor_follow_answer_head(visitor);
			break;
		case ANSWER_STATE_BODY:
			goes_on = visitor_follow_answer_body(visitor);
			break;
		case ANSWER_STATE_TO_THE_END:
			visitor->answer_followed = visitor->answer_len;
			goes_on = false;
			break;
		case ANSWER_STATE_DONE:
			visitor->answer_len = visitor->answer_followed; /* nobody asked for more */
			goes_on = false;
			break;
		}
	}
}

/* The web site closed. */
static void visitor_on_site_end(struct visitor *visitor)
{
	visitor_disconnect(visitor);
	if (visitor->answer_state == ANSWER_STATE_TO_THE_END)
		visitor->answer_state = ANSWER_STATE_DONE;
	if (visitor->answer_state == ANSWER_STATE_DONE)
		visitor->state = VISITOR_STATE_OUTRO;
	else
		visitor_break_off(visitor, 400);
}

static void visitor_read_answer(struct visitor *visitor)
{
	ssize_t len;

	if (!visitor_need((void **)&visitor->answer, VISITOR_OUTPUT_MAX)) {
		visitor_break_off(visitor, 503);
		return;
	}
	len = recv(
		visitor->site->fd, visitor->answer + visitor->answer_len, VISITOR_OUTPUT_MAX - visitor->answer_len, 0);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len <= 0) {
		visitor_on_site_end(visitor);
		return;
	}
	visitor->answer_len += (size_t)len;
	visitor_follow_answer(visitor);
}

/* Hand out what may go out. Return: false where the owner takes no more, or has closed us. */
static bool visitor_deliver(struct visitor *visitor)
{
	size_t len = visitor->answer_followed - visitor->answer_start;

	if (len == 0)
		return true;
	if (visitor->output_blocked)
		return false;
	if (!visitor->plan.callbacks->on_output(visitor->plan.owner, visitor->answer + visitor->answer_start, len)) {
		visitor->output_blocked = true;
		return false;
	}
	if (visitor->closing)
		return false;
	visitor_restart_timer(visitor);
	visitor->answer_len -= visitor->answer_followed;
	memmove(visitor->answer, visitor->answer + visitor->answer_followed, visitor->answer_len);
	visitor->answer_start = 0;
	visitor->answer_followed = 0;
	return true;
}

/* ---- requests ---- */

static bool visitor_is_request_sent(const struct visitor *visitor)
{
	return visitor->head_sent == visitor->head_len && http_body_is_done(&visitor->body);
}

/* Return: bytes the web site took; 0 also where it is gone, which reading will tell. */
static size_t visitor_send(struct visitor *visitor, const void *data, size_t len)
{
	ssize_t sent;

	if (!visitor->site)
		return 0;
	sent = send(visitor->site->fd, data, len, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		visitor->drops_body = true;
	return sent < 0 ? 0 : (size_t)sent;
}

static void visitor_send_head(struct visitor *visitor)
{
	visitor->head_sent +=
		visitor_send(visitor, visitor->head + visitor->head_sent, visitor->head_len - visitor->head_sent);
	if (visitor->drops_body)
		visitor->head_sent = visitor->head_len;
}

/* Bytes of the request's body. Return: how many were taken. */
static size_t visitor_feed_body(struct visitor *visitor, const char *data, size_t len)
{
	struct http_body ahead = visitor->body;
	size_t used = 0;

	if (visitor->head_sent < visitor->head_len || http_body_is_done(&visitor->body))
		return 0;
	if (http_body_follow(&ahead, data, len, &used) != HTTP_OK) {
		visitor_break_off(visitor, 400);
		return len;
	}
	if (!visitor->drops_body) {
		used = visitor_send(visitor, data, used);
		ahead = visitor->body;
		http_body_follow(&ahead, data, used, &used);
	}
	visitor->body = ahead;
	if (used > 0)
		visitor_restart_timer(visitor);
	return used;
}

/* Where "http://host/path" has its path; NULL in every other form (RFC 9112 §3.2.2). */
static const char *find_path(struct http_span target)
{
	size_t scheme = 0;
	size_t at;

	if (target.len > 7 && strncasecmp(target.text, "http://", 7) == 0)
		scheme = 7;
	else if (target.len > 8 && strncasecmp(target.text, "https://", 8) == 0)
		scheme = 8;
	for (at = scheme; at < target.len && target.text[at] != '/' && target.text[at] != '?'; at++)
		;
	return scheme > 0 && at > scheme ? target.text + at : NULL;
}

/* The web site knows paths only: take scheme and host out of the target. */
static void visitor_strip_target(struct visitor *visitor, struct http_head *head)
{
	const char *path = find_path(head->target);
	size_t target_at;
	size_t path_at;
	size_t used;

	if (!path)
		return;
	target_at = (size_t)(head->target.text - visitor->head);
	path_at = (size_t)(path - visitor->head);
	if (*path != '/')
		visitor->head[--path_at] = '/'; /* the host's last letter makes room */
	memmove(visitor->head + target_at, visitor->head + path_at, visitor->head_len - path_at);
	visitor->head_len -= path_at - target_at;
	http_head_parse_request(visitor->head, visitor->head_len, head, &used);
}

/* The head goes to the web site, or is answered here where that would not understand it. */
static void visitor_pass_on(struct visitor *visitor, struct http_head *head)
{
	unsigned status;

	visitor_strip_target(visitor, head);
	status = website_refusal(head);
	if (status == 405) {
		visitor->drops_body = true;
		visitor->head_sent = visitor->head_len;
		visitor_answer(visitor, status);
		return;
	}
	if (status == 0 && !visitor->site && visitor_connect(visitor) < 0)
		status = 503;
	if (status != 0) {
		visitor_answer_and_end(visitor, status);
		return;
	}
	http_head_hide_upgrade(visitor->head, head);
	visitor_send_head(visitor);
}

static bool visitor_is_taken(struct visitor *visitor, const struct http_head *head)
{
	struct upgrade_request request;

	if (!upgrade_read_request(head, &request))
		return false;
	return visitor->plan.callbacks->on_upgrade(visitor->plan.owner, head, &request);
}

static void visitor_on_head(struct visitor *visitor, struct http_head *head)
{
	visitor_restart_timer(visitor);
	if (visitor_is_taken(visitor, head)) {
		visitor->state = VISITOR_STATE_TAKEN;
		uv_timer_stop(&visitor->idle);
		visitor_disconnect(visitor);
		visitor_reset(visitor);
		return;
	}
	if (visitor->closing)
		return;
	visitor->state = VISITOR_STATE_EXCHANGE;
	visitor->is_head_only = http_span_is(head->method, "HEAD");
	visitor->is_last = head->minor_version == 0 || http_head_has_token(head, "Connection", "close");
	http_body_init(&visitor->body, head);
	visitor_pass_on(visitor, head);
}

/* Can the new bytes have ended or spoilt the head? Keeps byte-wise delivery cheap. */
static bool is_worth_parsing(const uint8_t *data, size_t len, size_t head_len)
{
	return memchr(data, '\n', len) || memchr(data, '\0', len) || head_len == HTTP_HEAD_MAX;
}

/* Bytes of a head. Return: how many were taken, none beyond its end. */
static size_t visitor_feed_head(struct visitor *visitor, const uint8_t *data, size_t len)
{
	size_t before = visitor->head_len;
	size_t taken = len < HTTP_HEAD_MAX - before ? len : HTTP_HEAD_MAX - before;
	struct http_head head;
	size_t used = 0;

	if (!visitor_need((void **)&visitor->head, HTTP_HEAD_MAX)) {
		visitor_answer_and_end(visitor, 503);
		return len;
	}
	memcpy(visitor->head + before, data, taken);
	visitor->head_len += taken;
	if (!is_worth_parsing(data, taken, visitor->head_len))
		return taken;
	switch (http_head_parse_request(visitor->head, visitor->head_len, &head, &used)) {
	case HTTP_MORE:
		return taken;
	case HTTP_OK:
		visitor->head_len = used;
		/* libwebsockets hangs up on empty lines in front. */
		visitor->head_sent = (size_t)(head.method.text - visitor->head);
		visitor_on_head(visitor, &head);
		return used - before;
	case HTTP_BAD:
		visitor_answer_and_end(visitor, 400);
		return taken;
	case HTTP_TOO_LARGE:
		visitor_answer_and_end(visitor, 431);
		return taken;
	}
	return taken;
}

/* ---- the machine ---- */

static void visitor_on_poll(uv_poll_t *poll, int status, int events);

/* Poll for what can be used: an answer while there is room for it, room for the request while there is one. */
static void visitor_update_poll(struct visitor *visitor)
{
	struct site *site = visitor->site;
	bool waits_for_body = visitor->wants_room && !visitor->drops_body && !http_body_is_done(&visitor->body);
	int events = 0;

	if (!site)
		return;
	if (!visitor->output_blocked && visitor->answer_len < VISITOR_OUTPUT_MAX)
		events |= UV_READABLE;
	if (visitor->state == VISITOR_STATE_EXCHANGE && (visitor->head_sent < visitor->head_len || waits_for_body))
		events |= UV_WRITABLE;
	if (events == site->events)
		return;
	site->events = events;
	if (events == 0)
		uv_poll_stop(&site->poll);
	else
		uv_poll_start(&site->poll, events, visitor_on_poll);
}

static bool visitor_is_exchange_done(const struct visitor *visitor)
{
	return visitor->answer_state == ANSWER_STATE_DONE && visitor->answer_len == 0 &&
	       visitor_is_request_sent(visitor);
}

/* Hand out, and go on to the next state if this one is done. */
static void visitor_step(struct visitor *visitor)
{
	if (visitor->closing || visitor->state == VISITOR_STATE_TAKEN || visitor->state == VISITOR_STATE_ENDED)
		return;
	if (visitor_deliver(visitor) && visitor->state == VISITOR_STATE_OUTRO) {
		visitor_end(visitor);
		return;
	}
	if (visitor->closing)
		return;
	if (visitor->state == VISITOR_STATE_EXCHANGE && visitor_is_exchange_done(visitor)) {
		if (visitor->is_last || visitor->input_over) {
			visitor_end(visitor);
			return;
		}
		visitor_reset(visitor);
		visitor->state = VISITOR_STATE_HEAD;
		/* An idle visitor holds neither buffers nor one of the web site's places. */
		if (!visitor->wants_room)
			visitor_disconnect(visitor);
	}
	visitor_update_poll(visitor);
}

/* Ask for what visitor_feed() left, where it would be of use now. */
static void visitor_offer_room(struct visitor *visitor)
{
	bool is_useful = visitor->state == VISITOR_STATE_HEAD ||
			 (visitor->state == VISITOR_STATE_EXCHANGE && visitor->head_sent == visitor->head_len &&
				 !http_body_is_done(&visitor->body));

	if (visitor->closing || !visitor->wants_room || !is_useful)
		return;
	visitor->wants_room = false;
	visitor->plan.callbacks->on_room(visitor->plan.owner);
	if (!visitor->closing)
		visitor_update_poll(visitor);
}

static void visitor_on_poll(uv_poll_t *poll, int status, int events)
{
	struct visitor *visitor = poll->data;
	bool has_room = events & UV_WRITABLE;

	if (visitor->state != VISITOR_STATE_EXCHANGE) {
		visitor_disconnect(visitor); /* it was tired of waiting; the next request makes a new connection */
		return;
	}
	if (status < 0) {
		visitor_on_site_end(visitor);
	} else {
		if (has_room && visitor->head_sent < visitor->head_len)
			visitor_send_head(visitor);
		if (events & UV_READABLE)
			visitor_read_answer(visitor);
	}
	visitor_step(visitor);
	if (has_room || visitor->state == VISITOR_STATE_HEAD)
		visitor_offer_room(visitor);
}

/* One piece of the input, as far as the state takes it. */
static size_t visitor_feed_piece(struct visitor *visitor, const uint8_t *data, size_t len)
{
	switch (visitor->state) {
	case VISITOR_STATE_HEAD:
		return visitor_feed_head(visitor, data, len);
	case VISITOR_STATE_EXCHANGE:
		return visitor_feed_body(visitor, (const char *)data, len);
	case VISITOR_STATE_TAKEN:
		return 0;
	case VISITOR_STATE_OUTRO:
	case VISITOR_STATE_ENDED:
		return len;
	}
	return 0;
}

size_t visitor_feed(struct visitor *visitor, const uint8_t *data, size_t len)
{
	size_t used = 0;
	size_t taken;

	visitor->wants_room = false;
	while (used < len && !visitor->closing) {
		taken = visitor_feed_piece(visitor, data + used, len - used);
		used += taken;
		visitor_step(visitor);
		if (taken == 0 && visitor->state != VISITOR_STATE_HEAD)
			break;
	}
	if (used < len && !visitor->closing) {
		visitor->wants_room = true;
		visitor_update_poll(visitor);
	}
	return used;
}

void visitor_feed_end(struct visitor *visitor)
{
	bool is_complete = visitor->state == VISITOR_STATE_EXCHANGE && visitor_is_request_sent(visitor);

	visitor->input_over = true;
	if (visitor->closing)
		return;
	if (visitor->state == VISITOR_STATE_HEAD || (visitor->state == VISITOR_STATE_EXCHANGE && !is_complete))
		visitor_end(visitor);
}

void visitor_output_drained(struct visitor *visitor)
{
	visitor->output_blocked = false;
	visitor_step(visitor);
	visitor_offer_room(visitor);
}

int visitor_open(struct visitor **ret, const struct visitor_setup *plan)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));

	if (!visitor)
		return -ENOMEM;
	visitor->plan = *plan;
	if (visitor->plan.idle_timeout_ms == 0)
		visitor->plan.idle_timeout_ms = VISITOR_IDLE_TIMEOUT_MS;
	uv_timer_init(plan->loop, &visitor->idle);
	visitor->idle.data = visitor;
	visitor_restart_timer(visitor);
	*ret = visitor;
	return 0;
}

static void visitor_on_closed(uv_handle_t *handle)
{
	struct visitor *visitor = handle->data;

	visitor_reset(visitor);
	free(visitor);
}

void visitor_close(struct visitor *visitor)
{
	if (!visitor || visitor->closing)
		return;
	visitor->closing = true;
	visitor_disconnect(visitor);
	uv_close((uv_handle_t *)&visitor->idle, visitor_on_closed);
}
