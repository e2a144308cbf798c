/* [Gateway] as plain data: the networks that the tunnel's peers may reach. The files of both programs have it. */
#pragma once

#include "common/base/key_table.h"
#include "common/base/prefix.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

struct gateway {
	struct prefix *lans; /* networks: bits behind the length are cleared */
	size_t lan_count;
	char interface[IFNAMSIZ]; /* "": whichever device has the Lan; on the hub with 0.0.0.0/0 that of the default route */
	bool masquerade;
	unsigned line;			   /* of the section's header */
	unsigned lan_line, interface_line; /* 0: not given */
};

/* The keys of [Gateway], parsed into a struct gateway. */
extern const struct key_table gateway_table;

/* A section begins at @place: one more element, which is the owner of its keys until the next one is opened.
 * Return: it, or NULL after a complaint. */
struct gateway *gateway_open(struct gateway **gateways, size_t *count, const struct key_place *place);

/* Complain about what only the whole shows: a section without Lan, one without a device of ours, two that overlap.
 * @device: NULL: we bring none up; "": one whose name is not known. */
void gateway_check(
	const struct gateway *gateways, size_t count, const char *device, const char *path, struct ini_report *report);

/* Are the same networks reached in the same way? Lines are not compared. */
bool gateways_are_same(const struct gateway *a, size_t a_count, const struct gateway *b, size_t b_count);

void gateways_done(struct gateway *gateways, size_t count);
