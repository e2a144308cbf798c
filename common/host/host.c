/* The host's life (host.h); host_internal.h names the files that do the parts.
 *
 *     NEW ──host_up──▶ CLEANING ──▶ STARTING ──▶ UP ──host_down──▶ PRE_DOWN ──▶ UNWINDING ──▶ POST_DOWN ──▶ ENDED
 *                         any failure, or host_down, before UP ───────────────▶ UNWINDING ────────────────▶ ENDED
 *
 * What comes next is always begun from the loop (host_go_on()), so that no handler runs inside a call of the owner's.
 */
#include "common/host/host_internal.h"

#include "common/base/log.h"
#include "common/base/require.h"
#include "common/host/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COMMAND_TIMEOUT_MS 10000

/* --- one thing after the other --- */

static void on_step_timer(uv_timer_t *timer)
{
	struct host *host = timer->data;

	host->next(host);
}

void host_go_on(struct host *host, void (*next)(struct host *host))
{
	host->next = next;
	uv_timer_start(&host->timers[HOST_TIMER_STEP], on_step_timer, 0, 0);
}

static void on_command_exit(void *owner, int status, const char *output)
{
	struct host *host = owner;

	host->command = NULL;
	host->on_command(host, status, output);
}

void host_run(struct host *host, const char *const *argv, const char *input,
	void (*on_done)(struct host *host, int status, const char *output))
{
	const struct command_plan plan = {.argv = argv,
		.input = input,
		.input_len = input ? strlen(input) : 0,
		.timeout_ms = COMMAND_TIMEOUT_MS,
		.on_exit = on_command_exit,
		.owner = host};
	struct err err = {""};
	int rc;

	host->on_command = on_done;
	rc = command_start(&host->command, host->loop, &plan, &err);
	if (rc < 0)
		on_done(host, rc, err.text);
}

struct change_place host_place(struct host *host)
{
	return (struct change_place){.netlink = &host->netlink,
		.birth = host->birth.socket ? &host->birth : &host->netlink,
		.netns_fd = host->netns_fd,
		.routes = &host->routes,
		.undo = host->undo,
		.device = host->setup.device,
		.index = host->index};
}

void host_run_hooks(struct host *host, enum hook_kind kind, void (*on_done)(void *owner, const char *failure))
{
	const struct wg_config_interface *interface = &host->setup.wireguard->interface;

	host->hooks = (struct hooks){.loop = host->loop,
		.kind = kind,
		.device = host->setup.device,
		.lines = interface->hooks[kind],
		.count = interface->hook_count[kind],
		.tails = &host->tails,
		.on_done = on_done,
		.owner = host};
	hooks_start(&host->hooks);
}

/* --- what WireGuard needs while the tunnel is up --- */

void host_link_is_up(struct host *host)
{
	host->link_is_up = true;
	if (host->is_raised)
		wg_handshake_start(&host->handshake);
}

static void on_handshake(void *owner)
{
	struct host *host = owner;

	host->handlers.on_handshake(host->owner);
}

void host_on_peer_clock(struct host *host, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from,
	uint32_t rtt_ms, int64_t wall_s)
{
	wg_guests_take_clock(&host->guests, public_key, from, rtt_ms, wall_s);
}

void host_greet_peer(
	struct host *host, const uint8_t public_key[WG_CONFIG_KEY_LEN], const struct addr *from, uint32_t rtt_ms)
{
	wg_guests_greet(&host->guests, public_key, from, rtt_ms);
}

/* --- the end --- */

static void host_end(struct host *host)
{
	host->phase = HOST_ENDED;
	if (!host->is_stopping) {
		host->handlers.on_failed(host->owner, host->failure);
		return;
	}
	if (host->failure[0])
		log_warning("wireguard", "%s", host->failure);
	host->handlers.on_down(host->owner);
}

static void on_post_down_done(void *owner, const char *failure)
{
	(void)failure;
	host_go_on(owner, host_end);
}

static void on_unwound(void *owner)
{
	struct host *host = owner;

	host->is_raised = false;
	if (host->has_failed) {
		host_go_on(host, host_end);
		return;
	}
	host->phase = HOST_POST_DOWN;
	host_run_hooks(host, HOOK_POST_DOWN, on_post_down_done);
}

static void unwind_all(struct host *host)
{
	host->phase = HOST_UNWINDING;
	unwind_start(&host->unwind, host->loop, host->undo, on_unwound, host);
}

static void on_pre_down_done(void *owner, const char *failure)
{
	struct host *host = owner;

	(void)failure;
	wg_handshake_stop(&host->handshake);
	wg_guests_stop(&host->guests);
	host_go_on(host, unwind_all);
}

static void run_pre_down(struct host *host)
{
	host_run_hooks(host, HOOK_PRE_DOWN, on_pre_down_done);
}

/* Before it was up there are no hooks, as with wg-quick's trap. */
static void undo_bringup(struct host *host)
{
	host->has_failed = true;
	bringup_stop(host);
	wg_handshake_stop(&host->handshake);
	wg_guests_stop(&host->guests);
	hooks_stop(&host->hooks);
	host->phase = HOST_UNWINDING;
	host_go_on(host, unwind_all);
}

void host_fail(struct host *host, const char *text)
{
	memset(host->failure, 0, sizeof(host->failure));
	strncat(host->failure, text, sizeof(host->failure) - 1);
	undo_bringup(host);
}

