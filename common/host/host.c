/* The host's life. The parts do the work, this file decides which one has its turn.
 *
 *     NEW ──host_up──▶ CLEANING ──▶ STARTING ──▶ UP ──host_down──▶ PRE_DOWN ──▶ UNWINDING ──▶ POST_DOWN ──▶ ENDED
 *                         any failure, or host_down, before UP ───────────────▶ UNWINDING ────────────────▶ ENDED
 *
 *     CLEANING    unwind    works off what a crashed run left in the undo list
 *     STARTING    bringup   check, PreUp, names, plan, changes, PostUp; ends in on_bringup_done()
 *     UP          repair    puts back what is taken away, when host_on_network() or a minute calls for it
 *                 reload    takes another configuration, within host_reload()
 *                 endpoint_watch    looks names of silent peers up again
 *     PRE_DOWN    hooks     while everything is still there
 *     UNWINDING   unwind    works off what we wrote into the undo list
 *     POST_DOWN   hooks     not after a failure: a tunnel that was never up has no PostDown, as with wg-quick
 *
 * Theory of operation. There are two lists. The plan says in which order this host is changed; bring-up makes it once,
 * from facts that only looking can tell. The undo list is on disk and says what has been changed so far; an entry is
 * written before its change is made. So a crash at any moment leaves a list that is not worked off yet, and the next
 * run, or host_clean(), works it off before anything else. Nothing else is remembered from one run to the next.
 *
 * The plan with everything that works on it is one object, applied.c. The parts above are clients of it. They do not
 * know one another and do not know struct host: each is given what it needs when it starts, and reports by a handler.
 * Only one of them has a pass over the plan under way: bring-up is over before the repair starts, and host_reload()
 * makes a look that is under way begin anew. The device's handshakes and a hub's guests (common/wireguard) need the
 * device only, from on_raised() on.
 *
 * Called back from: unwind, hooks, bringup, repair, wg_handshake, all from the loop. The owner's handlers run from the
 * loop as well, never inside a call of the owner's: what follows a call is begun by the step timer (go_on()). A handler
 * may call host_down() or host_close().
 *
 * How it fails. A failure before UP ends in on_bringup_done() with a text: everything is undone, and on_failed gets the
 * text. After UP nothing ends the tunnel: what cannot be put back is logged, and a device that was deleted is not made
 * again, because its peers and keys have gone with it and their owner may have meant it. Changes that cannot be undone
 * are logged, set aside in the list, and tried again by the next run.
 */
#include "common/host/host.h"

#include "common/base/log.h"
#include "common/base/require.h"
#include "common/host/applied.h"
#include "common/host/bringup.h"
#include "common/host/confined.h"
#include "common/host/endpoint_watch.h"
#include "common/host/reload.h"
#include "common/host/repair.h"
#include "common/host/report.h"
#include "common/host/unwind.h"
#include "common/wireguard/wg_guest.h"
#include "common/wireguard/wg_handshake.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum host_phase {
	HOST_NEW,
	HOST_CLEANING,
	HOST_STARTING,
	HOST_UP,
	HOST_PRE_DOWN,
	HOST_UNWINDING,
	HOST_POST_DOWN,
	HOST_ENDED,
};

enum host_timer {
	HOST_TIMER_STEP,    /* go_on() */
	HOST_TIMER_RESOLVE, /* names of endpoints: bringup, then endpoint_watch */
	HOST_TIMER_REPAIR,
	HOST_TIMER_COUNT,
};

struct host {
	uv_loop_t *loop;
	struct host_setup setup;
	struct host_handlers handlers;
	void *owner;

	enum host_phase phase;
	bool is_stopping;	     /* host_down() was called */
	bool has_failed;	     /* before it was up, or was stopped then: no hooks of going down */
	bool is_raised;		     /* the device is up */
	bool has_link;		     /* host_link_is_up() was called */
	char failure[ERR_TEXT_MAX];  /* "" where there is none */
	void (*next)(struct host *); /* what HOST_TIMER_STEP begins */

	uv_timer_t timers[HOST_TIMER_COUNT];
	size_t open_handles; /* timers, the handshake and the guests: the last one to close frees the host */

	struct {
		struct ruleset_scan *scan; /* of host_read_rules(); NULL: none */
		json_t *found;		   /* for the next reload; NULL: nothing */
		bool is_publishing;
		bool opens_forwarding; /* as soon as the table is made */
	} rules; /* of other programs */

