/* All claims of a hub: one claim_device for each device that they are about, and the undo list of what they have added.
 *
 * Independent of common/host/host.h: a hub without a device of its own may claim, and its own device may come and go
 * meanwhile. One owner, the supervisor. There are no handlers: what a claim does is told in the log and by the report.
 */
#pragma once

#include "common/base/err.h"
#include "common/host/claim.h"

#include <jansson.h>
#include <stddef.h>
#include <uv.h>

struct claims;

/* Undo what a crash left, then begin with @claims. @state_dir, @name: of the undo list, borrowed until close. Return:
 * 0, -EBUSY (this tunnel runs already) or another negative errno. */
int claims_open(struct claims **ret, uv_loop_t *loop, const char *state_dir, const char *name,
	const struct claim *claims, size_t count, struct err *err);

/* These from now on, and no others. Return: 0, or a negative errno with nothing changed. */
int claims_set(struct claims *claims, const struct claim *list, size_t count, struct err *err);

/* Something has changed in the kernel: @kinds is a set of enum netmon_kind. NULL is fine, here and below. */
void claims_on_network(struct claims *claims, unsigned kinds);

/* Return: an array with an object for each claim; NULL: there is none. */
json_t *claims_report(const struct claims *claims);

/* Take away all that was added. Memory goes when the loop has let go of it. */
void claims_close(struct claims *claims);
