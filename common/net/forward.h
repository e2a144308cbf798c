/* Another table's FORWARD that drops (Docker's, ufw's, firewalld's, iptables' own): an accept of ours cannot help there, so
 * commented rules for the device go into DOCKER-USER or FORWARD (firewalld: filter_FORWARD), and out again.
 *
 * Asks and acts by nft(8) and iptables(8), beside the loop, because both are programs.
 */
#ifndef TOWPATH_NET_FORWARD_H
#define TOWPATH_NET_FORWARD_H

#include "common/base/err.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

#define FORWARD_COMMANDS_MAX 8

/* Where a rule has to go, as two command lines for sh -c: in and out. Kept in the undo list before it is done. */
struct forward_rule {
	char check[256]; /* exit 0: it is there */
	char insert[256];
	char remove[256];
};

struct forward_rules {
	struct forward_rule rules[FORWARD_COMMANDS_MAX];
	size_t count;
};

/* Pure. @nft_json: `nft -j list ruleset` (or "" where there is no nft), @legacy4/@legacy6: `iptables-legacy -S` /
 * `ip6tables-legacy -S` ("" where not in use), @comment: "towpath-home". */
int forward_find(const char *nft_json, const char *legacy4, const char *legacy6, const char *device, const char *comment,
	struct forward_rules *ret, struct err *err);

/* Look, beside the loop: forward_find() on what the programs say. @on_found is called once, from the loop.
 * Return: 0 or a negative errno. */
struct forward_look;
int forward_look_start(struct forward_look **ret, uv_loop_t *loop, const char *device, const char *comment,
	void (*on_found)(void *owner, const struct forward_rules *rules), void *owner, struct err *err);
void forward_look_close(struct forward_look *look);

#endif
