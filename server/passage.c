/* Connections that go on to a published server (passage.h).
 *
 * Theory of operation. A passage has two ends, the visitor's socket and the one to the server at home. The supervisor
 * makes the second one, because a worker can connect nothing: it is asked by the number of the service, and knows by
 * that number where the connection must go.
 *
 *    new ──start──▶ WAITING ──its turn──▶ ASKED ──a socket──▶ CONNECTING ──connected──▶ OPEN
 *                       any state ──both ends over, a failure, a reload──▶ CLOSED
 *
 *    WAITING     At most ASKED_MAX questions are under way, so that a flood of visitors leaves the channel to others.
 *    ASKED       The answer comes at once; a reload may have given all services new numbers meanwhile, then it is asked
 *                again.
 *    CONNECTING  The socket is on its way. The visitor has up to ANSWER_US from the first state to here.
 *    OPEN        Bytes go both ways: first ->first, which is the PROXY header and the ClientHello.
 *    CLOSED      Out of the list. The last handle that closes frees the passage.
 *
 * No bytes are held here: move() looks at what a socket has received (MSG_PEEK), sends that to the other one, and takes
 * from the first what was sent (MSG_TRUNC copies nothing). The rest stays in the kernel, whose window then closes, and
 * the socket is not polled until the other one can take more. So a reader that is slow, and one that is idle, cost no
 * memory of ours. For fairness one piece a turn of the loop, of up to PIECE_LEN bytes; where many have something in a
 * turn, they share TURN_LEN in the next one, so that a tunnel's datagram waits a millisecond or two for them.
 *
 * The end of one direction is passed on as such (shutdown()); the passage ends with the second. After a failure of one
 * end the other one is closed; what it has been sent still arrives. Where the server cannot be reached, and where a
 * reload takes the service away, the visitor gets a reset.
 */
#include "server/passage.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/require.h"
#include "common/process/channel.h"
#include "server/hub.h"
#include "server/proxy_header.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define ASKED_MAX 64u			/* an eighth of the channel's queue */
#define ANSWER_US (9 * CLOCK_US_PER_S)	/* with the tick's half second: ten at most */
#define PIECE_LEN (4u * TLS_RECORD_MAX) /* at most PUMP_IN_LEN */
#define PIECE_MIN 4096u
#define TURN_LEN (16u * PIECE_LEN) /* what all passages move in a turn of the loop */
/* A peer that went without a word is noticed: probes begin after so much silence, and so many without an answer end the
 * connection. */
#define KEEP_IDLE_S 120
#define KEEP_INTERVAL_S 15
#define KEEP_PROBES 4

_Static_assert(PIECE_LEN <= PUMP_IN_LEN, "a piece is in the worker's buffer");

enum passage_state { PASSAGE_WAITING, PASSAGE_ASKED, PASSAGE_CONNECTING, PASSAGE_OPEN, PASSAGE_CLOSED };

struct passage_end {
	uv_poll_t poll;
	struct passage *passage;
	int fd; /* -1: none */
	int events;
	bool has_poll;
	bool is_full; /* took less than it was given */
	bool is_over; /* its last byte has been passed on */
};

struct passage {
	struct hub *hub;
	struct passage *newer, *older; /* in hub->passages */
	struct passage_end visitor, home;
	enum passage_state state;
	uint32_t publish; /* index in the settings */
	uint64_t ticket;
	uint64_t deadline_us; /* of the states before OPEN */
	uint8_t *first;	      /* what home is sent before anything else; NULL: it has it */
	size_t first_len, first_sent;
	unsigned closing; /* handles */
	size_t name_len;
	char name[]; /* as the visitor has said it, not terminated */
};

static struct passage_counters *counters_of(const struct passage *passage)
{
	return &passage->hub->passages.counters[passage->publish];
}

static const struct server_settings_publish *publish_of(const struct passage *passage)
{
	return &passage->hub->settings.publishes[passage->publish];
}

