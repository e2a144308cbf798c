/* The life of a worker on one loop, see work.h.
 *
 * Happy path: receive_start() blocks on the channel until CHANNEL_START, because nothing can be served before; then the
 * loop. The order around the sandbox is the point of this file: whatever needs a file, a name or a system call that the
 * sandbox denies happens in on_settings, on_listener and open; start and everything after it run inside. Fails before
 * READY: CHANNEL_FAILED with the reason, _exit(1). After that only the channel's end and CHANNEL_STOP end a worker:
 * everything is closed, the loop runs until the last handle has let go, or a second and a half at most.
 */
#include "common/process/work.h"

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/status/status_events.h"
#include "common/status/status_page.h"

#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LIBUV_WITH_IO_URING 0x012e00u /* 1.46 */
#define START_TIMEOUT_MS 10000	      /* for one message of the supervisor, which reads certificates meanwhile */
#define STOP_TIMEOUT_MS 1500  /* for close handshakes; less than WORKER_STOP_PATIENCE_MS of supervise_worker.c */
#define OWN_MAPPING_LEN 16384 /* bytes of an allocation that gets a mapping of its own */
#define TICKS_TO_TRIM 20u     /* ten seconds */
#define QUIET_TURNS 100u      /* of the datagram path in one tick: less than this is little traffic */
#define TICKS_TO_FLUSH 120u   /* a minute: counts of repeated log lines are logged at most this late */

struct work {
	const struct work_setup *setup;
	void *owner;
	uv_loop_t *loop;
	struct channel *channel; /* NULL: it has ended, the supervisor is gone */
	struct status_page *page;
	uv_timer_t tick;
	uv_timer_t stop_timer;
	unsigned ticks;
	unsigned trimmed; /* the tick of the last malloc_trim() */
	uint64_t turns;	  /* of the datagram path, at the last tick */
	bool is_stopping;
};

/* --- the end --- */

static void on_stop_timeout(uv_timer_t *timer)
{
	uv_stop(timer->loop);
}

/* Close everything. The stop timer is unreferenced: it ends a loop that hangs, and keeps none alive. */
static void work_stop(struct work *work)
{
	if (work->is_stopping)
		return;
	work->is_stopping = true;
	uv_close((uv_handle_t *)&work->tick, NULL);
	work->setup->close(work->owner);
	status_page_close(work->page);
	work->page = NULL;
	if (work->channel)
		channel_close(work->channel);
	uv_timer_start(&work->stop_timer, on_stop_timeout, STOP_TIMEOUT_MS, 0);
	uv_unref((uv_handle_t *)&work->stop_timer);
}

/* --- the channel --- */

static void on_supervisor_message(void *owner, enum channel_kind kind, const void *payload, size_t len, int fd)
{
	struct work *work = owner;
	const struct channel_reply *reply = payload;
	const struct channel_page *page = payload;

	(void)len;
	if (kind == CHANNEL_FLOW_SOCKET || kind == CHANNEL_LINK_SOCKET) {
		work->setup->on_socket(work->owner, reply->ticket, reply->error, fd);
	} else if (kind == CHANNEL_STATUS) {
		json_t *object = work->setup->report(work->owner);
		FILE *file = fdopen(fd, "w"); /* json_dumpfd() writes word by word, 35 for each session */

		status_events_add(object);
		/* A report that cannot be written is not said to be done: the supervisor stops waiting by itself. */
		if (file && json_dumpf(object, file, JSON_COMPACT) == 0 && fflush(file) == 0)
			channel_send(work->channel, CHANNEL_STATUS_DONE, payload, sizeof(struct channel_ticket), -1);
		json_decref(object);
		if (file)
			fclose(file);
		else
			close(fd);
	} else if (kind == CHANNEL_STOP) {
		work_stop(work);
	} else if (kind == CHANNEL_LOG) {
		log_flush();
		dup3(fd, STDERR_FILENO, 0);
		close(fd);
	} else if (kind == CHANNEL_PAGE_PORT && work->page) {
		status_page_listen(work->page, fd, &((const struct channel_page_port *)payload)->at);
	} else if (kind == CHANNEL_PAGE_CLOSED && work->page) {
		status_page_listen(work->page, -1, NULL);
	} else if (kind == CHANNEL_PAGE_TEXT && work->page && page->text < STATUS_TEXT_COUNT) {
		status_page_take(work->page, page->text, fd);
	} else if (work->setup->on_message && !work->is_stopping) {
		work->setup->on_message(work->owner, kind, payload, fd);
	} else if (fd >= 0) {
		close(fd);
	}
}

/* Without its supervisor a worker gets no sockets and no news: it ends in an orderly way, as for CHANNEL_STOP. */
static void on_supervisor_end(void *owner, const char *reason)
{
	struct work *work = owner;

	log_debug(work->setup->area, "supervisor: %s", reason);
	work->channel = NULL;
	work_stop(work);
}