void host_down(struct host *host)
{
	if (host->is_stopping) {
		hooks_kill(&host->hooks);
		return;
	}
	host->is_stopping = true;
	switch (host->phase) {
	case HOST_NEW:
		host_go_on(host, host_end);
		break;
	case HOST_STARTING:
		undo_bringup(host);
		break;
	case HOST_UP:
		host->phase = HOST_PRE_DOWN;
		repair_stop(host);
		host_go_on(host, run_pre_down);
		break;
	case HOST_CLEANING:
	case HOST_UNWINDING:
	case HOST_PRE_DOWN:
	case HOST_POST_DOWN:
	case HOST_ENDED:
		break; /* ends by itself */
	}
}

/* --- the start --- */

void host_up(struct host *host)
{
	host->phase = HOST_CLEANING;
	host_go_on(host, bringup_start);
}

uint32_t host_mark(const struct host *host)
{
	return host->mark;
}

/* The device is born elsewhere: a socket there, and our own namespace to let it appear in. */
static int open_birth(struct host *host, struct err *err)
{
	if (host->setup.birth_netns_fd < 0)
		return 0;
	host->netns_fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (host->netns_fd < 0)
		return err_system(err, -errno, "/proc/self/ns/net");
	return netlink_open(&host->birth, host->setup.birth_netns_fd, err);
}

static int open_all(struct host *host, struct err *err)
{
	int rc = netlink_open(&host->netlink, -1, err);

	if (rc == 0)
		rc = open_birth(host, err);
	if (rc == 0)
		rc = undo_open(&host->undo, host->setup.state_dir, host->setup.name, err);
	if (rc == 0)
		rc = facts_pick_mark(&host->netlink, &host->setup, host->undo, &host->mark, &host->table_claim, err);
	if (rc < 0)
		return rc;
	host->addrs = calloc(host->setup.wireguard->peer_count + 1, sizeof(*host->addrs));
	return host->addrs ? 0 : err_system(err, -ENOMEM, "peers");
}

/* All but the timers. */
static void release(struct host *host)
{
	undo_close(host->undo);
	if (host->netlink.socket)
		netlink_close(&host->netlink);
	if (host->birth.socket)
		netlink_close(&host->birth);
	if (host->netns_fd >= 0)
		close(host->netns_fd);
	if (host->table_claim >= 0)
		close(host->table_claim);
	plan_done(&host->plan);
	facts_done(&host->facts);
	net_routes_done(&host->routes);
	free(host->firewall_listing);
	free(host->addrs);
	free(host->overlaps);
}

static void on_part_closed(void *owner)
{
	struct host *host = owner;

	require(host->open_handles > 0);
	if (--host->open_handles == 0)
		free(host);
}

static void on_timer_closed(uv_handle_t *handle)
{
	on_part_closed(handle->data);
}

static void open_handles(struct host *host)
{
	const struct wg_handshake_setup handshake = {.loop = host->loop,
		.device = host->setup.device,
		.config = host->setup.wireguard,
		.on_handshake = on_handshake,
		.on_closed = on_part_closed,
		.owner = host};
	const struct wg_guests_setup guests = {
		.loop = host->loop, .device = host->setup.device, .on_closed = on_part_closed, .owner = host};

	for (int i = 0; i < HOST_TIMER_COUNT; i++) {
		uv_timer_init(host->loop, &host->timers[i]);
		host->timers[i].data = host;
	}
	wg_handshake_open(&host->handshake, &handshake);
	wg_guests_open(&host->guests, &guests);
	host->open_handles = HOST_TIMER_COUNT + 2;
}

int host_open(struct host **ret, uv_loop_t *loop, const struct host_setup *setup, const struct host_handlers *handlers,
	void *owner, struct err *err)
{
	struct host *host = calloc(1, sizeof(*host));
	int rc;

	if (!host)
		return err_system(err, -ENOMEM, "device %s", setup->device);
	host->loop = loop;
	host->setup = *setup;
	host->handlers = *handlers;
	host->owner = owner;
	host->netns_fd = host->table_claim = -1;
	rc = open_all(host, err);
	if (rc < 0) {
		release(host);
		free(host);
		return rc;
	}
	open_handles(host);
	*ret = host;
	return 0;
}

void host_close(struct host *host)
{
	if (!host)
		return;
	bringup_stop(host);
	repair_stop(host);
	hooks_stop(&host->hooks);
	command_tails_close(&host->tails);
	unwind_stop(&host->unwind);
	release(host);
	for (int i = 0; i < HOST_TIMER_COUNT; i++) {
		host->timers[i].data = host;
		uv_close((uv_handle_t *)&host->timers[i], on_timer_closed);
	}
	wg_handshake_close(&host->handshake);
	wg_guests_close(&host->guests);
}

/* --- what a crash left --- */

static void on_cleaned(void *owner)
{
	(void)owner; /* the loop ends by itself: nothing is left on it */
}

int host_clean(const char *state_dir, const char *name, struct err *err)
{
	struct unwind unwind;
	struct undo *undo;
	uv_loop_t loop;
	int rc;

	if (!undo_exists(state_dir, name))
		return 0;
	rc = undo_open(&undo, state_dir, name, err);
	if (rc < 0)
		return rc;
	uv_loop_init(&loop);
	unwind_start(&unwind, &loop, undo, on_cleaned, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	undo_close(undo);
	if (unwind.failed > 0)
		return err_set(err, -EIO, "what could not be undone: %u changes, see above", unwind.failed);
	return (int)unwind.undone;
}