	struct applied applied;
	struct unwind unwind;
	struct hooks hooks;
	struct command_tails tails; /* of all hooks: what they left in the background may still say something */
	struct bringup bringup;
	struct repair repair;
	struct reload reload;
	struct endpoint_watch endpoint_watch;
	struct wg_handshake handshake;
	struct wg_guests guests;
};

static void on_step_timer(uv_timer_t *timer)
{
	struct host *host = timer->data;

	host->next(host);
}

/* At most one thing is next: a later call replaces what an earlier one asked for, as host_down() does with a start. */
static void go_on(struct host *host, void (*next)(struct host *host))
{
	host->next = next;
	uv_timer_start(&host->timers[HOST_TIMER_STEP], on_step_timer, 0, 0);
}

/* --- down --- */

static void end_host(struct host *host)
{
	host->phase = HOST_ENDED;
	if (!host->is_stopping) {
		host->handlers.on_failed(host->owner, host->failure);
		return;
	}
	/* It was stopped while it failed: the owner hears that it is down, the reason goes to the log. */
	if (host->failure[0])
		log_warning("wireguard", "%s", host->failure);
	host->handlers.on_down(host->owner);
}

/* A hook of going down that fails was logged, and stops nothing. */
static void on_post_down_done(void *owner, const char *failure)
{
	(void)failure;
	go_on(owner, end_host);
}

static void on_unwound(void *owner)
{
	struct host *host = owner;

	host->is_raised = false;
	if (host->has_failed) {
		go_on(host, end_host);
		return;
	}
	host->phase = HOST_POST_DOWN;
	bringup_run_hooks(&host->hooks, &host->setup.wireguard->interface, HOOK_POST_DOWN, on_post_down_done, host);
}

static void unwind_all(struct host *host)
{
	host->phase = HOST_UNWINDING;
	unwind_start(&host->unwind, host->loop, host->applied.undo, on_unwound, host);
}

static void on_pre_down_done(void *owner, const char *failure)
{
	struct host *host = owner;

	(void)failure;
	wg_handshake_stop(&host->handshake);
	wg_guests_stop(&host->guests);
	go_on(host, unwind_all);
}

static void run_pre_down(struct host *host)
{
	bringup_run_hooks(&host->hooks, &host->setup.wireguard->interface, HOOK_PRE_DOWN, on_pre_down_done, host);
}

/* Before it was up there are no hooks, as with wg-quick's trap. */
static void undo_bringup(struct host *host)
{
	host->has_failed = true;
	bringup_stop(&host->bringup);
	wg_handshake_stop(&host->handshake);
	wg_guests_stop(&host->guests);
	host->phase = HOST_UNWINDING;
	go_on(host, unwind_all);
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
		go_on(host, end_host);
		break;
	case HOST_STARTING:
		undo_bringup(host);
		break;
	case HOST_UP:
		host->phase = HOST_PRE_DOWN;
		ruleset_scan_close(host->rules.scan);
		host->rules.scan = NULL;
		repair_stop(&host->repair);
		endpoint_watch_stop(&host->endpoint_watch);
		go_on(host, run_pre_down);
		break;
	case HOST_CLEANING: /* on_cleaned() sees is_stopping */
	case HOST_UNWINDING:
	case HOST_PRE_DOWN:
	case HOST_POST_DOWN:
	case HOST_ENDED:
		break; /* ends by itself */
	}
}

/* --- up --- */

/* The device was down, and WireGuard has forgotten its sessions. */
static void on_raised_again(void *owner)
{
	struct host *host = owner;

	wg_handshake_poke_all(&host->handshake);
}

/* The table is made, and what it is to let through may come. A handler may close the host, so it is called last. */
static void on_looked(void *owner)
{
	struct host *host = owner;

	host->rules.opens_forwarding |= host->rules.is_publishing || host->applied.facts.has_new_devices;
	if (host->rules.opens_forwarding && !host->applied.firewall_why[0]) {
		host->rules.opens_forwarding = false;
		reload_open_forwarding(&host->applied);
	}
	if (!host->rules.is_publishing)
		return;
	host->rules.is_publishing = false;
	host->handlers.on_published(host->owner, host->applied.firewall_why);
}

static void on_bringup_done(void *owner, const char *failure)
{
	struct host *host = owner;
	const struct repair_setup repair = {.applied = &host->applied,
		.timer = &host->timers[HOST_TIMER_REPAIR],
		.on_looked = on_looked,
		.on_raised = on_raised_again,
		.owner = host};

	if (failure) {
		memset(host->failure, 0, sizeof(host->failure));
		strncat(host->failure, failure, sizeof(host->failure) - 1);
		undo_bringup(host);
		return;
	}
	host->phase = HOST_UP;
	reload_start(&host->reload);
	repair_start(&host->repair, &repair);
	endpoint_watch_start(&host->endpoint_watch);
	host->handlers.on_up(host->owner);
}

