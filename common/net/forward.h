/* FORWARD chains of other tables that drop (Docker's, ufw's, firewalld's, iptables' own). An accept in our table cannot
 * help there, so rules for what we forward, with a comment, go into DOCKER-USER or FORWARD (firewalld: filter_FORWARD),
 * and are taken out again at the end. They accept what our own table (firewall.h) accepts and nothing else: what
 * another program's rules let through or drop beside that is none of our business.
 *
 * The rules are made by nft(8) and iptables(8), which are programs and so run beside the loop.
 */
#pragma once

#include "common/base/err.h"
#include "common/net/firewall.h"
#include "common/net/ruleset.h"

#include <stdbool.h>
#include <stddef.h>

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

/* The packets that we forward. */
struct forward_setup {
	const char *device;
	const char *comment; /* "towpath-home", the name of our table */
	bool among_peers;    /* from the device to the device */
	const struct firewall_gateway *gateways;
	size_t gateway_count;
	const struct firewall_service *services;
	size_t service_count;
};

/* Pure. Return: 0, -EINVAL (not JSON, or a name that cannot stand in a command line), -E2BIG. */
int forward_find(const struct ruleset_texts *texts, const struct forward_setup *setup, struct forward_rules *ret,
	struct err *err);
