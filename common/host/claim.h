/* [Claim] as plain data: what must stay true on a WireGuard device that another program rewrites. Only a hub's file has
 * it.
 */
#pragma once

#include "common/base/key_table.h"
#include "common/wireguard/wg_config.h"

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>

struct claim {
	char interface[IFNAMSIZ];
	char *container;	    /* where the device lives: in docker's or podman's container of that name; */
	char *namespace_path;	    /* or in the network namespace of that file; both NULL: in our own */
	struct wg_config_peer peer; /* its PublicKey, and the AllowedIPs that are added to what it has */
	unsigned line;		    /* of the section's header */
	unsigned interface_line, public_key_line, allowed_ips_line; /* 0: not given */
};

/* The keys of [Claim], parsed into a struct claim. */
extern const struct key_table claim_table;

/* A section begins at @place: one more element, which is the owner of its keys until the next one is opened.
 * Return: it, or NULL after a complaint. */
struct claim *claim_open(struct claim **claims, size_t *count, const struct key_place *place);

/**
 * claim_check() - Complain about what only the whole file shows
 * @wireguard, @device: of our own device; NULL: we bring none up
 *
 * A key that is missing, a peer or a device that is our own, two claims of one prefix on one device.
 */
void claim_check(const struct claim *claims, size_t count, const struct wg_config *wireguard, const char *device,
	const char *path, struct ini_report *report);

/* Are both about one device, as far as the file can tell? */
bool claim_is_same_device(const struct claim *a, const struct claim *b);

void claims_free(struct claim *claims, size_t count);
