/* The configurations a supervisor lives with: the first, the one last reloaded, and the one whose device is up.
 *
 * A reload may change everything but what only a restart changes, so several stay alive beside each other: the first
 * names ports, mark and device for as long as the program runs; the reloaded one is in use; the host keeps working with
 * the one whose [Interface] and [Peer] it took last, which an edit of another device does not replace.
 *
 * The struct is the program's own, struct server_config or struct client_config, and is handed round as void *. One
 * rule of ownership, also in main(): whoever made the struct calls done() on it, once, whatever read() returned.
 */
#pragma once

#include "common/base/err.h"
#include "common/base/ini.h"

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#define CONFIGURATION_IS_WRONG (-EBADMSG) /* the file alone is at fault: exit code 2 for `reload`, as for `check` */

struct configuration_type {
	size_t size; /* of the program's struct */
	/* Read into @ret, which is zeroed. @context: as main() wants it, here struct options. Return: 0; -EINVAL with
	 * @report filled; another negative errno with @err set. */
	int (*read)(const void *context, void *ret, struct ini_report *report, struct err *err);
	/* Free what @config holds, not @config itself; also of one that is zeroed or half read. */
	void (*done)(void *config);
};

struct configuration {
	const struct configuration_type *type;
	const void *context; /* for read() */
	const void *first;   /* main()'s, borrowed */
	void *reloaded;	     /* in use; NULL: the first is */
	void *of_device;     /* its part about WireGuard is the host's; NULL: the first's is */
};

/* The one in use. */
const void *configuration_in_use(const struct configuration *configuration);

/* Read the file again. *ret is NULL on failure; else configuration_release() it, also after configuration_use().
 * Return: 0, -ENOMEM, or CONFIGURATION_IS_WRONG with the lines of the report in @err, joined by newlines. */
int configuration_read(const struct configuration *configuration, void **ret, struct err *err);

/* From now on @config is in use, and, where @is_of_device, the host's; those that nobody uses any more are freed. */
void configuration_use(struct configuration *configuration, void *config, bool is_of_device);

/* Done with what configuration_read() gave: freed unless it is in use. NULL is fine. */
void configuration_release(const struct configuration *configuration, void *config);

/* Free all but the first. */
void configuration_done(struct configuration *configuration);
