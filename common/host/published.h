/* The services of [Publish] as they stand on this host: what refuses them, their counters beyond a table that is made
 * anew, and the connections that end when one goes. Embedded in applied.h. The rules themselves are in our table.
 */
#pragma once

#include "common/base/err.h"
#include "common/host/publish.h"
#include "common/net/firewall.h"
#include "common/net/netlink.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct published {
	struct service *all; /* one for each [Publish], in the order of the file */
	struct firewall_service *services;
	char **errors; /* why it cannot work now; NULL: nothing is known */
	size_t count;
	unsigned next_id;     /* of counters */
	struct service *gone; /* their connections are to be ended as soon as the table is made */
	size_t gone_count;
	bool is_changed; /* so the table is to be made anew */
	bool has_failed; /* it could not be, and errors say why */
};

/* Where a service may be refused. */
struct published_check {
	const char *path;    /* of the tunnel's file */
	const char *table;   /* our own, which is in nobody's way */
	const json_t *rules; /* of ruleset_read() */
	struct netlink *netlink;
};

/* True if one of @publishes is not published yet. */
bool published_has_new(const struct published *published, const struct publish *publishes, size_t count);

/* May those of @publishes that are not published yet be? A program that listens at the port, or a rule of another table
 * that sends its packets elsewhere, refuses. Return: 0 or -EADDRINUSE. */
int published_check(const struct published *published, const struct publish *publishes, size_t count,
	const struct published_check *check, struct err *err);

/* Append a text for each of @publishes that is at an address that this host does not have. @path: of their file. */
void published_find_absent(const struct publish *publishes, size_t count, const char *path, json_t *warnings);
/* The same to the log. */
void published_tell_absent(const struct publish *publishes, size_t count, const char *path);

/* @publishes take the place of what was. What stays the same keeps its counters. Return: 0 or
 * -ENOMEM with nothing changed. */
int published_take(struct published *published, const struct publish *publishes, size_t count);

/* Read the counters of @table, before another program takes it away, or we make it anew. */
void published_read(struct published *published, const char *table);

/* The table was made: end the connections of services that have gone, and those that lead to this host. */
void published_settle(struct published *published, struct netlink *netlink);

/* The table could not be made. */
void published_fail(struct published *published, const char *why);

/* Do other tables' rules send a service elsewhere now? Told when that begins, and when it ends. */
void published_watch(struct published *published, const struct publish *publishes, const struct published_check *check);

/* "publish" of the status; @table: our own. */
json_t *published_report(struct published *published, const char *table);

void published_done(struct published *published);
