/* The channel between supervisor and worker.
 *
 * Each message is one SEQPACKET: a header with the kind, then the payload. Happy path: uv_poll says readable, up to
 * CHANNEL_READS_MAX messages are read, each is checked against one row of the table of kinds and handed to the owner.
 * Messages that the socket does not take are queued, with a duplicate of the descriptor, until it is writable. Fails by
 * ending: a message that breaks the rules closes the channel, and the owner is told why, once.
 *
 * A channel may be closed by its owner from inside on_message, so every loop here asks is_closing after a message. The
 * struct lives until libuv has let go of the poll handle; pointers to it stay good for the rest of the turn.
 */
#include "common/process/channel.h"

#include "common/base/require.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CHANNEL_QUEUE_MAX 512 /* messages; a side that reads none of that many is stuck */
#define CHANNEL_READS_MAX 64  /* messages a wake-up, so that the loop's other handles get their turn */
#define CHANNEL_FDS_SEEN 4    /* room for descriptors of one message; at most one is allowed, the others are closed */

/* Descriptors only go down to the worker. UNLESS_ERROR: a channel_reply whose error is not 0 has none. */
enum channel_fd_rule { CHANNEL_FD_NEVER, CHANNEL_FD_ALWAYS, CHANNEL_FD_UNLESS_ERROR };

#define CHANNEL_LEN_TEXT ((size_t)-1)

struct channel_rule {
	enum channel_side sender;
	size_t len; /* of the payload, CHANNEL_LEN_TEXT: up to CHANNEL_TEXT_MAX - 1 */
	enum channel_fd_rule fd;
	bool is_kind; /* false: a hole in the numbering */
};

/* One row a kind. A new kind needs a row here, a struct in channel.h, and a case in tests/loop/test_channel.c. */
static const struct channel_rule channel_rules[] = {
	[CHANNEL_SETTINGS] = {CHANNEL_SUPERVISOR, 0, CHANNEL_FD_ALWAYS, true},
	[CHANNEL_LISTENER] = {CHANNEL_SUPERVISOR, sizeof(struct channel_index), CHANNEL_FD_ALWAYS, true},
	[CHANNEL_START] = {CHANNEL_SUPERVISOR, 0, CHANNEL_FD_NEVER, true},
	[CHANNEL_FLOW_SOCKET] = {CHANNEL_SUPERVISOR, sizeof(struct channel_reply), CHANNEL_FD_UNLESS_ERROR, true},
	[CHANNEL_LINK_SOCKET] = {CHANNEL_SUPERVISOR, sizeof(struct channel_reply), CHANNEL_FD_UNLESS_ERROR, true},
	[CHANNEL_STATUS] = {CHANNEL_SUPERVISOR, sizeof(struct channel_ticket), CHANNEL_FD_ALWAYS, true},
	[CHANNEL_STOP] = {CHANNEL_SUPERVISOR, 0, CHANNEL_FD_NEVER, true},
	[CHANNEL_RELOAD] = {CHANNEL_SUPERVISOR, 0, CHANNEL_FD_ALWAYS, true},
	[CHANNEL_LOG] = {CHANNEL_SUPERVISOR, 0, CHANNEL_FD_ALWAYS, true},
	[CHANNEL_NETWORK] = {CHANNEL_SUPERVISOR, 0, CHANNEL_FD_NEVER, true},
	[CHANNEL_NAMESERVERS] = {CHANNEL_SUPERVISOR, CHANNEL_LEN_TEXT, CHANNEL_FD_NEVER, true},
	[CHANNEL_HOME_SOCKET] = {CHANNEL_SUPERVISOR, sizeof(struct channel_reply), CHANNEL_FD_UNLESS_ERROR, true},
	[CHANNEL_PAGE_PORT] = {CHANNEL_SUPERVISOR, sizeof(struct channel_page_port), CHANNEL_FD_ALWAYS, true},
	[CHANNEL_PAGE_CLOSED] = {CHANNEL_SUPERVISOR, 0, CHANNEL_FD_NEVER, true},
	[CHANNEL_PAGE_TEXT] = {CHANNEL_SUPERVISOR, sizeof(struct channel_page), CHANNEL_FD_ALWAYS, true},
	[CHANNEL_ENROL_FAILED] = {CHANNEL_SUPERVISOR, sizeof(struct channel_enrol_failed), CHANNEL_FD_NEVER, true},
	[CHANNEL_READY] = {CHANNEL_WORKER, 0, CHANNEL_FD_NEVER, true},
	[CHANNEL_FAILED] = {CHANNEL_WORKER, CHANNEL_LEN_TEXT, CHANNEL_FD_NEVER, true},
	[CHANNEL_FLOW_WANTED] = {CHANNEL_WORKER, sizeof(struct channel_flow), CHANNEL_FD_NEVER, true},
	[CHANNEL_LINK_WANTED] = {CHANNEL_WORKER, sizeof(struct channel_link), CHANNEL_FD_NEVER, true},
	[CHANNEL_STATUS_DONE] = {CHANNEL_WORKER, sizeof(struct channel_ticket), CHANNEL_FD_NEVER, true},
	[CHANNEL_STATE] = {CHANNEL_WORKER, CHANNEL_LEN_TEXT, CHANNEL_FD_NEVER, true},
	[CHANNEL_ADDRESSES] = {CHANNEL_WORKER, CHANNEL_LEN_TEXT, CHANNEL_FD_NEVER, true},
	[CHANNEL_CLOCK] = {CHANNEL_WORKER, sizeof(struct channel_clock), CHANNEL_FD_NEVER, true},
	[CHANNEL_HOME_WANTED] = {CHANNEL_WORKER, sizeof(struct channel_home), CHANNEL_FD_NEVER, true},
	[CHANNEL_PAGE_WANTED] = {CHANNEL_WORKER, sizeof(struct channel_page), CHANNEL_FD_NEVER, true},
	[CHANNEL_ENROL] = {CHANNEL_WORKER, sizeof(struct channel_enrol), CHANNEL_FD_NEVER, true},
	[CHANNEL_NETWORKS] = {CHANNEL_WORKER, sizeof(struct channel_networks), CHANNEL_FD_NEVER, true},
};

