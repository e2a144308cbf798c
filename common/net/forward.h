/* FORWARD chains of other tables that drop (Docker's, ufw's, firewalld's, iptables' own). An accept in our table cannot
 * help there, so rules for the device, with a comment, go into DOCKER-USER or FORWARD (firewalld: filter_FORWARD), and
 * are taken out again at the end.
 *
 * The chains are read and changed by nft(8) and iptables(8), which are programs and so run beside the loop.
 */
#pragma once

#include "common/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define FORWARD_RULES_MAX 16
#define FORWARD_COMMAND_MAX 512

/* One rule as command lines for sh -c. Each may be run again at any time. The undo list has it before it is made. */
struct forward_rule {
	char check[FORWARD_COMMAND_MAX];  /* exit 0: it is there */
	char insert[FORWARD_COMMAND_MAX]; /* exit 0: now it is there, once */
	char remove[FORWARD_COMMAND_MAX]; /* removes just this rule; exit 0 also where it or its chain is gone */
};

/* Two for each chain: for packets from the device, and for packets to it. They accept all of them, whatever the other
 * side is. So if there are any, our own table has to confine what is forwarded (firewall_setup). */
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

/* Pure. @comment: "towpath-home", the name of our table. Return: 0, -EINVAL (not JSON, or a name unfit for a command
 * line), -E2BIG. */
int forward_find(const struct forward_facts *facts, const char *device, const char *comment, struct forward_rules *ret,
	struct err *err);

/* Scan, beside the loop: run the programs, then forward_find(). @on_found is called once, from the loop; the scan is
 * gone after it. A program that fails is logged; @rules has none for its tables. Return: 0 or a negative errno. */
struct forward_scan;
int forward_scan_start(struct forward_scan **ret, uv_loop_t *loop, const char *device, const char *comment,
	void (*on_found)(void *owner, const struct forward_rules *rules), void *owner, struct err *err);
void forward_scan_close(struct forward_scan *look);
