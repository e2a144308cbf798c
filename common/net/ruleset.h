/* The fate of a packet in the rules of nftables and of iptables: which rule decides about it, and whether that is sure.
 *
 * A rule set is an array of objects as `nft -j list ruleset` prints them; what `iptables-save` prints is brought into
 * the same form. A packet stands for all packets of a kind: what is not said of it may be anything. A rule with a
 * condition about that, or with one that is not understood here, may be met or not, so a later rule's decision is sure
 * only where none such could have decided otherwise. Pure.
 */
#pragma once

#include "common/base/addr.h"
#include "common/base/err.h"

#include <jansson.h>
#include <stdbool.h>

enum ruleset_fate {
	RULESET_OPEN, /* no rule decides */
	RULESET_ACCEPTED,
	RULESET_DROPPED,
	RULESET_SENT, /* to another address or port: DNAT, REDIRECT, TPROXY */
};

struct ruleset_packet {
	int family;	      /* AF_INET, AF_INET6 */
	const char *in, *out; /* devices; NULL: any */
	const char *protocol; /* "tcp", "udp"; NULL: any */
	unsigned port;	      /* of its destination; 0: any */
	const char *state;    /* of its connection, in the words of conntrack: "new", "established" */
	const struct addr *to; /* its destination; NULL: any */
	bool is_local;	       /* that is an address of this host; else it is not */
};

struct ruleset_answer {
	enum ruleset_fate fate; /* never RULESET_OPEN: the policy decides then */
	bool is_sure;
	bool names_device;  /* a rule that may drop it names its device, so another program has thought about it */
	const json_t *rule; /* that decides; NULL: the policy does. Lives as long as the rule set */
};

/* The output of each program; "" where it is not installed, or its tables are not in use. */
struct ruleset_texts {
	const char *nft;  /* nft -j -t list ruleset: without the elements of sets and maps */
	const char *maps; /* nft -j list maps: with them; NULL as "" */
	/* iptables-nft-save, ip6tables-nft-save: their tables are in nft's text as well, but it has no words for all of
	 * their conditions. */
	const char *nft4, *nft6;
	const char *legacy4, *legacy6; /* iptables-legacy-save, ip6tables-legacy-save */
};

/* All of it as one array. A chain or rule from iptables has the program's name as "program" ("iptables-nft"), and a
 * rule its line as "text". Return: 0 (json_decref() it), or -EINVAL: nft's is not JSON. */
int ruleset_read(const struct ruleset_texts *texts, json_t **ret_objects, struct err *err);

/* @chain: a base chain of @objects. */
struct ruleset_answer ruleset_ask(
	const json_t *objects, const json_t *chain, const struct ruleset_packet *packet);

/* True if the member @key of @object is the text @word. */
bool ruleset_is_word(const json_t *object, const char *key, const char *word);

/* Return: @object's rule if it is one of the chain @name in @chain's table, else NULL. */
const json_t *ruleset_rule_in(const json_t *object, const json_t *chain, const char *name);
