/* Another table's FORWARD that drops (Docker's, ufw's, firewalld's, iptables' own): an accept of ours cannot help there, so
 * commented rules for the device go into DOCKER-USER or FORWARD (firewalld: filter_FORWARD), and out again.
 *
 * Asks and acts by nft(8) and iptables(8), beside the loop, because both are programs.
 */
#ifndef TOWPATH_NET_FORWARD_H
#define TOWPATH_NET_FORWARD_H

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define FORWARD_RULES_MAX 16
#define FORWARD_COMMAND_MAX 512

/* One rule as command lines for sh -c, each of which may be run again at any time. Kept in the undo list before it is done. */
struct forward_rule {
	char check[FORWARD_COMMAND_MAX];  /* exit 0: it is there */
	char insert[FORWARD_COMMAND_MAX]; /* exit 0: it is there now, once */
	char remove[FORWARD_COMMAND_MAX]; /* just this one; exit 0 also where it or its chain is gone */
};

/* Two for each chain: what comes from the device, and what goes to it. They say nothing of where from or where to (a host of the
 * LAN may reach a peer), so where there are any our own table is to confine (firewall_setup). */
struct forward_rules {
	struct forward_rule rules[FORWARD_RULES_MAX];
	size_t count;
};

/* What the programs say; "" where there is none, or its tables are not in use. */
struct forward_facts {
	const char *nft_json;	       /* nft -j list ruleset */
	const char *legacy4, *legacy6; /* iptables-legacy -S, ip6tables-legacy -S */
	bool has_iptables_nft;	       /* its own tables are then changed by it, so that it can still read them */
};

/* Pure. @comment: "towpath-home", as the table is called. Return: 0, -EINVAL (JSON that is none, a name that no command line
 * can have), -E2BIG. */
int forward_find(const struct forward_facts *facts, const char *device, const char *comment, struct forward_rules *ret,
	struct err *err);

/* Look, beside the loop: forward_find() on what the programs say. @on_found is called once, from the loop, the look is gone
 * after it; what could not be found out is logged, and @rules has none then. Return: 0 or a negative errno. */
struct forward_scan;
int forward_scan_start(struct forward_scan **ret, uv_loop_t *loop, const char *device, const char *comment,
	void (*on_found)(void *owner, const struct forward_rules *rules), void *owner, struct err *err);
void forward_scan_close(struct forward_scan *look);

#endif
