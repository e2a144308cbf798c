/* Relays between a peer and the web site, one request at a time (visitor.h).
 *
 *    HEAD ──head read──▶ EXCHANGE ──request sent, answer taken──▶ HEAD
 *     │                     │
 *     │ upgrade accepted    │ last answer, or nothing sensible to say any more
 *     ▼                     ▼
 *    TAKEN                 OUTRO ──output taken──▶ ENDED
 *
 * Happy path: bytes are collected until a head is whole; it goes to the web site's socketpair with its upgrade hidden,
 * the body follows as it comes, the answer is followed to its end and handed out; then the next head is looked at. It
 * fails by an error page that looks like the web site's, and then the end: a head or body that cannot be framed without
 * doubt, or a web site that hangs up without an answer. A peer that lets the idle timeout pass gets the end only.
 *
 * Why the answer is followed: only then do we know where it ends, and with it when the next head may be looked at. A
 * peer that puts two requests into one body, or hides one, meets a front end that frames messages exactly as the web
 * site does, or refuses them; so no request reaches the site that was not seen here.
 *
 * Every callback may close the visitor. The memory stays until the loop has closed the timer, so ->is_closing is
 * checked after every callback.
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
	struct visitor_setup setup;
	enum visitor_state state;
	uv_timer_t idle;
	struct site *site; /* NULL: none */
	bool is_closing;
	bool is_input_over;	/* the peer sends nothing more */
	bool wants_room;	/* visitor_feed() left something with the owner */
	bool is_output_blocked; /* on_output returned false */

	/* the request */
	char *head; /* HTTP_HEAD_MAX bytes, while there is one */
	size_t head_len;
	size_t head_sent; /* to the web site */
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

/* --- the web site's connection --- */

static void on_site_closed(uv_handle_t *handle)
{
	free(handle->data);
}

/* The handle outlives this call, the visitor may not outlive the handle: so the site lets go of the visitor here. */
static void disconnect_site(struct visitor *visitor)
{
	struct site *site = visitor->site;

	if (!site)
		return;
	visitor->site = NULL;
	site->poll.data = site;
	uv_close((uv_handle_t *)&site->poll, on_site_closed);
	close(site->fd); /* uv_close() has taken it out of the loop */
}

/* Polling starts with update_site_poll(). Return: 0 or a negative errno; -EBUSY: the web site has too many visitors. */
static int connect_site(struct visitor *visitor)
{
	struct site *site = calloc(1, sizeof(*site));
	int rc;

	if (!site)
		return -ENOMEM;
	site->fd = website_connect(visitor->setup.website);
	rc = site->fd < 0 ? site->fd : uv_poll_init(visitor->setup.loop, &site->poll, site->fd);
	if (rc < 0) {
		if (site->fd >= 0)
			close(site->fd);
		free(site);
		return rc;
	}
	site->poll.data = visitor;
	visitor->site = site;
	return 0;
}

/* --- time --- */

/* The owner may have closed the visitor when this returns, so it is the last call of its caller. */
static void end_visit(struct visitor *visitor)
{
	visitor->state = VISITOR_STATE_ENDED;
	uv_timer_stop(&visitor->idle);
	disconnect_site(visitor);
	visitor->setup.callbacks->on_end(visitor->setup.owner);
}

static void on_idle_timer(uv_timer_t *timer)
{
	struct visitor *visitor = timer->data;

	log_debug("website", "a visitor was silent for %llu s",
		(unsigned long long)visitor->setup.idle_timeout_ms / 1000);
	end_visit(visitor);
}

/* Something moved. Not after visitor_close(): the timer's handle is being closed. */
static void restart_idle_timer(struct visitor *visitor)
{
	if (!visitor->is_closing)
		uv_timer_start(&visitor->idle, on_idle_timer, visitor->setup.idle_timeout_ms, 0);
}

/* --- answers --- */

/* Buffers are held only while there is something in them: most visitors are idle. Return: false: out of memory. */
static bool need_buffer(void **buffer, size_t size)
{
	if (!*buffer)
		*buffer = malloc(size);
	return *buffer;
}

