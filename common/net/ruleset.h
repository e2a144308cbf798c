/* The fate of a packet in the rules of nftables and of iptables: which rule decides about it, and whether that is sure.
 *
 * A rule set is an array of objects as `nft -j list ruleset` prints them; what `iptables-save` prints is brought into
 * the same form. A packet stands for all packets of a kind: what is not said of it may be anything. A rule with a
 * condition about that, or with one that is not understood here, may be met or not, so a later rule's decision is sure
 * only where none such could have decided otherwise. Pure.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#define RULESET_IPTABLES_TABLE_MAX 32 /* XT_TABLE_MAXNAMELEN */

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
	bool is_local;	      /* its destination is an address of this host; else it is not */
};

struct ruleset_answer {
	enum ruleset_fate fate; /* never RULESET_OPEN: the policy decides then */
	bool is_sure;
	bool names_device;  /* a rule that may drop it names its device, so another program has thought about it */
	const json_t *rule; /* that decides; NULL: the policy does. Lives as long as the rule set */
};

/* Append what `iptables-save` or `iptables -S` prints. @family: "ip" or "ip6". A rule has its line as "text", too. */
void ruleset_add_iptables(json_t *objects, const char *family, const char *text);

/* @chain: a base chain of @objects. */
struct ruleset_answer ruleset_ask(
	const json_t *objects, const json_t *chain, const struct ruleset_packet *packet);

/* True if the member @key of @object is the text @word. */
bool ruleset_is_word(const json_t *object, const char *key, const char *word);

/* Return: @object's rule if it is one of the chain @name in @chain's table, else NULL. */
const json_t *ruleset_rule_in(const json_t *object, const json_t *chain, const char *name);
