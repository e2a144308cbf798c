/* All connections of the hub, tunnels or not, newest first. A session embeds its node, so adding one cannot fail.
 *
 * A session may close itself or others while the list is walked: fetch ->next before a session is called. A session
 * that closes takes itself out of the list at once; its memory goes later, from the loop. */
#pragma once

#include <stdint.h>

struct session;

struct session_node {
	struct session *session;
	struct session_node *next, *before;
};

struct session_list {
	struct session_node *first;
	uint32_t count;
};

void session_list_add(struct session_list *list, struct session_node *node, struct session *session);

/* @node must be in @list. */
void session_list_remove(struct session_list *list, struct session_node *node);