/* Both buffers go: an idle visitor costs little more than its TLS session. */
static void forget_exchange(struct visitor *visitor)
{
	free(visitor->head);
	visitor->head = NULL;
	visitor->head_len = visitor->head_sent = 0;
	free(visitor->answer);
	visitor->answer = NULL;
	visitor->answer_start = visitor->answer_followed = visitor->answer_len = 0;
	visitor->answer_state = ANSWER_STATE_HEAD;
	visitor->drops_body = visitor->is_head_only = visitor->is_last = false;
}

/* An answer of our own in place of the web site's, of which nothing has gone out yet. */
static void set_own_answer(struct visitor *visitor, unsigned status)
{
	int len = -ENOMEM;

	visitor->answer_start = visitor->answer_followed = visitor->answer_len = 0;
	if (need_buffer((void **)&visitor->answer, VISITOR_OUTPUT_MAX))
		len = website_format_error(
			(char *)visitor->answer, VISITOR_OUTPUT_MAX, status, !visitor->is_head_only, visitor->is_last);
	if (len < 0) {
		visitor->state = VISITOR_STATE_OUTRO;
		return;
	}
	visitor->answer_followed = visitor->answer_len = (size_t)len;
	visitor->answer_state = ANSWER_STATE_DONE;
}

/* The only answer that is logged: a request that was refused here never reaches the web site. */
static void answer_and_end(struct visitor *visitor, unsigned status)
{
	log_debug("website", "answered a visitor %u", status);
	visitor->is_last = true;
	set_own_answer(visitor, status);
	visitor->state = VISITOR_STATE_OUTRO;
}

/* The exchange cannot be completed. If nothing of the answer has gone out yet, an error page goes out in its place;
 * else the peer sees an answer that is shorter than announced. Then the end. */
static void break_off(struct visitor *visitor, unsigned status)
{
	disconnect_site(visitor);
	if (visitor->answer_state == ANSWER_STATE_HEAD && visitor->answer_followed == 0) {
		answer_and_end(visitor, status);
		return;
	}
	visitor->answer_len = visitor->answer_followed;
	visitor->state = VISITOR_STATE_OUTRO;
}

/* RFC 9112 §6.3: which answers have a body, and where it ends. */
static void begin_answer_body(struct visitor *visitor, const struct http_head *head)
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
static bool follow_answer_head(struct visitor *visitor)
{
	const char *from = (const char *)visitor->answer + visitor->answer_followed;
	size_t len = visitor->answer_len - visitor->answer_followed;
	struct http_head head;
	size_t used = 0;
	enum http_result result = http_head_parse_answer(from, len, &head, &used);

	if (result == HTTP_MORE)
		return false;
	if (result != HTTP_OK) {
		break_off(visitor, 503);
		return false;
	}
	visitor->answer_followed += used;
	begin_answer_body(visitor, &head);
	return true;
}

static bool follow_answer_body(struct visitor *visitor)
{
	const char *from = (const char *)visitor->answer + visitor->answer_followed;
	size_t len = visitor->answer_len - visitor->answer_followed;
	size_t used = 0;

	if (!http_body_is_done(&visitor->answer_body) &&
		http_body_follow(&visitor->answer_body, from, len, &used) != HTTP_OK) {
		break_off(visitor, 503);
		return false;
	}
	visitor->answer_followed += used;
	if (!http_body_is_done(&visitor->answer_body))
		return false;
	visitor->answer_state = ANSWER_STATE_DONE;
	return true;
}

/* Understand as much of the answer as is there. */
static void follow_answer(struct visitor *visitor)
{
	while (visitor->answer_state == ANSWER_STATE_HEAD
			? follow_answer_head(visitor)
			: visitor->answer_state == ANSWER_STATE_BODY && follow_answer_body(visitor))
		;
	if (visitor->answer_state == ANSWER_STATE_TO_THE_END)
		visitor->answer_followed = visitor->answer_len;
	else if (visitor->answer_state == ANSWER_STATE_DONE)
		visitor->answer_len = visitor->answer_followed; /* bytes behind it answer no request */
}

/* The web site closed, or its socket failed. Where it closed without an answer it could not make sense of the
 * request. */
static void on_site_end(struct visitor *visitor)
{
	disconnect_site(visitor);
	if (visitor->answer_state == ANSWER_STATE_TO_THE_END)
		visitor->answer_state = ANSWER_STATE_DONE;
	if (visitor->answer_state == ANSWER_STATE_DONE)
		visitor->state = VISITOR_STATE_OUTRO;
	else
		break_off(visitor, 400);
}