/* Routes and the rest follow, but WireGuard can shake hands from now on, and each millisecond counts for the first
 * ping. */
static void on_raised(void *owner)
{
	struct host *host = owner;

	host->is_raised = true;
	wg_guests_start(&host->guests);
	if (host->has_link)
		wg_handshake_start(&host->handshake);
}

/* The PostUp hooks ran before the crash, and will run once more. */
static void tell_cleaned(const struct host *host)
{
	const char *role = host->setup.is_hub ? "server" : "client", *typed = host->setup.typed;
	char remedy[3072];

	log_notice("wireguard", "changes undone that a crash had left behind: %u", host->unwind.undone);
	snprintf(remedy, sizeof(remedy),
		"PostUp may now have its effect twice; towpath-%s down %s && towpath-%s down --hooks %s runs them, "
		"then up",
		role, typed, role, typed);
	host_tell_missed_hooks(&host->setup.wireguard->interface, host->setup.wireguard_path, remedy);
}

static void on_cleaned(void *owner)
{
	struct host *host = owner;
	const struct bringup_setup bringup = {.applied = &host->applied,
		.hooks = &host->hooks,
		.timer = &host->timers[HOST_TIMER_RESOLVE],
		.on_raised = on_raised,
		.on_done = on_bringup_done,
		.owner = host};

	if (host->unwind.undone > 0)
		tell_cleaned(host);
	host->phase = HOST_STARTING;
	if (host->is_stopping)
		undo_bringup(host);
	else
		bringup_start(&host->bringup, &bringup);
}

static void clean_up(struct host *host)
{
	unwind_start(&host->unwind, host->loop, host->applied.undo, on_cleaned, host);
}

void host_up(struct host *host)
{
	host->phase = HOST_CLEANING;
	go_on(host, clean_up);
}

/* --- while it is up --- */

void host_on_network(struct host *host, unsigned kinds)
{
	if (host->phase == HOST_UP)
		repair_on_network(&host->repair, kinds);
}

static void on_rules_read(void *owner, const struct ruleset_texts *texts)
{
	struct host *host = owner;
	struct err err = {""};

	host->rules.scan = NULL;
	json_decref(host->rules.found);
	if (ruleset_read(texts, &host->rules.found, &err) < 0) {
		log_warning("publish", "%s; another table may send what is published elsewhere", err.text);
		host->rules.found = json_array();
	}
	host->handlers.on_rules(host->owner);
}

int host_read_rules(struct host *host, struct err *err)
{
	ruleset_scan_close(host->rules.scan);
	return ruleset_scan_start(&host->rules.scan, host->loop, on_rules_read, host, err);
}

bool host_is_publishing(const struct host *host)
{
	return host->rules.is_publishing;
}

/* Return: 0, HOST_RULES_WANTED or -EADDRINUSE. */
static int check_services(struct host *host, const struct publish *publishes, size_t count, struct err *err)
{
	const struct published_check check = {.path = host->setup.config_path,
		.table = host->applied.plan.table,
		.rules = host->rules.found,
		.netlink = &host->applied.netlink};
	int rc;

	if (!published_has_new(&host->applied.published, publishes, count))
		return 0;
	if (!host->rules.found)
		return HOST_RULES_WANTED;
	rc = published_check(&host->applied.published, publishes, count, &check, err);
	json_decref(host->rules.found);
	host->rules.found = NULL;
	return rc;
}

int host_reload(struct host *host, const struct wg_config *wireguard, const struct publish *publishes,
	size_t publish_count, char *ret_restart, size_t restart_size, struct err *err)
{
	const char *device = host->setup.device;
	int rc;

	if (host->phase != HOST_UP)
		return err_set(err, -EAGAIN, "device %s is not up yet; reload again when it is", device);
	if (host->repair.device_is_gone)
		return err_set(
			err, -ENODEV, "device %s was deleted by another program; a restart makes it anew", device);
	rc = check_services(host, publishes, publish_count, err);
	if (rc != 0)
		return rc;
	/* The pass of a look goes by the numbers of the changes, which are about to move. */
	repair_restart(&host->repair);
	endpoint_watch_stop(&host->endpoint_watch); /* it goes by the numbers of the peers */
	rc = reload_take(&host->reload, wireguard, publishes, publish_count, ret_restart, restart_size, err);
	if (rc == 0)
		wg_handshake_set_config(&host->handshake, wireguard);
	if (rc == 0 && host->applied.published.is_changed) {
		host->rules.is_publishing = true;
		repair_publish(&host->repair);
	}
	endpoint_watch_start(&host->endpoint_watch);
	return rc;
}

