/* The channel between supervisor and worker: what passes, and what ends it. */
#include "common/process/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define TURNS_MAX 2000
#define HEADER_LEN 8 /* kind and a reserved word, see channel.c */

struct side {
	struct channel *channel;
	int messages, ends;
	enum channel_kind last_kind;
	_Alignas(8) uint8_t last_payload[CHANNEL_PAYLOAD_MAX];
	size_t last_len;
	int last_fd;
	char end_reason[128];
	bool close_on_message;
};

struct fixture {
	uv_loop_t loop;
	struct side supervisor, worker;
	int raw; /* the other end where only one side is a channel */
	int fds_before;
};

static int count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void on_message(void *owner, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	struct side *side = owner;

	side->messages++;
	side->last_kind = kind;
	memcpy(side->last_payload, payload, len);
	side->last_len = len;
	if (side->last_fd >= 0)
		close(side->last_fd);
	side->last_fd = fd;
	if (side->close_on_message) {
		channel_close(side->channel);
		side->channel = NULL;
	}
}

static void on_end(void *owner, const char *reason)
{
	struct side *side = owner;

	side->ends++;
	side->channel = NULL;
	snprintf(side->end_reason, sizeof(side->end_reason), "%s", reason);
}

static const struct channel_handlers handlers = {on_message, on_end};

static void open_side(struct fixture *f, struct side *side, enum channel_side which, int fd)
{
	struct err err;

	side->last_fd = -1;
	assert_int_equal(channel_open(&side->channel, &f->loop, fd, which, &handlers, side, &err), 0);
}

static void make_pair(int pair[2])
{
	assert_return_code(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), errno);
}

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	f->fds_before = count_fds();
	f->raw = f->supervisor.last_fd = f->worker.last_fd = -1;
	assert_int_equal(uv_loop_init(&f->loop), 0);
	return f;
}

static int set_up_both(void **state)
{
	struct fixture *f = fixture_new();
	int pair[2];

	make_pair(pair);
	open_side(f, &f->supervisor, CHANNEL_SUPERVISOR, pair[0]);
	open_side(f, &f->worker, CHANNEL_WORKER, pair[1]);
	*state = f;
	return 0;
}

static int set_up_worker(void **state)
{
	struct fixture *f = fixture_new();
	int pair[2];

	make_pair(pair);
	f->raw = pair[0];
	open_side(f, &f->worker, CHANNEL_WORKER, pair[1]);
	*state = f;
	return 0;
}

static int set_up_supervisor(void **state)
{
	struct fixture *f = fixture_new();
	int pair[2];

	make_pair(pair);
	f->raw = pair[1];
	open_side(f, &f->supervisor, CHANNEL_SUPERVISOR, pair[0]);
	*state = f;
	return 0;
}

/* Every handle is closed, every descriptor is back. */
static int tear_down(void **state)
{
	struct fixture *f = *state;

	channel_close(f->supervisor.channel);
	channel_close(f->worker.channel);
	if (f->supervisor.last_fd >= 0)
		close(f->supervisor.last_fd);
	if (f->worker.last_fd >= 0)
		close(f->worker.last_fd);
	if (f->raw >= 0)
		close(f->raw);
	uv_run(&f->loop, UV_RUN_DEFAULT);
	if (uv_loop_close(&f->loop) != 0)
		return -1;
	if (count_fds() != f->fds_before)
		return -1;
	free(f);
	return 0;
}

static void run_until(struct fixture *f, const int *value, int wanted)
{
	for (int i = 0; i < TURNS_MAX && *value < wanted; i++) {
		uv_run(&f->loop, UV_RUN_NOWAIT);
		usleep(100);
	}
	assert_int_equal(*value, wanted);
}

/* --- what passes --- */