struct channel_packet {
	uint32_t kind;
	uint32_t reserved; /* 0; keeps the payload aligned for its 64-bit fields */
	uint8_t payload[CHANNEL_PAYLOAD_MAX];
};

#define CHANNEL_HEADER_LEN offsetof(struct channel_packet, payload)

struct channel_queued {
	struct channel_queued *next;
	int fd; /* a duplicate, or -1 */
	size_t len;
	uint8_t bytes[]; /* header and payload */
};

struct channel {
	uv_poll_t poll;
	int fd;
	enum channel_side side;
	const struct channel_handlers *handlers;
	void *owner;
	bool is_closing;
	struct channel_queued *queue_head, **queue_tail;
	size_t queue_count;
};

/* Return: NULL if there is no such kind. */
static const struct channel_rule *find_rule(uint32_t kind)
{
	if (kind >= sizeof(channel_rules) / sizeof(channel_rules[0]) || !channel_rules[kind].is_kind)
		return NULL;
	return &channel_rules[kind];
}

/* --- checking --- */

/* Exactly the descriptors that the row of the kind promises. */
static const char *check_fd(const struct channel_rule *rule, const void *payload, int fd_count)
{
	int wanted = rule->fd == CHANNEL_FD_ALWAYS;

	if (rule->fd == CHANNEL_FD_UNLESS_ERROR) {
		struct channel_reply reply;

		memcpy(&reply, payload, sizeof(reply));
		wanted = reply.error == 0;
	}
	if (fd_count > wanted)
		return "a descriptor too many";
	return fd_count < wanted ? "a descriptor is missing" : NULL;
}

/* Return: NULL if the packet is valid, else the complaint. */
static const char *check_packet(
	const struct channel_packet *packet, size_t received, enum channel_side sender, int fd_count)
{
	const struct channel_rule *rule;
	size_t len;

	if (received < CHANNEL_HEADER_LEN)
		return "a message without header";
	rule = find_rule(packet->kind);
	if (!rule || rule->sender != sender)
		return "a message of a wrong kind";
	len = received - CHANNEL_HEADER_LEN;
	if (rule->len == CHANNEL_LEN_TEXT ? len >= CHANNEL_TEXT_MAX : len != rule->len)
		return "a message of a wrong length";
	return check_fd(rule, packet->payload, fd_count);
}

/* --- receiving --- */

/* Copy out the descriptors of @message, all of them, so that none is left open. Return: their number. */
static int take_fds(struct msghdr *message, int fds[CHANNEL_FDS_SEEN])
{
	int count = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(message); c; c = CMSG_NXTHDR(message, c)) {
		size_t bytes = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = 0; at + sizeof(int) <= bytes && count < CHANNEL_FDS_SEEN; at += sizeof(int))
			memcpy(&fds[count++], CMSG_DATA(c) + at, sizeof(int));
	}
	return count;
}