/* One read for each turn of the loop. There is room: update_site_poll() polls for an answer only then. */
static void read_answer(struct visitor *visitor)
{
	ssize_t len;

	if (!need_buffer((void **)&visitor->answer, VISITOR_OUTPUT_MAX)) {
		break_off(visitor, 503);
		return;
	}
	len = recv(
		visitor->site->fd, visitor->answer + visitor->answer_len, VISITOR_OUTPUT_MAX - visitor->answer_len, 0);
	if (len < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (len <= 0) {
		on_site_end(visitor);
		return;
	}
	visitor->answer_len += (size_t)len;
	follow_answer(visitor);
}

/* Hand out what may go out. Return: false where the owner takes no more, or has closed the visitor. */
static bool deliver_answer(struct visitor *visitor)
{
	size_t len = visitor->answer_followed - visitor->answer_start;

	if (len == 0)
		return true;
	if (visitor->is_output_blocked)
		return false;
	if (!visitor->setup.callbacks->on_output(visitor->setup.owner, visitor->answer + visitor->answer_start, len)) {
		visitor->is_output_blocked = true;
		return false;
	}
	if (visitor->is_closing)
		return false;
	restart_idle_timer(visitor);
	visitor->answer_len -= visitor->answer_followed;
	memmove(visitor->answer, visitor->answer + visitor->answer_followed, visitor->answer_len);
	visitor->answer_start = visitor->answer_followed = 0;
	return true;
}

/* --- requests --- */

/* The answer may be whole before the request is, for example where the web site refuses a body. */
static bool is_request_sent(const struct visitor *visitor)
{
	return visitor->head_sent == visitor->head_len && http_body_is_done(&visitor->body);
}

/* Return: bytes the web site took; 0 also where it has closed. Then the rest of the body is dropped, because the site
 * may have answered already: the peer still gets that answer. */
static size_t send_to_site(struct visitor *visitor, const void *data, size_t len)
{
	ssize_t sent;

	if (!visitor->site)
		return 0;
	sent = send(visitor->site->fd, data, len, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		visitor->drops_body = true;
	return sent < 0 ? 0 : (size_t)sent;
}

static void send_head(struct visitor *visitor)
{
	visitor->head_sent +=
		send_to_site(visitor, visitor->head + visitor->head_sent, visitor->head_len - visitor->head_sent);
	if (visitor->drops_body)
		visitor->head_sent = visitor->head_len;
}

/* Bytes of the request's body. They are followed on a copy first, since the web site may take only a part of them, and
 * what it does not take must be offered again. Return: how many were taken. */
static size_t feed_body(struct visitor *visitor, const char *data, size_t len)
{
	struct http_body ahead = visitor->body;
	size_t used = 0;

	if (visitor->head_sent < visitor->head_len || http_body_is_done(&visitor->body))
		return 0;
	if (http_body_follow(&ahead, data, len, &used) != HTTP_OK) {
		break_off(visitor, 400);
		return len;
	}
	if (!visitor->drops_body) {
		used = send_to_site(visitor, data, used);
		ahead = visitor->body;
		http_body_follow(&ahead, data, used, &used);
	}
	visitor->body = ahead;
	if (used > 0)
		restart_idle_timer(visitor);
	return used;
}

/* Where "http://host/path" has its path; NULL in every other form (RFC 9112 §3.2.2). */
static const char *find_target_path(struct http_span target)
{
	size_t scheme = 0, at;

	if (target.len > 7 && strncasecmp(target.text, "http://", 7) == 0)
		scheme = 7;
	else if (target.len > 8 && strncasecmp(target.text, "https://", 8) == 0)
		scheme = 8;
	for (at = scheme; at < target.len && target.text[at] != '/' && target.text[at] != '?'; at++)
		;
	return scheme > 0 && at > scheme ? target.text + at : NULL;
}

/* The web site knows paths only: take scheme and host out of the target. */
static void strip_target(struct visitor *visitor, struct http_head *head)
{
	const char *path = find_target_path(head->target);
	size_t target_at, path_at, used;

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
static void pass_head_on(struct visitor *visitor, struct http_head *head)
{
	unsigned status;

	strip_target(visitor, head);
	status = website_refusal(head);
	if (status == 405) {
		visitor->drops_body = true;
		visitor->head_sent = visitor->head_len;
		set_own_answer(visitor, status);
		return;
	}
	if (status == 0 && !visitor->site && connect_site(visitor) < 0)
		status = 503;
	if (status != 0) {
		answer_and_end(visitor, status);
		return;
	}
	http_head_hide_upgrade(visitor->head, head);
	send_head(visitor);
}

/* A whole head is there: it is the tunnel's, or goes to the web site. */
static void on_request_head(struct visitor *visitor, struct http_head *head)
{
	struct upgrade_request request;

	restart_idle_timer(visitor);
	if ((upgrade_read_request(head, &request) || upgrade_read_lost(head, &request)) &&
		visitor->setup.callbacks->on_upgrade(visitor->setup.owner, head, &request)) {
		visitor->state = VISITOR_STATE_TAKEN;
		uv_timer_stop(&visitor->idle);
		disconnect_site(visitor);
		forget_exchange(visitor);
		return;
	}
	if (visitor->is_closing)
		return;
	visitor->state = VISITOR_STATE_EXCHANGE;
	visitor->is_head_only = http_span_is(head->method, "HEAD");
	visitor->is_last = head->minor_version == 0 || http_head_has_token(head, "Connection", "close");
	http_body_init(&visitor->body, head);
	pass_head_on(visitor, head);
}

/* Bytes of a head. Return: how many were taken, none beyond its end. */
static size_t feed_head(struct visitor *visitor, const uint8_t *data, size_t len)
{
	size_t before = visitor->head_len;
	size_t taken = len < HTTP_HEAD_MAX - before ? len : HTTP_HEAD_MAX - before;
	struct http_head head;
	size_t used = 0;

	if (!need_buffer((void **)&visitor->head, HTTP_HEAD_MAX)) {
		answer_and_end(visitor, 503);
		return len;
	}
	memcpy(visitor->head + before, data, taken);
	visitor->head_len += taken;
	/* Only these bytes can have ended or spoilt the head. A head that comes byte by byte is not parsed for each
	 * byte. */
	if (!memchr(data, '\n', taken) && !memchr(data, '\0', taken) && visitor->head_len < HTTP_HEAD_MAX)
		return taken;
	switch (http_head_parse_request(visitor->head, visitor->head_len, &head, &used)) {
	case HTTP_MORE:
		return taken;
	case HTTP_OK:
		visitor->head_len = used;
		/* libwebsockets hangs up on empty lines in front. */
		visitor->head_sent = (size_t)(head.method.text - visitor->head);
		on_request_head(visitor, &head);
		return used - before;
	case HTTP_BAD:
		answer_and_end(visitor, 400);
		return taken;
	case HTTP_TOO_LARGE:
		answer_and_end(visitor, 431);
		return taken;
	}
	return taken;
}

/* --- the machine --- */

static void on_site_poll(uv_poll_t *poll, int status, int events);

/* Poll the web site for what can be used: an answer while there is room for it, room for the request while there is
 * one. A level-triggered poll for anything else would keep the loop busy. */
static void update_site_poll(struct visitor *visitor)
{
	struct site *site = visitor->site;
	bool waits_for_body = visitor->wants_room && !visitor->drops_body && !http_body_is_done(&visitor->body);
	int events = 0;

	if (!site)
		return;
	if (!visitor->is_output_blocked && visitor->answer_len < VISITOR_OUTPUT_MAX)
		events |= UV_READABLE;
	if (visitor->state == VISITOR_STATE_EXCHANGE && (visitor->head_sent < visitor->head_len || waits_for_body))
		events |= UV_WRITABLE;
	if (events == site->events)
		return;
	site->events = events;
	if (events == 0)
		uv_poll_stop(&site->poll);
	else
		uv_poll_start(&site->poll, events, on_site_poll);
}

/* Hand out, and go on to the next state if this one is done. Called behind everything that may have moved the visitor
 * on. */
static void go_on(struct visitor *visitor)
{
	if (visitor->is_closing || visitor->state == VISITOR_STATE_TAKEN || visitor->state == VISITOR_STATE_ENDED)
		return;
	if (deliver_answer(visitor) && visitor->state == VISITOR_STATE_OUTRO) {
		end_visit(visitor);
		return;
	}
	if (visitor->is_closing)
		return;
	if (visitor->state == VISITOR_STATE_EXCHANGE && visitor->answer_state == ANSWER_STATE_DONE &&
		visitor->answer_len == 0 && is_request_sent(visitor)) {
		if (visitor->is_last || visitor->is_input_over) {
			end_visit(visitor);
			return;
		}
		forget_exchange(visitor);
		visitor->state = VISITOR_STATE_HEAD;
		/* An idle visitor holds neither buffers nor one of the web site's places. */
		if (!visitor->wants_room)
			disconnect_site(visitor);
	}
	update_site_poll(visitor);
}

/* Ask for what visitor_feed() left with the owner, where it would be of use now. The owner may call visitor_feed() from
 * inside on_room, and does. */
static void offer_room(struct visitor *visitor)
{
	bool is_useful = visitor->state == VISITOR_STATE_HEAD ||
			 (visitor->state == VISITOR_STATE_EXCHANGE && visitor->head_sent == visitor->head_len &&
				 !http_body_is_done(&visitor->body));

	if (visitor->is_closing || !visitor->wants_room || !is_useful)
		return;
	visitor->wants_room = false;
	visitor->setup.callbacks->on_room(visitor->setup.owner);
	if (!visitor->is_closing)
		update_site_poll(visitor);
}

/* Each event moves what it can; then go_on() looks at the state, and may close the connection to the web site. */
static void on_site_poll(uv_poll_t *poll, int status, int events)
{
	struct visitor *visitor = poll->data;
	bool has_room = events & UV_WRITABLE;

	if (visitor->state != VISITOR_STATE_EXCHANGE) {
		disconnect_site(visitor); /* its own timeout has passed; the next request makes a new connection */
		return;
	}
	if (status < 0) {
		on_site_end(visitor);
	} else {
		if (has_room && visitor->head_sent < visitor->head_len)
			send_head(visitor);
		if (events & UV_READABLE)
			read_answer(visitor);
	}
	go_on(visitor);
	if (has_room || visitor->state == VISITOR_STATE_HEAD)
		offer_room(visitor);
}

/* One piece of the input, as far as the state takes it. */
static size_t feed_piece(struct visitor *visitor, const uint8_t *data, size_t len)
{
	switch (visitor->state) {
	case VISITOR_STATE_HEAD:
		return feed_head(visitor, data, len);
	case VISITOR_STATE_EXCHANGE:
		return feed_body(visitor, (const char *)data, len);
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
	size_t used = 0, taken;

	visitor->wants_room = false;
	while (used < len && !visitor->is_closing) {
		taken = feed_piece(visitor, data + used, len - used);
		used += taken;
		go_on(visitor);
		if (taken == 0 && visitor->state != VISITOR_STATE_HEAD)
			break;
	}
	if (used < len && !visitor->is_closing) {
		visitor->wants_room = true;
		update_site_poll(visitor);
	}
	return used;
}

void visitor_feed_end(struct visitor *visitor)
{
	bool is_complete = visitor->state == VISITOR_STATE_EXCHANGE && is_request_sent(visitor);

	visitor->is_input_over = true;
	if (visitor->is_closing)
		return;
	if (visitor->state == VISITOR_STATE_HEAD || (visitor->state == VISITOR_STATE_EXCHANGE && !is_complete))
		end_visit(visitor);
}

void visitor_output_drained(struct visitor *visitor)
{
	visitor->is_output_blocked = false;
	go_on(visitor);
	offer_room(visitor);
}

int visitor_open(struct visitor **ret, const struct visitor_setup *setup)
{
	struct visitor *visitor = calloc(1, sizeof(*visitor));

	if (!visitor)
		return -ENOMEM;
	visitor->setup = *setup;
	if (visitor->setup.idle_timeout_ms == 0)
		visitor->setup.idle_timeout_ms = VISITOR_IDLE_TIMEOUT_MS;
	uv_timer_init(setup->loop, &visitor->idle);
	visitor->idle.data = visitor;
	restart_idle_timer(visitor);
	*ret = visitor;
	return 0;
}

static void on_idle_closed(uv_handle_t *handle)
{
	struct visitor *visitor = handle->data;

	forget_exchange(visitor);
	free(visitor);
}

void visitor_close(struct visitor *visitor)
{
	if (!visitor || visitor->is_closing)
		return;
	visitor->is_closing = true;
	disconnect_site(visitor);
	uv_close((uv_handle_t *)&visitor->idle, on_idle_closed);
}
