/* The repair: what another program took away is put back, within a second of the kernel's word. Embedded in its owner,
 * host.c.
 *
 * A *look* compares the host with the plan (applied_look()) and makes again what is missing. Peers are never created by
 * it. It runs on two occasions: the kernel reports a change, and once a minute, because of parameters the kernel
 * reports forwarding only. Whatever is still there is left alone, so our own changes cause one more look and nothing
 * else.
 */
#pragma once

#include "common/host/applied.h"
#include "common/host/barrier.h"
#include "common/host/forward_watch.h"
#include "common/host/overlap.h"

struct repair_setup {
	struct applied *applied;	/* with everything made */
	uv_timer_t *timer;		/* the owner's; its data is ours */
	void (*on_looked)(void *owner); /* a look has ended */
	void (*on_raised)(void *owner); /* the device was down and is up again: WireGuard has lost its sessions */
	void *owner;
};

struct repair {
	struct repair_setup setup;
	struct forward_watch forwards;
	struct overlap overlap;
	struct barrier barrier;
	bool is_under_way;
	bool is_wanted;	     /* something has changed during the look under way */
	bool scans_forwards; /* nftables or forwarding has changed: the look ends with a round of the forward watch */
	bool device_is_gone; /* for good: nothing is looked for any more */
	bool is_renamed;
	bool asks_our_dns;  /* by /etc/resolv.conf, at the last look */
	bool has_lost_dns;  /* not any more: so it was at the last look, which may have been in the midst of a write */
	char lost_dns[512]; /* the warning about that, "" as long as our DNS is asked */
	size_t put_back;    /* in this look */
	uint64_t due_ms;    /* uv_now() of the next look */
	uint64_t looked_ms; /* uv_now() when the last one ended */
};

/* Everything is up now. The first look is soon: nobody has heard what the kernel reported so far. */
void repair_start(struct repair *repair, const struct repair_setup *setup);
/* A look under way ends. May be called before repair_start(), and twice; not after the timer was closed. */
void repair_stop(struct repair *repair);

/* Something has changed in the kernel (@kinds of enum netmon_kind). */
void repair_on_network(struct repair *repair, unsigned kinds);

/* Before the plan becomes another one: a look under way is stopped and begins anew. */
void repair_restart(struct repair *repair);
/* Other services are published: a look at once, which makes our table anew. No look is under way. */
void repair_publish(struct repair *repair);