/* --- the end --- */

static void passage_free(struct passage *passage)
{
	free(passage->first);
	free(passage);
}

static void on_poll_closed(uv_handle_t *handle)
{
	struct passage *passage = ((struct passage_end *)handle->data)->passage;

	if (--passage->closing == 0)
		passage_free(passage);
}

static void list_remove(struct passages *passages, struct passage *passage)
{
	require(passages->count > 0);
	if (passages->next_to_ask == passage)
		passages->next_to_ask = passage->newer;
	*(passage->newer ? &passage->newer->older : &passages->first) = passage->older;
	*(passage->older ? &passage->older->newer : &passages->last) = passage->newer;
	passages->count--;
}

static void close_end(struct passage_end *end, bool with_reset)
{
	const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

	if (end->has_poll) {
		end->passage->closing++;
		uv_close((uv_handle_t *)&end->poll, on_poll_closed);
	}
	if (end->fd < 0)
		return;
	if (with_reset)
		setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(end->fd);
}

static void end_passage(struct passage *passage, bool with_reset)
{
	require(passage->state != PASSAGE_CLOSED);
	if (passage->state == PASSAGE_ASKED)
		passage->hub->passages.asked--;
	passage->state = PASSAGE_CLOSED;
	counters_of(passage)->now--;
	list_remove(&passage->hub->passages, passage);
	close_end(&passage->visitor, with_reset);
	close_end(&passage->home, with_reset);
	if (passage->closing == 0)
		passage_free(passage);
}

/* The server was not reached. Logged once until it is, because any visitor can ask for it as often as he likes. */
static void refuse(struct passage *passage, const char *why)
{
	const struct server_settings_publish *publish = publish_of(passage);
	struct passage_counters *counters = counters_of(passage);
	char to[ADDR_TEXT_MAX];

	snprintf(counters->last_error, sizeof(counters->last_error), "%s: %s",
		addr_format(to, sizeof(to), &publish->to), why);
	if (!counters->is_failing)
		log_warning("publish", "%s: %s; its visitors are reset", publish->names[0].text, counters->last_error);
	counters->is_failing = true;
	end_passage(passage, true);
}

/* --- bytes --- */

static void on_poll(uv_poll_t *poll, int status, int events);

static void arm(struct passage_end *end, int events)
{
	if (events == end->events)
		return;
	end->events = events;
	if (events)
		uv_poll_start(&end->poll, events, on_poll);
	else
		uv_poll_stop(&end->poll);
}

/* Poll each end for what can be used: bytes where the other one takes them, room where it was missing. */
static void arm_both(struct passage *passage)
{
	struct passage_end *visitor = &passage->visitor, *home = &passage->home;

	arm(visitor, (home->is_full || visitor->is_over ? 0 : UV_READABLE) | (visitor->is_full ? UV_WRITABLE : 0));
	arm(home, (visitor->is_full || home->is_over ? 0 : UV_READABLE) | (home->is_full ? UV_WRITABLE : 0));
}