/* Read one packet and check it. Return: payload length, -EAGAIN, -EPIPE (the end), -EPROTO with *ret_reason. */
static ssize_t read_packet(
	int fd, enum channel_side side, struct channel_packet *packet, int *ret_fd, const char **ret_reason)
{
	const enum channel_side sender = side == CHANNEL_SUPERVISOR ? CHANNEL_WORKER : CHANNEL_SUPERVISOR;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * CHANNEL_FDS_SEEN)];
	} control;
	struct iovec iov = {packet, sizeof(*packet)};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	int fds[CHANNEL_FDS_SEEN];
	int fd_count;
	ssize_t got;

	do
		got = recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (got < 0 && errno == EINTR);
	if (got < 0)
		return errno == EAGAIN ? -EAGAIN : -EPIPE;
	fd_count = take_fds(&message, fds);
	if (got == 0 && fd_count == 0) /* an empty packet looks the same; neither side sends one */
		return -EPIPE;
	if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) == MSG_CTRUNC && fd_count == 0) {
		/* This process has no descriptor free, so the kernel has kept the one that came along. */
		const struct channel_rule *rule = got >= (ssize_t)CHANNEL_HEADER_LEN ? find_rule(packet->kind) : NULL;
		const int32_t error = -EMFILE;

		if (rule && (packet->kind == CHANNEL_STATUS || packet->kind == CHANNEL_PAGE_TEXT))
			return -EAGAIN; /* passed over: who waits for it stops by itself */
		if (rule && rule->fd == CHANNEL_FD_UNLESS_ERROR && got == (ssize_t)(CHANNEL_HEADER_LEN + rule->len)) {
			/* A reply becomes a refusal. A kind that must have its descriptor breaks the rules below. */
			memcpy(packet->payload + offsetof(struct channel_reply, error), &error, sizeof(error));
			message.msg_flags &= ~MSG_CTRUNC;
		}
	}
	*ret_reason = message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)
			      ? "a message too long"
			      : check_packet(packet, (size_t)got, sender, fd_count);
	if (*ret_reason) {
		while (fd_count > 0)
			close(fds[--fd_count]);
		return -EPROTO;
	}
	*ret_fd = fd_count ? fds[0] : -1;
	return got - (ssize_t)CHANNEL_HEADER_LEN;
}

/* Close first: the owner may free itself inside on_closed. */
static void end_channel(struct channel *channel, const char *reason)
{
	channel_close(channel);
	channel->handlers->on_end(channel->owner, reason);
}

/* Read one message and hand it to the owner, who may close the channel in there. Return: false where reading is over
 * for this wake-up. */
static bool read_message(struct channel *channel)
{
	struct channel_packet packet;
	const char *reason = NULL;
	int fd = -1;
	ssize_t len = read_packet(channel->fd, channel->side, &packet, &fd, &reason);

	if (len == -EAGAIN)
		return false;
	if (len < 0) {
		end_channel(channel, reason ? reason : "the other side has ended");
		return false;
	}
	if (len < CHANNEL_PAYLOAD_MAX)
		packet.payload[len] = '\0'; /* texts are sent without a terminator */
	channel->handlers->on_message(channel->owner, (enum channel_kind)packet.kind, packet.payload, (size_t)len, fd);
	return !channel->is_closing;
}

/* --- sending --- */

