/* [Gateway] as plain data: what the tunnel's peers are let into. Both programs' files have it and read it by these. */
#ifndef TOWPATH_HOST_GATEWAY_H
#define TOWPATH_HOST_GATEWAY_H

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

/* A section begins at @place: one more element. Return: 0, or -EINVAL after a complaint. */
int gateway_open(struct gateway **gateways, size_t *count, const struct key_place *place);

/* One key, or one element of Lan. Return: 0, or -EINVAL after a complaint. */
int gateway_parse_lan(struct gateway *gateway, const char *text, const struct key_place *place);
int gateway_parse_interface(struct gateway *gateway, const char *text, const struct key_place *place);
int gateway_parse_masquerade(struct gateway *gateway, const char *text, const struct key_place *place);

/* What only the whole shows. @device: NULL: we bring none up; "": one whose name is not known. */
void gateway_check(
	const struct gateway *gateways, size_t count, const char *device, const char *path, struct ini_report *report);

/* Do both let the same in by the same way? Lines apart. */
bool gateways_are_same(const struct gateway *a, size_t a_count, const struct gateway *b, size_t b_count);

void gateways_done(struct gateway *gateways, size_t count);

#endif
