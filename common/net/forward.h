/* FORWARD chains of other tables that drop (Docker's, ufw's, firewalld's, iptables' own). An accept in our table cannot
 * help there, so rules for what we forward, with a comment, go into DOCKER-USER or FORWARD (firewalld: filter_FORWARD),
 * and are taken out again at the end. They accept what our own table (firewall.h) accepts and nothing else: what
 * another program's rules let through or drop beside that is none of our business.
 *
 * The chains are read and changed by nft(8) and iptables(8), which are programs and so run beside the loop.
 */
#pragma once

#include "common/base/err.h"
#include "common/net/firewall.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define FORWARD_RULES_MAX 48
#define FORWARD_COMMAND_MAX 512

/* One rule as command lines for sh -c. Each may be run again at any time. The undo list has it before it is made. */
struct forward_rule {
	char check[FORWARD_COMMAND_MAX];  /* exit 0: it is there */
	char insert[FORWARD_COMMAND_MAX]; /* exit 0: now it is there, once */
	char remove[FORWARD_COMMAND_MAX]; /* removes just this rule; exit 0 also where it or its chain is gone */
};

struct forward_rules {
	struct forward_rule rules[FORWARD_RULES_MAX];
	size_t count;
};

/* The output of the programs; "" where there is no such program, or its tables are not in use. */
struct forward_facts {
	const char *nft_json;	       /* nft -j list ruleset */
	const char *legacy4, *legacy6; /* iptables-legacy -S, ip6tables-legacy -S */
	bool has_iptables_nft;	       /* its own tables are then changed by it, so that it can still read them */
};

/* Borrowed until the scan is over. */
struct forward_setup {
	const char *device;
	const char *comment; /* "towpath-home", the name of our table */
	bool among_peers;    /* from the device to the device */
	const struct firewall_gateway *gateways;
	size_t gateway_count;
};

/* Pure. Return: 0, -EINVAL (not JSON, or a name that cannot stand in a command line), -E2BIG. */
int forward_find(const struct forward_facts *facts, const struct forward_setup *setup, struct forward_rules *ret,
	struct err *err);

/* Scan, beside the loop: run the programs, then forward_find(). @on_found is called once, from the loop; the scan is
 * gone after it. If a program fails, that is logged, and @rules has none for its tables. Return: 0 or a negative
 * errno. */
struct forward_scan;
int forward_scan_start(struct forward_scan **ret, uv_loop_t *loop, const struct forward_setup *setup,
	void (*on_found)(void *owner, const struct forward_rules *rules), void *owner, struct err *err);
void forward_scan_close(struct forward_scan *look);