/* Only a message with a descriptor needs sendmsg(), which the server's worker is denied. @fd: -1 for none. */
static ssize_t write_packet(int to, const void *bytes, size_t len, int fd)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, len};
	struct msghdr message = {
		.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	if (fd < 0)
		return send(to, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
	return sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Return: 0; -EAGAIN: the socket is full; -ENOBUFS: too many descriptors under way, or no memory; -EPIPE: the end. */
static int write_now(const struct channel *channel, const void *bytes, size_t len, int fd)
{
	ssize_t sent;

	do
		sent = write_packet(channel->fd, bytes, len, fd);
	while (sent < 0 && errno == EINTR);
	if (sent >= 0)
		return 0;
	if (errno == EAGAIN)
		return -EAGAIN;
	return errno == ENOBUFS || errno == ENOMEM || errno == ETOOMANYREFS ? -ENOBUFS : -EPIPE;
}

static void drop_queue_head(struct channel *channel)
{
	struct channel_queued *queued = channel->queue_head;

	require(channel->queue_count > 0);
	channel->queue_head = queued->next;
	if (!channel->queue_head)
		channel->queue_tail = &channel->queue_head;
	channel->queue_count--;
	if (queued->fd >= 0)
		close(queued->fd);
	free(queued);
}

static void on_channel_poll(uv_poll_t *poll, int status, int events);

/* Poll for messages, and also for room to send while something is queued. */
static int watch_channel(struct channel *channel)
{
	return uv_poll_start(&channel->poll, UV_READABLE | (channel->queue_head ? UV_WRITABLE : 0), on_channel_poll);
}

/* The caller keeps @fd, so the queue holds a duplicate. Return: 0 or -ENOBUFS. */
static int push_queue(struct channel *channel, const void *bytes, size_t len, int fd)
{
	struct channel_queued *queued;

	if (channel->queue_count >= CHANNEL_QUEUE_MAX)
		return -ENOBUFS;
	queued = malloc(sizeof(*queued) + len);
	if (!queued)
		return -ENOBUFS;
	*queued = (struct channel_queued){.fd = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0), .len = len};
	if (fd >= 0 && queued->fd < 0) {
		free(queued);
		return -ENOBUFS;
	}
	memcpy(queued->bytes, bytes, len);
	*channel->queue_tail = queued;
	channel->queue_tail = &queued->next;
	channel->queue_count++;
	return watch_channel(channel) < 0 ? -ENOBUFS : 0;
}

/* Send what is queued, in order, as far as the socket takes it. Return: false where the channel has ended meanwhile. */
static bool flush_queue(struct channel *channel)
{
	int rc = 0;

	while (channel->queue_head && rc == 0) {
		rc = write_now(channel, channel->queue_head->bytes, channel->queue_head->len, channel->queue_head->fd);
		if (rc == 0)
			drop_queue_head(channel);
	}
	if (rc == -EPIPE) {
		end_channel(channel, "the other side has ended");
		return false;
	}
	watch_channel(channel);
	return true;
}

/* Our own messages are checked, so that our mistake is -EINVAL here and no breach of the rules at the other side. */
int channel_send(struct channel *channel, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	const struct channel_rule *rule = find_rule(kind);
	struct channel_packet packet = {.kind = kind};
	int rc = -EAGAIN; /* where others wait already: nothing may overtake them */

	if (channel->is_closing)
		return -EPIPE;
	if (rule && rule->len == CHANNEL_LEN_TEXT && len >= CHANNEL_TEXT_MAX)
		len = CHANNEL_TEXT_MAX - 1;
	if (!rule || rule->sender != channel->side || len > sizeof(packet.payload))
		return -EINVAL;
	if (len > 0)
		memcpy(packet.payload, payload, len);
	if (!channel->queue_head)
		rc = write_now(channel, &packet, CHANNEL_HEADER_LEN + len, fd);
	return rc == -EAGAIN ? push_queue(channel, &packet, CHANNEL_HEADER_LEN + len, fd) : rc;
}

/* --- life --- */

static void on_channel_poll(uv_poll_t *poll, int status, int events)
{
	struct channel *channel = poll->data;

	if (status < 0) {
		end_channel(channel, "the other side has ended");
		return;
	}
	if ((events & UV_WRITABLE) && !flush_queue(channel))
		return;
	for (int i = 0; i < CHANNEL_READS_MAX && read_message(channel); i++)
		;
}

void channel_drain(struct channel *channel)
{
	while (!channel->is_closing && read_message(channel))
		;
}

/* On failure @fd is closed: the caller hands it over in any case. */
int channel_open(struct channel **ret, uv_loop_t *loop, int fd, enum channel_side side,
	const struct channel_handlers *handlers, void *owner, struct err *err)
{
	struct channel *channel = calloc(1, sizeof(*channel));
	int rc;

	if (!channel) {
		close(fd);
		return err_system(err, -ENOMEM, "channel");
	}
	*channel = (struct channel){.fd = fd, .side = side, .handlers = handlers, .owner = owner};
	channel->queue_tail = &channel->queue_head;
	rc = uv_poll_init(loop, &channel->poll, fd);
	if (rc < 0) {
		close(fd);
		free(channel);
		return err_system(err, rc, "channel");
	}
	channel->poll.data = channel;
	rc = watch_channel(channel);
	if (rc < 0) {
		channel_close(channel);
		return err_system(err, rc, "channel");
	}
	*ret = channel;
	return 0;
}

static void on_poll_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void channel_close(struct channel *channel)
{
	if (!channel || channel->is_closing)
		return;
	channel->is_closing = true;
	while (channel->queue_head)
		drop_queue_head(channel);
	uv_close((uv_handle_t *)&channel->poll, on_poll_closed);
	close(channel->fd); /* after uv_close(): the loop must still be able to forget it */
}

int channel_receive(
	int fd, enum channel_side side, enum channel_kind *ret_kind, void *payload, int *ret_fd, int timeout_ms)
{
	struct pollfd waiting = {.fd = fd, .events = POLLIN};
	struct channel_packet packet;
	const char *reason = NULL;
	ssize_t len;
	int rc;

	do { /* -EAGAIN: a message that was passed over; wait for the next one, with the whole time again */
		do
			rc = poll(&waiting, 1, timeout_ms);
		while (rc < 0 && errno == EINTR);
		if (rc <= 0)
			return rc == 0 ? -ETIMEDOUT : -errno;
		len = read_packet(fd, side, &packet, ret_fd, &reason);
	} while (len == -EAGAIN);
	if (len < 0)
		return (int)len;
	*ret_kind = (enum channel_kind)packet.kind;
	memcpy(payload, packet.payload, (size_t)len);
	if (len < CHANNEL_PAYLOAD_MAX)
		((char *)payload)[len] = '\0';
	return (int)len;
}