static void descriptor_goes_down(void **state)
{
	const struct channel_reply reply = {.ticket = 0x0123456789abcdefull};
	struct fixture *f = *state;
	struct stat sent, got;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_FLOW_SOCKET, &reply, sizeof(reply), fd), 0);
	fstat(fd, &sent);
	close(fd);
	run_until(f, &f->worker.messages, 1);
	assert_int_equal(f->worker.last_kind, CHANNEL_FLOW_SOCKET);
	assert_memory_equal(f->worker.last_payload, &reply, sizeof(reply));
	assert_return_code(fstat(f->worker.last_fd, &got), errno);
	assert_int_equal(sent.st_rdev, got.st_rdev);
	assert_true(fcntl(f->worker.last_fd, F_GETFD) & FD_CLOEXEC);
}

static void refusal_goes_without_descriptor(void **state)
{
	const struct channel_reply reply = {.ticket = 7, .error = -EMFILE};
	struct fixture *f = *state;

	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_LINK_SOCKET, &reply, sizeof(reply), -1), 0);
	run_until(f, &f->worker.messages, 1);
	assert_int_equal(f->worker.last_fd, -1);
	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_HOME_SOCKET, &reply, sizeof(reply), -1), 0);
	run_until(f, &f->worker.messages, 2);
	assert_int_equal(f->worker.last_fd, -1);
}

static void worker_asks_for_a_published_service_by_its_number(void **state)
{
	const struct channel_home wanted = {.ticket = 7, .publish = 40};
	struct fixture *f = *state;

	assert_int_equal(channel_send(f->worker.channel, CHANNEL_HOME_WANTED, &wanted, sizeof(wanted), -1), 0);
	run_until(f, &f->supervisor.messages, 1);
	assert_int_equal(f->supervisor.last_kind, CHANNEL_HOME_WANTED);
	assert_memory_equal(f->supervisor.last_payload, &wanted, sizeof(wanted));
}

static void worker_tells_a_guests_key_and_the_networks_behind_a_hub(void **state)
{
	const struct channel_enrol enrol = {.client = 3, .public_key = {9, 8, 7}};
	const struct channel_enrol_failed failed = {.client = 3, .error = -ENOSPC};
	struct channel_networks networks;
	struct fixture *f = *state;

	memset(&networks, 0, sizeof(networks));
	networks.count = CHANNEL_NETWORKS_MAX;
	assert_int_equal(channel_send(f->worker.channel, CHANNEL_ENROL, &enrol, sizeof(enrol), -1), 0);
	run_until(f, &f->supervisor.messages, 1);
	assert_memory_equal(f->supervisor.last_payload, &enrol, sizeof(enrol));
	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_ENROL_FAILED, &failed, sizeof(failed), -1), 0);
	run_until(f, &f->worker.messages, 1);
	assert_memory_equal(f->worker.last_payload, &failed, sizeof(failed));
	assert_int_equal(channel_send(f->worker.channel, CHANNEL_NETWORKS, &networks, sizeof(networks), -1), 0);
	run_until(f, &f->supervisor.messages, 2);
	assert_int_equal(f->supervisor.last_kind, CHANNEL_NETWORKS);
	assert_memory_equal(f->supervisor.last_payload, &networks, sizeof(networks));
}

static void status_page_gets_its_port_and_the_texts_it_asks_for(void **state)
{
	const struct channel_page wanted = {.text = 2};
	struct channel_page_port at = {{{.sa.sa_family = AF_INET}}};
	struct fixture *f = *state;

	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_PAGE_PORT, &at, sizeof(at), STDERR_FILENO), 0);
	run_until(f, &f->worker.messages, 1);
	assert_int_equal(f->worker.last_kind, CHANNEL_PAGE_PORT);
	assert_true(f->worker.last_fd >= 0);
	assert_int_equal(channel_send(f->worker.channel, CHANNEL_PAGE_WANTED, &wanted, sizeof(wanted), -1), 0);
	run_until(f, &f->supervisor.messages, 1);
	assert_memory_equal(f->supervisor.last_payload, &wanted, sizeof(wanted));
	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_PAGE_TEXT, &wanted, sizeof(wanted), STDERR_FILENO), 0);
	run_until(f, &f->worker.messages, 2);
	assert_int_equal(f->worker.last_kind, CHANNEL_PAGE_TEXT);
	assert_true(f->worker.last_fd >= 0);
}