static const struct channel_handlers channel_handlers = {
	.on_message = on_supervisor_message, .on_end = on_supervisor_end};

static void on_page_wanted(void *owner, enum status_text text)
{
	const struct channel_page wanted = {.text = text};
	struct work *work = owner;

	if (work->channel)
		channel_send(work->channel, CHANNEL_PAGE_WANTED, &wanted, sizeof(wanted), -1);
}

static const struct status_page_handlers page_handlers = {on_page_wanted};

/* --- the start --- */

/* Take settings and listeners until CHANNEL_START. The supervisor sends nothing else before; if it does, that is a
 * bug. */
static int receive_start(struct work *work, int channel_fd, struct err *err)
{
	_Alignas(8) uint8_t payload[CHANNEL_PAYLOAD_MAX];
	const struct channel_index *index = (const struct channel_index *)payload;
	enum channel_kind kind;
	int fd, rc;

	for (;;) {
		rc = channel_receive(channel_fd, CHANNEL_WORKER, &kind, payload, &fd, START_TIMEOUT_MS);
		if (rc < 0)
			return err_system(err, rc, "channel");
		if (kind == CHANNEL_START)
			return 0;
		if (kind == CHANNEL_SETTINGS) {
			rc = work->setup->on_settings(work->owner, fd, err);
		} else if (kind == CHANNEL_LISTENER) {
			rc = work->setup->on_listener(work->owner, index->index, fd, err);
		} else {
			if (fd >= 0)
				close(fd);
			rc = err_set(err, -EPROTO, "message %d before the start", kind);
		}
		if (rc < 0)
			return rc;
	}
}

/* Memory: what sessions give back when they go idle lies in pieces between what others keep, a third of all memory at
 * rest. malloc_trim() gives it to the kernel, but walks the whole heap, so it waits until there is little traffic. */
static void on_work_tick(uv_timer_t *timer)
{
	struct work *work = timer->data;
	uint64_t turns = work->setup->on_tick(work->owner, clock_now_us());

	status_page_tick(work->page, clock_now_us());
	if (turns - work->turns < QUIET_TURNS && work->ticks - work->trimmed >= TICKS_TO_TRIM) {
		work->trimmed = work->ticks;
		work->setup->on_calm(work->owner);
		malloc_trim(0);
	}
	work->turns = turns;
	if (++work->ticks % TICKS_TO_FLUSH == 0)
		log_flush();
}

static int work_start(struct work *work, struct err *err)
{
	int rc = work->setup->open(work->owner, err); /* the last chance to read files */

	if (rc == 0 && status_page_open(&work->page, work->loop, &page_handlers, work) < 0)
		rc = err_system(err, -ENOMEM, "status page");
	if (rc < 0)
		return rc;
	uv_timer_init(work->loop, &work->tick);
	uv_timer_init(work->loop, &work->stop_timer);
	work->tick.data = work;
	uv_timer_start(&work->tick, on_work_tick, WORK_TICK_MS, WORK_TICK_MS);
	rc = sandbox_enter(work->setup->sandbox, err);
	if (rc < 0)
		return rc;
	rc = work->setup->start(work->owner, err);
	if (rc < 0)
		return rc;
	return channel_send(work->channel, CHANNEL_READY, NULL, 0, -1);
}

int work_run(const struct work_setup *setup, void *owner, uv_loop_t *loop, struct channel **ret_channel, int channel_fd)
{
	struct work work = {.setup = setup, .owner = owner, .loop = loop};
	struct err err = {""};
	int rc;

	/* OpenSSL's buffers come and go between small things that stay. In one heap with them each leaves a hole, which
	 * costs a page at both of its ends; a mapping of its own goes as a whole. */
	mallopt(M_MMAP_THRESHOLD, OWN_MAPPING_LEN);
	if (uv_version() >= LIBUV_WITH_IO_URING)
		sandbox_refuse_io_uring();
	if (uv_loop_init(loop) < 0)
		return 1;
	rc = receive_start(&work, channel_fd, &err);
	if (channel_open(&work.channel, loop, channel_fd, CHANNEL_WORKER, &channel_handlers, &work, &err) < 0)
		return 1;
	*ret_channel = work.channel;
	if (rc < 0 || work_start(&work, &err) < 0) {
		/* The supervisor tells the operator. Half-open handles end with the process. */
		size_t len = strlen(err.text);

		len = len < CHANNEL_TEXT_MAX ? len : CHANNEL_TEXT_MAX - 1;
		channel_send(work.channel, CHANNEL_FAILED, err.text, len, -1);
		_exit(1);
	}
	uv_run(loop, UV_RUN_DEFAULT);
	uv_close((uv_handle_t *)&work.stop_timer, NULL);
	uv_run(loop, UV_RUN_NOWAIT);
	if (uv_loop_close(loop) == UV_EBUSY) /* uv_stop() by the stop timer */
		log_debug(setup->area, "handles were left open");
	setup->done(owner);
	log_flush();
	return 0;
}
