/* One WireGuard device that another program rewrites, and the claims on it.
 *
 *     a timer, 2 s ──┐                      ┌─▶ claim_step.h: what is to be done for each claim
 *     its netlink ───┴─▶ a look: read it ───┤
 *     events, 50 ms                         └─▶ undo list, allowed IPs, routes; the log
 *
 * Owned by claims.c, embedded in nothing. Everything a look does is done before it returns.
 */
#pragma once

#include "common/base/err.h"
#include "common/host/claim.h"
#include "common/host/undo.h"

#include <jansson.h>
#include <uv.h>

struct claim_device;

/* @claim: says which device; not kept. @undo: borrowed until close. Without claims until claim_device_set(). Return:
 * NULL: out of memory. */
struct claim_device *claim_device_open(uv_loop_t *loop, const struct claim *claim, struct undo *undo);

/* Take away what its claims have added, and forget it. Memory goes when the loop has let go of it. */
void claim_device_close(struct claim_device *device);

bool claim_device_is_of(const struct claim_device *device, const struct claim *claim);

/* From now on these of @claims that are about this device, and no others. What claims that are gone had added is taken
 * away; what stays is not touched. A look follows. Return: 0 or -ENOMEM with nothing changed. */
int claim_device_set(struct claim_device *device, const struct claim *claims, size_t count);

/* Something has changed in our own namespace (enum netmon_kind). */
void claim_device_on_network(struct claim_device *device, unsigned kinds);

/* Append an object for each claim. */
void claim_device_report(const struct claim_device *device, json_t *array);