/* Run the loop while no descriptor can be had. */
static void run_without_descriptors(struct fixture *f)
{
	struct rlimit before, none;

	assert_return_code(getrlimit(RLIMIT_NOFILE, &before), errno);
	none = (struct rlimit){.rlim_cur = 0, .rlim_max = before.rlim_max};
	assert_return_code(setrlimit(RLIMIT_NOFILE, &none), errno);
	for (int i = 0; i < 20; i++)
		uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_return_code(setrlimit(RLIMIT_NOFILE, &before), errno);
}

static void without_a_free_descriptor_a_reply_is_a_refusal(void **state)
{
	const struct channel_reply reply = {.ticket = 7};
	const struct channel_ticket ticket = {.ticket = 8};
	struct fixture *f = *state;

	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_FLOW_SOCKET, &reply, sizeof(reply), 0), 0);
	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_STATUS, &ticket, sizeof(ticket), 0), 0);
	run_without_descriptors(f);
	assert_int_equal(f->worker.messages, 1);
	assert_int_equal(f->worker.last_fd, -1);
	assert_int_equal(((const struct channel_reply *)(const void *)f->worker.last_payload)->ticket, 7);
	assert_int_equal(((const struct channel_reply *)(const void *)f->worker.last_payload)->error, -EMFILE);
	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_FLOW_SOCKET, &reply, sizeof(reply), 0), 0);
	run_until(f, &f->worker.messages, 2);
	assert_true(f->worker.last_fd >= 0);
	assert_int_equal(f->worker.ends, 0);
}

static void text_arrives_terminated_and_cut(void **state)
{
	char text[2 * CHANNEL_TEXT_MAX];
	struct fixture *f = *state;

	memset(text, 'a', sizeof(text));
	assert_int_equal(channel_send(f->worker.channel, CHANNEL_STATE, text, sizeof(text), -1), 0);
	run_until(f, &f->supervisor.messages, 1);
	assert_int_equal(f->supervisor.last_len, CHANNEL_TEXT_MAX - 1);
	assert_int_equal(channel_send(f->worker.channel, CHANNEL_STATE, "up", 2, -1), 0);
	run_until(f, &f->supervisor.messages, 2);
	assert_int_equal(f->supervisor.last_len, 2);
}

/* More than the socket holds is queued and arrives in order, with its descriptors. */
static void queue_keeps_order(void **state)
{
	struct fixture *f = *state;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int sent = 0;

	for (; sent < 600; sent++) {
		struct channel_index index = {.index = (uint32_t)sent};

		if (channel_send(f->supervisor.channel, CHANNEL_LISTENER, &index, sizeof(index), fd) != 0)
			break;
	}
	close(fd);
	assert_true(sent > 300);
	run_until(f, &f->worker.messages, sent);
	assert_int_equal(((struct channel_index *)f->worker.last_payload)->index, sent - 1);
}

/* A side that reads nothing makes the queue full, not the memory. */
static void full_queue_is_told(void **state)
{
	const struct channel_ticket ticket = {.ticket = 1};
	struct fixture *f = *state;
	int rc = 0;

	for (int i = 0; i < 10000 && rc == 0; i++)
		rc = channel_send(f->worker.channel, CHANNEL_STATUS_DONE, &ticket, sizeof(ticket), -1);
	assert_int_equal(rc, -ENOBUFS);
}

static void wrong_sending_is_refused(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(channel_send(f->worker.channel, CHANNEL_STOP, NULL, 0, -1), -EINVAL);
	assert_int_equal(channel_send(f->supervisor.channel, CHANNEL_READY, NULL, 0, -1), -EINVAL);
	assert_int_equal(channel_send(f->supervisor.channel, (enum channel_kind)99, NULL, 0, -1), -EINVAL);
}

