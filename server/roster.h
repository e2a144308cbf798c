/* The clients of a configuration under their numbers (source.h): who a request of the worker's is about. */
#ifndef TOWPATH_SERVER_ROSTER_H
#define TOWPATH_SERVER_ROSTER_H

#include "server/config.h"
#include "server/source.h"

#include <stdbool.h>

struct roster_entry {
	uint32_t number;
	const struct server_client *client;
	bool is_told; /* its address stands in the log */
};

struct roster {
	struct roster_entry *entries; /* in the order of their numbers */
	size_t count;
};

/* Borrows the clients of @config. Return: 0 or a negative errno. */
int roster_open(struct roster *ret, struct source_table *sources, const struct server_config *config, struct err *err);
void roster_close(struct roster *roster);

/* Return: NULL where nobody of the configuration has this number: a request from before a reload. */
struct roster_entry *roster_find(const struct roster *roster, uint32_t number);

#endif
