/* The clients of a configuration by their numbers (client_number.h), which requests of the worker's contain. */
#pragma once

#include "common/base/addr.h"
#include "server/client_number.h"
#include "server/config.h"

#include <stdbool.h>
#include <stdint.h>

struct client_list_entry {
	uint32_t number;
	const struct server_client *client;
	bool is_told;	  /* its address has been logged */
	struct addr from; /* of its newest flow; family 0: it has no flow yet */
	uint32_t rtt_ms;  /* of that flow's first connection */
	bool is_greeted;  /* on this device, host_greet_peer() */
	int64_t clock_s;  /* the time that it said last; 0: none yet */
};

struct client_list {
	struct client_list_entry *entries; /* in the order of their numbers */
	size_t count;
};

/* Borrows the clients of @config. Return: 0 or a negative errno. */
int client_list_open(struct client_list *ret, struct client_number_table *numbers, const struct server_config *config,
	struct err *err);
void client_list_close(struct client_list *list);

/* Take over from @before what is known of clients that are in both and have kept their public key, or have got their first
 * one: the machine that has just joined is greeted, as its own handshake came before its peer was there. */
void client_list_remember(struct client_list *list, const struct client_list *before);

/* Note the time that a client says. Return: true if it is behind our own, or behind what the client said before. A time
 * that no clock shows is not noted, and is not behind. */
bool client_list_note_clock(struct client_list_entry *entry, int64_t wall_s, int64_t now_s);

/* Return: NULL where no client has this number: the worker sent the request before a reload. */
struct client_list_entry *client_list_find(const struct client_list *list, uint32_t number);