/* Return: bytes that @end has taken, which is full where they are fewer than @len; or a negative errno. */
static ssize_t give(struct passage_end *end, const void *bytes, size_t len)
{
	ssize_t sent = send(end->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return -errno;
	if (sent < 0)
		sent = 0;
	end->is_full = (size_t)sent < len;
	return sent;
}

/* Return: 0 or a negative errno; home is full while something is left. */
static int give_first(struct passage *passage)
{
	ssize_t sent =
		give(&passage->home, passage->first + passage->first_sent, passage->first_len - passage->first_sent);

	if (sent < 0)
		return (int)sent;
	passage->first_sent += (size_t)sent;
	if (passage->home.is_full)
		return 0;
	free(passage->first);
	passage->first = NULL;
	return 0;
}

/* One piece from one end to the other, as much of it as that takes. Return: 0 or a negative errno. */
static int move(struct passage_end *from, struct passage_end *to, uint64_t *bytes)
{
	struct passages *passages = &from->passage->hub->passages;
	uint8_t *piece = from->passage->hub->pump.in;
	ssize_t n, sent;

	if (to->is_full || from->is_over)
		return 0;
	n = recv(from->fd, piece, passages->moved < TURN_LEN ? passages->piece_len : PIECE_MIN, MSG_PEEK | MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	if (n == 0) {
		from->is_over = true;
		shutdown(to->fd, SHUT_WR);
		return 0;
	}
	sent = give(to, piece, (size_t)n);
	if (sent > 0 && recv(from->fd, piece, (size_t)sent, MSG_TRUNC | MSG_DONTWAIT) != sent)
		return -EIO; /* the two would not say the same any more */
	*bytes += sent > 0 ? (uint64_t)sent : 0;
	passages->moved += sent > 0 ? (size_t)sent : 0;
	return sent < 0 ? (int)sent : 0;
}

/* As many as in the turn before are expected. More of them get the rest of TURN_LEN, and then little. */
static void note_turn(struct passages *passages, uint64_t now_ms)
{
	if (passages->turn_ms != now_ms) {
		passages->piece_len = TURN_LEN / (passages->served > 0 ? passages->served : 1);
		if (passages->piece_len > PIECE_LEN)
			passages->piece_len = PIECE_LEN;
		if (passages->piece_len < PIECE_MIN)
			passages->piece_len = PIECE_MIN;
		passages->turn_ms = now_ms;
		passages->served = 0;
		passages->moved = 0;
	}
	passages->served++;
}

/* @end can be read, or written to; after a failure both, since trying tells. */
static void serve(struct passage *passage, struct passage_end *end, bool can_read, bool can_write)
{
	struct passage_counters *counters = counters_of(passage);
	struct passage_end *visitor = &passage->visitor, *home = &passage->home;
	int rc = 0;

	note_turn(&passage->hub->passages, uv_now(&passage->hub->loop));
	if (can_write)
		end->is_full = false;
	if (can_write && passage->first)
		rc = give_first(passage);
	if (rc == 0 && (end == visitor ? can_read : can_write))
		rc = move(visitor, home, &counters->received);
	if (rc == 0 && (end == home ? can_read : can_write))
		rc = move(home, visitor, &counters->sent);
	passage->hub->pump.turns++;
	if (rc < 0 || (visitor->is_over && home->is_over))
		end_passage(passage, false);
	else
		arm_both(passage);
}

/* The listener's TCP_USER_TIMEOUT would also end a peer that does not read for a while: a film that is paused. */
static int init_poll(struct passage_end *end)
{
	static const struct {
		int option, value;
	} options[] = {{TCP_USER_TIMEOUT, 0}, {TCP_KEEPIDLE, KEEP_IDLE_S}, {TCP_KEEPINTVL, KEEP_INTERVAL_S},
		{TCP_KEEPCNT, KEEP_PROBES}};
	int rc = uv_poll_init(&end->passage->hub->loop, &end->poll, end->fd);

	end->has_poll = rc == 0;
	end->poll.data = end;
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		setsockopt(end->fd, IPPROTO_TCP, options[i].option, &options[i].value, sizeof(options[i].value));
	return rc;
}

/* Connected, or not: SO_ERROR knows. From here on the visitor is read as well. */
static void on_connected(struct passage *passage)
{
	struct passage_counters *counters = counters_of(passage);
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(passage->home.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
		error = errno;
	if (error == 0)
		error = -init_poll(&passage->visitor);
	if (error != 0) {
		refuse(passage, strerror(error));
		return;
	}
	if (counters->is_failing)
		log_info("publish", "%s: can be reached again", publish_of(passage)->names[0].text);
	counters->is_failing = false;
	passage->state = PASSAGE_OPEN;
	passage->deadline_us = 0;
	serve(passage, &passage->home, false, true);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct passage_end *end = poll->data;

	if (status < 0) {
		end->events = 0; /* libuv has stopped the handle */
		events = UV_READABLE | UV_WRITABLE;
	}
	if (end->passage->state == PASSAGE_CONNECTING)
		on_connected(end->passage);
	else
		serve(end->passage, end, events & UV_READABLE, events & UV_WRITABLE);
}

/* --- the way to the server --- */

static void ask(struct passage *passage)
{
	struct passages *passages = &passage->hub->passages;
	struct channel_home wanted = {
		.ticket = ++passages->last_ticket, .publish = passage->hub->settings.publish_number + passage->publish};

	passage->state = PASSAGE_ASKED;
	passage->ticket = wanted.ticket;
	passages->asked++;
	if (channel_send(passage->hub->channel, CHANNEL_HOME_WANTED, &wanted, sizeof(wanted), -1) < 0)
		refuse(passage, "the supervisor takes no request");
}

static void ask_next(struct passages *passages)
{
	while (passages->next_to_ask && passages->asked < ASKED_MAX) {
		struct passage *passage = passages->next_to_ask;

		passages->next_to_ask = passage->newer; /* all newer ones wait, too */
		ask(passage);
	}
}

static int take_socket(struct passage *passage, int fd)
{
	int rc;

	passage->home.fd = fd;
	passage->state = PASSAGE_CONNECTING;
	rc = init_poll(&passage->home);
	if (rc == 0)
		arm(&passage->home, UV_WRITABLE);
	return rc;
}

void passages_on_socket(struct hub *hub, uint64_t ticket, int error, int fd)
{
	struct passages *passages = &hub->passages;
	struct passage *passage = passages->first;

	while (passage && (passage->state != PASSAGE_ASKED || passage->ticket != ticket))
		passage = passage->older;
	if (!passage) { /* it has ended meanwhile */
		if (fd >= 0)
			close(fd);
		return;
	}
	require(passages->asked > 0);
	passages->asked--;
	if (error == -ESTALE) { /* the new numbers came before this answer */
		ask(passage);
	} else {
		if (error == 0)
			error = take_socket(passage, fd);
		if (error < 0)
			refuse(passage, strerror(-error));
	}
	ask_next(passages);
}

struct passage *passage_new(struct hub *hub, size_t publish, const char *name, size_t len)
{
	struct passage *passage = calloc(1, sizeof(*passage) + len);

	if (!passage)
		return NULL;
	passage->hub = hub;
	passage->publish = (uint32_t)publish;
	passage->visitor = (struct passage_end){.passage = passage, .fd = -1};
	passage->home = (struct passage_end){.passage = passage, .fd = -1};
	passage->name_len = len;
	memcpy(passage->name, name, len);
	return passage;
}

/* The PROXY header, if there is to be one, in front of what the visitor has said. Return: false without memory. */
static bool set_first(struct passage *passage, struct tls_kept *kept, const struct addr *from)
{
	unsigned version = publish_of(passage)->proxy_protocol;
	struct sockaddr_storage storage = {.ss_family = from->sa.sa_family};
	socklen_t len = sizeof(storage);
	uint8_t header[PROXY_HEADER_WRITE_MAX];
	size_t header_len = 0;
	struct addr to;

	if (version > 0) {
		getsockname(passage->visitor.fd, (struct sockaddr *)&storage, &len);
		addr_from_sockaddr((const struct sockaddr *)&storage, &to);
		header_len = proxy_header_write(header, version, from, &to);
	}
	passage->first = realloc(kept->bytes, kept->len + header_len);
	if (!passage->first) {
		free(kept->bytes);
		return false;
	}
	memmove(passage->first + header_len, passage->first, kept->len);
	memcpy(passage->first, header, header_len);
	passage->first_len = kept->len + header_len;
	return true;
}

void passage_start(struct passage *passage, int fd, struct tls_kept *kept, const struct addr *from)
{
	struct passages *passages = &passage->hub->passages;
	bool is_full = passages->count >= passages->max;

	passage->visitor.fd = fd;
	passage->state = PASSAGE_WAITING;
	passage->deadline_us = clock_now_us() + ANSWER_US;
	passage->older = passages->first;
	*(passage->older ? &passage->older->newer : &passages->last) = passage;
	passages->first = passage;
	passages->count++;
	counters_of(passage)->total++;
	counters_of(passage)->now++;
	if (!set_first(passage, kept, from)) {
		refuse(passage, "out of memory");
		return;
	}
	if (is_full) {
		refuse(passage, "too many visitors at a time");
		return;
	}
	if (!passages->next_to_ask)
		passages->next_to_ask = passage;
	ask_next(passages);
}

/* --- all of them --- */

int passages_open(struct passages *passages, const struct server_settings *settings)
{
	*passages = (struct passages){.counters = calloc(settings->publish_count + 1, sizeof(*passages->counters)),
		.piece_len = PIECE_LEN};
	return passages->counters ? 0 : -ENOMEM;
}

void passages_tick(struct passages *passages, uint64_t now_us)
{
	for (struct passage *passage = passages->first, *older; passage; passage = older) {
		older = passage->older;
		if (passage->deadline_us != 0 && now_us >= passage->deadline_us)
			refuse(passage, "no answer");
	}
}

/* A service is the same while it has the same To and the same first name. */
static const struct passage_counters *find_counters(
	const struct hub *hub, const struct server_settings_publish *publish)
{
	for (size_t i = 0; i < hub->settings.publish_count; i++) {
		const struct server_settings_publish *before = &hub->settings.publishes[i];

		if (addr_equal(&before->to, &publish->to) && strcmp(before->names[0].text, publish->names[0].text) == 0)
			return &hub->passages.counters[i];
	}
	return NULL;
}

int passages_reload(struct hub *hub, const struct server_settings *now)
{
	struct passages *passages = &hub->passages;
	struct passage_counters *counters = calloc(now->publish_count + 1, sizeof(*counters));

	if (!counters)
		return -ENOMEM;
	for (struct passage *passage = passages->first, *older; passage; passage = older) {
		int publish = server_settings_find_publish(now, passage->name, passage->name_len);

		older = passage->older;
		if (publish < 0 || !addr_equal(&now->publishes[publish].to, &publish_of(passage)->to)) {
			end_passage(passage, true);
			continue;
		}
		passage->publish = (uint32_t)publish;
		counters[publish].now++;
	}
	for (size_t i = 0; i < now->publish_count; i++) {
		const struct passage_counters *before = find_counters(hub, &now->publishes[i]);
		uint32_t count = counters[i].now;

		if (before)
			counters[i] = *before;
		counters[i].now = count;
	}
	free(passages->counters);
	passages->counters = counters;
	return 0;
}

json_t *passages_report(const struct hub *hub)
{
	json_t *list = json_array();

	for (size_t i = 0; i < hub->settings.publish_count; i++) {
		const struct server_settings_publish *publish = &hub->settings.publishes[i];
		const struct passage_counters *counters = &hub->passages.counters[i];
		json_t *names = json_array();
		char to[ADDR_TEXT_MAX];

		for (size_t j = 0; j < publish->name_count; j++)
			json_array_append_new(names, json_string(publish->names[j].text));
		json_array_append_new(
			list, json_pack("{s:o,s:s,s:{s:I,s:I},s:{s:I,s:I},s:s?}", "server_names", names, "to",
				      addr_format(to, sizeof(to), &publish->to), "connections", "now",
				      (json_int_t)counters->now, "total", (json_int_t)counters->total, "bytes", "sent",
				      (json_int_t)counters->sent, "received", (json_int_t)counters->received,
				      "last_error", *counters->last_error ? counters->last_error : NULL));
	}
	return list;
}

void passages_close(struct passages *passages)
{
	while (passages->first)
		end_passage(passages->first, false);
}