static void closing_inside_a_message(void **state)
{
	struct fixture *f = *state;

	f->worker.close_on_message = true;
	channel_send(f->supervisor.channel, CHANNEL_START, NULL, 0, -1);
	channel_send(f->supervisor.channel, CHANNEL_STOP, NULL, 0, -1);
	run_until(f, &f->worker.messages, 1);
	run_until(f, &f->supervisor.ends, 1);
	assert_int_equal(f->worker.messages, 1);
	assert_int_equal(f->worker.ends, 0);
}

/* --- what ends it --- */

static void send_raw(int fd, uint32_t kind, const void *payload, size_t len, int fd_count)
{
	uint8_t bytes[HEADER_LEN + 4096] = {0};
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(sizeof(int) * 8)];
	} control = {0};
	struct iovec iov = {bytes, HEADER_LEN + len};
	struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};
	const int out = STDERR_FILENO;

	memcpy(bytes, &kind, sizeof(kind));
	if (len > 0)
		memcpy(bytes + HEADER_LEN, payload, len);
	if (fd_count > 0) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)fd_count);
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(sizeof(int) * (size_t)fd_count);
		for (int i = 0; i < fd_count; i++)
			memcpy(CMSG_DATA(&control.header) + (size_t)i * sizeof(int), &out, sizeof(int));
	}
	assert_true(sendmsg(fd, &message, MSG_NOSIGNAL) >= 0);
}

static void assert_ends(struct fixture *f, struct side *side, const char *reason)
{
	run_until(f, &side->ends, 1);
	assert_string_equal(side->end_reason, reason);
	assert_int_equal(side->messages, 0);
}

static void unknown_kind(void **state)
{
	struct fixture *f = *state;

	send_raw(f->raw, 99, NULL, 0, 0);
	assert_ends(f, &f->worker, "a message of a wrong kind");
}

static void kind_of_the_own_side(void **state)
{
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_STOP, NULL, 0, 0);
	assert_ends(f, &f->supervisor, "a message of a wrong kind");
}

static void payload_too_short(void **state)
{
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_FLOW_WANTED, "abc", 3, 0);
	assert_ends(f, &f->supervisor, "a message of a wrong length");
}

static void payload_too_long(void **state)
{
	const struct channel_flow flow[2] = {{.client = 0}};
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_FLOW_WANTED, flow, sizeof(flow[0]) + 1, 0);
	assert_ends(f, &f->supervisor, "a message of a wrong length");
}

static void message_over_the_maximum(void **state)
{
	static const char zeros[CHANNEL_PAYLOAD_MAX + 1];
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_STATE, zeros, sizeof(zeros), 0);
	assert_ends(f, &f->supervisor, "a message too long");
}

static void text_without_room_for_its_end(void **state)
{
	static const char zeros[CHANNEL_TEXT_MAX];
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_FAILED, zeros, sizeof(zeros), 0);
	assert_ends(f, &f->supervisor, "a message of a wrong length");
}

static void header_cut(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(send(f->raw, "abc", 3, MSG_NOSIGNAL), 3);
	assert_ends(f, &f->worker, "a message without header");
}

static void descriptor_from_below(void **state)
{
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_READY, NULL, 0, 1);
	assert_ends(f, &f->supervisor, "a descriptor too many");
}

static void descriptor_missing(void **state)
{
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_SETTINGS, NULL, 0, 0);
	assert_ends(f, &f->worker, "a descriptor is missing");
}

static void two_descriptors(void **state)
{
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_SETTINGS, NULL, 0, 2);
	assert_ends(f, &f->worker, "a descriptor too many");
}

static void more_descriptors_than_looked_at(void **state)
{
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_SETTINGS, NULL, 0, 8);
	assert_ends(f, &f->worker, "a message too long");
}

static void descriptor_with_a_refusal(void **state)
{
	const struct channel_reply reply = {.error = -EMFILE};
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_FLOW_SOCKET, &reply, sizeof(reply), 1);
	assert_ends(f, &f->worker, "a descriptor too many");
}

