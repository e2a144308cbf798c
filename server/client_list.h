/* The clients of a configuration under their numbers (client_number.h): who a request of the worker's is about. */
#ifndef TOWPATH_SERVER_CLIENT_LIST_H
#define TOWPATH_SERVER_CLIENT_LIST_H

#include "common/base/addr.h"
#include "server/config.h"
#include "server/client_number.h"

#include <stdbool.h>
#include <stdint.h>

struct client_list_entry {
	uint32_t number;
	const struct server_client *client;
	bool is_told;	  /* its address stands in the log */
	struct addr from; /* of its newest flow; family 0: it has not come in yet */
	uint32_t rtt_ms;  /* of that flow's first connection */
	bool is_greeted;  /* on this device, host_greet_peer() */
	int64_t clock_s;  /* the time it said last; 0: none yet */
};

struct client_list {
	struct client_list_entry *entries; /* in the order of their numbers */
	size_t count;
};

/* Borrows the clients of @config. Return: 0 or a negative errno. */
int client_list_open(struct client_list *ret, struct client_number_table *sources, const struct server_config *config, struct err *err);
void client_list_close(struct client_list *roster);

/* What is known of those who were there @before and have kept their key. */
void client_list_remember(struct client_list *roster, const struct client_list *before);

/* Is a client that says this time behind ours, or behind what it said before? Notes it. A time that no clock shows is none. */
bool client_list_note_clock(struct client_list_entry *entry, int64_t wall_s, int64_t now_s);

/* Return: NULL where nobody of the configuration has this number: a request from before a reload. */
struct client_list_entry *client_list_find(const struct client_list *roster, uint32_t number);

#endif