json_t *host_report_services(struct host *host)
{
	if (host->phase != HOST_UP && host->phase != HOST_PRE_DOWN)
		return NULL;
	return published_report(&host->applied.published, host->applied.plan.table);
}

json_t *host_report(struct host *host, json_t *warnings)
{
	if (host->phase != HOST_UP && host->phase != HOST_PRE_DOWN)
		return NULL;
	if (host->repair.lost_dns[0])
		json_array_append_new(warnings, json_string(host->repair.lost_dns));
	confined_find(&host->setup, &host->applied.facts.plan, warnings);
	published_find_absent(
		host->setup.publishes, host->setup.publish_count, host->setup.config_path, warnings);
	return report_make(&host->applied, host->repair.device_is_gone);
}

uint32_t host_mark(const struct host *host)
{
	return host->applied.mark;
}

void host_link_is_up(struct host *host)
{
	host->has_link = true;
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

/* --- open, close --- */

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
		.own = &host->setup.endpoint,
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
	host->hooks = (struct hooks){.loop = loop, .device = host->setup.device, .tails = &host->tails};
	host->reload = (struct reload){.setup = &host->setup, .applied = &host->applied};
	host->endpoint_watch =
		(struct endpoint_watch){.applied = &host->applied, .timer = &host->timers[HOST_TIMER_RESOLVE]};
	rc = applied_open(&host->applied, loop, &host->setup, err);
	if (rc < 0) {
		applied_close(&host->applied);
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
	ruleset_scan_close(host->rules.scan);
	host->rules.scan = NULL;
	json_decref(host->rules.found);
	host->rules.found = NULL;
	bringup_stop(&host->bringup);
	repair_stop(&host->repair);
	endpoint_watch_stop(&host->endpoint_watch);
	hooks_stop(&host->hooks);
	command_tails_close(&host->tails);
	unwind_stop(&host->unwind);
	applied_close(&host->applied);
	for (int i = 0; i < HOST_TIMER_COUNT; i++) {
		host->timers[i].data = host; /* parts have put their own there */
		uv_close((uv_handle_t *)&host->timers[i], on_timer_closed);
	}
	wg_handshake_close(&host->handshake);
	wg_guests_close(&host->guests);
}

/* --- what a crash left --- */

static void on_crash_cleaned(void *owner)
{
	(void)owner; /* the loop ends by itself: nothing is left on it */
}

static int clean_list(struct undo *undo, struct err *err)
{
	struct unwind unwind;
	uv_loop_t loop;

	uv_loop_init(&loop);
	unwind_start(&unwind, &loop, undo, on_crash_cleaned, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
	undo_close(undo);
	if (unwind.failed > 0)
		return err_set(err, -EIO, "what could not be undone: %u changes, see above", unwind.failed);
	return (int)unwind.undone;
}

int host_clean(const char *state_dir, const char *name, struct err *err)
{
	struct undo *claims, *undo;
	int rc, count;

	if (!undo_exists(state_dir, name))
		return 0;
	rc = undo_open_claims(&claims, state_dir, name, err);
	if (rc < 0)
		return rc;
	count = clean_list(claims, err);
	rc = undo_open(&undo, state_dir, name, err);
	if (rc == 0)
		rc = clean_list(undo, err);
	return rc < 0 ? rc : count < 0 ? count : count + rc;
}

static void on_hooks_done(void *owner, const char *failure)
{
	(void)owner; /* as above */
	(void)failure;
}

void host_run_hooks(const struct wg_config_interface *interface, const char *device, enum hook_kind kind)
{
	uv_loop_t loop;
	struct hooks hooks = {.loop = &loop, .device = device};

	uv_loop_init(&loop);
	bringup_run_hooks(&hooks, interface, kind, on_hooks_done, NULL);
	uv_run(&loop, UV_RUN_DEFAULT);
	uv_loop_close(&loop);
}

void host_tell_missed_hooks(const struct wg_config_interface *interface, const char *path, const char *remedy)
{
	char text[ERR_TEXT_MAX];
	size_t at = 0;

	while (hooks_format_missed(interface, path, at, text, sizeof(text))) {
		log_warning("wireguard", "%s: did not run, because of the crash", text);
		at++;
	}
	if (at > 0)
		log_warning("wireguard", "%s", remedy);
}
