/* See claims.h.
 *
 * Theory of operation. Several claims may be about one device: the same name in the same network namespace. Each
 * such device is a struct claim_device, which looks at it for all of its claims at once. This file keeps the list of
 * devices.
 *
 * A set of claims replaces the former one: the devices that it needs anew are made first, and only when all are there
 * those that it does not need any more are closed, which takes back what they had added. A device in both sets stays,
 * with the memory of its claims, and picks its own claims out of the list. So a reload of one claim does not touch the
 * routes of another, and a failure leaves everything as it was.
 *
 * Changes are written down in an undo list of their own, apart from the host's, because they are made long after
 * bring-up and in any order. The list is opened with the first claim, and worked off first if a crash has left one. An
 * entry needs no program to be undone, so that is over before undo is used.
 */
#include "common/host/claims.h"

#include "common/base/log.h"
#include "common/host/claim_device.h"
#include "common/host/undo.h"
#include "common/host/unwind.h"

#include <errno.h>
#include <stdlib.h>

struct claims {
	uv_loop_t *loop;
	const char *state_dir, *name;
	struct undo *undo; /* NULL: there is no claim */
	struct claim_device **devices;
	size_t count;
};

static void on_unwound(void *owner)
{
	(void)owner; /* no entry of this list needs a program: it comes before unwind_start() returns */
}

static int open_undo(struct claims *claims, struct err *err)
{
	struct unwind unwind;
	int rc;

	if (claims->undo)
		return 0;
	rc = undo_open_claims(&claims->undo, claims->state_dir, claims->name, err);
	if (rc < 0)
		return rc;
	unwind_start(&unwind, claims->loop, claims->undo, on_unwound, NULL);
	if (unwind.undone > 0)
		log_notice("claim", "changes undone that a crash had left behind: %u", unwind.undone);
	return 0;
}

static struct claim_device *find_device(
	struct claim_device *const *devices, size_t count, const struct claim *claim)
{
	for (size_t i = 0; i < count; i++)
		if (claim_device_is_of(devices[i], claim))
			return devices[i];
	return NULL;
}

static bool is_among(struct claim_device *const *devices, size_t count, const struct claim_device *device)
{
	for (size_t i = 0; i < count; i++)
		if (devices[i] == device)
			return true;
	return false;
}

/* Close those of @devices that are not among @kept, and free the array. */
static void drop_devices(
	struct claim_device **devices, size_t count, struct claim_device *const *kept, size_t kept_count)
{
	for (size_t i = 0; i < count; i++)
		if (!is_among(kept, kept_count, devices[i]))
			claim_device_close(devices[i]);
	free(devices);
}

int claims_set(struct claims *claims, const struct claim *list, size_t count, struct err *err)
{
	struct claim_device **devices = calloc(count + 1, sizeof(*devices));
	size_t kept = 0;
	int rc = devices ? 0 : err_system(err, -ENOMEM, "[Claim]");

	if (rc == 0 && count > 0)
		rc = open_undo(claims, err);
	for (size_t i = 0; rc == 0 && i < count; i++) {
		if (find_device(devices, kept, &list[i]))
			continue;
		devices[kept] = find_device(claims->devices, claims->count, &list[i]);
		if (!devices[kept])
			devices[kept] = claim_device_open(claims->loop, &list[i], claims->undo);
		if (!devices[kept])
			rc = err_system(err, -ENOMEM, "[Claim]");
		kept += rc == 0;
	}
	if (rc < 0) {
		drop_devices(devices, kept, claims->devices, claims->count);
		return rc;
	}
	drop_devices(claims->devices, claims->count, devices, kept);
	claims->devices = devices;
	claims->count = kept;
	for (size_t i = 0; i < kept; i++)
		if (claim_device_set(devices[i], list, count) < 0)
			rc = err_system(err, -ENOMEM, "[Claim]"); /* that device keeps what it had */
	return rc;
}

int claims_open(struct claims **ret, uv_loop_t *loop, const char *state_dir, const char *name,
	const struct claim *list, size_t count, struct err *err)
{
	struct claims *claims = calloc(1, sizeof(*claims));
	int rc = claims ? 0 : err_system(err, -ENOMEM, "[Claim]");

	if (rc < 0)
		return rc;
	*claims = (struct claims){.loop = loop, .state_dir = state_dir, .name = name};
	if (count > 0 || undo_exists(state_dir, name))
		rc = open_undo(claims, err);
	if (rc == 0)
		rc = claims_set(claims, list, count, err);
	if (rc < 0) {
		claims_close(claims);
		return rc;
	}
	*ret = claims;
	return 0;
}

void claims_on_network(struct claims *claims, unsigned kinds)
{
	for (size_t i = 0; claims && i < claims->count; i++)
		claim_device_on_network(claims->devices[i], kinds);
}

json_t *claims_report(const struct claims *claims)
{
	json_t *array = claims && claims->count > 0 ? json_array() : NULL;

	for (size_t i = 0; array && i < claims->count; i++)
		claim_device_report(claims->devices[i], array);
	return array;
}

void claims_close(struct claims *claims)
{
	if (!claims)
		return;
	drop_devices(claims->devices, claims->count, NULL, 0);
	undo_close(claims->undo);
	free(claims);
}