static void end_is_told_once(void **state)
{
	struct fixture *f = *state;

	close(f->raw);
	f->raw = -1;
	assert_ends(f, &f->worker, "the other side has ended");
	uv_run(&f->loop, UV_RUN_NOWAIT);
	assert_int_equal(f->worker.ends, 1);
}

/* Messages that were sent before the end are still read. */
static void last_words_are_read(void **state)
{
	struct fixture *f = *state;

	send_raw(f->raw, CHANNEL_FAILED, "why", 3, 0);
	close(f->raw);
	f->raw = -1;
	channel_drain(f->supervisor.channel);
	assert_int_equal(f->supervisor.messages, 1);
	assert_string_equal((char *)f->supervisor.last_payload, "why");
	assert_int_equal(f->supervisor.ends, 1);
}

/* --- before there is a loop --- */

static void blocking_receive(void **state)
{
	uint8_t payload[CHANNEL_PAYLOAD_MAX];
	enum channel_kind kind;
	int pair[2], fd = -1;

	(void)state;
	make_pair(pair);
	assert_int_equal(channel_receive(pair[1], CHANNEL_WORKER, &kind, payload, &fd, 10), -ETIMEDOUT);
	send_raw(pair[0], CHANNEL_SETTINGS, NULL, 0, 1);
	assert_int_equal(channel_receive(pair[1], CHANNEL_WORKER, &kind, payload, &fd, 1000), 0);
	assert_int_equal(kind, CHANNEL_SETTINGS);
	assert_true(fd >= 0);
	close(fd);
	send_raw(pair[0], CHANNEL_READY, NULL, 0, 0);
	assert_int_equal(channel_receive(pair[1], CHANNEL_WORKER, &kind, payload, &fd, 1000), -EPROTO);
	close(pair[0]);
	assert_int_equal(channel_receive(pair[1], CHANNEL_WORKER, &kind, payload, &fd, 1000), -EPIPE);
	close(pair[1]);
}

/* The first loop of a process opens descriptors that stay. */
static int warm_up(void **state)
{
	uv_loop_t loop;

	(void)state;
	return uv_loop_init(&loop) == 0 && uv_loop_close(&loop) == 0 ? 0 : -1;
}

#define BOTH(test) cmocka_unit_test_setup_teardown(test, set_up_both, tear_down)
#define WORKER(test) cmocka_unit_test_setup_teardown(test, set_up_worker, tear_down)
#define SUPERVISOR(test) cmocka_unit_test_setup_teardown(test, set_up_supervisor, tear_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		BOTH(descriptor_goes_down),
		BOTH(refusal_goes_without_descriptor),
		BOTH(worker_asks_for_a_published_service_by_its_number),
		BOTH(worker_tells_a_guests_key_and_the_networks_behind_a_hub),
		BOTH(status_page_gets_its_port_and_the_texts_it_asks_for),
		BOTH(without_a_free_descriptor_a_reply_is_a_refusal),
		BOTH(text_arrives_terminated_and_cut),
		BOTH(queue_keeps_order),
		BOTH(full_queue_is_told),
		BOTH(wrong_sending_is_refused),
		BOTH(closing_inside_a_message),
		WORKER(unknown_kind),
		SUPERVISOR(kind_of_the_own_side),
		SUPERVISOR(payload_too_short),
		SUPERVISOR(payload_too_long),
		SUPERVISOR(message_over_the_maximum),
		SUPERVISOR(text_without_room_for_its_end),
		WORKER(header_cut),
		SUPERVISOR(descriptor_from_below),
		WORKER(descriptor_missing),
		WORKER(two_descriptors),
		WORKER(more_descriptors_than_looked_at),
		WORKER(descriptor_with_a_refusal),
		WORKER(end_is_told_once),
		SUPERVISOR(last_words_are_read),
		cmocka_unit_test(blocking_receive),
	};

	return cmocka_run_group_tests(tests, warm_up, NULL);
}
